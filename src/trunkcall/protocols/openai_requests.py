"""Reading OpenAI requests: the bytes of a caller become Generate or Embed.

Ranges are those of the public API (tests/protocols/data/openai/openapi-pruned.json). Extensions that
many servers share (top_k, min_p, chat_template_kwargs, grammar, …) are read into the neutral model too.
"""

from __future__ import annotations

from typing import Annotated, Any, Final, Literal, TypeVar

import msgspec
from msgspec import UNSET, Meta, Raw, UnsetType

from trunkcall.core.errors import ServingError
from trunkcall.core.requests import (
    Embed,
    Format,
    Generate,
    MessagesPrompt,
    Reporting,
    Sampling,
    Shape,
    Stops,
    Templating,
    TextPrompt,
    TokenPrompt,
    Tool,
    ToolChoice,
    UnknownTool,
)
from trunkcall.protocols.openai_decode import check_text, decode, known_keys, type_of
from trunkcall.protocols.openai_messages import read_messages
from trunkcall.protocols.openai_paths import NULL, PROTOCOL, SPELLING, Fields, keep_unmodelled

T = TypeVar("T")

SAMPLING_FIELDS: Final = (
    "temperature",
    "top_p",
    "top_k",
    "min_p",
    "typical_p",
    "repetition_penalty",
    "frequency_penalty",
    "presence_penalty",
    "seed",
    "logit_bias",
    "min_tokens",
    "ignore_eos",
    "n",
)
"""Fields of Sampling that have the same name in OpenAI's chat and completions."""

_Probability = Annotated[float, Meta(ge=0, le=1)] | None | UnsetType
_Penalty = Annotated[float, Meta(ge=-2, le=2)] | None | UnsetType
_Size = Annotated[int, Meta(ge=0)] | None | UnsetType
_TokenId = Annotated[int, Meta(ge=0)]
_Flag = bool | None | UnsetType


class _StreamOptions(msgspec.Struct):
    include_usage: bool | None = None


class _Common(msgspec.Struct, kw_only=True):
    """What chat and completions share."""

    model: str
    stream: bool | None = None
    stream_options: Raw = Raw(b"")
    user: str | None | UnsetType = UNSET
    stop: str | tuple[str, ...] | None | UnsetType = UNSET
    stop_token_ids: tuple[_TokenId, ...] | None | UnsetType = UNSET
    include_stop_str_in_output: bool | None = None
    max_tokens: _Size = UNSET
    min_tokens: _Size = UNSET
    temperature: Annotated[float, Meta(ge=0, le=2)] | None | UnsetType = UNSET
    top_p: _Probability = UNSET
    top_k: Annotated[int, Meta(ge=-1)] | None | UnsetType = UNSET
    min_p: _Probability = UNSET
    typical_p: _Probability = UNSET
    repetition_penalty: Annotated[float, Meta(ge=0)] | None | UnsetType = UNSET
    frequency_penalty: _Penalty = UNSET
    presence_penalty: _Penalty = UNSET
    seed: Annotated[int, Meta(ge=-(2**63), le=2**63 - 1)] | None | UnsetType = UNSET
    logit_bias: dict[str, float] | None | UnsetType = UNSET
    ignore_eos: _Flag = UNSET
    n: Annotated[int, Meta(ge=1, le=128)] | None | UnsetType = UNSET
    grammar: str | None | UnsetType = UNSET
    guided_regex: str | None | UnsetType = UNSET
    structured_outputs: Raw = Raw(b"")
    response_format: Raw = Raw(b"")
    return_token_ids: bool | None = None


class _Chat(_Common, kw_only=True):
    messages: Annotated[list[Raw], Meta(min_length=1)]
    max_completion_tokens: _Size = UNSET
    logprobs: bool | None | UnsetType = UNSET
    top_logprobs: Annotated[int, Meta(ge=0, le=20)] | None | UnsetType = UNSET
    tools: list[Raw] | None | UnsetType = UNSET
    tool_choice: Raw = Raw(b"")
    functions: list[Raw] | None | UnsetType = UNSET
    function_call: Raw = Raw(b"")
    parallel_tool_calls: _Flag = UNSET
    reasoning_effort: str | None | UnsetType = UNSET
    chat_template: str | None | UnsetType = UNSET
    chat_template_kwargs: dict[str, Any] | None | UnsetType = UNSET
    continue_final_message: bool | None = None


_Prompt = str | list[str | _TokenId | list[_TokenId]]


class _Completion(_Common, kw_only=True):
    prompt: _Prompt
    echo: bool | None = None
    logprobs: Annotated[int, Meta(ge=0, le=5)] | None | UnsetType = UNSET
    best_of: Annotated[int, Meta(ge=0, le=20)] | None | UnsetType = UNSET


class _Embedding(msgspec.Struct, kw_only=True):
    model: str
    input: _Prompt
    dimensions: Annotated[int, Meta(ge=1)] | None | UnsetType = UNSET
    encoding_format: Literal["float", "base64"] | None = None
    user: str | None | UnsetType = UNSET


class _FunctionTool(msgspec.Struct):
    function: Tool


class _Named(msgspec.Struct):
    name: str


class _NamedChoice(msgspec.Struct):
    function: _Named


class _JsonSchema(msgspec.Struct):
    name: str | UnsetType = UNSET
    description: str | UnsetType = UNSET
    schema: dict[str, Any] | UnsetType = UNSET
    strict: bool | None | UnsetType = UNSET


class _SchemaFormat(msgspec.Struct):
    json_schema: _JsonSchema


_chat = msgspec.json.Decoder(_Chat)
_completion = msgspec.json.Decoder(_Completion)
_embedding = msgspec.json.Decoder(_Embedding)
_stream_options = msgspec.json.Decoder(_StreamOptions | None)
_function_tool = msgspec.json.Decoder(_FunctionTool)
_choice = msgspec.json.Decoder(str | dict[str, Raw] | None)
_named_choice = msgspec.json.Decoder(_NamedChoice)
_schema_format = msgspec.json.Decoder(_SchemaFormat)
_structured = msgspec.json.Decoder(dict[str, Raw])
_source = msgspec.json.Decoder(str)


_CHAT_KEYS: Final = known_keys(_Chat)
_NO_TURN: Final = "add_generation_prompt"
_COMPLETION_KEYS: Final = known_keys(_Completion)
_EMBEDDING_KEYS: Final = known_keys(_Embedding)
_STREAM_KEYS: Final = known_keys(_StreamOptions)
_TOOL_KEYS: Final = known_keys(_FunctionTool) | {"type"}
_FUNCTION_KEYS: Final = known_keys(Tool)
_SCHEMA_KEYS: Final = known_keys(_JsonSchema)
_TYPE_KEY: Final = frozenset({"type"})
_FORMAT_KEYS: Final = known_keys(_SchemaFormat) | _TYPE_KEY


def read_chat(body: bytes) -> Generate:
    """The body of POST /v1/chat/completions.

    Raises ServingError (bad_request) with the field at fault in `param`.
    """
    check_text(body)
    chat = decode(_chat, body)
    extra: Fields = {}
    keep_unmodelled(extra, body, "", _CHAT_KEYS)
    if chat.continue_final_message and extra.get(_NO_TURN) == Raw(b"false"):
        # The same wish once more, without which vLLM refuses it.
        del extra[_NO_TURN]
    messages = read_messages(chat.messages, extra)
    if chat.top_logprobs and not chat.logprobs:
        raise ServingError("bad_request", "top_logprobs: needs `logprobs` to be true", param="top_logprobs")
    max_tokens = chat.max_tokens
    if chat.max_completion_tokens is not UNSET:
        if max_tokens is not UNSET:
            extra["max_tokens"] = Raw(msgspec.json.encode(max_tokens))
        max_tokens = chat.max_completion_tokens
        extra["max_completion_tokens"] = SPELLING
    logprobs: int | None | UnsetType = UNSET
    if chat.logprobs is not UNSET:
        logprobs = (chat.top_logprobs or 0) if chat.logprobs else None
    return Generate(
        model=chat.model,
        prompt=MessagesPrompt(messages),
        templating=Templating(
            chat_template=_or_unset(chat.chat_template),
            template_arguments=_or_unset(chat.chat_template_kwargs),
            continue_final_message=bool(chat.continue_final_message),
        ),
        sampling=_sampling(chat, max_tokens, UNSET),
        stops=_stops(chat),
        shape=Shape(
            tools=_read_tools(chat, extra),
            tool_choice=_read_tool_choice(chat),
            parallel_tool_calls=chat.parallel_tool_calls,
            format=_read_shape(chat, extra),
            reasoning_effort=chat.reasoning_effort,
        ),
        reporting=_reporting(chat, logprobs, extra, echo=False),
        user=_or_unset(chat.user),
        extra={PROTOCOL: extra} if extra else {},
    )


def read_completion(body: bytes) -> Generate:
    """The body of POST /v1/completions.

    Raises ServingError (bad_request) with the field at fault in `param`.
    """
    check_text(body)
    completion = decode(_completion, body)
    extra: Fields = {}
    keep_unmodelled(extra, body, "", _COMPLETION_KEYS)
    texts, tokens, batched = _texts_or_tokens(completion.prompt, "prompt")
    return Generate(
        model=completion.model,
        prompt=TextPrompt(texts, batched) if texts else TokenPrompt(tokens, batched),
        sampling=_sampling(completion, completion.max_tokens, completion.best_of),
        stops=_stops(completion),
        shape=Shape(format=_read_shape(completion, extra)),
        reporting=_reporting(completion, completion.logprobs, extra, echo=bool(completion.echo)),
        user=_or_unset(completion.user),
        extra={PROTOCOL: extra} if extra else {},
    )


def read_embedding(body: bytes) -> Embed:
    """The body of POST /v1/embeddings.

    Raises ServingError (bad_request) with the field at fault in `param`.
    """
    check_text(body)
    embedding = decode(_embedding, body)
    extra: Fields = {}
    keep_unmodelled(extra, body, "", _EMBEDDING_KEYS)
    texts, tokens, batched = _texts_or_tokens(embedding.input, "input")
    return Embed(
        model=embedding.model,
        inputs=texts or tokens,
        batched=batched,
        dimensions=_or_unset(embedding.dimensions),
        encoding=embedding.encoding_format or "float",
        user=_or_unset(embedding.user),
        extra={PROTOCOL: extra} if extra else {},
    )


def _or_unset(value: T | None | UnsetType) -> T | UnsetType:
    """For fields whose null says no more than their absence."""
    return UNSET if value is None else value


def _sampling(body: _Common, max_tokens: int | None | UnsetType, best_of: int | None | UnsetType) -> Sampling:
    same: dict[str, Any] = {name: getattr(body, name) for name in SAMPLING_FIELDS}
    return Sampling(max_tokens=max_tokens, best_of=best_of, **same)


def _stops(body: _Common) -> Stops:
    return Stops(
        strings=(body.stop,) if isinstance(body.stop, str) else body.stop,
        token_ids=_or_unset(body.stop_token_ids),
        include=bool(body.include_stop_str_in_output),
    )


def _reporting(body: _Common, logprobs: int | None | UnsetType, extra: Fields, *, echo: bool) -> Reporting:
    usage = False
    if body.stream_options:
        options = decode(_stream_options, body.stream_options, "stream_options")
        if options is not None:
            usage = bool(options.include_usage)
            keep_unmodelled(extra, body.stream_options, "stream_options", _STREAM_KEYS)
    return Reporting(
        stream=bool(body.stream),
        usage_in_stream=usage,
        echo=echo,
        logprobs=logprobs,
        token_ids=bool(body.return_token_ids),
    )


def _texts_or_tokens(value: _Prompt, field: str) -> tuple[tuple[str, ...], tuple[tuple[int, ...], ...], bool]:
    """(texts, token lists, whether it was a batch); one of the first two is empty."""
    if isinstance(value, str):
        return (value,), (), False
    texts = [item for item in value if isinstance(item, str)]
    if texts and len(texts) == len(value):
        return tuple(texts), (), True
    ids = [item for item in value if isinstance(item, int)]
    if ids and len(ids) == len(value):
        return (), (tuple(ids),), False
    lists = [tuple(item) for item in value if isinstance(item, list)]
    if lists and len(lists) == len(value) and all(lists):
        return (), tuple(lists), True
    raise ServingError(
        "bad_request",
        f"{field}: expected a text, token ids, or a list of either that is neither empty nor mixed",
        param=field,
    )


def _read_tools(chat: _Chat, extra: Fields) -> tuple[Tool | UnknownTool, ...] | UnsetType:
    raws = [] if chat.tools in (None, UNSET) else list(chat.tools)
    if chat.functions not in (None, UNSET):
        raws += [Raw(b'{"type":"function","function":%b}' % bytes(raw)) for raw in chat.functions]
    elif chat.tools in (None, UNSET):
        return UNSET
    tools: list[Tool | UnknownTool] = []
    for index, raw in enumerate(raws):
        path = f"tools[{index}]"
        if type_of(raw, path, "function") != "function":
            tools.append(UnknownTool(PROTOCOL, raw))
            continue
        tools.append(decode(_function_tool, raw, path).function)
        fields = keep_unmodelled(extra, raw, path, _TOOL_KEYS)
        keep_unmodelled(extra, fields["function"], f"{path}.function", _FUNCTION_KEYS)
    return tuple(tools)


def _read_tool_choice(chat: _Chat) -> ToolChoice | UnsetType:
    field, raw = ("tool_choice", chat.tool_choice) if chat.tool_choice else ("function_call", chat.function_call)
    if not raw:
        return UNSET
    choice = decode(_choice, raw, field)
    if choice is None:
        return UNSET
    if isinstance(choice, str):
        match choice:
            case "none" | "auto" | "required":
                return ToolChoice(choice)
            case _:
                raise ServingError(
                    "bad_request", f"{field}: expected none, auto, required or an object, got {choice!r}", param=field
                )
    if field == "function_call":
        raw = Raw(b'{"type":"function","function":%b}' % bytes(raw))
    if type_of(raw, field, "function") == "function":
        return ToolChoice("named", decode(_named_choice, raw, field).function.name)
    return ToolChoice("unknown", raw=raw)


def _read_format(raw: Raw, extra: Fields) -> Format | None | UnsetType:
    if not raw:
        return UNSET
    if raw == NULL:
        return None
    kind = type_of(raw, "response_format")
    match kind:
        case "text":
            made = Format("text")
        case "json_object":
            made = Format("json")
        case "json_schema":
            shape = decode(_schema_format, raw, "response_format").json_schema
            made = Format(
                "schema", schema=shape.schema, name=shape.name, description=shape.description, strict=shape.strict
            )
        case _:
            extra["response_format"] = raw
            return UNSET
    fields = keep_unmodelled(extra, raw, "response_format", _FORMAT_KEYS if kind == "json_schema" else _TYPE_KEY)
    if kind == "json_schema":
        keep_unmodelled(extra, fields["json_schema"], "response_format.json_schema", _SCHEMA_KEYS)
    return made


def _read_shape(body: _Common, extra: Fields) -> Format | None | UnsetType:
    """The shape of the answer, under whichever name it is asked for."""
    shape = _read_format(body.response_format, extra)
    for name, own in (("grammar", _grammar(body)), ("structured_outputs", _regex(body, extra))):
        if own is None:
            continue
        if isinstance(shape, Format) and shape.kind != "text":
            raise ServingError(
                "bad_request", f"{name}: cannot be combined with another shape; send one of them", param=name
            )
        shape = own
    return shape


def _grammar(body: _Common) -> Format | None:
    return Format("grammar", source=body.grammar) if isinstance(body.grammar, str) else None


def _regex(body: _Common, extra: Fields) -> Format | None:
    """vLLM's two ways to ask for a regular expression; its other shapes stay as they are."""
    if isinstance(body.guided_regex, str):
        return Format("regex", source=body.guided_regex)
    raw = body.structured_outputs
    if not raw or raw == NULL:
        return None
    told = decode(_structured, raw, "structured_outputs")
    if told.keys() != {"regex"}:
        extra["structured_outputs"] = raw
        return None
    return Format("regex", source=decode(_source, told["regex"], "structured_outputs.regex"))
