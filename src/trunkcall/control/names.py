"""What names of models mean while the server runs: which are taken, and which models stand in for another."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator

from trunkcall.core.errors import ServingError
from trunkcall.core.models import ModelSettings


def check_free(settings: ModelSettings, others: Iterable[ModelSettings]) -> None:
    """Raises ServingError (conflict) when another model has a model's name or one of its aliases."""
    for other in others:
        for name in (settings.name, *settings.aliases):
            if name == other.name or name in other.aliases:
                what = f"the model {name!r}" if name == other.name else f"an alias {name!r} of {other.name!r}"
                mine, param = "remove it first or take another name", "name"
                if name != settings.name:
                    mine, param = f"{settings.name!r} needs another alias", "aliases"
                raise ServingError("conflict", f"{what} exists; {mine}", param=param)


def chain(model: str, fallbacks: Callable[[str], Iterable[str]]) -> Iterator[str]:
    """The models that stand in for one, in the order in which they are asked; each is followed by its own."""
    seen = {model}
    left = [*fallbacks(model)]
    while left:
        name = left.pop(0)
        if name not in seen:
            seen.add(name)
            yield name
            left = [*fallbacks(name), *left]
