"""Emitting FastChat's calls: Generate becomes the parameters that a worker takes."""

from __future__ import annotations

from typing import Any, Final

import msgspec
from msgspec import UNSET

from trunkcall.core.errors import ServingError
from trunkcall.core.requests import (
    AudioPart,
    FilePart,
    Format,
    Generate,
    ImagePart,
    Message,
    MessagesPrompt,
    TextPart,
    TextPrompt,
    ThinkingPart,
    ToolCallPart,
    UnknownPart,
)
from trunkcall.protocols.fastchat_rendering import render, takes_instructions
from trunkcall.protocols.fastchat_templates import NEUTRAL, ConvTemplate
from trunkcall.protocols.fastchat_words import PROTOCOL
from trunkcall.protocols.left_out import left_out
from trunkcall.protocols.openai_paths import put

_encode: Final = msgspec.json.Encoder().encode

_CARRIED: Final = frozenset(
    {
        "max_tokens",
        "max_completion_tokens",
        "temperature",
        "top_p",
        "top_k",
        "repetition_penalty",
        "presence_penalty",
        "frequency_penalty",
        "stop",
        "stop_token_ids",
        "logprobs",
        "echo",
        "best_of",
        "n",
        "system_override",
        "continue_final_message",
    }
)
"""`n` is for the caller of emit_generate, who asks as often."""

_PLAIN: Final = (
    "temperature",
    "top_p",
    "top_k",
    "repetition_penalty",
    "presence_penalty",
    "frequency_penalty",
    "best_of",
)


def emit_generate(
    request: Generate, model: str, template: ConvTemplate | None, context: int | None
) -> tuple[bytes, tuple[str, ...]]:
    """The body for a worker, and the names of what was dropped.

    template: the worker's own, for a conversation; None for NEUTRAL. context: the most tokens that are left for the
    answer, None where that is not known; a worker cuts the prompt to make room for what is asked beyond.

    Raises ServingError (unsupported) for several prompts or token ids.
    """
    dropped = left_out(request, PROTOCOL, _CARRIED)
    if isinstance(request.shape.format, Format) and request.shape.format.kind == "text":
        dropped.remove("response_format")
    if request.shape.tools:
        dropped.append("tools")
    fields: dict[str, Any] = {"model": model, "prompt": prompt_text(request, template), "echo": is_echoed(request)}
    stops = list(request.stops.strings or ())
    token_ids = list(request.stops.token_ids or ())
    if isinstance(request.prompt, MessagesPrompt):
        _note_lost(request.prompt.messages, template or NEUTRAL, dropped)
        parts = [part for message in request.prompt.messages for part in message.parts]
        images = [part.url for part in parts if isinstance(part, ImagePart)]
        if images:
            fields["images"] = images
        own = (template or NEUTRAL).stop_str or ()
        stops += (own,) if isinstance(own, str) else own
        token_ids += (template or NEUTRAL).stop_token_ids or ()
    if stops:
        fields["stop"] = stops
    if token_ids:
        fields["stop_token_ids"] = token_ids
    for name in _PLAIN:
        value = getattr(request.sampling, name)
        if value is not UNSET and value is not None:
            fields[name] = value
    asked = request.sampling.max_tokens
    limit = asked if isinstance(asked, int) else context
    if limit is not None:
        fields["max_new_tokens"] = limit if context is None else min(limit, context)
    if isinstance(request.reporting.logprobs, int):
        fields["logprobs"] = request.reporting.logprobs or 1
    dropped += put(fields, request.extra.get(PROTOCOL, {}))
    return _encode(fields), tuple(dict.fromkeys(dropped))


def templated(request: Generate, template: ConvTemplate) -> Generate:
    """A conversation as the text that a template makes of it; the same request where a text cannot say it all."""
    if not isinstance(request.prompt, MessagesPrompt) or request.shape.tools:
        return request
    if any(isinstance(part, ImagePart) for message in request.prompt.messages for part in message.parts):
        return request
    stops = request.stops
    if template.stop_str:
        own = (template.stop_str,) if isinstance(template.stop_str, str) else template.stop_str
        stops = msgspec.structs.replace(stops, strings=(*(stops.strings or ()), *own))
    if template.stop_token_ids:
        stops = msgspec.structs.replace(stops, token_ids=(*(stops.token_ids or ()), *template.stop_token_ids))
    return msgspec.structs.replace(request, prompt=TextPrompt((prompt_text(request, template),)), stops=stops)


def prompt_text(request: Generate, template: ConvTemplate | None) -> str:
    """The one text that the worker gets; raises ServingError (unsupported) for several prompts or token ids."""
    match request.prompt:
        case MessagesPrompt(messages):
            override = request.templating.system_override
            if override is not UNSET:
                rest = [message for message in messages if message.role not in ("system", "developer")]
                messages = (Message("system", (TextPart(override),)), *rest)
            continued = (
                request.templating.continue_final_message and bool(messages) and messages[-1].role == "assistant"
            )
            return render(template or NEUTRAL, messages, continued=continued)
        case TextPrompt((text,)):
            return text
        case TextPrompt():
            raise ServingError(
                "unsupported", "FastChat answers one prompt at a time; send one request for each", param="prompt"
            )
        case _:
            raise ServingError(
                "unsupported", "FastChat takes text, not token ids; send the prompt as text", param="prompt"
            )


def is_echoed(request: Generate) -> bool:
    """Whether the worker is asked to repeat the prompt: only its log probabilities are of use."""
    reporting = request.reporting
    return reporting.echo and isinstance(reporting.logprobs, int) and isinstance(request.prompt, TextPrompt)


def _note_lost(messages: tuple[Message, ...], template: ConvTemplate, dropped: list[str]) -> None:
    begun = not takes_instructions(template)
    for index, message in enumerate(messages):
        path = f"messages[{index}]"
        if message.name is not UNSET:
            dropped.append(f"{path}.name")
        if message.role in ("tool", "function") or (begun and message.role in ("system", "developer")):
            # Told as another's turn, or moved to the front.
            dropped.append(f"{path}.role")
        begun = begun or message.role not in ("system", "developer")
        for place, part in enumerate(message.parts):
            match part:
                case ThinkingPart():
                    dropped.append(f"{path}.reasoning_content")
                case ToolCallPart():
                    dropped.append(f"{path}.tool_calls")
                case AudioPart() | FilePart() | UnknownPart():
                    dropped.append(f"{path}.content[{place}]")
                case _:
                    pass
