"""The command lines of FastChat's workers: every flag is kept, replaced or named, and old spellings do."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import msgspec
import pytest

from trunkcall.config import Flags as UpFlags
from trunkcall.config import Listener, load
from trunkcall.core.errors import ServingError
from trunkcall.core.models import LaunchSpec, Machine, ModelSettings
from trunkcall.takeover import (
    fastchat_model_worker,
    fastchat_multi_model_worker,
    fastchat_sglang_worker,
    fastchat_vllm_worker,
    fastchat_worker_serving,
)
from trunkcall.takeover.fastchat_loading_flags import GONE
from trunkcall.takeover.plan import Plan, show

FOLDER = str(Path(__file__).parents[2] / "pocket" / "hf")
MODEL_WORKER = fastchat_model_worker.read
MULTI = fastchat_multi_model_worker.read
VLLM = fastchat_vllm_worker.read
SGLANG = fastchat_sglang_worker.read

GPUS = Machine(cores=8, memory=2**36, gpus=("H", "H"), gpu_memory=(2**36, 2**36), gpu_free=(2**36, 2**36))


@pytest.fixture(autouse=True)
def plain(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """No variables and no cache of whoever runs this."""
    for name in ("FASTCHAT_WORKER_HEART_BEAT_INTERVAL", "SSL_KEYFILE", "SSL_CERTFILE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path / "hub"))


@pytest.fixture
def chosen(monkeypatch: pytest.MonkeyPatch) -> None:
    """A machine with two GPUs and every engine, without looking for them; `engine` among the options is obeyed."""

    def plan_of(model: ModelSettings, machine: Machine) -> LaunchSpec | None:
        scheme = model.sources[0].scheme
        if scheme in ("pocket", "llamacpp"):
            return LaunchSpec(command=(), protocol="openai", slots=1, engine="llamacpp")
        if scheme == "openai":
            return None
        engine = model.options.get("engine", "vllm")
        return LaunchSpec(command=(), protocol="openai", slots=1, engine=engine, why="it is there")

    monkeypatch.setattr(fastchat_worker_serving, "plan_of", plan_of)
    monkeypatch.setattr(fastchat_worker_serving, "look", lambda: GPUS)


def listener_of(plan: Plan) -> Listener:
    (listener,) = plan.settings.listen
    assert listener.apis == ("fastchat_worker",)
    return listener


def options_of(plan: Plan) -> dict[str, Any]:
    return listener_of(plan).options["fastchat_worker"]


def model_of(plan: Plan) -> ModelSettings:
    (model,) = plan.settings.models.values()
    return model


def test_without_flags_it_is_vicuna_on_the_old_ports(chosen: None) -> None:
    plan = MODEL_WORKER([])
    assert (listener_of(plan).host, listener_of(plan).port) == ("localhost", 21002)
    name = "vicuna-7b-v1.5"
    assert options_of(plan) == {
        "names": {name: name},
        "controllers": ["http://localhost:21001"],
        "templates": {name: "vicuna_v1.1"},
    }
    model = model_of(plan)
    assert (str(model.sources[0]), model.slots, model.preload) == ("hf:lmsys/vicuna-7b-v1.5", 5, True)
    assert plan.home == "fastchat-model-worker-21002"


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("--model-names a,b", {"names": {"a": "a", "b": "a"}}),
        ("--model-name a", {"names": {"a": "a"}}),
        ("--model-path x/y/", {"names": {"y": "y"}}),
        ("--controller http://c:1", {"controllers": ["http://c:1"]}),
        ("--controller-url http://c:1", {"controllers": ["http://c:1"]}),
        ("--controller-addr http://c:1", {"controllers": ["http://c:1"]}),
        ("--controller-address http://c:1,http://d:1 --controller http://c:1",
         {"controllers": ["http://c:1", "http://d:1"]}),
        ("--no-register", {"controllers": None}),
        ("--no-reg --controller http://c:1", {"controllers": None}),
        ("--worker http://w:1", {"address": "http://w:1"}),
        ("--worker-address http://0.0.0.0:21002", {"address": "http://0.0.0.0:21002"}),
        ("--conv-template alpaca", {"templates": {"vicuna-7b-v1.5": "alpaca"}}),
        ("--conv alpaca --conv vicuna_v1.1", {"templates": {"vicuna-7b-v1.5": "vicuna_v1.1"}}),
        ("--stream-interval 7", {"interval": 7}),
        ("--seed 0", {"seed": 0}),
        ("--embed-in-truncate", {"truncate": ["vicuna-7b-v1.5"]}),
        ("--model-path some/other", {"templates": None}),
        (f"--model-path {FOLDER}", {"templates": None}),
        ("--model-path pocket", {"templates": None}),
    ],
)  # fmt: skip
def test_what_the_worker_is_told(chosen: None, line: str, expected: dict[str, Any]) -> None:
    options = options_of(MODEL_WORKER(line.split()))
    assert {key: options.get(key) for key in expected} == expected


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("--host 0.0.0.0 --port 1", {"host": "0.0.0.0", "port": 1}),
        ("--host=h --port=0", {"host": "h", "port": 0}),
    ],
)
def test_where_it_listens(chosen: None, line: str, expected: dict[str, Any]) -> None:
    listener = listener_of(MODEL_WORKER(line.split()))
    assert {key: getattr(listener, key) for key in expected} == expected


EMBEDS = {"embeddings": True}


@pytest.mark.parametrize(
    ("read", "line", "source", "options"),
    [
        (MODEL_WORKER, "--model-path o/n", "hf:o/n", {}),
        (MODEL_WORKER, "--model-path o/n --revision main", "hf:o/n", {}),
        (MODEL_WORKER, "--model-path o/n --revision r1", "hf:o/n@r1", {}),
        (MODEL_WORKER, f"--model-path {FOLDER} --revision r1", f"folder:{FOLDER}", {}),
        (MODEL_WORKER, "--model-path /x/y.gguf", "llamacpp:/x/y.gguf", EMBEDS),
        (MODEL_WORKER, "--model-path /x/y.gguf --device cpu --load-8bit", "llamacpp:/x/y.gguf", EMBEDS),
        (MODEL_WORKER, "--model-path openai:http://h:1/v1#m", "openai:http://h:1/v1#m", {}),
        (MODEL_WORKER, "--model-path o/n --device cuda", "hf:o/n", {}),
        (MODEL_WORKER, "--model-path o/n --num-gpus 2 --gpus 0,2 --dtype float16", "hf:o/n",
         {"tensor_parallel": 2, "dtype": "float16"}),
        (MODEL_WORKER, "--model-path o/n --device cpu", "hf:o/n",
         {"engine": "transformers", "device": "cpu", **EMBEDS}),
        (MODEL_WORKER, "--model-path o/n --device mps --dtype bfloat16", "hf:o/n",
         {"engine": "transformers", "device": "mps", "dtype": "bfloat16", **EMBEDS}),
        (MODEL_WORKER, "--model-path o/n --load-8bit --num-gpus 2", "hf:o/n",
         {"engine": "transformers", "load_in_8bit": True, "device_map": "auto", **EMBEDS}),
        (MODEL_WORKER, "--model-path o/n --trust-remote-code", "hf:o/n", {"trust_remote_code": True}),
        (MODEL_WORKER, "--model-path o/n --device cuda --cpu-offloading", "hf:o/n",
         {"engine": "transformers", "device": "cuda", "device_map": "auto", **EMBEDS}),
        (MODEL_WORKER, "--model-path o/n --load-8bit --max-gpu-memory 13Gib", "hf:o/n",
         {"engine": "transformers", "load_in_8bit": True, "max_memory": 13 * 2**30, **EMBEDS}),
        (MODEL_WORKER, "--model-path o/n --load-8bit --max-gpu-memory 1.5GB", "hf:o/n",
         {"engine": "transformers", "load_in_8bit": True, "max_memory": 1_500_000_000, **EMBEDS}),
        # Of GPUs of 64 GiB.
        (MODEL_WORKER, "--model-path o/n --max-gpu-memory 13GiB", "hf:o/n", {"memory_share": 0.203}),
        (MODEL_WORKER, "--model-path o/n --max-gpu-memory 99GiB", "hf:o/n", {"memory_share": 0.9}),
        (MODEL_WORKER, "--model-path /x/y.gguf --max-gpu-memory 13GiB", "llamacpp:/x/y.gguf", EMBEDS),
        (VLLM, "--model o/n", "hf:o/n", {}),
        (VLLM, "--model-path o/n --num-gpus 2 --gpu_memory_utilization 0.5 --seed 3", "hf:o/n",
         {"tensor_parallel": 2, "memory_share": 0.5, "seed": 3}),
        (VLLM, "--model-path o/n --max_model_len=128 --trust_remote_code --revision r", "hf:o/n@r",
         {"context": 128, "trust_remote_code": True}),
        (VLLM, "--model-path o/n --kv-cache-dtype fp8 --enforce-eager --enable-thing", "hf:o/n",
         {"args": ["--enforce-eager", "--kv-cache-dtype", "fp8", "--enable-thing"]}),
    ],
)  # fmt: skip
def test_how_the_model_is_loaded(chosen: None, read: Any, line: str, source: str, options: dict[str, Any]) -> None:
    plan = read(line.split())
    model = model_of(plan)
    assert (str(model.sources[0]), model.options, plan.lacking) == (source, options, "")


def test_a_limit_in_bytes_is_no_share_of_a_gpu_of_unknown_size(chosen: None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fastchat_worker_serving, "look", lambda: msgspec.structs.replace(GPUS, gpu_memory=()))
    plan = MODEL_WORKER("--model-path o/n --max-gpu-memory 13GiB".split())
    assert model_of(plan).options == {}
    assert any("vllm has no use for: --max-gpu-memory" in note for note in plan.notes)


def test_which_gpus_it_sees(chosen: None) -> None:
    assert model_of(MODEL_WORKER(["--gpus", "0,2", "--num-gpus", "1"])).env == {"CUDA_VISIBLE_DEVICES": "0,2"}


@pytest.mark.parametrize(
    ("read", "line", "slots"),
    [
        (MODEL_WORKER, "", 5),
        (MODEL_WORKER, "--limit-worker-concurrency 2", 2),
        (MODEL_WORKER, "--limit 2", 2),
        (MODEL_WORKER, "--limit 1000", 1000),
        # What these engines set memory aside for; more calls wait.
        (MODEL_WORKER, "--model-path pocket --limit 1000", 32),
        (VLLM, "", None),
        (VLLM, "--limit-worker-concurrency 7", 7),
        (SGLANG, "", None),
    ],
)
def test_calls_at_once(chosen: None, read: Any, line: str, slots: int | None) -> None:
    assert model_of(read(line.split())).slots == slots


def test_every_gone_flag_is_named_with_what_replaced_it(chosen: None) -> None:
    values = {"gptq_wbits": "4", "awq_wbits": "4"}
    words: list[str] = []
    for name in GONE:
        words.append(f"--{name.replace('_', '-')}")
        if not (name.startswith("enable") or name in ("gptq_act_order", "exllama_cache_8bit")):
            words.append(values.get(name, "x"))
    said = "\n".join(MODEL_WORKER(words).notes)
    for name, instead in GONE.items():
        assert f"--{name.replace('_', '-')}" in said
        assert said.count(instead) == 1
    assert "gone" not in "\n".join(MODEL_WORKER([]).notes)


@pytest.mark.parametrize(
    ("read", "line", "said"),
    [
        (MODEL_WORKER, "--model-path pocket --dtype float16 --load-8bit --device cpu",
         "llamacpp has no use for: --dtype float16 --device cpu --load-8bit"),
        (MODEL_WORKER, "--model-path o/n", "o/n is served by vllm: it is there"),
        (MODEL_WORKER, "--model-path pocket --max-gpu-memory 1GiB --cpu-offloading",
         "llamacpp has no use for: --cpu-offloading --max-gpu-memory 1073741824"),
        (VLLM, "--model-path pocket --enforce-eager --foo 1", "llamacpp has no use for: --enforce-eager --foo 1"),
        (SGLANG, "--model-path o/n --mem-fraction-static 0.5 --foo 1",
         "vllm has no use for: --memory-share --foo 1"),
    ],
)  # fmt: skip
def test_what_is_of_no_use_is_said(chosen: None, read: Any, line: str, said: str) -> None:
    assert said in read(line.split()).notes


def test_several_models(chosen: None) -> None:
    line = (
        "--model-path o/vicuna --model-path pocket --model-path o/x --model-names a --model-names b,c --model-names d"
    )
    plan = MULTI([*line.split(), "--conv-template", "one_shot"])
    assert options_of(plan)["names"] == {"a": "a", "b": "b", "c": "b", "d": "d"}
    assert options_of(plan)["templates"] == dict.fromkeys("abd", "one_shot")
    assert {name: str(model.sources[0]) for name, model in plan.settings.models.items()} == {
        "a": "hf:o/vicuna",
        "b": "pocket",
        "d": "hf:o/x",
    }
    assert options_of(MULTI(["--model-path", "o/vicuna", "--model-path", "pocket"]))["templates"] == {
        "vicuna": "vicuna_v1.1"
    }


@pytest.mark.parametrize(
    ("read", "line", "named"),
    [
        (MODEL_WORKER, "--model x", "ambiguous"),
        (MODEL_WORKER, "--port 70000", "70000"),
        (MODEL_WORKER, "--limit-worker-concurrency 0", "--limit-worker-concurrency"),
        (MODEL_WORKER, "--stream-interval x", "--stream-interval"),
        (MODEL_WORKER, "--model-names a,,b", "--model-names"),
        (MODEL_WORKER, "--device tpu", "--device"),
        (MODEL_WORKER, "--max-gpu-memory much", "13GiB"),
        (MODEL_WORKER, "--max-gpu-memory 0GiB", "13GiB"),
        (MODEL_WORKER, "--nonsense", "--nonsense"),
        (MULTI, "--model-path a --model-path b --model-names x", "--model-names"),
        (
            MULTI,
            "--model-path a --model-path b --conv-template x --conv-template y --conv-template z",
            "--conv-template",
        ),
    ],
)
def test_wrong_use_ends_the_process(read: Any, line: str, named: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        read(line.split())
    assert caught.value.code == 2
    assert named in capsys.readouterr().err


@pytest.mark.parametrize(
    ("line", "named"),
    [
        ("--gpus 0 --num-gpus 2", "--num-gpus"),
        ("--num-gpus 0", "--num-gpus"),
        ("--device xpu", "--device xpu"),
        ("--device npu", "--device npu"),
        ("--controller localhost:21001", "--controller-address"),
        ("--worker-address w:1", "--worker-address"),
        ("--ssl", "SSL_KEYFILE"),
        ("--conv-template vicuna_v1", "vicuna_v1"),
    ],
)
def test_what_cannot_be_done_is_said_with_a_remedy(chosen: None, line: str, named: str) -> None:
    with pytest.raises(ServingError, match=named):
        MODEL_WORKER(line.split())


def test_two_models_of_one_name_are_refused(chosen: None) -> None:
    with pytest.raises(ServingError, match="'x' is the name of two models"):
        MULTI(["--model-path", "a/x", "--model-path", "b/x"])


@pytest.mark.parametrize(("text", "beat"), [("", None), ("2", 2.0), ("0.5", 0.5)])
def test_beats_follow_the_variable(
    chosen: None, monkeypatch: pytest.MonkeyPatch, text: str, beat: float | None
) -> None:
    monkeypatch.setenv("FASTCHAT_WORKER_HEART_BEAT_INTERVAL", text)
    assert options_of(MODEL_WORKER([])).get("beat") == beat


@pytest.mark.parametrize("text", ["x", "0", "-1", "inf", "nan"])
def test_beats_that_are_none(chosen: None, monkeypatch: pytest.MonkeyPatch, text: str) -> None:
    monkeypatch.setenv("FASTCHAT_WORKER_HEART_BEAT_INTERVAL", text)
    with pytest.raises(ServingError, match="FASTCHAT_WORKER_HEART_BEAT_INTERVAL"):
        MODEL_WORKER([])


def test_tls(chosen: None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SSL_KEYFILE", "k.pem")
    monkeypatch.setenv("SSL_CERTFILE", "/c.pem")
    listener = listener_of(MODEL_WORKER(["--ssl"]))
    assert (listener.certificate, listener.private_key) == ("/c.pem", str(Path.cwd() / "k.pem"))


def test_an_engine_that_is_not_there_can_be_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    def none(model: ModelSettings, machine: Machine) -> LaunchSpec:
        raise ServingError("unsupported", "no engine is installed")

    monkeypatch.setattr(fastchat_worker_serving, "plan_of", none)
    plan = MODEL_WORKER(["--device", "cpu"])
    assert plan.lacking == "no engine is installed"
    assert "# no engine is installed" in show(plan)


@pytest.mark.parametrize(
    ("read", "words"),
    [
        (MODEL_WORKER, ["--model-path", "pocket", "--seed", "1", "--worker-address", "http://w:1"]),
        (MULTI, ["--model-path", "pocket", "--model-path", FOLDER]),
        (VLLM, ["--model-path", FOLDER, "--no-register"]),
        (SGLANG, ["--model-path", FOLDER, "--multimodal"]),
    ],
)
def test_what_is_shown_can_be_started(read: Any, words: Sequence[str], tmp_path: Path) -> None:
    plan = read(words)
    file = tmp_path / "trunkcall.yaml"
    file.write_text(show(plan), encoding="utf-8")
    settings = load(config=file, home=tmp_path, environ={}, flags=UpFlags()).settings
    assert settings.models == plan.settings.models
    assert msgspec.to_builtins(settings.listen) == msgspec.to_builtins(plan.settings.listen)


@pytest.mark.parametrize("read", [MODEL_WORKER, MULTI, VLLM, SGLANG])
def test_help(read: Any, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        read(["--help"])
    assert caught.value.code == 0
    assert "--controller-address" in capsys.readouterr().out
