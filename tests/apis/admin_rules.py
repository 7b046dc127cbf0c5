"""OpenAPI 3.1's own rules for the description of administration, as far as they can be broken there."""

from __future__ import annotations

import re
from typing import Any

import jsonschema
import msgspec


def check_document(document: dict[str, Any]) -> None:
    """The shape, the schemas, the references, the ids and the parameters of paths."""
    jsonschema.validate(document, _OPENAPI)
    components = document["components"]["schemas"]
    for schema in components.values():
        jsonschema.Draft202012Validator.check_schema(schema)
    references = set(re.findall(r'"\$ref":"#/components/schemas/([^"]+)"', msgspec.json.encode(document).decode()))
    assert references <= set(components), "each reference leads somewhere"
    assert set(components) <= references, "nothing is described for nobody"
    told = [one for path in document["paths"].values() for one in path.values()]
    ids = [one["operationId"] for one in told]
    assert len(ids) == len(set(ids))
    for path, operations in document["paths"].items():
        for one in operations.values():
            stated = {p["name"] for p in one.get("parameters", ()) if p["in"] == "path"}
            assert stated == set(re.findall(r"{(\w+)}", path)), path


_SCHEMA = {"type": ["object", "boolean"]}
_MEDIA = {
    "type": "object",
    "minProperties": 1,
    "additionalProperties": {"type": "object", "required": ["schema"], "properties": {"schema": _SCHEMA}, "additionalProperties": False},
}  # fmt: skip
_OPENAPI = {
    "type": "object",
    "required": ["openapi", "info", "paths", "components", "security"],
    "additionalProperties": False,
    "properties": {
        "openapi": {"const": "3.1.0"},
        "info": {"type": "object", "required": ["title", "version", "description"]},
        "security": {"type": "array", "items": {"type": "object"}},
        "components": {
            "type": "object",
            "properties": {"schemas": {"type": "object"}, "securitySchemes": {"type": "object"}},
            "additionalProperties": False,
        },
        "paths": {
            "type": "object",
            "propertyNames": {"pattern": "^/admin/"},
            "additionalProperties": {
                "type": "object",
                "propertyNames": {"enum": ["get", "post", "patch", "delete"]},
                "additionalProperties": {
                    "type": "object",
                    "required": ["operationId", "summary", "responses"],
                    "additionalProperties": False,
                    "properties": {
                        "operationId": {"pattern": "^[a-z_]+$"},
                        "summary": {"type": "string", "minLength": 5},
                        "description": {"type": "string"},
                        "parameters": {
                            "type": "array",
                            "items": {
                                "type": "object",
                                "required": ["name", "in", "required", "schema"],
                                "properties": {"in": {"enum": ["path", "query"]}, "required": {"type": "boolean"}, "schema": _SCHEMA},
                            },
                        },
                        "requestBody": {"type": "object", "required": ["content"], "properties": {"content": _MEDIA}},
                        "responses": {
                            "type": "object",
                            "propertyNames": {"pattern": "^[1-5][0-9][0-9]$"},
                            "additionalProperties": {
                                "type": "object",
                                "required": ["description", "content"],
                                "properties": {"content": _MEDIA},
                            },
                        },
                    },
                },
            },
        },
    },
}  # fmt: skip
