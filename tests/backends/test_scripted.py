"""The replicas without a model: what they say, how they count, and what they refuse."""

from __future__ import annotations

import json

import pytest

from trunkcall.backends import debug, dummy
from trunkcall.backends.scripted import Scripted
from trunkcall.core.errors import ServingError
from trunkcall.core.events import Event, Finish, Text, Usage
from trunkcall.core.meter import Meter
from trunkcall.core.models import ModelSettings, Source
from trunkcall.core.requests import Generate
from trunkcall.protocols.openai import read_chat, read_completion
from trunkcall.testing import check_events

pytestmark = pytest.mark.anyio

SETTINGS = ModelSettings(name="m", sources=(Source("debug"),))


async def said(backend: Scripted, request: Generate) -> tuple[list[Event], Meter]:
    meter = Meter("id", model="m", protocol="openai", stream=True)
    async with backend.open(request, meter) as events:
        seen = [event async for event in events]
    check_events(seen)
    return seen, meter


def chat(**fields: object) -> Generate:
    return read_chat(json.dumps({"model": "m", "messages": [{"role": "user", "content": "a b c"}], **fields}).encode())


def texts(events: list[Event]) -> dict[int, str]:
    found: dict[int, str] = {}
    for event in events:
        if isinstance(event, Text):
            found[event.index] = found.get(event.index, "") + event.text
    return found


async def test_debug_repeats_the_question_for_each_choice() -> None:
    events, _ = await said(debug.connect("", SETTINGS, ""), chat(n=2))
    assert texts(events) == {0: "a b c", 1: "a b c"}
    assert events[-1] == Usage(3, 6)


async def test_limit_cuts_and_says_so() -> None:
    events, _ = await said(debug.connect("", SETTINGS, ""), chat(max_tokens=2))
    assert texts(events) == {0: "a b"}
    assert Finish(0, "length") in events


async def test_batch_of_prompts() -> None:
    request = read_completion(b'{"model":"m","prompt":["x y","z"],"n":1}')
    events, _ = await said(debug.connect("", SETTINGS, ""), request)
    assert texts(events) == {0: "x y", 1: "z"}
    events, _ = await said(dummy.connect("", SETTINGS, ""), request)
    assert texts(events)[0] == texts(events)[1] == "This is a fixed answer from the dummy model."


async def test_what_is_not_honoured_is_named() -> None:
    _, meter = await said(dummy.connect("", SETTINGS, ""), chat(temperature=0.5, max_tokens=50, store=True))
    assert set(meter.dropped) == {"temperature", "store"}


@pytest.mark.parametrize("target", ["soon", "-1", "61", "nan"])
def test_delay_that_is_none(target: str) -> None:
    with pytest.raises(ServingError, match=r"debug:0\.05"):
        debug.connect(target, SETTINGS, "")


def test_options_that_it_does_not_have() -> None:
    with pytest.raises(ServingError, match="unknown option 'slots'"):
        dummy.connect("", ModelSettings(name="m", sources=(Source("dummy"),), options={"slots": 3}), "")
