"""Checks for authors of backends and apis: what every stream of events must keep."""

from __future__ import annotations

from collections.abc import Sequence

from trunkcall.core.events import Event, Fault, Finish, Start, Text, Thinking, ToolCall, Usage


def check_events(events: Sequence[Event]) -> None:
    """Raise AssertionError, saying where, when a whole generation breaks the order of core/events."""
    finished: set[int] = set()
    seen: set[int] = set()
    usages = 0
    assert events, "a generation says something"
    starts = [number for number, event in enumerate(events) if isinstance(event, Start)]
    failed = isinstance(events[-1], Fault)
    assert len(starts) == 1 or failed, f"one Start, not {len(starts)}"
    for number, event in enumerate(events):
        match event:
            case Text(index=index) | Thinking(index=index) | ToolCall(index=index):
                assert starts and number > starts[0], f"event {number} comes before Start"
                assert index not in finished, f"event {number} comes after the Finish of choice {index}"
                seen.add(index)
            case Finish(index=index):
                assert index not in finished, f"choice {index} finishes twice"
                finished.add(index)
            case Usage():
                usages += 1
                assert usages == 1, "Usage comes twice"
            case Fault():
                assert number == len(events) - 1, "nothing comes after a Fault"
            case _:
                pass
    if not failed:
        assert seen <= finished, f"choices {sorted(seen - finished)} have no Finish"
        assert finished, "there is a Finish"
