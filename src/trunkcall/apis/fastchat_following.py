"""Keeping the models of a FastChat controller in the registry: those that it lists now, and no others."""

from __future__ import annotations

import asyncio
from typing import Final
from urllib.parse import urlsplit

import msgspec

from trunkcall.control.registry import Registry
from trunkcall.core.errors import ServingError
from trunkcall.core.log import log
from trunkcall.net.client import Client, Timeouts

SCHEME: Final = "fastchat"
LOOK_SECONDS: Final = 3.0
"""So soon a model that came or went is known, when nobody asks for it before."""
REFRESH_SECONDS: Final = 5.0
"""How long a controller may ask its workers; what they have not said by then is not waited for."""

_HEADERS: Final = b"Content-Type: application/json\r\n"
_TIMEOUTS: Final = Timeouts(connect=2.0, first_byte=10.0, idle=5.0, whole=10.0)
_ANSWER_LIMIT: Final = 4 << 20


class _Listed(msgspec.Struct):
    models: list[str]


_listed = msgspec.json.Decoder(_Listed)


class Following:
    """One controller at `url`, whose models are called through it; once: those of its first list, and no others later.

    Raises ServingError (bad_request) for what is no URL of one.
    """

    def __init__(self, registry: Registry, url: str, *, once: bool = False) -> None:
        parts = urlsplit(url)
        if parts.scheme not in ("http", "https") or not parts.hostname or parts.query or parts.username:
            raise ServingError(
                "bad_request",
                "controller: this is not the URL of a controller; write it like http://HOST:21001",
                param="controller",
            )
        self.url = url.rstrip("/")
        self._registry = registry
        self._client = Client(f"{parts.scheme}://{parts.netloc}", timeouts=_TIMEOUTS)
        self._path = parts.path.rstrip("/")
        self._turn = asyncio.Lock()
        self._begun = 0
        self._refreshed = 0
        """The last of those begun that asked for a refresh."""
        self._failure: ServingError | None = None
        self._refused: set[str] = set()
        self._once = once
        self._first: frozenset[str] = frozenset()
        """Of the first list that was not empty."""

    async def live(self) -> None:
        """Look again and again until cancelled."""
        try:
            while True:
                try:
                    await self.look()
                except ServingError:
                    # Told in the log when it began, and to whoever asks for what is not there.
                    pass
                await asyncio.sleep(LOOK_SECONDS)
        finally:
            await self._client.aclose()

    async def look(self, *, refresh: bool = False) -> None:
        """Bring the registry up to what the controller says now; refresh: after it has asked its workers.

        Callers at one time share one question. Raises ServingError (no_capacity) when the controller does not say.
        """
        wanted = self._begun + 1
        async with self._turn:
            # One that began before we came may be older than what we want to know.
            if (self._refreshed if refresh else self._begun) < wanted:
                self._begun += 1
                if refresh:
                    self._refreshed = self._begun
                await self._look(refresh)
            if self._failure is not None:
                raise self._failure

    async def _look(self, refresh: bool) -> None:
        try:
            if refresh:
                await self._refresh()
            names = dict.fromkeys(_listed.decode(await self._ask("/list_models")).models)
        except (ServingError, msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
            self._away(error)
            return
        if self._failure is not None:
            log.info("the controller at %s answers again", self.url)
        self._failure = None
        listed = [name for name in names if name]
        self._first = self._first or frozenset(listed)
        self._agree([name for name in listed if name in self._first] if self._once else listed)

    async def _refresh(self) -> None:
        try:
            async with asyncio.timeout(REFRESH_SECONDS):
                await self._ask("/refresh_all_workers")
        except TimeoutError:
            log.info("the controller at %s takes long to ask its workers; its list is taken as it is", self.url)

    def _away(self, error: Exception) -> None:
        reason = error.message if isinstance(error, ServingError) else f"its list of models is not one ({error})"
        if self._failure is None:
            log.warning("the controller at %s does not answer: %s", self.url, reason)
        self._failure = ServingError(
            "no_capacity",
            f"the FastChat controller at {self.url} does not answer: {reason} Its models are back as soon as it is",
            retry_after=LOOK_SECONDS,
        )
        # Nothing listens there. One that is slow keeps its models: it is when it waits for dead workers.
        if isinstance(error, ServingError) and error.kind == "unreachable":
            self._agree([])

    def _agree(self, names: list[str]) -> None:
        """Make the registry have these names of the controller's."""
        for name in names:
            try:
                self._registry.join(name, SCHEME, self.url, None)
            except ServingError as error:
                if name not in self._refused:
                    self._refused.add(name)
                    log.warning("the model %r of the controller at %s is left out: %s", name, self.url, error.message)
        worker = self._registry.find(SCHEME, self.url)
        if worker is not None:
            for name in [name for name in worker.names if name not in names]:
                self._registry.leave(name, worker)

    async def _ask(self, route: str) -> bytes:
        asked = self._client.request(b"POST", f"{self._path}{route}".encode(), _HEADERS)
        async with asked as answer:
            body = await answer.read(_ANSWER_LIMIT)
        if answer.status != 200:
            raise ServingError("upstream_error", f"{route} is answered with {answer.status}, as no controller does.")
        return body
