"""Why a server that others wrote has ended: its exit code and its last lines, in words for its operator."""

from __future__ import annotations

import re
import signal
from collections.abc import Sequence
from typing import Final

LONGEST: Final = 500
"""Characters of a line that are shown."""

_OUT_OF_MEMORY: Final = re.compile(
    r"out of memory|OutOfMemory|\bbad_alloc\b|cannot allocate memory|\bMemoryError\b|failed to allocate"
    r"|no available memory for the cache|less than desired GPU memory|larger than the available KV cache memory"
    r"|not enough memory|insufficient memory",
    re.IGNORECASE,
)
_PORT_TAKEN: Final = re.compile(
    r"address (is )?already in use|EADDRINUSE|errno 98\b|port \S+ is (already )?(in use|taken)", re.IGNORECASE
)
_RAISED: Final = re.compile(r"\b(?:[A-Za-z_]+\.)*[A-Z]\w*(?:Error|Exception|Interrupt)\b(?:\(|:|\]|\s*$)")
_LOOKS_BAD: Final = re.compile(
    r"error|exception|fatal|fail|cannot|could not|abort|panic|killed|unrecognized|invalid", re.IGNORECASE
)
_CODE: Final = re.compile(r"\s{4}(raise|return|await|self\.|with) ?|^\s*File \"|\^\^\^|\bat::")
"""Lines of a trace that only repeat the program's text."""
_POINTS_ELSEWHERE: Final = re.compile(
    r"root cause above|(see|check) (the )?(stack ?trace|logs?)|resource_tracker|leaked"
    r"|shard.*(failed|cannot) (to )?start|During handling of|direct cause of|Exception ignored",
    re.IGNORECASE,
)

_ANSWERED: Final = re.compile(r'"POST \S+ HTTP/[\d.]+" 2\d\d')
"""A line of an access log: what went wrong before has not kept it from serving."""


def explain(name: str, code: int, lines: Sequence[str]) -> str:
    """One or two sentences; code as subprocess gives it, or a shell's 128 + signal; lines: the last of its output."""
    number = -code if code < 0 else code - 128 if 128 < code < 128 + signal.NSIG else 0
    known = number in set(signal.Signals)
    ended = f"was killed by {signal.Signals(number).name}" if known else f"ended with exit code {code}"
    starved = next((line for line in reversed(lines) if _OUT_OF_MEMORY.search(line)), None)
    if starved is not None:
        return (
            f"{name} {ended}, out of memory: {_shown(starved)}. Give it a shorter context or fewer slots, take a"
            " smaller or more quantised model, or free memory"
        )
    if number == signal.SIGILL:
        return (
            f"{name} was killed by SIGILL: this build needs CPU features that the machine lacks; install a build for"
            " this CPU"
        )
    if number == signal.SIGKILL:
        return f"{name} was killed by SIGKILL; the kernel does so when memory runs out"
    telling = _telling(lines)
    return f"{name} {ended}: {telling}" if telling else f"{name} {ended} without a word"


def port_taken(lines: Sequence[str]) -> bool:
    """Whether the output says that another process has the port."""
    return any(_PORT_TAKEN.search(line) for line in lines)


def _telling(lines: Sequence[str]) -> str:
    said = [line for line in lines if line.strip() and not _CODE.search(line)]
    since = max((number for number, line in enumerate(said, 1) if _ANSWERED.search(line)), default=0)
    for some in (said[since:], said):
        first_hand = [line for line in some if not _POINTS_ELSEWHERE.search(line)]
        for candidates, pattern in ((first_hand, _RAISED), (some, _RAISED), (first_hand, _LOOKS_BAD)):
            for line in reversed(candidates):
                if pattern.search(line):
                    return _shown(line)
    return _shown(said[-1]) if said else ""


def _shown(line: str) -> str:
    line = line.strip()
    return line if len(line) <= LONGEST else line[:LONGEST] + " …"
