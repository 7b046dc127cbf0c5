"""What is asked of the replica that goes on with an answer: by its tokens, by its text, or not at all."""

from __future__ import annotations

from typing import Final, Literal

import msgspec

from trunkcall.control.recovery_so_far import Said, SoFar
from trunkcall.core.events import Finish
from trunkcall.core.models import Recover, Resumable
from trunkcall.core.requests import (
    AudioPart,
    FilePart,
    Generate,
    ImagePart,
    Message,
    MessagesPrompt,
    Sampling,
    TextPart,
    TextPrompt,
    TokenPrompt,
    UnknownPart,
    answer_count,
)

_PENALTIES: Final = ("repetition_penalty", "frequency_penalty", "presence_penalty")
_PICTURES: Final = (ImagePart, AudioPart, FilePart, UnknownPart)
_HARMLESS: Final = frozenset(
    "cache_prompt max_completion_tokens metadata prompt_cache_key safety_identifier service_tier store"
    " verbosity".split()
)
"""Fields of their own protocols that do not decide what is said."""


class Going(msgspec.Struct, frozen=True, kw_only=True):
    """How an answer goes on.

    how: as the unbroken one would have, or as a continuation of its text, or nothing was said yet (empty);
    request: for the replica; said: tokens that the answer has; added: how many tokens longer the prompt is for them,
    None where that is not known;
    again, again_ids: text and tokens at the end of what was said that the replica will say once more.
    """

    how: Literal["", "exact", "text"]
    request: Generate
    said: int = 0
    added: int | None = 0
    again: str = ""
    again_ids: int = 0


def needs(request: Generate) -> frozenset[Resumable]:
    """For what a continuation has to be exact, for this request to be as if unbroken."""
    sampling, shape = request.sampling, request.shape
    found: set[Resumable] = {"greedy" if is_greedy(sampling) else "seeded"}
    if any(getattr(sampling, name) for name in _PENALTIES):
        found.add("penalties")
    if shape.format and shape.format.kind != "text":
        found.add("grammar")
    if shape.tools and not (shape.tool_choice and shape.tool_choice.mode == "none"):
        found.add("tools")
    if isinstance(request.reporting.logprobs, int):
        found.add("logprobs")
    if answer_count(request) > 1:
        found.add("n")
    return frozenset(found)


def is_greedy(sampling: Sampling) -> bool:
    """Whether the caller wants the likeliest tokens."""
    return sampling.temperature == 0


def endings(request: Generate, told: SoFar) -> tuple[Finish, ...] | None:
    """What alone is left to tell of an answer that is complete, or as long as it may be; None while more is."""
    count = answer_count(request)
    if len(told.choices) == count and all(said.finished for said in told.choices.values()):
        return ()
    most = request.sampling.max_tokens
    if count == 1 and isinstance(most, int) and told.tokens >= most:
        return (Finish(0, "length"),)
    return None


def go_on(request: Generate, told: SoFar, resumes: frozenset[Resumable], recover: Recover) -> Going | str:
    """The plan, or why there is none.

    request: as it was asked of the first replica; resumes: what the next one declares, empty for one that takes no
    begun answers; recover: the model's setting, not `off`.
    """
    if not any(said.pieces or said.tokens for said in told.choices.values()):
        return Going(how="", request=request)
    needed = needs(request)
    reason = _cannot(request, told, needed)
    if reason:
        return reason
    said = told.choices[0]
    unnamed = [name for raws in request.extra.values() for name, raw in raws.items() if raw and name not in _HARMLESS]
    if resumes and said.ids is not None and not _is_pictured(request):
        going = _by_tokens(request, said)
        if needed <= resumes and not unnamed:
            return msgspec.structs.replace(going, how="exact")
    else:
        going = _by_text(request, said)
    if recover == "exact" and going.how != "exact":
        lacking = sorted(needed - resumes) or unnamed
        why = f"not exact for {', '.join(lacking)}" if lacking else "its tokens are not known"
        return f"the setting recover is exact, and going on is {why}"
    return going


def _is_pictured(request: Generate) -> bool:
    """Whether the prompt has more than text, which has no tokens to go on with."""
    prompt = request.prompt
    if not isinstance(prompt, MessagesPrompt):
        return False
    return any(isinstance(part, _PICTURES) for message in prompt.messages for part in message.parts)


def _cannot(request: Generate, told: SoFar, needed: frozenset[Resumable]) -> str:
    """Why an answer that has begun cannot go on anywhere; empty when it can."""
    if "n" in needed or len(told.choices) > 1 or 0 not in told.choices:
        return "several answers at once cannot go on"
    if "grammar" in needed:
        return "an answer that is held to a format cannot go on"
    said = told.choices[0]
    if not said.plain:
        return "tool calls, thoughts and refusals cannot go on"
    if isinstance(request.prompt, TokenPrompt) and said.ids is None:
        return "the prompt is tokens, and those of the answer are not known"
    return ""


def _by_tokens(request: Generate, said: Said) -> Going:
    kept, again, again_ids = _cut_back(said, request.stops.strings or ())
    begun = tuple(id for _, ids in kept for id in ids or ())
    left = _left(request.sampling, len(begun))
    return Going(
        how="text",
        request=msgspec.structs.replace(_continued(request, left), begun=begun),
        said=len(begun),
        added=len(begun),
        again=again,
        again_ids=again_ids,
    )


def _by_text(request: Generate, said: Said) -> Going:
    left = _left(request.sampling, said.tokens)
    request = _continued(request, left)
    match request.prompt:
        case MessagesPrompt(messages):
            request = msgspec.structs.replace(
                request,
                prompt=MessagesPrompt(_with_answer(messages, said.text, request.templating.continue_final_message)),
                templating=msgspec.structs.replace(request.templating, continue_final_message=True),
            )
        case TextPrompt(texts, batched):
            request = msgspec.structs.replace(request, prompt=TextPrompt((texts[0] + said.text,), batched))
        case TokenPrompt(prompts, batched):
            whole = (*prompts[0], *(said.ids or ()))
            request = msgspec.structs.replace(request, prompt=TokenPrompt((whole,), batched))
            return Going(how="text", request=request, said=said.tokens, added=said.tokens)
    return Going(how="text", request=request, said=said.tokens, added=None)


def _with_answer(messages: tuple[Message, ...], text: str, begun: bool) -> tuple[Message, ...]:
    """begun: the caller's last message is the beginning of the answer."""
    if begun and messages and messages[-1].role == "assistant":
        last = messages[-1]
        return *messages[:-1], msgspec.structs.replace(last, parts=_lengthened(last, text))
    return *messages, Message("assistant", (TextPart(text),))


def _lengthened(message: Message, text: str) -> tuple[TextPart, ...]:
    before = "".join(part.text for part in message.parts if isinstance(part, TextPart))
    return (TextPart(before + text),)


def _continued(request: Generate, sampling: Sampling) -> Generate:
    """What is told once is not asked for again."""
    reporting = msgspec.structs.replace(request.reporting, echo=False, prompt_logprobs=False)
    return msgspec.structs.replace(request, sampling=sampling, reporting=reporting)


def _left(sampling: Sampling, said: int) -> Sampling:
    """The limits for the rest; `endings` has seen to it that there is room."""
    most, least = sampling.max_tokens, sampling.min_tokens
    if isinstance(most, int):
        most = max(1, most - said)
    if isinstance(least, int):
        least = max(0, least - said)
    return msgspec.structs.replace(sampling, max_tokens=most, min_tokens=least)


def _cut_back(said: Said, stops: tuple[str, ...]) -> tuple[tuple[tuple[str, tuple[int, ...] | None], ...], str, int]:
    """The pieces that stand, and the text and the tokens behind them that are to be said once more.

    Those at the end which write nothing may be the end of the answer itself, and a text that may begin a stop string
    has to be seen by the replica that is to find the rest of it.
    """
    pieces = list(said.pieces)
    again_ids = 0
    again = ""
    while pieces and not pieces[-1][0]:
        again_ids += len(pieces.pop()[1] or ())
    held = _may_stop(said.text, stops)
    while held > 0 and pieces:
        text, ids = pieces.pop()
        again = text + again
        again_ids += len(ids or ())
        held -= len(text)
    return tuple(pieces), again, again_ids


def _may_stop(text: str, stops: tuple[str, ...]) -> int:
    """Characters at the end of a text with which one of the stop strings may begin."""
    return max(
        (size for stop in stops for size in range(min(len(stop) - 1, len(text)), 0, -1) if text.endswith(stop[:size])),
        default=0,
    )
