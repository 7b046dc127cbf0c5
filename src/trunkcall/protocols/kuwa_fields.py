"""Emitting Kuwa's calls: Generate becomes the fields of a form."""

from __future__ import annotations

from typing import Any, Final

import msgspec
from msgspec import UNSET

from trunkcall.core.errors import ServingError
from trunkcall.core.requests import (
    Generate,
    Message,
    MessagesPrompt,
    RefusalPart,
    TextPart,
    TextPrompt,
    ThinkingPart,
    TokenPrompt,
    ToolCallPart,
)
from trunkcall.protocols.kuwa_history import Turns, rectify_chat_history, write_history
from trunkcall.protocols.kuwa_modelfile import Command, parameter_command, text_command, write_modelfile
from trunkcall.protocols.kuwa_words import PREFIX, PROTOCOL
from trunkcall.protocols.openai import requested_fields

_NUMBERS: Final = (
    "max_tokens",
    "min_tokens",
    "temperature",
    "top_p",
    "top_k",
    "min_p",
    "typical_p",
    "repetition_penalty",
    "frequency_penalty",
    "presence_penalty",
    "seed",
    "ignore_eos",
)
"""Fields of Sampling that one parameter can carry."""

_CARRIED: Final = frozenset({*_NUMBERS, "max_completion_tokens", "stop", "chat_template", "system_override"})


def emit_fields(
    request: Generate, *, name: str, history_id: str, user_id: str
) -> tuple[dict[str, str], tuple[str, ...]]:
    """The form that asks an executor, and the names of what had to be dropped.

    A modelfile cannot hold a `#`: a system prompt with one goes in front of the first user's text instead,
    and its messages are named as `messages[i].role`.

    Raises ServingError (unsupported) for prompts of token ids and for several prompts in one request.
    """
    others = {protocol: fields for protocol, fields in request.extra.items() if protocol != PROTOCOL}
    asked = requested_fields(msgspec.structs.replace(request, extra=others))
    dropped = [field for field in asked if field not in _CARRIED and not _idle(field, request, user_id)]
    commands: list[Command] = []
    turns = _Turns(_prompt_messages(request), request.templating.system_override)
    turns.place(commands)
    dropped += turns.lost
    _add_template(request, commands, dropped)
    _add_sampling(request, commands, dropped)
    for parameter, raw in request.extra.get(PROTOCOL, {}).items():
        _add_parameter(parameter, msgspec.json.decode(raw), commands, dropped)
    fields = {
        "name": name,
        "input": write_history(turns.history),
        "history_id": history_id,
        "user_id": user_id,
        "modelfile": write_modelfile(commands),
    }
    if request.credential is not None:
        fields["openai_token"] = fields["third_party_token"] = request.credential.reveal()
    return fields, tuple(dict.fromkeys(dropped))


def _idle(field: str, request: Generate, user_id: str) -> bool:
    """Whether a field asks for no more than what Kuwa does anyway."""
    match field:
        case "n":
            return request.sampling.n in (1, None)
        case "logprobs":
            return request.reporting.logprobs is None
        case "user":
            return request.user == user_id
        case _:
            return False


def _prompt_messages(request: Generate) -> tuple[Message, ...]:
    match request.prompt:
        case MessagesPrompt(messages):
            return messages
        case TextPrompt((text,)):
            return (Message("user", (TextPart(text),)),)
        case TextPrompt():
            raise ServingError(
                "unsupported", "Kuwa answers one prompt at a time; send one request for each", param="prompt"
            )
        case TokenPrompt():
            raise ServingError("unsupported", "Kuwa takes text, not token ids; send the prompt as text", param="prompt")


class _Turns:
    """A conversation as Kuwa can say it.

    history: the turns of `input`; lost: the names of what has no place.
    """

    def __init__(self, messages: tuple[Message, ...], override: object) -> None:
        self.history: Turns = []
        self.lost: list[str] = []
        self._system: list[str] = []
        self._system_names: list[str] = []
        self._names: list[str] = []
        for index, message in enumerate(messages):
            self._add(message, f"messages[{index}]")
        if isinstance(override, str):
            self._system, self._system_names = [override], ["system_override"]

    def _add(self, message: Message, path: str) -> None:
        if message.role in ("tool", "function"):
            self.lost.append(path)
            return
        if message.name is not UNSET:
            self.lost.append(f"{path}.name")
        text = self._text(message, path)
        if message.role in ("system", "developer"):
            if self.history:
                # It moves to the front.
                self.lost.append(f"{path}.role")
            self._system.append(text)
            self._system_names.append(f"{path}.role")
        elif text or message.role == "user":
            self.history.append({"role": message.role, "content": text})
            self._names.append(path)

    def _text(self, message: Message, path: str) -> str:
        texts: list[str] = []
        for index, part in enumerate(message.parts):
            match part:
                case TextPart():
                    texts.append(part.text)
                case RefusalPart():
                    texts.append(part.text)
                    self.lost.append(f"{path}.refusal")
                case ThinkingPart():
                    self.lost.append(f"{path}.reasoning_content")
                case ToolCallPart():
                    self.lost.append(f"{path}.tool_calls")
                case _:
                    self.lost.append(f"{path}.content[{index}]")
        return "".join(texts)

    def place(self, commands: list[Command]) -> None:
        """Put into the modelfile what a history cannot say: the system prompt, and turns that executors leave out."""
        early = len(self.history) - len(rectify_chat_history(self.history))
        for turn, path in zip(self.history[:early], self._names, strict=False):
            command = text_command("message", turn["content"], turn["role"])
            if command is None:
                self.lost.append(path)
            else:
                commands.append(command)
        del self.history[:early]
        system = "\n\n".join(self._system)
        if not system:
            return
        command = text_command("system", system)
        if command is not None:
            commands.append(command)
            return
        self.lost += self._system_names
        if self.history and self.history[0]["role"] == "user":
            system = f"{system}\n\n{self.history.pop(0)['content']}"
        self.history.insert(0, {"role": "user", "content": system})


def _add_template(request: Generate, commands: list[Command], dropped: list[str]) -> None:
    template = request.templating.chat_template
    if template is UNSET:
        return
    command = text_command("template", template)
    if command is None:
        dropped.append("chat_template")
    else:
        commands.append(command)


def _add_sampling(request: Generate, commands: list[Command], dropped: list[str]) -> None:
    asked: dict[str, Any] = {name: getattr(request.sampling, name) for name in _NUMBERS}
    stops = request.stops.strings
    if stops:
        asked["stop"] = stops[0] if len(stops) == 1 else stops
    for name, value in asked.items():
        _add_parameter(PREFIX + name, value, commands, dropped, name)


def _add_parameter(key: str, value: object, commands: list[Command], dropped: list[str], named: str = "") -> None:
    """Put a parameter into the modelfile; null is as good as absent there."""
    if value is UNSET or value is None:
        return
    command = parameter_command(key, value) if isinstance(value, (int, float, str)) else None
    if command is None:
        dropped.append(named or key)
    else:
        commands.append(command)
