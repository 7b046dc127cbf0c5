"""One operation of administration: its path, what it takes and gives; its route and its description are made of it."""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable
from typing import Any, Final, Generic, Literal, TypeVar
from urllib.parse import parse_qsl

import msgspec

from trunkcall.core.errors import Kind, ServingError
from trunkcall.core.log import log
from trunkcall.core.ports import Exchange, Response, Route
from trunkcall.core.text import did_you_mean

Method = Literal["GET", "POST", "PATCH", "DELETE"]

MOST_PARAMETERS: Final = 32
_PATH: Final = re.compile(r"(?P<what>.*?)(?: - at `(?:key in )?\$?\.?(?P<path>[^`]*)`)?", re.DOTALL)
_FIELD: Final = re.compile(r"Object (?:contains unknown|missing required) field `(.*)`", re.DOTALL)


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
            given = await answer(Ask(exchange, asked, await _read_body(exchange, decoder) if reads_body else body()))
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


async def _read_body(exchange: Exchange, decoder: msgspec.json.Decoder[_Body]) -> _Body:
    # A web page elsewhere cannot send this content type without asking first, so it cannot administer.
    if not (exchange.header(b"content-type") or b"").startswith(b"application/json"):
        raise ServingError("bad_request", "send content-type: application/json", param="content-type")
    try:
        return decoder.decode(await exchange.body() or b"{}")
    except msgspec.ValidationError as error:
        raise refusal(error, "the body", decoder.type) from None
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise ServingError("bad_request", f"the body is no JSON that can be read: {error}") from None


def refusal(error: msgspec.ValidationError, of: str, shape: type[msgspec.Struct]) -> ServingError:
    """What msgspec found wrong, with the field at fault; `of` says in the message where that is."""
    text = str(error)
    match = _PATH.fullmatch(text)
    what, path = (match["what"], match["path"] or "") if match else (text, "")
    if field := _FIELD.fullmatch(what):
        name = f"{path}.{field[1]}" if path else field[1]
        if "unknown" in what:
            known = shape.__struct_fields__ if not path else ()
            hint = f" {did_you_mean(field[1], known)}" if known else ""
            return ServingError("bad_request", f"{of} has an unknown field {name}.{hint}", param=name)
        return ServingError("bad_request", f"{of} lacks the field {name}", param=name)
    where = f"{of}: {path}" if path else of
    return ServingError("bad_request", f"{where}: {what[:1].lower()}{what[1:]}", param=path or None)
