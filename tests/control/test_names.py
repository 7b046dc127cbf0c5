"""Names that are taken, and who stands in for whom."""

from __future__ import annotations

import pytest

from trunkcall.control.names import chain, check_free
from trunkcall.core.errors import ServingError
from trunkcall.core.models import ModelSettings

THERE = (ModelSettings(name="m", sources=(), aliases=("alias",)), ModelSettings(name="other", sources=()))
TAKEN = [
    ("m", (), "the model 'm' exists"),
    ("alias", (), "an alias 'alias' of 'm' exists"),
    ("new", ("m",), "the model 'm' exists; 'new' needs another alias"),
    ("new", ("alias",), "an alias 'alias' of 'm' exists; 'new' needs another alias"),
]


@pytest.mark.parametrize(("name", "aliases", "says"), TAKEN)
def test_names_are_taken_once(name: str, aliases: tuple[str, ...], says: str) -> None:
    with pytest.raises(ServingError, match=says) as caught:
        check_free(ModelSettings(name=name, sources=(), aliases=aliases), THERE)
    assert caught.value.kind == "conflict"


def test_fresh_names_are_free() -> None:
    check_free(ModelSettings(name="new", sources=(), aliases=("fresh", "newer")), THERE)


CHAINS: list[tuple[str, dict[str, tuple[str, ...]], list[str]]] = [
    ("nobody", {}, []),
    ("one after the other", {"a": ("b", "c")}, ["b", "c"]),
    ("each followed by its own", {"a": ("b", "c"), "b": ("d",)}, ["b", "d", "c"]),
    ("each once", {"a": ("b", "c"), "b": ("c", "b")}, ["b", "c"]),
    ("circles end", {"a": ("b",), "b": ("a",)}, ["b"]),
    ("not for itself", {"a": ("a",)}, []),
]


@pytest.mark.parametrize(("what", "fallbacks", "asked"), CHAINS, ids=[row[0] for row in CHAINS])
def test_chain(what: str, fallbacks: dict[str, tuple[str, ...]], asked: list[str]) -> None:
    assert list(chain("a", lambda name: fallbacks.get(name, ()))) == asked
