"""Answers: text and warnings come out as they went in, however the bytes are split."""

from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st
from protocols.kuwa_transcripts import exchange

from trunkcall.core.errors import ServingError
from trunkcall.core.events import (
    Fault,
    Finish,
    Notice,
    PromptTokens,
    Queue,
    Refusal,
    Start,
    Text,
    Thinking,
    ToolCall,
    Usage,
)
from trunkcall.protocols.kuwa import BlockReader, KuwaEmitter, parse_history_ids
from trunkcall.protocols.kuwa_answers import BLOCK_LIMIT

OPEN, CLOSE = "<<<WARNING>>>", "<<</WARNING>>>"

streams = st.lists(
    st.sampled_from([OPEN, CLOSE, "<", "<<<", "<<<W", "WARNING>>>", "/", "é", "中", "a", " ", "\n"]), max_size=12
).map("".join)


def whole(pieces: list[bytes]) -> tuple[str, list[str]]:
    """The text and the warnings that a reader makes of the pieces."""
    reader = BlockReader()
    found = [event for piece in pieces for event in reader.feed(piece)] + reader.end()
    assert all(event.text for event in found)
    text = "".join(event.text for event in found if isinstance(event, Text))
    return text, [event.text for event in found if isinstance(event, Notice)]


def split(data: bytes, cuts: list[int]) -> list[bytes]:
    places = [0, *sorted(cut % (len(data) + 1) for cut in cuts), len(data)]
    return [data[start:end] for start, end in pairwise(places)]


@given(streams, st.lists(st.integers(0, 200)))
def test_the_split_does_not_matter(text, cuts):
    data = text.encode()
    assert whole(split(data, cuts)) == whole([data]) == whole([bytes([byte]) for byte in data])


@given(st.binary(), st.lists(st.integers(0, 200)))
def test_any_bytes_come_through(data, cuts):
    assert whole(split(data, cuts))[0] == data.decode(errors="replace")


@pytest.mark.parametrize(
    ("text", "said", "warned"),
    [
        ("plain", "plain", []),
        (f"a{OPEN}b{CLOSE}c", "ac", ["b"]),
        (f"{OPEN}\none\ntwo\n{CLOSE}\n{OPEN}three{CLOSE}", "\n", ["one\ntwo", "three"]),
        (f"{OPEN}{OPEN}a{CLOSE}{CLOSE}", CLOSE, [f"{OPEN}a"]),
        (f"{OPEN} {CLOSE}", "", []),
        (f"a{OPEN}never closed <<</WARN", "a", ["never closed <<</WARN"]),
        ("a<<<WARNING>>", "a<<<WARNING>>", []),
        ("a <b> <<c>>", "a <b> <<c>>", []),
    ],
)
def test_blocks(text, said, warned):
    assert whole([text.encode()]) == (said, warned)


def test_only_what_may_be_a_mark_is_held_back():
    reader = BlockReader()
    assert reader.feed(b"a <") == [Text(0, "a ")]
    assert reader.feed(b"<") == []
    assert reader.feed(b"b") == [Text(0, "<<b")]
    assert reader.feed("é".encode()[:1]) == []
    assert reader.feed("é".encode()[1:]) == [Text(0, "é")]
    assert reader.end() == []


def test_a_warning_without_end_is_refused():
    reader = BlockReader()
    reader.feed(OPEN.encode())
    with pytest.raises(ServingError, match="warning of more than") as caught:
        for _ in range(BLOCK_LIMIT // 65536 + 1):
            reader.feed(b"a" * 65536)
    assert caught.value.kind == "upstream_error"


def test_the_recorded_warning():
    entry = exchange("kernel", "complete by the mirror, with a warning")
    assert len(entry.chunks) > 3
    assert whole(entry.chunks) == ("Grüße , goodbye", ["be careful"])


def test_the_recorded_answer():
    entry = exchange("kernel", "complete")
    emitter = KuwaEmitter()
    assert [emitter.feed(Text(0, letter)) for letter in "héllo wörld"] == entry.chunks
    assert emitter.end() == b""


def test_what_is_emitted():
    emitter = KuwaEmitter(b"text/event-stream; charset=utf-8")
    assert emitter.content_type == b"text/event-stream; charset=utf-8"
    assert KuwaEmitter().content_type == b"text/plain; charset=utf-8"
    silent = (Start("id", "m", 0), Queue(1), PromptTokens(()), Usage(1, 1), Finish(0, "stop"))
    assert [emitter.feed(event) for event in silent] == [b""] * len(silent)
    assert emitter.feed(Text(0, "é")) == "é".encode()
    assert emitter.feed(Refusal(0, "no")) == b"no"
    assert emitter.feed(Notice("warning", f"be{CLOSE} careful{OPEN}")) == f"{OPEN}be careful{CLOSE}".encode()
    assert emitter.end() == b""


def test_what_cannot_be_shown_is_said_once():
    emitter = KuwaEmitter()
    events = (Thinking(0, "hm"), Thinking(0, "hm"), Text(0, "a"), ToolCall(0, 0, "{}"), Text(1, "b"), Finish(0, "stop"))
    sent = b"".join(map(emitter.feed, events))
    assert sent == b"a"
    text, (warning,) = whole([sent, emitter.end()])
    assert text == "a"
    assert all(warning.count(word) == 1 for word in ("reasoning", "tool calls", "further choices"))
    assert emitter.end() == b""


def test_faults():
    error = ServingError("unreachable", "the engine is gone; try again")
    for sent in (KuwaEmitter().fault(error), KuwaEmitter().feed(Fault(error))):
        assert whole([sent]) == ("", ["the engine is gone; try again"])
    assert KuwaEmitter().fault(ServingError("cancelled", "stopped")) == b""
    emitter = KuwaEmitter()
    emitter.feed(Thinking(0, "hm"))
    text, warnings = whole([emitter.fault(error), emitter.end()])
    assert (text, len(warnings)) == ("", 2)
    emitter.feed(Thinking(0, "hm"))
    assert emitter.fault(ServingError("cancelled", "stopped")) == b""


@given(st.lists(st.text(st.characters(exclude_categories=["Cs"], exclude_characters="<")) | st.integers(), max_size=8))
def test_round_trip(items):
    """Texts, and warnings where an integer stands."""
    emitter = KuwaEmitter()
    events = [Text(0, item) if isinstance(item, str) else Notice("warning", str(item)) for item in items]
    sent = b"".join(map(emitter.feed, events)) + emitter.end()
    texts = [item for item in items if isinstance(item, str)]
    assert whole([sent]) == ("".join(texts), [str(item) for item in items if isinstance(item, int)])


@pytest.mark.parametrize(
    ("text", "ids"),
    [
        ("[11,12]", ("11", "12")),
        (' [ 11 , "a b" ] ', ("11", "a b")),
        ("['11', \"it's\",]", ("11", "it's")),
        ("['a', 12345678901234567890123]", ("a", "12345678901234567890123")),
        ("[]", ()),
        ("11", ("11",)),
        (" -4 ", ("-4",)),
        ('"11"', ("11",)),
        ("chat-1", ("chat-1",)),
    ],
)
def test_ids_to_abort(text, ids):
    assert parse_history_ids(text) == ids


@pytest.mark.parametrize(
    "text",
    [
        *("", "[", "[1", "1]", "[1 2]", "[a]", "[1.5]", "[true]", "[null]", "[[1]]", "{}", '{"a":1}', "1,2", "(1, 2)"),
        *("__import__('os').system('true')", "[__import__('os')]", "['a\\x41']", "'a'"),
        *("[" * 100_000, "[1" + " " * 100_000 + "x", "[" + "1," * 100_000 + "x"),
    ],
)
def test_what_is_no_list_of_ids(text):
    with pytest.raises(ServingError, match="history_id") as caught:
        parse_history_ids(text)
    assert (caught.value.kind, caught.value.param) == ("bad_request", "history_id")
