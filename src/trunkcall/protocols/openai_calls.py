"""Emitting OpenAI requests: Generate or Embed become the bytes for an upstream."""

from __future__ import annotations

from typing import Any, Final

import msgspec
from msgspec import UNSET

from trunkcall.core.errors import ServingError
from trunkcall.core.requests import (
    Embed,
    Format,
    Generate,
    Message,
    MessagesPrompt,
    TextPart,
    TextPrompt,
    ToolChoice,
    UnknownTool,
)
from trunkcall.protocols.openai_messages import emit_messages
from trunkcall.protocols.openai_paths import PROTOCOL, Fields, foreign, put, spelled
from trunkcall.protocols.openai_requests import SAMPLING_FIELDS

_encode = msgspec.json.Encoder().encode

_ALWAYS: Final = frozenset({"model", "messages", "prompt", "input", "stream", "stream_options", "encoding_format"}) | {
    "add_generation_prompt"
}

_CHAT_ONLY: Final = (
    "tools",
    "tool_choice",
    "parallel_tool_calls",
    "reasoning_effort",
    "chat_template",
    "chat_template_kwargs",
    "continue_final_message",
)


def emit_chat(request: Generate, model: str) -> tuple[bytes, tuple[str, ...]]:
    """The body for POST /v1/chat/completions, and the names of fields that had to be dropped.

    Raises ServingError (unsupported) when the prompt is not a conversation.
    """
    fields, dropped = _chat(request)
    fields["model"] = model
    return _encode(fields), dropped


def emit_completion(request: Generate, model: str) -> tuple[bytes, tuple[str, ...]]:
    """The body for POST /v1/completions, and the names of fields that had to be dropped.

    Raises ServingError (unsupported) when the prompt is a conversation.
    """
    fields, dropped = _completion(request)
    fields["model"] = model
    return _encode(fields), dropped


def emit_embedding(request: Embed, model: str) -> tuple[bytes, tuple[str, ...]]:
    """The body for POST /v1/embeddings, and the names of fields that had to be dropped."""
    fields, dropped = _embedding(request)
    fields["model"] = model
    return _encode(fields), dropped


def requested_fields(request: Generate | Embed) -> tuple[str, ...]:
    """OpenAI's names of all that the caller set beside model, prompt and streaming.

    What a backend does not honour of these it reports as dropped.
    """
    if isinstance(request, Embed):
        fields, dropped = _embedding(request)
    elif isinstance(request.prompt, MessagesPrompt):
        fields, dropped = _chat(request)
    else:
        fields, dropped = _completion(request)
    if isinstance(request, Generate) and _prompt_by_echo(request):
        if not request.reporting.echo:
            del fields["echo"]
        dropped += ("prompt_logprobs",)
    names = dict.fromkeys(name for name in fields if name not in _ALWAYS)
    names.update(dict.fromkeys(name for name, raw in request.extra.get(PROTOCOL, {}).items() if raw))
    names.update(dict.fromkeys(dropped))
    return tuple(names)


def _chat(request: Generate) -> tuple[dict[str, Any], tuple[str, ...]]:
    prompt = request.prompt
    if not isinstance(prompt, MessagesPrompt):
        raise ServingError("unsupported", "this upstream route takes a conversation; send `messages`")
    own = request.extra.get(PROTOCOL, {})
    dropped = foreign(request.extra, PROTOCOL)
    fields: dict[str, Any] = {"model": "", "messages": emit_messages(prompt.messages, own, dropped)}
    _add_common(fields, request, own)
    _add_chat_only(fields, request, dropped)
    logprobs = request.reporting.logprobs
    if logprobs is not UNSET:
        fields["logprobs"] = logprobs is not None
        if logprobs:
            fields["top_logprobs"] = logprobs
    if request.sampling.best_of is not UNSET:
        dropped.append("best_of")
    if request.reporting.echo:
        dropped.append("echo")
    dropped += put(fields, own)
    override = request.templating.system_override
    if override is not UNSET:
        _override_system(fields["messages"], prompt.messages, override)
    return fields, tuple(dropped)


def _completion(request: Generate) -> tuple[dict[str, Any], tuple[str, ...]]:
    prompt = request.prompt
    if isinstance(prompt, MessagesPrompt):
        raise ServingError("unsupported", "this upstream route takes a text; send `prompt`")
    own = request.extra.get(PROTOCOL, {})
    dropped = foreign(request.extra, PROTOCOL)
    inputs = prompt.texts if isinstance(prompt, TextPrompt) else prompt.prompts
    fields: dict[str, Any] = {"model": "", "prompt": inputs if prompt.batched else inputs[0]}
    _add_common(fields, request, own)
    if request.reporting.logprobs is not UNSET:
        fields["logprobs"] = request.reporting.logprobs
    if request.sampling.best_of is not UNSET:
        fields["best_of"] = request.sampling.best_of
    if request.reporting.echo:
        fields["echo"] = True
    if _prompt_by_echo(request):
        fields["echo"] = True
        fields["logprobs"] = request.reporting.logprobs or 0
    chat_only: dict[str, Any] = {}
    _add_chat_only(chat_only, request, dropped)
    fields.update((name, value) for name, value in chat_only.items() if name not in _CHAT_ONLY)
    dropped += [name for name in _CHAT_ONLY if name in chat_only]
    dropped += put(fields, own)
    if request.templating.system_override is not UNSET:
        dropped.append("system_override")
    return fields, tuple(dropped)


def _embedding(request: Embed) -> tuple[dict[str, Any], tuple[str, ...]]:
    dropped = foreign(request.extra, PROTOCOL)
    fields: dict[str, Any] = {"model": "", "input": request.inputs if request.batched else request.inputs[0]}
    if request.dimensions is not UNSET:
        fields["dimensions"] = request.dimensions
    if request.encoding != "float":
        fields["encoding_format"] = request.encoding
    if request.user is not UNSET:
        fields["user"] = request.user
    dropped += put(fields, request.extra.get(PROTOCOL, {}))
    return fields, tuple(dropped)


def _add_common(fields: dict[str, Any], request: Generate, own: Fields) -> None:
    """What chat and completions share."""
    sampling, stops, reporting = request.sampling, request.stops, request.reporting
    for name in SAMPLING_FIELDS:
        value = getattr(sampling, name)
        if value is not UNSET:
            fields[name] = value
    if sampling.logit_bias:
        # The public API wants integers here; engines take both.
        fields["logit_bias"] = {
            token: int(bias) if bias == int(bias) else bias for token, bias in sampling.logit_bias.items()
        }
    if sampling.max_tokens is not UNSET:
        name = "max_completion_tokens" if spelled(own, "max_completion_tokens") else "max_tokens"
        fields[name] = sampling.max_tokens
    if stops.strings is not UNSET:
        fields["stop"] = stops.strings
    if stops.token_ids is not UNSET:
        fields["stop_token_ids"] = stops.token_ids
    if stops.include:
        fields["include_stop_str_in_output"] = True
    if reporting.stream:
        fields["stream"] = True
        if reporting.usage_in_stream:
            fields["stream_options"] = {"include_usage": True}
    if reporting.token_ids:
        fields["return_token_ids"] = True
    if request.begun:
        fields["begun_token_ids"] = request.begun
    if request.user is not UNSET:
        fields["user"] = request.user


def _add_chat_only(fields: dict[str, Any], request: Generate, dropped: list[str]) -> None:
    """Tools, templating and the answer's shape; of these only the last belongs to completions too."""
    shape, templating = request.shape, request.templating
    if shape.tools is not UNSET:
        tools: list[Any] = []
        for index, tool in enumerate(shape.tools):
            if not isinstance(tool, UnknownTool):
                tools.append({"type": "function", "function": msgspec.to_builtins(tool)})
            elif tool.protocol == PROTOCOL:
                tools.append(tool.raw)
            else:
                dropped.append(f"tools[{index}]")
        fields["tools"] = tools
    if shape.tool_choice is not UNSET:
        fields["tool_choice"] = _tool_choice(shape.tool_choice)
    if shape.parallel_tool_calls is not UNSET:
        fields["parallel_tool_calls"] = shape.parallel_tool_calls
    if shape.reasoning_effort is not UNSET:
        fields["reasoning_effort"] = shape.reasoning_effort
    if shape.format is None:
        fields["response_format"] = None
    elif shape.format is not UNSET:
        _add_format(fields, shape.format)
    if templating.chat_template is not UNSET:
        fields["chat_template"] = templating.chat_template
    if templating.template_arguments is not UNSET:
        fields["chat_template_kwargs"] = templating.template_arguments
    if templating.continue_final_message:
        fields["continue_final_message"] = True
        # vLLM refuses the two together, and its default is both.
        fields["add_generation_prompt"] = False
    if request.reporting.prompt_logprobs and not _prompt_by_echo(request):
        dropped.append("prompt_logprobs")


def _prompt_by_echo(request: Generate) -> bool:
    """Whether a prompt's probabilities are asked for: they come with its echo, which the reader takes out again."""
    return request.reporting.prompt_logprobs and isinstance(request.prompt, TextPrompt)


def _tool_choice(choice: ToolChoice) -> Any:
    match choice.mode:
        case "named":
            return {"type": "function", "function": {"name": choice.name}}
        case "unknown":
            return choice.raw
        case _:
            return choice.mode


def _add_format(fields: dict[str, Any], shape: Format) -> None:
    match shape.kind:
        case "text":
            fields["response_format"] = {"type": "text"}
        case "json":
            fields["response_format"] = {"type": "json_object"}
        case "schema":
            schema: dict[str, Any] = {"name": "answer" if shape.name is UNSET else shape.name}
            for name in ("description", "schema", "strict"):
                value = getattr(shape, name)
                if value is not UNSET:
                    schema[name] = value
            fields["response_format"] = {"type": "json_schema", "json_schema": schema}
        case "grammar":
            fields["grammar"] = shape.source
        case "regex":
            # vLLM's newer and its older name; each of its editions passes the other over.
            fields["structured_outputs"] = {"regex": shape.source}
            fields["guided_regex"] = shape.source


def _override_system(emitted: list[Any], messages: tuple[Message, ...], text: str) -> None:
    """Replace the system message at the front, or put one there."""
    made = emit_messages((Message("system", (TextPart(text),)),), {}, [])
    emitted[: 1 if messages and messages[0].role in ("system", "developer") else 0] = made
