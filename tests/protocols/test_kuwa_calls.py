"""Reading calls: what a form asks reaches the neutral model, or is refused by its name."""

from __future__ import annotations

import json
from typing import Any

import msgspec
import pytest
from msgspec import UNSET, Raw
from protocols.kuwa_transcripts import exchange

from trunkcall.core.errors import ServingError
from trunkcall.core.requests import Generate, MessagesPrompt, Reporting, Session, Templating
from trunkcall.protocols.forms import Form, read_form
from trunkcall.protocols.kuwa import KuwaCall, read_call, read_generate
from trunkcall.protocols.kuwa_words import NO_INPUT
from trunkcall.protocols.openai import emit_chat

HELLO = '[{"isbot":false,"msg":"hello"}]'


def asked(*parameters: str, commands: list[tuple[str, str]] | None = None, text: str = HELLO, **given: Any) -> Generate:
    """What a call with these parameters and commands asks of the model `m`."""
    all_commands = [("parameter", parameter) for parameter in parameters] + (commands or [])
    modelfile = json.dumps([{"name": name, "args": args} for name, args in all_commands])
    return read_generate(KuwaCall({"input": text, "modelfile": modelfile}), "m", **given)


def said(request: Generate) -> list[tuple[str, str]]:
    """Roles and texts of the messages."""
    assert isinstance(request.prompt, MessagesPrompt)
    return [(message.role, message.parts[0].text) for message in request.prompt.messages]  # pyright: ignore


def test_a_recorded_call():
    entry = exchange("kernel", "complete")
    form = read_form(entry.headers["content-type"], entry.body)
    call = read_call(form, entry.headers["accept-language"])
    assert (call.name, call.history_id, call.user_id, call.language) == ("debug", "1", "7", "de")
    request = read_generate(call, "m")
    assert said(request) == [("user", "hé"), ("assistant", "llo "), ("user", "wörld")]
    assert request.session == Session("1", "7", "de")
    assert request.model == "m"
    assert request.reporting == Reporting(stream=True, usage_in_stream=True)
    assert request.extra == {}
    assert request.templating == Templating()


def test_what_a_form_lacks_is_none_and_tokens_do_not_show():
    call = read_call(Form((("openai_token", "sk-secret"), ("openai_token", "other"))), None)
    assert (call.name, call.history_id, call.user_id, call.language) == (None, None, None, "")
    assert call.fields == {"openai_token": "sk-secret"}
    assert "sk-secret" not in repr(call)


def test_the_modelfile_around_the_history():
    commands = [
        *(("system", "Be brief."), ("message", "user one"), ("message", "assistant two")),
        *(("before-prompt", '"<< "'), ("after-prompt", '" >>"'), ("template", "{{ messages }}")),
    ]
    text = '[{"isbot":false,"msg":"a"},{"isbot":true,"msg":null},{"isbot":false,"msg":"b"}]'
    request = asked(commands=commands, text=text, system="unused", template="unused")
    assert said(request) == [
        *(("system", "Be brief."), ("user", "one"), ("assistant", "two")),
        *(("user", "a"), ("assistant", ""), ("user", "<< b >>")),
    ]
    assert request.templating.chat_template == "{{ messages }}"


def test_defaults_where_the_modelfile_says_nothing():
    request = asked(
        "llm_top_p 0.5", "llm_seed none", system="Be kind.", template="T", generation={"seed": 3, "top_p": 1}
    )
    assert said(request)[0] == ("system", "Be kind.")
    assert request.templating.chat_template == "T"
    assert (request.sampling.seed, request.sampling.top_p) == (3, 0.5)


@pytest.mark.parametrize(
    ("parameters", "generation", "field", "value"),
    [
        (["llm_temperature 0.1"], {"temperature": 0.9}, "temperature", 0.1),
        (["llm_temperature 1"], {}, "temperature", 1.0),
        (["llm_max_new_tokens 5"], {"max_tokens": 9}, "max_tokens", 5),
        (["llm_max_output_tokens 5"], {}, "max_tokens", 5),
        (["llm_max_completion_tokens 5"], {}, "max_tokens", 5),
        ([], {"max_tokens": -1}, "max_tokens", UNSET),
        (["llm_max_tokens -1"], {"max_tokens": 5}, "max_tokens", UNSET),
        (["llm_candidate_count 2"], {}, "n", 2),
        (["llm_repeat_penalty 1.1"], {}, "repetition_penalty", 1.1),
        (["llm_do_sample false", "llm_temperature 0.7"], {}, "temperature", 0.0),
        (["llm_do_sample true", "llm_temperature 0.7"], {"do_sample": False}, "temperature", 0.7),
        (["llm_seed -1"], {}, "seed", -1),
        ([], {"logit_bias": {50256: -100}}, "logit_bias", {"50256": -100.0}),
        ([], {"seed": None, "": 1}, "seed", UNSET),
    ],
)
def test_generation_parameters(parameters, generation, field, value):
    request = asked(*parameters, generation=generation)
    assert getattr(request.sampling, field) == value
    assert request.extra == {}


@pytest.mark.parametrize(
    ("parameters", "generation", "strings"),
    [
        (['llm_stop "END"'], {"stop": ["A", "B"]}, ("END",)),
        (["llm_stop_sequences END"], {}, ("END",)),
        ([], {"stop": ["A", "B"]}, ("A", "B")),
        ([], {}, UNSET),
    ],
)
def test_stops(parameters, generation, strings):
    assert asked(*parameters, generation=generation).stops.strings == strings


def test_what_is_not_modelled_is_kept():
    parameters = ["llm_mirostat_mode 2", "llm_model gpt-x", "llm_delay 0.5", "llm_timeout 30", "mine true", "_x 1"]
    request = asked(*parameters, generation={"response_format": {"type": "json_object"}, "tfs_z": 1.0, "a.b": "c"})
    assert request.extra == {
        "openai": {"mirostat": Raw(b"2"), "tfs_z": Raw(b"1.0"), '["a.b"]': Raw(b'"c"')},
        "kuwa": {
            "llm_model": Raw(b'"gpt-x"'),
            "llm_delay": Raw(b"0.5"),
            "llm_timeout": Raw(b"30"),
            "mine": Raw(b"true"),
            "_x": Raw(b"1"),
        },
    }
    assert request.shape.format is not UNSET
    body, dropped = emit_chat(request, "m")
    sent = msgspec.json.decode(body)
    assert (sent["mirostat"], sent["a.b"], sent["response_format"]) == (2, "c", {"type": "json_object"})
    assert set(dropped) == {"llm_model", "llm_delay", "llm_timeout", "mine", "_x"}


def test_what_has_no_meaning_in_kuwa_never_reaches_the_engine():
    request = asked("llm_stream false", "llm_messages x", "llm_logprobs 5", "llm_model 7")
    assert request.reporting == Reporting(stream=True, usage_in_stream=True)
    assert said(request) == [("user", "hello")]
    assert request.extra["kuwa"].keys() == {"llm_stream", "llm_messages", "llm_logprobs", "llm_model"}
    assert request.extra["kuwa"]["llm_model"] == Raw(b'"7"')


@pytest.mark.parametrize(
    ("parameters", "generation", "param"),
    [
        (["llm_temperature hot"], {}, "llm_temperature"),
        (["llm_temperature true"], {}, "llm_temperature"),
        (["llm_temperature nan"], {}, "llm_temperature"),
        (["llm_temperature 9"], {}, "llm_temperature"),
        (["llm_max_new_tokens 1.5"], {}, "llm_max_new_tokens"),
        (["llm_seed 99999999999999999999"], {}, "llm_seed"),
        (["llm_do_sample 5"], {}, "llm_do_sample"),
        (["llm_delay soon"], {}, "llm_delay"),
        (["llm_timeout -1"], {}, "llm_timeout"),
        ([], {"top_p": "much"}, "top_p"),
        ([], {"stop": [5]}, "stop"),
        ([], {"logit_bias": {"5": "x"}}, "logit_bias"),
    ],
)
def test_what_cannot_be_is_refused_by_its_name(parameters, generation, param):
    with pytest.raises(ServingError, match=f"^{param}") as caught:
        asked(*parameters, generation=generation)
    assert (caught.value.kind, caught.value.param) == ("bad_request", param)


@pytest.mark.parametrize("text", ["[]", '[{"isbot":false,"msg":null}]', '[{"isbot":false,"msg":" \\n"}]'])
def test_nothing_asked(text):
    for fields in ({"input": text, "modelfile": '[{"name":"before-prompt","args":"x"}]'}, {}):
        with pytest.raises(ServingError) as caught:
            read_generate(KuwaCall(fields), "m")
        assert (caught.value.kind, caught.value.message, caught.value.param) == ("bad_request", NO_INPUT, "input")


@pytest.mark.parametrize(("field", "text"), [("input", "x"), ("modelfile", ""), ("modelfile", "{}")])
def test_fields_that_cannot_be_read(field, text):
    with pytest.raises(ServingError) as caught:
        read_generate(KuwaCall({"input": HELLO, field: text}), "m")
    assert caught.value.param == field
