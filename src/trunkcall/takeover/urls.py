"""Addresses of servers that old command lines give."""

from __future__ import annotations

from urllib.parse import urlsplit

from trunkcall.core.errors import ServingError


def fault_of(text: str) -> str:
    """Why no server can be at a URL, without any password that it has; empty when one can be there."""
    try:
        parts = urlsplit(text)
        sound = parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
    except ValueError:
        sound = False
    if sound and not set("?#@") & set(text):
        return ""
    # Not quoted with an `@`: there is a password before it.
    shown = "the address" if "@" in text else repr(text)
    return f"{shown} is not the plain URL of a server; write http://HOST:PORT/..."


def check_url(text: str, flag: str) -> str:
    """The URL as it is; `flag` names the place in errors.

    Raises ServingError (bad_request) when no server can be there.
    """
    fault = fault_of(text)
    if fault:
        raise ServingError("bad_request", f"{flag}: {fault}")
    return text
