"""Whether a JSON schema is one: types that there are, and schemas where schemas belong."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Final, cast

_TYPES: Final = frozenset({"object", "array", "string", "number", "integer", "boolean", "null"})
_ONE: Final = ("items", "additionalProperties", "not", "contains", "if", "then", "else", "propertyNames")
_LISTS: Final = ("anyOf", "oneOf", "allOf", "prefixItems")
_NAMED: Final = ("properties", "patternProperties", "$defs", "definitions")


def fault_of(schema: Any, at: str = "$") -> str | None:
    """What is wrong with a schema, and where; None where nothing is. Raises RecursionError for one without a floor.

    An engine that cannot read a schema may answer as it likes, so that what nobody can read must not reach it.
    """
    if isinstance(schema, bool):
        return None
    if not isinstance(schema, dict):
        return f"{at} is not a schema"
    fields = cast("dict[str, Any]", schema)
    kinds: Any = fields.get("type", [])
    for kind in cast("list[Any]", kinds) if isinstance(kinds, list) else [kinds]:
        if not isinstance(kind, str) or kind not in _TYPES:
            return f"{at}.type: {kind!r} is not a type"
    return next((fault for inner, place in _inside(fields, at) if (fault := fault_of(inner, place))), None)


def _inside(fields: dict[str, Any], at: str) -> Iterator[tuple[Any, str]]:
    """The schemas in a schema, and what is there instead of one."""
    for name in _ONE:
        if name in fields:
            inner: Any = fields[name]
            if name == "items" and isinstance(inner, list):
                # As older drafts have it.
                yield from ((one, f"{at}.items[{place}]") for place, one in enumerate(cast("list[Any]", inner)))
            else:
                yield inner, f"{at}.{name}"
    for name in _LISTS:
        several: Any = fields.get(name, [])
        if not isinstance(several, list):
            yield None, f"{at}.{name}"
            continue
        yield from ((one, f"{at}.{name}[{place}]") for place, one in enumerate(cast("list[Any]", several)))
    for name in _NAMED:
        named: Any = fields.get(name, {})
        if not isinstance(named, dict):
            yield None, f"{at}.{name}"
            continue
        yield from ((one, f"{at}.{name}.{key}") for key, one in cast("dict[str, Any]", named).items())
