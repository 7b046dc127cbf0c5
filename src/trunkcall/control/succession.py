"""Other settings for a model: which of its replicas stay, which are missing, and in which order they stand then."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from itertools import count
from typing import Final

from trunkcall.control.members import Member
from trunkcall.control.pool import Replica
from trunkcall.core.models import ModelSettings, Source

_HEAVY: Final = ("env", "options", "slots", "key")
"""Settings that a replica has for its whole life."""


def kept(
    given: ModelSettings, settings: ModelSettings, members: Sequence[Member]
) -> tuple[list[Member], Counter[Source]]:
    """The members that other settings leave as they are, and how many of which sources are missing then."""
    missing = Counter(settings.sources)
    stay: list[Member] = []
    if all(getattr(given, field) == getattr(settings, field) for field in _HEAVY):
        for member in members:
            if not member.retiring and missing[member.replica.source] > 0:
                missing[member.replica.source] -= 1
                stay.append(member)
    return stay, +missing


def free_numbers(members: Iterable[Member]) -> Iterator[int]:
    """Numbers that no replica of a model has in its id."""
    taken = {member.replica.id.rpartition("/")[2] for member in members}
    return (number for number in count() if str(number) not in taken)


def in_order(settings: ModelSettings, members: Sequence[Member]) -> list[Replica]:
    """The replicas as the settings name their sources, then those that go."""
    left = [member.replica for member in members if not member.retiring]
    ordered: list[Replica] = []
    for source in settings.sources:
        found = next(replica for replica in left if replica.source == source)
        left.remove(found)
        ordered.append(found)
    return ordered + [member.replica for member in members if member.retiring]
