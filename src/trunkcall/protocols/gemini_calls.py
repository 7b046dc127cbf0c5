"""Emitting Gemini requests: Generate, Embed or Count become the bytes for an upstream.

Format: https://ai.google.dev/api/generate-content, as the google-genai SDK 3.4 sends it.
"""

from __future__ import annotations

import re
from typing import Any, Final

import msgspec
from msgspec import UNSET

from trunkcall.core.errors import ServingError
from trunkcall.core.requests import Count, Embed, Format, Generate, Tool, ToolChoice
from trunkcall.protocols.conversation import Conversation, as_conversation
from trunkcall.protocols.gemini_contents import PROTOCOL, Recall, emit_contents
from trunkcall.protocols.left_out import left_out
from trunkcall.protocols.openai_paths import foreign, put

_WHOSE: Final = "Gemini"

_NUMBERS: Final = {
    "max_tokens": "maxOutputTokens",
    "temperature": "temperature",
    "top_p": "topP",
    "top_k": "topK",
    "frequency_penalty": "frequencyPenalty",
    "presence_penalty": "presencePenalty",
    "seed": "seed",
    "n": "candidateCount",
}
"""Fields of Sampling -> generationConfig."""

_CARRIED: Final = frozenset(
    {
        *_NUMBERS,
        "max_completion_tokens",
        "stop",
        "logprobs",
        "top_logprobs",
        "tools",
        "tool_choice",
        "parallel_tool_calls",
        "response_format",
        "reasoning_effort",
        "system_override",
        "echo",
    }
)

_EARLY: Final = re.compile(r"gemini-[12]\b")
"""Models that think by a budget of tokens and whose tool calls need no signature; later ones think by level."""

_BUDGETS: Final = {"none": 0, "minimal": 1024, "low": 1024, "medium": 8192, "high": 24576}
"""reasoning_effort -> tokens, as Google's own OpenAI endpoint has it."""

_LEVELS: Final = {
    "none": "MINIMAL",
    "minimal": "MINIMAL",
    "low": "LOW",
    "medium": "MEDIUM",
    "high": "HIGH",
    "xhigh": "XHIGH",
}

_MODES: Final = {"none": "NONE", "auto": "AUTO", "required": "ANY", "named": "ANY"}

_encode = msgspec.json.Encoder().encode


def emit_generate(request: Generate, model: str, recall: Recall) -> tuple[bytes, tuple[str, ...]]:
    """The body for models/MODEL:streamGenerateContent, and the names of fields that had to be dropped.

    recall: the signature that came with a tool call.

    Raises ServingError: bad_request with the place at fault in `param`, unsupported for prompts that are no
    conversation and not one text.
    """
    dropped = left_out(request, PROTOCOL, _CARRIED)
    conversation = as_conversation(request, _WHOSE)
    fields = _prompt(conversation, model, recall, dropped)
    _add_tools(fields, request, dropped)
    config = _config(request, model, dropped)
    if config:
        fields["generationConfig"] = config
    dropped += put(fields, request.extra.get(PROTOCOL, {}))
    return _encode(fields), tuple(dict.fromkeys(dropped))


def continued(body: bytes, token: str) -> bytes:
    """The body that goes on where the answer to `body` stopped with a continuation token."""
    return b'%b,"continuationToken":%b}' % (body[:-1], _encode(token))


def emit_embedding(request: Embed, model: str) -> tuple[bytes, tuple[str, ...]]:
    """The body for models/MODEL:batchEmbedContents, and the names of fields that had to be dropped.

    Raises ServingError (unsupported) for token ids.
    """
    dropped = foreign(request.extra, PROTOCOL)
    if request.user is not UNSET:
        dropped.append("user")
    common: dict[str, Any] = {"model": f"models/{model}"}
    if request.dimensions is not UNSET:
        common["outputDimensionality"] = request.dimensions
    requests: list[dict[str, Any]] = []
    for text in request.inputs:
        if not isinstance(text, str):
            raise ServingError("unsupported", "Gemini takes text, not token ids; send the input as text", param="input")
        requests.append({**common, "content": {"role": "user", "parts": [{"text": text}]}})
    return _encode({"requests": requests}), tuple(dropped)


def emit_count(request: Count, model: str) -> bytes:
    """The body for models/MODEL:countTokens.

    Raises ServingError (unsupported) for several texts.
    """
    fields = _prompt(as_conversation(request, _WHOSE), model, lambda _: None, [])
    if "systemInstruction" not in fields:
        return _encode(fields)
    return _encode({"generateContentRequest": {"model": f"models/{model}", **fields}})


def _prompt(conversation: Conversation, model: str, recall: Recall, dropped: list[str]) -> dict[str, Any]:
    dropped += conversation.lost
    signed = not _EARLY.search(model)
    fields: dict[str, Any] = {"contents": emit_contents(conversation.turns, recall, signed, dropped)}
    if conversation.system:
        parts = [{"text": text} for text in conversation.system]
        fields["systemInstruction"] = {"role": "user", "parts": parts}
    return fields


def _config(request: Generate, model: str, dropped: list[str]) -> dict[str, Any]:
    sampling, shape = request.sampling, request.shape
    config: dict[str, Any] = {}
    for name, theirs in _NUMBERS.items():
        value = getattr(sampling, name)
        if value is not UNSET and value is not None:
            config[theirs] = value
    if config.get("topK", 1) <= 0:
        # Elsewhere this is no limit; Gemini has no word for that.
        del config["topK"]
        dropped.append("top_k")
    if request.stops.strings:
        config["stopSequences"] = request.stops.strings
    logprobs = request.reporting.logprobs
    if isinstance(logprobs, int):
        config["responseLogprobs"] = True
        if logprobs:
            config["logprobs"] = logprobs
    if isinstance(shape.format, Format):
        _add_format(config, shape.format)
    if isinstance(shape.reasoning_effort, str):
        _add_thinking(config, shape.reasoning_effort, model, dropped)
    return config


def _add_format(config: dict[str, Any], shape: Format) -> None:
    if shape.kind in ("json", "schema"):
        config["responseMimeType"] = "application/json"
        if shape.schema is not UNSET:
            config["responseJsonSchema"] = shape.schema


def _add_thinking(config: dict[str, Any], effort: str, model: str, dropped: list[str]) -> None:
    early = _EARLY.search(model) is not None
    thinking: dict[str, Any] = {"includeThoughts": effort != "none"}
    amount = _BUDGETS.get(effort) if early else _LEVELS.get(effort)
    if amount is None:
        dropped.append("reasoning_effort")
        return
    if effort == "none" and not early:
        # These always think; the least is the nearest.
        dropped.append("reasoning_effort")
    thinking["thinkingBudget" if early else "thinkingLevel"] = amount
    config["thinkingConfig"] = thinking


def _add_tools(fields: dict[str, Any], request: Generate, dropped: list[str]) -> None:
    shape = request.shape
    declared: list[dict[str, Any]] = []
    tools: list[Any] = []
    for index, tool in enumerate(shape.tools or ()):
        if isinstance(tool, Tool):
            declared.append(_declaration(tool))
            if tool.strict:
                dropped.append(f"tools[{index}].function.strict")
        elif tool.protocol == PROTOCOL:
            tools.append(tool.raw)
        else:
            dropped.append(f"tools[{index}]")
    if declared:
        tools.insert(0, {"functionDeclarations": declared})
    if tools:
        fields["tools"] = tools
    if shape.tool_choice is not UNSET:
        _add_choice(fields, shape.tool_choice, dropped)
    if shape.parallel_tool_calls is False:
        dropped.append("parallel_tool_calls")


def _declaration(tool: Tool) -> dict[str, Any]:
    made: dict[str, Any] = {"name": tool.name}
    if tool.description:
        made["description"] = tool.description
    if tool.parameters:
        made["parametersJsonSchema"] = tool.parameters
    return made


def _add_choice(fields: dict[str, Any], choice: ToolChoice, dropped: list[str]) -> None:
    if choice.mode == "unknown":
        dropped.append("tool_choice")
        return
    made: dict[str, Any] = {"mode": _MODES[choice.mode]}
    if choice.mode == "named":
        made["allowedFunctionNames"] = [choice.name]
    fields["toolConfig"] = {"functionCallingConfig": made}
