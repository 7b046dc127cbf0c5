"""The LoRA adapters of a loaded model: which there are, and how requests that use them differently stay apart."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

import msgspec

from trunkcall.core.errors import ServingError

_FALSE: Final = msgspec.Raw(b"false")


class _Scale(msgspec.Struct):
    id: int
    scale: float


_fields = msgspec.json.Decoder(dict[str, msgspec.Raw])
_scales = msgspec.json.Decoder(list[_Scale])


class Adapters:
    """Knows the loaded adapters, which have the numbers below `count`.

    The engine goes on from a cached prompt that was read with an adapter switched off when it is on again, and the
    answer is nonsense. So once adapters are used in more than one way no prompt is taken from the cache any more.
    """

    def __init__(self, count: int) -> None:
        self._count = count
        self._mixed = False

    def scaled(self, body: bytes) -> None:
        """From now on adapters count as this request of /lora-adapters says.

        Raises ServingError (bad_request) for what the engine would take in silence.
        """
        self._check(body, "lora-adapters")
        self._mixed = True

    def apart(self, bodies: Iterable[bytes]) -> list[bytes]:
        """The engine's requests, kept from the cache where it would be wrong.

        Raises ServingError (bad_request) for an adapter that is not there.
        """
        found = list(bodies)
        for body in found:
            # Few requests name adapters, and the text of others need not be read for it.
            own = _fields.decode(body).get("lora") if b'"lora"' in body else None
            if own is not None:
                self._check(bytes(own), "lora")
                self._mixed = True
        return [_uncached(body) for body in found] if self._mixed and self._count else found

    def _check(self, scales: bytes, param: str) -> None:
        try:
            wanted = _scales.decode(scales)
        except msgspec.DecodeError as error:
            raise ServingError(
                "bad_request", f'{param}: adapters are named as [{{"id": 0, "scale": 1.0}}, …]: {error}', param=param
            ) from error
        for one in wanted:
            if not 0 <= one.id < self._count:
                there = f"0 to {self._count - 1}" if self._count else "none; start the model with the option lora"
                raise ServingError("bad_request", f"there is no adapter {one.id}; there: {there}", param=param)


def _uncached(body: bytes) -> bytes:
    return msgspec.json.encode({**_fields.decode(body), "cache_prompt": _FALSE})
