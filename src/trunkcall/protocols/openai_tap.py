"""Watching forwarded OpenAI answers: usage, finish and errors are noted while the bytes pass, which can be kept."""

from __future__ import annotations

import re
from typing import Final

import msgspec
from msgspec import Raw

from trunkcall.core.errors import ServingError
from trunkcall.core.meter import Meter
from trunkcall.core.retained import Retained
from trunkcall.protocols.frames import CR, DONE, FrameCutter, frames, payloads, sse
from trunkcall.protocols.openai_errors import read_error
from trunkcall.protocols.openai_lane import model_span, replace_model
from trunkcall.protocols.openai_paths import NULL
from trunkcall.protocols.openai_replies import WireUsage, reason_of


class _TappedChoice(msgspec.Struct):
    finish_reason: str | None = None


class _Tapped(msgspec.Struct):
    choices: list[_TappedChoice] | None = None
    usage: WireUsage | None = None
    error: Raw = Raw(b"")


_tapped = msgspec.json.Decoder(_Tapped)

_TELLING: Final = re.compile(rb'"finish_reason"\s*:\s*"|"usage"\s*:\s*\{|"error"\s*:')
_UNFINISHED: Final = re.compile(rb'"finish_reason"\s*:\s*null[^\n]{0,96}\n\n\Z')

_TRACE: Final = re.compile(rb',"token_ids":\[[\d,]*\]')
"""As our hosts write it; in a text its quotes would be escaped."""

_NOTHING: Final = b"\0"
"""Occurs in no answer."""

_LESSONS: Final = 4
"""How often a stream is asked for its plain shape; some upstreams have none."""


class ChatTap:
    """Looks at one answer of chat, completions or embeddings that is forwarded as it comes.

    streamed: the answer is server-sent events; else it is one JSON object.
    hold_usage: the usage was asked for by us, so its frame is kept from the client.
    rename: (the upstream's name of the model, the name to show instead); traced: the answer's tokens are told for us
    alone, so they are cut out.
    """

    def __init__(
        self,
        meter: Meter,
        *,
        streamed: bool,
        hold_usage: bool,
        rename: tuple[str, str] | None,
        traced: bool = False,
    ) -> None:
        self._meter = meter
        self._streamed = streamed
        self._hold_usage = hold_usage
        self._name = rename[1] if rename is not None else None
        self._cutter = FrameCutter()
        self._pieces: list[bytes] = []
        self._raw = FrameCutter() if traced else None
        self._kept: Retained | None = None
        self.failure: ServingError | None = None
        """What the upstream said of its own failure while its frames are retained; nothing passes from there on."""
        # The end of a frame that tells nothing, learned from this stream. Whether a batch holds nothing
        # else is then one count: 0.2 us for a frame where looking for each telling key takes 0.8.
        # Relies on one choice a frame, as servers send it, and on a last usage outside unfinished choices.
        self._plain = _NOTHING
        self._lessons = _LESSONS
        self._named = _NOTHING
        self._renamed = b""
        if rename is not None:
            self._named = b'"model":' + msgspec.json.encode(rename[0])
            self._renamed = b'"model":' + msgspec.json.encode(rename[1])

    def feed(self, data: bytes) -> bytes:
        """What to send on now: the whole frames so far, or all of an answer that needs no renaming.

        Raises ServingError (upstream_error) when a frame is over frames.FRAME_LIMIT.
        """
        if self._kept is not None:
            self._kept.add(data)
        if self._raw is not None:
            data = _TRACE.sub(b"", self._raw.feed(data))
        if not self._cutter.tail and data.endswith(self._plain):
            # Each frame of this shape has two line ends, and no other line end is left over. Mostly it is one frame.
            count = 1 if data.find(b"\n\n") == len(data) - 2 else data.count(b"\n") >> 1
            if count == 1 or data.count(self._plain) == count:
                if self._name is None:
                    self._meter.progress(count)
                    return data
                if data.count(self._named) == count:
                    self._meter.progress(count)
                    return data.replace(self._named, self._renamed)
        return self._feed(data)

    def retain(self) -> None:
        """Keep what passes, as it came."""
        self._kept = Retained()

    @property
    def kept(self) -> bytes | None:
        """What was kept, with what never became a whole frame; None when there was too much."""
        return None if self._kept is None else self._kept.data

    def _feed(self, data: bytes) -> bytes:
        if not self._streamed:
            self._pieces.append(data)
            return b"" if self._name is not None else data
        whole = self._cutter.feed(data)
        if CR in whole:
            return b"".join([self._frame(frame) for frame in frames(whole)])
        self._learn(whole)
        # All but the end of a batch is mostly plain, and only the rest is searched.
        at = whole.rfind(self._plain)
        at = at + len(self._plain) if at >= 0 else 0
        if at and whole.count(self._plain, 0, at) != whole.count(b"\n", 0, at) >> 1:
            at = 0
        pieces = [self._quiet(whole[:at])]
        for found in _TELLING.finditer(whole, at):
            if found.start() < at:
                continue
            before = whole.rfind(b"\n\n", at, found.start())
            start = before + 2 if before >= 0 else at
            end = whole.index(b"\n\n", found.end()) + 2
            pieces += (self._quiet(whole[at:start]), self._frame(whole[start:end]))
            if self.failure is not None:
                return b"".join(pieces)
            at = end
        pieces.append(self._quiet(whole[at:]))
        return b"".join(pieces)

    def _learn(self, whole: bytes) -> None:
        """Learn the plain shape from the first frame of a batch."""
        if self._lessons:
            first = whole[: whole.find(b"\n\n") + 2]
            found = _UNFINISHED.search(first)
            if found is not None and not _TELLING.search(first):
                self._plain = found[0]
                self._lessons = 0
            elif first:
                self._lessons -= 1

    def _quiet(self, whole: bytes) -> bytes:
        """Frames that tell nothing: as they came, or renamed."""
        if not whole:
            return whole
        count = whole.count(b"\n") >> 1
        if self._name is None:
            self._meter.progress(count)
            return whole
        if whole.count(self._named) == count:
            self._meter.progress(count)
            return whole.replace(self._named, self._renamed)
        # The first frame is edited exactly, which teaches how the name is spelled; mostly the rest fits then.
        first, *others = frames(whole)
        edited = self._frame(first)
        rest = whole[len(first) :]
        if rest.count(self._named) == count - 1:
            self._meter.progress(count - 1)
            return edited + rest.replace(self._named, self._renamed)
        return edited + b"".join([self._frame(frame) for frame in others])

    def _frame(self, frame: bytes) -> bytes:
        """One frame, looked at closely: as it came, renamed, or empty when it is held back."""
        found = payloads(frame)
        if not found or found[0] == DONE:
            return frame
        payload = found[0]
        if self.failure is not None:
            return b""
        if _TELLING.search(payload):
            if self._kept is not None:
                self.failure = _own_failure(payload)
                if self.failure is not None:
                    return b""
            if _note(payload, self._meter) and self._hold_usage:
                return b""
        self._meter.progress()
        if self._name is None:
            return frame
        edited = replace_model(payload, self._name)
        span = model_span(payload)
        if span is not None:
            at = payload.rindex(b'"model"', 0, span[0])
            self._named = payload[at : span[1]]
            self._renamed = self._named[: span[0] - at] + msgspec.json.encode(self._name)
        before, exact, after = frame.partition(payload)
        # Data over several lines is not one piece of the frame; it is written anew.
        return before + edited + after if exact else sse(edited)

    def end(self) -> bytes:
        """What remains to be sent when the upstream has ended."""
        if self._streamed:
            rest = self._cutter.end()
            return self._frame(rest) if rest else b""
        answer = note_answer(b"".join(self._pieces), self._meter, self._name)
        return answer if self._name is not None else b""


def _own_failure(payload: bytes) -> ServingError | None:
    """What a frame says of the upstream's own failure."""
    try:
        told = _tapped.decode(payload).error
    except (msgspec.DecodeError, RecursionError):
        return None
    error = read_error(200, payload) if told and told != NULL else None
    return error if error is not None and error.is_of_replica else None


def note_answer(body: bytes, meter: Meter, name: str | None = None) -> bytes:
    """Note usage, finish or error of a whole answer; gives it with its model called `name`, if one is given."""
    if body:
        meter.progress()
        _note(body, meter)
    return replace_model(body, name) if name is not None else body


def _note(payload: bytes, meter: Meter) -> bool:
    """Note what an answer or a chunk tells; gives whether it holds the usage and nothing else."""
    try:
        tapped = _tapped.decode(payload)
    except (msgspec.DecodeError, RecursionError):
        # The client gets what the upstream sent; that it makes no sense is for the client to say.
        return False
    if tapped.error and tapped.error != NULL:
        meter.error = read_error(200, payload).kind
    for choice in tapped.choices or ():
        if choice.finish_reason:
            meter.finish = reason_of(choice.finish_reason)
    if tapped.usage is None:
        return False
    meter.usage = tapped.usage.counts()
    return tapped.choices == []
