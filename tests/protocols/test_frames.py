"""Server-sent events: any split of a stream gives the same frames and payloads."""

from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trunkcall.core.errors import ServingError
from trunkcall.protocols import frames
from trunkcall.protocols.frames import FrameCutter, SseReader, comment, event, sse


def read(pieces: list[bytes]) -> list[bytes]:
    reader = SseReader()
    found = [payload for piece in pieces for payload in reader.feed(piece)]
    return found + reader.end()


def split(data: bytes, places: list[int]) -> list[bytes]:
    edges = [0, *sorted(place % (len(data) + 1) for place in places), len(data)]
    return [data[a:b] for a, b in pairwise(edges)]


@pytest.mark.parametrize(
    ("stream", "expected"),
    [
        (b"data: a\n\n", [b"a"]),
        (b"data:a\n\ndata:  b\n\n", [b"a", b" b"]),
        (b"data: a\r\n\r\ndata: b\r\n\r\n", [b"a", b"b"]),
        (b"data: a\r\rdata: b\r\r", [b"a", b"b"]),
        (b"data: a\r\n\ndata: b\n\r\ndata: c\r\r\n", [b"a", b"b", b"c"]),
        (b"data: a\ndata: b\n\n", [b"a\nb"]),
        (b": ping\n\nevent: x\nid: 1\nretry: 5\ndata: a\n\n", [b"a"]),
        (b"\xef\xbb\xbfdata: a\n\n", [b"a"]),
        (b"data\n\ndata:\n\ndatax: no\n\ndata: a\n\n", [b"a"]),
        (b"\n\n\n\ndata: a\n\n\n\ndata: b\n\n", [b"a", b"b"]),
        (b"data: a\n\ndata: [DONE]", [b"a", b"[DONE]"]),
        (b"\xef\xbb\xbfdata: a", [b"a"]),
        (b"data: \xef\xbb\xbfa\x0b\x0c\xc2\x85b\n\n", [b"\xef\xbb\xbfa\x0b\x0c\xc2\x85b"]),
        (b"", []),
    ],
)
def test_payloads_of_streams(stream: bytes, expected: list[bytes]) -> None:
    assert read([stream]) == expected
    assert read([bytes([byte]) for byte in stream]) == expected


lines = st.sampled_from([b"data: a", b"data:bc", b"data", b": note", b"event: e", b"", b"x"])
ends = st.sampled_from([b"\n", b"\r\n", b"\r"])
streams = st.lists(st.tuples(lines, ends), max_size=20).map(lambda found: b"".join(a + b for a, b in found))


@given(streams, st.lists(st.integers(0, 400), max_size=6))
def test_any_split_gives_the_same_payloads(stream: bytes, places: list[int]) -> None:
    assert read(split(stream, places)) == read([stream])


@given(streams, st.lists(st.integers(0, 400), max_size=6))
def test_the_cutter_loses_nothing_and_ends_at_blank_lines(stream: bytes, places: list[int]) -> None:
    cutter = FrameCutter()
    out = b""
    for piece in split(stream, places):
        whole = cutter.feed(piece)
        out += whole
        assert not whole or whole.replace(b"\r\n", b"\n").replace(b"\r", b"\n").endswith(b"\n\n") or whole == b"\n"
        assert b"\n\n" not in bytes(cutter.tail)
    assert out + cutter.end() == stream
    assert not cutter.tail


def test_the_cutter_hands_whole_batches_on_without_a_copy() -> None:
    batch = b"data: a\n\ndata: b\n\n"
    assert FrameCutter().feed(batch) is batch


@pytest.mark.parametrize("end", [b"\n\n", b"\r\n\r\n", b"\r\r", b"\r\n\n", b"\n\r\n", b"\r\r\n"])
def test_a_frame_is_whole_with_its_blank_line(end: bytes) -> None:
    cutter = FrameCutter()
    assert cutter.feed(b"data: a") == b""
    assert cutter.feed(end + b"data: b") == b"data: a" + end
    assert cutter.end() == b"data: b"


def test_plain_and_other_frames_in_one_stream() -> None:
    reader = SseReader()
    given = [b"data: a\n\n", b"data: b\ndata: c\n\n", b"data: \n\n", b"data: d\r\r\n\n", b"data: e\n\ndata: f\n\n"]
    assert [reader.feed(piece) for piece in given] == [[b"a"], [b"b\nc"], [], [b"d"], [b"e", b"f"]]


def test_single_frames_keep_their_bytes() -> None:
    whole = b"data: a\r\n\r\n: x\n\ndata: b\ndata: c\r\rdata: d\n\r\n"
    assert frames.frames(whole) == [b"data: a\r\n\r\n", b": x\n\n", b"data: b\ndata: c\r\r", b"data: d\n\r\n"]


def test_an_endless_frame_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(frames, "FRAME_LIMIT", 1000)
    cutter = FrameCutter()
    cutter.feed(b"x" * 900)
    with pytest.raises(ServingError) as caught:
        cutter.feed(b"x" * 200)
    assert caught.value.kind == "upstream_error"


@given(st.binary(min_size=1, max_size=30))
def test_what_is_written_is_read_back(data: bytes) -> None:
    normal = data.replace(b"\r\n", b"\n").replace(b"\r", b"\n")
    assert read([sse(data)]) == [normal]


def test_an_event_has_its_kind_and_json_of_one_line() -> None:
    told = event("line", {"text": "a\nb\r\n"})
    assert told == b'event: line\ndata: {"text":"a\\nb\\r\\n"}\n\n'
    assert read([told]) == [b'{"text":"a\\nb\\r\\n"}']


def test_a_comment_stays_one_line_and_is_not_read() -> None:
    assert comment("a\r\nb\nc") == b": a b c\n\n"
    assert read([comment("data: x\n\ndata: y")]) == []
