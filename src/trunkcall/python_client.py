"""The official OpenAI client for a running server, with the calls of administration added."""

from __future__ import annotations

import os
from collections.abc import Awaitable, Callable, Sequence
from typing import Any, Final, Generic, TypeVar
from urllib.parse import quote, urlencode

from trunkcall.core.errors import ServingError

try:
    import openai
except ModuleNotFoundError:
    raise ServingError("unsupported", "trunkcall.Client needs the package openai: pip install openai") from None

_URL: Final = "http://127.0.0.1:8000"

T = TypeVar("T")


class Admin(Generic[T]):
    """What the server can be told and asked; each gives the JSON of /admin, awaited where the client is."""

    def __init__(self, send: Callable[[str, str, dict[str, Any] | None], T]) -> None:
        self._send = send

    def models(self) -> T:
        """All models with their replicas."""
        return self._send("GET", "/admin/models", None)

    def show(self, name: str) -> T:
        """One model with its replicas."""
        return self._send("GET", f"/admin/models/{quote(name)}", None)

    def change(self, name: str, *, asleep: bool | None = None, lora: dict[str, str | None] | None = None) -> T:
        """Let a model sleep or wake, load adapters (name to path) and take them out (name to None)."""
        told = {} if asleep is None else {"asleep": asleep}
        return self._send("PATCH", f"/admin/models/{quote(name)}", {**told, "lora": lora or {}})

    def add(self, name: str, source: str) -> T:
        """Make a model callable, for good."""
        return self._send("POST", "/admin/models", {"name": name, "source": source})

    def remove(self, name: str) -> T:
        """Take out a model that was added."""
        return self._send("DELETE", f"/admin/models/{quote(name)}", None)

    def usage(self, since: str | None = None, by: Sequence[str] = ("model",)) -> T:
        """Requests and tokens, by model, key, day, replica, protocol or error.

        since: a date such as 2026-01-31, or unix seconds.
        """
        asked = {"by": ",".join(by), **({"since": since} if since else {})}
        return self._send("GET", f"/admin/usage?{urlencode(asked)}", None)


class Client(openai.OpenAI):
    """openai.OpenAI for the server at `url`; TRUNKCALL_API_KEY is used where no key is given."""

    def __init__(self, url: str = _URL, api_key: str | None = None, **more: Any) -> None:
        root = _root(url)
        super().__init__(base_url=f"{root}/v1", api_key=_key(api_key), **more)
        self.admin: Admin[Any] = Admin(_sender(self, root))


class AsyncClient(openai.AsyncOpenAI):
    """openai.AsyncOpenAI, likewise."""

    def __init__(self, url: str = _URL, api_key: str | None = None, **more: Any) -> None:
        root = _root(url)
        super().__init__(base_url=f"{root}/v1", api_key=_key(api_key), **more)
        self.admin: Admin[Awaitable[Any]] = Admin(_sender(self, root))


def _sender(client: Any, root: str) -> Callable[[str, str, dict[str, Any] | None], Any]:
    def send(method: str, path: str, body: dict[str, Any] | None) -> Any:
        if body is not None:
            return (client.patch if method == "PATCH" else client.post)(root + path, cast_to=object, body=body)
        return (client.delete if method == "DELETE" else client.get)(root + path, cast_to=object)

    return send


def _root(url: str) -> str:
    return url.rstrip("/").removesuffix("/v1")


def _key(given: str | None) -> str:
    # The SDK insists on one; a server without keys takes any.
    return given or os.environ.get("TRUNKCALL_API_KEY") or "none"
