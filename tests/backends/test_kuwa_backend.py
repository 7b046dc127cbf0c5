"""The calling side of Kuwa against executors and kernels on loopback: busy, broken, left early, given back."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from itertools import pairwise
from typing import Any

import msgspec
import pytest
from backends.clock import Clock
from backends.kuwa_peers import Executor, Kernel, listening
from hypothesis import given
from hypothesis import strategies as st

from trunkcall.backends import kuwa_endpoint, patience
from trunkcall.backends.kuwa import connect
from trunkcall.backends.kuwa_stream import Pieces, passed_headers
from trunkcall.core.errors import ServingError
from trunkcall.core.events import Event, Finish, Notice, Start, Text
from trunkcall.core.meter import Meter
from trunkcall.core.models import ModelSettings
from trunkcall.core.ports import Forwards, Generates, Response
from trunkcall.core.requests import (
    Generate,
    Message,
    MessagesPrompt,
    Secret,
    Session,
    Shape,
    TextPart,
    TextPrompt,
    Tool,
    Wire,
)
from trunkcall.net.client import Client, Timeouts
from trunkcall.protocols.forms import emit_form
from trunkcall.protocols.kuwa_words import BUSY_BODY, ERROR_OCCURRED
from trunkcall.testing import check_events

pytestmark = pytest.mark.anyio

FORM = {"name": "shown", "input": '[{"isbot":false,"msg":"h\u00e9"}]', "history_id": "4", "user_id": "7", "odd": "a&b"}
HELLO = Generate(model="shown", prompt=MessagesPrompt((Message("user", (TextPart("hello"),)),)))
LANES = ("forward", "open")


def connected(url: str, name: str = "", **options: Any) -> Any:
    return connect(url, ModelSettings(name="x", sources=(), options=options), name)


@asynccontextmanager
async def backend_of(fake: Executor | Kernel, **options: Any) -> AsyncIterator[Any]:
    async with listening(fake) as origin:
        backend = connected(origin if isinstance(fake, Kernel) else f"{origin}/chat", **options)
        try:
            yield backend
        finally:
            await backend.aclose()


def asked(backend: Any, lane: str, meter: Meter | None = None) -> AbstractAsyncContextManager[Any]:
    meter = meter or Meter("id", model="shown", protocol="kuwa", stream=True)
    if lane == "open":
        return backend.open(HELLO, meter)
    return backend.forward(Wire("kuwa", "/v1.0/chat/completions", [], emit_form(FORM)), meter)


async def text_of(backend: Any, lane: str) -> str:
    async with asked(backend, lane) as answer:
        found = [item async for item in answer]
    if lane == "forward":
        return b"".join(found).decode()
    check_events(found)
    return "".join(event.text for event in found if isinstance(event, Text))


async def failure_of(backend: Any, lane: str = "forward") -> ServingError:
    with pytest.raises(ServingError) as raised:
        await text_of(backend, lane)
    return raised.value


# What goes out, and what comes back.


async def test_a_forwarded_form_and_its_headers_arrive() -> None:
    executor = Executor("h\u00e9".encode()[:2], "h\u00e9".encode()[2:], b"<<<WARNING>>>w<<</WARNING>>>")
    headers = [
        (b"host", b"kernel:9000"),
        (b"accept-language", b"zh-TW"),
        (b"authorization", b"Bearer theirs"),
        (b"content-type", b"multipart/form-data; boundary=x"),
        (b"content-length", b"3"),
        (b"accept-encoding", b"gzip"),
        (b"connection", b"close, X-Private"),
        (b"x-private", b"1"),
        (b"x-trunkcall-timeout", b"9"),
    ]
    meter = Meter("id", model="x", protocol="kuwa", stream=True)
    async with backend_of(executor) as backend:
        assert isinstance(backend, Generates) and isinstance(backend, Forwards) and backend.protocols == {"kuwa"}
        async with backend.forward(Wire("kuwa", "/", headers, emit_form(FORM)), meter) as answer:
            assert (answer.status, answer.streamed) == (200, True)
            assert answer.headers == [(b"content-type", b"text/event-stream; charset=utf-8")]
            body = b"".join([piece async for piece in answer])
    assert body == b"".join(piece or b"" for piece in executor.pieces)
    assert executor.forms == [FORM]
    sent = executor.headers[0]
    assert sent.pop(b"host").startswith(b"127.0.0.1")
    del sent[b"content-length"]
    assert sent == {
        b"accept-language": b"zh-TW",
        b"authorization": b"Bearer theirs",
        b"content-type": b"application/x-www-form-urlencoded",
    }
    assert meter.finish == "stop" and meter.chunks >= 1 and meter.first is not None
    assert executor.seen == ["begun", "complete"]


async def test_open_asks_in_kuwas_words_and_answers_in_events() -> None:
    text = f"gr\u00fc\u00df <<<WARNING>>>careful \u4e16\u754c<<</WARNING>>>\u4e16\u754c <<end{ERROR_OCCURRED}".encode()
    executor = Executor(*(text[at : at + 1] for at in range(len(text))))
    request = msgspec.structs.replace(
        HELLO,
        shape=Shape(tools=(Tool("f"),)),
        session=Session("12", "7", "de"),
        credential=Secret("sk-theirs"),
    )
    meter = Meter("id", model="shown", protocol="openai", stream=True)
    async with backend_of(executor) as backend:
        async with backend.open(request, meter) as events:
            found: list[Event] = [event async for event in events]
    check_events(found)
    assert isinstance(found[0], Start) and found[0].model == "shown"
    assert "".join(e.text for e in found if isinstance(e, Text)) == f"gr\u00fc\u00df \u4e16\u754c <<end{ERROR_OCCURRED}"
    assert [e for e in found if isinstance(e, Notice)] == [Notice("warning", "careful \u4e16\u754c")]
    assert found[-1] == Finish(0, "stop")
    assert "tools" in meter.dropped
    form = executor.forms[0]
    assert (form["name"], form["history_id"], form["user_id"]) == ("shown", "12", "7")
    assert "hello" in form["input"]
    assert form["openai_token"] == "sk-theirs"
    assert executor.headers[0][b"accept-language"] == b"de"


@pytest.mark.parametrize(
    ("name", "lane", "told"),
    [("", "forward", "shown"), ("", "open", "shown"), ("y", "forward", "y"), ("y", "open", "y")],
)
async def test_the_name_that_an_executor_is_told(name: str, lane: str, told: str) -> None:
    executor = Executor(b"a")
    async with listening(executor) as origin:
        backend = connected(f"{origin}/chat/", name)
        assert await text_of(backend, lane) == "a"
        await backend.aclose()
    assert executor.forms[0]["name"] == told


@pytest.mark.parametrize("lane", LANES)
async def test_each_turn_of_a_kernel_has_its_own_negative_id(lane: str) -> None:
    kernel = Kernel(b"a")
    async with backend_of(kernel) as backend:
        for _ in range(3):
            assert await text_of(backend, lane) == "a"
    assert len({form["history_id"] for form in kernel.forms}) == 3
    assert all(int(form["history_id"]) < 0 and form["name"] == "x" for form in kernel.forms)
    assert all(form["user_id"] == ("7" if lane == "forward" else form["history_id"]) for form in kernel.forms)
    assert "hello" in kernel.forms[0]["input"] or kernel.forms[0]["odd"] == "a&b"
    assert not kernel.held


async def test_a_language_that_no_header_carries_is_refused() -> None:
    async with backend_of(Executor(b"a")) as backend:
        request = msgspec.structs.replace(HELLO, session=Session(language="de\r\nx: y"))
        with pytest.raises(ServingError) as raised:
            async with backend.open(request, Meter("id", model="x", protocol="o", stream=True)):
                pass
    assert raised.value.kind == "bad_request"


async def test_several_prompts_are_refused_before_anything_is_asked() -> None:
    kernel = Kernel(b"a")
    async with backend_of(kernel) as backend:
        request = msgspec.structs.replace(HELLO, prompt=TextPrompt(("a", "b"), batched=True))
        with pytest.raises(ServingError, match="one prompt at a time"):
            async with backend.open(request, Meter("id", model="x", protocol="o", stream=True)):
                pass
    assert kernel.seen == []


def test_headers_of_our_own_and_of_the_hop_stay_here() -> None:
    lines = passed_headers([(b"te", b"x"), (b"x-trunkcall-strict", b"1"), (b"cookie", b"a=b")])
    assert lines == b"content-type: application/x-www-form-urlencoded\r\ncookie: a=b\r\n"


class Source:
    """Bytes as a response gives them."""

    def __init__(self, data: bytes, cuts: list[int]) -> None:
        self.headers: list[tuple[bytes, bytes]] = []
        places = sorted({0, len(data), *(cut % (len(data) + 1) for cut in cuts)})
        self._pieces = iter([data[a:b] for a, b in pairwise(places)])

    async def __anext__(self) -> bytes:
        for piece in self._pieces:
            return piece
        raise StopAsyncIteration


@given(
    st.sampled_from([b"", BUSY_BODY.encode(), b'{"msg":"Proc', BUSY_BODY.encode() + b"x", b"text"]),
    st.lists(st.integers(0)),
)
def test_a_look_ahead_loses_nothing(data: bytes, cuts: list[int]) -> None:
    async def look() -> None:
        pieces = Pieces(Source(data, cuts))  # type: ignore[arg-type]
        whole = await pieces.whole_if(BUSY_BODY.encode())
        assert (whole is not None) == (data in (b"", BUSY_BODY.encode()))
        rest = b"".join([piece async for piece in pieces])
        assert (whole or b"") + rest == data
        assert pieces.complete

    asyncio.run(look())


# Busy.


@pytest.mark.parametrize("lane", LANES)
async def test_a_busy_executor_is_asked_again(lane: str) -> None:
    executor = Executor(b"a", busy=3)
    async with backend_of(executor) as backend:
        assert await text_of(backend, lane) == "a"
    assert executor.seen == ["busy", "busy", "busy", "begun", "complete"]


@pytest.mark.parametrize("lane", LANES)
@pytest.mark.parametrize(
    "fake", [lambda: Executor(busy=1000), lambda: Kernel(slots=0), lambda: Kernel(BUSY_BODY.encode())]
)
async def test_patience_ends(fake: Callable[[], Executor | Kernel], lane: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(patience, "asyncio", Clock())
    peer = fake()
    async with backend_of(peer, patience=0.2) as backend:
        error = await failure_of(backend, lane)
    assert error.kind == "overloaded" and error.retry_after and "patience" in error.message
    assert len(peer.seen) >= 2
    assert "aborted" not in peer.seen


@pytest.mark.parametrize("lane", LANES)
async def test_a_busy_kernel_is_asked_again(lane: str) -> None:
    kernel = Kernel(b"a", b"b", verdicts=["BUSY", "BUSY"])
    async with backend_of(kernel) as backend:
        assert await text_of(backend, lane) == "ab"
    assert kernel.seen == ["BUSY", "BUSY", "READY", "begun", "complete"]
    assert not kernel.held


async def test_an_executor_that_its_kernel_takes_for_free_is_busy() -> None:
    kernel = Kernel(BUSY_BODY[:7].encode(), BUSY_BODY[7:].encode())
    async with backend_of(kernel) as backend:
        asking = asyncio.create_task(text_of(backend, "open"))
        while "complete" not in kernel.seen:
            await asyncio.sleep(0.005)
        kernel.pieces = (b'{"msg":"Proc', b'eeds"}')
        assert await asking == '{"msg":"Proceeds"}'


# Errors.


@pytest.mark.parametrize("lane", LANES)
@pytest.mark.parametrize(
    ("peer", "kind", "told"),
    [
        (lambda: Executor(status=400), "upstream_error", "answered 400: .*what it says"),
        (lambda: Executor(status=404), "upstream_error", "answered 404: .*what it says"),
        (lambda: Executor(status=500), "upstream_error", "answered 500: .*what it says"),
        (lambda: Kernel(verdicts=["NOMACHINE"]), "no_capacity", "no executor 'x'"),
        (lambda: Kernel(verdicts=["Failed"]), "upstream_error", "answered 200: Failed"),
        (lambda: Kernel(verdicts=[""]), "upstream_error", "answered 200"),
        (lambda: Kernel(), "upstream_error", "returned an empty answer"),
    ],
)
async def test_what_the_other_side_says_is_told(peer: Callable[[], Any], kind: str, told: str, lane: str) -> None:
    fake = peer()
    async with backend_of(fake) as backend:
        error = await failure_of(backend, lane)
    assert error.kind == kind
    with pytest.raises(ServingError, match=told):
        raise error
    assert "aborted" not in fake.seen


async def test_an_error_of_a_kernel_is_one_and_its_executor_is_told_to_stop() -> None:
    kernel = Kernel(b"a")
    kernel.status = 500
    async with backend_of(kernel) as backend:
        error = await failure_of(backend)
    assert error.kind == "upstream_error" and error.upstream == (500, b"<h1>what it says</h1>")
    assert kernel.seen == ["READY", "begun", "aborted"]


@pytest.mark.parametrize("path", ["", "/chat"])
@pytest.mark.parametrize("lane", LANES)
async def test_nobody_listens(free_port: int, path: str, lane: str) -> None:
    backend = connected(f"http://127.0.0.1:{free_port}{path}")
    assert (await failure_of(backend, lane)).kind == "unreachable"
    health = await backend.health()
    assert not health.ok and "refuses connections" in health.reason
    await backend.aclose()


@pytest.mark.parametrize("lane", LANES)
@pytest.mark.parametrize("fake", [Executor, Kernel])
async def test_killed_in_the_middle(fake: type[Executor | Kernel], lane: str) -> None:
    peer = fake(b"what ca", b"me <<<WARN", None)
    found: list[Any] = []
    async with backend_of(peer) as backend:
        with pytest.raises(ServingError) as raised:
            async with asked(backend, lane) as answer:
                async for item in answer:
                    found.append(item)
    assert raised.value.kind == "upstream_error"
    texts = [item.text if isinstance(item, Text) else "" for item in found] if lane == "open" else found
    assert ("" if lane == "open" else b"").join(texts) in ("what came <<<WARN", b"what came <<<WARN")
    assert peer.seen[-1] == "aborted"


# Leaving early.


async def leave(backend: Any, lane: str, pieces: int, cancels: int, notes: list[str]) -> None:
    """Cancel a caller after so many pieces, so often; `out` is noted when its context is left."""
    reached = asyncio.Event()

    async def call() -> None:
        try:
            async with asked(backend, lane) as answer:
                seen = 0
                async for item in answer:
                    seen += not isinstance(item, Start)
                    if seen >= pieces:
                        reached.set()
        finally:
            notes.append("out")

    caller = asyncio.create_task(call())
    if pieces:
        await reached.wait()
    else:
        while "begun" not in notes:
            await asyncio.sleep(0.002)
    for _ in range(cancels):
        caller.cancel()
        await asyncio.sleep(0.005)
    with pytest.raises(asyncio.CancelledError):
        await caller


@pytest.mark.parametrize("cancels", [1, 3])
@pytest.mark.parametrize("pieces", [0, 1])
@pytest.mark.parametrize("lane", LANES)
@pytest.mark.parametrize("fake", [Executor, Kernel])
async def test_who_leaves_early_stops_the_work_first(
    fake: type[Executor | Kernel], lane: str, pieces: int, cancels: int
) -> None:
    peer = fake(*[b"piece"] * 1000)
    if not pieces:
        peer.hold.clear()
    peer.abort_seconds = 0.05
    async with backend_of(peer) as backend:
        await leave(backend, lane, pieces, cancels, peer.seen)
    assert peer.seen.index("aborted") < peer.seen.index("out")
    assert peer.seen.count("aborted") == 1
    assert "left" in peer.seen and "complete" not in peer.seen
    assert not peer.running
    if isinstance(peer, Kernel):
        assert not peer.held


@pytest.mark.parametrize("lane", LANES)
@pytest.mark.parametrize("fake", [Executor, Kernel])
async def test_a_reader_that_stops_reading_stops_the_work(fake: type[Executor | Kernel], lane: str) -> None:
    peer = fake(*[b"piece"] * 1000)
    async with backend_of(peer) as backend:
        async with asked(backend, lane) as answer:
            async for item in answer:
                if not isinstance(item, Start):
                    break
        assert "aborted" in peer.seen


async def test_an_executor_without_abort_or_that_hangs_in_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(kuwa_endpoint, "_ABORT", msgspec.structs.replace(kuwa_endpoint._ABORT, whole=0.2))
    for status, seconds in ((404, 0.0), (200, 1.0)):
        executor = Executor(*[b"piece"] * 1000)
        executor.abort_status, executor.abort_seconds = status, seconds
        async with backend_of(executor) as backend:
            await leave(backend, "forward", 1, 1, executor.seen)
        assert executor.seen[-1] in ("out", "aborted")
        assert executor.seen.count("begun") == 1


@pytest.mark.parametrize("seconds", [0.0, 0.1])
async def test_nothing_is_aborted_where_nothing_of_ours_runs(seconds: float) -> None:
    executor = Executor(b"a", busy=1000)
    executor.busy_seconds = seconds
    async with backend_of(executor) as backend:
        asking = asyncio.create_task(text_of(backend, "forward"))
        while executor.seen.count("busy") < 3:
            await asyncio.sleep(0.005)
        asking.cancel()
        with pytest.raises(asyncio.CancelledError):
            await asking
        executor.busy = 0
        assert await text_of(backend, "forward") == "a"
    assert "aborted" not in executor.seen


@pytest.mark.parametrize("cancels", [1, 2])
async def test_a_reservation_is_used_up_when_its_caller_leaves(cancels: int) -> None:
    kernel = Kernel(*[b"piece"] * 1000)
    kernel.scheduling = 0.1
    async with backend_of(kernel) as backend:
        asking = asyncio.create_task(text_of(backend, "open"))
        while "READY" not in kernel.seen:
            await asyncio.sleep(0.002)
        for _ in range(cancels):
            asking.cancel()
            await asyncio.sleep(0.005)
        with pytest.raises(asyncio.CancelledError):
            await asking
        assert kernel.seen[:2] == ["READY", "begun"] and "aborted" in kernel.seen
        while kernel.held:
            await asyncio.sleep(0.005)
    assert "complete" not in kernel.seen


async def test_a_reservation_is_used_up_by_who_leaves_while_connecting(monkeypatch: pytest.MonkeyPatch) -> None:
    kernel = Kernel(*[b"piece"] * 1000)
    kernel.closing = ((b"connection", b"close"),)
    async with backend_of(kernel) as backend:
        connecting, connect_once = asyncio.Event(), Client.connect

        async def connect_late(client: Client, timeouts: Timeouts) -> Any:
            if "READY" in kernel.seen:
                connecting.set()
                await asyncio.sleep(0.05)
            return await connect_once(client, timeouts)

        monkeypatch.setattr(Client, "connect", connect_late)
        asking = asyncio.create_task(text_of(backend, "open"))
        await connecting.wait()
        asking.cancel()
        with pytest.raises(asyncio.CancelledError):
            await asking
        assert kernel.seen[:2] == ["READY", "begun"] and "aborted" in kernel.seen
        while kernel.held:
            await asyncio.sleep(0.005)


async def test_a_kernel_that_does_not_answer_keeps_no_leaving_caller() -> None:
    kernel = Kernel(b"a")
    kernel.scheduling = 0.1
    kernel.hold.clear()
    async with backend_of(kernel) as backend:
        asking = asyncio.create_task(text_of(backend, "open"))
        while "READY" not in kernel.seen:
            await asyncio.sleep(0.002)
        asking.cancel()
        async with asyncio.timeout(20):
            with pytest.raises(asyncio.CancelledError):
                await asking
        while kernel.held:
            await asyncio.sleep(0.005)
    assert kernel.seen[-2:] in (["left", "aborted"], ["aborted", "left"])


async def test_callers_that_come_and_go_leave_a_kernel_free() -> None:
    chance = random.Random(3)
    kernel = Kernel(*[b"p"] * 5, slots=3)
    kernel.scheduling = 0.005
    async with backend_of(kernel) as backend:

        async def come_and_go(number: int) -> None:
            asking = asyncio.create_task(text_of(backend, LANES[number % 2]))
            if number % 3:
                await asyncio.sleep(chance.random() * 0.3)
                asking.cancel()
            await asyncio.wait({asking})
            if not asking.cancelled():
                assert asking.result() == "ppppp"

        await asyncio.gather(*(come_and_go(number) for number in range(30)))
        while kernel.held:
            await asyncio.sleep(0.005)
    assert kernel.most == 3
    assert kernel.seen.count("READY") == kernel.seen.count("begun")


# How it is.


@pytest.mark.parametrize(("status", "ok"), [(204, True), (200, False), (500, False)])
async def test_an_executors_health(status: int, ok: bool) -> None:
    executor = Executor()
    executor.health = status
    async with backend_of(executor) as backend:
        assert (await backend.health()).ok is ok


@pytest.mark.parametrize(
    ("listing", "ok", "models"),
    [
        (Response(200, b'["x","y"]'), True, ("x", "y")),
        (Response(404, b"<h1>Not Found</h1>"), True, ("x",)),
        (Response(200, b'{"data": []}'), False, ()),
        (Response(200, b"[" * 100_000), False, ()),
        (Response(500, b""), False, ()),
    ],
)
async def test_a_kernels_health(listing: Response, ok: bool, models: tuple[str, ...]) -> None:
    kernel = Kernel()
    kernel.listing = listing
    async with backend_of(kernel) as backend:
        health = await backend.health()
    assert (health.ok, health.models) == (ok, models)
    assert health.ok or health.reason


@pytest.mark.parametrize(
    "url",
    [
        "",
        "127.0.0.1:9000",
        "ftp://h/",
        "http://",
        "http://h:x",
        "http://u:p@h/",
        "http://h/chat?a=b",
        "http://[",
        "http://h/a b",
    ],
)
def test_what_is_no_url_of_a_kuwa_server(url: str) -> None:
    with pytest.raises(ServingError) as raised:
        connected(url)
    assert raised.value.kind == "bad_request"


@pytest.mark.parametrize(("options", "param"), [({"patients": 1}, "patients"), ({"patience": -1}, "patience")])
def test_options_are_checked(options: dict[str, Any], param: str) -> None:
    with pytest.raises(ServingError) as raised:
        connected("http://h:9000", **options)
    assert raised.value.param == param
