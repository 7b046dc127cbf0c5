"""Emitting Anthropic requests: Generate becomes the bytes for POST /v1/messages.

Format: https://platform.claude.com/docs/en/api/messages, as the anthropic SDK 2.12 sends it.
"""

from __future__ import annotations

from typing import Any, Final

import msgspec
from msgspec import UNSET

from trunkcall.core.requests import Format, Generate, Tool, ToolChoice
from trunkcall.protocols.anthropic_messages import PROTOCOL, Recall, emit_messages
from trunkcall.protocols.conversation import as_conversation
from trunkcall.protocols.left_out import left_out
from trunkcall.protocols.openai_paths import put

SAMPLED: Final = "2023-06-01"
"""The version that takes temperature, top_p and top_k; later ones refuse a request that has one of them."""

MAX_TOKENS: Final = 4096
"""For requests that set none: the API insists on a number, and all its models give as many."""

_SAMPLING: Final = ("temperature", "top_p", "top_k")
_HOTTEST: Final = 1.0
"""Most that temperature can be; OpenAI's goes up to 2."""

_CARRIED: Final = frozenset(
    {
        "max_tokens",
        "max_completion_tokens",
        "stop",
        "tools",
        "tool_choice",
        "parallel_tool_calls",
        "response_format",
        "reasoning_effort",
        "continue_final_message",
        "system_override",
        "echo",
        "thinking",
        "user",
    }
)

_EFFORTS: Final = {
    "minimal": "low",
    "low": "low",
    "medium": "medium",
    "high": "high",
    "xhigh": "xhigh",
    "max": "max",
}

_CHOICES: Final = {"none": "none", "auto": "auto", "required": "any", "named": "tool"}
_FORCED: Final = frozenset({"required", "named"})

_encode = msgspec.json.Encoder().encode


def emit_message(request: Generate, model: str, version: str, recall: Recall) -> tuple[bytes, tuple[str, ...]]:
    """The body, always for a streamed answer, and the names of fields that had to be dropped.

    version: the `anthropic-version` that it is sent with; recall: the answer that a tool call came in.

    Raises ServingError: bad_request with the place at fault in `param`, unsupported for prompts that are no
    conversation and not one text.
    """
    sampled = _CARRIED.union(_SAMPLING) if version == SAMPLED else _CARRIED
    dropped = left_out(request, PROTOCOL, sampled)
    conversation = as_conversation(request, "Anthropic")
    dropped += conversation.lost
    limit = request.sampling.max_tokens
    fields: dict[str, Any] = {
        "model": model,
        "max_tokens": limit if isinstance(limit, int) else MAX_TOKENS,
        "messages": emit_messages(conversation.turns, recall, dropped),
        "stream": True,
    }
    if conversation.system:
        fields["system"] = "\n\n".join(conversation.system)
    if request.stops.strings:
        fields["stop_sequences"] = request.stops.strings
    if request.user is not UNSET:
        fields["metadata"] = {"user_id": request.user}
    if version == SAMPLED:
        _add_sampling(fields, request, dropped)
    _add_tools(fields, request, dropped)
    _add_output(fields, request, dropped)
    dropped += put(fields, request.extra.get(PROTOCOL, {}))
    return _encode(fields), tuple(dict.fromkeys(dropped))


def _add_sampling(fields: dict[str, Any], request: Generate, dropped: list[str]) -> None:
    sampling = request.sampling
    for name in _SAMPLING:
        value = getattr(sampling, name)
        if value is not UNSET and value is not None:
            fields[name] = value
    if fields.get("temperature", 0) > _HOTTEST:
        fields["temperature"] = _HOTTEST
        dropped.append("temperature")
    if fields.get("top_k", 1) <= 0:
        # Elsewhere this is no limit, which is what its absence means here.
        del fields["top_k"]


def _add_tools(fields: dict[str, Any], request: Generate, dropped: list[str]) -> None:
    shape = request.shape
    tools: list[Any] = []
    for index, tool in enumerate(shape.tools or ()):
        if isinstance(tool, Tool):
            tools.append(_tool(tool))
        elif tool.protocol == PROTOCOL:
            tools.append(tool.raw)
        else:
            dropped.append(f"tools[{index}]")
    if tools:
        fields["tools"] = tools
    choice = shape.tool_choice
    alone = shape.parallel_tool_calls is False
    if choice is UNSET and alone and tools:
        choice = ToolChoice("auto")
    if choice is UNSET or choice.mode == "unknown":
        if choice is not UNSET:
            dropped.append("tool_choice")
        return
    made: dict[str, Any] = {"type": _CHOICES[choice.mode]}
    if choice.mode == "named":
        made["name"] = choice.name
    if alone and choice.mode != "none":
        made["disable_parallel_tool_use"] = True
    fields["tool_choice"] = made


def _tool(tool: Tool) -> dict[str, Any]:
    made: dict[str, Any] = {"name": tool.name, "input_schema": tool.parameters or {"type": "object", "properties": {}}}
    if tool.description:
        made["description"] = tool.description
    if isinstance(tool.strict, bool):
        made["strict"] = tool.strict
    return made


def _add_output(fields: dict[str, Any], request: Generate, dropped: list[str]) -> None:
    """What the answer must look like, and how much thought goes into it."""
    shape = request.shape
    output: dict[str, Any] = {}
    if isinstance(shape.format, Format):
        if shape.format.schema is not UNSET:
            output["format"] = {"type": "json_schema", "schema": shape.format.schema}
        elif shape.format.kind in ("json", "schema"):
            dropped.append("response_format")
    effort = shape.reasoning_effort
    own = request.extra.get("openai", {}).get("thinking")
    if own:
        # As Anthropic's own OpenAI endpoint takes it.
        fields["thinking"] = own
    elif effort == "none":
        fields["thinking"] = {"type": "disabled"}
    elif isinstance(effort, str) and effort in _EFFORTS and not _is_forced(shape.tool_choice):
        fields["thinking"] = {"type": "adaptive", "display": "summarized"}
    if isinstance(effort, str) and effort != "none":
        if effort in _EFFORTS:
            output["effort"] = _EFFORTS[effort]
        if _EFFORTS.get(effort) != effort:
            dropped.append("reasoning_effort")
    if output:
        fields["output_config"] = output


def _is_forced(choice: object) -> bool:
    """Whether a tool must be called, which the API refuses together with thoughts."""
    return isinstance(choice, ToolChoice) and choice.mode in _FORCED
