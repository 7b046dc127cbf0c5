"""Kuwa's modelfile: what a bot adds to a conversation, read from its JSON commands and written as such.

Rules of `args`: what follows a `#` is cut, one newline at the end goes, then one pair of quotes
(three double, one double or one single) around a text is taken off. A parameter's value becomes an
integer, a float, a truth value or None where it reads as one.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, Final

import msgspec
from msgspec import field

from trunkcall.protocols.kuwa_decode import decode_field
from trunkcall.protocols.kuwa_history import Turns

_SHAPE: Final = 'a JSON list of {"name": "system", "args": "..."}, or leave the field out'
_QUOTES: Final = ('"""', '"', "'")
_WORDS: Final[dict[str, bool | None]] = {"true": True, "false": False, "none": None}
_OWN: Final = frozenset({"input", "modelfile"})


class Command(msgspec.Struct, frozen=True):
    """One command of a modelfile, as written."""

    name: str
    args: str


class _Command(msgspec.Struct):
    name: Any = None
    args: Any = None


_commands: Final = msgspec.json.Decoder(list[_Command] | None)
_encode: Final = msgspec.json.Encoder().encode


class Parameters(dict[str, Any]):
    """A modelfile's parameters; a missing key stands for all entries that begin with it."""

    def __missing__(self, key: str) -> dict[str, Any]:
        return self.under(key)

    def under(self, prefix: str) -> dict[str, Any]:
        """The entries whose name begins with the prefix, without it."""
        return {key.removeprefix(prefix): value for key, value in self.items() if key.startswith(prefix)}

    def __repr__(self) -> str:
        return repr({key: "***" if key.endswith("_token") else value for key, value in self.items()})


class Modelfile(msgspec.Struct):
    """What a bot adds to a conversation.

    messages: turns before the history; template: a chat template; before_prompt, after_prompt: put
    around the last message. Not frozen, because executors of users set fields of theirs.
    """

    override_system_prompt: str = ""
    messages: Turns = field(default_factory=list[dict[str, str]])
    template: str = ""
    before_prompt: str = ""
    after_prompt: str = ""
    parameters: Parameters = field(default_factory=Parameters)

    @classmethod
    def from_json(cls, text: str) -> Modelfile:
        """Read the field `modelfile`; null is an empty one. Commands that mean nothing to Kuwa are passed over.

        Raises ServingError (bad_request) unless it is null or a list of commands.
        """
        joined: dict[str, list[str]] = {"system": [], "before-prompt": [], "after-prompt": []}
        made = cls()
        for command in decode_field(_commands, text, "modelfile", _SHAPE) or ():
            if not isinstance(command.args, str):
                continue
            match command.name:
                case "system" | "before-prompt" | "after-prompt":
                    joined[command.name].append(_unquoted(_uncommented(command.args)))
                case "template":
                    made.template = _unquoted(_uncommented(command.args))
                case "message":
                    match _key_and_text(command.args):
                        case "system", said:
                            joined["system"].append(said)
                        case ("user" | "assistant") as role, said:
                            made.messages.append({"role": role, "content": said})
                        case _:
                            pass
                case "parameter" | "kuwaparam":
                    if (pair := _parameter(command.args)) is not None:
                        made.parameters[pair[0]] = pair[1]
                case _:
                    pass
        made.override_system_prompt = "".join(joined["system"])
        made.before_prompt = "".join(joined["before-prompt"])
        made.after_prompt = "".join(joined["after-prompt"])
        return made

    def with_fields(self, form_fields: Mapping[str, str], language: str) -> Modelfile:
        """This modelfile with the other form fields as parameters `_<field>`, and the language as `_lang`."""
        parameters = Parameters(self.parameters)
        parameters["_lang"] = language or None
        parameters.update((f"_{name}", value) for name, value in form_fields.items() if name not in _OWN)
        return msgspec.structs.replace(self, parameters=parameters)


def text_command(name: str, text: str, role: str = "") -> Command | None:
    """A command for this text, `message` with a role; None when no `args` can say it."""
    if "#" in text:
        return None
    return Command(name, f'{role} """{text}"""' if role else f'"""{text}"""')


def parameter_command(key: str, value: float | str) -> Command | None:
    """A `parameter` that reads as exactly this value; None when no `args` can say it."""
    match value:
        case bool():
            spelled = str(value).lower()
        case str():
            spelled = f'"""{value}"""'
        case _:
            spelled = repr(value)
    args = f"{key} {spelled}"
    match _parameter(args):
        case read_key, read if (read_key, read) == (key, value) and type(read) is type(value):
            return Command("parameter", args)
        case _:
            return None


def write_modelfile(commands: Iterable[Command]) -> str:
    """The text of the field `modelfile`."""
    return _encode(list(commands)).decode()


def _uncommented(args: str) -> str:
    return args.partition("#")[0]


def _unquoted(text: str) -> str:
    text = text.removesuffix("\n")
    for mark in _QUOTES:
        if len(text) >= 2 * len(mark) and text.startswith(mark) and text.endswith(mark):
            return text[len(mark) : -len(mark)]
    return text


def _key_and_text(args: str) -> tuple[str, str] | None:
    key, blank, text = _uncommented(args).partition(" ")
    return (_unquoted(key), _unquoted(text)) if blank else None


def _parameter(args: str) -> tuple[str, Any] | None:
    pair = _key_and_text(args)
    return None if pair is None else (pair[0], _value(pair[1]))


def _value(text: str) -> int | float | bool | str | None:
    for number in (int, float):
        try:
            return number(text)
        except ValueError:
            continue
    return _WORDS.get(text.lower(), text)
