"""What a FastChat worker tells of itself, and a controller of its workers together."""

from __future__ import annotations

import msgspec

from trunkcall.core.errors import ServingError


class Status(msgspec.Struct, frozen=True, rename={"names": "model_names"}):
    """names: of the models served; speed: weight among replicas; queue_length: calls running and waiting."""

    names: tuple[str, ...]
    speed: int | float = 1
    queue_length: int | float = 0


_status = msgspec.json.Decoder(Status)
_encode = msgspec.json.Encoder().encode


def read_status(body: bytes) -> Status:
    """The answer of /worker_get_status; raises ServingError (upstream_error)."""
    try:
        return _status.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise ServingError(
            "upstream_error",
            f"the status is not that of a FastChat worker ({error}); check that its address is right",
            upstream=(200, body),
        ) from None


def emit_status(status: Status) -> bytes:
    """The status as /worker_get_status answers."""
    return _encode(status)
