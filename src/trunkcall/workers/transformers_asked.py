"""What a request asks of the batch: prompts as tokens, the rules of each answer, and what cannot be honoured."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final, TypeVar, cast

import msgspec
from msgspec import UNSET, UnsetType

from trunkcall.core.errors import ServingError
from trunkcall.core.requests import Generate, Message, MessagesPrompt, TextPrompt, UnknownTool
from trunkcall.protocols.openai import requested_fields
from trunkcall.protocols.openai_messages import emit_messages
from trunkcall.protocols.openai_paths import PROTOCOL
from trunkcall.workers.transformers_shapes import Shape, shape_of
from trunkcall.workers.transformers_wanted import Rules, Wanted
from trunkcall.workers.transformers_words import Words

MOST_ANSWERS: Final = 1024
"""Prompts times `n` of one request."""

_HONOURED: Final = frozenset(
    "temperature top_p top_k min_p typical_p repetition_penalty frequency_penalty presence_penalty seed logit_bias"
    " min_tokens ignore_eos n max_tokens max_completion_tokens stop stop_token_ids include_stop_str_in_output"
    " return_token_ids user logprobs top_logprobs chat_template_kwargs continue_final_message echo"
    " response_format structured_outputs guided_regex safety_identifier prompt_cache_key".split()
)
_NO_DIFFERENCE: Final[dict[str, tuple[bytes, ...]]] = {
    "service_tier": (b'"auto"', b'"default"'),
    "modalities": (b'["text"]',),
    "verbosity": (b'"medium"',),
}
_NOTHING: Final = frozenset((b"null", b"false", b"{}", b"[]", b'""'))

_T = TypeVar("_T")


class Defaults(msgspec.Struct, frozen=True, kw_only=True):
    """What holds where the caller says nothing: what the model's authors wrote in generation_config.json.

    ends: tokens that end an answer.
    """

    temperature: float = 1.0
    top_k: int = 0
    top_p: float = 1.0
    min_p: float = 0.0
    typical_p: float = 1.0
    repetition_penalty: float = 1.0
    ends: tuple[int, ...] = ()


class Asked(msgspec.Struct, frozen=True, kw_only=True):
    """A request for the batch.

    request: as it is answered, without what was dropped; wanted: `n` answers to each prompt, those of
    one prompt side by side; stops: strings that end an answer; calls: tool calls are looked for; shape: what the
    answers are held to.
    """

    request: Generate
    wanted: tuple[Wanted, ...]
    prompts: tuple[tuple[int, ...], ...]
    stops: tuple[str, ...]
    calls: bool
    shape: Shape | None
    dropped: tuple[str, ...]


def ask(request: Generate, words: Words, defaults: Defaults, context: int) -> Asked:
    """Put a request in the batch's terms; context: the most tokens of prompt and answer together.

    Raises ServingError (bad_request, unsupported, too_long) that names the field at fault.
    """
    dropped = _dropped(request, words)
    request, prompts, calls = _prompts(request, words, dropped)
    _check(prompts, words.size, context, "messages" if isinstance(request.prompt, MessagesPrompt) else "prompt")
    n = _or(request.sampling.n, 1)
    if len(prompts) * n > MOST_ANSWERS:
        raise ServingError("bad_request", f"prompt and n ask for more than {MOST_ANSWERS} answers", param="n")
    if _or(request.sampling.best_of, n) != n:
        dropped.append("best_of")
    shape = shape_of(request, tools=calls)
    rules = _rules(request, defaults, words.size)
    if shape is not None and rules.banned:
        # Such an answer has an end of its own.
        dropped.append("ignore_eos")
        rules = msgspec.structs.replace(rules, banned=())
    ends = frozenset((*rules.ending, *_or(request.stops.token_ids, ())))
    seed = _or(request.sampling.seed, None)
    wanted = tuple(
        Wanted(
            prompt=prompt,
            rules=rules,
            max_tokens=_max_tokens(request, context - len(prompt)),
            ends=ends,
            seed=None if seed is None else seed + index,
        )
        for prompt in prompts
        for index in range(n)
    )
    return Asked(
        request=request,
        wanted=wanted,
        prompts=prompts,
        stops=_or(request.stops.strings, ()),
        calls=calls,
        shape=shape,
        dropped=tuple(dropped),
    )


def conversation(prompt: MessagesPrompt) -> list[dict[str, Any]]:
    """Messages as templates expect them: texts joined, arguments of tool calls as objects.

    Raises ServingError (unsupported) for content that is no text.
    """
    made: list[dict[str, Any]] = []
    for place, message in enumerate(prompt.messages):
        _check_plain(message, f"messages[{place}].content")
        (fields,) = emit_messages((message,), {}, [])
        content: Any = fields["content"]
        if isinstance(content, list):
            texts = cast("list[dict[str, Any]]", content)
            fields["content"] = "".join(str(part.get("text") or part.get("refusal") or "") for part in texts)
        elif content is None:
            fields["content"] = ""
        if message.role == "developer":
            # No template knows OpenAI's newer name for it.
            fields["role"] = "system"
        calls: list[dict[str, Any]] = fields.get("tool_calls", [])
        for call in calls:
            call["function"]["arguments"] = _object(call["function"]["arguments"])
        made.append(fields)
    return made


def _object(arguments: str) -> Any:
    """Templates write arguments as JSON themselves; text that is no object is left to them as it is."""
    try:
        value: Any = msgspec.json.decode(arguments)
    except (msgspec.DecodeError, RecursionError):
        return arguments
    return cast("Any", value) if isinstance(value, dict) else arguments


def _check_plain(message: Message, path: str) -> None:
    for place, part in enumerate(message.parts):
        kind = type(part).__name__.removesuffix("Part").lower()
        if kind in ("image", "audio", "file", "unknown"):
            where = f"{path}[{place}]"
            raise ServingError(
                "unsupported", f"{where}: this engine reads texts only, not a part of kind {kind}", param=where
            )


def _prompts(request: Generate, words: Words, dropped: list[str]) -> tuple[Generate, tuple[tuple[int, ...], ...], bool]:
    """The request without what cannot be echoed, its prompts as tokens, and whether tools may be called."""
    prompt = request.prompt
    if isinstance(prompt, MessagesPrompt):
        tools = _tools(request, words)
        arguments = dict(_or(request.templating.template_arguments, {}))
        if words.takes_effort and isinstance(request.shape.reasoning_effort, str):
            arguments["reasoning_effort"] = request.shape.reasoning_effort
        unfinished = request.templating.continue_final_message
        text = words.render(conversation(prompt), tools, arguments, unfinished=unfinished)
        return request, (words.tokens(text, special=False),), bool(tools)
    if isinstance(prompt, TextPrompt):
        prompts = tuple(words.tokens(text, special=True) for text in prompt.texts)
    else:
        prompts = prompt.prompts
    if request.reporting.echo and not isinstance(prompt, TextPrompt):
        # Tokens need not make up a text.
        dropped.append("echo")
        request = msgspec.structs.replace(request, reporting=msgspec.structs.replace(request.reporting, echo=False))
    return request, prompts, False


def _tools(request: Generate, words: Words) -> list[dict[str, Any]] | None:
    shape = request.shape
    if not shape.tools or not words.takes_tools or (shape.tool_choice and shape.tool_choice.mode == "none"):
        return None
    return [
        {"type": "function", "function": msgspec.to_builtins(tool)}
        for tool in shape.tools
        if not isinstance(tool, UnknownTool)
    ]


def _check(prompts: Sequence[tuple[int, ...]], size: int, context: int, param: str) -> None:
    for prompt in prompts:
        if not prompt:
            raise ServingError("bad_request", f"{param}: must not be empty", param=param)
        if max(prompt) >= size:
            raise ServingError(
                "bad_request", f"{param}: there is no token {max(prompt)}; the model has {size}", param=param
            )
        if len(prompt) >= context:
            raise ServingError(
                "too_long",
                f"{param}: {len(prompt)} tokens leave no room for an answer in a context of {context}; "
                "shorten it, or start the model with a larger context",
                param=param,
            )


def _rules(request: Generate, defaults: Defaults, size: int) -> Rules:
    asked = request.sampling
    bias: dict[int, float] = {}
    for name, value in _or(asked.logit_bias, {}).items():
        if not name.isdecimal() or int(name) >= size:
            raise ServingError(
                "bad_request", f"logit_bias: {name!r} is not one of the model's {size} tokens", param="logit_bias"
            )
        bias[int(name)] = value
    penalty = _or(asked.repetition_penalty, defaults.repetition_penalty)
    if penalty <= 0:
        raise ServingError("bad_request", "repetition_penalty: expected more than 0", param="repetition_penalty")
    return Rules(
        temperature=_or(asked.temperature, defaults.temperature),
        top_k=max(0, _or(asked.top_k, defaults.top_k)),
        top_p=_or(asked.top_p, defaults.top_p),
        min_p=_or(asked.min_p, defaults.min_p),
        typical_p=_or(asked.typical_p, defaults.typical_p),
        repetition_penalty=penalty,
        frequency_penalty=_or(asked.frequency_penalty, 0.0),
        presence_penalty=_or(asked.presence_penalty, 0.0),
        bias=bias,
        banned=defaults.ends if _or(asked.ignore_eos, False) else (),
        ending=(*defaults.ends, *_or(request.stops.token_ids, ())),
        min_tokens=_or(asked.min_tokens, 0),
        logprobs=_or(request.reporting.logprobs, None),
    )


def _max_tokens(request: Generate, room: int) -> int:
    asked = _or(request.sampling.max_tokens, room)
    if asked < 1:
        raise ServingError("bad_request", "max_tokens: expected at least 1", param="max_tokens")
    return min(asked, room)


def _or(value: _T | None | UnsetType, otherwise: _T) -> _T:
    return otherwise if value is None or value is UNSET else value


def _dropped(request: Generate, words: Words) -> list[str]:
    """OpenAI's names of what this engine ignores and what would have made a difference."""
    shape = request.shape
    tools = bool(shape.tools) and words.takes_tools
    forced = bool(shape.tool_choice) and shape.tool_choice.mode in ("named", "required")
    raws = request.extra.get(PROTOCOL, {})
    without_effect = {
        "tools": tools or not shape.tools,
        "tool_choice": not shape.tool_choice or shape.tool_choice.mode in ("none", "auto") or (tools and forced),
        "parallel_tool_calls": shape.parallel_tool_calls is not False or not tools or forced,
        "reasoning_effort": words.takes_effort or shape.reasoning_effort is None,
        "best_of": True,
    }
    dropped: list[str] = []
    for name in requested_fields(request):
        raw = bytes(raws.get(name, b""))
        if (
            name in _HONOURED
            or without_effect.get(name, False)
            or raw in _NOTHING
            or raw in _NO_DIFFERENCE.get(name, ())
        ):
            continue
        dropped.append(name)
    for place, tool in enumerate(shape.tools or ()):
        if isinstance(tool, UnknownTool) and tools:
            dropped.append(f"tools[{place}]")
    return dropped
