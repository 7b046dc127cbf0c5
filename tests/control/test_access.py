"""Who may call and who may register, by key and by network."""

from __future__ import annotations

import base64
from typing import Any, cast

import pytest

from trunkcall.control.access import Access, Networks, allow_calls, allow_workers
from trunkcall.core.errors import ServingError


class Caller:
    """What the guards look at of an exchange."""

    def __init__(self, client: str, principal: str = "") -> None:
        self.client = client
        self.principal = principal


def passes(check: Any, client: str, principal: str = "") -> bool:
    try:
        check(cast(Any, Caller(client, principal)))
    except ServingError as error:
        assert error.kind == "forbidden"
        return False
    return True


@pytest.mark.parametrize(
    ("words", "address", "inside"),
    [
        (["10.0.0.0/8"], "10.1.2.3", True),
        (["10.0.0.0/8"], "11.1.2.3", False),
        (["10.0.0.7"], "10.0.0.7", True),
        (["10.0.0.0/8"], "::ffff:10.1.2.3", True),
        (["fd00::/8"], "fd12::1", True),
        (["0.0.0.0/0"], "fd12::1", False),
        (["0.0.0.0/0"], "", False),
        (["0.0.0.0/0"], "unix:/tmp/socket", False),
        ([], "127.0.0.1", False),
    ],
)
def test_networks(words: list[str], address: str, inside: bool) -> None:
    assert (address in Networks(words)) is inside


@pytest.mark.parametrize(
    ("networks", "client", "may_call", "may_register"),
    [
        ((), "10.1.1.1", True, False),
        ((), "127.0.0.1", True, True),
        (("10.0.0.0/8",), "10.1.1.1", True, True),
        (("10.0.0.0/8",), "192.168.1.1", False, False),
        (("10.0.0.0/8",), "::1", True, True),
    ],
)
def test_calls_are_open_and_registration_is_not(
    networks: tuple[str, ...], client: str, may_call: bool, may_register: bool
) -> None:
    assert passes(allow_calls(networks), client) is may_call
    assert passes(allow_workers(networks), client) is may_register
    assert passes(allow_workers(networks), client, principal="ops"), "a key opens it too"


class Request:
    """What the check of keys looks at of an exchange."""

    def __init__(
        self, path: str, key: str = "", method: str = "POST", headers: dict[bytes, bytes] | None = None
    ) -> None:
        self.path = path
        self.method = method
        self.principal = ""
        self._headers = {b"authorization": f"Bearer {key}".encode()} if key else headers or {}

    def header(self, name: bytes) -> bytes | None:
        return self._headers.get(name)


class PartlyOpenApi:
    name = "some"
    open_paths = frozenset({"/open", "GET /half"})


@pytest.mark.parametrize(
    ("path", "key", "principal"),
    [("/open", "", ""), ("/open", "wrong", ""), ("/open", "s", "k"), ("/closed", "s", "k"),
     ("/closed", "", None), ("/closed", "wrong", None), ("/open/x", "", None)],
)  # fmt: skip
def test_an_api_may_have_paths_that_need_no_key(path: str, key: str, principal: str | None) -> None:
    request = cast(Any, Request(path, key))
    try:
        Access({"k": "s"}).check(request, cast(Any, PartlyOpenApi()))
    except ServingError as error:
        assert (error.kind, principal) == ("unauthenticated", None)
    else:
        assert request.principal == principal


@pytest.mark.parametrize("method", ["GET", "POST"])
def test_a_path_may_be_open_for_one_method(method: str) -> None:
    request = cast(Any, Request("/half", method=method))
    if method == "GET":
        Access({"k": "s"}).check(request, cast(Any, PartlyOpenApi()))
    else:
        with pytest.raises(ServingError, match="needs an API key"):
            Access({"k": "s"}).check(request, cast(Any, PartlyOpenApi()))


@pytest.mark.parametrize(
    ("header", "known"),
    [
        ("Bearer s", True), ("bEARER   s ", True), ("Bearer S", False), ("Bearer", False),
        ("Basic " + base64.b64encode(b"user:s").decode(), True),
        ("basic " + base64.b64encode(b":s").decode(), True),
        ("Basic " + base64.b64encode(b"s").decode(), False),
        ("Basic " + base64.b64encode(b"s:user").decode(), False),
        ("Basic user:s", False),
        ("Basic \xff", False),
        ("user s", True),
        ("s", False),
    ],
)  # fmt: skip
def test_ways_to_show_a_key(header: str, known: bool) -> None:
    request = cast(Any, Request("/closed", headers={b"authorization": header.encode("latin-1")}))
    try:
        Access({"k": "s"}).check(request, cast(Any, PartlyOpenApi()))
    except ServingError as error:
        assert (error.kind, known) == ("unauthenticated", False)
    else:
        assert (request.principal, known) == ("k", True)
