"""What is registered by name: backends, engines, placements and apis, the built-in ones included."""

from __future__ import annotations

from functools import cache
from importlib.metadata import EntryPoint, entry_points
from typing import Any, Literal

from trunkcall.core.errors import ServingError
from trunkcall.core.models import Source
from trunkcall.core.ports import Connect, Engine, Placement
from trunkcall.core.text import did_you_mean

Group = Literal["backends", "engines", "placements", "apis"]

_NOUN = {"backends": "backend", "engines": "engine", "placements": "placement", "apis": "API"}


@cache
def _entries(group: Group) -> dict[str, EntryPoint]:
    return {entry.name: entry for entry in entry_points(group=f"trunkcall.{group}")}


def names(group: Group) -> tuple[str, ...]:
    """The registered names, sorted; nothing is imported."""
    return tuple(sorted(_entries(group)))


def schemes() -> tuple[str, ...]:
    """What the scheme of a model's source can be."""
    return tuple(sorted({*_entries("backends"), *_entries("engines")}))


@cache
def find(group: Group, name: str) -> Any:
    """Import what is registered as `name`.

    Raises ServingError (bad_request) for an unknown name, and (unsupported) with the
    remedy when a package that it needs is not installed.
    """
    entry = _entries(group).get(name)
    if entry is None:
        raise ServingError("bad_request", f"there is no {_NOUN[group]} {name!r}. {did_you_mean(name, names(group))}")
    try:
        return entry.load()
    except ModuleNotFoundError as error:
        raise _missing(entry, error) from error


def find_engine(scheme: str) -> Engine | None:
    """The engine of a source's scheme; None for a scheme of another kind. Raises ServingError as `find` does."""
    return find("engines", scheme)() if scheme in names("engines") else None


def find_connect(scheme: str) -> Connect:
    """How to call what a scheme or protocol names; raises ServingError as `find` does."""
    return find("backends", scheme)


def find_placements() -> dict[str, Placement]:
    """All placements by name."""
    return {name: find("placements", name)() for name in names("placements")}


def check(source: Source) -> None:
    """Refuse a source whose scheme nobody handles: ServingError (bad_request), naming the nearest."""
    known = schemes()
    if source.scheme in known:
        return
    if "/" in source.scheme or "." in source.scheme:
        hint = f"A folder is written as ./{source.scheme}, a model of the Hub as hf:{source.scheme}."
    else:
        hint = did_you_mean(source.scheme, known)
        hint += f" Known: {', '.join(known)}." if "Known" not in hint else ""
    raise ServingError("bad_request", f"the source {str(source)!r} has no scheme that is known here. {hint}")


def _missing(entry: EntryPoint, error: ModuleNotFoundError) -> ServingError:
    package = entry.dist.name if entry.dist is not None else "trunkcall"
    if entry.extras:
        remedy = f"install it: pip install '{package}[{','.join(entry.extras)}]'"
    else:
        remedy = f"reinstall {package}"
    return ServingError("unsupported", f"{entry.name!r} needs the Python package {error.name!r}; {remedy}")
