"""Going on with an answer that another replica has begun, by the tokens that it has so far."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import msgspec

from trunkcall.workers.asked import Asked

_OF_CHATS: Final = frozenset(
    "messages max_completion_tokens tools tool_choice parallel_tool_calls reasoning_effort reasoning_format"
    " chat_template_kwargs add_generation_prompt parse_tool_calls thinking_forced_open".split()
)
_fields = msgspec.json.Decoder(dict[str, msgspec.Raw])
_encode = msgspec.json.Encoder().encode


def going_on(asked: Asked, prompt: Sequence[int]) -> Asked:
    """The engine's request for the rest of an answer; prompt: the tokens of the request's own prompt.

    It is one of completions, and so is the answer, also to a chat: what is left of it is text.
    """
    fields = _fields.decode(asked.bodies[0])
    limit = fields.get("max_completion_tokens")
    if limit is not None:
        fields["max_tokens"] = limit
    if asked.chat and "top_logprobs" in fields:
        # Chats say it with two fields.
        fields["logprobs"] = fields.pop("top_logprobs")
    kept: dict[str, msgspec.Raw] = {name: raw for name, raw in fields.items() if name not in _OF_CHATS}
    whole = [*prompt, *asked.begun]
    kept["prompt"] = msgspec.Raw(_encode(whole))
    # The older shape of probabilities, which is that of completions, lacks what is told beside them with ids.
    ids = asked.ids or asked.logprobs is not None
    return msgspec.structs.replace(asked, chat=False, bodies=[_encode(kept)], prompts=[whole], ids=ids)
