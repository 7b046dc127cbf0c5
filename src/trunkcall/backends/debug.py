"""The replica that repeats the question: for trying out clients, routing and streaming without an engine."""

from __future__ import annotations

from trunkcall.backends.scripted import Scripted
from trunkcall.core.models import ModelSettings
from trunkcall.core.requests import Generate, Message, MessagesPrompt, TextPart, TextPrompt


def connect(target: str, settings: ModelSettings, model: str) -> Scripted:
    """`debug` answers at once; `debug:0.05` waits so many seconds before each word."""
    return Scripted(_question, target, settings)


def _question(request: Generate) -> tuple[str, ...]:
    match request.prompt:
        case MessagesPrompt(messages=messages):
            asked = [message for message in messages if message.role == "user"] or list(messages)
            return (_plain(asked[-1]),)
        case TextPrompt(texts=texts):
            return texts
        case tokens:
            return tuple(" ".join(str(token) for token in prompt) for prompt in tokens.prompts)


def _plain(message: Message) -> str:
    return "".join(part.text if isinstance(part, TextPart) else f"[{type(part).__name__}]" for part in message.parts)
