"""The tries of one call, before replicas that fail as they are told to; no process and no socket is started here."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from typing import Any, cast

import pytest

from trunkcall.control.attempts import attempts
from trunkcall.control.calls import GenerateCall
from trunkcall.control.dispatch import Dispatch
from trunkcall.control.pool import Pool, Replica
from trunkcall.core.errors import Kind, ServingError
from trunkcall.core.events import Event, Finish, Queue, Start, Text
from trunkcall.core.meter import Meter
from trunkcall.core.models import Health, ModelSettings, Source
from trunkcall.core.ports import Exchange, Header, Response
from trunkcall.core.requests import Generate, TextPrompt, Wire
from trunkcall.net.relay import Reply

pytestmark = pytest.mark.anyio


class Backend:
    """Fails with each of its errors in turn, then answers; says: a word before it fails."""

    protocols: frozenset[str] = frozenset()

    def __init__(self, *errors: ServingError | None, says: str = "") -> None:
        self.errors = list(errors)
        self.says = says
        self.asked = 0

    async def health(self) -> Health:
        return Health(True)

    async def aclose(self) -> None:
        pass

    @asynccontextmanager
    async def open(self, request: Generate, meter: Meter) -> AsyncGenerator[AsyncGenerator[Event]]:
        self.asked += 1
        error = self.errors.pop(0) if self.errors else None

        async def events() -> AsyncGenerator[Event]:
            yield Start("1", "m", 0)
            if error is None or self.says:
                yield Text(0, self.says or "well")
            if error is not None:
                raise error
            yield Finish(0, "stop")

        answer = events()
        try:
            yield answer
        finally:
            await answer.aclose()


class Said:
    """Fits core.ports.Emitter: the texts as they come."""

    content_type = b"text/plain"

    def feed(self, event: Event) -> bytes:
        return event.text.encode() if isinstance(event, Text) else b""

    def end(self) -> bytes:
        return b"."

    def fault(self, error: ServingError) -> bytes:
        return b"!"


class Stub:
    """What attempts need of an exchange and its reply."""

    def __init__(self, **headers: bytes) -> None:
        self.headers = {name.replace("_", "-").encode(): value for name, value in headers.items()}
        self.started = False
        self.extra_headers: list[Header] = []
        self.sent = b""

    def header(self, name: bytes) -> bytes | None:
        return self.headers.get(name)

    async def begin(self, status: int, headers: list[Header]) -> None:
        self.started = True

    async def write(self, data: bytes) -> None:
        self.sent += data

    def push(self, data: bytes) -> bool:
        self.sent += data
        return True

    async def finish(self, data: bytes = b"") -> None:
        self.sent += data


class Journal:
    def __init__(self) -> None:
        self.opened: list[str] = []

    def open(self, meter: Meter) -> None:
        self.opened.append(meter.replica)

    def close(self, meter: Meter) -> None:
        pass


class Told:
    """A call that has ended."""

    def __init__(self, meter: Meter, stub: Stub, journal: Journal) -> None:
        self.meter = meter
        self.sent = stub.sent
        self.headers = stub.extra_headers
        self.opened = journal.opened


def add(dispatch: Dispatch, name: str, *backends: Backend, slots: int | None = None, **settings: Any) -> Pool:
    replicas: list[Replica] = []
    for number, backend in enumerate(backends):
        replica = Replica(f"{name}/{number}", Source("x"), slots)
        replica.backend = backend
        replica.state = "ready"
        replicas.append(replica)
    # `recover` has its own tests.
    pool = dispatch.pools[name] = Pool(ModelSettings(name=name, sources=(), recover="off", **settings), replicas)
    return pool


async def ask(dispatch: Dispatch, model: str = "m", seconds: float | None = None, stub: Stub | None = None) -> Told:
    stub, journal = stub or Stub(), Journal()
    call = GenerateCall(
        model=model,
        stream=True,
        wire=Wire("x", "/x", [], b""),
        read=lambda: Generate(model=model, prompt=TextPrompt(("hi",))),
        emitter=lambda request: Said(),
        failure=lambda error: Response(error.status, b""),
        fault=lambda error: b"!",
        comment=lambda event: f"<{event.position}>".encode() if isinstance(event, Queue) else b"",
    )
    meter = Meter("id", model=model, protocol="x", stream=True)
    reply = Reply(cast(Exchange, stub))
    reply.deadline = None if seconds is None else asyncio.get_running_loop().time() + seconds
    await attempts(dispatch, journal, call, meter, reply)
    return Told(meter, stub, journal)


def broke(kind: Kind = "upstream_error", status: int | None = None, **more: Any) -> ServingError:
    return ServingError(kind, "it broke", upstream=None if status is None else (status, b""), **more)


AGAIN: list[tuple[str, ServingError, str]] = [
    ("refused", broke("unreachable"), "retry: m/0 could not be reached"),
    ("reset", broke(), "retry: m/0 broke off"),
    ("500", broke(status=500), "retry: m/0 answered 500"),
    ("503 with a time", broke(status=503, retry_after=3.0), "retry: m/0 answered 503"),
    ("429", broke("rate_limited", 429), "retry: m/0 answered 429"),
    ("nothing left to spend", broke("quota", 429), "retry: m/0 answered 429"),
    ("our key", broke(status=401), "retry: m/0 answered 401"),
    ("silent", broke("upstream_timeout"), "retry: m/0 took too long"),
]


@pytest.mark.parametrize(("what", "error", "why"), AGAIN, ids=[row[0] for row in AGAIN])
async def test_another_replica_answers_and_the_ledger_says_why(what: str, error: ServingError, why: str) -> None:
    dispatch = Dispatch()
    pool = add(dispatch, "m", Backend(error), Backend())
    told = await ask(dispatch)
    assert told.sent == b"well."
    assert (told.meter.attempts, told.meter.replica, told.meter.error) == (2, "m/1", "")
    assert told.meter.why.startswith(why + "; least_loaded")
    assert told.opened == ["m/0"]
    assert [replica.in_flight for replica in pool.replicas] == [0, 0]


NEVER: list[tuple[str, ServingError]] = [
    ("the caller's mistake", broke("bad_request", 400)),
    ("too long", broke("too_long", 400)),
    ("the caller's key", broke("unauthenticated", 401)),
    ("ours", broke("bug")),
    ("the caller has left", broke("cancelled")),
]


@pytest.mark.parametrize(("what", "error"), NEVER, ids=[row[0] for row in NEVER])
async def test_what_would_fail_again_is_not_tried_again(what: str, error: ServingError) -> None:
    dispatch = Dispatch()
    other = Backend()
    add(dispatch, "m", Backend(error), other, fallback=("n",))
    add(dispatch, "n", other)
    with pytest.raises(ServingError) as caught:
        await ask(dispatch)
    assert caught.value is error
    assert other.asked == 0


async def test_nothing_is_tried_again_once_the_caller_has_something() -> None:
    dispatch = Dispatch()
    other = Backend()
    add(dispatch, "m", Backend(broke(), says="half"), other, fallback=("n",))
    add(dispatch, "n", other)
    with pytest.raises(ServingError):
        await ask(dispatch)
    assert other.asked == 0


async def test_only_a_refusal_is_tried_again_on_the_same_replica() -> None:
    for error, times in ((broke(), 1), (broke("unreachable"), 2)):
        dispatch = Dispatch()
        alone = Backend(error)
        add(dispatch, "m", alone)
        if times == 1:
            with pytest.raises(ServingError):
                await ask(dispatch)
        else:
            assert (await ask(dispatch)).sent == b"well."
        assert alone.asked == times


async def test_slow_one_is_not_tried_again_when_no_time_is_left() -> None:
    dispatch = Dispatch()
    other = Backend()
    add(dispatch, "m", Backend(broke("upstream_timeout")), other).mean_seconds = 5.0
    with pytest.raises(ServingError):
        await ask(dispatch, seconds=2.0)
    assert other.asked == 0


async def test_two_tries_are_enough_and_the_last_failure_is_told() -> None:
    dispatch = Dispatch()
    third = Backend()
    add(dispatch, "m", Backend(broke(status=500)), Backend(broke(status=502)), third)
    with pytest.raises(ServingError) as caught:
        await ask(dispatch)
    assert caught.value.upstream == (502, b"")
    assert third.asked == 0


async def test_failure_is_told_and_not_that_no_other_replica_was_to_be_had() -> None:
    dispatch = Dispatch()
    pool = add(dispatch, "m", Backend(broke(status=500)), Backend(), slots=1, queue=0)
    assert dispatch.lease_on(pool, pool.replicas[1]) is not None
    with pytest.raises(ServingError) as caught:
        await ask(dispatch)
    assert caught.value.upstream == (500, b"")


async def test_models_that_stand_in_are_asked_in_turn() -> None:
    dispatch = Dispatch()
    add(dispatch, "m", Backend(broke(), broke()), fallback=("busy", "n"), aliases=("alias",))
    full = add(dispatch, "busy", Backend(), slots=1, queue=0)
    assert dispatch.lease_on(full, full.replicas[0]) is not None
    add(dispatch, "n", Backend())
    for name in ("m", "alias"):
        told = await ask(dispatch, name)
        assert told.sent == b"well."
        assert (told.meter.model, told.meter.served, told.meter.attempts) == (name, "n", 2)
        assert told.meter.why.startswith("fallback of m: it broke; only replica")
        assert told.headers == [(b"x-trunkcall-model", b"n")]


async def test_what_is_told_when_nobody_stands_in_is_of_the_model_asked_for() -> None:
    dispatch = Dispatch()
    first = broke(status=500)
    add(dispatch, "m", Backend(first), fallback=("n",))
    add(dispatch, "n", Backend(broke("too_long", 400)))
    stub = Stub()
    with pytest.raises(ServingError) as caught:
        await ask(dispatch, stub=stub)
    assert caught.value is first
    assert stub.extra_headers == []


async def test_who_waits_leaves_at_the_deadline() -> None:
    dispatch = Dispatch()
    pool = add(dispatch, "m", Backend(), slots=1)
    assert dispatch.lease_on(pool, pool.replicas[0]) is not None
    with pytest.raises(ServingError) as caught:
        await asyncio.wait_for(ask(dispatch, seconds=0.3), 30)
    assert caught.value.kind == "deadline"
    assert len(pool.queue) == 0


async def test_place_in_the_queue_is_told_after_a_second() -> None:
    dispatch = Dispatch()
    pool = add(dispatch, "m", Backend(), slots=1)
    lease = dispatch.lease_on(pool, pool.replicas[0])
    assert lease is not None
    stub, began = Stub(), time.monotonic()
    asking = asyncio.create_task(ask(dispatch, stub=stub))
    async with asyncio.timeout(30):
        while not stub.sent:
            await asyncio.sleep(0.005)
        # The event loop's clock has whole milliseconds.
        assert time.monotonic() - began > 0.99
        lease.release()
        assert (await asking).sent == b"<0>well."


async def test_conversation_is_the_headers_or_the_requests() -> None:
    dispatch = Dispatch()
    add(dispatch, "m", *(Backend() for _ in range(8)), policy="session_affinity")
    homes: dict[bytes, str] = {}
    for session in (b"one", b"two", b"three", b"four", b"five"):
        for _ in range(3):
            told = await ask(dispatch, stub=Stub(x_trunkcall_session=session))
            assert homes.setdefault(session, told.meter.replica) == told.meter.replica
    assert len(set(homes.values())) > 1
