"""What user code gets of a request: the form's fields and the headers, as read-only mappings."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping


class Fields(Mapping[str, str]):
    """The fields of a form; of a repeated one the last value counts, as in web frameworks."""

    def __init__(self, pairs: Iterable[tuple[str, str]]) -> None:
        self._pairs = tuple(pairs)
        self._values = dict(self._pairs)

    def __getitem__(self, name: str) -> str:
        return self._values[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._values)

    def __len__(self) -> int:
        return len(self._values)

    # Values may be credentials.
    def __repr__(self) -> str:
        return f"Fields({', '.join(self._values)})"

    def multi_items(self) -> list[tuple[str, str]]:
        """All fields in the order sent."""
        return list(self._pairs)

    def getlist(self, name: str) -> list[str]:
        """All values of one name."""
        return [value for key, value in self._pairs if key == name]


class Headers(Fields):
    """The headers, whose names may be asked for in any case."""

    def __init__(self, pairs: Iterable[tuple[str, str]]) -> None:
        super().__init__((name.lower(), value) for name, value in pairs)

    def __getitem__(self, name: str) -> str:
        return super().__getitem__(name.lower())

    def __contains__(self, name: object) -> bool:
        return isinstance(name, str) and super().__contains__(name.lower())
