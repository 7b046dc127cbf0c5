"""FastChat's conversation templates as workers tell them."""

from __future__ import annotations

from typing import Annotated, Any, Final, Literal

import msgspec
from msgspec import UNSET, UnsetType

from trunkcall.core.errors import ServingError

Style = Literal[
    "add_colon_single",
    "add_colon_two",
    "add_colon_space_single",
    "no_colon_single",
    "no_colon_two",
    "add_new_line_single",
    "llama2",
    "chatglm",
    "chatml",
    "chatintern",
    "dolly",
    "rwkv",
    "phoenix",
    "robin",
    "falcon_chat",
    "chatglm3",
    "deepseek_chat",
    "metamath",
    "llama3",
    "gemma",
    "default",
]
"""How a template puts its pieces together; the wire has integers, which mean different ones in different editions."""

PLACE: Final = "{system_message}"
"""Where the system's text goes in a system_template."""

_STABLE: Final[tuple[Style, ...]] = (
    "add_colon_single",
    "add_colon_two",
    "add_colon_space_single",
    "no_colon_single",
    "no_colon_two",
    "add_new_line_single",
    "llama2",
)
"""Numbered from 1 in all editions."""

_RELEASED: Final[dict[int, Style]] = {
    8: "chatglm",
    9: "chatml",
    10: "chatintern",
    11: "dolly",
    12: "rwkv",
    13: "phoenix",
    14: "robin",
    15: "falcon_chat",
    16: "chatglm3",
    17: "deepseek_chat",
    18: "metamath",
}
"""Of 0.2.36 and before."""

_HEAD: Final[dict[int, Style]] = {
    8: "llama3",
    **{number + 1: style for number, style in _RELEASED.items()},
    21: "gemma",
    23: "default",
}
"""Of what came after 0.2.36."""

_ONLY_HEAD: Final = 20
"""Numbers from here on are of no released edition."""

_BY_NAME: Final[dict[str, Style]] = {
    "chatglm": "chatglm",
    "chatglm2": "chatglm",
    "chatglm3": "chatglm3",
    "chatml": "chatml",
    "deepseek-chat": "deepseek_chat",
    "dolly_v2": "dolly",
    "falcon-chat": "falcon_chat",
    "internlm-chat": "chatintern",
    "llama-3": "llama3",
    "metamath": "metamath",
    "phoenix": "phoenix",
    "Robin": "robin",
    "rwkv": "rwkv",
}
"""Of templates whose number alone does not tell."""


class ConvTemplate(msgspec.Struct, frozen=True, kw_only=True):
    """How a conversation becomes one text.

    system_template: with `{system_message}` where the system's text goes; roles: what stands for the user and for the
    assistant; messages: (role, text) before any conversation; offset: how many of them are examples; sep, sep2: what
    stands after a turn; stop_str, stop_token_ids: what ends an answer.
    """

    name: str
    system_template: str = "{system_message}"
    system_message: str = ""
    roles: tuple[str, ...] = ("USER", "ASSISTANT")
    messages: tuple[tuple[str, str | None], ...] = ()
    offset: int = 0
    sep_style: Style = "no_colon_single"
    sep: str = "\n"
    sep2: str | None = None
    stop_str: str | tuple[str, ...] | None = None
    stop_token_ids: tuple[int, ...] | None = None


NEUTRAL: Final = ConvTemplate(
    name="trunkcall",
    system_template="<|im_start|>system\n{system_message}<|im_end|>\n",
    roles=("<|im_start|>user\n", "<|im_start|>assistant\n"),
    sep_style="no_colon_single",
    sep="<|im_end|>\n",
)
"""What is handed out for any model: prompts that come back in it are read as messages again, so that the model's own
chat template is applied."""


class _Conv(msgspec.Struct):
    """Both shapes: the older one has `system` for system_template and system_message."""

    roles: Annotated[tuple[str, ...], msgspec.Meta(min_length=2)]
    sep_style: int
    name: str | None = None
    system: str | None = None
    system_template: str | None = None
    system_message: str | None = None
    messages: tuple[tuple[str, str | list[Any] | None], ...] | None = None
    offset: int | None = None
    sep: str | None = None
    sep2: str | None = None
    stop_str: str | tuple[str, ...] | None = None
    stop_token_ids: tuple[int, ...] | None = None
    system_message_vision: str | None | UnsetType = UNSET
    max_image_size_mb: float | None | UnsetType = UNSET


class _Answer(msgspec.Struct):
    conv: _Conv


_answer: Final = msgspec.json.Decoder(_Answer)
_encode: Final = msgspec.json.Encoder().encode


def read_template(body: bytes) -> ConvTemplate:
    """The answer of /worker_get_conv_template, in either shape and of any edition.

    Raises ServingError: upstream_error for what is no template, unsupported for a style that cannot be rendered here.
    """
    try:
        conv = _answer.decode(body).conv
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise ServingError(
            "upstream_error",
            f"the FastChat worker's conversation template cannot be read ({error}); check that the address is a"
            " worker's, or name a template with the option template",
            upstream=(200, body),
        ) from None
    template, message = conv.system_template, conv.system_message
    if template is None:
        template, message = "{system_message}", conv.system if message is None else message
    return ConvTemplate(
        name=conv.name or "",
        system_template=template,
        system_message=message or "",
        roles=conv.roles,
        messages=tuple((role, text if isinstance(text, str) else None) for role, text in conv.messages or ()),
        offset=conv.offset or 0,
        sep_style=_style_of(conv),
        sep="\n" if conv.sep is None else conv.sep,
        sep2=conv.sep2,
        stop_str=conv.stop_str or None,
        stop_token_ids=conv.stop_token_ids,
    )


def _style_of(conv: _Conv) -> Style:
    """The style that a number means: by what the template holds, then by its edition, then by its name."""
    number = conv.sep_style
    if 1 <= number <= len(_STABLE):
        return _STABLE[number - 1]
    found: Style | None = None
    if "<|im_start|>" in conv.roles[0]:
        found = "chatml"
    elif "<|start_header_id|>" in (conv.system_template or ""):
        found = "llama3"
    elif conv.system_message_vision is not UNSET or conv.max_image_size_mb is not UNSET or number >= _ONLY_HEAD:
        found = _HEAD.get(number)
    else:
        found = _BY_NAME.get(conv.name or "") or _RELEASED.get(number)
    if found is None:
        raise ServingError(
            "unsupported",
            f"the FastChat worker's conversation template {conv.name or ''!r} has the style {number}, which cannot be"
            " rendered here; name another one with the option template",
        )
    return found


def emit_template(template: ConvTemplate) -> bytes:
    """The answer of /worker_get_conv_template, in both shapes.

    Raises ServingError (unsupported) for a style that editions number differently.
    """
    if template.sep_style not in _STABLE:
        raise ServingError(
            "unsupported",
            f"the conversation template {template.name!r} cannot be told to every edition; name another one",
        )
    fields: dict[str, Any] = msgspec.structs.asdict(template)
    fields["system"] = template.system_template.replace(PLACE, template.system_message)
    fields["sep_style"] = _STABLE.index(template.sep_style) + 1
    return _encode({"conv": fields})
