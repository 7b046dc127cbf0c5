"""How to look at a vLLM server, put it to sleep, wake it, and change its adapters while it runs."""

from __future__ import annotations

from typing import Final

from trunkcall.backends.keys import Key
from trunkcall.backends.upstream import PROBE
from trunkcall.core.errors import ServingError
from trunkcall.core.ports import Told
from trunkcall.net.client import Client, Timeouts
from trunkcall.protocols import vllm as codec
from trunkcall.protocols.openai import read_error

ORDER: Final = Timeouts(connect=2.0, first_byte=180.0, idle=60.0, whole=240.0)
"""The limits of an order: waking copies all weights back to the GPU."""

_NO_ROUTE: Final = frozenset({404, 405, 501})
_NAMES: Final = (b"NotFoundError", b"InvalidUserInput")
"""vLLM's own refusals, some of which have the status of a missing route."""


class VllmControls:
    """Fits core.ports.Controls for the server behind a client, which may turn out to be no vLLM.

    root: the path in front of `/v1`; key: what it is asked with; metrics: the path of its metrics, empty for a server
    that is not to be looked at.
    """

    def __init__(self, client: Client, root: bytes, headers: bytes, key: Key, metrics: str) -> None:
        self.adapters: set[str] = set()
        self._client = client
        self._root = root
        self._headers = headers
        self._key = key
        self._metrics = metrics

    async def look(self) -> Told | None:
        """What its metrics tell; None when it is no vLLM. Raises ServingError when it cannot be asked now."""
        if not self._metrics:
            return None
        target = self._root + self._metrics.encode()
        async with self._client.request(b"GET", target, self._headers, timeouts=PROBE) as answer:
            body = await answer.read()
            if answer.status >= 500:
                raise ServingError("upstream_error", f"{self._metrics} answered {answer.status}")
            return codec.read_metrics(body) if answer.status == 200 else None

    async def sleep(self) -> None:
        """Have it free its GPUs, its weights being kept in the machine's memory; returns when it sleeps."""
        await self._order(codec.SLEEP, b"", "sleep", "the option `sleep: true`, or VLLM_SERVER_DEV_MODE=1")

    async def wake(self) -> None:
        """Returns when it can work again."""
        await self._order(codec.WAKE, b"", "be woken", "the option `sleep: true`, or VLLM_SERVER_DEV_MODE=1")

    async def load_adapter(self, name: str, path: str) -> None:
        """From now on it answers for `name` too; path: of a PEFT folder, as the server sees it."""
        await self._adapt(f"{name!r} at {path}", codec.LOAD_ADAPTER, codec.emit_load(name, path))

    async def unload_adapter(self, name: str) -> None:
        """It no longer answers for `name`."""
        await self._adapt(repr(name), codec.UNLOAD_ADAPTER, codec.emit_unload(name))

    async def _adapt(self, which: str, path: str, body: bytes) -> None:
        remedy = (
            "the option `runtime_lora: true`, or --enable-lora and VLLM_ALLOW_RUNTIME_LORA_UPDATING=True. "
            "llama.cpp has its adapters from the start, by the option `lora`, and each request may set their scales; "
            "transformers has the option `adapter`"
        )
        try:
            await self._order(path, body, "change its adapters while it runs", remedy)
        except ServingError as error:
            # Its refusals are about the adapter: it says 404 for a path where there is none.
            refused = error.upstream is not None and error.upstream[0] in (400, 404, 422)
            message = f"adapter {which}: {error.message}"
            if error.upstream is not None and error.upstream[0] >= 500:
                message += ". It may be for another base, or of a higher rank than the server was started for"
            raise ServingError("bad_request" if refused else error.kind, message, param="lora") from error

    async def _order(self, path: str, body: bytes, what: str, remedy: str) -> None:
        headers = self._headers + b"Content-Type: application/json\r\n"
        sent = self._client.request(b"POST", self._root + path.encode(), headers, body, timeouts=ORDER)
        async with sent as answer:
            said = await answer.read()
        if answer.status < 400:
            return
        if answer.status in _NO_ROUTE and not any(name in said for name in _NAMES):
            raise ServingError("unsupported", f"this server cannot {what}; a vLLM can that was started with {remedy}")
        raise read_error(answer.status, self._key.hidden_in(said))
