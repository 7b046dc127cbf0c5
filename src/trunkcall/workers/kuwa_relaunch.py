"""A file that was started by hand: the command line that serves it."""

from __future__ import annotations

from collections.abc import Sequence

from trunkcall.core.errors import ServingError

_WITH_VALUE = "mcWX"


def relaunch(started: Sequence[str], executable: str) -> list[str]:
    """The command that serves what Python was started with; `started` is sys.orig_argv.

    Python's own flags are kept. Raises ServingError (bad_request) when it was no file and no module.
    """
    flags: list[str] = []
    words = list(started[1:])
    while words:
        word = words.pop(0)
        if word.startswith("--"):
            flags += [word, words.pop(0)] if word == "--check-hash-based-pycs" else [word]
            continue
        if not word.startswith("-"):
            return _command(executable, flags, [word, *words])
        at = next((at for at, letter in enumerate(word) if letter in _WITH_VALUE), None)
        if at is None:
            if word == "-":
                break
            flags.append(word)
            continue
        letter, value = word[at], word[at + 1 :] or words.pop(0)
        if at > 1:
            flags.append(word[:at])
        if letter == "m":
            return _command(executable, flags, ["-m", value, *words])
        if letter == "c":
            break
        flags += [f"-{letter}", value]
    raise ServingError("bad_request", "run() serves the file that Python was started with: write python FILE.py")


def _command(executable: str, flags: list[str], target: list[str]) -> list[str]:
    # -P: a folder called trunkcall in the working directory is not this package.
    return [executable, *flags, "-P", "-m", "trunkcall", "as", "python", *target]
