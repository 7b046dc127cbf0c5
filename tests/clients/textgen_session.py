"""Makes calls with text_generation's clients and the Hub's, in a Python that has them, and prints what came of each.

Standard input is a JSON list of [class, URL, options of the client, method, arguments].
"""

from __future__ import annotations

import asyncio
import inspect
import json
import sys
from collections.abc import AsyncIterator, Iterator
from importlib import import_module
from importlib.metadata import version
from typing import Any

from pydantic import BaseModel

PACKAGES = {
    "Client": "text_generation",
    "AsyncClient": "text_generation",
    "InferenceClient": "huggingface_hub",
    "AsyncInferenceClient": "huggingface_hub",
}


def plain(value: Any) -> Any:
    """As JSON can have it."""
    return value.model_dump(mode="json") if isinstance(value, BaseModel) else value


async def made(cls: str, url: str | None, options: dict[str, Any], method: str, arguments: dict[str, Any]) -> Any:
    """What a call gives; all of it, when it comes in pieces."""
    client = getattr(import_module(PACKAGES[cls]), cls)(url, **options)
    answer = getattr(client, method)(**arguments)
    if inspect.isawaitable(answer):
        answer = await answer
    if isinstance(answer, AsyncIterator):
        return [plain(piece) async for piece in answer]
    if isinstance(answer, Iterator):
        return [plain(piece) for piece in answer]
    return plain(answer)


async def told(call: list[Any]) -> dict[str, Any]:
    """Its answer, or the exception that it raised."""
    try:
        return {"answer": await made(*call)}
    except Exception as error:  # noqa: BLE001 - whatever a client raises is what is to be told
        return {"raised": f"{type(error).__module__}.{type(error).__name__}", "text": str(error)}


async def main() -> None:
    """Make all calls, one after another."""
    calls = json.load(sys.stdin)
    answers = [await told(call) for call in calls]
    versions = {name: version(name) for name in {PACKAGES[call[0]] for call in calls}}
    json.dump({"versions": versions, "told": answers}, sys.stdout)


if __name__ == "__main__":
    asyncio.run(main())
