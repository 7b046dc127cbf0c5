"""W3C trace context: what callers send is read as the specification says, and what we send can be read."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trunkcall.core.trace import Trace
from trunkcall.protocols.traceparent import Parent, read_traceparent, read_tracestate, trace_lines

TRACE, SPAN = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"


@pytest.mark.parametrize(
    ("value", "read"),
    [
        (f"00-{TRACE}-{SPAN}-01", Parent(int(TRACE, 16), int(SPAN, 16), True)),
        (f" 00-{TRACE}-{SPAN}-00 ", Parent(int(TRACE, 16), int(SPAN, 16), False)),
        (f"00-{TRACE}-{SPAN}-03", Parent(int(TRACE, 16), int(SPAN, 16), True)),
        (f"cc-{TRACE}-{SPAN}-01-more", Parent(int(TRACE, 16), int(SPAN, 16), True)),
        (f"00-{TRACE}-{SPAN}-01-more", None),
        (f"ff-{TRACE}-{SPAN}-01", None),
        (f"00-{'0' * 32}-{SPAN}-01", None),
        (f"00-{TRACE}-{'0' * 16}-01", None),
        (f"00-{TRACE.upper()}-{SPAN}-01", None),
        (f"00-{TRACE}-{SPAN}", None),
        ("", None),
    ],
)
def test_reading(value: str, read: Parent | None) -> None:
    assert read_traceparent(value.encode()) == read


@given(st.binary(max_size=80))
def test_no_bytes_break_the_reader(value: bytes) -> None:
    read_traceparent(value)
    assert b"\r" not in read_tracestate(value)
    assert b"\n" not in read_tracestate(value)


@given(st.integers(1, 2**128 - 1), st.integers(1, 2**64 - 1), st.booleans())
def test_what_is_sent_names_the_try_under_way(trace: int, parent: int, sampled: bool) -> None:
    one = Trace(trace, parent, sampled, b"a=1", "chat", lambda model, replica: ("", ""))
    value, state = trace_lines(one).removesuffix(b"\r\n").split(b"\r\n")
    assert read_traceparent(value.removeprefix(b"traceparent: ")) == Parent(trace, one.span, sampled)
    assert state == b"tracestate: a=1"
    one.grant("r-1", "m")
    one.grant("r-2", "m")
    sent = read_traceparent(trace_lines(one).split(b"\r\n")[0].removeprefix(b"traceparent: "))
    assert sent == Parent(trace, one.tries[1].span, sampled)


def test_long_or_unfit_state_is_left_out() -> None:
    assert read_tracestate(None) == b""
    assert read_tracestate(b"a=1,b=2") == b"a=1,b=2"
    assert read_tracestate(b"a" * 513) == b""
    assert read_tracestate(b"a=\r\nevil: 1") == b""
