"""Whose pages may change something on a server that asks for no key."""

from __future__ import annotations

from typing import Any, cast

import pytest

from trunkcall.control.access import Access, Hosts, guard
from trunkcall.control.keyring import Keyring
from trunkcall.control.own_page import Pages
from trunkcall.core.errors import ServingError

HERE = b"127.0.0.1:8000"
MINE = b"http://mine.example"


class Request:
    """What the guards look at of an exchange."""

    path = "/x"
    client = "127.0.0.1"
    principal = ""

    def __init__(self, method: str, **headers: bytes | None) -> None:
        self.method = method
        self._headers = {b"host": HERE, **{name.replace("_", "-").encode(): value for name, value in headers.items()}}

    def header(self, name: bytes) -> bytes | None:
        return self._headers.get(name)


class SomeApi:
    name = "some"


def passes(request: Request, cors: tuple[str, ...], keyring: Keyring | None = None) -> bool:
    refused: list[tuple[str, str]] = []
    check = guard(
        Access(keyring or Keyring()),
        hosts=Hosts(),
        pages=Pages(cors),
        refused=lambda api, kind: refused.append((api, kind)),
    )
    try:
        check(cast(Any, request), cast(Any, SomeApi()))
    except ServingError as error:
        assert error.kind == "forbidden"
        assert "`cors`" in error.message or "Origin" in error.message
        assert refused == [("some", "forbidden")]
        return False
    return True


@pytest.mark.parametrize(
    ("headers", "cors", "may"),
    [
        ({}, (), True),
        ({"sec_fetch_site": b"same-origin", "origin": b"http://127.0.0.1:8000"}, (), True),
        ({"sec_fetch_site": b"none"}, (), True),
        ({"origin": b"http://127.0.0.1:8000"}, (), True),
        ({"origin": b"http://127.0.0.1:3000"}, (), False),
        ({"origin": b"null"}, (), False),
        ({"origin": b""}, (), False),
        ({"origin": b"http://evil.example"}, (), False),
        ({"origin": b"http://127.0.0.1:8000.evil.example"}, (), False),
        ({"sec_fetch_site": b"cross-site"}, (), False),
        ({"sec_fetch_site": b"same-site", "origin": b"http://127.0.0.1:3000"}, (), False),
        ({"sec_fetch_site": b"cross-site", "origin": b"http://127.0.0.1:8000"}, (), False),
        ({"sec_fetch_site": b"cross-site", "origin": MINE}, ("http://mine.example",), True),
        ({"sec_fetch_site": b"cross-site", "origin": b"http://evil.example"}, ("http://mine.example",), False),
        ({"sec_fetch_site": b"cross-site"}, ("http://mine.example",), False),
        ({"sec_fetch_site": b"cross-site", "origin": b"http://evil.example"}, ("*",), True),
        ({"sec_fetch_site": b"cross-site"}, ("*",), True),
    ],
)
def test_whose_pages_may_change_something(headers: dict[str, bytes], cors: tuple[str, ...], may: bool) -> None:
    for method in ("POST", "PUT", "PATCH", "DELETE"):
        assert passes(Request(method, **headers), cors) is may
    for method in ("GET", "HEAD", "OPTIONS"):
        assert passes(Request(method, **headers), cors)


def test_where_a_key_is_needed_the_key_decides() -> None:
    request = Request("POST", sec_fetch_site=b"cross-site", authorization=b"Bearer s")
    assert passes(request, (), Keyring(configured={"k": "s"}))
    assert request.principal == "k"


def test_other_origins_from_one_request_to_the_next() -> None:
    pages = Pages()
    request = cast(Any, Request("POST", origin=MINE))
    with pytest.raises(ServingError, match="`cors`"):
        pages.check(request)
    pages.allow(["http://mine.example"])
    pages.check(request)
    pages.allow([])
    with pytest.raises(ServingError):
        pages.check(request)
