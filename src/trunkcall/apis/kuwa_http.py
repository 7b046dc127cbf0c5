"""How Kuwa's kernel speaks HTTP: a form comes in, a word goes out, and each path says which methods it takes."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Final

from trunkcall.core.ports import Exchange, Header, Response, Route
from trunkcall.protocols.forms import Form, read_form

HTML: Final[Header] = (b"content-type", b"text/html; charset=utf-8")

Handler = Callable[[Exchange], Awaitable[None]]


def answering(path: str, **handlers: Handler) -> tuple[Route, ...]:
    """Routes of a path by method; HEAD goes with GET, and OPTIONS tells what there is."""
    if "GET" in handlers:
        handlers["HEAD"] = handlers["GET"]
    allowed = ", ".join(sorted([*handlers, "OPTIONS"])).encode()

    async def options(exchange: Exchange) -> None:
        await exchange.respond(Response(200, b"", (HTML, (b"allow", allowed))))

    return (Route("OPTIONS", path, options), *(Route(method, path, handler) for method, handler in handlers.items()))


async def form_of(exchange: Exchange) -> Form:
    """The form that came; empty where the body is none."""
    return read_form(exchange.header(b"content-type"), await exchange.body())


def word(text: str) -> Response:
    """A verdict, as programs compare it: without a newline, and HTML by its content type."""
    return Response(200, text.encode(), (HTML,))
