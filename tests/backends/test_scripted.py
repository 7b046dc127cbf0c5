"""The replicas without a model: what they say, how they count, and what they refuse."""

from __future__ import annotations

import json
from importlib.metadata import version
from typing import Any

import msgspec
import pytest
from msgspec import Raw

from trunkcall.backends import debug, dummy, sysinfo
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


def with_options(**options: Any) -> ModelSettings:
    return ModelSettings(name="m", sources=(Source("debug"),), options=options)


def pieces(events: list[Event]) -> list[str]:
    return [event.text for event in events if isinstance(event, Text)]


@pytest.mark.parametrize(
    ("unit", "content", "expected"),
    [
        ("word", "one  two\n3", ["one", " ", " two\n3"]),
        ("character", "né 👋🏽", ["n", "é", " ", "👋", "🏽"]),
        ("word", "", [""]),
        ("character", "", []),
    ],
)
async def test_what_a_piece_is(unit: str, content: str, expected: list[str]) -> None:
    request = chat(messages=[{"role": "user", "content": content}])
    events, _ = await said(debug.connect("", with_options(unit=unit), ""), request)
    assert pieces(events) == expected
    assert events[-1] == Usage(len(expected), len(expected))


async def test_limit_counts_pieces() -> None:
    events, _ = await said(debug.connect("", with_options(unit="character"), ""), chat(max_tokens=2))
    assert texts(events) == {0: "a "}
    assert events[-1] == Usage(5, 2)


@pytest.mark.parametrize(("history", "expected"), [("last", " three\n"), ("all", "one two three")])
async def test_debug_repeats_the_last_question_or_all_that_was_said(history: str, expected: str) -> None:
    said_before = [("system", "SYS"), ("user", " one "), ("assistant", "two"), ("user", " three\n")]
    request = chat(messages=[{"role": role, "content": content} for role, content in said_before])
    events, _ = await said(debug.connect("", with_options(history=history), ""), request)
    assert texts(events) == {0: expected}


async def test_dummy_says_what_it_is_told_to() -> None:
    request = read_completion(b'{"model":"m","prompt":["x y","z"]}')
    events, _ = await said(dummy.connect("", with_options(text="Back at noon."), ""), request)
    assert texts(events) == {0: "Back at noon.", 1: "Back at noon."}


async def test_sysinfo_tells_of_this_machine_anew_each_time(monkeypatch: pytest.MonkeyPatch) -> None:
    backend = sysinfo.connect("", SETTINGS, "")
    events, _ = await said(backend, chat())
    page = texts(events)[0]
    assert page.startswith("# This machine\n\n## System\n\n- Platform: ")
    for line in (f"- trunkcall: {version('trunkcall')}", "- Memory: ", "- GPU: ", "- CPU: ", "- Python: "):
        assert f"\n{line}" in page
    monkeypatch.setattr(sysinfo, "_PACKAGES", ("no-such-package",))
    events, _ = await said(backend, chat())
    assert texts(events)[0].endswith("## Packages\n\n- no-such-package: not installed")


class Naps:
    """Stands for asyncio.sleep and remembers how long it was asked to."""

    def __init__(self) -> None:
        self.seconds: list[float] = []

    async def __call__(self, seconds: float) -> None:
        self.seconds.append(seconds)


@pytest.mark.parametrize(
    ("target", "options", "own", "naps"),
    [
        ("", {}, None, []),
        ("0.5", {}, None, [0.5] * 3),
        ("", {"delay": 0.25}, None, [0.25] * 3),
        ("", {"delay": 0}, None, []),
        ("0.5", {}, b"2", [2.0] * 3),
        ("0.5", {}, b"0", []),
        ("0.5", {}, b"null", [0.5] * 3),
    ],
)
async def test_delays(
    target: str, options: dict[str, Any], own: bytes | None, naps: list[float], monkeypatch: pytest.MonkeyPatch
) -> None:
    slept = Naps()
    monkeypatch.setattr("trunkcall.backends.scripted.asyncio.sleep", slept)
    request = chat()
    if own is not None:
        request = msgspec.structs.replace(request, extra={"kuwa": {"llm_delay": Raw(own), "llm_top_p": Raw(b"1")}})
    _, meter = await said(debug.connect(target, with_options(**options), ""), request)
    assert slept.seconds == naps
    assert meter.dropped == (() if own is None else ("llm_top_p",))


@pytest.mark.parametrize("own", [b'"x"', b"-1", b"61", b"true", b"[1]"])
async def test_own_delay_that_is_none(own: bytes) -> None:
    request = msgspec.structs.replace(chat(), extra={"kuwa": {"llm_delay": Raw(own)}})
    with pytest.raises(ServingError, match="llm_delay: expected a number of seconds") as caught:
        await said(debug.connect("", SETTINGS, ""), request)
    assert (caught.value.kind, caught.value.param) == ("bad_request", "llm_delay")


async def test_a_field_of_that_name_in_another_protocol_is_not_honoured() -> None:
    _, meter = await said(debug.connect("", SETTINGS, ""), chat(llm_delay=3))
    assert meter.dropped == ("llm_delay",)


@pytest.mark.parametrize(
    ("backend", "target", "options", "param", "message"),
    [
        (debug, "0.5", {"delay": 0.5}, "delay", "leave one of them out"),
        (debug, "", {"delay": 61}, "delay", "<= 60"),
        (debug, "", {"unit": "letter"}, "unit", "letter"),
        (debug, "", {"history": "some"}, "history", "some"),
        (debug, "", {"text": "x"}, "text", "unknown option 'text'"),
        (dummy, "", {"text": 3}, "text", "str"),
        (dummy, "", {"slots": 3}, "slots", "unknown option 'slots'"),
        (sysinfo, "", {"history": "all"}, "history", "unknown option 'history'"),
    ],
)
def test_options_that_cannot_be(backend: Any, target: str, options: dict[str, Any], param: str, message: str) -> None:
    with pytest.raises(ServingError, match=message) as caught:
        backend.connect(target, with_options(**options), "")
    assert (caught.value.kind, caught.value.param) == ("bad_request", param)


@pytest.mark.parametrize("target", ["soon", "-1", "61", "nan"])
def test_delay_that_is_none(target: str) -> None:
    with pytest.raises(ServingError, match=r"debug:0\.05"):
        debug.connect(target, SETTINGS, "")
