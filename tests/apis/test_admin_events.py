"""What waits for one listener of live events."""

from __future__ import annotations

import pytest

from trunkcall.apis.admin_events import BACKLOG, Backlog, brief
from trunkcall.core.models import ModelView, ReplicaView

REPLICA = ReplicaView(id="m/0", model="m", source="s", state="ready", in_flight=0, slots=None, log=("a", "b"))

pytestmark = pytest.mark.anyio


async def test_what_is_wanted_comes_in_order() -> None:
    backlog = Backlog(frozenset({"model", "key"}))
    assert backlog.take() == b""
    backlog.put("model", {"n": 1})
    backlog.put("request", {"n": 2})
    backlog.put("key", {"n": "a\nb"})
    assert backlog.there.is_set()
    assert backlog.take() == b'event: model\ndata: {"n":1}\n\nevent: key\ndata: {"n":"a\\nb"}\n\n'
    assert backlog.take() == b""


async def test_what_is_too_much_is_counted_and_told_once() -> None:
    backlog = Backlog(frozenset({"model"}))
    for number in range(BACKLOG + 7):
        backlog.put("model", number)
    told = backlog.take()
    assert told.count(b"event: model") == BACKLOG
    assert told.endswith(b'event: missed\ndata: {"count":7}\n\n')
    backlog.put("model", 1)
    assert backlog.take() == b"event: model\ndata: 1\n\n"


def test_lines_that_replicas_wrote_are_left_out() -> None:
    assert brief(REPLICA).log == ()
    assert brief(ModelView(name="m", sources=(), waiting=0, created=0, replicas=(REPLICA,))).replicas[0].log == ()
    assert brief({"x": 1}) == {"x": 1}
