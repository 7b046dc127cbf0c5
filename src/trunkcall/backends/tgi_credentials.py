"""How a TGI server is shown its key: a bearer token, HTTP basic, or an authorization of the user's own wording."""

from __future__ import annotations

import base64
import re
from typing import Final, Literal

from trunkcall.backends.keys import Key, configured_key
from trunkcall.core.errors import ServingError
from trunkcall.net.credentials import read_secret

Auth = Literal["bearer", "basic", "raw"]

_LINE: Final = re.compile(r"[!-~]+( [!-~]+)*")


class Credential:
    """A key and the header line that shows it."""

    __slots__ = ("_line", "key")

    def __init__(self, key: Key, line: bytes) -> None:
        self.key = key
        self._line = line

    def __repr__(self) -> str:
        return "Credential(***)"

    @property
    def header(self) -> bytes:
        """The encoded line; empty without a key."""
        return self._line


def configured(reference: str, auth: Auth) -> Credential:
    """The credential of a model's `key`.

    bearer: a token; basic: `USER:PASSWORD`; raw: what stands behind `authorization:`, such as the `USER TOKEN` that
    h2oGPT sends for a server that is written with four spaces.

    Raises ServingError (bad_request) when the key cannot be read or shown.
    """
    if auth == "bearer":
        key = Key(configured_key(reference, False, ()))
        return Credential(key, key.header("Authorization"))
    if not reference:
        raise ServingError("bad_request", f"option auth: {auth} needs the model's `key`, such as env:NAME", param="key")
    text = read_secret(reference)
    if not _LINE.fullmatch(text) or (auth == "basic" and ":" not in text):
        form = "USER:PASSWORD" if auth == "basic" else "a line of plain ASCII, such as `USER TOKEN`"
        raise ServingError(
            "bad_request", f"the key {reference!r} is not {form}, as option auth: {auth} needs", param="key"
        )
    shown = text if auth == "raw" else f"Basic {base64.b64encode(text.encode()).decode()}"
    return Credential(Key(text), f"Authorization: {shown}\r\n".encode())


def bearer(key: Key) -> Credential:
    """A caller's own key."""
    return Credential(key, key.header("Authorization"))
