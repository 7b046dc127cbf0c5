"""The access log: one line for each exchange at its end, which never holds a prompt, an answer or a key."""

from __future__ import annotations

import logging
from typing import Any, Final

from trunkcall.net.exchange import Exchange

_log: Final = logging.getLogger("trunkcall.access")
# Who asks for it gets it, whatever the level of the other lines.
_log.setLevel(logging.INFO)

_LONGEST: Final = 200
"""Characters of what a caller sent."""
_LEFT: Final = 499
"""The status of an exchange whose client left before there was one."""


def note(exchange: Exchange, seconds: float) -> None:
    """Write the line; fits net.listeners.Ended."""
    _log.info("request", extra={"fields": told(exchange, seconds)})


def told(exchange: Exchange, seconds: float) -> dict[str, Any]:
    """What the line says. The query is left out: some protocols have keys in it.

    key: the name of the caller's key; model: the one that answered; prompt and completion: tokens; ms: milliseconds.
    """
    meter = exchange.meter
    fields: dict[str, Any] = {
        "request": exchange.id,
        "client": exchange.client,
        "key": exchange.principal,
        "method": exchange.method,
        "path": exchange.path[:_LONGEST],
        "status": exchange.status or _LEFT,
        "ms": round(seconds * 1000, 1),
    }
    if meter is not None:
        fields |= {
            "protocol": meter.protocol,
            "model": meter.served[:_LONGEST],
            "replica": meter.replica,
            "prompt": meter.usage.prompt if meter.usage is not None else 0,
            "completion": meter.usage.completion if meter.usage is not None else meter.chunks,
            "error": meter.error,
        }
    return fields
