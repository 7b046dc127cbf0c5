"""Gradio's file of users, who may use a page: user:password, between commas or on lines."""

from __future__ import annotations

from pathlib import Path
from typing import Final

from trunkcall.core.errors import ServingError

_FLAG: Final = "--gradio-auth-path"


def read_users(path: str) -> list[str]:
    """`USER:PASSWORD` of each entry, once.

    Raises ServingError (bad_request) for a file that cannot be read, is no such file, or names nobody.
    """
    try:
        text = Path(path).expanduser().read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise ServingError("bad_request", f"{_FLAG}: {path!r} cannot be read: {error}") from None
    entries = [entry for entry in (word.strip() for word in text.replace("\n", ",").split(",")) if entry]
    for entry in entries:
        user, _, password = entry.partition(":")
        if not user or not password:
            # Not quoted: it is half of a secret.
            raise ServingError("bad_request", f"{_FLAG}: {path!r} has an entry that is no user:password")
    if not entries:
        raise ServingError("bad_request", f"{_FLAG}: {path!r} names no user:password")
    return list(dict.fromkeys(entries))
