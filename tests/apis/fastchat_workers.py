"""A worker of ours on a listener of its own, replicas that say what they are told to, and a controller that takes notes."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncGenerator, AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Any, Literal, cast

import msgspec
from apis.kuwa_executors import Journal, Reply, Script, ask

from trunkcall.apis.fastchat_worker import FastChatWorker, WorkerOptions
from trunkcall.control.condition import Condition
from trunkcall.control.dispatch import Dispatch
from trunkcall.control.generation import Serving
from trunkcall.control.pool import Pool, Replica
from trunkcall.control.registry import Registry
from trunkcall.control.services import Services
from trunkcall.core.errors import ServingError
from trunkcall.core.meter import Counters, Meter
from trunkcall.core.models import ModelSettings, Source
from trunkcall.core.ports import Backend, Exchange, Header, Response, Route
from trunkcall.core.requests import Count, Embed, MessagesPrompt, TextPart, Tokens, Vectors, Wire
from trunkcall.net.listeners import Application, Listening, bind
from trunkcall.net.relay import Relay


class Wordy(Script):
    """Has one token for each word, and vectors that are not of unit length."""

    def __init__(self, *pieces: Any, context: int | None = 32, ids: bool = True, **more: Any) -> None:
        super().__init__(*pieces, **more)
        self.context = context
        self.ids = ids
        self.counted: list[Count] = []
        self.embedded: list[Any] = []

    async def count(self, request: Count) -> Tokens:
        self.counted.append(request)
        prompt = request.prompt
        if isinstance(prompt, MessagesPrompt):
            texts = [part.text for m in prompt.messages for part in m.parts if isinstance(part, TextPart)]
        else:
            texts = list(prompt.texts)
        size = len(" ".join(texts).split())
        return Tokens(size, tuple(range(size)) if self.ids else None, self.context)

    async def embed(self, request: Embed, meter: Meter) -> Vectors:
        self.embedded.append(request.inputs)
        return Vectors(tuple((3.0, 4.0) for _ in request.inputs), len(request.inputs))


class Answer:
    """What a worker behind answers, byte for byte."""

    def __init__(self, body: bytes, streamed: bool) -> None:
        self.status = 200
        self.headers: list[Header] = []
        self.streamed = streamed
        self._left = [body]

    def __aiter__(self) -> Answer:
        return self

    async def __anext__(self) -> bytes:
        if not self._left:
            raise StopAsyncIteration
        return self._left.pop()

    async def whole(self) -> bytes:
        return b"".join([piece async for piece in self])


class Speaking(Script):
    """A replica that speaks FastChat itself."""

    protocols = frozenset({"fastchat"})

    def __init__(self) -> None:
        super().__init__()
        self.passed: list[Wire] = []

    @asynccontextmanager
    async def forward(self, wire: Wire, meter: Meter) -> AsyncGenerator[Answer]:
        self.passed.append(wire)
        yield Answer(b"from " + wire.path.encode(), wire.path.endswith("stream"))

    async def count(self, request: Count) -> Tokens:
        return Tokens(7, None, 99 if isinstance(request.prompt, MessagesPrompt) else 64)


class Worker:
    """A running worker."""

    def __init__(self, url: str, api: FastChatWorker, dispatch: Dispatch, journal: Journal) -> None:
        self.url = url
        self.api = api
        self.dispatch = dispatch
        self.journal = journal

    async def post(self, route: str, body: Any = None) -> Reply:
        data = body if isinstance(body, bytes) else b"" if body is None else json.dumps(body).encode()
        return await ask(self.url, "POST", f"/{route}", data)

    async def told(self, route: str, body: Any = None) -> Any:
        """The one object that is answered."""
        reply = await self.post(route, body)
        assert reply.status == 200, reply
        return json.loads(reply.body)

    async def frames(self, **body: Any) -> list[dict[str, Any]]:
        reply = await self.post("worker_generate_stream", body)
        assert reply.status == 200
        assert reply.body.endswith(b"\0")
        return [json.loads(frame) for frame in reply.body.split(b"\0")[:-1]]


@asynccontextmanager
async def worker(
    backends: dict[str, Backend | None], *, slots: int | None = None, **options: Any
) -> AsyncIterator[Worker]:
    """backends: by model; None for a replica that is starting."""
    dispatch = Dispatch()
    source = Source("test")
    for name, backend in backends.items():
        replica = Replica(f"{name}/0", source, slots)
        replica.backend = backend
        replica.state = "starting" if backend is None else "ready"
        dispatch.pools[name] = Pool(ModelSettings(name=name, sources=(source,)), [replica])
    journal, counters = Journal(), Counters()

    def nobody(*_: object) -> Any:
        raise AssertionError("not for a worker")

    services = Services(
        Serving(dispatch, Relay(), journal, counters),
        dispatch,
        Registry(dispatch, nobody),
        counters,
        cast(Any, None),
        Condition,
        nobody,
        lambda: None,
        nobody,
    )
    api = FastChatWorker(services, msgspec.convert(options, WorkerOptions))
    listening = Listening(Application([api]), bind("127.0.0.1", 0))
    await listening.start()
    try:
        yield Worker(listening.url, api, dispatch, journal)
    finally:
        await listening.aclose()


class Controller:
    """Knows workers by their addresses, and keeps what it is told: (route, body)."""

    name = "controller"
    plane: Literal["inference", "control", "worker"] = "control"

    def __init__(self) -> None:
        self.told: list[tuple[str, dict[str, Any]]] = []
        self.known: dict[str, list[str]] = {}
        self.status = 200
        self.garbage = False

    def routes(self) -> Sequence[Route]:
        return [Route("POST", "/{route}", self._answer)]

    def failure(self, error: ServingError) -> Response:
        return Response(error.status, error.message.encode())

    @property
    def routes_told(self) -> list[str]:
        return [route for route, _ in self.told]

    async def _answer(self, exchange: Exchange) -> None:
        route, body = exchange.parameters["route"], json.loads(await exchange.body())
        self.told.append((route, body))
        name = body["worker_name"]
        if self.status != 200:
            await exchange.respond(Response(self.status, b"no"))
        elif route == "receive_heart_beat":
            known = b"<html>" if self.garbage else json.dumps({"exist": name in self.known}).encode()
            await exchange.respond(Response(200, known))
        else:
            self.known[name] = body["worker_status"]["model_names"]
            await exchange.respond(Response(200, b"null"))


@asynccontextmanager
async def controller_at(controller: Controller, port: int = 0) -> AsyncIterator[Listening]:
    listening = Listening(Application([controller]), bind("127.0.0.1", port))
    await listening.start()
    try:
        yield listening
    finally:
        await listening.aclose()


@asynccontextmanager
async def living(worker: Worker) -> AsyncIterator[asyncio.Task[None]]:
    """The worker keeps itself registered in here."""
    task = asyncio.create_task(worker.api.live(worker.url))
    try:
        yield task
    finally:
        task.cancel()
        await asyncio.wait({task}, timeout=20)
