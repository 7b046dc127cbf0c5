"""A small FastChat worker and controller that answer as the real ones were seen to, and note what they are asked."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Any, Literal

from trunkcall.core.errors import ServingError
from trunkcall.core.ports import Exchange, Response, Route
from trunkcall.net.listeners import Application, Listening, bind

VICUNA = {
    "name": "vicuna_v1.1",
    "system_template": "{system_message}",
    "system_message": "be kind",
    "roles": ["USER", "ASSISTANT"],
    "messages": [],
    "offset": 0,
    "sep_style": 2,
    "sep": " ",
    "sep2": "</s>",
    "stop_str": None,
    "stop_token_ids": [9],
}


def frames(*texts: str, finish: str | None = "stop") -> bytes:
    """A stream of growing texts, whose last one is repeated with the reason."""
    wire = [{"text": text, "finish_reason": None} for text in texts]
    if finish is not None:
        wire.append({"text": texts[-1] if texts else "", "finish_reason": finish})
    usage = {"prompt_tokens": 3, "completion_tokens": 2, "total_tokens": 5}
    return b"".join(json.dumps({**one, "error_code": 0, "usage": usage}).encode() + b"\0" for one in wire)


class Peer:
    """What both have: their routes and notes of (route, body).

    instead: a route's whole answer in place of the right one; delay: seconds before each.
    """

    name = "peer"
    plane: Literal["inference", "control", "worker"] = "worker"

    def __init__(self) -> None:
        self.asked: list[tuple[str, Any]] = []
        self.instead: dict[str, Response] = {}
        self.delays: dict[str, float] = {}

    def failure(self, error: ServingError) -> Response:
        return Response(error.status, json.dumps({"detail": "Not Found"}).encode())

    def routes(self) -> Sequence[Route]:
        return (Route("POST", "/{route*}", self._serve),)

    def answer(self, route: str, body: Any) -> Any:
        raise NotImplementedError

    async def stream(self, exchange: Exchange) -> None:
        raise NotImplementedError

    async def _serve(self, exchange: Exchange) -> None:
        route = exchange.parameters["route"].rpartition("/")[2]
        raw = await exchange.body()
        body = json.loads(raw) if raw else None
        self.asked.append((route, body))
        await asyncio.sleep(self.delays.get(route, 0.0))
        if route in self.instead:
            await exchange.respond(self.instead[route])
        elif route == "worker_generate_stream":
            await self.stream(exchange)
        else:
            await exchange.respond(Response(200, json.dumps(self.answer(route, body)).encode()))

    def bodies(self, route: str) -> list[Any]:
        """What was asked of one route."""
        return [body for asked, body in self.asked if asked == route]


class Worker(Peer):
    """A worker. pieces: of its stream, None breaks the connection; hold: each piece waits for it."""

    def __init__(self, *pieces: bytes | None, names: Sequence[str] = ("m",), context: int = 4096) -> None:
        super().__init__()
        self.pieces = pieces
        self.names = list(names)
        self.context = context
        self.template = VICUNA
        self.hold = asyncio.Event()
        self.hold.set()
        self.running = 0
        self.left = 0

    def answer(self, route: str, body: Any) -> Any:
        match route:
            case "worker_get_status":
                return {"model_names": self.names, "speed": 1, "queue_length": self.running}
            case "worker_get_conv_template":
                return {"conv": self.template}
            case "model_details":
                return {"context_length": self.context}
            case "count_token":
                return {"count": len(body["prompt"].split()), "error_code": 0}
            case "worker_get_embeddings":
                return {"embedding": [[1.0, 0.0]] * len(body["input"]), "token_num": 2}
            case "worker_generate":
                return {"text": "whole", "error_code": 0, "finish_reason": "stop"}
            case _:
                raise ServingError("no_route", "")

    async def stream(self, exchange: Exchange) -> None:
        watch = exchange.when_gone(exchange.cancel)
        self.running += 1
        try:
            await exchange.begin(200, [])
            for piece in self.pieces:
                await self.hold.wait()
                if piece is None:
                    raise ServingError("cancelled", "the answer breaks off")
                await exchange.write(piece)
                await asyncio.sleep(0.002)
            await exchange.finish()
        except asyncio.CancelledError:
            self.left += 1
            raise
        finally:
            self.running -= 1
            watch.close()


class Controller(Peer):
    """A controller that names the addresses of a model in turn."""

    def __init__(self, **addresses: Sequence[str]) -> None:
        super().__init__()
        self.addresses = {name: list(some) for name, some in addresses.items()}

    def answer(self, route: str, body: Any) -> Any:
        match route:
            case "list_models":
                return {"models": list(self.addresses)}
            case "get_worker_address":
                some = self.addresses.get(body["model"], [])
                if some:
                    some.append(some.pop(0))
                return {"address": some[-1] if some else ""}
            case _:
                raise ServingError("no_route", "")


@asynccontextmanager
async def listening(peer: Peer, port: int = 0) -> AsyncIterator[str]:
    """The origin where a peer answers."""
    listener = Listening(Application([peer]), bind("127.0.0.1", port))
    await listener.start()
    try:
        yield listener.url
    finally:
        if isinstance(peer, Worker):
            peer.hold.set()
        await listener.aclose()
