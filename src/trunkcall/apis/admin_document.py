"""The description of administration in OpenAPI 3.1, made from its operations."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any, Final, cast

import msgspec

from trunkcall import __version__
from trunkcall.apis.admin_operation import Operation
from trunkcall.core.errors import STATUS, Kind

_ALWAYS: Final[tuple[Kind, ...]] = ("bad_request", "unauthenticated", "forbidden", "draining", "bug")
_READS_BODY: Final[tuple[Kind, ...]] = ("too_large", "deadline")
_TEMPLATE: Final = "#/components/schemas/{name}"
_REFERENCE: Final = re.compile(rb'"#/components/schemas/([^"]+)"')

_ABOUT: Final = """\
Models, keys, records and settings of a running Trunkcall server, as JSON. Where the server has keys, each call needs
one of role admin. POST and PATCH must have content-type: application/json. A failure is an `Error`; its kind is for
programs and its message, which says what to do, for people."""


class ErrorBody(msgspec.Struct, frozen=True):
    """message: what is wrong and what to do; kind: the same for programs; param: the field at fault, if one is."""

    message: str
    kind: Kind
    param: str | None


class Error(msgspec.Struct, frozen=True):
    """What a failure is told as."""

    error: ErrorBody


def describe(operations: Sequence[Operation]) -> dict[str, Any]:
    """The OpenAPI document of these operations."""
    types: list[Any] = [Error]
    for one in operations:
        types += [one.query, *((one.body,) if one.body is not None else ()), one.gives]
    schemas, components = msgspec.json.schema_components(types, ref_template=_TEMPLATE)
    said = iter(schemas)
    failure = next(said)
    paths: dict[str, dict[str, Any]] = {}
    for one in operations:
        query = _resolved(next(said), components)
        body = next(said) if one.body is not None else None
        gives = next(said)
        path = re.sub(r"\*}", "}", one.path)
        paths.setdefault(path, {})[one.method.lower()] = _described(one, query, body, gives, failure)
    return {
        "openapi": "3.1.0",
        "info": {"title": "Trunkcall administration", "version": __version__, "description": _ABOUT},
        "paths": paths,
        "components": {
            "schemas": _used(components, paths),
            "securitySchemes": {"key": {"type": "http", "scheme": "bearer"}},
        },
        "security": [{}, {"key": []}],
    }


def _described(
    one: Operation, query: dict[str, Any], body: dict[str, Any] | None, gives: dict[str, Any], failure: dict[str, Any]
) -> dict[str, Any]:
    parameters = [
        {"name": name, "in": "path", "required": True, "schema": {"type": "string", "minLength": 1}}
        for name in re.findall(r"{(\w+)\*?}", one.path)
    ]
    required = query.get("required", ())
    for name, schema in query.get("properties", {}).items():
        parameters.append({"name": name, "in": "query", "required": name in required, "schema": schema})
    answers: dict[str, Any] = {str(one.status): {"description": "Done", "content": _content(one, gives)}}
    by_status: dict[str, list[str]] = {}
    for kind in (*_ALWAYS, *(_READS_BODY if body is not None else ()), *one.errors):
        kinds = by_status.setdefault(str(STATUS[kind]), [])
        if kind not in kinds:
            kinds.append(kind)
    for status, kinds in sorted(by_status.items()):
        answers[status] = {"description": ", ".join(kinds), "content": {"application/json": {"schema": failure}}}
    found: dict[str, Any] = {"operationId": one.id, "summary": one.summary, "responses": answers}
    if query.get("description") and query.get("properties"):
        found["description"] = query["description"]
    if parameters:
        found["parameters"] = parameters
    if body is not None:
        found["requestBody"] = {"required": True, "content": {"application/json": {"schema": body}}}
    return found


def _content(one: Operation, gives: dict[str, Any]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    if one.gives is not None:
        found["application/json"] = {"schema": gives}
    if one.streams:
        told = f"Server-sent events, each with JSON as data: {one.streams}"
        found["text/event-stream"] = {"schema": {"type": "string", "description": told}}
    return found


def _used(components: dict[str, Any], by: Any) -> dict[str, Any]:
    """The schemas that are referred to; the parameters of a path stand with it instead."""
    found: dict[str, Any] = {}
    names = _REFERENCE.findall(msgspec.json.encode(by))
    while names:
        name = names.pop().decode()
        if name not in found:
            found[name] = components[name]
            names += _REFERENCE.findall(msgspec.json.encode(components[name]))
    return dict(sorted(found.items()))


def _resolved(schema: dict[str, Any], components: dict[str, Any]) -> dict[str, Any]:
    """What a reference stands for."""
    reference: str = schema.get("$ref", "")
    return cast(dict[str, Any], components[reference.rpartition("/")[2]]) if reference else schema
