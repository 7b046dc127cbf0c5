"""Listening sockets, and the table of routes behind each."""

from __future__ import annotations

import re
import socket
import ssl
import time
from collections.abc import Callable, Coroutine, Sequence
from typing import Final

import msgspec

from trunkcall.core.errors import ServingError, WrongMethod
from trunkcall.core.log import REQUEST, log
from trunkcall.core.ports import Api, Exchange, Header, Response, Route
from trunkcall.net.exchange import Exchange as Received
from trunkcall.net.server import BACKLOG, Limits, Server

MAX_BODY: Final = Limits().body

Guard = Callable[[Exchange, Api], None]
"""Raises ServingError when the caller may not use this api; may set exchange.principal."""
Ended = Callable[[Received, float], None]
"""Is told of an exchange that has ended, and of its seconds."""


class RouteTable:
    """Which handler answers a method and a path.

    Raises ValueError at once when two apis claim the same method and path, naming both.
    """

    def __init__(self, apis: Sequence[Api]) -> None:
        self._exact: dict[tuple[str, str], tuple[Route, Api]] = {}
        self._patterns: list[tuple[re.Pattern[str], Route, Api]] = []
        seen: dict[tuple[str, str], str] = {}
        for api in apis:
            for route in api.routes():
                shape = (route.method, re.sub(r"{\w+(\*?)}", r"{\1}", route.path))
                if shape in seen:
                    raise ValueError(f"{route.method} {route.path} is claimed by both {seen[shape]} and {api.name}")
                seen[shape] = api.name
                if "{" in route.path:
                    self._patterns.append((_pattern(route.path), route, api))
                else:
                    self._exact[route.method, route.path] = (route, api)

    def find(self, method: str, path: str) -> tuple[Route, Api, dict[str, str]] | None:
        """The route, its api and the captured parameters."""
        found = self._exact.get((method, path))
        if found is not None:
            return (*found, {})
        for pattern, route, api in self._patterns:
            if route.method == method and (match := pattern.fullmatch(path)):
                return route, api, match.groupdict()
        return None

    def methods(self, path: str) -> list[str]:
        """The methods that a path answers."""
        exact = [method for method, known in self._exact if known == path]
        return sorted({*exact, *(r.method for pattern, r, _ in self._patterns if pattern.fullmatch(path))})

    def owner(self, path: str) -> Api | None:
        """The api that answers a path by some method."""
        exact = (api for (_, known), (_, api) in self._exact.items() if known == path)
        patterns = (api for pattern, _, api in self._patterns if pattern.fullmatch(path))
        return next(exact, None) or next(patterns, None)


def _pattern(path: str) -> re.Pattern[str]:
    pieces = re.split(r"({\w+\*?})", path)
    text = "".join(
        (f"(?P<{p[1:-2]}>.+)" if p.endswith("*}") else f"(?P<{p[1:-1]}>[^/]+)") if p.startswith("{") else re.escape(p)
        for p in pieces
    )
    return re.compile(text)


class Cors:
    """Which web origins may call; `*` is all. None by default, so that other pages cannot read answers."""

    def __init__(self, origins: Sequence[str]) -> None:
        self._origins = frozenset(origin.encode() for origin in origins)

    def headers(self, exchange: Exchange) -> list[Header]:
        """What to add to an answer for this caller."""
        origin = exchange.header(b"origin")
        if origin is None or not self._origins:
            return []
        if b"*" in self._origins:
            return [(b"access-control-allow-origin", b"*"), (b"access-control-expose-headers", b"*")]
        if origin in self._origins:
            return [
                (b"access-control-allow-origin", origin),
                (b"vary", b"origin"),
                (b"access-control-expose-headers", b"x-trunkcall-request-id, x-trunkcall-dropped, retry-after"),
            ]
        return []

    def preflight(self, exchange: Exchange, methods: Sequence[str]) -> Response:
        """The answer to an OPTIONS question of a browser."""
        allowed = self.headers(exchange)
        if not allowed:
            return Response(403, b"", ())
        wanted = exchange.header(b"access-control-request-headers") or b"authorization, content-type"
        return Response(
            204,
            b"",
            (
                (b"access-control-allow-methods", ", ".join(methods).encode()),
                (b"access-control-allow-headers", wanted),
                (b"access-control-max-age", b"600"),
            ),
        )


class Application:
    """What one listener serves: routes a request to its api and tells failures in its words."""

    def __init__(
        self,
        apis: Sequence[Api],
        *,
        max_body: int = MAX_BODY,
        cors: Sequence[str] = (),
        guard: Guard | None = None,
    ) -> None:
        self._table = RouteTable(apis)
        self._default = apis[0]
        self.max_body = max_body
        self._guard = guard
        self._cors: Cors | None = None
        self.allow_pages(cors)

    async def handle(self, exchange: Exchange) -> None:
        """Answer one exchange; raises nothing but a cancellation."""
        REQUEST.set(exchange)
        found = self._table.find(exchange.method, exchange.path)
        api = self._default
        try:
            if self._cors is not None:
                exchange.extra_headers = self._cors.headers(exchange)
            if self._cors is not None and exchange.method == "OPTIONS" and exchange.header(b"origin") is not None:
                # A browser asks whether a page may call; without an origin it is the api's own business.
                methods = self._table.methods(exchange.path)
                if methods:
                    await exchange.respond(self._cors.preflight(exchange, methods))
                    return
            if found is None:
                await exchange.respond(self._unrouted(exchange))
                return
            route, api, exchange.parameters = found
            if self._guard is not None:
                self._guard(exchange, api)
            await route.handler(exchange)
        except ServingError as error:
            if error.kind != "cancelled":
                await exchange.respond(api.failure(error))
        except Exception:  # noqa: BLE001
            # The last line of defence: the client gets an error in its own words, the log gets the traceback.
            log.exception("request %s failed", exchange.id)
            await exchange.respond(
                api.failure(ServingError("bug", f"internal error; see the log, request {exchange.id}"))
            )

    def telling(self, ended: Ended) -> Callable[[Received], Coroutine[None, None, None]]:
        """`handle`, with somebody who is told of each exchange at its end."""

        async def handle(exchange: Received) -> None:
            began = time.monotonic()
            try:
                await self.handle(exchange)
            finally:
                ended(exchange, time.monotonic() - began)

        return handle

    def allow_pages(self, cors: Sequence[str]) -> None:
        """Let pages of these origins call, from the next request on."""
        self._cors = Cors(cors) if cors else None

    def _unrouted(self, exchange: Exchange) -> Response:
        methods = self._table.methods(exchange.path)
        if methods:
            api = self._table.owner(exchange.path) or self._default
            answer = api.failure(WrongMethod(exchange.method, exchange.path, methods))
            return Response(405, answer.body, (*answer.headers, (b"allow", ", ".join(methods).encode())))
        return self._default.failure(
            ServingError("no_route", f"nothing answers {exchange.method} {exchange.path} here")
        )


def bind(host: str, port: int) -> socket.socket:
    """A listening socket; port 0 takes a free one.

    Raises ServingError (conflict) with the remedy when the address cannot be had.
    """
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
        # Who is told `localhost` tries both of its addresses; who is told 127.0.0.1 does not.
        info = min(found, key=lambda one: one[0] != socket.AF_INET)
        bound = socket.socket(info[0], info[1], info[2])
        try:
            bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            bound.bind(info[4])
            bound.listen(BACKLOG)
        except OSError:
            bound.close()
            raise
    except OSError as error:
        reason = error.strerror or str(error)
        raise ServingError(
            "conflict", f"cannot listen on {host}:{port}: {reason}. Choose another with --port, or 0 for a free one"
        ) from error
    bound.setblocking(False)
    return bound


class Listening:
    """A running listener; `url` is where it answers.

    limits: all but `body`, which the application sets; tls: for https (`net.tls.identity`).
    """

    def __init__(
        self,
        application: Application,
        bound: socket.socket,
        limits: Limits | None = None,
        tls: ssl.SSLContext | None = None,
    ) -> None:
        host, port = bound.getsockname()[:2]
        shown = f"[{host}]" if ":" in host else host
        self.url = f"{'http' if tls is None else 'https'}://{shown}:{port}"
        self._application = application
        self._socket = bound
        self._tls = tls
        self._server = Server(
            application.handle, msgspec.structs.replace(limits or Limits(), body=application.max_body)
        )

    def change(self, *, max_body: int, cors: Sequence[str], ended: Ended | None) -> None:
        """From the next request on: the largest body in bytes, origins that may call, and who is told of each end."""
        self._server.limits = msgspec.structs.replace(self._server.limits, body=max_body)
        self._application.allow_pages(cors)
        self._server.handle = self._application.handle if ended is None else self._application.telling(ended)

    async def start(self) -> None:
        """Accept connections; returns when it does."""
        await self._server.start(self._socket, self._tls)

    def stop_accepting(self) -> None:
        """Take no new connections and close idle ones; the others close after their answer."""
        self._server.stop_accepting()

    async def aclose(self) -> None:
        """Stop accepting, wait up to 5 s for running handlers, cancel the rest; returns when all is closed."""
        await self._server.aclose()
        self._socket.close()
