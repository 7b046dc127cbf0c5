"""Names for places inside an OpenAI request, such as `messages[0].content[1].text`, and values put there.

Fields that the neutral model has no word for are kept raw in `extra["openai"]` under such a name.
A name whose value is empty marks a spelling: the field is modelled, and the caller wrote it under
that name; nothing is lost where it is not re-emitted.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping
from typing import Any, Final, cast

import msgspec

PROTOCOL: Final = "openai"

Fields = dict[str, msgspec.Raw]

SPELLING: Final = msgspec.Raw(b"")

NULL: Final = msgspec.Raw(b"null")

_PLAIN: Final = re.compile(r'[^.\[\]"]+')
_SEGMENT: Final = re.compile(r'\.?([^.\[\]"]+)|\[(\d+)\]|\[("(?:[^"\\]|\\.)*")\]')
_object: Final = msgspec.json.Decoder(Fields)


def under(path: str, key: str) -> str:
    """The name of `key` in the object at `path`; unusual keys are written as JSON in brackets."""
    if not _PLAIN.fullmatch(key):
        return f"{path}[{json.dumps(key)}]"
    return f"{path}.{key}" if path else key


def keep_unmodelled(extra: Fields, raw: msgspec.Raw | bytes, path: str, known: frozenset[str]) -> Fields:
    """Keep in `extra` what the JSON object `raw` at `path` holds beside the known keys; gives all its fields."""
    fields = _object.decode(raw)
    if not fields.keys() <= known:
        for key, value in fields.items():
            if key not in known:
                extra[under(path, key)] = value
    return fields


def spelled(extra: Mapping[str, msgspec.Raw], name: str) -> bool:
    """Whether the caller wrote a modelled field under this name."""
    raw = extra.get(name)
    return raw is not None and not raw


def put(root: dict[str, Any], extra: Mapping[str, msgspec.Raw]) -> list[str]:
    """Put kept fields back to where they came from; gives the names of those whose place is gone.

    What `root` already holds is never replaced.
    """
    lost: list[str] = []
    for name, raw in extra.items():
        if not raw:
            continue
        *way, last = _segments(name)
        place: Any = root
        for position, step in enumerate(way, 1):
            if position == len(way) and isinstance(last, int) and isinstance(place, dict):
                place = cast("dict[str | int, Any]", place).setdefault(step, [])
            else:
                place = _child(place, step)
        if isinstance(place, dict) and isinstance(last, str):
            cast("dict[str, Any]", place).setdefault(last, raw)
        elif isinstance(place, list) and isinstance(last, int):
            cast("list[Any]", place).insert(last, raw)
        else:
            lost.append(name)
    return lost


def _segments(name: str) -> list[str | int]:
    return [
        key or (int(index) if index else cast("str", json.loads(quoted)))
        for key, index, quoted in cast("Iterable[tuple[str, str, str]]", _SEGMENT.findall(name))
    ]


def _child(place: Any, step: str | int) -> Any:
    if isinstance(place, dict):
        return cast("dict[str | int, Any]", place).get(step)
    if isinstance(place, list) and isinstance(step, int):
        items = cast("list[Any]", place)
        return items[step] if step < len(items) else None
    return None


def foreign(extra: Mapping[str, Fields], protocol: str) -> list[str]:
    """The names of fields that only other protocols than `protocol` know and that hold something."""
    return [
        name
        for other, fields in extra.items()
        if other != protocol
        for name, raw in fields.items()
        if raw and raw != NULL
    ]
