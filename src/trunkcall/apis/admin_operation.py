"""One operation of administration: its path, what it takes and gives; its route and its description are made of it."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any, Final, Generic, Literal, TypeVar
from urllib.parse import parse_qsl

import msgspec

from trunkcall.core.errors import Kind, ServingError
from trunkcall.core.log import log
from trunkcall.core.ports import Exchange, Response, Route
from trunkcall.protocols.own_json import json_body, read_body, refusal

Method = Literal["GET", "POST", "PATCH", "DELETE"]

MOST_PARAMETERS: Final = 32


class Nothing(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """No fields."""


_Query = TypeVar("_Query", bound=msgspec.Struct)
_Body = TypeVar("_Body", bound=msgspec.Struct)


class Ask(Generic[_Query, _Body]):
    """One call of an operation, read and checked."""

    __slots__ = ("body", "exchange", "query")

    def __init__(self, exchange: Exchange, query: _Query, body: _Body) -> None:
        self.exchange = exchange
        self.query = query
        self.body = body

    @property
    def name(self) -> str:
        """What the path names."""
        return self.exchange.parameters["name"]


class Operation(msgspec.Struct, frozen=True, kw_only=True):
    """What is served at one method and path.

    id: its name in the description; path: `{name*}` may hold slashes; query: a struct whose fields are the
    parameters; body: None where none is read; gives: the type of the answer; streams: what the answer tells as
    server-sent events instead, empty for nothing; errors: what may be refused beside what every operation refuses.
    """

    id: str
    method: Method
    path: str
    summary: str
    query: type[msgspec.Struct]
    body: type[msgspec.Struct] | None
    gives: Any
    status: int
    streams: str
    errors: tuple[Kind, ...]
    handler: Callable[[Exchange], Awaitable[None]]

    @property
    def route(self) -> Route:
        """The same for a listener."""
        return Route(self.method, self.path, self.handler)


def operation(
    method: Method,
    path: str,
    summary: str,
    answer: Callable[[Ask[_Query, _Body]], Awaitable[Any]],
    *,
    gives: Any,
    query: type[_Query] = Nothing,
    body: type[_Body] = Nothing,
    status: int = 200,
    streams: str = "",
    errors: tuple[Kind, ...] = (),
) -> Operation:
    """An operation whose `answer` gives a value of the type `gives`, or None when it has answered by itself."""
    reads_body = method in ("POST", "PATCH")
    decoder = msgspec.json.Decoder(body)

    async def handle(exchange: Exchange) -> None:
        told = "refused"
        try:
            asked = read_query(exchange.query, query)
            sent = read_body(await json_body(exchange), decoder) if reads_body else body()
            given = await answer(Ask(exchange, asked, sent))
            told = "done"
        except ServingError as error:
            told = f"refused ({error.kind})"
            raise
        finally:
            if method != "GET":
                who = exchange.principal or "a caller without a key"
                log.info("administration: %s %r by %s at %s: %s", method, exchange.path, who, exchange.client, told)
        if given is not None:
            await exchange.respond(Response(status, msgspec.json.encode(given)))

    return Operation(
        id=answer.__name__.strip("_"),
        method=method,
        path=path,
        summary=summary,
        query=query,
        body=body if reads_body else None,
        gives=gives,
        status=status,
        streams=streams,
        errors=errors,
        handler=handle,
    )


def read_query(query: bytes, shape: type[_Query]) -> _Query:
    """The parameters of a path in their shape; raises ServingError (bad_request) that names the one at fault."""
    try:
        pairs = parse_qsl(query.decode("latin-1"), keep_blank_values=True, max_num_fields=MOST_PARAMETERS)
    except ValueError:
        raise ServingError("bad_request", f"the query has more than {MOST_PARAMETERS} parameters") from None
    found: dict[str, str] = {}
    for name, value in pairs:
        if name in found:
            raise ServingError("bad_request", f"{name} is given twice", param=name)
        found[name] = value
    try:
        return msgspec.convert(found, shape, strict=False)
    except msgspec.ValidationError as error:
        raise refusal(error, "the query", shape) from None
