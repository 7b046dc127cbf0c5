"""What happens in the control plane, told to whoever listens: administration's live events."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Literal

Kind = Literal["model", "replica", "request", "key", "settings"]
Listener = Callable[[Kind, Any], None]


class News:
    """Tells each listener at once; one that must wait keeps a bounded queue of its own."""

    def __init__(self) -> None:
        self._listeners: tuple[Listener, ...] = ()
        self.wanted = False
        """Whether anybody listens: what is costly to tell is not made for nobody."""

    def listen(self, listener: Listener) -> Callable[[], None]:
        """Call `listener` for each piece of news; gives the way to end that."""
        self._listeners = (*self._listeners, listener)
        self.wanted = True

        def leave() -> None:
            self._listeners = tuple(found for found in self._listeners if found is not listener)
            self.wanted = bool(self._listeners)

        return leave

    def tell(self, kind: Kind, about: Any) -> None:
        """Tell of something; about: a struct or a mapping that JSON can say."""
        for listener in self._listeners:
            listener(kind, about)
