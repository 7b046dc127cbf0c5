"""FastChat's lines of conversations and votes: the shape that its real servers wrote, and bodies that are refused."""

from __future__ import annotations

import base64
import hashlib
import json
from datetime import datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trunkcall.core.errors import ServingError
from trunkcall.protocols.fastchat_conversations import (
    MOST_TURNS,
    chat_line,
    file_name,
    read_conversation,
    read_vote,
    vote_line,
)

NOW = 1700000000.123456
PNG = b"\x89PNG\r\n"
SAID: dict[str, Any] = {
    "conversation_id": "5bcec91f978a4148b50e9ed9c0ba4689",
    "model": "pocket",
    "messages": [{"role": "user", "content": "Hello"}, {"role": "assistant", "content": "Hi"}],
    "system": "",
    "start": 1699999999.00004,
    "finish": 1700000000.12345,
    "parameters": {"temperature": 0.7, "top_p": 1.0, "max_tokens": 1024, "seed": 5},
    "mode": "single",
}
STATE: dict[str, Any] = {
    "template_name": "zero_shot",
    "system_message": "",
    "roles": ["Human", "Assistant"],
    "messages": [["Human", "Hello"], ["Assistant", "Hi"]],
    "offset": 0,
    "conv_id": "5bcec91f978a4148b50e9ed9c0ba4689",
    "model_name": "pocket",
}


def chat(**changes: Any) -> dict[str, Any]:
    """The line of SAID with changes."""
    body = json.dumps({**SAID, **changes}).encode()
    return json.loads(chat_line(read_conversation(body), "10.0.0.1", NOW))


def vote(kind: str, *models: str, **more: Any) -> dict[str, Any]:
    said = [{**SAID, "model": model, "conversation_id": f"{at}-of-{model}"} for at, model in enumerate(models)]
    body = json.dumps({"vote": kind, "conversations": said, **more}).encode()
    return json.loads(vote_line(read_vote(body), "10.0.0.1", NOW))


def test_a_chat_is_logged_as_fastchat_logs_it() -> None:
    """Keys and their order as a gradio_web_server of 0.2.36 wrote them."""
    found = chat()
    assert found == {
        "tstamp": 1700000000.1235,
        "type": "chat",
        "model": "pocket",
        "gen_params": {"temperature": 0.7, "top_p": 1.0, "max_new_tokens": 1024},
        "start": 1699999999.0,
        "finish": 1700000000.1235,
        "state": STATE,
        "ip": "10.0.0.1",
        "images": [],
    }
    assert list(found) == ["tstamp", "type", "model", "gen_params", "start", "finish", "state", "ip", "images"]
    assert list(found["state"]) == list(STATE)


@pytest.mark.parametrize("kind", ["upvote", "downvote", "flag"])
def test_a_vote_on_one_answer(kind: str) -> None:
    found = vote(kind, "pocket")
    assert list(found) == ["tstamp", "type", "model", "state", "ip"]
    assert (found["type"], found["model"], found["tstamp"]) == (kind, "pocket", 1700000000.1235)
    assert found["state"] == STATE | {"conv_id": "0-of-pocket"}


@pytest.mark.parametrize(
    ("kind", "type"),
    [("left", "leftvote"), ("right", "rightvote"), ("tie", "tievote"), ("bothbad", "bothbad_vote")],
)
@pytest.mark.parametrize("anonymous", [True, False])
def test_a_vote_on_two(kind: str, type: str, anonymous: bool) -> None:
    found = vote(kind, "a", "b", anonymous=anonymous)
    assert list(found) == ["tstamp", "type", "models", "states", "ip"]
    assert (found["type"], found["models"]) == (type, ["", ""] if anonymous else ["a", "b"])
    assert [state["model_name"] for state in found["states"]] == ["a", "b"]
    assert [state["conv_id"] for state in found["states"]] == ["0-of-a", "1-of-b"]


def test_images_are_named_and_not_kept() -> None:
    url = "data:image/png;base64," + base64.b64encode(PNG).decode()
    parts = [
        {"type": "text", "text": "What is"},
        {"type": "image_url", "image_url": {"url": url, "detail": "low"}},
        {"type": "image_url", "image_url": {"url": "https://host/cat.png"}},
        {"type": "text", "text": "this?"},
    ]
    found = chat(messages=[{"role": "user", "content": parts}])
    assert found["images"] == [hashlib.sha256(PNG).hexdigest(), "https://host/cat.png"]
    assert found["state"]["messages"] == [["Human", "What is\nthis?"]]
    parts[1]["image_url"] = {"url": "data:image/png;base64,%"}
    with pytest.raises(ServingError) as caught:
        chat(messages=[{"role": "user", "content": parts}])
    assert caught.value.param == "messages[0].content[1].image_url.url"


def test_what_was_not_set_is_null() -> None:
    left_out = {key: value for key, value in SAID.items() if key not in ("parameters", "system", "mode")}
    found = json.loads(chat_line(read_conversation(json.dumps(left_out).encode()), "::1", NOW))
    assert found["gen_params"] == {"temperature": None, "top_p": None, "max_new_tokens": None}
    assert chat(parameters={"temperature": 0, "top_p": None})["gen_params"]["temperature"] == 0


@pytest.mark.parametrize(
    ("template", "system", "state"),
    [
        ("", None, {"template_name": "zero_shot", "system_message": "", "offset": 0}),
        ("", "Be brief.", {"template_name": "zero_shot", "system_message": "Be brief.", "offset": 0}),
        ("vicuna", "Be brief.", {"template_name": "vicuna_v1.1", "system_message": "Be brief.", "offset": 0,
                                 "roles": ["USER", "ASSISTANT"], "messages": [["USER", "Hello"], ["ASSISTANT", "Hi"]]}),
        ("one_shot", "", {"template_name": "one_shot", "system_message": "", "offset": 2}),
    ],
)  # fmt: skip
def test_the_template_that_made_the_prompt_is_named(template: str, system: str | None, state: dict[str, Any]) -> None:
    found = chat(template=template, system=system)["state"]
    assert {key: found[key] for key in state} == state
    assert [turn[1] for turn in found["messages"][found["offset"] :]] == ["Hello", "Hi"]
    assert chat(template="vicuna", system=None)["state"]["system_message"]


def test_a_file_for_each_day() -> None:
    assert file_name(datetime(2026, 1, 2, 23, 59)) == "2026-01-02-conv.json"


@pytest.mark.parametrize(
    ("changes", "param"),
    [
        ({"unknown": 1}, "unknown"), ({"start": None}, "start"), ({"finish": None}, "finish"),
        ({"start": -1}, "start"), ({"finish": 1e300}, "finish"), ({"model": ""}, "model"),
        ({"conversation_id": "../x"}, "conversation_id"), ({"conversation_id": "x\n"}, "conversation_id"),
        ({"conversation_id": "x" * 65}, "conversation_id"), ({"messages": []}, "messages"),
        ({"messages": [SAID["messages"][0]] * (MOST_TURNS + 1)}, "messages"),
        ({"messages": [{"role": "system", "content": "x"}]}, "messages[0].role"),
        ({"messages": [{"role": "user"}]}, "messages[0].content"),
        ({"messages": [{"role": "user", "content": [{"type": "zip"}]}]}, "messages[0].content[0].type"),
        ({"parameters": {"temperature": "hot"}}, "parameters.temperature"), ({"mode": "duel"}, "mode"),
        ({"template": "vicunna"}, "template"),
    ],
)  # fmt: skip
def test_a_conversation_that_is_none(changes: dict[str, Any], param: str) -> None:
    with pytest.raises(ServingError) as caught:
        chat(**changes)
    assert (caught.value.kind, caught.value.param) == ("bad_request", param)


@pytest.mark.parametrize(
    ("kind", "models", "more", "param"),
    [
        ("upvote", ["a", "b"], {}, "conversations"), ("left", ["a"], {}, "conversations"), ("tie", [], {}, "conversations"),
        ("tie", ["a", "b", "c"], {}, "conversations"), ("flag", ["a"], {"anonymous": True}, "anonymous"),
        ("best", ["a"], {}, "vote"), ("left", ["a", ""], {}, "conversations[1].model"),
        ("left", ["a", "b"], {"who": 1}, "who"),
    ],
)  # fmt: skip
def test_a_vote_that_is_none(kind: str, models: list[str], more: dict[str, Any], param: str) -> None:
    with pytest.raises(ServingError) as caught:
        vote(kind, *models, **more)
    assert (caught.value.kind, caught.value.param) == ("bad_request", param)


@pytest.mark.parametrize("body", [b"", b"[]", b"{", b'{"model":"\xff"}', b"[" * 5000])
def test_what_is_no_json_of_ours(body: bytes) -> None:
    for read in (read_conversation, read_vote):
        with pytest.raises(ServingError) as caught:
            read(body)
        assert caught.value.kind == "bad_request"


_texts = st.text(max_size=40)


@given(st.lists(st.tuples(st.sampled_from(["user", "assistant"]), _texts), min_size=1, max_size=6), _texts, _texts)
def test_whatever_is_said_is_one_line_and_comes_back(turns: list[tuple[str, str]], system: str, model: str) -> None:
    messages = [{"role": role, "content": text} for role, text in turns]
    body = json.dumps({**SAID, "messages": messages, "system": system, "model": model or "m"}).encode()
    line = chat_line(read_conversation(body), "::1", NOW)
    assert line.isascii()
    assert line.count(b"\n") == 1
    state = json.loads(line)["state"]
    names = {"user": "Human", "assistant": "Assistant"}
    assert state["messages"] == [[names[role], text] for role, text in turns]
    assert (state["system_message"], state["model_name"]) == (system, model or "m")
