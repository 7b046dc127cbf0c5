"""JSON of our own interfaces: bodies read with the field at fault named, and errors told with their kind."""

from __future__ import annotations

import re
from typing import Final, TypeVar

import msgspec

from trunkcall.core.errors import ServingError
from trunkcall.core.ports import Exchange, Response
from trunkcall.core.text import did_you_mean
from trunkcall.protocols.headers import retry_after_header

_PATH: Final = re.compile(r"(?P<what>.*?)(?: - at `(?:key in )?\$?\.?(?P<path>[^`]*)`)?", re.DOTALL)
_FIELD: Final = re.compile(r"Object (?:contains unknown|missing required) field `(.*)`", re.DOTALL)

_Body = TypeVar("_Body", bound=msgspec.Struct)


def check_content_type(value: bytes | None) -> None:
    """Raises ServingError (bad_request) for what is not sent as JSON.

    A web page elsewhere cannot send this content type without asking first, so it cannot use these interfaces.
    """
    if not (value or b"").startswith(b"application/json"):
        raise ServingError("bad_request", "send content-type: application/json", param="content-type")


async def json_body(exchange: Exchange) -> bytes:
    """The body of a request to one of these interfaces; raises ServingError as the two that it is made of."""
    check_content_type(exchange.header(b"content-type"))
    return await exchange.body()


def read_body(body: bytes, decoder: msgspec.json.Decoder[_Body]) -> _Body:
    """A body in its shape, an empty one as {}; raises ServingError (bad_request) that names the field at fault."""
    try:
        return decoder.decode(body or b"{}")
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


def failure(error: ServingError) -> Response:
    """The error with its kind, for programs, and its message, for people."""
    told = {"message": error.message, "kind": error.kind, "param": error.param}
    headers = [(b"content-type", b"application/json")]
    if error.retry_after is not None:
        headers.append(retry_after_header(error.retry_after))
    return Response(error.status, msgspec.json.encode({"error": told}), tuple(headers))
