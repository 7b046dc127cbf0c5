"""vLLM's old command line: every flag is the same, renamed or gone, and a server comes of it."""

from __future__ import annotations

import json
import re
import signal
import subprocess
import sys
import urllib.error
import urllib.request
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import pytest
from old_command import OldCommand, old_command
from running import eventually

from trunkcall import config
from trunkcall.config import Flags, load
from trunkcall.core.errors import ServingError
from trunkcall.core.models import LaunchSpec, ModelSettings
from trunkcall.pocket import gguf_path
from trunkcall.takeover import vllm, vllm_api_server, vllm_serving
from trunkcall.takeover.plan import Guards, Plan, guarded, show
from trunkcall.takeover.vllm_flags import GONE, Asked, read_flags
from trunkcall.vllm_words import translate

LIST = Path(__file__).parent / "data" / "old-commands.md"


def asked(line: str) -> Asked:
    return read_flags("vllm", line.split())


def plan_of(line: str) -> Plan:
    return vllm_api_server.read(line.split())


def model_of(plan: Plan) -> ModelSettings:
    (model,) = plan.settings.models.values()
    return model


def test_every_flag_of_the_old_page_is_known() -> None:
    (line,) = re.findall(r"(?m)^H20 (.*)$", LIST.read_text(encoding="utf-8"))
    flags = re.findall(r"--?[a-z-]+", line)
    assert len(flags) == 28
    values = {"--allowed-origins": "[]", "--allowed-methods": "[]", "--allowed-headers": "[]", "--dtype": "half"}
    switches = {"--allow-credentials", "--use-np-weights", "--use-dummy-weights", "--worker-use-ray"}
    switches |= {"--disable-log-stats", "--engine-use-ray", "--disable-log-requests"}
    words = [word for flag in flags for word in ([flag] if flag in switches else [flag, values.get(flag, "1")])]
    read = read_flags("vllm", words)
    assert read.extra == ()
    assert read.model == "1"


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("--model m", {"host": "0.0.0.0", "port": 8000, "names": ("m",), "origins": ("*",), "keys": ()}),
        ("m", {"model": "m"}),
        ("--port 1 m", {"model": "m", "port": 1}),
        ("--port=1 --host=h --model=m", {"model": "m", "port": 1, "host": "h"}),
        ("--unknown v m", {"model": "m", "extra": ("--unknown", "v")}),
        ("--unknown=v m --switch", {"model": "m", "extra": ("--unknown=v", "--switch")}),
        ("--model m --served-model-name a b a", {"names": ("a", "b")}),
        ("--model m --api-key k1 k2", {"keys": ("k1", "k2")}),
        ("--model m --allowed-origins [\"http://x\"]", {"origins": ("http://x",)}),
        ("--model m --allowed-origins []", {"origins": ()}),
        ("--model m --allowed-methods [\"*\"]", {"narrowed": ()}),
        ("--model m --allowed-methods [\"GET\"] --allow-credentials",
         {"narrowed": ("--allow-credentials", "--allowed-methods")}),
        ("--model m --tensor_parallel_size=2 --max_num_seqs 3",
         {"words": {"tensor_parallel_size": 2, "max_num_seqs": 3}}),
        ("--model m -tp 2 -pp 3", {"words": {"tensor_parallel_size": 2, "pipeline_parallel_size": 3}}),
        ("--model m --tokenizer-mode slow", {"words": {"tokenizer_mode": "auto"}}),
        ("--model m --use-np-weights", {"gone": ("use_np_weights",), "words": {"load_format": "npcache"}}),
        ("--model m --use-dummy-weights", {"words": {"load_format": "dummy"}}),
        ("--model m --worker-use-ray", {"words": {"distributed_executor_backend": "ray"}}),
        ("--model m --swap-space 4 --engine-use-ray --disable-log-requests",
         {"gone": ("swap_space", "engine_use_ray", "disable_log_requests"), "words": {}}),
        ("--model m --uvicorn-log-level trace --revision r", {"log_level": "debug", "revision": "r"}),
    ],
)  # fmt: skip
def test_flags_are_read(line: str, expected: dict[str, Any]) -> None:
    read = asked(line)
    assert {name: getattr(read, name) for name in expected} == expected


def test_a_model_with_spaces_gets_a_name_without() -> None:
    assert read_flags("vllm", ["--model", "my models/m"]).names == ("my_models/m",)


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ([], "which model?"),
        (["--unknown", "m"], "which model?"),
        (["m", "--port", "none"], "argument --port"),
        (["m", "--port", "70000"], "0 to 65535"),
        (["m", "--allowed-origins", "*"], "JSON list"),
        (["m", "--allowed-origins", "[1]"], "JSON list"),
        (["m", "--max-num-seqs", "many"], "invalid int"),
        (["m", "--lora-modules", "a"], "not NAME=PATH"),
        (["m", "--lora-modules", '{"name": "a"}'], "not an adapter"),
        (["--model"], "expected one argument"),
    ],
)
def test_wrong_use_ends_with_code_2_and_the_flag(
    words: list[str], said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as caught:
        read_flags("vllm", words)
    assert caught.value.code == 2
    assert said in capsys.readouterr().err


@pytest.mark.parametrize("flag", ["--uds s", "--root-path /x"])
def test_what_cannot_be_kept_is_refused(flag: str) -> None:
    with pytest.raises(ServingError) as caught:
        asked(f"--model m {flag}")
    assert caught.value.kind == "unsupported"
    assert flag.split(maxsplit=1)[0] in caught.value.message


def test_tls_and_adapters() -> None:
    words = ["--model", "m", "--ssl-keyfile", "k.pem", "--ssl-certfile", "/c.pem", "--lora-modules", "a=/x"]
    found = read_flags("vllm", [*words, '{"name": "n", "path": "/y"}'])
    assert (found.certificate, found.private_key) == ("/c.pem", str(Path.cwd() / "k.pem"))
    assert translate(found.words, "vllm").options == {"lora": {"a": "/x", "n": "/y"}}
    assert translate(found.words, "llamacpp").idle == ("lora_modules",)
    plan = plan_of("--model pocket --ssl-keyfile /k.pem --ssl-certfile /c.pem")
    assert (plan.settings.listen[0].certificate, plan.settings.listen[0].private_key) == ("/c.pem", "/k.pem")


def test_the_plan_is_one_model_on_one_listener(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("VLLM_API_KEY", raising=False)
    plan = plan_of(
        "--port=5000 --model pocket --seed 1234 --max-model-len 128 --served-model-name a b c --api-key sk-x"
    )
    (listener,) = plan.settings.listen
    assert (listener.host, listener.port, listener.apis) == ("0.0.0.0", 5000, ("openai", "vllm"))
    assert listener.options == {"openai": {"aliases": {"b": "a", "c": "a"}}}
    model = model_of(plan)
    assert (model.name, str(model.sources[0]), model.preload) == ("a", "pocket", True)
    assert model.options == {"seed": 1234, "context": 128}
    assert (plan.home, plan.settings.cors, plan.settings.pocket) == ("vllm-5000", ("*",), False)
    assert plan.settings.keys == ("env:TRUNKCALL_AS_KEY_1",)
    assert plan.secrets == {"TRUNKCALL_AS_KEY_1": "sk-x"}
    closed = guarded(plan, Guards(keys=("env:MORE",)))
    assert closed.settings.keys == ("env:TRUNKCALL_AS_KEY_1", "env:MORE")
    assert "sk-x" not in show(plan) + repr(read_flags("vllm", ["pocket", "--api-key", "sk-x"]))


def test_vllms_own_variable_holds_the_key_too(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("VLLM_API_KEY", "sk-y")
    assert plan_of("--model pocket").settings.keys == ("env:VLLM_API_KEY",)
    assert plan_of("--model pocket --api-key k").settings.keys == ("env:TRUNKCALL_AS_KEY_1",)


def test_what_is_not_kept_is_named_once() -> None:
    flags = "--swap-space 4 --disable-log-requests --tensor-parallel-size 2 --tokenizer t --foo bar --allow-credentials"
    notes = "\n".join(plan_of(f"--model pocket {flags}").notes)
    assert "pocket is served by llamacpp, not by vLLM" in notes
    assert "llamacpp has no use for: --tensor-parallel-size --tokenizer --foo bar" in notes
    for name in ("swap-space", "disable-log-requests", "allow-credentials", "tokenizer"):
        assert notes.count(f"--{name}") == 1, name
    assert GONE["swap_space"] in notes


def test_where_vllm_serves_its_flags_go_there(monkeypatch: pytest.MonkeyPatch) -> None:
    chosen = LaunchSpec(command=(), protocol="openai", slots=1, engine="vllm", why="there is a GPU")
    monkeypatch.setattr(vllm_serving, "plan_of", lambda model, machine: chosen)
    plan = plan_of(
        "--model org/name -tp 2 --dtype half --tokenizer t --seed 1 --block-size 16 --foo bar --download-dir /d"
    )
    model = model_of(plan)
    assert str(model.sources[0]) == "hf:org/name"
    assert model.options == {
        "tensor_parallel": 2,
        "dtype": "float16",
        "seed": 1,
        "args": ["--tokenizer", "t", "--block-size", "16", "--foo", "bar"],
    }
    assert model.env == {"HF_HUB_CACHE": "/d"}
    assert plan.notes == ()


def test_what_cannot_be_served_is_shown_all_the_same(tmp_path: Path) -> None:
    plan = plan_of(f"--model {tmp_path}")
    assert "not a model folder" in plan.lacking
    assert f"# {plan.lacking}" in show(plan)


def test_what_is_shown_can_be_read_again(tmp_path: Path) -> None:
    plan = plan_of("--model pocket --host 127.0.0.1 --served-model-name a b --seed 3 --download-dir /d")
    file = tmp_path / "trunkcall.yaml"
    file.write_text(show(plan))
    again = load(config=file, home=tmp_path, environ={}, flags=Flags()).settings
    for part in ("models", "listen", "cors"):
        assert config.show(again)[part] == config.show(plan.settings)[part]


@pytest.mark.parametrize(
    ("words", "code", "said"),
    [
        (["chat"], 2, "invalid choice: 'chat'"),
        ([], 2, "command"),
        (["--help"], 0, "trunkcall chat"),
        (["serve", "--help"], 0, "--tensor-parallel-size"),
        (["serve"], 2, "which model?"),
    ],
)
def test_vllm_serve_is_the_part_that_is_replaced(
    words: list[str], code: int, said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as caught:
        vllm.read(words)
    assert caught.value.code == code
    assert said in "".join(capsys.readouterr())


def test_both_commands_mean_the_same() -> None:
    assert vllm.read(["serve", "pocket", "--port", "1"]) == plan_of("--model pocket --port 1")


# Real starts


def started(home: Path, *words: str) -> AbstractContextManager[OldCommand]:
    return old_command(home, *words, "--host", "127.0.0.1", "--port", "0")


def call(url: str, body: Any = None, **headers: str) -> tuple[int, Any]:
    data = None if body is None else json.dumps(body).encode()
    request = urllib.request.Request(url, data, {"content-type": "application/json", **headers})
    try:
        with urllib.request.urlopen(request, timeout=60) as answer:
            status, text = answer.status, answer.read()
    except urllib.error.HTTPError as error:
        with error:
            status, text = error.code, error.read()
    return status, json.loads(text) if text else None


@pytest.mark.timeout(180)
def test_it_serves_under_all_its_names(tmp_path: Path) -> None:
    line = (
        "vllm",
        "serve",
        "pocket",
        "--served-model-name",
        "org/a",
        "b",
        "--api-key",
        "sk-1",
        "--allowed-origins",
        "[]",
    )
    with started(tmp_path, *line) as child:
        url = child.ready()
        assert eventually(lambda: call(f"{url}/health")[0] == 200, 60), "needs no key"
        assert call(f"{url}/ping") == (200, None)
        assert call(f"{url}/ping", {})[0] == 200
        assert "version" in call(f"{url}/version")[1]
        assert call(f"{url}/v1/models")[0] == 401
        key = {"authorization": "Bearer sk-1"}
        assert [model["id"] for model in call(f"{url}/v1/models", **key)[1]["data"]] == ["org/a", "b"]
        assert call(f"{url}/v1/models/b", **key)[1]["id"] == "b"
        question = {"prompt": "The capital of France is", "max_tokens": 3, "temperature": 0}
        for name in ("org/a", "b"):
            status, answer = call(f"{url}/v1/completions", {"model": name, **question}, **key)
            assert (status, answer["model"], answer["choices"][0]["text"]) == (200, "org/a", " Paris")
        assert call(f"{url}/v1/completions", {"model": "c", **question}, **key)[0] == 404
        assert call(f"{url}/admin/models", **key)[0] == 404
        eventually(lambda: "org/a is served by llamacpp" in child.said)
        assert "sk-1" not in child.said
        child.process.send_signal(signal.SIGINT)
        assert child.process.wait(30) == 0


@pytest.mark.timeout(120)
def test_a_model_that_cannot_be_loaded_ends_the_server(tmp_path: Path) -> None:
    broken = tmp_path / "broken.gguf"
    broken.write_bytes(gguf_path().read_bytes()[:200_000])
    with started(tmp_path / "home", "vllm.entrypoints.openai.api_server", "--model", str(broken)) as child:
        assert child.process.wait(50) == 1
    text = child.said
    assert re.search(r"trunkcall: .*broken.gguf", text), text
    assert "Traceback" not in text


def test_help_is_quick_and_needs_no_model() -> None:
    done = subprocess.run(
        [sys.executable, "-X", "importtime", "-m", "trunkcall", "as", "vllm", "serve", "--help"],
        capture_output=True,
        text=True,
        timeout=50,
    )
    assert done.returncode == 0
    assert not {"torch", "uvloop", "openai", "transformers"} & set(re.findall(r"\| +(\w+)\n", done.stderr))
