"""The shape that an answer must have, as a grammar for llguidance: a JSON schema, a call of a tool, or one of both."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any, Final

import msgspec
from msgspec import UNSET

from trunkcall.core.errors import ServingError
from trunkcall.core.requests import Format, Generate, Tool
from trunkcall.workers.regexes import lark_regex

_JSON: Final = {"whitespace_pattern": r"[ \n\t]{0,20}", "coerce_one_of": True}
"""Space has a limit, because small models like to make much of it; oneOf is read as anyOf, as llama.cpp does."""

_ANY: Final[dict[str, Any]] = {"type": "object"}
_TAIL: Final = "}\n"
_KINDS: Final = frozenset({"json", "schema", "regex"})


class Shape(msgspec.Struct, frozen=True):
    """What an answer is held to.

    lark: a grammar in llguidance's dialect of Lark; param: the field that asked for it; calls: the grammar has the
    rules `open`, `close` and `before` (any text, then the mark that opens a call), which depend on the tokenizer.
    """

    param: str
    lark: str
    calls: bool = False


def shape_of(request: Generate, *, tools: bool) -> Shape | None:
    """The shape of the answers to a request, None where they are free; tools: the model is shown the tools.

    Raises ServingError (bad_request) for a tool choice that names none of the tools, and a schema that is too deep.
    """
    shape = request.shape
    wanted = shape.format if isinstance(shape.format, Format) and shape.format.kind in _KINDS else None
    offered = [tool for tool in shape.tools or () if isinstance(tool, Tool)] if tools else []
    choice = shape.tool_choice or None
    if choice is not None and choice.mode == "named" and offered:
        offered = [tool for tool in offered if tool.name == choice.name]
        if not offered:
            raise ServingError(
                "bad_request",
                f"tool_choice: there is no tool {choice.name!r}; name one of `tools`",
                param="tool_choice",
            )
    forced = choice is not None and choice.mode in ("named", "required") and bool(offered)
    # A small model that must call goes on calling where it may.
    several = shape.parallel_tool_calls is True or (not forced and shape.parallel_tool_calls is not False)
    if forced:
        return Shape("tools", f"start: calls\n{_calls(offered, several)}", calls=True)
    if wanted is not None:
        param, answer = _answer(wanted)
        if not offered:
            return Shape(param, f"start: answer\n{answer}")
        # The caller left the choice to the model, so either will do.
        return Shape(param, f"start: answer | calls\n{answer}{_calls(offered, several)}", calls=True)
    if any(tool.strict for tool in offered):
        start = f"start: (before body){'*' if several else '?'} rest\nrest: TEXT\n"
        return Shape("tools", start + _calls(offered, several), calls=True)
    return None


def _answer(wanted: Format) -> tuple[str, str]:
    """The field that asked for it, and the rule of an answer."""
    if wanted.kind == "regex" and wanted.source is not UNSET:
        return "structured_outputs", f"answer: {lark_regex(wanted.source)}\n"
    schema = _ANY if wanted.schema is UNSET else wanted.schema
    return "response_format", f"answer: {_json(schema, 'response_format')}\n"


def _calls(tools: Sequence[Tool], several: bool) -> str:
    """The rules of calls as transformers_tools reads them."""
    lines = ['calls: call ("\\n" call)*' if several else "calls: call", "call: open body"]
    lines.append("body: " + " | ".join(f"body_{place}" for place in range(len(tools))))
    for place, tool in enumerate(tools):
        head = f'\n{{"name": {json.dumps(tool.name)}, "arguments": '
        lines.append(f"body_{place}: {json.dumps(head)} arguments_{place} {json.dumps(_TAIL)} close")
        lines.append(f"arguments_{place}: {_json(tool.parameters or _ANY, 'tools', lenient=not tool.strict)}")
    return "\n".join(lines) + "\n"


def _json(schema: dict[str, Any], param: str, *, lenient: bool = False) -> str:
    """lenient: what nobody could hold an answer to is left to the model."""
    try:
        return "%json " + json.dumps({**schema, "x-guidance": {**_JSON, "lenient": lenient}})
    except RecursionError:
        raise ServingError("bad_request", f"{param}: the schema is nested too deeply", param=param) from None
