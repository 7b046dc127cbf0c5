"""The names of models, their aliases and whom they fall back to: each name is one model's, no fallback a circle."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from trunkcall.core.errors import ServingError
from trunkcall.core.models import ModelSettings
from trunkcall.core.text import did_you_mean

Where = Callable[[str, str], str]
"""From a model and one of its fields to the words that say where that was set."""


def check_names(models: Mapping[str, ModelSettings], where: Where) -> None:
    """Raise ServingError (bad_request) for the first name that cannot be, saying where it stands."""
    owners = _owners(models, where)
    for name, found in models.items():
        for other in found.fallback:
            if other not in owners:
                raise _mistake(where(name, "fallback"), f"there is no model {other!r}. {did_you_mean(other, owners)}")
    for name in models:
        circle = _circle(name, models, owners)
        if circle:
            raise _mistake(where(name, "fallback"), f"goes in a circle: {' -> '.join(circle)}; take one of them out")


def _owners(models: Mapping[str, ModelSettings], where: Where) -> dict[str, str]:
    """The model of each name and alias."""
    owners = {name: name for name in models}
    for name, found in models.items():
        for alias in found.aliases:
            if alias in models:
                raise _mistake(where(name, "aliases"), f"{alias!r} is a model itself; take another alias")
            if alias in owners:
                raise _mistake(where(name, "aliases"), f"{alias!r} is an alias of {owners[alias]!r} already")
            owners[alias] = name
    return owners


def _circle(start: str, models: Mapping[str, ModelSettings], owners: Mapping[str, str]) -> list[str]:
    """A way by fallbacks from a model back to it; empty without one."""
    seen = {start}
    ways = [[start]]
    while ways:
        way = ways.pop()
        for other in models[way[-1]].fallback:
            owner = owners[other]
            if owner == start:
                return [*way, start]
            if owner not in seen:
                seen.add(owner)
                ways.append([*way, owner])
    return []


def _mistake(at: str, what: str) -> ServingError:
    return ServingError("bad_request", f"{at}: {what}")
