"""The OpenAPI description of administration: valid, complete, and the same table as the routes."""

from __future__ import annotations

from typing import Any

import msgspec
from apis.admin_rules import check_document

from trunkcall.apis.admin_document import describe
from trunkcall.apis.admin_operation import Ask, Nothing, operation


class Body(msgspec.Struct, frozen=True):
    """A body."""

    text: str


async def _ask(ask: Ask[Any, Any]) -> Nothing:
    return Nothing()


class _Query(msgspec.Struct, frozen=True, kw_only=True):
    """must: what must be."""

    must: str
    limit: int = 3


def test_an_operation_becomes_a_path_with_its_parameters_body_answers_and_errors() -> None:
    made = operation("POST", "/a/{name*}/b", "Does it", _ask, query=_Query, body=Body, gives=Nothing, status=201, errors=("no_model", "conflict"), streams="`x`")  # fmt: skip
    found = describe([made])
    check_document({**found, "paths": {path.replace("/a/", "/admin/"): told for path, told in found["paths"].items()}})
    assert found["openapi"] == "3.1.0"
    (told,) = found["paths"]["/a/{name}/b"].values()
    assert (
        told["operationId"] == "ask" and told["summary"] == "Does it" and told["description"] == "must: what must be."
    )
    assert [(one["name"], one["in"], one["required"]) for one in told["parameters"]] == [
        ("name", "path", True),
        ("must", "query", True),
        ("limit", "query", False),
    ]
    assert told["parameters"][2]["schema"] == {"type": "integer", "default": 3}
    assert told["requestBody"]["content"]["application/json"]["schema"] == {"$ref": "#/components/schemas/Body"}
    assert set(told["responses"]["201"]["content"]) == {"application/json", "text/event-stream"}
    assert told["responses"]["404"]["description"] == "no_model"
    assert told["responses"]["409"]["description"] == "conflict"
    assert {"400", "401", "403", "408", "413", "500", "503"} <= set(told["responses"])
    assert "_Query" not in found["components"]["schemas"], "it stands with the path"
