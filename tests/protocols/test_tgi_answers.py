"""TGI's answers, both ways: tokens held back no longer than they must, whole equal to streamed, recorded transcripts."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from trunkcall.core.errors import ServingError
from trunkcall.core.events import (
    UNLIKELY,
    Event,
    Fault,
    Finish,
    Notice,
    PromptTokens,
    Queue,
    Refusal,
    Start,
    Text,
    TokenLogprob,
    Usage,
)
from trunkcall.core.ports import Emitter
from trunkcall.protocols.frames import SseReader
from trunkcall.protocols.tgi import Asked, Compat, StreamEmitter, StreamReader, WholeEmitter, read_whole
from trunkcall.protocols.tgi_stops import StopCutter
from trunkcall.protocols.tgi_tokens import Token, pieces_of

DATA = Path(__file__).parent / "data" / "tgi"
START = Start("id", "m", 7)
ASKED = Asked(inputs="What?", max_new_tokens=9, details=True, input_tokens=5)


def token(
    id: int, text: str, logprob: float = -0.5, *, special: bool = False, raw: bytes | None = None
) -> TokenLogprob:
    return TokenLogprob(text, logprob, None if raw is None else tuple(raw), id=id, special=special)


def said(id: int, text: str, logprob: float = -0.5) -> Text:
    return Text(0, text, (id,), (token(id, text, logprob),))


EOS = Text(0, "", (2,), (token(2, "</s>", -0.1, special=True),))
A = said(247, " a", -0.63)


def events_of(data: bytes) -> list[dict[str, Any]]:
    assert data.endswith(b"\n\n") or not data
    return [
        json.loads(frame.removeprefix(b"data:")) for frame in data.split(b"\n\n")[:-1] if not frame.startswith(b":")
    ]


def streamed(events: list[Event], asked: Asked = ASKED, compat: Compat = "3") -> list[dict[str, Any]]:
    emitter = StreamEmitter(msgspec.structs.replace(asked, stream=True), compat=compat)
    return events_of(b"".join([emitter.feed(event) for event in events]) + emitter.end())


def whole(events: list[Event], asked: Asked = ASKED, **options: Any) -> Any:
    emitter = WholeEmitter(asked, **options)
    assert b"".join([emitter.feed(event) for event in events]) == b""
    return json.loads(emitter.end())


@pytest.mark.parametrize("compat", ["3", "0.8"])
def test_a_stream_as_recorded(compat: Compat) -> None:
    emitter = StreamEmitter(msgspec.structs.replace(ASKED, stream=True), compat=compat)
    told = [emitter.feed(event) for event in (START, A, EOS, Finish(0, "stop"), Usage(5, 2))]
    recorded = (DATA / f"stream-{compat}.sse").read_bytes()
    assert b"".join(told) + emitter.end() == recorded
    # The first token has gone out when it came.
    assert told[1] == recorded.partition(b"\n\n")[0] + b"\n\n"


def test_a_whole_answer_as_recorded() -> None:
    branch = Text(0, " branch", (4,), (token(4, " branch"),))
    assert whole([START, A, branch, Finish(0, "length"), Usage(5, 2)]) == json.loads(
        (DATA / "whole-3.json").read_bytes()
    )
    prefill = PromptTokens((token(1, "What", -9), token(3, "?", -2.5)))
    asked = msgspec.structs.replace(ASKED, seed=42, decoder_input_details=True)
    told = whole([START, prefill, A, EOS, Finish(0, "stop")], asked, listed=True, compat="0.8")
    assert told == json.loads((DATA / "whole-0.8.json").read_bytes())


@pytest.mark.parametrize("stops", [(), ("zzz",)])
def test_no_token_waits_for_the_next(stops: tuple[str, ...]) -> None:
    emitter = StreamEmitter(msgspec.structs.replace(ASKED, stop=stops))
    for place in range(8):
        (told,) = events_of(emitter.feed(said(place, f" {place}")))
        assert (told["index"], told["token"]["id"], told["generated_text"]) == (place + 1, place, None)
    # The ninth may be the last.
    assert emitter.feed(said(9, " 9")) == b""
    assert emitter.feed(Finish(0, "length")) == b""
    (last,) = events_of(emitter.end())
    assert (last["index"], last["token"]["text"]) == (9, " 9")
    assert last["generated_text"] == " 0 1 2 3 4 5 6 7 9"
    assert last["details"] == {"finish_reason": "length", "generated_tokens": 9, "seed": None, "input_length": 5}


def test_a_token_is_held_where_the_text_ends_with_a_stop_sequence() -> None:
    emitter = StreamEmitter(msgspec.structs.replace(ASKED, stop=("\n\nUser", "⛔️")))
    held = [bool(emitter.feed(said(1, piece))) for piece in ("x\n", "\nUs", "er")]
    assert held == [True, True, False]
    # The engine goes on, so it was none: both go out, but for the one that completes the other stop sequence.
    assert [one["token"]["text"] for one in events_of(emitter.feed(said(1, "s")))] == ["er", "s"]
    assert [bool(emitter.feed(said(1, piece))) for piece in ("⛔", "️")] == [True, False]
    emitter.feed(Finish(0, "stop"))
    (last,) = events_of(emitter.end())
    assert last["generated_text"] == "x\n\nUsers⛔️"
    assert last["details"]["finish_reason"] == "stop_sequence"


@pytest.mark.parametrize(
    ("events", "reason", "text", "tokens"),
    [
        ([A, EOS, Finish(0, "stop")], "eos_token", " a", [" a", "</s>"]),
        ([A, Finish(0, "stop")], "eos_token", " a", [" a", ""]),
        ([Finish(0, "stop")], "eos_token", "", [""]),
        ([A, Finish(0, "stop", "END")], "stop_sequence", " aEND", [" a", "END"]),
        ([A, said(8, "END"), Finish(0, "stop")], "stop_sequence", " aEND", [" a", "END"]),
        ([A, said(8, "END"), Finish(0, "stop", "END")], "stop_sequence", " aEND", [" a", "END"]),
        ([A, Refusal(0, "no"), Finish(0, "content_filter")], "eos_token", " ano", [" a", "no", ""]),
        ([*[A] * 9, Finish(0, "length")], "length", " a" * 9, [" a"] * 9),
        ([*[A] * 9, Finish(0, "stop")], "eos_token", " a" * 9, [" a"] * 9),
        ([Text(0, "ab", (1, 2), None), Finish(0, "stop")], "eos_token", "ab", ["", "ab", ""]),
        ([Text(0, "ab"), EOS, Finish(0, "stop")], "eos_token", "ab", ["ab", "</s>"]),
    ],
)
def test_how_answers_end(events: list[Event], reason: str, text: str, tokens: list[str]) -> None:
    asked = msgspec.structs.replace(ASKED, stop=("END",))
    last = streamed(events, asked)[-1]
    made = whole(events, asked)
    assert [one["token"]["text"] for one in streamed(events, asked)] == tokens
    assert [one["text"] for one in made["details"]["tokens"]] == tokens
    assert last["generated_text"] == made["generated_text"] == text
    assert last["details"]["finish_reason"] == made["details"]["finish_reason"] == reason
    assert last["details"]["generated_tokens"] == made["details"]["generated_tokens"] == len(tokens)


def test_an_engine_that_ends_before_the_limit() -> None:
    """The event that carries the text has no token then, and is not counted as one."""
    events: list[Event] = [A, Finish(0, "length")]
    *_, last = streamed(events)
    assert (last["index"], last["token"]["special"], last["generated_text"]) == (2, True, " a")
    assert last["details"]["generated_tokens"] == whole(events)["details"]["generated_tokens"] == 1


def test_without_details_the_key_is_absent() -> None:
    asked = msgspec.structs.replace(ASKED, details=False)
    assert whole([A, Finish(0, "stop")], asked) == {"generated_text": " a"}
    assert streamed([A, Finish(0, "stop")], asked)[-1]["details"] is None


def test_the_prompt_in_front() -> None:
    asked = msgspec.structs.replace(ASKED, return_full_text=True)
    assert whole([A, Finish(0, "stop")], asked, listed=True)[0]["generated_text"] == "What? a"
    assert streamed([A, Finish(0, "stop")], asked)[-1]["generated_text"] == "What? a"


def test_the_engines_count_where_it_tells_no_tokens() -> None:
    events: list[Event] = [Text(0, "several at once"), Finish(0, "stop"), Usage(11, 6)]
    last = streamed(events)[-1]["details"]
    assert (last["generated_tokens"], last["input_length"]) == (6, 11)
    assert whole(events)["details"]["generated_tokens"] == 6


def test_the_larger_count_where_tokens_are_no_whole_characters() -> None:
    for counted, generated in ((3, 3), (1, 2)):
        events: list[Event] = [A, said(3, "☃"), Finish(0, "length"), Usage(11, counted)]
        asked = msgspec.structs.replace(ASKED, max_new_tokens=2)
        assert streamed(events, asked)[-1]["details"]["generated_tokens"] == generated
        assert whole(events, asked)["details"]["generated_tokens"] == generated


def test_the_likeliest_of_several_counts() -> None:
    asked = msgspec.structs.replace(ASKED, best_of=3, samples=True, top_n_tokens=1)
    top = TokenLogprob("o", -0.25, id=5)
    events: list[Event] = []
    for index, value in enumerate((-2.0, -0.25, -1.0)):
        one = TokenLogprob(f"t{index}", value, top=(top,), id=index)
        events += [Text(index, f"t{index}", (index,), (one,)), Finish(index, "length")]
    made = whole(events, asked)
    assert made["generated_text"] == "t1"
    assert [one["generated_text"] for one in made["details"]["best_of_sequences"]] == ["t0", "t2"]
    assert made["details"]["top_tokens"] == [[{"id": 5, "text": "o", "logprob": -0.25, "special": False}]]


def test_top_tokens_of_a_stream() -> None:
    asked = msgspec.structs.replace(ASKED, top_n_tokens=2)
    one = Text(
        0, "x", (1,), (TokenLogprob("x", -1.0, top=(token(2, "</s>", special=True), token(1, "x", -1.0)), id=1),)
    )
    first, last = streamed([one, Finish(0, "stop")], asked)
    assert [other["id"] for other in first["top_tokens"]] == [2, 1]
    assert last["top_tokens"] == []


SNOW = "☃".encode()


@pytest.mark.parametrize(
    ("text", "told", "texts"),
    [
        ("a☃", [token(1, "a"), token(2, "�", raw=SNOW[:1]), token(3, "�", raw=SNOW[1:])], ["a", "", "☃"]),
        ("☃", [token(2, "�", raw=SNOW[:2]), token(3, "�", raw=SNOW[2:])], ["", "☃"]),
        ("☃", [token(2, "�"), token(3, "�")], ["", "☃"]),
        ("ab", [token(1, "a"), token(9, "<s>", special=True), token(2, "b")], ["a", "<s>", "b"]),
        ("", [token(9, "</s>", special=True)], ["</s>"]),
        ("x", [token(1, "y")], ["x"]),
    ],
)
def test_a_characters_tokens(text: str, told: list[TokenLogprob], texts: list[str]) -> None:
    assert [piece.token.text for piece in pieces_of(Text(0, text, None, tuple(told)))] == texts


def test_what_is_not_known_is_not_invented() -> None:
    assert [piece.token for piece in pieces_of(Text(0, "ab"))] == [Token(0, "ab", None)]
    assert pieces_of(Text(0, "")) == []
    for value in (float("-inf"), UNLIKELY):
        assert b'"logprob":null' in StreamEmitter(ASKED).feed(said(1, "a", value))
    unlikely = token(1, "a", UNLIKELY)
    asked = msgspec.structs.replace(ASKED, top_n_tokens=1)
    one = TokenLogprob("a", UNLIKELY, top=(unlikely,), id=1)
    made = whole([PromptTokens((unlikely, unlikely)), Text(0, "a", (1,), (one,)), Finish(0, "length")], asked)
    details = made["details"]
    assert {each["logprob"] for each in (*details["prefill"], *details["tokens"], *details["top_tokens"][0])} == {None}


@pytest.mark.parametrize("events", [[], [START, A]])
def test_an_answer_without_an_end(events: list[Event]) -> None:
    for emitter, text in (
        (StreamEmitter(ASKED), "Incomplete generation stream"),
        (WholeEmitter(ASKED), "Incomplete generation"),
    ):
        for event in events:
            emitter.feed(event)
        with pytest.raises(ServingError, match=f"^{text}$"):
            emitter.end()


def test_faults() -> None:
    emitter = StreamEmitter(msgspec.structs.replace(ASKED, max_new_tokens=1))
    assert emitter.feed(A) == b""
    first, error = events_of(emitter.feed(Fault(ServingError("unreachable", "it died"))))
    assert first["token"]["text"] == " a"
    assert error == {"error": "Request failed during generation: it died", "error_type": "generation"}
    assert emitter.end() == b""
    assert emitter.fault(ServingError("bug", "")) == b""
    with pytest.raises(ServingError, match="it died"):
        WholeEmitter(ASKED).feed(Fault(ServingError("unreachable", "it died")))


def test_waiting_is_a_comment() -> None:
    emitter: Emitter = StreamEmitter(ASKED)
    assert emitter.feed(Queue(3)) == b": queue position 3\n\n"
    assert emitter.feed(Notice("info", "two\nlines")) == b": two lines\n\n"


# What comes from a TGI server


def read_stream(data: bytes, cut: int = 0, **options: Any) -> list[Event]:
    frames, reader = SseReader(), StreamReader(START, **options)
    events: list[Event] = []
    for part in (data[:cut], data[cut:]):
        for payload in frames.feed(part):
            events += reader.feed(payload)
    for payload in frames.end():
        events += reader.feed(payload)
    return events + reader.end()


@pytest.mark.parametrize("compat", ["3", "0.8"])
def test_a_recorded_stream_is_read(compat: Compat) -> None:
    data = (DATA / f"stream-{compat}.sse").read_bytes()
    expected = [START, A, EOS, Finish(0, "stop"), Usage(5, 2)]
    for cut in (0, 7, 100, len(data)):
        assert read_stream(data, cut, input_tokens=5) == expected
    assert read_stream(b":\n\n" + data.rstrip(), kept=True, stops=("x",), input_tokens=5) == expected


def test_recorded_answers_are_read() -> None:
    first = read_whole((DATA / "whole-3.json").read_bytes(), START)
    assert [type(event).__name__ for event in first] == ["Start", "Text", "Finish"]
    second = read_whole((DATA / "whole-0.8.json").read_bytes(), START)
    assert second[1] == PromptTokens((token(1, "What", -9999.0), token(3, "?", -2.5)))
    assert second[3:] == [Finish(0, "stop"), Usage(2, 2)]
    assert read_whole(b'{"generated_text":"x"}', START) == [START, Text(0, "x"), Finish(0, "stop")]


def test_an_error_in_a_stream() -> None:
    with pytest.raises(ServingError) as caught:
        read_stream((DATA / "stream-error.sse").read_bytes())
    assert (caught.value.kind, caught.value.message) == ("upstream_error", "Server error: shard died")


@pytest.mark.parametrize("data", [b"data:{}\n\n", b"data:<html>\n\n", b'data:{"token":{"id":"x","text":""}}\n\n', b""])
def test_what_is_no_stream_of_tgi(data: bytes) -> None:
    with pytest.raises(ServingError) as caught:
        read_stream(data)
    assert caught.value.kind == "upstream_error"


@pytest.mark.parametrize("body", [b"", b"[]", b"{}", b"<html>", b'{"generated_text":1}', b"[" * 5000])
def test_what_is_no_answer_of_tgi(body: bytes) -> None:
    with pytest.raises(ServingError) as caught:
        read_whole(body, START)
    assert caught.value.kind == "upstream_error"


PIECES = st.lists(st.text(st.characters(codec="utf-8"), min_size=1, max_size=4), max_size=12)


@given(PIECES, st.lists(st.text(min_size=1, max_size=3), max_size=3), st.integers(1, 14), st.booleans())
def test_there_and_back(pieces: list[str], stops: list[str], most: int, ended: bool) -> None:
    """Whole is what was streamed, and what is read is what was said."""
    events: list[Event] = [START, *[said(place, piece) for place, piece in enumerate(pieces[:most])]]
    if ended and len(pieces) < most:
        events.append(EOS)
    events.append(Finish(0, "stop" if len(pieces) < most else "length"))
    asked = Asked(inputs="?", stop=tuple(stops), max_new_tokens=most, details=True, input_tokens=1)
    told, made = streamed(events, asked), whole(events, asked)
    assert [one["token"] for one in told] == made["details"]["tokens"]
    text = "".join(pieces[:most])
    assert told[-1]["generated_text"] == made["generated_text"] == text
    assert [one["index"] for one in told] == list(range(1, len(told) + 1))
    assert all(one["generated_text"] is None for one in told[:-1])
    emitter = StreamEmitter(asked)
    data = b"".join([emitter.feed(event) for event in events]) + emitter.end()
    back = read_stream(data, len(data) // 2, kept=True, stops=tuple(stops))
    assert "".join(event.text for event in back if isinstance(event, Text)) == text
    assert [event for event in back if isinstance(event, Text)][: len(pieces[:most])] == events[
        1 : 1 + len(pieces[:most])
    ]


@given(st.lists(st.text("abc", max_size=3), max_size=12), st.lists(st.text("abc", min_size=1, max_size=4), max_size=3))
def test_stop_sequences_are_cut_however_they_are_split(pieces: list[str], stops: list[str]) -> None:
    cutter = StopCutter(tuple(stops))
    text = "".join([cutter.feed(piece) for piece in pieces]) + cutter.end()
    full = "".join(pieces)
    if cutter.matched is None:
        assert text == full
        assert not any(stop in full for stop in stops)
    else:
        assert full.startswith(text + cutter.matched)
        assert not any(stop in text for stop in stops)


def test_a_stop_sequence_is_not_waited_for_longer_than_it_may_be_one() -> None:
    cutter = StopCutter(("User:", "\n\n"))
    assert [cutter.feed(piece) for piece in ("Us", "a", "\n", "x", "Use", "r:", "more")] == [
        "",
        "Usa",
        "",
        "\nx",
        "",
        "",
        "",
    ]
    assert cutter.matched == "User:"


def test_a_reader_who_does_not_want_the_stop_sequence() -> None:
    asked = msgspec.structs.replace(ASKED, stop=("END",), stream=True)
    emitter = StreamEmitter(asked)
    events = [START, said(1, "x E"), said(2, "ND"), Finish(0, "stop")]
    data = b"".join([emitter.feed(event) for event in events]) + emitter.end()
    cut = read_stream(data, stops=("END",))
    assert "".join(event.text for event in cut if isinstance(event, Text)) == "x "
    assert Finish(0, "stop", "END") in cut
    body = json.dumps({"generated_text": "x END", "details": {"finish_reason": "stop_sequence", "generated_tokens": 2}})
    assert read_whole(body.encode(), START, stops=("END",), input_tokens=4)[1:] == [
        Text(0, "x "), Finish(0, "stop", "END"), Usage(4, 2)
    ]  # fmt: skip
