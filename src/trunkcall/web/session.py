"""Who looks at the page, and what it shows to them."""

from __future__ import annotations

from typing import Final, Literal

import msgspec

from trunkcall import __version__
from trunkcall.control.services import Services
from trunkcall.core.ports import Exchange
from trunkcall.web.options import Page, SignIn, SiteOptions

SESSION: Final = "/web/api/session"

ShownPage = Literal[Page, "usage"]
_PAGES: Final[tuple[Page, ...]] = ("chat", "compare", "battle", "models", "operate", "keys")
_OF_ADMINISTRATORS: Final = frozenset({"models", "operate", "keys"})


class Session(msgspec.Struct, frozen=True, kw_only=True):
    """What GET /web/api/session tells, with a key or without one.

    open: nobody needs a key; principal: the name of the caller's key; pages: what this caller may open, in order;
    models: the operator's order, without those that the caller may not ask; the rest as in SiteOptions.
    """

    version: str
    open: bool
    signed_in: bool
    principal: str
    role: Literal["admin", "user", ""]
    sign_in: SignIn
    pages: tuple[ShownPage, ...]
    locked: bool
    models: tuple[str, ...]
    columns: int | None
    conversations: bool
    heading: str
    terms: str
    most_characters: int | None
    most_turns: int | None
    parameters: dict[str, float]


def session(services: Services, options: SiteOptions, exchange: Exchange) -> Session:
    """What a caller is shown; a wrong key is like none."""
    admission = services.serving.admission
    signed_in = not admission.closed or bool(exchange.principal)
    administers = admission.may_look_inside(exchange.principal)
    may_see = admission.may_see
    return Session(
        version=__version__,
        open=not admission.closed,
        signed_in=signed_in,
        principal=exchange.principal,
        role="admin" if administers else "user" if signed_in else "",
        sign_in=options.sign_in,
        pages=_pages(options, administers, "admin" in services.apis) if signed_in else (),
        locked=options.locked,
        models=tuple(name for name in options.models if may_see(exchange.principal, name)),
        columns=options.columns,
        conversations=bool(options.conversations),
        heading=options.heading,
        terms=options.terms,
        most_characters=options.most_characters,
        most_turns=options.most_turns,
        parameters=options.parameters,
    )


def _pages(options: SiteOptions, administers: bool, administered: bool) -> tuple[ShownPage, ...]:
    """administered: administration is served by the same listener."""
    shown: list[ShownPage] = []
    for page in options.pages or _PAGES:
        if page not in _OF_ADMINISTRATORS or (administers and administered):
            shown.append(page)
        elif page == "keys" and not administers:
            shown.append("usage")
    return tuple(shown)
