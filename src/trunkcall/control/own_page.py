"""Web pages of other sites may not change what is here, though a browser lets them send."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from trunkcall.core.errors import ServingError
from trunkcall.core.ports import Exchange

_CHANGES_NOTHING: Final = frozenset({"GET", "HEAD", "OPTIONS"})


class Pages:
    """The origins whose pages may ask a server that asks for no key, beside its own: those of the setting `cors`.

    A browser sends what such a page posts as text or as a form without asking here first; the page cannot read the
    answer, but the engine would work for it. Where a key is needed, a page cannot send one that it does not have.
    """

    def __init__(self, origins: Iterable[str] = ()) -> None:
        self.allow(origins)

    def allow(self, origins: Iterable[str]) -> None:
        """Pages of these origins from now on; `*` is all."""
        self._origins = frozenset(origin.encode() for origin in origins)

    def check(self, exchange: Exchange) -> None:
        """Raises ServingError (forbidden) for what a page of another site sends that may change something."""
        if exchange.method in _CHANGES_NOTHING:
            return
        origin = exchange.header(b"origin")
        if b"*" in self._origins or origin in self._origins:
            return
        try:
            check_own_page(exchange)
        except ServingError as error:
            remedy = f"add {origin.decode('latin-1')} to `cors` in trunkcall.yaml" if origin else "send its Origin"
            raise ServingError(error.kind, f"{error.message}, or {remedy} where that site is yours") from None


def check_own_page(exchange: Exchange) -> None:
    """Raises ServingError (forbidden) for a request that a page of another site sends."""
    if not is_own_page(exchange.header(b"sec-fetch-site"), exchange.header(b"origin"), exchange.header(b"host") or b""):
        raise ServingError("forbidden", "a page of another site may not change what is here; use this server's own")


def is_own_page(fetch_site: bytes | None, origin: bytes | None, host: bytes) -> bool:
    """Whether a request comes from no web page, or from one of ours; the arguments are headers."""
    if fetch_site is not None:
        return fetch_site in (b"same-origin", b"none")
    return origin is None or origin.partition(b"://")[2] == host
