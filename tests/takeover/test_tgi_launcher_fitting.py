"""TGI's words for a model in the words of each engine, and what cannot be."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from trunkcall.core.errors import ServingError
from trunkcall.takeover.tgi_asked import Asked, read_asked
from trunkcall.takeover.tgi_fitting import fit, shards, token_limits


def asked(line: str) -> Asked:
    return read_asked(line.split(), {})


@pytest.mark.parametrize(
    ("line", "gpus", "expected"),
    [
        ("", 0, 1),
        ("", 1, 1),
        ("", 4, 4),
        ("--sharded false", 4, 1),
        ("--sharded=false --num-shard 1", 4, 1),
        ("--sharded true", 2, 2),
        ("--sharded true", 0, 1),
        ("--sharded=true --num-shard=4", 8, 4),
        ("--num-shard 2", 8, 2),
        ("--num-shard 4", 0, 4),
    ],
)
def test_shards(line: str, gpus: int, expected: int) -> None:
    assert shards(asked(line), gpus) == expected


@pytest.mark.parametrize(
    ("line", "gpus", "said"),
    [
        ("--sharded false --num-shard 2", 4, "--sharded false and --num-shard 2 contradict"),
        ("--sharded true --num-shard 1", 4, "--sharded true and --num-shard 1 contradict"),
        ("--num-shard 4", 2, "--num-shard: 4 GPUs are asked for, and 2 can be seen"),
        ("--sharded true", 1, "--sharded true: one GPU can be seen"),
    ],
)
def test_shards_that_cannot_be(line: str, gpus: int, said: str) -> None:
    with pytest.raises(ServingError, match=said) as caught:
        shards(asked(line), gpus)
    assert caught.value.kind == "bad_request"


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("", (None, None)),
        ("--compat 2", (None, None)),
        ("--compat 1", (1024, 2048)),
        ("--compat 0.8", (1000, 1512)),
        ("--compat 0.8 --max-total-tokens 900", (899, 900)),
        ("--compat 0.8 --max-total-tokens 4000", (1000, 4000)),
        ("--max-total-tokens 4096", (4095, 4096)),
        ("--max-input-length 2048", (2048, None)),
        ("--max-input-length 2048 --max-total-tokens 4096", (2048, 4096)),
        ("--max-input-tokens 4095 --max-total-tokens 4096", (4095, 4096)),
    ],
)
def test_token_limits(line: str, expected: tuple[int | None, int | None]) -> None:
    assert token_limits(asked(line)) == expected


@pytest.mark.parametrize(
    "line",
    ["--max-input-length 4096 --max-total-tokens 4096", "--max-total-tokens 1", "--compat 0.8 --max-input-length 1512"],
)
def test_limits_that_leave_no_room(line: str) -> None:
    with pytest.raises(ServingError, match="leaves no room") as caught:
        token_limits(asked(line))
    assert caught.value.kind == "bad_request"


ROPE = ["--hf-overrides", '{"rope_scaling":{"rope_type":"dynamic","factor":2.0}}']


@pytest.mark.parametrize(
    ("engine", "line", "options", "idle"),
    [
        ("vllm", "--sharded false", {}, ()),
        ("vllm", "--num-shard 2 --dtype bfloat16 --trust-remote-code --max-batch-size 9", {"tensor_parallel": 2, "dtype": "bfloat16", "trust_remote_code": True, "slots": 9}, ()),
        ("vllm", "", {"tensor_parallel": 4}, ()),
        ("vllm", "--sharded false --cuda-memory-fraction 0.5 --cuda-graphs 0", {"memory_share": 0.5, "args": ["--enforce-eager"]}, ()),
        ("vllm", "--sharded false --cuda-memory-fraction 1.0 --cuda-graphs 1,2", {}, ()),
        ("vllm", "--sharded false --max-batch-prefill-tokens 2048 --kv-cache-dtype fp8_e4m3fn", {"args": ["--max-num-batched-tokens", "2048", "--kv-cache-dtype", "fp8_e4m3"]}, ()),
        ("vllm", "--sharded false --rope-scaling dynamic --rope-factor 2", {"args": ROPE}, ()),
        ("vllm", "--sharded false --rope-scaling dynamic", {}, ()),
        ("vllm", "--sharded false --lora-adapters org/a,b=/b", {"lora": {"org/a": "org/a", "b": "/b"}}, ()),
        ("vllm", "--sharded false --quantize gptq", {}, ()),
        ("vllm", "--sharded false --quantize fp8", {"quantization": "fp8"}, ()),
        ("vllm", "--sharded false --quantize eetq", {"quantization": "fp8"}, ()),
        ("vllm", "--sharded false --quantize bitsandbytes-nf4", {"quantization": "bitsandbytes"}, ()),
        ("transformers", "--sharded false --dtype float16 --trust-remote-code", {"dtype": "float16", "trust_remote_code": True}, ()),
        ("transformers", "--num-shard 2", {"device_map": "auto"}, ()),
        ("transformers", "--sharded false --quantize bitsandbytes", {"load_in_8bit": True}, ()),
        ("transformers", "--sharded false --quantize bitsandbytes-fp4", {"load_in_4bit": True}, ()),
        ("llamacpp", "--num-shard 4 --dtype float16 --trust-remote-code --max-batch-size 3", {"slots": 3}, ("dtype", "trust_remote_code", "num_shard")),
        ("llamacpp", "", {}, ()),
        ("llamacpp", "--sharded true", {}, ("sharded",)),
        ("llamacpp", "--sharded true --num-shard 2", {}, ("num_shard", "sharded")),
        ("transformers", "--sharded true", {"device_map": "auto"}, ()),
        ("llamacpp", "--sharded false --lora-adapters a --rope-factor 2 --kv-cache-dtype fp8_e5m2", {}, ("kv_cache_dtype", "lora_adapters", "rope_factor")),
        ("", "--sharded false --max-batch-size 3", {}, ("max_batch_size",)),
    ],
)  # fmt: skip
def test_options(engine: str, line: str, options: dict[str, Any], idle: tuple[str, ...]) -> None:
    fitted = fit(asked(line), engine, 4, None)
    assert (fitted.options, fitted.idle) == (options, idle)


@pytest.mark.parametrize("engine", ["vllm", "transformers", "llamacpp"])
def test_the_total_is_the_engines_context(engine: str) -> None:
    assert fit(asked("--sharded false"), engine, 0, 4096).options == {"context": 4096}


def test_a_stretched_model_holds_more_than_it_was_made_for() -> None:
    options = fit(asked("--sharded false --rope-scaling dynamic --rope-factor 2"), "vllm", 0, 8192).options
    assert options == {"args": [*ROPE, "--max-model-len", "8192"]}


@pytest.mark.parametrize(
    ("engine", "kind", "note"),
    [
        ("vllm", "bitsandbytes", "8-bit floats"),
        ("vllm", "bitsandbytes-fp4", "nf4"),
        ("vllm", "awq", ""),
        ("llamacpp", "bitsandbytes", "llamacpp takes the weights as they are"),
        ("transformers", "fp8", "transformers takes"),
    ],
)
def test_what_is_said_of_packing(engine: str, kind: str, note: str) -> None:
    notes = fit(asked(f"--sharded false --quantize {kind}"), engine, 1, None).notes
    assert len(notes) == bool(note)
    assert all(note in said and f"--quantize {kind}" in said for said in notes)


def test_exl2_has_no_engine() -> None:
    with pytest.raises(ServingError, match="take the model as GGUF") as caught:
        fit(asked("--quantize exl2"), "vllm", 1, None)
    assert caught.value.kind == "unsupported"


@pytest.mark.parametrize("text", ["=a", "a,,b", "a="])
def test_adapters_that_are_none(text: str) -> None:
    with pytest.raises(ServingError, match="is not an adapter; write NAME=FOLDER"):
        fit(asked(f"--lora-adapters {text}"), "vllm", 1, None)


@pytest.mark.parametrize(
    ("config", "found"),
    [
        ({"chat_template": "{{ 1 }}"}, "{{ 1 }}"),
        ({"chat_template": [{"name": "rag", "template": "r"}, {"name": "default", "template": "d"}]}, "d"),
        ({"chat_template": [{"name": "rag", "template": "r"}]}, None),
        ({}, None),
        ({"chat_template": 3}, None),
    ],
)
def test_a_chat_template_of_a_file(tmp_path: Path, config: dict[str, Any], found: str | None) -> None:
    file = tmp_path / "tokenizer_config.json"
    file.write_text(json.dumps(config))
    line = asked(f"--sharded false --tokenizer-config-path {file}")
    if found is None:
        with pytest.raises(ServingError, match="--tokenizer-config-path"):
            fit(line, "llamacpp", 0, None)
    else:
        assert fit(line, "llamacpp", 0, None).options == {"template": found}
        assert fit(line, "vllm", 0, None).options == {"args": ["--chat-template", found]}


def test_a_file_that_is_not_there() -> None:
    with pytest.raises(ServingError, match="cannot be read: No such file"):
        fit(asked("--tokenizer-config-path /nowhere/x.json"), "llamacpp", 0, None)
