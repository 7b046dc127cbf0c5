"""What a caller asks for, in no protocol's words: Generate, Embed and Count.

UNSET (the caller said nothing), None (the caller said null) and a value stay three
different things, because engines have different defaults.
"""

from __future__ import annotations

from typing import Any, Literal

import msgspec
from msgspec import UNSET, UnsetType

Role = Literal["system", "developer", "user", "assistant", "tool", "function"]


class Wire(msgspec.Struct, frozen=True):
    """The request as it came, for replicas that speak the same protocol.

    protocol: the codec's name (`openai`); path: without the listener's prefix and query;
    headers: lower-case names; body: the bytes as read.
    """

    protocol: str
    path: str
    headers: list[tuple[bytes, bytes]]
    body: bytes


class TextPart(msgspec.Struct, frozen=True):
    """Plain text."""

    text: str


class ImagePart(msgspec.Struct, frozen=True):
    """An image by http(s) or data URL."""

    url: str
    detail: str | UnsetType = UNSET


class AudioPart(msgspec.Struct, frozen=True):
    """Audio as base64 text with its container format (`wav`, `mp3`)."""

    data: str
    format: str


class FilePart(msgspec.Struct, frozen=True):
    """A file by id or by inline base64 data."""

    file_id: str | UnsetType = UNSET
    filename: str | UnsetType = UNSET
    data: str | UnsetType = UNSET


class ThinkingPart(msgspec.Struct, frozen=True):
    """Reasoning text of an earlier answer."""

    text: str


class RefusalPart(msgspec.Struct, frozen=True):
    """A refusal of an earlier answer."""

    text: str


class ToolCallPart(msgspec.Struct, frozen=True):
    """A tool call of an earlier answer; `arguments` is JSON text as the model wrote it."""

    id: str
    name: str
    arguments: str


class UnknownPart(msgspec.Struct, frozen=True):
    """A part of `protocol` that the neutral model has no word for; emitted to that protocol only."""

    protocol: str
    raw: msgspec.Raw


Part = TextPart | ImagePart | AudioPart | FilePart | ThinkingPart | RefusalPart | ToolCallPart | UnknownPart


class Message(msgspec.Struct, frozen=True):
    """One turn; `tool_call_id` is set on tool results, `name` on named speakers."""

    role: Role
    parts: tuple[Part, ...]
    name: str | UnsetType = UNSET
    tool_call_id: str | UnsetType = UNSET
    plain: bool = True
    """The content was one string, not a list of parts: re-emitted in the same form."""


class MessagesPrompt(msgspec.Struct, frozen=True):
    """A conversation, to be rendered by the model's template."""

    messages: tuple[Message, ...]


class TextPrompt(msgspec.Struct, frozen=True):
    """One or more texts that are already templated; each is answered on its own."""

    texts: tuple[str, ...]
    batched: bool = False
    """The caller sent a list, also when it has one member."""


class TokenPrompt(msgspec.Struct, frozen=True):
    """One or more prompts as token ids of the target model."""

    prompts: tuple[tuple[int, ...], ...]
    batched: bool = False


Prompt = MessagesPrompt | TextPrompt | TokenPrompt


class Templating(msgspec.Struct, frozen=True):
    """How messages become text, where the caller says more than the model's default."""

    system_override: str | UnsetType = UNSET
    chat_template: str | UnsetType = UNSET
    template_arguments: dict[str, Any] | UnsetType = UNSET
    continue_final_message: bool = False


class Sampling(msgspec.Struct, frozen=True):
    """How tokens are chosen. Token counts are in tokens, `logit_bias` maps token id to added logit."""

    max_tokens: int | None | UnsetType = UNSET
    min_tokens: int | None | UnsetType = UNSET
    temperature: float | None | UnsetType = UNSET
    top_p: float | None | UnsetType = UNSET
    top_k: int | None | UnsetType = UNSET
    min_p: float | None | UnsetType = UNSET
    typical_p: float | None | UnsetType = UNSET
    repetition_penalty: float | None | UnsetType = UNSET
    frequency_penalty: float | None | UnsetType = UNSET
    presence_penalty: float | None | UnsetType = UNSET
    seed: int | None | UnsetType = UNSET
    logit_bias: dict[str, float] | None | UnsetType = UNSET
    ignore_eos: bool | None | UnsetType = UNSET
    n: int | None | UnsetType = UNSET
    best_of: int | None | UnsetType = UNSET


class Stops(msgspec.Struct, frozen=True):
    """What ends an answer; strings are cut from the text unless `include`."""

    strings: tuple[str, ...] | None | UnsetType = UNSET
    token_ids: tuple[int, ...] | UnsetType = UNSET
    include: bool = False


class Tool(msgspec.Struct, frozen=True):
    """A function the model may call; `parameters` is a JSON schema."""

    name: str
    description: str | None | UnsetType = UNSET
    parameters: dict[str, Any] | None | UnsetType = UNSET
    strict: bool | None | UnsetType = UNSET


class UnknownTool(msgspec.Struct, frozen=True):
    """A tool of a kind that only `protocol` knows."""

    protocol: str
    raw: msgspec.Raw


class ToolChoice(msgspec.Struct, frozen=True):
    """Whether tools must be used; `name` forces one."""

    mode: Literal["none", "auto", "required", "named", "unknown"]
    name: str | None = None
    raw: msgspec.Raw | None = None


class Format(msgspec.Struct, frozen=True):
    """The shape an answer must have; `schema` is a JSON schema, `source` a regex or GBNF grammar."""

    kind: Literal["text", "json", "schema", "regex", "grammar"]
    schema: dict[str, Any] | UnsetType = UNSET
    name: str | UnsetType = UNSET
    description: str | UnsetType = UNSET
    strict: bool | None | UnsetType = UNSET
    source: str | UnsetType = UNSET


class Shape(msgspec.Struct, frozen=True):
    """What an answer may look like."""

    tools: tuple[Tool | UnknownTool, ...] | UnsetType = UNSET
    tool_choice: ToolChoice | UnsetType = UNSET
    parallel_tool_calls: bool | None | UnsetType = UNSET
    format: Format | None | UnsetType = UNSET
    reasoning_effort: str | None | UnsetType = UNSET


class Reporting(msgspec.Struct, frozen=True):
    """What the caller wants to be told, and how."""

    stream: bool = False
    usage_in_stream: bool = False
    echo: bool = False
    logprobs: int | None | UnsetType = UNSET
    """Number of alternatives per token; 0 is the chosen token only; None or UNSET is off."""
    prompt_logprobs: bool = False
    token_ids: bool = False
    traced: bool = False
    """The replica may tell the answer's tokens where that costs little, so that another one can go on with it."""


class Secret:
    """A caller's own credential for an upstream; its text never shows in a log or a repr."""

    __slots__ = ("_text",)

    def __init__(self, text: str) -> None:
        self._text = text

    def reveal(self) -> str:
        """The text, for the header that carries it."""
        return self._text

    def __repr__(self) -> str:
        return "Secret(***)"


class Session(msgspec.Struct, frozen=True):
    """The conversation that a request belongs to, where its protocol tells; `language` as in Accept-Language."""

    conversation: str = ""
    user: str = ""
    language: str = ""


class Generate(msgspec.Struct, frozen=True, kw_only=True):
    """One generation.

    extra: protocol -> raw fields that only that protocol knows; credential: the caller's own key
    for the upstream, instead of the configured one; begun: tokens of the model that the answer has already and does
    not tell again, for a replica that declares `resumes`.
    """

    model: str
    prompt: Prompt
    templating: Templating = Templating()
    sampling: Sampling = Sampling()
    stops: Stops = Stops()
    shape: Shape = Shape()
    reporting: Reporting = Reporting()
    session: Session = Session()
    credential: Secret | None = None
    user: str | UnsetType = UNSET
    extra: dict[str, dict[str, msgspec.Raw]] = {}
    begun: tuple[int, ...] = ()


def answer_count(request: Generate) -> int:
    """How many answers are asked for."""
    match request.prompt:
        case MessagesPrompt():
            prompts = 1
        case TextPrompt(texts):
            prompts = len(texts)
        case TokenPrompt(lists):
            prompts = len(lists)
    return prompts * max(request.sampling.n or 1, request.sampling.best_of or 1)


class Embed(msgspec.Struct, frozen=True, kw_only=True):
    """Vectors for texts or token ids."""

    model: str
    inputs: tuple[str, ...] | tuple[tuple[int, ...], ...]
    batched: bool = True
    dimensions: int | UnsetType = UNSET
    encoding: Literal["float", "base64"] = "float"
    user: str | UnsetType = UNSET
    extra: dict[str, dict[str, msgspec.Raw]] = {}


class Vectors(msgspec.Struct, frozen=True):
    """What Embed gives: one vector of float32 per input, in order."""

    vectors: tuple[tuple[float, ...], ...]
    prompt_tokens: int


class Count(msgspec.Struct, frozen=True, kw_only=True):
    """How many tokens a prompt has, and which: a conversation as the model's template renders it, or one text.

    special: with the tokens that a model puts around a text; a rendered conversation has its own; pieces: what each
    token writes is wanted too.
    """

    model: str
    prompt: MessagesPrompt | TextPrompt
    special: bool = True
    pieces: bool = False


class Tokens(msgspec.Struct, frozen=True):
    """What Count gives.

    ids: which tokens they are, None where only their number is told; context: the most tokens that prompt
    and answer may have, None where that is not known; pieces: the bytes that each token writes, where they were
    wanted and are told.
    """

    count: int
    ids: tuple[int, ...] | None = None
    context: int | None = None
    pieces: tuple[bytes, ...] | None = None
