"""What a FastChat worker tells a controller: that it is there, which models it has and how busy it is."""

from __future__ import annotations

import msgspec

from trunkcall.core.errors import ServingError
from trunkcall.protocols.fastchat_status import Status


class _Beaten(msgspec.Struct):
    exist: bool


_beaten = msgspec.json.Decoder(_Beaten)
_encode = msgspec.json.Encoder().encode


def emit_registration(address: str, status: Status, *, multimodal: bool = False) -> bytes:
    """The body of /register_worker; its status keeps the controller from asking for one before there is an answer."""
    return _encode(
        {"worker_name": address, "check_heart_beat": True, "worker_status": status, "multimodal": multimodal}
    )


def emit_beat(address: str, queue_length: int) -> bytes:
    """The body of /receive_heart_beat."""
    return _encode({"worker_name": address, "queue_length": queue_length})


def read_beat(body: bytes) -> bool:
    """Whether the controller knows the worker, from its answer to a beat.

    Raises ServingError (upstream_error) for an answer that is no controller's.
    """
    try:
        return _beaten.decode(body).exist
    except (msgspec.DecodeError, UnicodeDecodeError):
        raise ServingError(
            "upstream_error", f"its answer to a heart beat is {body[:60]!r}; is it the URL of a FastChat controller?"
        ) from None
