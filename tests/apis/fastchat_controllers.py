"""A FastChat controller of ours on a listener of its own, and stand-in workers that answer as the real ones were seen."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any, Literal, cast

from apis.kuwa_executors import Journal, Reply, ask

from trunkcall.apis.fastchat_controller import ControllerOptions, FastChatController
from trunkcall.backends import fastchat
from trunkcall.control.condition import Condition
from trunkcall.control.dispatch import Dispatch
from trunkcall.control.generation import Serving
from trunkcall.control.pool import Pool, Replica
from trunkcall.control.registry import Record, Registry
from trunkcall.control.services import Services
from trunkcall.core.errors import ServingError
from trunkcall.core.meter import Counters
from trunkcall.core.models import ModelSettings, Source
from trunkcall.core.ports import Exchange, Response, Route
from trunkcall.net.listeners import Application, Guard, Listening, bind
from trunkcall.net.relay import Relay


class Worker:
    """A worker of FastChat. texts: the answer as it grows; None ends the connection, after `cut`.

    hold: each object waits for it; status: the body it tells; asked: routes and bodies as they came.
    """

    name = "worker"
    plane: Literal["inference", "control", "worker"] = "worker"

    def __init__(self, *names: str, texts: Sequence[str | None] = ("h", "hé", "hé!")) -> None:
        self.names = list(names)
        self.texts = texts
        self.speed: Any = 1
        self.queue = 0
        self.status: bytes | None = None
        self.code = 200
        self.pause = 0.0
        self.cut = b""
        self.hold = asyncio.Event()
        self.hold.set()
        self.asked: list[tuple[str, Any]] = []
        self.running = 0
        self.left = 0

    def count(self, route: str) -> int:
        return sum(name == route for name, _ in self.asked)

    def routes(self) -> Sequence[Route]:
        return (
            Route("POST", "/worker_get_status", self._status),
            Route("POST", "/worker_generate_stream", self._generate),
            Route("POST", "/count_token", self._tokens),
            Route("POST", "/model_details", self._details),
        )

    def failure(self, error: ServingError) -> Response:
        return Response(error.status, b"Not Found" if error.kind == "no_route" else error.message.encode())

    async def _note(self, exchange: Exchange) -> None:
        body = await exchange.body()
        self.asked.append((exchange.path[1:], json.loads(body) if body else None))

    async def _status(self, exchange: Exchange) -> None:
        await self._note(exchange)
        watch = exchange.when_gone(exchange.cancel)
        try:
            await asyncio.sleep(self.pause)
        finally:
            watch.close()
        told = json.dumps({"model_names": self.names, "speed": self.speed, "queue_length": self.queue}).encode()
        await exchange.respond(Response(self.code, told if self.status is None else self.status))

    async def _tokens(self, exchange: Exchange) -> None:
        await self._note(exchange)
        await exchange.respond(Response(200, b'{"count":7,"error_code":0}'))

    async def _details(self, exchange: Exchange) -> None:
        await self._note(exchange)
        await exchange.respond(Response(200, b'{"context_length":4096}'))

    async def _generate(self, exchange: Exchange) -> None:
        await self._note(exchange)
        watch = exchange.when_gone(exchange.cancel)
        self.running += 1
        try:
            await exchange.begin(200, [])
            for text in self.texts:
                await self.hold.wait()
                if text is None:
                    await exchange.write(self.cut)
                    raise ServingError("cancelled", "the worker was killed")
                await exchange.write(frame(text))
                await asyncio.sleep(0.002)
            await exchange.finish(frame(self.texts[-1] or "", "stop"))
        except asyncio.CancelledError:
            self.left += 1
            raise
        finally:
            self.running -= 1
            watch.close()


def frame(text: str, finish: str | None = None) -> bytes:
    usage = {"prompt_tokens": 2, "completion_tokens": len(text), "total_tokens": 2 + len(text)}
    told = {"text": text, "error_code": 0, "usage": usage, "finish_reason": finish, "logprobs": None}
    return json.dumps(told).encode() + b"\0"


class Control:
    """A running controller."""

    def __init__(self, url: str, api: FastChatController, dispatch: Dispatch, registry: Registry) -> None:
        self.url = url
        self.api = api
        self.dispatch = dispatch
        self.registry = registry

    def own(self, name: str, backend: Any) -> Pool:
        """A model of the settings."""
        replica = Replica(f"{name}/0", Source("test", "0"), None)
        replica.backend, replica.state = backend, "ready"
        pool = self.dispatch.pools[name] = Pool(ModelSettings(name=name, sources=()), [replica])
        return pool

    async def ask(self, route: str, body: Any = None, headers: bytes = b"", method: str = "POST") -> Reply:
        data = body if isinstance(body, bytes) else b"" if body is None else json.dumps(body).encode()
        return await ask(self.url, method, f"/{route}", data, headers)

    async def said(self, route: str, body: Any = None) -> Any:
        reply = await self.ask(route, body)
        assert (reply.status, reply.headers[b"content-type"]) == (200, b"application/json"), reply.text
        return json.loads(reply.body)

    async def register(self, address: str, *names: str, checked: bool = True, speed: Any = 1, **more: Any) -> None:
        status = {"model_names": names, "speed": speed, "queue_length": more.pop("queue", 0)}
        told = {"worker_name": address, "check_heart_beat": checked, "worker_status": status, **more}
        assert await self.said("register_worker", told) is None

    async def register_unseen(self, address: str, checked: bool = False) -> None:
        """As the program `register_worker` does: the controller asks."""
        told = {"worker_name": address, "check_heart_beat": checked, "worker_status": None, "multimodal": False}
        assert await self.said("register_worker", told) is None

    async def beat(self, address: str, queue: int = 0) -> bool:
        return (await self.said("receive_heart_beat", {"worker_name": address, "queue_length": queue}))["exist"]

    async def models(self, kind: str = "list_models") -> list[str]:
        return sorted((await self.said(kind))["models"])

    async def address(self, model: str) -> str:
        return (await self.said("get_worker_address", {"model": model}))["address"]

    async def generate(self, model: str, **more: Any) -> tuple[bytes, list[dict[str, Any]]]:
        """The bytes, and the objects in them; each has its end."""
        reply = await self.ask("worker_generate_stream", {"model": model, "prompt": "hi", "echo": False, **more})
        assert reply.status == 200
        *objects, rest = reply.body.split(b"\0")
        assert rest == b"", reply.body
        return reply.body, [json.loads(one) for one in objects]


BARE = ControllerOptions(front="none")


@asynccontextmanager
async def control(
    options: ControllerOptions = BARE,
    *,
    kept: tuple[Record, ...] = (),
    allow: Callable[[Exchange], None] = lambda exchange: None,
    guard: Guard | None = None,
    port: int = 0,
) -> AsyncIterator[Control]:
    dispatch = Dispatch()
    registry = Registry(dispatch, lambda scheme: fastchat.connect, kept)

    counters = Counters()
    serving = Serving(dispatch, Relay(), Journal(), counters)
    services = Services(
        serving, dispatch, registry, counters, cast(Any, None), Condition, allow, lambda: None, cast(Any, None)
    )
    api = FastChatController(services, options)
    listening = Listening(Application([api], guard=guard), bind("127.0.0.1", port))
    await listening.start()
    tasks = [asyncio.create_task(registry.live()), asyncio.create_task(api.live(listening.url))]
    try:
        yield Control(listening.url, api, dispatch, registry)
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.wait(tasks)
        await listening.aclose()
        await registry.aclose()


@asynccontextmanager
async def listening(worker: Worker, port: int = 0) -> AsyncIterator[str]:
    """The URL of a worker while it lives; leaving kills it."""
    listener = Listening(Application([worker]), bind("127.0.0.1", port))
    await listener.start()
    try:
        yield listener.url
    finally:
        worker.hold.set()
        await listener.aclose()


@asynccontextmanager
async def workers(*made: Worker) -> AsyncIterator[list[str]]:
    """The URLs of several."""
    async with AsyncExitStack() as stack:
        yield [await stack.enter_async_context(listening(worker)) for worker in made]
