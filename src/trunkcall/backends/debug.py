"""The replica that repeats the question: for trying out clients, routing and streaming without an engine."""

from __future__ import annotations

from functools import partial
from typing import Literal

from trunkcall.backends.scripted import Scripted, ScriptedOptions
from trunkcall.core.models import ModelSettings, read_options
from trunkcall.core.requests import Generate, Message, MessagesPrompt, TextPart, TextPrompt

_INSTRUCTIONS = ("system", "developer")


class DebugOptions(ScriptedOptions, frozen=True):
    """A model's `options`. history: repeat the last question, or all that both sides have said."""

    history: Literal["last", "all"] = "last"


def connect(target: str, settings: ModelSettings, model: str) -> Scripted:
    """`debug` answers at once; `debug:0.05` waits so many seconds before each piece.

    Raises ServingError (bad_request) as Scripted does, and for wrong options.
    """
    options = read_options(settings, DebugOptions)
    return Scripted(partial(_question, options.history), target, settings, options)


def _question(history: Literal["last", "all"], request: Generate) -> tuple[str, ...]:
    match request.prompt:
        case MessagesPrompt(messages=messages) if history == "all":
            # Joined and trimmed as Kuwa's debug executor does it, of which this is the behaviour.
            said = [_plain(message) for message in messages if message.role not in _INSTRUCTIONS]
            return ("".join(said).strip(),)
        case MessagesPrompt(messages=messages):
            asked = [message for message in messages if message.role == "user"] or list(messages)
            return (_plain(asked[-1]),)
        case TextPrompt(texts=texts):
            return texts
        case tokens:
            return tuple(" ".join(str(token) for token in prompt) for prompt in tokens.prompts)


def _plain(message: Message) -> str:
    return "".join(part.text if isinstance(part, TextPart) else f"[{type(part).__name__}]" for part in message.parts)
