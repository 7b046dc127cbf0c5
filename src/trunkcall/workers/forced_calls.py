"""A tool call that must be made: the JSON that the engine is held to, and the call which that becomes.

Told that a call is required, the engine only forbids to end without one: a model that sees no need for it goes on with
text to the limit of its tokens.
"""

from __future__ import annotations

import re
import secrets
from typing import Any, Final, cast

import msgspec

_NAMED: Final = re.compile(r'\s*\{\s*"name"\s*:\s*("(?:[^"\\]|\\.)*")\s*,\s*"arguments"\s*:\s*')
_ENDING: Final = re.compile(r"[\s}]*$")
_LAST: Final = re.compile(r"\s*\}\s*$")
_REFERENCE: Final = b'"$ref"'
_ANY: Final[dict[str, Any]] = {"type": "object"}

_encode: Final = msgspec.json.Encoder().encode
_Object = dict[str, Any]


def format_of(tools: list[_Object]) -> msgspec.Raw | None:
    """The response_format whose answers are a call of one of the tools.

    None where there can be no such format: a tool has no name, or parameters that refer to parts of themselves.
    """
    calls: list[_Object] = []
    for tool in tools:
        function: Any = tool.get("function")
        if not isinstance(function, dict):
            return None
        told = cast("_Object", function)
        if not isinstance(told.get("name"), str):
            return None
        parameters: Any = told.get("parameters") or _ANY
        calls.append(
            {
                "type": "object",
                "properties": {"name": {"const": told["name"]}, "arguments": parameters},
                "required": ["name", "arguments"],
                "additionalProperties": False,
            }
        )
    schema = calls[0] if len(calls) == 1 else {"anyOf": calls}
    made = _encode({"type": "json_schema", "json_schema": {"name": "call", "schema": schema}})
    return None if _REFERENCE in made else msgspec.Raw(made)


class ForcedCall:
    """Turns the text of one answer into its call, piece by piece."""

    def __init__(self) -> None:
        self._text = ""
        self._named = False
        self._begun = False
        """Some of the arguments has been told."""

    def edit(self, choice: _Object) -> None:
        """Change a chunk's choice: its text becomes a piece of the call, and its end that of an answer with calls."""
        delta: _Object = choice["delta"]
        text = delta.pop("content", None)
        self._text += text or ""
        if "role" in delta:
            delta["content"] = None
        finish = choice.get("finish_reason")
        fragment = self._fragment(complete=finish == "stop", ended=finish is not None)
        if fragment is not None:
            delta["tool_calls"] = [fragment]
        if finish == "stop":
            choice["finish_reason"] = "tool_calls"

    def _fragment(self, *, complete: bool, ended: bool) -> _Object | None:
        """What can be told now. complete: nothing follows, so the last brace is not the arguments'."""
        begun: _Object = {"index": 0}
        function: _Object = {}
        if not self._named:
            found = _NAMED.match(self._text)
            if found is None:
                return None
            self._named = True
            self._text = self._text[found.end() :]
            begun |= {"id": f"call_{secrets.token_hex(12)}", "type": "function"}
            function["name"] = msgspec.json.decode(found[1])
        if complete:
            said, self._text = _LAST.sub("", self._text), ""
        elif ended:
            said, self._text = self._text, ""
        else:
            cut = _ENDING.search(self._text)
            at = len(self._text) if cut is None else cut.start()
            said, self._text = self._text[:at], self._text[at:]
        if not self._begun:
            said = said.lstrip()
            self._begun = bool(said)
        if not said and not function:
            return None
        return {**begun, "function": {**function, "arguments": said}}
