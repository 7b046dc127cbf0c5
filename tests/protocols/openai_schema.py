"""Checks JSON against OpenAI's published description."""

from __future__ import annotations

import json
from functools import cache
from pathlib import Path
from typing import Any, cast

from jsonschema import Draft202012Validator

_API = Path(__file__).parent / "data" / "openai" / "openapi-pruned.json"


def _with_null(value: Any) -> Any:
    """The description is 3.1 but still writes 3.0's `nullable`, which JSON Schema does not know."""
    if isinstance(value, list):
        return [_with_null(item) for item in cast("list[Any]", value)]
    if not isinstance(value, dict):
        return value
    fields = {key: _with_null(item) for key, item in cast("dict[str, Any]", value).items()}
    if fields.get("nullable") is True:
        return {"anyOf": [{key: item for key, item in fields.items() if key != "nullable"}, {"type": "null"}]}
    return fields


@cache
def _validator(name: str) -> Draft202012Validator:
    api = _with_null(json.loads(_API.read_bytes()))
    return Draft202012Validator({"$ref": f"#/components/schemas/{name}", "components": api["components"]})


def check(name: str, value: Any) -> None:
    """Raise when `value` does not fit the schema called `name`."""
    errors = [f"{error.json_path}: {error.message}" for error in _validator(name).iter_errors(value)]
    assert not errors, errors
