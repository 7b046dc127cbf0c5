"""TGI's API on a listener of its own, before replicas that say what they are told to, token by token."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import asynccontextmanager
from typing import Any, cast

import msgspec
from apis.kuwa_executors import Journal, Reply, ask

from trunkcall.apis.tgi import Tgi
from trunkcall.apis.tgi_options import TgiOptions
from trunkcall.control.access import Access
from trunkcall.control.admission import Admission
from trunkcall.control.condition import Condition
from trunkcall.control.dispatch import Dispatch
from trunkcall.control.generation import Serving
from trunkcall.control.keyring import Keyring
from trunkcall.control.pool import Pool, Replica
from trunkcall.control.registry import Registry
from trunkcall.control.services import Services
from trunkcall.core.errors import ServingError
from trunkcall.core.events import Event, Fault, Finish, Start, Text, TokenLogprob, Usage
from trunkcall.core.meter import Counters, Meter
from trunkcall.core.models import Health, ModelSettings, Source
from trunkcall.core.ports import Api, Backend
from trunkcall.core.requests import Count, Generate, MessagesPrompt, TextPart, Tokens
from trunkcall.net.client import Client
from trunkcall.net.listeners import Application, Listening, bind
from trunkcall.net.relay import Relay

JSON = b"content-type: application/json\r\n"


class Speaker:
    """A replica whose tokens are words: `go` lets it speak on, an error among its words fails it.

    dropped: what it tells that it ignores; context: None for one that cannot count.
    """

    protocols: frozenset[str] = frozenset()

    def __init__(
        self,
        *words: str | ServingError,
        context: int | None = 64,
        dropped: tuple[str, ...] = (),
        refusal: ServingError | None = None,
        ends: bool = True,
        matched: str | None = None,
    ) -> None:
        self.words = words
        self.context = context
        self.dropped = dropped
        self.refusal = refusal
        self.ends = ends
        self.matched = matched
        self.go = asyncio.Event()
        self.go.set()
        self.asked: list[Generate] = []
        self.counted = 0
        self.running = 0
        self.most = 0

    async def health(self) -> Health:
        return Health(True)

    async def aclose(self) -> None:
        pass

    async def count(self, request: Count) -> Tokens:
        if self.context is None:
            raise ServingError("unsupported", "it does not count")
        self.counted += 1
        words = _words(request)
        pieces = tuple(word.encode() for word in words) if request.pieces else None
        return Tokens(len(words), tuple(range(len(words))), self.context, pieces)

    @asynccontextmanager
    async def open(self, request: Generate, meter: Meter) -> AsyncGenerator[AsyncIterator[Event]]:
        self.asked.append(request)
        if self.refusal is not None:
            raise self.refusal
        meter.dropped = self.dropped
        self.running += 1
        self.most = max(self.most, self.running)
        events = self._events(request)
        try:
            yield events
        finally:
            self.running -= 1
            await events.aclose()

    async def _events(self, request: Generate) -> AsyncGenerator[Event]:
        yield Start("id", request.model, 7)
        limit = request.sampling.max_tokens
        words = self.words[: limit if isinstance(limit, int) else None]
        choices = (request.sampling.n or 1) * len(getattr(request.prompt, "texts", (1,)))
        for index in range(choices):
            for place, word in enumerate(words):
                await self.go.wait()
                if isinstance(word, ServingError):
                    yield Fault(word)
                    return
                one = TokenLogprob(word, -0.5 - index, id=place)
                yield Text(index, word, (place,), (one,)) if request.reporting.token_ids else Text(index, word)
            if self.ends:
                yield Finish(index, "length" if len(words) < len(self.words) else "stop", self.matched)
        yield Usage(3, len(words) * choices)


def _words(request: Count) -> list[str]:
    prompt = request.prompt
    if isinstance(prompt, MessagesPrompt):
        texts = [part.text for m in prompt.messages for part in m.parts if isinstance(part, TextPart)]
    else:
        texts = list(prompt.texts)
    words = " ".join(texts).split(" ")
    return [words[0], *(f" {word}" for word in words[1:])]


class Tgis:
    """A running listener."""

    def __init__(self, url: str, dispatch: Dispatch, journal: Journal) -> None:
        self.url = url
        self.dispatch = dispatch
        self.journal = journal

    async def get(self, path: str, headers: bytes = b"") -> Reply:
        return await ask(self.url, "GET", path, b"", headers)

    async def post(self, path: str, body: Any, headers: bytes = JSON) -> Reply:
        data = body if isinstance(body, bytes) else json.dumps(body).encode()
        return await ask(self.url, "POST", path, data, headers)

    async def told(self, path: str, body: Any) -> Any:
        reply = await self.post(path, body)
        assert reply.status == 200, reply
        return json.loads(reply.body)

    async def generate(self, inputs: str = "a b c", path: str = "/generate", **parameters: Any) -> Reply:
        return await self.post(path, {"inputs": inputs, "parameters": parameters})

    async def stream(self, inputs: str = "a b c", **parameters: Any) -> list[dict[str, Any]]:
        reply = await self.generate(inputs, "/generate_stream", **parameters)
        assert (reply.status, reply.headers[b"content-type"]) == (200, b"text/event-stream")
        return events_of(reply.body)

    async def metrics(self) -> dict[str, float]:
        lines = (await self.get("/metrics")).text.splitlines()
        return {name: float(value) for name, _, value in (line.rpartition(" ") for line in lines if line[0] != "#")}

    @asynccontextmanager
    async def leaving(self, path: str, body: Any) -> AsyncIterator[None]:
        """A caller who has asked, and leaves at the end."""
        client = Client(self.url)

        async def call() -> None:
            async with client.request(b"POST", path.encode(), JSON, json.dumps(body).encode()) as answer:
                await answer.read()

        task = asyncio.create_task(call())
        try:
            yield
        finally:
            task.cancel()
            await asyncio.wait({task}, timeout=20)
            await client.aclose()


def events_of(body: bytes) -> list[dict[str, Any]]:
    """The events of a stream of TGI's own."""
    assert body.endswith(b"\n\n")
    frames = body.split(b"\n\n")[:-1]
    return [json.loads(frame.removeprefix(b"data:")) for frame in frames if not frame.startswith(b":")]


def services_of(dispatch: Dispatch, journal: Journal, keyring: Keyring | None = None) -> Services:
    """What an api is built from."""
    counters = Counters()

    def nobody(*_: object) -> Any:
        raise AssertionError("not for TGI")

    return Services(
        Serving(dispatch, Relay(), journal, counters, Admission(keyring)),
        dispatch,
        Registry(dispatch, nobody),
        counters,
        cast(Any, None),
        Condition,
        nobody,
        lambda: None,
        nobody,
    )


@asynccontextmanager
async def tgi(
    *backends: Backend | None,
    slots: int | None = None,
    queue: int = 1024,
    keys: dict[str, str] | None = None,
    more: tuple[Api, ...] = (),
    **options: Any,
) -> AsyncIterator[Tgis]:
    """backends: of the models m0, m1, …; None for one that is starting; keys: name -> secret."""
    dispatch = Dispatch()
    source = Source("test")
    for place, backend in enumerate(backends):
        name = f"m{place}"
        replica = Replica(f"{name}/0", source, slots)
        replica.backend = backend
        replica.state = "starting" if backend is None else "ready"
        dispatch.pools[name] = Pool(ModelSettings(name=name, sources=(source,), queue=queue), [replica])
    journal = Journal()
    keyring = Keyring(configured=keys)
    services = services_of(dispatch, journal, keyring)
    api = Tgi(services, msgspec.convert(options, TgiOptions))
    listening = Listening(Application([api, *more], guard=Access(keyring).check), bind("127.0.0.1", 0))
    await listening.start()
    try:
        yield Tgis(listening.url, dispatch, journal)
    finally:
        await listening.aclose()
