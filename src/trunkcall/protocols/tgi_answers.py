"""Emitting TGI's answers: events become a stream of tokens, or one object."""

from __future__ import annotations

from typing import Any, Final

import msgspec

from trunkcall.core.errors import ServingError
from trunkcall.core.events import Event, Fault, Finish, Notice, PromptTokens, Queue, Refusal, Text, Usage
from trunkcall.protocols.frames import comment
from trunkcall.protocols.tgi_asked import OLDEST, Asked
from trunkcall.protocols.tgi_errors import failure, fault_event, incomplete
from trunkcall.protocols.tgi_limits import NEWEST, Compat
from trunkcall.protocols.tgi_tokens import NO_TOKEN, Piece, Prefilled, Token, pieces_of, prefilled, top_of
from trunkcall.protocols.tgi_words import END, LENGTH, STOP

_encode: Final = msgspec.json.Encoder().encode

_WITH_INPUT_LENGTH: Final = frozenset({"2", "3"})


class Ending:
    """Sees where an answer may end: at its last token, or where its text ends with a stop sequence."""

    __slots__ = ("_longest", "_stop", "_tail", "tokens")

    def __init__(self, stop: tuple[str, ...]) -> None:
        self._stop = stop
        self._longest = max(map(len, stop), default=0)
        self._tail = ""
        self.tokens = 0
        """How many there have been."""

    def take(self, token: Token) -> None:
        """One more token."""
        self.tokens += 1
        if self._stop and not token.special:
            self._tail = (self._tail + token.text)[-self._longest :]

    @property
    def stopped(self) -> bool:
        """Whether the text ends with a stop sequence now."""
        return bool(self._stop) and self._tail.endswith(self._stop)

    def missing(self, finish: Finish) -> str:
        """The stop sequence, where an engine has cut off what stays in the text here."""
        return "" if finish.matched_stop is None or self.stopped else finish.matched_stop

    def reason(self, finish: Finish) -> str:
        """Why the answer has ended, in TGI's words."""
        if finish.reason == "length":
            return LENGTH
        return STOP if finish.matched_stop is not None or self.stopped else END


class StreamEmitter:
    """Emits a streamed answer; fits core.ports.Emitter.

    asked: settled by check_tokens. A token is told when it comes, but for one that may be the last, which has to
    carry the whole text.
    """

    content_type = b"text/event-stream"

    def __init__(self, asked: Asked, *, compat: Compat = NEWEST) -> None:
        self._asked = asked
        self._compat = compat
        self._text: list[str] = []
        self._ending = Ending(asked.stop)
        self._held: Piece | None = None
        self._index = 0
        self._finish: Finish | None = None
        self._usage: Usage | None = None
        self._detailed = False
        self._over = False

    @property
    def generated_tokens(self) -> int:
        """How many there were, by the engine's count where it did not tell them one by one, or not all of them."""
        usage, told = self._usage, self._ending.tokens
        if usage is None:
            return told
        return max(usage.completion, told) if self._detailed else usage.completion

    @property
    def input_tokens(self) -> int | None:
        """Of the prompt; None where neither the engine nor the request tells."""
        return self._asked.input_tokens if self._usage is None else self._usage.prompt

    def feed(self, event: Event) -> bytes:
        """Bytes to send now."""
        if type(event) is Text:
            pieces = pieces_of(event)
            if event.logprobs:
                self._detailed = True
            return self._tell(pieces[0]) if len(pieces) == 1 else b"".join([self._tell(piece) for piece in pieces])
        match event:
            case Refusal():
                return self._tell(Piece(Token(0, event.text, None)))
            case Finish():
                self._finish = event
                missing = self._ending.missing(event)
                return self._tell(Piece(Token(0, missing, None))) if missing else b""
            case Usage():
                self._usage = event
            case Fault():
                return self.fault(event.error)
            case Queue():
                return comment(f"queue position {event.position}")
            case Notice():
                return comment(event.text)
            case _:
                pass
        return b""

    def end(self) -> bytes:
        """The last token, with the whole text.

        Raises ServingError when the engine has not said that it was done.
        """
        if self._over:
            return b""
        finish = self._finish
        if finish is None:
            raise incomplete(stream=True)
        self._over = True
        last = self._held
        reason = self._ending.reason(finish)
        before = b""
        if last is None or (reason == END and self._lacks_end(last.token)):
            before = self._release()
            self._index += 1
            last = Piece(NO_TOKEN)
            if reason == END:
                self._ending.take(NO_TOKEN)
        asked = self._asked
        text = "".join(self._text)
        details: dict[str, Any] | None = None
        if asked.details:
            details = {"finish_reason": reason, "generated_tokens": self.generated_tokens, "seed": asked.seed}
            if self._compat in _WITH_INPUT_LENGTH:
                details["input_length"] = self.input_tokens or 0
        whole = _encode(asked.inputs + text if asked.return_full_text else text)
        return before + self._line(last, whole, _encode(details))

    def fault(self, error: ServingError) -> bytes:
        """The error as the stream's last event; what was held back is told before."""
        if self._over:
            return b""
        self._over = True
        return self._release() + fault_event(error)

    def _tell(self, piece: Piece) -> bytes:
        before = self._release() if self._held is not None else b""
        token = piece.token
        self._index += 1
        self._ending.take(token)
        if not token.special:
            self._text.append(token.text)
        if token.special or self._ending.tokens == self._asked.max_new_tokens or self._ending.stopped:
            self._held = piece
            return before
        return before + self._line(piece, b"null", b"null")

    def _release(self) -> bytes:
        held, self._held = self._held, None
        return b"" if held is None else self._line(held, b"null", b"null")

    def _lacks_end(self, last: Token) -> bool:
        return not last.special and self._ending.tokens != self._asked.max_new_tokens

    def _line(self, piece: Piece, text: bytes, details: bytes) -> bytes:
        index = b"" if self._compat == OLDEST else b'"index":%d,' % self._index
        top = b'"top_tokens":%b,' % _encode(top_of(piece.top)) if self._asked.top_n_tokens else b""
        return b'data:{%b"token":%b,%b"generated_text":%b,"details":%b}\n\n' % (
            index,
            _encode(piece.token),
            top,
            text,
            details,
        )


class _Sequence:
    """One answer of a whole one while it grows."""

    __slots__ = ("ending", "finish", "pieces", "text")

    def __init__(self, stop: tuple[str, ...]) -> None:
        self.text: list[str] = []
        self.pieces: list[Piece] = []
        self.ending = Ending(stop)
        self.finish: Finish | None = None

    def take(self, piece: Piece) -> None:
        self.pieces.append(piece)
        self.ending.take(piece.token)
        if not piece.token.special:
            self.text.append(piece.token.text)

    @property
    def likelihood(self) -> float:
        """The mean log probability of its tokens; of those that have one."""
        known = [piece.token.logprob for piece in self.pieces if piece.token.logprob is not None]
        return sum(known) / len(known) if known else 0.0


class WholeEmitter:
    """Emits a whole answer; fits core.ports.Emitter. Of several answers the likeliest counts.

    listed: a list of one object, as / has it, instead of the object.
    """

    content_type = b"application/json"

    def __init__(self, asked: Asked, *, listed: bool = False, compat: Compat = NEWEST) -> None:
        self._asked = asked
        self._listed = listed
        self._compat = compat
        self._sequences: dict[int, _Sequence] = {}
        self._best: _Sequence | None = None
        self._prefill: list[Prefilled] = []
        self._usage: Usage | None = None
        self._detailed = False

    @property
    def generated_tokens(self) -> int:
        """How many the answer has, by the engine's count where it did not tell them one by one, or not all of them.

        The engine counts all answers together.
        """
        usage, told = self._usage, 0 if self._best is None else self._best.ending.tokens
        if usage is None or (self._detailed and len(self._sequences) > 1):
            return told
        return max(usage.completion, told) if self._detailed else usage.completion

    @property
    def input_tokens(self) -> int | None:
        """Of the prompt; None where neither the engine nor the request tells."""
        return self._asked.input_tokens if self._usage is None else self._usage.prompt

    def feed(self, event: Event) -> bytes:
        """Nothing to send yet; raises the error of a Fault."""
        match event:
            case Text():
                sequence = self._sequence(event.index)
                self._detailed = self._detailed or bool(event.logprobs)
                for piece in pieces_of(event):
                    sequence.take(piece)
            case Refusal():
                self._sequence(event.index).take(Piece(Token(0, event.text, None)))
            case PromptTokens():
                self._prefill = prefilled(event)
            case Finish():
                sequence = self._sequence(event.index)
                sequence.finish = event
                missing = sequence.ending.missing(event)
                if missing:
                    sequence.take(Piece(Token(0, missing, None)))
            case Usage():
                self._usage = event
            case Fault():
                raise event.error
            case _:
                pass
        return b""

    def end(self) -> bytes:
        """The whole answer.

        Raises ServingError when the engine has not said that it was done.
        """
        sequences = [sequence for _, sequence in sorted(self._sequences.items())]
        if not sequences:
            raise incomplete(stream=False)
        best = max(range(len(sequences)), key=lambda place: sequences[place].likelihood)
        self._best = sequences[best]
        told = [self._told(sequence) for sequence in sequences]
        made: dict[str, Any] = {"generated_text": told[best].pop("generated_text")}
        if self._asked.details:
            made["details"] = told[best]
            if self._asked.best_of > 1:
                made["details"]["best_of_sequences"] = told[:best] + told[best + 1 :]
        return _encode([made] if self._listed else made)

    def fault(self, error: ServingError) -> bytes:
        """The error as the answer."""
        return failure(error).body

    def _told(self, sequence: _Sequence) -> dict[str, Any]:
        asked = self._asked
        finish = sequence.finish
        if finish is None:
            raise incomplete(stream=False)
        reason = sequence.ending.reason(finish)
        ended = bool(sequence.pieces) and sequence.pieces[-1].token.special
        if reason == END and not ended and sequence.ending.tokens != asked.max_new_tokens:
            sequence.take(Piece(NO_TOKEN))
        text = "".join(sequence.text)
        made: dict[str, Any] = {"generated_text": asked.inputs + text if asked.return_full_text else text}
        if asked.details:
            made["finish_reason"] = reason
            made["generated_tokens"] = self.generated_tokens if len(self._sequences) == 1 else sequence.ending.tokens
            made["seed"] = asked.seed
            made["prefill"] = self._prefill
            made["tokens"] = [piece.token for piece in sequence.pieces]
            if asked.top_n_tokens:
                made["top_tokens"] = [top_of(piece.top) for piece in sequence.pieces]
        return made

    def _sequence(self, index: int) -> _Sequence:
        found = self._sequences.get(index)
        if found is None:
            found = self._sequences[index] = _Sequence(self._asked.stop)
        return found
