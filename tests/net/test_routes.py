"""The table of routes: exact, captured, and collisions found at the start."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import pytest

from trunkcall.core.errors import ServingError
from trunkcall.core.ports import Exchange, Response, Route
from trunkcall.net.listeners import RouteTable


async def handler(exchange: Exchange) -> None:
    pass


class Some:
    plane: Literal["inference", "control", "worker"] = "inference"

    def __init__(self, name: str, *paths: tuple[str, str]) -> None:
        self.name = name
        self._paths = paths

    def routes(self) -> Sequence[Route]:
        return [Route(method, path, handler) for method, path in self._paths]

    def failure(self, error: ServingError) -> Response:
        return Response(error.status, b"")


def test_exact_and_captured() -> None:
    table = RouteTable([Some("a", ("GET", "/v1/models"), ("GET", "/v1/models/{model*}"), ("GET", "/x/{a}/y"))])
    assert table.find("GET", "/v1/models") is not None
    found = table.find("GET", "/v1/models/org/name")
    assert found is not None
    assert found[2] == {"model": "org/name"}
    assert table.find("GET", "/x/1/2/y") is None
    found = table.find("GET", "/x/1/y")
    assert found is not None
    assert found[2] == {"a": "1"}
    assert table.find("POST", "/v1/models") is None
    assert table.methods("/v1/models") == ["GET"]


def test_two_apis_that_claim_one_path_are_both_named() -> None:
    with pytest.raises(ValueError, match=r"GET /v1/\{other\} is claimed by both a and b"):
        RouteTable([Some("a", ("GET", "/v1/{name}")), Some("b", ("GET", "/v1/{other}"))])


def test_same_path_with_another_method_is_no_collision() -> None:
    table = RouteTable([Some("a", ("GET", "/v1/x")), Some("b", ("POST", "/v1/x"))])
    assert table.methods("/v1/x") == ["GET", "POST"]
