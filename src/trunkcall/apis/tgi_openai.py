"""OpenAI's routes as TGI serves them: one model whatever is asked for, and its own defaults, rules and shapes."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Final

import msgspec

from trunkcall.apis.tgi_intake import Intake, Measured, Order, Words
from trunkcall.apis.tgi_options import TgiOptions
from trunkcall.apis.tgi_served import SPECIAL_TOKENS, Served, counted, size
from trunkcall.control.pool import Pool
from trunkcall.core.errors import ServingError
from trunkcall.core.ports import Backend, Exchange
from trunkcall.core.requests import Generate, MessagesPrompt, TextPart, TextPrompt, Wire
from trunkcall.protocols.tgi import Compat, Limits, failure
from trunkcall.protocols.tgi_openai import ids_of, read_chat, read_completion, read_head, texts_of, with_room
from trunkcall.protocols.tgi_openai_answers import (
    ChatStream,
    ChatWhole,
    CompletionStream,
    CompletionWhole,
    Manner,
    fault_frame,
)

CHAT: Final = "/v1/chat/completions"
COMPLETIONS: Final = "/v1/completions"

_PROTOCOL: Final = "tgi-openai"
"""No replica speaks it, so that every answer has TGI's shape."""
_WORDS: Final = Words(failure, fault_frame)
TEMPLATE_TOKENS: Final = 256
"""What a chat template puts before all messages, at most: Llama 3.1 has two sentences there."""
_UNKNOWN: Final = 2**62

_Read = Callable[[bytes, str, Compat, Limits], Generate]
_Emit = Callable[[Generate, Manner], Measured]


class OpenAIRoutes:
    """Answers chat completions and completions."""

    def __init__(self, options: TgiOptions, served: Served, intake: Intake) -> None:
        self._options = options
        self._served = served
        self._intake = intake

    async def chat(self, exchange: Exchange, body: bytes) -> None:
        """Answer a chat completion; raises ServingError as Generating.answer does."""
        await self._answer(exchange, body, CHAT, read_chat, ChatStream, ChatWhole)

    async def complete(self, exchange: Exchange, body: bytes) -> None:
        """Answer a completion; raises likewise."""
        await self._answer(exchange, body, COMPLETIONS, read_completion, CompletionStream, CompletionWhole)

    async def _answer(
        self, exchange: Exchange, body: bytes, path: str, read: _Read, streamed: _Emit, whole: _Emit
    ) -> None:
        head = read_head(body)
        wire = Wire(_PROTOCOL, path, exchange.headers, body)

        async def prepare(pool: Pool, backend: Backend, limits: Limits) -> Order:
            model = self._served.adapted(pool, head.model, strict=False)
            request = read(body, model, self._options.compat, limits)
            if request.shape.format and not self._options.grammar:
                raise ServingError("unsupported", "grammar is not supported", param="response_format")
            name, wanted = pool.settings.name, request.sampling.max_tokens
            most = _at_most(request)
            tokens = None
            if not self._served.surely_fits(name, limits, most, wanted if isinstance(wanted, int) else None):
                tokens = await _longest(request, backend, name)
            request = with_room(request, tokens, limits, self._options.compat)
            manner = Manner(self._options.model_id or name, self._options.compat)
            emit = streamed if head.stream else whole
            return Order(request, wire, lambda request: emit(request, manner), _characters(request), tokens)

        await self._intake.take(exchange, _WORDS, stream=head.stream, prepare=prepare)


def _at_most(request: Generate) -> int:
    """Tokens that the longest prompt cannot have more of."""
    prompt = request.prompt
    if not isinstance(prompt, MessagesPrompt):
        sizes = [size(text) + SPECIAL_TOKENS for text in texts_of(request)] or [len(ids) for ids in ids_of(request)]
        return max(sizes)
    parts = [part for message in prompt.messages for part in message.parts]
    if request.shape.tools or any(not isinstance(part, TextPart) for part in parts):
        # What a template makes of these is not known.
        return _UNKNOWN
    texts = sum(size(part.text) for part in parts if isinstance(part, TextPart))
    return texts + SPECIAL_TOKENS * len(prompt.messages) + TEMPLATE_TOKENS


async def _longest(request: Generate, backend: Backend, model: str) -> int | None:
    """The tokens of the longest prompt; None where they cannot be counted."""
    prompts: Sequence[TextPrompt | MessagesPrompt] = [TextPrompt((text,)) for text in texts_of(request)]
    if isinstance(request.prompt, MessagesPrompt):
        prompts = [request.prompt]
    counts = [len(ids) for ids in ids_of(request)]
    for prompt in prompts:
        tokens = await counted(backend, model, prompt)
        if tokens is None:
            return None
        counts.append(tokens.count)
    return max(counts)


def _characters(request: Generate) -> int:
    if isinstance(request.prompt, MessagesPrompt):
        parts = [part for message in request.prompt.messages for part in message.parts]
        return sum(len(part.text) for part in parts if isinstance(part, TextPart))
    return sum(map(len, texts_of(request)))


def models_list(model: str) -> bytes:
    """The answer of /v1/models."""
    return msgspec.json.encode(
        {"object": "list", "data": [{"id": model, "object": "model", "created": 0, "owned_by": model}]}
    )
