"""Whose key an upstream is asked with, the caller's own or the configured one, and whose fault its refusal is."""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from typing import Final

from trunkcall.core.errors import Kind, ServingError
from trunkcall.core.requests import Secret
from trunkcall.net.credentials import read_secret

_FIT: Final = re.compile(r"[!-~]+")


class Key:
    """The key of a request, empty for none; own: it is the caller's."""

    __slots__ = ("_text", "own")

    def __init__(self, text: str, own: bool = False) -> None:
        self._text = text
        self.own = own

    def __repr__(self) -> str:
        return "Key(***)"

    def header(self, name: str) -> bytes:
        """The header line that carries it: a bearer token for `Authorization`, else as it is; none without a key."""
        if not self._text:
            return b""
        scheme = "Bearer " if name.lower() == "authorization" else ""
        return f"{name}: {scheme}{self._text}\r\n".encode()

    def hidden_in(self, body: bytes) -> bytes:
        """An upstream's words, which may quote the key, without it."""
        return body.replace(self._text.encode(), b"***") if self._text else body

    def refused(self, kind: Kind, error: ServingError) -> ServingError:
        """What an upstream's refusal of the key means to the caller, who can only put a key of its own right.

        kind: unauthenticated or forbidden.
        """
        if self.own:
            said = "the key that came with the request was not accepted; send another one"
        elif self._text:
            kind, said = "upstream_error", "the upstream does not accept the configured key; check the model's `key`"
        else:
            kind, said = "upstream_error", "the upstream wants a key; set the model's `key`, such as env:NAME"
        return ServingError(kind, f"{said} ({error.message})", upstream=error.upstream)


def own_key(credential: Secret | None) -> Key | None:
    """The caller's own key, where it sent one.

    Raises ServingError (unauthenticated) when no header can carry it.
    """
    if credential is None:
        return None
    text = credential.reveal().strip()
    if not _FIT.fullmatch(text):
        # Checked here, because the client would name the header lines that do not fit.
        raise ServingError(
            "unauthenticated",
            "the key for the upstream is empty or has characters that a key cannot have; send another",
        )
    return Key(text, own=True)


def configured_key(reference: str, official: bool, variables: Sequence[str]) -> str:
    """The key that a model's settings name, or without a name that of the environment; empty for none.

    official: the upstream is the maker's own server, the only one which may see the environment's; variables: the
    first that is set counts.

    Raises ServingError (bad_request) when the reference cannot be read, or no header can carry what it names.
    """
    if not reference:
        named = next((name for name in variables if os.environ.get(name, "").strip()), "") if official else ""
        if not named:
            return ""
        reference = f"env:{named}"
    text = read_secret(reference)
    if not _FIT.fullmatch(text):
        raise ServingError("bad_request", f"the key {reference!r} has characters that a key cannot have", param="key")
    return text
