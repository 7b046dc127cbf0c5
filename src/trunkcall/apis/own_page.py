"""Web pages of other sites may not change what is here, though a browser lets them send."""

from __future__ import annotations

from trunkcall.core.errors import ServingError
from trunkcall.core.ports import Exchange


def check_own_page(exchange: Exchange) -> None:
    """Raises ServingError (forbidden) for a request that a page of another site sends."""
    if not is_own_page(exchange.header(b"sec-fetch-site"), exchange.header(b"origin"), exchange.header(b"host") or b""):
        raise ServingError("forbidden", "a page of another site may not change what is here; use this server's own")


def is_own_page(fetch_site: bytes | None, origin: bytes | None, host: bytes) -> bool:
    """Whether a request comes from no web page, or from one of ours; the arguments are headers."""
    if fetch_site is not None:
        return fetch_site in (b"same-origin", b"none")
    return origin is None or origin.partition(b"://")[2] == host
