"""A prompt and its answer are made to fit the model's context, as far as that leaves a meaning.

FastChat's worker cuts a long prompt at its beginning, and its web servers rely on that: they send whole conversations
and ask for more tokens of answer than small models have. An error would end such a conversation for good.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

import msgspec

from trunkcall.apis.fitting import fit
from trunkcall.control.counting import count_by
from trunkcall.core.ports import Embeds, Generates
from trunkcall.core.requests import Count, Embed, Generate, MessagesPrompt, TextPart, TextPrompt, TokenPrompt

SHARE_OF_ANSWER: Final = 4
"""Of a full context, one in so many tokens is kept for the answer, or as many as it may have."""
TOKENS_OF_A_TURN: Final = 16
"""What a chat template puts around a message, at most."""
TOKENS_OF_A_TEMPLATE: Final = 256
"""What it puts before all of them, at most: Llama 3.1 has two sentences there."""


class Fitting:
    """Remembers how many tokens models hold, so that prompts which fit anyway are not counted."""

    def __init__(self) -> None:
        self._contexts: dict[str, tuple[Embeds | Generates, int]] = {}

    async def fit(self, request: Generate, backend: Generates, shortened: Callable[[], None]) -> Generate:
        """The request with a prompt that leaves room for an answer, and with no more of an answer than there is room.

        Of a conversation the oldest turns are left out, of a text its beginning; `shortened` is called when that
        is done. Where the backend does not tell its tokens, the request stays as it is.

        Raises ServingError: too_long when the last turn alone does not fit, and as the backend's count does.
        """
        prompt = request.prompt
        wanted = request.sampling.max_tokens
        if isinstance(prompt, TokenPrompt) or not isinstance(wanted, int):
            return request
        known, context = self._contexts.get(request.model, (None, 0))
        if known is backend and _at_most(prompt) + wanted <= context:
            return request
        counted = await count_by(backend, Count(model=request.model, prompt=prompt))
        if counted.context is None:
            return request
        context = counted.context
        self._contexts[request.model] = (backend, context)
        room = context - max(1, min(wanted, context // SHARE_OF_ANSWER))
        size = counted.count
        if size > room:
            if isinstance(prompt, MessagesPrompt):
                request = await fit(request, backend, room)
                assert isinstance(request.prompt, MessagesPrompt)
                size = (await count_by(backend, Count(model=request.model, prompt=request.prompt))).count
            elif counted.ids is not None:
                request = msgspec.structs.replace(request, prompt=TokenPrompt((counted.ids[-room:],)))
                size = room
            else:
                return request
            shortened()
        return _limited(request, min(wanted, context - size))

    async def cut(self, request: Embed, backend: Embeds, shortened: Callable[[], None]) -> Embed:
        """The request with texts that are longer than the context ended there, as token ids.

        Where the backend does not tell its tokens, the request stays as it is; `shortened` and errors as for `fit`.
        """
        texts = [TextPrompt((text,)) for text in request.inputs if isinstance(text, str)]
        known, context = self._contexts.get(request.model, (None, 0))
        if known is backend and all(_at_most(text) <= context for text in texts):
            return request
        counted = [await count_by(backend, Count(model=request.model, prompt=text)) for text in texts]
        context = next((one.context for one in counted if one.context is not None), None)
        if context is None:
            return request
        self._contexts[request.model] = (backend, context)
        ids = tuple(one.ids[:context] for one in counted if one.ids is not None)
        if len(ids) < len(counted) or all(one.count <= context for one in counted):
            return request
        shortened()
        return msgspec.structs.replace(request, inputs=ids)


def _at_most(prompt: MessagesPrompt | TextPrompt) -> int:
    """Tokens that it cannot have more of: each stands for a byte at least."""
    if isinstance(prompt, TextPrompt):
        return sum(map(_size, prompt.texts)) + TOKENS_OF_A_TURN
    texts = [part.text for message in prompt.messages for part in message.parts if isinstance(part, TextPart)]
    return sum(map(_size, texts)) + TOKENS_OF_A_TURN * len(prompt.messages) + TOKENS_OF_A_TEMPLATE


def _size(text: str) -> int:
    return len(text.encode(errors="surrogatepass"))


def _limited(request: Generate, tokens: int) -> Generate:
    sampling = msgspec.structs.replace(request.sampling, max_tokens=tokens)
    return msgspec.structs.replace(request, sampling=sampling)
