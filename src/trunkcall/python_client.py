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
        return self._send("GET", _model(name), None)

    def change(
        self,
        name: str,
        *,
        asleep: bool | None = None,
        lora: dict[str, str | None] | None = None,
        settings: dict[str, Any] | None = None,
    ) -> T:
        """Let a model sleep or wake, load adapters (name to path) and take them out (name to None).

        settings: of a model that was added, as in trunkcall.yaml, None for the default.
        """
        told: dict[str, Any] = {} if asleep is None else {"asleep": asleep}
        return self._send("PATCH", _model(name), {**told, "lora": lora or {}, "settings": settings or {}})

    def add(self, name: str, source: str | Sequence[str], **settings: Any) -> T:
        """Make a model callable, for good; settings as in trunkcall.yaml."""
        return self._send("POST", "/admin/models", {"name": name, "source": source, **settings})

    def remove(self, name: str) -> T:
        """Take out a model that was added."""
        return self._send("DELETE", _model(name), None)

    def load(self, name: str) -> T:
        """Want a model's engines now; undoes `drain`."""
        return self._send("POST", f"{_model(name)}/load", {})

    def unload(self, name: str) -> T:
        """End a model's engines, after a drain."""
        return self._send("POST", f"{_model(name)}/unload", {})

    def drain(self, name: str, replica: str = "") -> T:
        """No new requests for a model, or for the replica of this id, until `load`."""
        return self._send("POST", f"{_model(name)}/drain", {"replica": replica})

    def restart(self, name: str, replica: str = "") -> T:
        """Start a model's engines anew one after another, or the replica of this id."""
        return self._send("POST", f"{_model(name)}/restart", {"replica": replica})

    def probe(self, url: str, key: str = "") -> T:
        """Which kind of server stands at an address, and its models; key: where its key stands, `env:NAME`."""
        return self._send("POST", "/admin/probe", {"url": url, "key": key})

    def estimate(self, source: str, **settings: Any) -> T:
        """What a model would take in memory and download; settings as in trunkcall.yaml."""
        return self._send("POST", "/admin/estimate", {"source": source, "settings": settings})

    def logs(self, name: str, lines: int = 200) -> T:
        """The last lines of a model's replicas, or of one replica by its id."""
        return self._send("GET", f"/admin/logs/{quote(name, safe='')}?lines={lines}", None)

    def keys(self) -> T:
        """All keys, without their secrets."""
        return self._send("GET", "/admin/keys", None)

    def create_key(self, name: str, **limits: Any) -> T:
        """Make a key; its `secret` is in this answer only. limits: as `trunkcall keys create` has them."""
        return self._send("POST", "/admin/keys", {"name": name, **limits})

    def change_key(self, name: str, **limits: Any) -> T:
        """Give a key other limits, None for none; `disabled=True` refuses its requests."""
        return self._send("PATCH", _key_path(name), limits)

    def revoke_key(self, name: str) -> T:
        """Forget a key."""
        return self._send("DELETE", _key_path(name), None)

    def usage(self, since: str | None = None, by: Sequence[str] = ("model",), until: str | None = None) -> T:
        """Requests, tokens and cost, by model, key, day, replica, protocol or error.

        since and until: a date such as 2026-01-31, or unix seconds.
        """
        return self._send("GET", _asking("/admin/usage", by=",".join(by), since=since, until=until), None)

    def requests(
        self,
        limit: int = 100,
        *,
        model: str | None = None,
        key: str | None = None,
        error: str | None = None,
        before: str | None = None,
    ) -> T:
        """The latest requests, newest first; error: a kind, or `any`; before: `next` of the last answer."""
        path = _asking("/admin/requests", limit=str(limit), model=model, key=key, error=error, before=before)
        return self._send("GET", path, None)

    def request(self, id: str) -> T:
        """One request by its id."""
        return self._send("GET", f"/admin/requests/{quote(id, safe='')}", None)

    def status(self) -> T:
        """How the server and its models do."""
        return self._send("GET", "/admin/status", None)

    def settings(self) -> T:
        """The settings in force, and where each came from."""
        return self._send("GET", "/admin/settings", None)

    def reload(self) -> T:
        """Have the server read its settings again."""
        return self._send("POST", "/admin/reload", {})


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


def _model(name: str) -> str:
    return f"/admin/models/{quote(name, safe='')}"


def _key_path(name: str) -> str:
    return f"/admin/keys/{quote(name, safe='')}"


def _asking(path: str, **asked: str | None) -> str:
    """A path with the parameters that are given."""
    return f"{path}?{urlencode({name: value for name, value in asked.items() if value})}"


def _root(url: str) -> str:
    return url.rstrip("/").removesuffix("/v1")


def _key(given: str | None) -> str:
    # The SDK insists on one; a server without keys takes any.
    return given or os.environ.get("TRUNKCALL_API_KEY") or "none"
