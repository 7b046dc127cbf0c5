"""Histories: read as the real executor read them, refused with the field's name, written back the same."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st
from protocols.kuwa_transcripts import exchanges

from trunkcall.core.errors import ServingError
from trunkcall.protocols.forms import read_form
from trunkcall.protocols.kuwa import (
    extract_last_url,
    read_history,
    rectify_chat_history,
    to_openai_chat_format,
    write_history,
)


def user(text):
    return {"role": "user", "content": text}


def bot(text):
    return {"role": "assistant", "content": text}


RECORDED = [entry for entry in exchanges("executor_mirror") if entry.about in ("history", "multipart", "other fields")]


@pytest.mark.parametrize("entry", RECORDED)
def test_as_the_real_one_read_it(entry):
    text = read_form(entry.headers["content-type"], entry.body).get("input")
    seen = json.loads(entry.answer)["history"]
    assert read_history(text) == seen
    assert rectify_chat_history(to_openai_chat_format(json.loads(text))) == seen


@pytest.mark.parametrize(
    ("history", "kept"),
    [
        ([], 0),
        ([user("a")], 1),
        ([bot("a")], 1),
        ([bot("a"), user("b")], 2),
        ([bot("a"), bot("b"), user("c")], 2),
        ([bot("a"), bot("b"), user("c"), bot("d"), user("e")], 3),
        ([bot("a"), bot("b"), bot("c")], 2),
        ([{"role": "system", "content": "s"}, bot("a"), user("b")], 2),
    ],
)
def test_leading_bot_turns_go_but_for_the_last_two(history, kept):
    assert rectify_chat_history(history) == history[len(history) - kept :]


@pytest.mark.parametrize(
    "text",
    [
        "",
        "nonsense",
        "null",
        "{}",
        '["a"]',
        '[{"isbot":false}]',
        '[{"msg":"a"}]',
        '[{"isbot":"no","msg":"a"}]',
        '[{"isbot":false,"msg":5}]',
        "[" * 100_000,
        '[{"isbot":false,"msg":"a","x":' + "[" * 100_000,
    ],
)
def test_what_is_no_history_is_refused(text):
    with pytest.raises(ServingError, match=r"^input: .*; send a JSON list") as caught:
        read_history(text)
    assert (caught.value.kind, caught.value.param) == ("bad_request", "input")


def test_what_clients_send_beside_and_instead():
    assert read_history() == []
    assert read_history('[{"isbot":0,"msg":null,"id":[1]},{"msg":"b","isbot":1}]') == [user(""), bot("b")]


@given(st.lists(st.tuples(st.booleans(), st.text(st.characters(exclude_categories=["Cs"])))))
def test_round_trip(turns):
    history = [(bot if is_bot else user)(text) for is_bot, text in turns]
    assert read_history(write_history(history)) == rectify_chat_history(history)


@pytest.mark.parametrize(
    ("history", "url", "rest"),
    [
        ([], None, []),
        ([user("hi")], None, [user("hi")]),
        ([user("see http://a.b/c"), bot("ok"), user("and?")], "http://a.b/c", [user("see"), bot("ok"), user("and?")]),
        ([user("https://a.b"), user("pre http://c.d?e#f  post")], "http://c.d?e#f", [user("pre   post")]),
        ([user("http://a.b http://c.d")], "http://c.d", [user("")]),
        ([bot("http://a.b"), user("x")], None, [bot("http://a.b"), user("x")]),
        ([user("ftp://a.b http:// HTTP://a.b")], None, [user("ftp://a.b http:// HTTP://a.b")]),
    ],
)
def test_the_last_url_of_the_user(history, url, rest):
    before = json.dumps(history)
    assert extract_last_url(history) == (url, rest)
    assert json.dumps(history) == before
