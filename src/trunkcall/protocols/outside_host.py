"""What the runner of a server that others wrote is told at its start, as the JSON argument of its command."""

from __future__ import annotations

import re
from typing import Final

import msgspec

HOST: Final = "127.0.0.1"
"""Where such a server has to listen."""

_PLACE: Final = re.compile(r"\{(host|port[2-9]?)\}")


class OutsideSettings(msgspec.Struct, frozen=True, kw_only=True):
    """What trunkcall.workers.outside is told: one server to run.

    name: what it is called in messages; command: argv; env: added to its environment, not for
    secrets, since it stands on a command line. In values of both, `{port}` becomes a free port,
    `{port2}` to `{port9}` further ones, `{host}` the address to listen at.
    health: the path that answers with the status `ready` as soon as, and as long as, it can serve;
    empty: it is enough that it takes connections. base: the path at which its API begins, added to
    the address that is reported, empty for the usual one of its protocol.
    start_seconds: how long it may take until it is ready;
    patience: seconds for which a server that has been ready may leave that path unanswered; grace:
    seconds from SIGTERM to SIGKILL.
    """

    name: str
    command: tuple[str, ...]
    env: dict[str, str] = {}
    health: str = "/health"
    ready: int = 200
    base: str = ""
    start_seconds: float = 3600.0
    patience: float = 60.0
    grace: float = 4.0


def places(words: tuple[str, ...]) -> frozenset[str]:
    """The names of the placeholders in the words: `host`, `port`, `port2` …"""
    return frozenset(name for word in words for name in _PLACE.findall(word))


def filled(word: str, values: dict[str, str]) -> str:
    """The word with its placeholders replaced; other braces, such as those of JSON, stay."""
    return _PLACE.sub(lambda found: values[found[1]], word)
