"""What a worker says of a request's fields that its engine cannot honour."""

from __future__ import annotations

from trunkcall.core.errors import ServingError
from trunkcall.core.ports import Exchange
from trunkcall.protocols.headers import STRICT, dropped_header, is_strict


def note_dropped(engine: str, exchange: Exchange, dropped: tuple[str, ...]) -> None:
    """Have the answer's head name the fields; raises ServingError (unsupported) where the caller wants all or none."""
    if not dropped:
        return
    if is_strict(exchange.header(STRICT)):
        names = ", ".join(dropped)
        raise ServingError("unsupported", f"{engine} with this model cannot honour: {names}", param=dropped[0])
    exchange.extra_headers.append(dropped_header(dropped))
