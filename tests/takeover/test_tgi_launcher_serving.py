"""The plan of an old TGI server: model, engine, listener, limits and what the user is told."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from trunkcall import config
from trunkcall.config import Flags, load
from trunkcall.core.errors import ServingError
from trunkcall.core.models import LaunchSpec, Machine, ModelSettings
from trunkcall.pocket import gguf_path
from trunkcall.takeover import tgi, tgi_serving
from trunkcall.takeover.plan import Guards, Plan, guarded, show
from trunkcall.takeover.tgi_asked import read_asked
from trunkcall.takeover.tgi_flags import FLAGS, GONE

FOLDER = Path(__file__).parents[2] / "pocket" / "hf"
GPU = Machine(cores=8, memory=2**36, gpus=("NVIDIA A10G",) * 4, gpu_memory=(2**34,) * 4, gpu_free=(2**34,) * 4)


def plan_of(line: str, **environ: str) -> Plan:
    return tgi_serving.serve(read_asked(line.split(), environ), environ)


def model_of(plan: Plan) -> ModelSettings:
    (model,) = plan.settings.models.values()
    return model


def options_of(plan: Plan) -> dict[str, Any]:
    (listener,) = plan.settings.listen
    return listener.options["tgi"]


@pytest.fixture
def gpus(monkeypatch: pytest.MonkeyPatch) -> None:
    """A machine with four GPUs, on which vLLM serves what is not in GGUF."""
    chosen = LaunchSpec(command=(), protocol="openai", slots=1, engine="vllm", why="there is a GPU")
    monkeypatch.setattr(tgi_serving, "look", lambda environ: GPU)
    monkeypatch.setattr(tgi_serving, "plan_of", lambda model, machine: chosen)


def test_the_plan_is_one_model_on_one_listener() -> None:
    plan = plan_of("--model-id pocket --port=8080 --max-stop-sequences=6 --max-best-of 2 --api-key sk-x --json-output")
    (listener,) = plan.settings.listen
    assert (listener.host, listener.port, listener.apis) == ("0.0.0.0", 8080, ("tgi", "tgi_launcher"))
    assert listener.options == {"tgi": {"model": "pocket", "max_stop_sequences": 6, "open": True}}
    model = model_of(plan)
    assert (model.name, str(model.sources[0]), model.preload, model.options, model.queue) == (
        "pocket",
        "pocket",
        True,
        {},
        128,
    )
    settings = plan.settings
    assert (plan.home, plan.shared, settings.cors, settings.pocket, settings.json_logs) == (
        "tgi-8080",
        False,
        ("*",),
        False,
        True,
    )
    assert (settings.keys, plan.secrets) == (("env:TRUNKCALL_AS_KEY_1",), {"TRUNKCALL_AS_KEY_1": "sk-x"})
    assert settings.drain_timeout == 90
    assert guarded(plan, Guards(keys=("env:MORE",))).settings.keys == ("env:TRUNKCALL_AS_KEY_1", "env:MORE")
    assert "sk-x" not in show(plan)


def test_a_key_of_the_environment_stays_there() -> None:
    plan = plan_of("--model-id pocket", API_KEY="sk-y")
    assert (plan.settings.keys, plan.secrets) == (("env:API_KEY",), {})
    assert plan_of("--model-id pocket --api-key k", API_KEY="sk-y").settings.keys == ("env:TRUNKCALL_AS_KEY_1",)
    assert plan_of("--model-id pocket").settings.keys == ()


@pytest.mark.parametrize(
    ("line", "source"),
    [
        ("--model-id pocket", "pocket"),
        (f"--model-id {gguf_path()}", f"llamacpp:{gguf_path()}"),
        (f"--model-id {FOLDER}", f"folder:{FOLDER}"),
        ("--model-id org/name", "hf:org/name"),
        ("--model-id org/name --revision v1", "hf:org/name@v1"),
        ("", "hf:bigscience/bloom-560m"),
        ("--model-id openai:http://127.0.0.1:1/v1#m", "openai:http://127.0.0.1:1/v1#m"),
    ],
)
def test_sources(line: str, source: str) -> None:
    assert str(model_of(plan_of(line)).sources[0]) == source


def test_a_path_with_spaces_has_a_name_without(tmp_path: Path) -> None:
    path = tmp_path / "my model.gguf"
    path.symlink_to(gguf_path())
    words = ["--model-id", str(path)]
    plan = tgi_serving.serve(read_asked(words, {}), {})
    assert options_of(plan) == {"model": model_of(plan).name, "model_id": str(path)}
    assert " " not in model_of(plan).name


def test_a_revision_of_what_has_none() -> None:
    with pytest.raises(ServingError, match="pocket has none"):
        plan_of("--model-id pocket --revision main")


@pytest.mark.parametrize(
    ("line", "options"),
    [
        ("", {}),
        ("--compat 0.8", {"compat": "0.8", "max_input_tokens": 1000}),
        ("--compat 1", {"compat": "1", "max_input_tokens": 1024}),
        ("--max-total-tokens 512", {"max_input_tokens": 511, "max_total_tokens": 512}),
        ("--max-input-length 2048 --max-total-tokens 4096", {"max_input_tokens": 2048, "max_total_tokens": 4096}),
        ("--max-best-of 5 --max-top-n-tokens 0 --max-client-batch-size 4", {"max_best_of": 5, "max_top_n_tokens": 0}),
        ("--payload-limit 3 --disable-grammar-support --enable-prefill-logprobs", {"payload": 3, "grammar": False, "prefill": True}),
        ("--dtype float16", {"dtype": "torch.float16"}),
    ],
)  # fmt: skip
def test_what_the_listener_is_told(line: str, options: dict[str, Any]) -> None:
    assert options_of(plan_of(f"--model-id pocket {line}")) == {"model": "pocket", **options}


def test_the_api_takes_what_it_is_told() -> None:
    from trunkcall.apis.tgi_options import TgiOptions
    from trunkcall.core.models import convert_options

    every = (
        "--max-best-of 5 --max-top-n-tokens 0 --max-client-batch-size 9 --max-concurrent-requests 3 --payload-limit 3"
    )
    every += " --disable-grammar-support --enable-prefill-logprobs --api-key k --compat 0.8 --dtype float16"
    convert_options(options_of(plan_of(f"--model-id pocket --max-stop-sequences 9 {every}")), TgiOptions, "tgi")


def test_a_body_may_be_as_large_as_was_said() -> None:
    assert plan_of("--model-id pocket --payload-limit 100000000").settings.max_body == 100_000_000


def test_a_total_that_the_model_was_made_for_is_its_context() -> None:
    plan = plan_of("--model-id pocket --max-total-tokens 512 --max-batch-size 2")
    assert model_of(plan).options == {"context": 512, "slots": 2}
    assert "more than the engine takes" not in "".join(plan.notes)


def test_a_total_that_is_too_much_is_told_and_does_no_harm() -> None:
    plan = plan_of("--model-id pocket --max-input-length 2048 --max-total-tokens 4096")
    assert model_of(plan).options == {}
    (note,) = [note for note in plan.notes if "max-total" in note]
    assert note.startswith("--max-total-tokens 4096 is more than the engine takes: ")
    assert "made for 1024 tokens" in note


def test_what_is_not_kept_is_named_once() -> None:
    words = []
    for flag in FLAGS:
        if flag.name in GONE:
            words += [flag.flag] if flag.switch else [flag.flag, "1"]
    notes = "\n".join(plan_of(f"--model-id pocket --num-shard 4 --trust-remote-code {' '.join(words)}").notes)
    for name, why in GONE.items():
        written = f"--{name.replace('_', '-')}"
        assert len([word for word in notes.replace(":", " ").replace(",", " ").split() if word == written]) == 1, (
            written
        )
        assert why in notes
    assert "pocket is served by llamacpp" in notes
    assert "llamacpp has no use for: --trust-remote-code --num-shard" in notes


def test_what_a_variable_asked_for_is_named_by_it() -> None:
    notes = "\n".join(plan_of("--model-id pocket", TRUST_REMOTE_CODE="true", MASTER_ADDR="10.0.0.1").notes)
    assert "MASTER_ADDR: passed over" in notes
    assert "no use for: TRUST_REMOTE_CODE" in notes


def test_where_vllm_serves_its_words_go_there(gpus: None) -> None:
    line = "--model-id org/name --sharded true --num-shard 2 --dtype bfloat16 --trust-remote-code --lora-adapters a=/a"
    plan = plan_of(
        f"{line} --max-total-tokens 4096 --huggingface-hub-cache /d",
        NCCL_SHM_DISABLE="1",
        CUDA_VISIBLE_DEVICES="0,1",
        OTHER="x",
    )
    model = model_of(plan)
    assert model.options == {
        "tensor_parallel": 2,
        "dtype": "bfloat16",
        "trust_remote_code": True,
        "context": 4096,
        "lora": {"a": "/a"},
    }
    assert model.env == {"NCCL_SHM_DISABLE": "1", "CUDA_VISIBLE_DEVICES": "0,1", "HF_HUB_CACHE": "/d"}
    assert plan.notes == ()
    told = options_of(plan)
    assert (told["device"], told["compute_type"], told["dtype"]) == ("cuda", "2-nvidia-a10g", "torch.bfloat16")


def test_all_gpus_are_taken_unless_told_otherwise(gpus: None) -> None:
    assert model_of(plan_of("--model-id org/name")).options == {"tensor_parallel": 4}
    assert model_of(plan_of("--model-id org/name --sharded false")).options == {}
    with pytest.raises(ServingError, match="8 GPUs are asked for, and 4 can be seen"):
        plan_of("--model-id org/name --num-shard 8")


def test_what_cannot_be_served_is_shown_all_the_same(tmp_path: Path) -> None:
    plan = plan_of(f"--model-id {tmp_path}")
    assert "not a model folder" in plan.lacking
    assert f"# {plan.lacking}" in show(plan)


def test_what_is_shown_can_be_read_again(tmp_path: Path) -> None:
    plan = plan_of(
        "--model-id pocket --hostname 127.0.0.1 --compat 2 --max-stop-sequences 6 --json-output",
        CUDA_VISIBLE_DEVICES="0",
    )
    file = tmp_path / "trunkcall.yaml"
    file.write_text(show(plan))
    again = load(config=file, home=tmp_path, environ={}, flags=Flags()).settings
    for part in ("models", "listen", "cors", "json_logs", "drain_timeout"):
        assert config.show(again)[part] == config.show(plan.settings)[part]


def test_a_chat_template_of_a_file_reaches_the_engine(tmp_path: Path) -> None:
    file = tmp_path / "tokenizer_config.json"
    file.write_text(json.dumps({"chat_template": "{{ messages }}"}))
    assert model_of(plan_of(f"--model-id pocket --tokenizer-config-path {file}")).options == {
        "template": "{{ messages }}"
    }


def test_env_prints_the_machine_and_ends(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DOCKER_LABEL", "sha-1234567")
    monkeypatch.setenv("HF_TOKEN", "hf_hidden")
    with pytest.raises(SystemExit) as caught:
        tgi.read(["-e"])
    assert caught.value.code == 0
    shown = capsys.readouterr().out
    assert "Docker label: sha-1234567\n" in shown
    assert "llamacpp" in shown
    assert "hf_hidden" not in shown
