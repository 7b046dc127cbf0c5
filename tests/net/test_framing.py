"""Reading heads: lines that have come before are read as they were then, and no secret is remembered."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trunkcall.net import framing
from trunkcall.net.framing import Head, Refusal, read_head


def forget() -> None:
    framing._known.clear()
    framing._asked.clear()


@pytest.fixture(autouse=True)
def forgetful() -> Iterator[None]:
    forget()
    yield
    forget()


def read(*lines: bytes, first: bytes = b"GET / HTTP/1.1") -> Head:
    data = b"".join(line + b"\r\n" for line in (first, *lines))
    return read_head(data, 0, len(data), 100)


def outcome(*lines: bytes, first: bytes = b"GET / HTTP/1.1") -> Head | tuple[int, str]:
    try:
        return read(*lines, first=first)
    except Refusal as refusal:
        return refusal.status, refusal.message


def test_a_line_is_read_alike_the_second_time() -> None:
    lines = b"Host: x", b"X-A:\t b \t", b"x-a:c", b"X-Empty:", b"X-Bytes: \xe4\xff"
    first = read(*lines)
    assert first.headers == [
        (b"host", b"x"),
        (b"x-a", b"b"),
        (b"x-a", b"c"),
        (b"x-empty", b""),
        (b"x-bytes", b"\xe4\xff"),
    ]
    assert framing._known
    assert read(*lines) == first
    assert read(*reversed(lines)).headers == first.headers[::-1]


@pytest.mark.parametrize(
    "name", [b"Authorization", b"Proxy-Authorization", b"Cookie", b"API-Key", b"x-api-key", b"X-Upstream-Token"]
)
def test_no_secret_is_remembered(name: bytes) -> None:
    for _ in range(2):
        assert read(b"Host: x", name + b": secret").first[name.lower()] == b"secret"
    assert b"secret" not in repr(framing._known).encode()
    assert list(framing._known) == [b"Host: x"]


def test_what_is_remembered_is_bounded() -> None:
    for number in range(3000):
        assert read(b"X-Number: %d" % number).headers == [(b"x-number", b"%d" % number)]
        assert len(framing._known) <= 1024
    long = b"X-Long: " + b"a" * 200
    assert read(long).headers == [(b"x-long", b"a" * 200)]
    assert long not in framing._known


def test_first_lines_are_read_alike_the_second_time_and_what_they_ask_is_not_remembered() -> None:
    for _ in range(2):
        head = read(first=b"POST /v1/models HTTP/1.0")
        assert (head.method, head.target, head.minor) == ("POST", b"/v1/models", 0)
        assert read(first=b"GET /v1?key=secret HTTP/1.1").target == b"/v1?key=secret"
    assert list(framing._asked) == [b"POST /v1/models HTTP/1.0\r\n"]
    for number in range(3000):
        assert read(first=b"GET /%d HTTP/1.1" % number).target == b"/%d" % number
    assert len(framing._asked) <= 1024


@pytest.mark.parametrize(
    "line", [b"GET / HTTP/2.0", b"GET http://x/ HTTP/1.1", b"GET * HTTP/1.1", b"GET / HTTP/1.1 ", b""]
)
def test_a_first_line_is_refused_each_time(line: bytes) -> None:
    for _ in range(2):
        assert outcome(b"Host: x", first=line)[0] == 400  # type: ignore[index]


_WORD = st.text("ab:- \t\r\n\0\x7f\xe4", max_size=6).map(lambda text: text.encode("latin-1"))
_LINE = st.one_of(_WORD, st.tuples(st.sampled_from([b"Host", b"X-A", b"Cookie"]), _WORD).map(b":".join))


@given(st.lists(st.lists(_LINE, max_size=4), max_size=6))
def test_memory_changes_nothing(heads: list[list[bytes]]) -> None:
    remembered = [outcome(*lines) for _ in range(2) for lines in heads]
    fresh: list[Head | tuple[int, str]] = []
    for lines in heads * 2:
        forget()
        fresh.append(outcome(*lines))
    assert remembered == fresh
    for head in remembered:
        if isinstance(head, Head):
            assert not any(byte in value for _, value in head.headers for byte in (0, 10, 13, 127))
