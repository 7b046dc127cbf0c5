"""Which JSON schemas are none."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trunkcall.protocols.tgi_schemas import fault_of

GOOD: list[Any] = [
    {},
    True,
    {"type": "object", "properties": {"type": {"type": ["string", "null"]}, "items": {"enum": ["nonsense"]}}},
    {"type": "array", "items": {"anyOf": [{"type": "integer"}, {"$ref": "#/$defs/x"}]}, "$defs": {"x": False}},
    {"items": [{"type": "string"}], "additionalProperties": False, "allOf": [], "patternProperties": {"^a": {}}},
    {"enum": [{"type": "nonsense"}], "default": {"type": 3}, "description": "type"},
]


@pytest.mark.parametrize("schema", GOOD)
def test_schemas(schema: Any) -> None:
    assert fault_of(schema) is None


@pytest.mark.parametrize(
    ("schema", "fault"),
    [
        (None, "$ is not a schema"),
        ([], "$ is not a schema"),
        ({"type": "nonsense"}, "$.type: 'nonsense' is not a type"),
        ({"type": ["string", 3]}, "$.type: 3 is not a type"),
        ({"properties": {"a": {"type": "int"}}}, "$.properties.a.type: 'int' is not a type"),
        ({"properties": []}, "$.properties is not a schema"),
        ({"items": [{}, 3]}, "$.items[1] is not a schema"),
        ({"anyOf": {}}, "$.anyOf is not a schema"),
        ({"oneOf": [{"not": {"type": "x"}}]}, "$.oneOf[0].not.type: 'x' is not a type"),
    ],
)
def test_what_is_none(schema: Any, fault: str) -> None:
    assert fault_of(schema) == fault


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.sampled_from(["string", "type", "object"]),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.sampled_from(["type", "items", "properties", "anyOf", "$defs", "x"]), inner, max_size=3)
    ),
    max_leaves=12,
)


@given(JSON)
def test_anything_is_looked_at(schema: Any) -> None:
    found = fault_of(schema)
    assert found is None or found.startswith("$")
