"""Which known name was meant."""

from __future__ import annotations

import difflib
from collections.abc import Iterable


def nearest(word: str, known: Iterable[str]) -> str | None:
    """The known word that looks most like `word`, if one is close."""
    names = list(known)
    by_fold = {name.casefold(): name for name in names}
    close = difflib.get_close_matches(word.casefold(), list(by_fold), n=1, cutoff=0.5)
    return by_fold[close[0]] if close else None


def did_you_mean(word: str, known: Iterable[str]) -> str:
    """A sentence that names the nearest known word, or lists what there is."""
    names = sorted(known)
    close = nearest(word, names)
    if close is not None:
        return f"Did you mean {close!r}?"
    return f"Known: {', '.join(names)}." if names else "None is defined."
