"""An executor of ours on a listener of its own, a kernel that notes what it is told, and plain HTTP to both."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from typing import Any, Literal, cast

import msgspec

from trunkcall.apis.kuwa_executor import ExecutorOptions, KuwaExecutor
from trunkcall.control.admission import Admission
from trunkcall.control.condition import Condition
from trunkcall.control.dispatch import Dispatch
from trunkcall.control.generation import Serving
from trunkcall.control.keyring import Keyring
from trunkcall.control.pool import Pool, Replica
from trunkcall.control.registry import Registry
from trunkcall.control.services import Services
from trunkcall.core.errors import ServingError
from trunkcall.core.events import Event, Fault, Finish, Notice, Start, Text
from trunkcall.core.meter import Counters, Meter
from trunkcall.core.models import Health, ModelSettings, Source
from trunkcall.core.ports import Backend, Exchange, Response, Route
from trunkcall.core.requests import Count, Generate, MessagesPrompt, TextPart, Tokens
from trunkcall.net.client import Client
from trunkcall.net.listeners import Application, Guard, Listening, bind
from trunkcall.net.relay import Relay
from trunkcall.protocols.forms import emit_form, read_form
from trunkcall.protocols.kuwa import write_history

FORM = b"content-type: application/x-www-form-urlencoded\r\n"


class Journal:
    """Keeps the meters of calls that have ended."""

    def __init__(self) -> None:
        self.closed: list[Meter] = []

    def open(self, meter: Meter) -> None:
        pass

    def close(self, meter: Meter) -> None:
        self.closed.append(meter)


class Script:
    """A replica that says its pieces, an error among them failing it, and notes what it was asked."""

    protocols: frozenset[str] = frozenset()

    def __init__(self, *pieces: str | Notice | ServingError, refusal: ServingError | None = None) -> None:
        self.pieces = pieces
        self.refusal = refusal
        self.go = asyncio.Event()
        self.go.set()
        self.asked: list[Generate] = []
        self.running = 0

    async def health(self) -> Health:
        return Health(True)

    async def aclose(self) -> None:
        pass

    @asynccontextmanager
    async def open(self, request: Generate, meter: Meter) -> AsyncGenerator[AsyncGenerator[Event]]:
        self.asked.append(request)
        if self.refusal is not None:
            raise self.refusal
        self.running += 1
        events = self._events()
        try:
            yield events
        finally:
            self.running -= 1
            await events.aclose()

    async def _events(self) -> AsyncGenerator[Event]:
        yield Start("id", "model", 0)
        for piece in self.pieces:
            match piece:
                case ServingError():
                    yield Fault(piece)
                case Notice():
                    yield piece
                case _:
                    yield Text(0, piece)
            await self.go.wait()
        yield Finish(0, "stop")


class Counting(Script):
    """The same, with one token for each word of a conversation."""

    def __init__(self, *pieces: str, failure: ServingError | None = None) -> None:
        super().__init__(*pieces)
        self.failure = failure

    async def count(self, request: Count) -> Tokens:
        if self.failure is not None:
            raise self.failure
        assert isinstance(request.prompt, MessagesPrompt)
        words = " ".join(part.text for m in request.prompt.messages for part in m.parts if isinstance(part, TextPart))
        return Tokens(len(words.split()))


class Reply(msgspec.Struct, frozen=True):
    status: int
    headers: dict[bytes, bytes]
    body: bytes

    @property
    def text(self) -> str:
        return self.body.decode()


async def ask(url: str, method: str, path: str, body: bytes = b"", headers: bytes = b"") -> Reply:
    client = Client(url)
    try:
        async with client.request(method.encode(), path.encode(), headers, body) as answer:
            return Reply(answer.status, dict(answer.headers), await answer.read())
    finally:
        await client.aclose()


class Executor:
    """A running executor."""

    def __init__(self, url: str, api: KuwaExecutor, dispatch: Dispatch, journal: Journal) -> None:
        self.url = url
        self.api = api
        self.dispatch = dispatch
        self.journal = journal

    @property
    def replica(self) -> Replica:
        return next(iter(self.dispatch.pools.values())).replicas[0]

    async def get(self, path: str) -> Reply:
        return await ask(self.url, "GET", path)

    async def post(self, fields: dict[str, str], path: str = "/chat", headers: bytes = b"") -> Reply:
        return await ask(self.url, "POST", path, emit_form(fields), FORM + headers)

    async def say(self, *said: str, path: str = "/chat", headers: bytes = b"", **fields: str) -> Reply:
        """A conversation in which user and assistant take turns."""
        turns = [{"role": "assistant" if i % 2 else "user", "content": text} for i, text in enumerate(said)]
        return await self.post({"input": write_history(turns), **fields}, path, headers)

    async def metrics(self) -> dict[str, float]:
        lines = (await self.get("/metrics")).text.splitlines()
        return {name: float(value) for name, value in (line.rsplit(" ", 1) for line in lines if line[0] != "#")}


@asynccontextmanager
async def executor(
    backend: Backend | None,
    *,
    guard: Guard | None = None,
    keyring: Keyring | None = None,
    slots: int | None = None,
    about: dict[str, Any] | None = None,
    allow: Callable[[Exchange], None] = lambda exchange: None,
    **options: Any,
) -> AsyncIterator[Executor]:
    """backend: of the one replica, which has the name `model`; None for a replica that is starting."""
    dispatch = Dispatch()
    source = Source("test")
    replica = Replica("model/0", source, slots)
    replica.backend = backend
    replica.state = "starting" if backend is None else "ready"
    replica.about = about or {}
    dispatch.pools["model"] = Pool(ModelSettings(name="model", sources=(source,)), [replica])
    journal, counters = Journal(), Counters()

    def nobody(*_: object) -> Any:
        raise AssertionError("not for an executor")

    services = Services(
        Serving(dispatch, Relay(), journal, counters, Admission(keyring)),
        dispatch,
        Registry(dispatch, nobody),
        counters,
        cast(Any, None),
        Condition,
        allow,
        lambda: None,
        cast(Any, None),
    )
    api = KuwaExecutor(services, msgspec.convert(options, ExecutorOptions))
    listening = Listening(Application([api], guard=guard), bind("127.0.0.1", 0))
    await listening.start()
    try:
        yield Executor(listening.url, api, dispatch, journal)
    finally:
        await listening.aclose()


class Kernel:
    """Notes each request as `ACTION NAME ENDPOINT`; knows endpoints as the real one does.

    answers: given instead, one after the other: a status with a body.
    """

    name = "kernel"
    plane: Literal["inference", "control", "worker"] = "control"

    def __init__(self, *answers: tuple[int, str], prefix: str = "/v1.0") -> None:
        self.seen: list[str] = []
        self.known: list[tuple[str, str]] = []
        self.answers = list(answers)
        self._prefix = prefix

    def routes(self) -> Sequence[Route]:
        return [Route("POST", f"{self._prefix}/worker/{{action}}", self._answer)]

    def failure(self, error: ServingError) -> Response:
        return Response(error.status, error.message.encode())

    async def _answer(self, exchange: Exchange) -> None:
        form = read_form(exchange.header(b"content-type"), await exchange.body()).first()
        action, name, endpoint = exchange.parameters["action"], form["name"], form["endpoint"]
        self.seen.append(f"{action} {name} {endpoint}")
        if self.answers:
            status, word = self.answers.pop(0)
        else:
            status, word = 200, self._word(action, name, endpoint)
        await exchange.respond(Response(status, word.encode(), ((b"content-type", b"text/html; charset=utf-8"),)))

    def _word(self, action: str, name: str, endpoint: str) -> str:
        if action == "register":
            if (name, endpoint) in self.known:
                return "Failed"
            self.known.append((name, endpoint))
            return "Success"
        host = endpoint.split("/")[2]
        left = [entry for entry in self.known if entry[0] != name or entry[1].split("/")[2] != host]
        gone, self.known = len(left) < len(self.known), left
        return "Success" if gone else "Failed"


@asynccontextmanager
async def kernel_at(kernel: Kernel, port: int = 0) -> AsyncIterator[Listening]:
    listening = Listening(Application([kernel]), bind("127.0.0.1", port))
    await listening.start()
    try:
        yield listening
    finally:
        await listening.aclose()


async def until(check: Callable[[], Any], limit: float = 20.0) -> None:
    """Wait until `check()` is true."""
    async with asyncio.timeout(limit):
        while not check():
            await asyncio.sleep(0.005)
