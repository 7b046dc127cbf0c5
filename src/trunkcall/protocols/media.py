"""Pictures and files inside a request: their media type and base64 text, from a data URL or from plain base64."""

from __future__ import annotations

import base64
import binascii
from typing import Final
from urllib.parse import unquote_to_bytes

import msgspec

from trunkcall.core.errors import ServingError

_SCHEME: Final = "data:"

_BY_ENDING: Final = {
    "png": "image/png",
    "jpg": "image/jpeg",
    "jpeg": "image/jpeg",
    "gif": "image/gif",
    "webp": "image/webp",
    "heic": "image/heic",
    "heif": "image/heif",
    "pdf": "application/pdf",
    "txt": "text/plain",
    "md": "text/markdown",
    "csv": "text/csv",
    "html": "text/html",
    "json": "application/json",
}


class Media(msgspec.Struct, frozen=True):
    """What a data URL holds; `data` is base64 text."""

    type: str
    data: str

    def text(self, field: str) -> str:
        """The content as UTF-8; raises ServingError (bad_request) naming `field` when it is not."""
        try:
            return base64.b64decode(self.data).decode()
        except UnicodeDecodeError:
            raise ServingError("bad_request", f"{field}: not a text in UTF-8", param=field) from None


def read_media(url: str, field: str) -> Media | None:
    """The content of a data URL (RFC 2397), None for another URL.

    Raises ServingError (bad_request) naming `field` for one that cannot be read.
    """
    if url[: len(_SCHEME)].lower() != _SCHEME:
        return None
    head, comma, data = url[len(_SCHEME) :].partition(",")
    kind, *parameters = head.split(";")
    try:
        if not comma:
            raise ValueError("no comma")
        if "base64" in parameters:
            base64.b64decode(data, validate=True)
        else:
            data = base64.b64encode(unquote_to_bytes(data)).decode()
    except (ValueError, binascii.Error):
        raise ServingError(
            "bad_request", f"{field}: not a data URL; write data:image/png;base64,… or an https URL", param=field
        ) from None
    return Media(kind.strip().lower() or "text/plain", data)


def read_file(data: str, name: str, field: str) -> Media:
    """A file's content, as a data URL or as base64 whose type the file's name tells; a PDF where it does not.

    Raises ServingError (bad_request) naming `field` when it is neither.
    """
    media = read_media(data, field)
    if media is not None:
        return media
    try:
        base64.b64decode(data, validate=True)
    except (ValueError, binascii.Error):
        raise ServingError(
            "bad_request", f"{field}: neither base64 nor a data URL; write data:application/pdf;base64,…", param=field
        ) from None
    return Media(named_type(name) or "application/pdf", data)


def named_type(name: str) -> str | None:
    """The media type that a file's name or a URL's path ends in, where it is one that models take."""
    path = name.partition("?")[0].partition("#")[0]
    return _BY_ENDING.get(path.rpartition(".")[2].lower())
