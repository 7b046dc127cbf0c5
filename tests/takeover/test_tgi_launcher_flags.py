"""Each flag of TGI's launcher as its help records it, both ways of writing it, and its environment variable."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from trunkcall.takeover.tgi_asked import Asked, read_asked
from trunkcall.takeover.tgi_flags import FLAGS

RECORDED = Path(__file__).parent / "data" / "tgi-launcher.tsv"
ROWS = [line.split("\t") for line in RECORDED.read_text(encoding="utf-8").splitlines() if not line.startswith("#")]
PLAIN = read_asked([], {})


def asked(line: str, **environ: str) -> Asked:
    return read_asked(line.split(), environ)


def told(found: Asked) -> dict[str, Any]:
    """All that a command line can change; without how it was written."""
    return {name: getattr(found, name) for name in found.__struct_fields__ if name not in ("written", "key_variable")}


def test_the_table_and_the_record_have_the_same_flags() -> None:
    ours = {flag.flag for flag in FLAGS} | {"-e", "--env", "-p"}
    assert ours - {"--compat"} == {name for name, *_ in ROWS}
    assert len({name for name, *_ in ROWS}) == 56


@pytest.mark.parametrize(("name", "value"), [(name, value) for name, value, _ in ROWS])
def test_a_flag_is_read_however_it_is_written(name: str, value: str) -> None:
    words = [name, value] if value else [name]
    found = read_asked(words, {})
    assert told(found) != told(PLAIN), "it means something, if only to be named as gone"
    if value and name.startswith("--"):
        assert told(read_asked([f"{name}={value}"], {})) == told(found)


@pytest.mark.parametrize(
    ("name", "value"), [(name, value) for name, value, _ in ROWS if name not in ("-e", "--env", "-p")]
)
def test_a_variable_stands_for_a_flag_that_is_not_there(name: str, value: str) -> None:
    variable = name.removeprefix("--").replace("-", "_").upper()
    by_flag = told(read_asked([name, value] if value else [name], {}))
    by_variable = told(read_asked([], {variable: value or "true"}))
    if name == "--api-key":
        assert read_asked([], {variable: value}).key_variable == variable
        by_flag["key"] = ""
    elif name == "--huggingface-hub-cache":
        # The Hub's own library reads this variable.
        by_flag["words"] = {}
    assert by_variable == by_flag
    assert told(read_asked([], {variable: ""})) == told(PLAIN)


@pytest.mark.parametrize("name", [name for name, value, _ in ROWS if not value and name not in ("-e", "--env")])
def test_a_variable_can_say_no_to_a_bare_flag(name: str) -> None:
    variable = name.removeprefix("--").replace("-", "_").upper()
    assert told(read_asked([], {variable: "false"})) == told(PLAIN)


DEFAULTS = {
    "--model-id": "model",
    "--hostname": "hostname",
    "--port": "port",
    "--payload-limit": "payload",
    "--graceful-termination-timeout": "drain",
}


@pytest.mark.parametrize(("name", "default"), [(name, default) for name, _, default in ROWS if name in DEFAULTS])
def test_defaults_are_the_recorded_ones(name: str, default: str) -> None:
    assert str(getattr(PLAIN, DEFAULTS[name])) == default


def test_limits_that_are_not_given_are_left_to_the_api() -> None:
    from trunkcall.protocols.tgi import Limits

    assert PLAIN.limits == {}
    recorded = {name: default for name, _, default in ROWS}
    usual = Limits()
    for limit in (
        "max_concurrent_requests",
        "max_best_of",
        "max_stop_sequences",
        "max_top_n_tokens",
        "max_client_batch_size",
    ):
        assert str(getattr(usual, limit)) == recorded[f"--{limit.replace('_', '-')}"]
    assert usual.payload == PLAIN.payload


@pytest.mark.parametrize(
    ("line", "environ", "expected"),
    [
        ("--port 1", {"PORT": "80"}, {"port": 1}),
        ("-p 1", {}, {"port": 1}),
        ("", {"PORT": "80", "MODEL_ID": "m"}, {"port": 80, "model": "m"}),
        ("", {"HOSTNAME": "3f2a9c0d1e5b"}, {"hostname": "0.0.0.0"}),
        ("", {"HOSTNAME": "127.0.0.1"}, {"hostname": "127.0.0.1"}),
        ("--hostname localhost", {"HOSTNAME": "::1"}, {"hostname": "localhost"}),
        ("--max-input-length 5", {}, {"limits": {"max_input_tokens": 5}}),
        ("--sharded=false", {"NUM_SHARD": "1"}, {"words": {"sharded": False, "num_shard": 1}}),
        ("--cors-allow-origin http://a --cors-allow-origin=http://b", {}, {"origins": ("http://a", "http://b")}),
        ("", {}, {"origins": ("*",), "compat": "3", "grammar": True, "prefill": False, "json_output": False}),
        ("--json-output --disable-grammar-support --enable-prefill-logprobs", {}, {"json_output": True, "grammar": False, "prefill": True}),
        ("", {"TRUNKCALL_TGI_COMPAT": "0.8"}, {"compat": "0.8"}),
        ("--compat 1", {"TRUNKCALL_TGI_COMPAT": "0.8", "COMPAT": "2"}, {"compat": "1"}),
        ("--ngrok --validation-workers 3", {}, {"gone": ("validation_workers", "ngrok")}),
        ("--trust-remote-code", {"TRUST_REMOTE_CODE": "false"}, {"words": {"trust_remote_code": True}}),
    ],
)  # fmt: skip
def test_flags_and_variables(line: str, environ: dict[str, str], expected: dict[str, Any]) -> None:
    found = asked(line, **environ)
    assert {name: getattr(found, name) for name in expected} == expected


@pytest.mark.parametrize(
    ("line", "environ", "said"),
    [
        ("--port 70000", {}, "'70000' is not a whole number of 0 to 65535"),
        ("--port many", {}, "argument -p/--port"),
        ("", {"PORT": "tcp://10.0.0.1:80"}, "the variable PORT: 'tcp://10.0.0.1:80'"),
        ("--sharded", {}, "expected one argument"),
        ("--sharded yes", {}, "'yes' is neither true nor false"),
        ("--trust-remote-code=true", {}, "ignored explicit argument"),
        ("", {"TRUST_REMOTE_CODE": "maybe"}, "the variable TRUST_REMOTE_CODE: 'maybe' is neither"),
        ("--quantize int3", {}, "'int3' is none of awq"),
        ("--dtype float32", {}, "'float32' is none of float16, bfloat16"),
        ("--max-best-of 0", {}, "'0' is not a whole number of 1 or more"),
        ("--max-best-of -1", {}, "'-1' is not a whole number"),
        ("--num-shard 0", {}, "1 or more"),
        ("--cuda-memory-fraction 1.5", {}, "more than 1.0"),
        ("--rope-factor nan", {}, "not a number above 0"),
        ("--compat 4", {}, "'4' is none of 0.8, 1, 2, 3"),
        ("--max-input-length 5 --max-input-tokens 6", {}, "are one limit"),
        ("--max-input-length 5", {"MAX_INPUT_TOKENS": "6"}, "MAX_INPUT_TOKENS and --max-input-length are one limit"),
        ("--model-idd m", {}, "unrecognized argument --model-idd. Did you mean '--model-id'?"),
        ("--model m", {}, "unrecognized argument --model. Did you mean"),
        ("pocket", {}, "unrecognized argument pocket"),
    ],
)  # fmt: skip
def test_wrong_use_ends_with_code_2_and_the_flag(
    line: str, environ: dict[str, str], said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as caught:
        asked(line, **environ)
    assert caught.value.code == 2
    assert said in capsys.readouterr().err


def test_help_has_every_flag(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        asked("--help")
    assert caught.value.code == 0
    shown = capsys.readouterr().out
    for name, *_ in ROWS:
        assert name in shown


def test_a_key_is_not_shown() -> None:
    assert "sk-hidden" not in repr(asked("--api-key sk-hidden"))
