"""Conversations as the prompts that FastChat's templates make of them."""

from __future__ import annotations

import re
from typing import Final

import msgspec

from trunkcall.core.requests import ImagePart, Message, RefusalPart, TextPart
from trunkcall.protocols.fastchat_templates import PLACE, ConvTemplate, Style
from trunkcall.protocols.fastchat_words import IMAGE

_FIELD: Final = re.compile(r"\{(role|sep|sep2|round)\}")


class _Joints(msgspec.Struct, frozen=True):
    """What a style puts around the pieces of a prompt, `{role}`, `{sep}` and `{sep2}` being the template's own.

    user, assistant: before and after the text of a turn; open: before the answer; system: after the system's text;
    bare: the same where that text is empty; begin: before all. `{round}` counts the answers before.
    """

    user: tuple[str, str]
    assistant: tuple[str, str]
    open: str
    system: str = "{sep}"
    bare: str | None = None
    begin: str = ""


_LLAMA3_ROLE: Final = "<|start_header_id|>{role}<|end_header_id|>\n\n"
_GEMMA_ROLE: Final = "<start_of_turn>{role}\n"


def _alike(
    before: str, after: str, open: str, system: str = "{sep}", bare: str | None = None, begin: str = ""
) -> _Joints:
    """Both speakers' turns look alike."""
    return _Joints((before, after), (before, after), open, system, bare, begin)


def _alternating(before: str, open: str, system: str = "{sep}") -> _Joints:
    """The assistant's turns end with sep2."""
    return _Joints((before, "{sep}"), (before, "{sep2}"), open, system)


_JOINTS: Final[dict[Style, _Joints]] = {
    "add_colon_single": _alike("{role}: ", "{sep}", "{role}:"),
    "add_colon_two": _alternating("{role}: ", "{role}:"),
    "add_colon_space_single": _alike("{role}: ", "{sep}", "{role}: "),
    "no_colon_single": _alike("{role}", "{sep}", "{role}", ""),
    "no_colon_two": _alternating("{role}", "{role}", ""),
    "add_new_line_single": _alike("{role}\n", "{sep}", "{role}\n", bare=""),
    "llama2": _alternating("{role} ", "{role}", ""),
    "chatglm": _Joints(("[Round {round}]{sep}{role}：", "{sep}"), ("{role}：", "{sep}"), "{role}：", bare=""),
    "chatml": _alike("{role}\n", "{sep}\n", "{role}\n", "{sep}\n", ""),
    "chatintern": _Joints(("<s>{role}:", "{sep}\n"), ("{role}:", "{sep2}\n"), "{role}:", ""),
    "dolly": _Joints(("{role}:\n", "{sep}"), ("{role}:\n", "{sep2}\n\n"), "{role}:\n", ""),
    "rwkv": _alike("{role}: ", "\n\n", "{role}:", ""),
    "phoenix": _alike("{role}: <s>", "</s>", "{role}: <s>", ""),
    "robin": _alike("{role}:\n", "{sep}", "{role}:\n"),
    "falcon_chat": _alike("{role}: ", "{sep}", "{role}:", bare=""),
    "chatglm3": _alike("{role}\n", "", "{role}", ""),
    "deepseek_chat": _alternating("{role}: ", "{role}:", ""),
    "metamath": _Joints(("{role}:\n", "{sep}"), ("{role}: {sep2}", ""), "{role}: {sep2}", bare=""),
    "llama3": _alike(_LLAMA3_ROLE, "<|eot_id|>", _LLAMA3_ROLE, "", begin="<|begin_of_text|>"),
    "gemma": _Joints(
        (_GEMMA_ROLE, "<end_of_turn>\n"), (_GEMMA_ROLE, "<end_of_turn>\n"), _GEMMA_ROLE, "", begin="<bos>"
    ),
    "default": _alike("{role}: ", "\n", "{role}:", "\n"),
}
_DROPPED_IF_EMPTY: Final[frozenset[Style]] = frozenset({"chatglm3", "falcon_chat", "llama3"})
"""Styles that leave out all of system_template where there is no system message."""


def render(template: ConvTemplate, messages: tuple[Message, ...], *, continued: bool = False) -> str:
    """The conversation as a prompt that ends where the assistant goes on.

    Instructions replace the template's own, and its examples come first. Parts other than text, images and refusals
    are left out; an image is FastChat's mark for one. continued: the last turn, if there is one, stays open.
    """
    joints = _JOINTS[template.sep_style]
    system, turns = _turns(template, messages)
    prompt = [joints.begin, _system(template, joints, system)]
    round = _first_round(template)
    last = len(turns) - 1
    for index, (role, text) in enumerate(turns):
        before, after = joints.assistant if role == template.roles[1] else joints.user
        match template.sep_style:
            case "llama2" if index == 0:
                # The system's text has opened this turn, or what stands for it.
                before, after = "", " "
            case "llama3":
                text = text.strip()
            case _:
                pass
        prompt += (_filled(before, template, role, round), text)
        if not (continued and index == last):
            prompt.append(_filled(after, template, role))
        if role == template.roles[1]:
            round += 1
    if not (continued and turns):
        prompt.append(_filled(joints.open, template, template.roles[1]))
    return "".join(prompt)


def text_of(message: Message) -> str:
    """A message's text as templates take it."""
    texts: list[str] = []
    for part in message.parts:
        match part:
            case TextPart() | RefusalPart():
                texts.append(part.text)
            case ImagePart():
                texts.append(f"{IMAGE}\n")
            case _:
                pass
    return "".join(texts)


def takes_instructions(template: ConvTemplate) -> bool:
    """Whether there is a place for a system's text; without one it goes before the first user's."""
    return template.sep_style != "gemma" and PLACE in template.system_template


def _turns(template: ConvTemplate, messages: tuple[Message, ...]) -> tuple[str, list[tuple[str, str]]]:
    """The system's text, and the turns with the names of their roles."""
    system: list[str] = []
    turns: list[tuple[str, str]] = []
    user, assistant, *others = template.roles
    for message in messages:
        match message.role:
            case "system" | "developer":
                system.append(text_of(message))
            case "assistant":
                turns.append((assistant, text_of(message)))
            case "function" | "tool" if others:
                turns.append((others[0], text_of(message)))
            case _:
                turns.append((user, text_of(message)))
    instructions = "\n\n".join(system)
    if instructions and not takes_instructions(template):
        first = next((index for index, (role, _) in enumerate(turns) if role == user), None)
        if first is None:
            turns.insert(0, (user, instructions))
        else:
            turns[first] = user, f"{instructions}\n\n{turns[first][1]}"
    examples = [(role, text) for role, text in template.messages if text is not None]
    return instructions or template.system_message, examples + turns


def _system(template: ConvTemplate, joints: _Joints, system: str) -> str:
    match template.sep_style:
        case "gemma":
            # Its models know no system.
            return ""
        case "llama2" if not system:
            return "[INST] "
        case style:
            bare = not system and style in _DROPPED_IF_EMPTY
            text = "" if bare else template.system_template.replace(PLACE, system)
    joint = joints.system if text or joints.bare is None else joints.bare
    return text + _filled(joint, template, "")


def _first_round(template: ConvTemplate) -> int:
    return 1 if template.name == "chatglm2" else 0


def _filled(joint: str, template: ConvTemplate, role: str, round: int = 0) -> str:
    sep2 = template.sep if template.sep2 is None else template.sep2
    values = {"role": role, "sep": template.sep, "sep2": sep2, "round": str(round)}
    return _FIELD.sub(lambda found: values[found[1]], joint)
