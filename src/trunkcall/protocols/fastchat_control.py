"""What a FastChat controller is told and asked, and what it answers."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Annotated, Final, Literal

import msgspec

from trunkcall.core.errors import ServingError
from trunkcall.protocols.fastchat_status import Status
from trunkcall.protocols.openai_decode import check_text, decode

NULL: Final = b"null"
"""The answer to what has none, also when nothing could be done."""

Told = Literal["well", "unspecified", "loopback"]

_AMOUNT: Final = msgspec.Meta(ge=0, le=10**9)
_Amount = Annotated[int, _AMOUNT] | Annotated[float, _AMOUNT]
_ADDRESS: Final = re.compile(r"https?://(\[[0-9A-Fa-f:.]+\]|[\w.-]+)(:\d{1,5})?(/[!-~]*)?", re.ASCII)
_UNSPECIFIED: Final = frozenset({"0.0.0.0", "[::]"})
_LOOPBACK: Final = re.compile(r"localhost|127\.[\d.]+|\[::1\]")


class Registration(msgspec.Struct, frozen=True):
    """A worker is there.

    address: its URL, by which it is known; checked: it sends heart beats and is gone without; status: None when it is
    to be asked for; multimodal: it takes images.
    """

    address: str
    checked: bool
    status: Status | None = None
    multimodal: bool = False


class Beat(msgspec.Struct, frozen=True):
    """A worker is still there; queue_length: its calls running and waiting."""

    address: str
    queue_length: int | float


class _Status(msgspec.Struct):
    model_names: list[str]
    speed: _Amount = 1
    queue_length: _Amount = 0


class _Registration(msgspec.Struct):
    worker_name: str
    check_heart_beat: bool
    worker_status: _Status | None = None
    multimodal: bool | None = None


class _Beat(msgspec.Struct):
    worker_name: str
    queue_length: _Amount


class _Wanted(msgspec.Struct):
    model: str


_registration = msgspec.json.Decoder(_Registration)
_beat = msgspec.json.Decoder(_Beat)
_wanted = msgspec.json.Decoder(_Wanted)
_encode = msgspec.json.Encoder().encode


def read_registration(body: bytes) -> Registration:
    """The body of /register_worker; raises ServingError (bad_request) with the field at fault in `param`."""
    check_text(body)
    told = decode(_registration, body)
    status = told.worker_status
    if status is not None:
        names = tuple(dict.fromkeys(name for name in status.model_names if name))
        read = Status(names, status.speed, status.queue_length)
    else:
        read = None
    return Registration(_address(told.worker_name), told.check_heart_beat, read, bool(told.multimodal))


def read_heart_beat(body: bytes) -> Beat:
    """The body of /receive_heart_beat; raises ServingError (bad_request) with the field at fault in `param`."""
    check_text(body)
    told = decode(_beat, body)
    return Beat(told.worker_name.rstrip("/"), told.queue_length)


def read_wanted(body: bytes) -> str:
    """The model in the body of /get_worker_address; raises ServingError (bad_request) where there is none."""
    check_text(body)
    return decode(_wanted, body).model


def emit_models(names: Iterable[str]) -> bytes:
    """The answer of /list_models and its kin."""
    return _encode({"models": list(names)})


def emit_address(address: str) -> bytes:
    """The answer of /get_worker_address; empty when nobody serves the model."""
    return _encode({"address": address})


def emit_exist(known: bool) -> bytes:
    """The answer of /receive_heart_beat; a worker that is not known registers again."""
    return _encode({"exist": known})


def addressed_as(address: str) -> Told:
    """Whether others than the worker's own machine can understand its address."""
    found = _ADDRESS.fullmatch(address)
    host = found[1] if found else ""
    if host in _UNSPECIFIED:
        return "unspecified"
    return "loopback" if _LOOPBACK.fullmatch(host) else "well"


def names_of(told: tuple[str, ...], status: tuple[str, ...]) -> tuple[str, ...]:
    """The models of a worker by what it registered and what its own status says: all of both.

    One sub-model of several may register alone. Where they have nothing in common, another worker answers at this
    address, and what it says holds.
    """
    if told and status and not set(told) & set(status):
        return status
    return tuple(dict.fromkeys((*told, *status)))


def _address(text: str) -> str:
    address = text.rstrip("/")
    found = _ADDRESS.fullmatch(address)
    if found is None or int((found[2] or ":0")[1:]) > 65535:
        raise ServingError(
            "bad_request",
            f"worker_name: {text[:200]!r} is not a URL like http://HOST:21002; start the worker with --worker-address",
            param="worker_name",
        )
    return address
