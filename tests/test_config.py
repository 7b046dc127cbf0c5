"""Settings: precedence, places of mistakes, and what may be shown."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml
from hypothesis import HealthCheck, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from trunkcall import config, config_file
from trunkcall.config import Flags, Listener, Loaded, load
from trunkcall.core.errors import ServingError
from trunkcall.core.models import Source, parse_source
from trunkcall.home import Home


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A home of its own, and a working directory without a settings file."""
    (tmp_path / "work").mkdir()
    monkeypatch.chdir(tmp_path / "work")
    return tmp_path / "home"


def read(home: Path, text: str | None = None, flags: Flags | None = None, **environ: str) -> Loaded:
    if text is not None:
        Path("trunkcall.yaml").write_text(text, encoding="utf-8")
    return load(config=None, home=home, environ=environ, flags=flags or Flags())


def refusal(home: Path, text: str | None = None, flags: Flags | None = None, **environ: str) -> str:
    with pytest.raises(ServingError) as caught:
        read(home, text, flags, **environ)
    assert caught.value.kind == "bad_request"
    return caught.value.message


def test_nothing_written_serves_pocket_on_loopback(home: Path) -> None:
    loaded = read(home)
    assert loaded.file is None
    assert loaded.settings.listen == (Listener("127.0.0.1", 8000),)
    assert loaded.settings.models["pocket"].sources == (Source("pocket"),)
    assert not home.exists()


def test_precedence_rises_from_default_to_flag(home: Path) -> None:
    assert read(home).settings.log_level == "info"
    assert read(home, "log_level: error").settings.log_level == "error"
    assert read(home, TRUNKCALL_LOG_LEVEL="warning").settings.log_level == "warning"
    loaded = read(home, flags=Flags(log_level="debug"), TRUNKCALL_LOG_LEVEL="warning")
    assert loaded.settings.log_level == "debug"
    assert [(origin.value, origin.place) for origin in loaded.explain("log_level")] == [
        ("info", "default"),
        ("error", "trunkcall.yaml:1: log_level"),
        ("warning", "environment TRUNKCALL_LOG_LEVEL"),
        ("debug", "flag --log-level"),
    ]


def test_which_file_is_read(home: Path, tmp_path: Path) -> None:
    home.mkdir()
    (home / "trunkcall.yaml").write_text("queue: 1")
    assert read(home).settings.queue == 1
    assert read(home, "queue: 2").settings.queue == 2
    other = tmp_path / "other.yaml"
    other.write_text("queue: 3")
    assert load(config=other, home=home, environ={}, flags=Flags()).settings.queue == 3
    with pytest.raises(ServingError, match="no such settings file"):
        load(config=tmp_path / "missing.yaml", home=home, environ={}, flags=Flags())


def test_a_whole_file(home: Path) -> None:
    found = read(
        home,
        """
listen: [8000, {host: "::1", port: 9000, apis: [kuwa_kernel], certificate: tls/cert.pem, private_key: /tls/key.pem}]
models:
  on: pocket
  chat: {source: models/a.gguf, slots: 4, queue: 7, preload: true, options: {context: 4096}, env: {CUDA_VISIBLE_DEVICES: 0}}
  two: {source: debug, replicas: 2}
  big:
    source: ["openai:http://a:8000/v1#m", "openai:http://b:8000/v1#m"]
    key: env:BIG_KEY
    recover: off
pocket: false
cors: "*"
keys: [env:ONE, file:keys/two]
max_body: 1.5MiB
queue: 9
stall_timeout: 1h30m
drain_delay: 12s
drain_timeout: 0.5
""",
    ).settings
    encrypted = Listener(
        "::1", 9000, ("kuwa_kernel",), certificate=str(Path.cwd() / "tls/cert.pem"), private_key="/tls/key.pem"
    )
    assert found.listen == (Listener("127.0.0.1", 8000), encrypted)
    assert list(found.models) == ["on", "chat", "two", "big"]
    chat = found.models["chat"]
    assert chat.sources == (Source("llamacpp", str(Path.cwd() / "models/a.gguf")),)
    assert (chat.slots, chat.queue, chat.preload, chat.options) == (4, 7, True, {"context": 4096})
    assert chat.env == {"CUDA_VISIBLE_DEVICES": "0"}
    assert found.models["two"].sources == (Source("debug"), Source("debug"))
    assert found.models["two"].queue == 9
    assert [source.target for source in found.models["big"].sources] == ["http://a:8000/v1", "http://b:8000/v1"]
    assert (found.models["big"].key, found.models["big"].recover) == ("env:BIG_KEY", "off")
    assert found.cors == ("*",)
    assert found.keys == ("env:ONE", f"file:{Path.cwd()}/keys/two")
    assert (found.max_body, found.stall_timeout) == (1572864, 5400.0)
    assert (found.drain_delay, found.drain_timeout) == (12.0, 0.5)


MISTAKES = [
    ("stroe: x", "trunkcall.yaml:1: stroe: unknown setting. Did you mean 'store'?"),
    ("\n\nmodels:\n  a:\n    source: debug\n    slotz: 1", "trunkcall.yaml:6: models.a.slotz: unknown setting. Did you mean 'slots'?"),
    ("listen:\n- 1\n- {prt: 3}", "trunkcall.yaml:3: listen[1].prt: unknown setting. Did you mean 'port'?"),
    ("models:\n  a:\n    source: debug\n    slots: many", "trunkcall.yaml:4: models.a.slots: expected a whole number or nothing, got text"),
    ("json_logs: maybe", "trunkcall.yaml:1: json_logs: expected true or false, got text"),
    ("models: 3", "trunkcall.yaml:1: models: expected a mapping, got a whole number"),
    ("models:\n a: 3", "trunkcall.yaml:2: models.a: expected a mapping, got a whole number"),
    ("models:\n a: {queue: 3}", "trunkcall.yaml:2: models.a: object missing required field source"),
    ("models:\n a: {source: []}", "trunkcall.yaml:2: models.a.source: expected a list of length >= 1"),
    ("log_level: loud", "trunkcall.yaml:1: log_level: must be one of debug, info, warning, error"),
    ("models:\n a: {source: debug, recover: true}", "trunkcall.yaml:2: models.a.recover: expected text, got true or false"),
    ("models:\n a:\n  source: debug\n  recover: never", "trunkcall.yaml:4: models.a.recover: must be one of auto, exact, off"),
    ("models:\n a:\n  source: debug\n  policy: random", "trunkcall.yaml:4: models.a.policy: must be one of least_loaded, shortest_queue, lottery, weighted, session_affinity, prefix_affinity"),
    ("models:\n a:\n  source: debug\n  price: {promt: 1}", "trunkcall.yaml:4: models.a.price.promt: unknown setting. Did you mean 'prompt'?"),
    ("store: a\nstore: b", "trunkcall.yaml:2: store is set twice, first on line 1"),
    ("models: {a: debug, a: dummy}", "trunkcall.yaml:1: models.a is set twice, first on line 1"),
    ("max_body: huge", "trunkcall.yaml:1: max_body: 'huge' is not a size; write bytes or for example 64MiB"),
    ("\nstall_timeout: soon", "trunkcall.yaml:2: stall_timeout: 'soon' is not a duration; write seconds or for example 500ms, 10m, 1h30m"),
    ("listen: 127.0.0.1", "trunkcall.yaml:1: listen: '127.0.0.1' is not an address; write HOST:PORT, such as 127.0.0.1:8000"),
    ("listen: {port: 99999}", "trunkcall.yaml:1: listen.port: expected a whole number <= 65535"),
    (
        "listen: {port: 1, certificate: c.pem}",
        "trunkcall.yaml:1: listen: certificate and private_key go together: give both or neither",
    ),
    ("listen: []", "trunkcall.yaml:1: listen: needs one address at least, such as 127.0.0.1:8000"),
    ("keys: sk-secret", "trunkcall.yaml:1: keys: a key is written as env:NAME or file:PATH, so that no secret stands in the settings"),
    ("- a", "trunkcall.yaml:1: must be a mapping of settings, such as `log_level: info`"),
    ("? [a]\n: b", "trunkcall.yaml:1: a key must be plain text"),
    ("store: &x [*x]", "trunkcall.yaml:1: nested more than 32 levels deep"),
    ("store: [", "trunkcall.yaml:1: expected the node content, but found '<stream end>'"),
    ("!!python/object:os.system x", "trunkcall.yaml:1: could not determine a constructor for the tag 'tag:yaml.org,2002:python/object:os.system'"),
    ("store: mysql://u:hidden@h/x", "trunkcall.yaml:1: store: must be `sqlite` or a postgresql:// URL"),
    ("retention: long", "trunkcall.yaml:1: retention: 'long' is not a duration; write seconds or for example 500ms, 10m, 1h30m"),
    ("memory: 0", "trunkcall.yaml:1: memory: 0 is not a size; write bytes or for example 64MiB"),
    ("access_log: 3", "trunkcall.yaml:1: access_log: expected true or false, got a whole number"),
    ("telemetry: ftp://x", "trunkcall.yaml:1: telemetry: 'ftp://x' is not a collector's URL; write for example http://127.0.0.1:4318"),
    ("models:\n a:\n  source: debug\n  weights: [1, 2]", "trunkcall.yaml:4: models.a.weights: 2 weights for 1 sources; give one each"),
    ("models:\n a:\n  source: debug\n  ttl: soon", "trunkcall.yaml:4: models.a.ttl: 'soon' is not a duration; write seconds or for example 500ms, 10m, 1h30m"),
    ("models:\n a:\n  source: debug\n  price:\n   prompt: -1", "trunkcall.yaml:5: models.a.price.prompt: expected a number >= 0.0"),
    ("models:\n a:\n  source: debug\n  price: {prompt: .inf}", "trunkcall.yaml:4: models.a.price.prompt: inf is not a price"),
    ("models:\n a:\n  source: debug\n  aliases: ['x y']", "trunkcall.yaml:4: models.a.aliases: 'x y' cannot be a model's name: it is empty or has spaces in it"),
    ("models:\n a:\n  source: debug\n  fallback: pockt", "trunkcall.yaml:4: models.a.fallback: there is no model 'pockt'. Did you mean 'pocket'?"),
    ("models:\n a: {source: debug, aliases: b}\n b: debug", "trunkcall.yaml:2: models.a.aliases: 'b' is a model itself; take another alias"),
    ("models:\n a: {source: debug, aliases: [x]}\n b:\n  source: debug\n  aliases: x", "trunkcall.yaml:5: models.b.aliases: 'x' is an alias of 'a' already"),
    ("models:\n a: {source: debug, fallback: a}", "trunkcall.yaml:2: models.a.fallback: goes in a circle: a -> a; take one of them out"),
    (
        "models:\n a: {source: debug, fallback: [pocket, b2]}\n b: {source: debug, aliases: b2, fallback: c}\n c: {source: debug, fallback: a}",
        "trunkcall.yaml:2: models.a.fallback: goes in a circle: a -> b -> c -> a; take one of them out",
    ),
    ('models: {"a b": debug}', "trunkcall.yaml:1: models.a b: 'a b' cannot be a model's name: it is empty or has spaces in it"),
]  # fmt: skip


@pytest.mark.parametrize(("text", "message"), MISTAKES)
def test_a_mistake_is_shown_where_it_stands(home: Path, text: str, message: str) -> None:
    assert refusal(home, text) == message


@pytest.mark.parametrize("text", ["\0", "a: 2001-99-99", "[" * 5000, "\ufeff\t:", "a: !!binary x", "%YAML 9.9"])
def test_what_is_hardly_yaml_is_refused(home: Path, text: str) -> None:
    assert refusal(home, text).startswith("trunkcall.yaml:")


def test_a_file_that_is_not_text_is_refused(home: Path) -> None:
    Path("trunkcall.yaml").write_bytes(b"store: \xff\xfe")
    assert refusal(home).startswith("trunkcall.yaml: cannot be read: 'utf-8'")


@given(st.text())
@hypothesis_settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None, max_examples=300)
def test_any_text_is_read_or_refused(home: Path, text: str) -> None:
    try:
        read(home, text.encode("utf-8", "replace").decode())
    except ServingError as error:
        assert error.kind == "bad_request"


@pytest.mark.parametrize(
    ("name", "text", "field", "value"),
    [
        (
            "LISTEN",
            "127.0.0.1:1 9000=a,b",
            "listen",
            (Listener("127.0.0.1", 1), Listener("127.0.0.1", 9000, ("a", "b"))),
        ),
        ("LISTEN", "9", "listen", (Listener("127.0.0.1", 9),)),
        ("CORS", "*", "cors", ("*",)),
        ("KEYS", "env:A,env:B", "keys", ("env:A", "env:B")),
        ("JSON_LOGS", "true", "json_logs", True),
        ("POCKET", "false", "pocket", False),
        ("MAX_BODY", "1GiB", "max_body", 2**30),
        ("STALL_TIMEOUT", "5", "stall_timeout", 5.0),
        ("QUEUE", "3", "queue", 3),
        ("ACCESS_LOG", "true", "access_log", True),
        ("RETENTION", "1w", "retention", 604800.0),
        ("MEMORY", "2GiB", "memory", 2**31),
        ("STORE", "postgresql://h/x", "store", "postgresql://h/x"),
    ],
)
def test_the_environment_sets_every_kind(home: Path, name: str, text: str, field: str, value: Any) -> None:
    assert getattr(read(home, **{f"TRUNKCALL_{name}": text}).settings, field) == value


@pytest.mark.parametrize(
    ("name", "text"), [("MAX_BODY", "x"), ("JSON_LOGS", "maybe"), ("LOG_LEVEL", "loud"), ("QUEUE", "-1")]
)
def test_a_mistake_in_the_environment_names_the_variable(home: Path, name: str, text: str) -> None:
    assert refusal(home, **{f"TRUNKCALL_{name}": text}).startswith(f"TRUNKCALL_{name}: ")


def test_host_and_port_change_the_main_port_and_listen_adds(home: Path) -> None:
    loaded = read(home, "listen: [1, 2]", Flags(port=5, listen=("127.0.0.1:6=openai", "[::1]:7")))
    assert loaded.settings.listen == (
        Listener("127.0.0.1", 5),
        Listener("127.0.0.1", 2),
        Listener("127.0.0.1", 6, ("openai",)),
        Listener("::1", 7),
    )
    assert [origin.place for origin in loaded.explain("listen")][-2:] == ["flag --port", "flag --listen"]
    assert refusal(home, flags=Flags(port=70000)).startswith("--port: 70000 is not a port")
    assert refusal(home, flags=Flags(listen=("nowhere",))).startswith("--listen: 'nowhere' is not an address")
    assert "there twice" in refusal(home, "", Flags(listen=("8000",)))


@pytest.mark.parametrize(
    ("host", "open_to_all"),
    [("127.0.0.1", False), ("127.9.9.9", False), ("localhost", False), ("::1", False), ("0.0.0.0", True), ("::", True), ("10.0.0.1", True), ("127.evil.example", True)],
)  # fmt: skip
def test_which_addresses_other_machines_reach(home: Path, host: str, open_to_all: bool) -> None:
    assert read(home, flags=Flags(host=host)).settings.listen[0].host == host
    assert config.is_loopback(host) != open_to_all


def test_models_of_flags_win_and_paths_belong_to_where_they_were_written(home: Path, tmp_path: Path) -> None:
    other = tmp_path / "etc"
    other.mkdir()
    (other / "t.yaml").write_text("models: {a: x.gguf, b: y.gguf, c: {source: llamacpp:~/z.gguf}}")
    flags = Flags(models=("b=w.gguf", "q=openai:http://h/v1#a=b"))
    loaded = load(config=other / "t.yaml", home=home, environ={}, flags=flags)
    targets = {name: found.sources[0].target for name, found in loaded.settings.models.items()}
    assert targets == {
        "a": str(other / "x.gguf"),
        "b": str(Path.cwd() / "w.gguf"),
        "c": str(Path.home() / "z.gguf"),
        "q": "http://h/v1",
        "pocket": "",
    }
    assert loaded.settings.models["q"].sources[0].model == "a=b"
    assert loaded.explain("models.b")[-1].place == "flag --model"
    assert refusal(home, flags=Flags(models=("x",))).startswith("--model: 'x' is not NAME=SOURCE")
    assert refusal(home, flags=Flags(models=("x=",))).startswith("--model: a model source is empty")


@pytest.mark.parametrize(
    ("source", "absolute"),
    [
        ("./m", "folder:BASE/m"),
        ("../m/", "folder:UP/m"),
        (".", "folder:BASE"),
        ("/a/../m", "folder:/m"),
        ("~nobody-of-this-name/m", "folder:BASE/~nobody-of-this-name/m"),
        ("folder:m", "folder:BASE/m"),
        ("transformers:./m", "transformers:BASE/m"),
        ("vllm:org/name", "vllm:org/name"),
        ("hf:org/name", "hf:org/name"),
    ],
)
def test_a_path_does_not_depend_on_the_working_directory(tmp_path: Path, source: str, absolute: str) -> None:
    found = config.model("x", source, base=tmp_path / "base").sources[0]
    expected = absolute.replace("BASE", str(tmp_path / "base")).replace("UP", str(tmp_path))
    assert str(found) == expected
    assert parse_source(expected) == found, "it is written down and read again"


def test_added_models_rank_below_and_a_name_in_both_is_an_error(home: Path) -> None:
    Home(home).add_model("mine", "debug")
    loaded = read(home)
    assert loaded.settings.models["mine"].sources == (Source("debug"),)
    assert "trunkcall models add" in loaded.explain("models.mine")[-1].place
    message = refusal(home, "models:\n  mine: dummy")
    assert message.startswith("trunkcall.yaml:2: models.mine: the model was also added")
    assert "trunkcall models rm mine" in message
    assert read(home, "", Flags(models=("mine=dummy",))).settings.models["mine"].sources == (Source("dummy"),)


def test_pocket_is_there_unless_refused_or_redefined(home: Path) -> None:
    assert "pocket" not in read(home, flags=Flags(pocket=False)).settings.models
    assert read(home, "models: {pocket: debug}").settings.models["pocket"].sources == (Source("debug"),)
    assert list(read(home, "models: {z: debug}").settings.models) == ["z", "pocket"]


def test_explain_answers_inner_keys_and_names_the_nearest(home: Path) -> None:
    loaded = read(home, "models:\n  a:\n    source: debug\n    slots: 3")
    assert loaded.explain("models.a.slots")[-1] == config.Origin(3, "trunkcall.yaml:4: models.a.slots")
    assert loaded.explain("models.a.queue") == (config.Origin(1024, "default"),)
    assert loaded.explain("models.a.policy") == (config.Origin("least_loaded", "default"),)
    assert loaded.explain("models.a.replicas")[-1].place == "trunkcall.yaml:2: models.a"
    with pytest.raises(ServingError, match="Did you mean 'policy'"):
        loaded.explain("models.a.polcy")
    with pytest.raises(ServingError, match="Did you mean 'max_body'"):
        loaded.explain("maxbody")


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("policy", "weighted"),
        ("weights", [1.0, 2.0]),
        ("fallback", ["pocket"]),
        ("aliases", ["x", "y"]),
        ("ttl", 600.0),
        ("pinned", True),
        ("recover", "auto"),
        ("price", {"prompt": 1.5, "completion": 0.0, "cached": None}),
        ("price.prompt", {"prompt": 1.5, "completion": 0.0, "cached": None}),
    ],
)
def test_explain_answers_all_that_a_model_can_be_told(home: Path, key: str, value: Any) -> None:
    loaded = read(
        home,
        """
models:
  a:
    {source: [debug, dummy], policy: weighted, weights: [1, 2], fallback: pocket, aliases: "x,y", ttl: 10m,
     pinned: true, recover: auto, price: {prompt: 1.5}}
""",
    )
    origin = loaded.explain(f"models.a.{key}")[-1]
    assert origin.value == value
    assert origin.place.endswith(f"models.a.{key.partition('.')[0]}")


def test_names_are_looked_at_where_a_model_was_last_set(home: Path) -> None:
    Home(home).add_model("mine", {"source": "debug", "fallback": "gone"})
    assert refusal(home) == (
        f"{home}/models.json (trunkcall models add): fallback: there is no model 'gone'. Did you mean 'mine'?"
    )
    Path("trunkcall.yaml").write_text("models: {a: {source: debug, slots: 3}}")
    flagged = read(home, flags=Flags(models=("gone=debug", "a=dummy")))
    assert flagged.explain("models.a.source")[-1].place == "flag --model"
    assert flagged.explain("models.a.slots") == (config.Origin(None, "default"),)
    assert read(home, flags=Flags(models=("gone=debug",))).settings.models["mine"].fallback == ("gone",)


def test_nothing_secret_is_shown(home: Path) -> None:
    loaded = read(
        home,
        """
store: postgresql://user:hidden1@db/x
keys: [env:MY_KEY]
models:
  a: {source: "openai:http://u:hidden2@h/v1", env: {HF_TOKEN: hidden3, CUDA_VISIBLE_DEVICES: 1}, key: env:UP}
""",
    )
    shown = json.dumps(config.show(loaded.settings)) + repr(loaded.origins)
    assert "hidden" not in shown
    assert config.show(loaded.settings)["models"]["a"] == {
        "source": "openai:http://u:***@h/v1",
        "key": "env:UP",
        "env": {"HF_TOKEN": "***", "CUDA_VISIBLE_DEVICES": "1"},
    }
    assert loaded.settings.store == "postgresql://user:hidden1@db/x"


def test_what_is_shown_can_be_read_again(home: Path) -> None:
    first = read(
        home,
        "listen: [{port: 1, apis: [openai]}]\nmodels: {a: {source: a.gguf, slots: 2, env: {A: b}, replicas: 2, policy: weighted, "
        "weights: [2], aliases: [x], fallback: [pocket], ttl: 1m, pinned: true, recover: exact, price: {prompt: 1}}}\n"
        "queue: 5\nmax_body: 1MiB\nmemory: 8GiB\nretention: 30d\naccess_log: true\ntelemetry: http://x",
    )
    second = read(home, yaml.safe_dump(config.show(first.settings)))
    assert second.settings == first.settings


def test_the_schema_accepts_what_is_accepted_and_refuses_what_is_refused(home: Path) -> None:
    schema = config_file.schema()
    jsonschema.Draft202012Validator.check_schema(schema)
    validator = jsonschema.Draft202012Validator(schema)
    assert validator.is_valid(
        yaml.safe_load("listen: 8000\nmodels: {a: pocket, b: {source: [x, y], slots: 2}}\nmax_body: 1MiB")
    )
    assert validator.is_valid(
        yaml.safe_load(
            "models: {a: {source: x, policy: weighted, weights: [1], fallback: [b], aliases: c, ttl: 10m, pinned: true, "
            "recover: exact, price: {prompt: 1, cached: null}}}\nmemory: 8GiB\nretention: 30d\naccess_log: true\n"
            "telemetry: {endpoint: http://x, sample: 0.5}"
        )
    )
    for wrong in (
        "stroe: x",
        "models: {a: {slotz: 1, source: x}}",
        "models: {a: 3}",
        "log_level: loud",
        "listen: {port: 99999}",
        "models: {a: {source: debug, policy: best}}",
        "models: {a: {source: debug, weights: [0]}}",
        "models: {a: {source: debug, recover: perhaps}}",
        "models: {a: {source: debug, price: {prompt: -1}}}",
        "models: {a: {source: debug, price: {input: 1}}}",
        "models: {a: {source: debug, pinned: 1}}",
        "telemetry: {endpoint: http://x, sample: 2}",
    ):
        assert not validator.is_valid(yaml.safe_load(wrong)), wrong
    assert set(schema["properties"]) == {*config.Settings.__struct_fields__}


def test_the_defaults_of_the_file_are_those_of_the_settings(home: Path) -> None:
    schema = config_file.schema()
    text = yaml.safe_dump({key: entry["default"] for key, entry in schema["properties"].items()})
    assert read(home, text).settings == read(home, "").settings


@pytest.mark.parametrize(
    ("text", "seconds"), [(3, 3.0), ("0", 0.0), ("500ms", 0.5), ("10m", 600.0), ("1h30m", 5400.0), ("1d 2h", 93600.0), ("2w", 1209600.0)]
)  # fmt: skip
def test_durations(text: str | float, seconds: float) -> None:
    assert config_file.duration(text, "x") == pytest.approx(seconds)


@pytest.mark.parametrize("text", ["", "m", "-1", -1, "1y", "1.2.3s", "nan", float("nan"), float("inf"), "1 0m"])
def test_no_durations(text: str | float) -> None:
    with pytest.raises(ServingError, match="is not a duration"):
        config_file.duration(text, "x")
