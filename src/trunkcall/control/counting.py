"""How many tokens a prompt has, asked of a model's replica beside the calls that it answers."""

from __future__ import annotations

from typing import Final

import msgspec

from trunkcall.control.dispatch import Dispatch
from trunkcall.control.readiness import ready_backend
from trunkcall.core.errors import ServingError
from trunkcall.core.ports import Backend, Counts, Embeds, Generates
from trunkcall.core.requests import Count, MessagesPrompt, TextPart, TextPrompt, TokenPrompt, Tokens

BYTES_PER_TOKEN: Final = 4
"""Of UTF-8 in English, for backends that cannot count."""
CONTEXT: Final = 8192
"""Tokens; what is said of a model whose backend does not tell how many it holds."""
READY_SECONDS: Final = 100.0
"""FastChat's clients wait no longer for an answer."""


async def count(dispatch: Dispatch, request: Count, seconds: float = READY_SECONDS) -> Tokens:
    """The tokens of a prompt, without taking a slot; the model is started when it is not there.

    A backend that cannot count has them estimated. Raises ServingError as ready_backend and the backend do.
    """
    name = dispatch.pool(request.model).settings.name
    if name != request.model:
        # An alias is no name of the other side's.
        request = msgspec.structs.replace(request, model=name)
    return await count_by(await ready_backend(dispatch, name, seconds), request)


async def count_by(backend: Backend | Embeds | Generates, request: Count) -> Tokens:
    """Likewise, by a backend that is ready."""
    if isinstance(backend, Counts):
        try:
            return await backend.count(request)
        except ServingError as error:
            if error.kind != "unsupported":
                raise
    return Tokens(estimate(request.prompt))


def estimate(prompt: MessagesPrompt | TextPrompt | TokenPrompt) -> int:
    """About how many tokens a prompt is."""
    if isinstance(prompt, TokenPrompt):
        return sum(map(len, prompt.prompts))
    if isinstance(prompt, TextPrompt):
        texts = list(prompt.texts)
    else:
        texts = [part.text for message in prompt.messages for part in message.parts if isinstance(part, TextPart)]
    return -(-sum(len(text.encode(errors="surrogatepass")) for text in texts) // BYTES_PER_TOKEN)
