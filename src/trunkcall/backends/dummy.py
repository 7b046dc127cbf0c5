"""The replica that always gives the same answer: for load tests and for a place that a model will take."""

from __future__ import annotations

from trunkcall.backends.scripted import Scripted
from trunkcall.core.models import ModelSettings
from trunkcall.core.requests import Generate, MessagesPrompt, TextPrompt

_ANSWER = "This is a fixed answer from the dummy model."


def connect(target: str, settings: ModelSettings, model: str) -> Scripted:
    """`dummy` answers at once; `dummy:0.05` waits so many seconds before each word."""
    return Scripted(_same, target, settings)


def _same(request: Generate) -> tuple[str, ...]:
    match request.prompt:
        case MessagesPrompt():
            return (_ANSWER,)
        case TextPrompt(texts=texts):
            return (_ANSWER,) * len(texts)
        case tokens:
            return (_ANSWER,) * len(tokens.prompts)
