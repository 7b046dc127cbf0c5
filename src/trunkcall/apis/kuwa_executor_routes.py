"""The paths of an executor: which endpoint a path is, and how a document describes them."""

from __future__ import annotations

from typing import Any

import msgspec

from trunkcall import __version__
from trunkcall.protocols.kuwa_words import STREAM


class Endpoint(msgspec.Struct, frozen=True):
    """A path that the kernel knows: the number of its slot, and whether it ends the call there."""

    number: int
    aborts: bool


def find_endpoint(path: str, base: str, limit: int) -> Endpoint | None:
    """Which endpoint a path is; the first is `base` itself, the others have their number behind it."""
    if not path.startswith(base):
        return None
    rest = path[len(base) :]
    aborts = rest.endswith("/abort")
    rest = rest.removesuffix("/abort")
    if not rest:
        return Endpoint(1, aborts)
    number = int(rest[1:]) if rest[0] == "/" and rest[1:].isascii() and rest[1:].isdigit() else 0
    return Endpoint(number, aborts) if 2 <= number <= limit and rest == f"/{number}" else None


def describe(path: str) -> dict[str, Any]:
    """The routes as an OpenAPI 3.1 document."""
    text = {"type": "string"}
    form = {
        "type": "object",
        "properties": {
            "input": {**text, "description": 'JSON: a list of {"isbot": false, "msg": "..."}, oldest first'},
            "modelfile": {**text, "description": 'JSON: a list of {"name": "system", "args": "..."}'},
        },
        "additionalProperties": text,
    }
    content = {kind: {"schema": form} for kind in ("application/x-www-form-urlencoded", "multipart/form-data")}
    stream = {"description": "The answer, piece by piece", "content": {STREAM.decode(): {"schema": text}}}
    told = {"content": {"application/json": {"schema": {"type": "object"}}}}
    return {
        "openapi": "3.1.0",
        "info": {"title": "Trunkcall: an executor of Kuwa", "version": __version__},
        "paths": {
            path: {
                "post": {
                    "summary": "Ask the model",
                    "requestBody": {"required": True, "content": content},
                    "responses": {
                        "200": stream,
                        "400": {"description": "No form", **told},
                        "429": {"description": "Busy", **told},
                    },
                }
            },
            f"{path}/abort": {"get": _page("End the running answer", "200", told)},
            "/health": {"get": _page("Whether calls are answered", "204", {})},
            "/metrics": {"get": _page("Numbers for Prometheus", "200", {"content": {"text/plain": {"schema": text}}})},
            "/shutdown": {"get": _page("End the executor", "200", told)},
        },
    }


def _page(summary: str, status: str, answer: dict[str, Any]) -> dict[str, Any]:
    return {"summary": summary, "responses": {status: {"description": "Done", **answer}}}
