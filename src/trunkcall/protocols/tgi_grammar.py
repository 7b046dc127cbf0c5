"""TGI's grammars: the shape that an answer must have, as clients write it."""

from __future__ import annotations

import re
import warnings
from typing import Any, Final, Literal, cast

import msgspec
from msgspec import UNSET, Raw, UnsetType

from trunkcall.core.errors import ServingError
from trunkcall.core.requests import Format
from trunkcall.protocols.tgi_schemas import fault_of

_PARAM: Final = "grammar"


class Grammar(msgspec.Struct, frozen=True):
    """As it came; json and json_object differ in name only."""

    type: Literal["json", "json_object", "json_schema", "regex"]
    value: Raw = Raw(b"")


class _Named(msgspec.Struct):
    schema: dict[str, Any]
    name: str | None = None


_any: Final = msgspec.json.Decoder(Any)
_text: Final = msgspec.json.Decoder(str)
_named: Final = msgspec.json.Decoder(_Named)
_encode: Final = msgspec.json.Encoder().encode


def read_grammar(grammar: Grammar) -> Format:
    """The neutral shape.

    Raises ServingError (bad_request) with TGI's text for what is no schema or no regular expression.
    """
    raw = grammar.value
    if not raw:
        raise _invalid("it needs a `value`")
    try:
        if grammar.type == "regex":
            return _regex(_text.decode(raw))
        if grammar.type == "json_schema":
            named = _named.decode(raw)
            return _schema(named.schema, UNSET if named.name is None else named.name)
        value: Any = _any.decode(raw)
        return _schema(_any.decode(value) if isinstance(value, str) else value, UNSET)
    except (msgspec.DecodeError, RecursionError) as error:
        raise _invalid(str(error)) from None


def emit_grammar(shape: Format) -> dict[str, Any] | None:
    """As TGI takes it; None for what it cannot express."""
    match shape.kind:
        case "schema" if shape.schema is not UNSET:
            return {"type": "json", "value": shape.schema}
        case "regex" if shape.source is not UNSET:
            return {"type": "regex", "value": shape.source}
        case _:
            return None


def _schema(value: Any, name: str | UnsetType) -> Format:
    if not isinstance(value, dict) or "properties" not in value:
        raise _invalid("Grammar must have a 'properties' field")
    fault = fault_of(value)
    if fault is not None:
        raise _invalid(fault)
    return Format("schema", schema=cast("dict[str, Any]", value), name=name)


def _regex(source: str) -> Format:
    with warnings.catch_warnings():
        # Of what another dialect would read in it.
        warnings.simplefilter("ignore")
        try:
            re.compile(source)
        except (re.error, OverflowError, RecursionError) as error:
            raise _invalid(str(error)) from None
    return Format("regex", source=source)


def _invalid(reason: str) -> ServingError:
    return ServingError("bad_request", f"grammar is not valid: {reason}", param=_PARAM)
