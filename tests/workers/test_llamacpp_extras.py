"""What goes with a model in llama.cpp: adapters at load and at run time, a draft model, a llama-server of one's own."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from lora_files import write_lora

STORY = {"messages": [{"role": "user", "content": "Tell me a story."}], "temperature": 0, "max_tokens": 24}
CHAT = "/v1/chat/completions"


@pytest.fixture(scope="session")
def adapter(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """So strong that every answer is another one."""
    return write_lora(tmp_path_factory.mktemp("lora") / "strong.gguf", 5.0)


def text(host: Any, **fields: Any) -> str:
    return host.ask(CHAT, **STORY, **fields)["choices"][0]["message"]["content"]


def test_an_adapter_at_load_and_at_run_time(pocket: Any, hosts: Callable[..., Any], adapter: Path) -> None:
    host = hosts(lora=[{"path": str(adapter)}], slots=2)
    plain, turned = text(pocket), text(host)
    assert turned != plain
    (listed,) = json.loads(host.call("/lora-adapters")[2])
    assert (listed["id"], listed["path"], listed["scale"]) == (0, str(adapter), 1.0)
    # For one request alone, and for all that follow.
    assert text(host, lora=[{"id": 0, "scale": 0.0}]) == plain
    assert text(host) == turned, "the prompt of the request before is not gone on from"
    assert host.call("/lora-adapters", [{"id": 0, "scale": 0}])[0] == 200
    assert text(host) == plain
    assert json.loads(host.call("/lora-adapters")[2])[0]["scale"] == 0
    assert host.call("/lora-adapters", [{"id": 0, "scale": 1}])[0] == 200
    assert text(host) == turned


def test_an_adapter_that_waits_for_its_use(pocket: Any, hosts: Callable[..., Any], adapter: Path) -> None:
    host = hosts(lora=[{"path": str(adapter), "scale": 0}], slots=2)
    assert text(host) == text(pocket)
    assert text(host, lora=[{"id": 0, "scale": 1}]) != text(pocket)


def cached(host: Any) -> int:
    host.ask(CHAT, **STORY)
    return host.ask(CHAT, **STORY)["usage"]["prompt_tokens_details"]["cached_tokens"]


def test_prompts_are_cached_until_adapters_are_used_in_two_ways(new_host: Callable[..., Any], adapter: Path) -> None:
    host = new_host(lora=[{"path": str(adapter)}], slots=1)
    assert cached(host) > 0
    text(host, lora=[{"id": 0, "scale": 0.5}])
    assert cached(host) == 0


@pytest.mark.parametrize(
    ("body", "says"),
    [
        ([{"id": 7, "scale": 1}], "there is no adapter 7; there: none; start the model with the option lora"),
        ([{"id": 0}], "missing required field `scale`"),
        ({"id": 0, "scale": 1}, 'adapters are named as [{"id": 0, "scale": 1.0}, …]'),
        ([{"id": "0", "scale": 1}], "Expected `int`"),
        (b"[", "adapters are named as"),
    ],
)
def test_adapters_that_are_not_there(pocket: Any, body: Any, says: str) -> None:
    error = pocket.refusal("/lora-adapters", body)
    assert error["status"] == 400
    assert says in error["message"]
    assert json.loads(pocket.call("/lora-adapters")[2]) == []
    if not isinstance(body, bytes):
        error = pocket.refusal(CHAT, {**STORY, "lora": body})
        assert (error["status"], error["param"]) == (400, "lora")
        assert says in error["message"]


def test_a_draft_model_proposes_and_changes_nothing(pocket: Any, hosts: Callable[..., Any]) -> None:
    from trunkcall.pocket import gguf_path

    host = hosts(draft=str(gguf_path()), draft_tokens=4, slots=2)
    assert text(host) == text(pocket)
    drafted = host.ask(CHAT, **STORY, timings_per_token=True)["timings"]
    assert drafted["draft_n"] == drafted["draft_n_accepted"] > 0
    wanted = {"messages": STORY["messages"], "temperature": 0, "logprobs": True, "return_token_ids": True}
    status, headers, body = host.call(CHAT, {**wanted, "max_tokens": 8})
    assert (status, headers["x-trunkcall-dropped"]) == (200, "logprobs, return_token_ids")
    assert json.loads(body)["choices"][0]["logprobs"] is None
    assert host.refusal(CHAT, {**wanted, "max_tokens": 8}, {"x-trunkcall-strict": "1"})["param"] == "logprobs"
    status, headers, body = host.call(CHAT, {**wanted, "max_tokens": 1})
    assert "x-trunkcall-dropped" not in headers
    assert len(json.loads(body)["choices"][0]["logprobs"]["content"]) == 1


def test_a_draft_of_another_vocabulary_is_refused_at_the_start(new_host: Callable[..., Any], tmp_path: Path) -> None:
    host = new_host(draft=str(other_vocabulary(tmp_path / "other.gguf")))
    assert host.report.get("address") is None
    assert "other.gguf cannot propose for this one, whose vocabulary is another" in host.report["error"]
    assert host.process.wait(15) == 1


def other_vocabulary(path: Path) -> Path:
    """A tiny model with 300 tokens of its own."""
    import gguf
    import numpy as np

    writer = gguf.GGUFWriter(path, "llama")
    for add, value in (
        ("context_length", 64),
        ("embedding_length", 32),
        ("block_count", 1),
        ("feed_forward_length", 32),
    ):
        getattr(writer, f"add_{add}")(value)
    writer.add_head_count(2)
    writer.add_layer_norm_rms_eps(1e-5)
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre("qwen2")
    writer.add_token_list([f"t{n}" for n in range(300)])
    writer.add_token_types([1] * 300)
    writer.add_token_merges(["t 1"])
    shapes = {"token_embd": (300, 32), "output_norm": (32,), "blk.0.attn_norm": (32,), "blk.0.ffn_norm": (32,)}
    shapes |= {f"blk.0.{name}": (32, 32) for name in ("attn_q", "attn_k", "attn_v", "attn_output")}
    shapes |= {f"blk.0.ffn_{name}": (32, 32) for name in ("gate", "up", "down")}
    for name, shape in shapes.items():
        writer.add_tensor(f"{name}.weight", np.ones(shape, dtype=np.float32))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path


STAND_IN = f"""#!{sys.executable}
import argparse, http.server, json
parser = argparse.ArgumentParser()
for flag in ("host", "model", "alias"):
    parser.add_argument(f"--{{flag}}")
parser.add_argument("--port", type=int)
told, rest = parser.parse_known_args()
class Answer(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        body = json.dumps({{"alias": told.alias, "model": told.model, "rest": rest}}).encode()
        self.send_response(200)
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)
http.server.ThreadingHTTPServer((told.host, told.port), Answer).serve_forever()
"""


def test_a_llama_server_of_ones_own(new_host: Callable[..., Any], tmp_path: Path) -> None:
    program = tmp_path / "llama-server"
    program.write_text(STAND_IN)
    program.chmod(0o755)
    host = new_host(server=str(program), context=512, slots=2)
    assert host.report.get("address"), host.report
    told = json.loads(host.call("/health")[2])
    assert (told["alias"], Path(told["model"]).name) == ("tiny", "pocket.gguf")
    assert told["rest"][:4] == ["--ctx-size", "1024", "--parallel", "2"]
    assert host.stop() == 0
