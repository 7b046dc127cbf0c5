"""W3C Trace Context: reads the header with which a caller names its span, and writes the one that names ours."""

from __future__ import annotations

import re
from typing import Final, NamedTuple

from trunkcall.core.trace import Trace

TRACEPARENT: Final = b"traceparent"
TRACESTATE: Final = b"tracestate"

_FORM: Final = re.compile(rb"([0-9a-f]{2})-([0-9a-f]{32})-([0-9a-f]{16})-([0-9a-f]{2})(-.*)?")
_SAMPLED: Final = 1
_LONGEST_STATE: Final = 512
"""Bytes of tracestate that must be passed on; a longer one may be left out."""
_STATE: Final = re.compile(rb"[ -~]*")


class Parent(NamedTuple):
    """The caller's span: ids of 128 and 64 bits, and whether the caller records it."""

    trace: int
    span: int
    sampled: bool


def read_traceparent(value: bytes) -> Parent | None:
    """The caller's span; None for what is malformed, which the specification says to pass over.

    A version that is newer than ours is read as far as we know it.
    """
    found = _FORM.fullmatch(value.strip())
    if found is None:
        return None
    version, trace, span, flags, rest = found.groups()
    if version == b"ff" or (version == b"00" and rest is not None):
        return None
    parent = Parent(int(trace, 16), int(span, 16), bool(int(flags, 16) & _SAMPLED))
    return parent if parent.trace and parent.span else None


def read_tracestate(value: bytes | None) -> bytes:
    """What of the caller's tracestate is passed on: all of it, or nothing where it cannot be sent."""
    if value is None or len(value) > _LONGEST_STATE or not _STATE.fullmatch(value):
        return b""
    return value


def trace_lines(trace: Trace) -> bytes:
    """Lines of a request's head that name the try under way, or the request itself before the first."""
    span = trace.tries[-1].span if trace.tries else trace.span
    line = b"traceparent: 00-%032x-%016x-%02x\r\n" % (trace.trace, span, trace.sampled)
    return line + b"tracestate: %b\r\n" % trace.state if trace.state else line
