"""Conversation templates for those who choose one in the page, and conversations as the prompts they make."""

from __future__ import annotations

from typing import Annotated

import msgspec

from trunkcall.core.errors import ServingError
from trunkcall.core.requests import RefusalPart, TextPart
from trunkcall.protocols.fastchat_named import NAMES, named
from trunkcall.protocols.fastchat_rendering import render
from trunkcall.protocols.fastchat_templates import NEUTRAL
from trunkcall.protocols.openai_messages import read_messages


class Template(msgspec.Struct, frozen=True):
    """A template by its name; system: its own text for the system, empty for none."""

    name: str
    system: str


class Templates(msgspec.Struct, frozen=True):
    """What GET /web/api/templates tells."""

    templates: tuple[Template, ...]


class Unrendered(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What POST /web/api/render takes; system: in place of the template's own text, null for that."""

    template: str
    messages: Annotated[list[msgspec.Raw], msgspec.Meta(min_length=1)]
    system: str | None = None


class Prompt(msgspec.Struct, frozen=True):
    """What POST /web/api/render gives: the text for /v1/completions, and what ends an answer to it."""

    prompt: str
    stop: tuple[str, ...]
    stop_token_ids: tuple[int, ...]


def templates() -> Templates:
    """All but the one that stands for the model's own."""
    return Templates(tuple(Template(name, named(name).system_message) for name in NAMES if name != NEUTRAL.name))


def rendered(asked: Unrendered) -> Prompt:
    """The prompt of a conversation; an answer that has begun is gone on with.

    Raises ServingError: bad_request for an unknown template and what is no message, unsupported for what is no text.
    """
    template = named(asked.template)
    if asked.system is not None:
        template = msgspec.structs.replace(template, system_message=asked.system)
    messages = read_messages(asked.messages, {})
    for index, message in enumerate(messages):
        if not all(isinstance(part, TextPart | RefusalPart) for part in message.parts):
            raise ServingError(
                "unsupported",
                f"messages[{index}] has parts that are no text, which a conversation template cannot take; leave them "
                "out, or choose the model's own template",
                param=f"messages[{index}]",
            )
    continued = messages[-1].role == "assistant"
    stop = template.stop_str
    return Prompt(
        prompt=render(template, messages, continued=continued),
        stop=(stop,) if isinstance(stop, str) else stop or (),
        stop_token_ids=template.stop_token_ids or (),
    )
