"""What an OpenAI request asks of llama.cpp: the engine's own requests, and what cannot be honoured."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Any, Final, Literal, TypeVar, cast

import msgspec

from trunkcall.core.errors import ServingError
from trunkcall.workers.forced_calls import format_of
from trunkcall.workers.native_shapes import take_format, take_regex

MOST_ANSWERS: Final = 1024
"""Prompts times `n` of one request."""

_Count = Annotated[int, msgspec.Meta(ge=1)]
_T = TypeVar("_T")
_Role = Literal["system", "developer", "user", "assistant", "tool", "function"]

_TRUE: Final = msgspec.Raw(b"true")
_FALSE: Final = msgspec.Raw(b"false")
_REQUIRED: Final = msgspec.Raw(b'"required"')
_ONE: Final = msgspec.Raw(b"1")
"""Alternative per token, which is how the engine tells tokens; after sampling, because before it sorts them all."""
_USAGE: Final = msgspec.Raw(b'{"include_usage":true}')

_SAMPLING: Final = frozenset(
    "temperature dynatemp_range dynatemp_exponent top_k top_p min_p top_n_sigma xtc_probability xtc_threshold typical_p"
    " repeat_last_n repeat_penalty frequency_penalty presence_penalty dry_multiplier dry_base dry_allowed_length"
    " dry_penalty_last_n dry_sequence_breakers mirostat mirostat_tau mirostat_eta adaptive_target adaptive_decay seed"
    " n_probs min_keep post_sampling_probs n_predict n_indent n_keep n_discard t_max_predict_ms ignore_eos logit_bias"
    " grammar grammar_lazy grammar_triggers preserved_tokens json_schema samplers cache_prompt id_slot"
    " timings_per_token lora stop".split()
)
"""llama.cpp's own names (tools/server, server-task.cpp), many of them OpenAI's."""

_COMMON: Final = _SAMPLING | frozenset(
    "model stream stream_options max_tokens n logprobs user repetition_penalty return_progress"
    " safety_identifier prompt_cache_key return_token_ids include_stop_str_in_output".split()
)
_CHAT: Final = _COMMON | frozenset(
    "messages max_completion_tokens top_logprobs tools tool_choice parallel_tool_calls response_format reasoning_effort"
    " reasoning_format chat_template_kwargs add_generation_prompt parse_tool_calls thinking_forced_open".split()
)
_COMPLETION: Final = _COMMON | frozenset(("prompt", "echo", "best_of"))

_INCLUDE: Final = "include_stop_str_in_output"
_PER_TOKEN: Final = ("logprobs", "return_token_ids", _INCLUDE)

_FORMS: Final = frozenset(("grammar", "json_schema", "parse_tool_calls"))
"""With one of these a caller says what an answer looks like, or reads it himself."""

_BEGUN: Final = "begun_token_ids"
_NO_PLAIN_TEXT: Final = (*_FORMS, "tools", "response_format", "echo")
"""With one of these the tokens so far are not all that the rest of an answer depends on."""
_TOLD_ANYWAY: Final = ("logprobs", "return_token_ids", _INCLUDE)
_TRACE: Final = {"post_sampling_probs": _TRUE, "timings_per_token": _TRUE}

_NO_DIFFERENCE: Final[dict[str, tuple[bytes, ...]]] = {
    "store": (b"false",),
    "metadata": (b"{}",),
    "service_tier": (b'"auto"', b'"default"'),
    "modalities": (b'["text"]',),
    "verbosity": (b'"medium"',),
    "suffix": (b'""',),
    "return_tokens": (b"false",),
    "min_tokens": (b"0",),
    "add_special_tokens": (b"false",),
    "return_token_strs": (b"false",),
}
"""Values that say what happens anyway; nothing is lost with them."""


class Abilities(msgspec.Struct, frozen=True):
    """What the loaded model's chat template can express (llama.cpp's chat_template_caps)."""

    supports_tools: bool = False
    supports_tool_calls: bool = False
    supports_parallel_tool_calls: bool = False
    supports_reasoning_effort: bool = False


class Asked(msgspec.Struct, frozen=True, kw_only=True):
    """A request for llama.cpp.

    bodies: one engine request per answer, always streamed, the answers to one prompt side
    by side; prompts: of completions; n: answers per prompt; logprobs: alternatives per token;
    ids: the tokens of prompts and answers are told; stops: strings that end an answer; include: they
    stay in it; echo: texts that the answers begin with, one per prompt; scored: with their
    probabilities; forced: the text is a tool call (`forced_calls`); traced: the one answer's tokens are told beside
    its text (`traced`); begun: tokens that it has already (`begun`); dropped: fields that this engine ignores.
    """

    chat: bool
    bodies: list[bytes]
    prompts: Sequence[str | list[int]] = ()
    n: int = 1
    stream: bool = False
    usage: bool = False
    timings: bool = False
    logprobs: int | None = None
    ids: bool = False
    stops: tuple[str, ...] = ()
    include: bool = False
    echo: tuple[str, ...] = ()
    scored: bool = False
    forced: bool = False
    traced: bool = False
    begun: tuple[int, ...] = ()
    dropped: tuple[str, ...] = ()


class _StreamOptions(msgspec.Struct, frozen=True):
    include_usage: bool | None = None


class _Sampled(msgspec.Struct, frozen=True):
    model: str | None = None
    stream: bool | None = None
    stream_options: _StreamOptions | None = None
    n: Annotated[int, msgspec.Meta(ge=1, le=128)] | None = None
    max_tokens: _Count | None = None
    temperature: Annotated[float, msgspec.Meta(ge=0)] | None = None
    top_p: Annotated[float, msgspec.Meta(ge=0, le=1)] | None = None
    top_k: int | None = None
    min_p: Annotated[float, msgspec.Meta(ge=0, le=1)] | None = None
    frequency_penalty: float | None = None
    presence_penalty: float | None = None
    repetition_penalty: float | None = None
    seed: int | None = None
    stop: str | list[str] | None = None
    logit_bias: dict[str, float] | list[Any] | None = None
    user: str | None = None
    include_stop_str_in_output: bool | None = None
    return_token_ids: bool | None = None
    timings_per_token: bool | None = None
    begun_token_ids: tuple[Annotated[int, msgspec.Meta(ge=0)], ...] | None = None


class _Part(msgspec.Struct, frozen=True):
    type: str


class _Message(msgspec.Struct, frozen=True):
    role: _Role
    content: str | list[_Part] | None = None


class _ResponseFormat(msgspec.Struct, frozen=True):
    type: Literal["text", "json_object", "json_schema"]


class _Chat(_Sampled, frozen=True, kw_only=True):
    messages: Annotated[list[_Message], msgspec.Meta(min_length=1)]
    max_completion_tokens: _Count | None = None
    logprobs: bool | None = None
    top_logprobs: Annotated[int, msgspec.Meta(ge=0, le=20)] | None = None
    response_format: _ResponseFormat | None = None
    tools: list[dict[str, Any]] | None = None
    tool_choice: str | dict[str, Any] | None = None
    parallel_tool_calls: bool | None = None


class _Completion(_Sampled, frozen=True, kw_only=True):
    prompt: str | list[int | str | list[int]]
    logprobs: Annotated[int, msgspec.Meta(ge=0, le=20)] | None = None
    echo: bool | None = None
    best_of: int | None = None


class _Speaker(msgspec.Struct):
    role: str = ""


_speakers = msgspec.json.Decoder(list[_Speaker])
_tools = msgspec.json.Decoder(list[dict[str, Any]])
_Each = TypeVar("_Each", _Chat, _Completion)

_chat = msgspec.json.Decoder(_Chat)
_completion = msgspec.json.Decoder(_Completion)
_fields = msgspec.json.Decoder(dict[str, msgspec.Raw])
_encode = msgspec.json.Encoder().encode


def _ends_with_assistant(fields: dict[str, msgspec.Raw]) -> bool:
    try:
        turns = _speakers.decode(fields.get("messages", b"[]"))
    except msgspec.DecodeError:
        return False
    return bool(turns) and turns[-1].role == "assistant"


def read_chat(body: bytes, able: Abilities, drafted: bool = False, *, traced: bool = False) -> Asked:
    """A chat completions request; drafted: a draft model proposes tokens; traced: tokens are to be told where they can.

    Raises ServingError (bad_request, unsupported) that names the field at fault.
    """
    asked, fields = _read(body, _chat)
    if fields.get("continue_final_message") == _TRUE and _ends_with_assistant(fields):
        # The engine goes on with such a message anyway, and knows no field for it; nor is anything to begin anew.
        del fields["continue_final_message"]
        fields.pop("add_generation_prompt", None)
    take_regex(fields)
    begun = _begun(fields, asked)
    pictured = not all(_plain(message) for message in asked.messages)
    if begun and pictured:
        raise ServingError("unsupported", f"{_BEGUN} goes with texts alone; leave out the images", param=_BEGUN)
    traced = traced and not pictured and not drafted and _is_traceable(fields, asked)
    dropped = _unknown(fields, _CHAT)
    if drafted and 1 not in (asked.max_tokens, asked.max_completion_tokens):
        asked = _untold(asked, fields, dropped)
    fields["return_progress"] = _TRUE
    if "tools" in fields and (not asked.tools or asked.tool_choice == "none"):
        # Shown tools that it must not call, a model calls them in the text.
        del fields["tools"]
    if "tools" in fields and isinstance(asked.tool_choice, dict):
        _choose_tool(fields, asked.tool_choice, asked.tools or [], dropped)
    if "tools" in fields and not able.supports_tools:
        # The template would not show them to the model, which the engine keeps to itself.
        del fields["tools"]
        dropped.append("tools")
    if "tools" not in fields:
        if fields.pop("tool_choice", None) is not None and asked.tool_choice not in ("none", "auto"):
            dropped.append("tool_choice")
        fields.pop("parallel_tool_calls", None)
    elif asked.parallel_tool_calls and not able.supports_parallel_tool_calls:
        dropped.append("parallel_tool_calls")
    forced = _force(fields, asked)
    if "reasoning_effort" in fields and not able.supports_reasoning_effort:
        del fields["reasoning_effort"]
        dropped.append("reasoning_effort")
    logprobs = None
    if asked.logprobs:
        logprobs = asked.top_logprobs or 0
        # The engine gives none at all for 0.
        fields["top_logprobs"] = msgspec.Raw(b"%d" % max(1, logprobs))
    elif asked.top_logprobs:
        raise ServingError("bad_request", "top_logprobs needs logprobs: true", param="top_logprobs")
    ids = fields.pop("return_token_ids", None) is not None and bool(asked.return_token_ids)
    if ids and ("tools" in fields or pictured):
        # The engine tells no tokens where it looks for calls, and images have none.
        ids = False
        dropped.append("return_token_ids")
    if _include(fields, asked):
        # In chats the engine tells nothing of text that it holds back.
        dropped.append(_INCLUDE)
    if ids and logprobs is None:
        fields.update(logprobs=_TRUE, top_logprobs=_ONE, post_sampling_probs=_TRUE)
    if traced:
        fields.update(logprobs=_TRUE, top_logprobs=_ONE, **_TRACE)
    return Asked(
        chat=True,
        bodies=_seeded(fields, asked),
        n=asked.n or 1,
        stream=bool(asked.stream),
        usage=_wants_usage(asked),
        timings=bool(asked.timings_per_token),
        logprobs=logprobs,
        ids=ids,
        stops=_stops(asked),
        forced=forced,
        traced=traced,
        begun=begun,
        dropped=tuple(dropped),
    )


def _begun(fields: dict[str, msgspec.Raw], asked: _Sampled) -> tuple[int, ...]:
    """The tokens that the answer has already; raises ServingError (unsupported) where more decides how it goes on."""
    fields.pop(_BEGUN, None)
    begun = asked.begun_token_ids or ()
    if begun and not _is_single_text(fields, asked):
        raise ServingError(
            "unsupported",
            f"{_BEGUN} goes with one streamed answer of plain text; leave out n, echo, tools and formats",
            param=_BEGUN,
        )
    return begun


def _is_single_text(fields: dict[str, msgspec.Raw], asked: _Sampled) -> bool:
    return bool(asked.stream) and (asked.n or 1) == 1 and not _has(fields, _NO_PLAIN_TEXT)


def _is_traceable(fields: dict[str, msgspec.Raw], asked: _Sampled) -> bool:
    """Whether its tokens decide how an answer goes on, and nobody is told them or more than them."""
    wanted = asked.timings_per_token or _has(fields, _TOLD_ANYWAY)
    return asked.temperature == 0 and not wanted and _is_single_text(fields, asked)


def _has(fields: dict[str, msgspec.Raw], names: Sequence[str]) -> bool:
    return any(name in fields and bytes(fields[name]) != b"false" for name in names)


def _force(fields: dict[str, msgspec.Raw], asked: _Chat) -> bool:
    """Where a call must be made, have the answer held to one; not where the caller wants a form of its own."""
    plain = asked.response_format is None or asked.response_format.type == "text"
    if "tools" not in fields or fields.get("tool_choice") != _REQUIRED or not plain or _FORMS & fields.keys():
        return False
    form = format_of(_tools.decode(fields["tools"]))
    if form is None:
        return False
    del fields["tool_choice"]
    fields["response_format"] = form
    return True


def _choose_tool(
    fields: dict[str, msgspec.Raw], choice: dict[str, Any], tools: list[dict[str, Any]], dropped: list[str]
) -> None:
    """The engine takes a choice by name for one among all, so it is offered that tool alone."""
    if choice.get("type", "function") != "function":
        del fields["tool_choice"]
        dropped.append("tool_choice")
        return
    name = _name(choice)
    named = [tool for tool in tools if name is not None and _name(tool) == name]
    if not named:
        raise ServingError(
            "bad_request", f"tool_choice: there is no tool {name!r}; name one of `tools`", param="tool_choice"
        )
    fields["tools"] = msgspec.Raw(_encode(named))
    fields["tool_choice"] = _REQUIRED


def _name(tool: dict[str, Any]) -> Any:
    function: Any = tool.get("function")
    return cast("dict[str, Any]", function).get("name") if isinstance(function, dict) else None


def read_completion(body: bytes, drafted: bool = False, *, traced: bool = False) -> Asked:
    """A completions request; drafted and traced: see read_chat.

    Raises ServingError (bad_request, unsupported) that names the field at fault.
    """
    asked, fields = _read(body, _completion)
    take_regex(fields)
    take_format(fields)
    begun = _begun(fields, asked)
    traced = traced and not drafted and _is_traceable(fields, asked)
    dropped = _unknown(fields, _COMPLETION)
    if drafted and asked.max_tokens != 1:
        asked = _untold(asked, fields, dropped)
    fields["return_progress"] = _TRUE
    prompts = _prompts(asked.prompt)
    n = asked.n or 1
    if begun and len(prompts) > 1:
        raise ServingError("unsupported", f"{_BEGUN} goes with one prompt; send one", param=_BEGUN)
    traced = traced and len(prompts) == 1
    if len(prompts) * n > MOST_ANSWERS:
        raise ServingError("bad_request", f"prompt and n ask for more than {MOST_ANSWERS} answers", param="prompt")
    if fields.pop("best_of", None) is not None and asked.best_of != n:
        dropped.append("best_of")
    echo: tuple[str, ...] = ()
    if fields.pop("echo", None) is not None and asked.echo:
        texts = [prompt for prompt in prompts if isinstance(prompt, str)]
        # Tokens need not make up a text.
        if len(texts) == len(prompts):
            echo = tuple(texts)
        else:
            dropped.append("echo")
    include = _include(fields, asked)
    ids = fields.pop("return_token_ids", None) is not None and bool(asked.return_token_ids)
    if asked.logprobs is not None:
        fields["logprobs"] = msgspec.Raw(b"%d" % max(1, asked.logprobs))
    elif ids or include:
        fields.update(logprobs=_ONE, post_sampling_probs=_TRUE)
    if traced:
        fields.update(logprobs=_ONE, **_TRACE)
    bodies: list[bytes] = []
    for prompt in prompts:
        fields["prompt"] = msgspec.Raw(_encode(prompt))
        bodies += _seeded(fields, asked)
    return Asked(
        chat=False,
        bodies=bodies,
        prompts=prompts,
        n=n,
        stream=bool(asked.stream),
        usage=_wants_usage(asked),
        timings=bool(asked.timings_per_token),
        logprobs=asked.logprobs,
        ids=ids,
        stops=_stops(asked),
        include=include,
        echo=echo,
        scored=bool(echo) and asked.logprobs is not None,
        traced=traced,
        begun=begun,
        dropped=tuple(dropped),
    )


def _untold(asked: _Each, fields: dict[str, msgspec.Raw], dropped: list[str]) -> _Each:
    """Take out what needs each token told: of those that a draft model proposed the engine tells one per step."""
    for name in _PER_TOKEN:
        if fields.pop(name, _FALSE) != _FALSE and (name != _INCLUDE or _stops(asked)):
            dropped.append(name)
            if name == "logprobs":
                fields.pop("top_logprobs", None)
                asked = msgspec.structs.replace(asked, top_logprobs=None) if isinstance(asked, _Chat) else asked
    return msgspec.structs.replace(asked, **dict.fromkeys(_PER_TOKEN))


class _Embedding(msgspec.Struct, frozen=True):
    input: (
        Annotated[str, msgspec.Meta(min_length=1)] | Annotated[list[int | str | list[int]], msgspec.Meta(min_length=1)]
    )
    encoding_format: Literal["float", "base64"] | None = None
    dimensions: int | None = None


_embedding = msgspec.json.Decoder(_Embedding)


def read_embedding(body: bytes) -> tuple[bytes, tuple[str, ...]]:
    """An embeddings request: what the engine is asked, and the dropped fields."""
    _, fields = _read(body, _embedding)
    dropped = _unknown(fields, frozenset(("input", "model", "encoding_format", "user")))
    return _encode(fields), tuple(dropped)


class AskedTokens(msgspec.Struct, frozen=True, kw_only=True):
    """A request to count tokens, which has one of two.

    conversation: the engine's request for a rendered prompt; text: what is tokenized, with the
    model's own tokens around it if `special`; pieces: what each token writes is told too.
    """

    conversation: bytes = b""
    text: str = ""
    special: bool = True
    pieces: bool = False
    dropped: tuple[str, ...] = ()


class _Counted(msgspec.Struct, frozen=True, kw_only=True):
    return_pieces: bool | None = None


class _Text(_Counted, frozen=True, kw_only=True):
    prompt: str
    add_special_tokens: bool | None = None


class _Turns(_Counted, frozen=True, kw_only=True):
    messages: list[_Message]


_text = msgspec.json.Decoder(_Text)
_turns = msgspec.json.Decoder(_Turns)


def read_tokenize(body: bytes, able: Abilities) -> AskedTokens | None:
    """A request to count tokens in vLLM's words; None for one in llama.cpp's own, which has `content`.

    Raises ServingError (bad_request) that names the field at fault, and (unsupported) for what is no text.
    """
    _, fields = _read(body, _fields)
    if "messages" in fields:
        turns, _ = _read(body, _turns)
        for place, message in enumerate(turns.messages):
            _check_plain(message.content, f"messages[{place}].content")
        chat = read_chat(body, able)
        dropped = tuple(name for name in chat.dropped if name != "return_pieces")
        return AskedTokens(conversation=chat.bodies[0], pieces=bool(turns.return_pieces), dropped=dropped)
    if "prompt" not in fields:
        return None
    asked, _ = _read(body, _text)
    fields.pop("add_special_tokens", None)
    dropped = tuple(_unknown(fields, frozenset(("model", "prompt", "return_pieces"))))
    return AskedTokens(
        text=asked.prompt,
        special=asked.add_special_tokens is not False,
        pieces=bool(asked.return_pieces),
        dropped=dropped,
    )


def _plain(message: _Message) -> bool:
    return not isinstance(message.content, list) or all(part.type == "text" for part in message.content)


def _check_plain(content: str | list[_Part] | None, path: str) -> None:
    for place, part in enumerate(content if isinstance(content, list) else ()):
        if part.type != "text":
            # The engine would count the mark that stands for it.
            where = f"{path}[{place}]"
            raise ServingError("unsupported", f"{where}: only the tokens of texts can be counted", param=where)


def wrong_field(error: msgspec.DecodeError) -> ServingError:
    """A decoding failure in the caller's terms: its field as `param`."""
    text = str(error)
    reason, found, path = text.partition(" - at `$")
    param = path.rstrip("`").lstrip(".") or None
    if not isinstance(error, msgspec.ValidationError):
        return ServingError("bad_request", f"the body is not JSON: {text}")
    if not found or param is None:
        missing = reason.rpartition("required field `")[2].rstrip("`") if "required field" in reason else None
        return ServingError("bad_request", f"the request is not right: {reason}", param=missing)
    return ServingError("bad_request", f"{param}: {reason[:1].lower()}{reason[1:]}", param=param)


def _read(body: bytes, decoder: msgspec.json.Decoder[_T]) -> tuple[_T, dict[str, msgspec.Raw]]:
    try:
        asked = decoder.decode(body)
        fields = _fields.decode(body)
    except msgspec.DecodeError as error:
        raise wrong_field(error) from error
    except (UnicodeDecodeError, RecursionError) as error:
        raise ServingError("bad_request", f"the body is not JSON that can be read: {error}") from error
    return asked, {name: raw for name, raw in fields.items() if bytes(raw) != b"null"}


def _unknown(fields: dict[str, msgspec.Raw], known: frozenset[str]) -> list[str]:
    """Take out the fields that this engine ignores and name those that make a difference."""
    unknown = [name for name in fields if name not in known or name in _NO_DIFFERENCE]
    return [name for name in unknown if bytes(fields.pop(name)) not in _NO_DIFFERENCE.get(name, ())]


def _seeded(fields: dict[str, msgspec.Raw], asked: _Sampled) -> list[bytes]:
    """One engine request for each of `n` answers: asked for `n` itself, the engine counts tokens wrongly."""
    fields["stream"] = _TRUE
    fields["stream_options"] = _USAGE
    fields.pop("n", None)
    if "repetition_penalty" in fields:
        fields["repeat_penalty"] = fields.pop("repetition_penalty")
    n = asked.n or 1
    if n == 1 or asked.seed is None:
        return [_encode(fields)] * n
    return [_encode({**fields, "seed": asked.seed + index}) for index in range(n)]


def _stops(asked: _Sampled) -> tuple[str, ...]:
    return (asked.stop,) if isinstance(asked.stop, str) else tuple(asked.stop or ())


def _include(fields: dict[str, msgspec.Raw], asked: _Sampled) -> bool:
    """Whether stop strings stay in the answer; the engine has no field for it."""
    fields.pop(_INCLUDE, None)
    return bool(asked.include_stop_str_in_output) and bool(_stops(asked))


def _wants_usage(asked: _Sampled) -> bool:
    return asked.stream_options is not None and bool(asked.stream_options.include_usage)


def _prompts(prompt: str | list[int | str | list[int]]) -> list[str] | list[list[int]] | list[str | list[int]]:
    if isinstance(prompt, str):
        return [prompt]
    if not prompt:
        raise ServingError("bad_request", "prompt must not be empty", param="prompt")
    ids = [one for one in prompt if isinstance(one, int)]
    if len(ids) == len(prompt):
        return [ids]
    if ids:
        raise ServingError("bad_request", "prompt mixes token ids with texts; send one kind", param="prompt")
    return [one for one in prompt if not isinstance(one, int)]
