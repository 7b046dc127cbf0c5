"""Modelfiles: read as the real executor read them; what is written reads as what was meant, or is not written."""

from __future__ import annotations

import json

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from protocols.kuwa_transcripts import exchange, exchanges

from trunkcall.core.errors import ServingError
from trunkcall.protocols.forms import read_form
from trunkcall.protocols.kuwa import Modelfile, Parameters
from trunkcall.protocols.kuwa_calls import read_call
from trunkcall.protocols.kuwa_modelfile import Command, parameter_command, text_command, write_modelfile

RECORDED = [entry for entry in exchanges("executor_mirror") if b"modelfile=" in entry.body]

texts = st.text(st.sampled_from("\"'# \nab5.é\\") | st.characters(exclude_categories=["Cs"]))


def read(*commands: tuple[str, str]) -> Modelfile:
    return Modelfile.from_json(json.dumps([{"name": name, "args": args} for name, args in commands]))


@pytest.mark.parametrize("entry", RECORDED, ids=lambda entry: entry.about)
def test_as_the_real_one_read_it(entry):
    call = read_call(read_form(entry.headers["content-type"], entry.body), entry.headers.get("accept-language"))
    modelfile = Modelfile.from_json(call.fields["modelfile"]).with_fields(call.fields, call.language)
    seen = json.loads(entry.answer)
    assert modelfile.override_system_prompt == seen["system"]
    assert dict(modelfile.parameters) == seen["parameters"]
    assert [type(value) for value in modelfile.parameters.values()] == [type(v) for v in seen["parameters"].values()]


def test_the_recordings_hold_what_matters():
    """So that the test above cannot pass on too little."""
    numbers = json.loads(exchange("executor_mirror", "numbers").answer)["parameters"]
    assert (numbers["llm_a"], numbers["llm_b"], numbers["llm_f"]) == (1, 1.5, 5)
    assert json.loads(exchange("executor_mirror", "other fields").answer)["parameters"]["_lang"] == "zh-TW"
    assert len(RECORDED) >= 8


@pytest.mark.parametrize(
    ("args", "text"),
    [
        ("a b", "a b"),
        (" a ", " a "),
        ("'a'", "a"),
        ('"a" ', '"a" '),
        ('""a""', '"a"'),
        ('"""', '"'),
        ('"""""', '"""'),
        ('""""a""""', '"a"'),
        ("'''a'''", "''a''"),
        ("a # b\nc", "a "),
        ('"a # b"', '"a '),
        ("a\n", "a"),
        ("a\n\n", "a\n"),
        ('"a"\n', "a"),
        ('"""a\n"""', "a\n"),
    ],
)
def test_quotes_and_comments(args, text):
    """Each observed on the real executor."""
    made = read(*((name, args) for name in ("system", "template", "before-prompt", "after-prompt")))
    assert (made.override_system_prompt, made.template, made.before_prompt, made.after_prompt) == (text,) * 4
    assert read(("message", f"user {args}")).messages == [{"role": "user", "content": text}]


def test_repeats():
    made = read(
        *(("system", "a"), ("message", "system b"), ("system", "c")),
        *(("template", "a"), ("template", "b"), ("before-prompt", "a"), ("before-prompt", "b")),
        *(("after-prompt", "a"), ("after-prompt", "b"), ("parameter", "k 1"), ("kuwaparam", "k 2")),
        *(("message", "user a"), ("message", "assistant b"), ("message", "bot c"), ("message", "user")),
    )
    assert made == Modelfile(
        "abc",
        [{"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}],
        "b",
        "ab",
        "ab",
        Parameters(k=2),
    )


@pytest.mark.parametrize("text", ["", "nonsense", "{}", '"a"', "5", "[5]", '["a"]', "[" * 100_000, '[{"name":' * 9000])
def test_what_is_no_modelfile_is_refused(text):
    with pytest.raises(ServingError, match=r"^modelfile: .*; send a JSON list") as caught:
        Modelfile.from_json(text)
    assert (caught.value.kind, caught.value.param) == ("bad_request", "modelfile")


@pytest.mark.parametrize("text", ["null", "[]", "[{}]", '[{"name":null,"args":"a"}]', '[{"name":"system","args":5}]'])
def test_what_says_nothing_is_empty(text):
    assert Modelfile.from_json(text) == Modelfile()


def test_a_missing_parameter_is_all_that_begin_with_it():
    parameters = read(("parameter", "llm_a 1"), ("parameter", "llm_b x"), ("parameter", "other none")).parameters
    assert parameters["llm_"] == {"a": 1, "b": "x"}
    assert parameters["none_"] == {}
    assert parameters.get("none") is None
    assert "llm_" not in parameters
    assert parameters["other"] is None


def test_other_fields_are_parameters_and_tokens_do_not_show():
    given = read(("parameter", "k 1"))
    made = given.with_fields({"input": "[]", "modelfile": "[]", "openai_token": "sk-secret", "x": "5"}, "")
    assert made.parameters == {"k": 1, "_lang": None, "_openai_token": "sk-secret", "_x": "5"}
    assert given.parameters == {"k": 1}
    assert "sk-secret" not in repr(made)
    assert "'_x': '5'" in repr(made)


@given(texts)
@example('"')
@example("\n")
@example("a\n")
@example("# title")
def test_a_text_survives_or_is_not_written(text):
    for role in ("", "user", "assistant"):
        command = text_command("message" if role else "template", text, role)
        assert (command is None) == ("#" in text)
        if command is not None:
            made = Modelfile.from_json(write_modelfile([command]))
            assert (made.messages[0]["content"] if role else made.template) == text


@given(st.floats(allow_nan=False, allow_infinity=False) | st.integers() | st.booleans() | texts)
@example("5")
@example("TRUE")
@example("None")
@example("a#b")
def test_a_value_survives_or_is_not_written(value):
    command = parameter_command("llm_k", value)
    if command is None:
        assert isinstance(value, str)
    else:
        read_back = Modelfile.from_json(write_modelfile([command])).parameters
        assert read_back == {"llm_k": value}
        assert type(read_back["llm_k"]) is type(value)


@pytest.mark.parametrize(("key", "value"), [("a b", 1), ("a#", 1), ("k", "5"), ("k", "none"), ("k", "a#")])
def test_what_no_parameter_can_say(key, value):
    assert parameter_command(key, value) is None


@given(st.lists(st.builds(Command, st.sampled_from(["system", "message", "parameter", "template"]), texts)))
def test_any_commands_are_read(commands):
    assert isinstance(Modelfile.from_json(write_modelfile(commands)), Modelfile)
