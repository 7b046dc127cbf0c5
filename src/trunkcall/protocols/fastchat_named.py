"""Conversation templates by the names that FastChat's users know."""

from __future__ import annotations

from typing import Final

from trunkcall.core.errors import ServingError
from trunkcall.core.text import did_you_mean
from trunkcall.protocols.fastchat_templates import NEUTRAL, ConvTemplate

_CHAT: Final = "This is a chat of a person with an AI assistant, who answers helpfully, politely and in detail."
_TASK: Final = "What follows is an instruction for a task. Write a response that does what it asks for."
_EXAMPLE: Final = (
    ("Human", "Which fruit is good for a picnic?"),
    (
        "Assistant",
        "Fruit that needs no knife travels best:\n1. Grapes and cherries, washed at home.\n2. Apples and pears, which"
        " stay firm.\n3. Mandarins, which come in their own wrapping.",
    ),
)

_TEMPLATES: Final[dict[str, ConvTemplate]] = {
    template.name: template
    for template in (
        NEUTRAL,
        ConvTemplate(name="raw", roles=("", ""), sep=""),
        ConvTemplate(
            name="one_shot",
            system_message=_CHAT,
            roles=("Human", "Assistant"),
            messages=_EXAMPLE,
            offset=len(_EXAMPLE),
            sep_style="add_colon_single",
            sep="\n### ",
            stop_str="###",
        ),
        ConvTemplate(
            name="zero_shot",
            system_message=_CHAT,
            roles=("Human", "Assistant"),
            sep_style="add_colon_single",
            sep="\n### ",
            stop_str="###",
        ),
        ConvTemplate(
            name="vicuna_v1.1",
            system_message=_CHAT,
            roles=("USER", "ASSISTANT"),
            sep_style="add_colon_two",
            sep=" ",
            sep2="</s>",
        ),
        ConvTemplate(
            name="alpaca",
            system_message=_TASK,
            roles=("### Instruction", "### Response"),
            sep_style="add_colon_two",
            sep="\n\n",
            sep2="</s>",
        ),
        ConvTemplate(
            name="orca",
            system_message=_TASK,
            roles=("### User", "### Response"),
            sep_style="add_colon_single",
            sep="\n\n",
            stop_str="### User",
        ),
        ConvTemplate(
            name="chatml",
            system_template="<|im_start|>system\n{system_message}<|im_end|>\n",
            roles=("<|im_start|>user\n", "<|im_start|>assistant\n"),
            sep="<|im_end|>\n",
            stop_str="<|im_end|>",
        ),
        ConvTemplate(
            name="llama-2",
            system_template="[INST] <<SYS>>\n{system_message}\n<</SYS>>\n\n",
            roles=("[INST]", "[/INST]"),
            sep_style="llama2",
            sep=" ",
            sep2=" </s><s>",
        ),
        ConvTemplate(
            name="mistral",
            system_template="[INST] {system_message}\n",
            roles=("[INST]", "[/INST]"),
            sep_style="llama2",
            sep=" ",
            sep2="</s>",
        ),
        ConvTemplate(
            name="llama-3",
            system_template=(
                "<|begin_of_text|><|start_header_id|>system<|end_header_id|>\n\n{system_message}<|eot_id|>"
            ),
            roles=(
                "<|start_header_id|>user<|end_header_id|>\n\n",
                "<|start_header_id|>assistant<|end_header_id|>\n\n",
            ),
            sep="<|eot_id|>",
            stop_str="<|eot_id|>",
        ),
        ConvTemplate(
            name="gemma",
            system_template="<bos>",
            roles=("<start_of_turn>user\n", "<start_of_turn>model\n"),
            sep="<end_of_turn>\n",
            stop_str="<end_of_turn>",
        ),
        ConvTemplate(
            name="zephyr",
            system_template="<|system|>\n{system_message}</s>\n",
            roles=("<|user|>\n", "<|assistant|>\n"),
            sep="</s>\n",
        ),
        ConvTemplate(
            name="phi-3",
            system_template="<|system|>\n{system_message}<|end|>\n",
            roles=("<|user|>\n", "<|assistant|>\n"),
            sep="<|end|>\n",
            stop_str="<|end|>",
        ),
    )
}

_ALSO: Final = {"vicuna": "vicuna_v1.1", "vicuna_v1.0": "vicuna_v1.1", "llama2": "llama-2", "llama3": "llama-3"}

NAMES: Final = tuple(_TEMPLATES)
"""What `named` knows."""


def named(name: str) -> ConvTemplate:
    """The template that an operator names; all have a style that editions number alike.

    Instructions and examples are our own, since FastChat's text is; a system message of the call replaces the first.
    Raises ServingError (bad_request) for an unknown name.
    """
    found = _TEMPLATES.get(_ALSO.get(name, name))
    if found is None:
        raise ServingError(
            "bad_request",
            f"there is no conversation template {name!r}. {did_you_mean(name, _TEMPLATES)} `trunkcall` has the model's"
            " own chat template applied",
            param="template",
        )
    return found
