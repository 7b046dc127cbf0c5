"""What settings that were read again change: which models, what takes effect at once, and what waits for a restart."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

import msgspec

from trunkcall.config import Settings
from trunkcall.core.models import ModelSettings

FIXED: Final = frozenset({"listen", "store", "telemetry"})
"""Settings that a process begins with and keeps."""
_BY_MODEL: Final = frozenset({"models", "pocket"})
"""Settings that are seen in the models themselves."""


class Plan(msgspec.Struct, frozen=True):
    """What to do, in this order: settings, then models that go, change and come.

    settings: what is in force afterwards; live and restart: names of settings that take effect now, and that do not;
    changed: one after another, a model that gives up aliases once more before, since others may want them.
    """

    settings: Settings
    live: tuple[str, ...]
    restart: tuple[str, ...]
    removed: tuple[str, ...]
    changed: tuple[ModelSettings, ...]
    added: tuple[ModelSettings, ...]


def plan(now: Settings, read: Settings) -> Plan:
    """The way from the settings in force, with the models that are served, to those that were read."""
    differs = [name for name in Settings.__struct_fields__ if getattr(now, name) != getattr(read, name)]
    kept = {name: getattr(now, name) for name in differs if name in FIXED}
    return Plan(
        settings=msgspec.structs.replace(read, **kept),
        live=tuple(name for name in differs if name not in FIXED | _BY_MODEL),
        restart=tuple(kept),
        removed=tuple(name for name in now.models if name not in read.models),
        changed=_changed(now.models, read.models),
        added=tuple(found for name, found in read.models.items() if name not in now.models),
    )


def _changed(now: Mapping[str, ModelSettings], read: Mapping[str, ModelSettings]) -> tuple[ModelSettings, ...]:
    pairs = [(now[name], found) for name, found in read.items() if name in now and now[name] != found]
    first: list[ModelSettings] = []
    for before, found in pairs:
        kept = tuple(alias for alias in before.aliases if alias in found.aliases)
        if kept != before.aliases:
            first.append(msgspec.structs.replace(before, aliases=kept))
    return (*first, *(found for _, found in pairs if found not in first))
