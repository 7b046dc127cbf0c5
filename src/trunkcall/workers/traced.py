"""Which tokens an answer has, told beside its text at next to no cost, so that another replica can go on with it."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Any, Final

import msgspec

from trunkcall.workers.spelling import Spelling

_STRING: Final = rb'"[^"\\]*(?:\\.[^"\\]*)*"'
_MEASURED: Final = rb'"bytes":\[[\d,]*\],"prob":[-+.\deE]+'
_SINGLE: Final = re.compile(
    rb'"(content|text)":(%(string)b)(\}|,"index":\d+)'
    rb'(,"logprobs":\{"content":\[\{"id":(\d+),"token":\2,%(measured)b,'
    rb'"top_probs":\[\{"id":\5,"token":\2,%(measured)b\}\]\}\]\})([^\n]*?),"timings":\{[^{}]*"predicted_n":(\d+),[^{}]*\}\}'
    % {b"string": _STRING, b"measured": _MEASURED},
    re.DOTALL,
)
"""A chunk whose text is one token's, which the best alternative proves: what is told of the token itself is the text
that goes out, also where that has the end of other tokens in it."""
_TELLING: Final = b'"logprobs":{'

_decode = msgspec.json.Decoder().decode
_encode = msgspec.json.Encoder().encode


class Tracer:
    """Puts `token_ids` into the chunks of one answer and takes out what the engine was asked for to learn them.

    A chunk whose tokens are not sure has none. Chunks must come with the best alternative of each token and with
    timings, whose count of tokens shows those of which the engine says nothing: parts of a character, and what was
    held back for a stop string.
    """

    def __init__(self, spelling: Spelling) -> None:
        self._spelling = spelling
        self._count = 0

    async def tell(self, batch: Iterable[tuple[int, bytes]]) -> list[tuple[int, bytes]]:
        """The chunks as a caller who does not want probabilities gets them, with their tokens."""
        return [
            (index, chunk if _TELLING not in chunk else self._single(chunk) or await self._told(chunk))
            for index, chunk in batch
        ]

    def _single(self, chunk: bytes) -> bytes | None:
        """Nearly always: one token, and it writes what is given out. A third of the time of the other way."""
        found = _SINGLE.search(chunk)
        if found is None or int(found[7]) != self._count + 1 or found[2] == b'""':
            return None
        self._count += 1
        null = b',"logprobs":null' if found[1] == b"text" else b""
        return b'%b%b,"token_ids":[%b]%b}' % (chunk[: found.start(4)], null, found[5], found[6])

    async def _told(self, chunk: bytes) -> bytes:
        said: dict[str, Any] = _decode(chunk)
        timings: dict[str, Any] = said.pop("timings", None) or {}
        choice: dict[str, Any] = said["choices"][0]
        told = choice["logprobs"]["content"]
        if "delta" in choice:
            text = choice["delta"].get("content")
            del choice["logprobs"]
        else:
            text = choice["text"]
            choice["logprobs"] = None
        if text:
            count: int = timings.get("predicted_n", 0)
            ids = [id for id, _ in await self._spelling.tokens(text)]
            if len(ids) == count - self._count and ids[-1] == told[-1]["id"]:
                choice["token_ids"] = ids
            self._count = count
        return _encode(said)
