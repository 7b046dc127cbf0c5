"""Reading FastChat's calls: the body of a generation becomes Generate."""

from __future__ import annotations

from typing import Annotated, Final

import msgspec
from msgspec import UNSET, Meta, Raw

from trunkcall.core.requests import (
    Generate,
    ImagePart,
    Message,
    MessagesPrompt,
    Part,
    Reporting,
    Sampling,
    Stops,
    TextPart,
    TextPrompt,
)
from trunkcall.protocols.fastchat_prompts import Parsed, parse
from trunkcall.protocols.fastchat_words import IMAGE, PROTOCOL
from trunkcall.protocols.openai_decode import check_text, decode, known_keys
from trunkcall.protocols.openai_paths import Fields, keep_unmodelled

MAX_NEW_TOKENS: Final = 256
"""Of a call that says none."""

_COLD: Final = 1e-5
_NARROW: Final = 1e-8
"""A temperature or a top_p below these is greedy."""

_IMAGE_TYPES: Final = (("/9j/", "jpeg"), ("iVBOR", "png"), ("R0lGOD", "gif"), ("UklGR", "webp"))
"""How base64 of a picture's first bytes begins."""

_encode: Final = msgspec.json.Encoder().encode


class _Call(msgspec.Struct):
    """A null is as good as absent."""

    prompt: str
    model: str | None = None
    temperature: Annotated[float, Meta(ge=0)] | None = None
    top_p: Annotated[float, Meta(ge=0, le=1)] | None = None
    top_k: Annotated[int, Meta(ge=-1)] | None = None
    repetition_penalty: Annotated[float, Meta(ge=0)] | None = None
    presence_penalty: Annotated[float, Meta(ge=-2, le=2)] | None = None
    frequency_penalty: Annotated[float, Meta(ge=-2, le=2)] | None = None
    max_new_tokens: Annotated[int, Meta(ge=1)] | None = None
    logprobs: bool | Annotated[int, Meta(ge=0)] | None = None
    echo: bool | None = None
    stop: str | tuple[str, ...] | None = None
    stop_token_ids: tuple[Annotated[int, Meta(ge=0)], ...] | None = None
    images: tuple[str, ...] | None = None
    best_of: Annotated[int, Meta(ge=1)] | None = None
    use_beam_search: bool | None = None
    seed: Annotated[int, Meta(ge=-(2**63), le=2**63 - 1)] | None = None


class _Echo(msgspec.Struct):
    prompt: str
    echo: bool | None = None


_call: Final = msgspec.json.Decoder(_Call)
_echo: Final = msgspec.json.Decoder(_Echo)
_KEYS: Final = known_keys(_Call)


def read_generate(body: bytes, model: str, raw: bool = False) -> Generate:
    """What a worker is asked.

    A prompt that a well-known template has made becomes a conversation again, without the strings at which that
    template ends an answer. raw: it stays one text. What does nothing in FastChat (top_k -1, a repetition_penalty up
    to 1, a penalty of 0) is not set, because clients send it always and cloud models refuse those fields. A `seed`
    is read too, though FastChat's workers have it as a flag only.

    Raises ServingError (bad_request) with the field at fault in `param`.
    """
    check_text(body)
    call = decode(_call, body)
    parsed = Parsed(TextPrompt((call.prompt,))) if raw else parse(call.prompt)
    extra: Fields = {}
    keep_unmodelled(extra, body, "", _KEYS)
    if call.use_beam_search:
        extra["use_beam_search"] = Raw(b"true")
    logprobs = UNSET if not call.logprobs else 0 if call.logprobs is True else call.logprobs
    prompt = _with_images(parsed.prompt, call.images) if call.images else parsed.prompt
    echo = logprobs is not UNSET and call.echo is not False and isinstance(prompt, TextPrompt)
    return Generate(
        model=model,
        prompt=prompt,
        sampling=_sampling(call),
        stops=Stops(
            strings=_strings(call.stop, parsed.ends) or UNSET,
            token_ids=UNSET if call.stop_token_ids is None else call.stop_token_ids,
        ),
        reporting=Reporting(stream=True, usage_in_stream=True, echo=echo, logprobs=logprobs),
        extra={PROTOCOL: extra} if extra else {},
    )


def echoed(body: bytes) -> str:
    """What the answer's text must begin with: the prompt, unless the call says `echo: false`; for FrameEmitter.

    Raises ServingError (bad_request) as read_generate does.
    """
    asked = decode(_echo, body)
    return "" if asked.echo is False else asked.prompt


def _sampling(call: _Call) -> Sampling:
    temperature = 1.0 if call.temperature is None else call.temperature
    if temperature < _COLD or (call.top_p is not None and call.top_p < _NARROW):
        temperature = 0.0
    return Sampling(
        max_tokens=MAX_NEW_TOKENS if call.max_new_tokens is None else call.max_new_tokens,
        temperature=temperature,
        top_p=UNSET if call.top_p is None or call.top_p < _NARROW else call.top_p,
        top_k=call.top_k if call.top_k is not None and call.top_k > 0 else UNSET,
        repetition_penalty=call.repetition_penalty if (call.repetition_penalty or 0.0) > 1 else UNSET,
        presence_penalty=call.presence_penalty or UNSET,
        frequency_penalty=call.frequency_penalty or UNSET,
        best_of=call.best_of if call.best_of is not None and call.best_of > 1 else UNSET,
        seed=UNSET if call.seed is None else call.seed,
    )


def _strings(stop: str | tuple[str, ...] | None, ends: frozenset[str]) -> tuple[str, ...]:
    given = (stop,) if isinstance(stop, str) else stop or ()
    return tuple(text for text in given if text and text not in ends)


def _with_images(prompt: MessagesPrompt | TextPrompt, images: tuple[str, ...]) -> MessagesPrompt:
    """Each mark for an image becomes the next one; those without a mark stand before the last question."""
    messages = (
        list(prompt.messages)
        if isinstance(prompt, MessagesPrompt)
        else [Message("user", (TextPart(prompt.texts[0]),), plain=False)]
    )
    left = [ImagePart(_image_url(image)) for image in images]
    for index, message in enumerate(messages):
        parts: list[Part] = []
        for part in message.parts:
            parts += _placed(part.text, left) if isinstance(part, TextPart) else [part]
        if any(isinstance(part, ImagePart) for part in parts):
            messages[index] = msgspec.structs.replace(message, parts=tuple(parts), plain=False)
    if left:
        last = max(index for index, message in enumerate(messages) if message.role == "user")
        asked = messages[last]
        messages[last] = msgspec.structs.replace(asked, parts=(*left, *asked.parts), plain=False)
    return MessagesPrompt(tuple(messages))


def _placed(text: str, left: list[ImagePart]) -> list[Part]:
    """A text's pieces with images between them, taken from `left`."""
    parts: list[Part] = []
    while left and IMAGE in text:
        before, _, text = text.partition(IMAGE)
        if before:
            parts.append(TextPart(before))
        parts.append(left.pop(0))
        text = text.removeprefix("\n")
    if text or not parts:
        parts.append(TextPart(text))
    return parts


def _image_url(image: str) -> str:
    if image.startswith(("http://", "https://", "data:")):
        return image
    kind = next((kind for start, kind in _IMAGE_TYPES if image.startswith(start)), "png")
    return f"data:image/{kind};base64,{image}"
