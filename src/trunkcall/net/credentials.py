"""Secrets by reference: `env:NAME` or `file:PATH`, read when they are used and never stored."""

from __future__ import annotations

import os
from pathlib import Path

from trunkcall.core.errors import ServingError


def read_secret(reference: str) -> str:
    """The secret that a reference names.

    Raises ServingError (bad_request) naming the reference when it cannot be read or is empty.
    """
    kind, _, name = reference.partition(":")
    try:
        secret = os.environ[name] if kind == "env" else Path(name).read_text(encoding="utf-8")
    except KeyError:
        raise ServingError("bad_request", f"the key {reference!r} is not set in the environment", param="key") from None
    except OSError as error:
        raise ServingError(
            "bad_request", f"the key {reference!r} cannot be read: {error.strerror or error}", param="key"
        ) from None
    if not secret.strip():
        raise ServingError("bad_request", f"the key {reference!r} is empty", param="key")
    return secret.strip()
