"""Shapes of answers in llama.cpp's words."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest
from msgspec import Raw

from trunkcall.core.errors import ServingError
from trunkcall.workers.native_shapes import take_format, take_regex

SCHEMA = {"properties": {"a": {}}}


def taken(take: Callable[[dict[str, Raw]], None], given: dict[str, Any]) -> dict[str, Any]:
    fields = {name: Raw(json.dumps(value).encode()) for name, value in given.items()}
    take(fields)
    return {name: json.loads(bytes(raw)) for name, raw in fields.items()}


@pytest.mark.parametrize(
    ("given", "fields"),
    [
        ({}, {}),
        ({"response_format": None}, {}),
        ({"response_format": {"type": "text"}, "x": 1}, {"x": 1}),
        ({"response_format": {"type": "json_object"}}, {"json_schema": {"type": "object"}}),
        ({"response_format": {"type": "json_schema", "json_schema": {"schema": SCHEMA}}}, {"json_schema": SCHEMA}),
        ({"response_format": {"type": "json_schema"}}, {"json_schema": {"type": "object"}}),
    ],
)
def test_formats(given: dict[str, Any], fields: dict[str, Any]) -> None:
    assert taken(take_format, given) == fields


GRAMMAR = {"grammar": "%llguidance {}\nstart: /a+/"}


@pytest.mark.parametrize(
    ("given", "fields"),
    [
        ({}, {}),
        ({"guided_regex": None, "structured_outputs": None}, {}),
        ({"guided_regex": "a+"}, GRAMMAR),
        ({"structured_outputs": {"regex": "a+"}}, GRAMMAR),
        ({"structured_outputs": {"regex": "a+"}, "guided_regex": "a+", "x": 1}, {**GRAMMAR, "x": 1}),
        ({"structured_outputs": {"choice": ["a"]}}, {"structured_outputs": {"choice": ["a"]}}),
    ],
)
def test_regular_expressions(given: dict[str, Any], fields: dict[str, Any]) -> None:
    assert taken(take_regex, given) == fields


@pytest.mark.parametrize(
    ("take", "given", "param"),
    [
        (take_format, {"response_format": {"type": "xml"}}, "response_format.type"),
        (take_format, {"response_format": "json"}, "response_format"),
        (take_format, {"response_format": {}}, "response_format"),
        (take_regex, {"guided_regex": 3}, "structured_outputs.regex"),
        (take_regex, {"structured_outputs": {"regex": ["a"]}}, "structured_outputs.regex"),
        (take_regex, {"guided_regex": "(a"}, "structured_outputs.regex"),
    ],
)
def test_what_is_no_shape(take: Callable[[dict[str, Raw]], None], given: dict[str, Any], param: str) -> None:
    with pytest.raises(ServingError) as caught:
        taken(take, given)
    assert (caught.value.kind, caught.value.param) == ("bad_request", param)


def test_what_the_engine_would_pass_over() -> None:
    with pytest.raises(ServingError, match=r"held to `\(\?=`") as caught:
        taken(take_regex, {"guided_regex": "(?=a)b"})
    assert caught.value.kind == "unsupported"
