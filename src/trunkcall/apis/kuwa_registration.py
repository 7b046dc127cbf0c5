"""Keeping an executor registered with a Kuwa kernel, from its start to its end."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Sequence
from typing import Final
from urllib.parse import urlsplit

from trunkcall.core.errors import ServingError
from trunkcall.core.log import log
from trunkcall.net.client import Client, Timeouts
from trunkcall.protocols.forms import emit_form
from trunkcall.protocols.kuwa_words import FAILED, SUCCESS

PAUSES: Final = (1.0, 2.0, 4.0, 8.0)
"""Seconds between the tries to register; random up to a quarter is added."""
RENEW_SECONDS: Final = 10.0
"""So soon a kernel that has lost its list knows the executor again."""
LEAVE_SECONDS: Final = 5.0

_HEADERS: Final = b"Content-Type: application/x-www-form-urlencoded\r\n"
_TIMEOUTS: Final = Timeouts(connect=5.0, first_byte=20.0, idle=5.0, whole=25.0)
_ANSWER_LIMIT: Final = 64 * 1024
_UNSPECIFIED: Final = frozenset({"0.0.0.0", "::"})


class Registration:
    """Each access code at each endpoint, on one kernel.

    kernel: its URL, with or without a slash at its end; interface: the version in its paths.

    Raises ServingError (bad_request) for what is no such URL.
    """

    def __init__(
        self,
        kernel: str,
        interface: str,
        codes: Sequence[str],
        endpoints: Sequence[str],
        *,
        pauses: Sequence[float] = PAUSES,
        renew_seconds: float = RENEW_SECONDS,
    ) -> None:
        parts = urlsplit(kernel)
        self._client = Client(f"{parts.scheme}://{parts.netloc}", timeouts=_TIMEOUTS)
        self._kernel = kernel
        self._paths = f"{parts.path.rstrip('/')}/{interface}/worker/"
        self._codes = codes
        self._endpoints = endpoints
        self._pauses = pauses
        self._renew_seconds = renew_seconds
        self._joined: list[str] = []

    async def live(self) -> None:
        """Register, stay registered until cancelled, and unregister.

        Raises ServingError (unreachable) when the kernel cannot be registered with at all.
        """
        leaving = self._codes
        try:
            await self._join()
            await self._stay()
        except ServingError:
            leaving = self._joined
            raise
        finally:
            await self._leave(leaving)
            await self._client.aclose()

    async def _join(self) -> None:
        for pause in (*self._pauses, None):
            try:
                for code in self._codes:
                    await self._register(code)
                return
            except ServingError as error:
                if pause is None:
                    raise ServingError(
                        "unreachable",
                        f"registering with the kernel at {self._kernel} failed {len(self._pauses) + 1} times: "
                        f"{error.message} Start the kernel, correct its URL (--kernel_url), or do without one "
                        "(--ignore_kernel). The program will exit now.",
                    ) from error
                log.warning("registering with the kernel at %s failed: %s", self._kernel, error.message)
                await asyncio.sleep(pause * (1 + random.random() / 4))

    async def _stay(self) -> None:
        away = False
        while True:
            await asyncio.sleep(self._renew_seconds)
            try:
                forgotten = [code for code in self._codes if await self._register(code)]
            except ServingError as error:
                if not away:
                    log.warning("the kernel at %s does not answer: %s", self._kernel, error.message)
                away = True
                continue
            if forgotten:
                log.info("registered again with the kernel, which had forgotten %s", ", ".join(forgotten))
            elif away:
                log.info("the kernel at %s answers again", self._kernel)
            away = False

    async def _leave(self, codes: Sequence[str]) -> None:
        try:
            async with asyncio.timeout(LEAVE_SECONDS):
                for code in codes:
                    # It takes all endpoints of the code at this host and port.
                    if await self._ask("unregister", code, self._endpoints[0]) == SUCCESS:
                        log.info("Unregistered %s from kernel.", code)
        except TimeoutError:
            log.warning("the kernel at %s did not answer in time to unregister", self._kernel)
        except ServingError as error:
            log.warning("unregistering failed: %s", error.message)

    async def _register(self, code: str) -> bool:
        """Whether the kernel did not know some of the code's endpoints; all are registered then."""
        words = await self._register_endpoints(code)
        if code not in self._joined and FAILED in words:
            # Records of an earlier life on this port, maybe of one that was killed in the middle of an answer:
            # an old kernel would think them busy for ever.
            await self._ask("unregister", code, self._endpoints[0])
            words = await self._register_endpoints(code)
            if FAILED in words:
                log.warning(
                    "the kernel at %s answers Failed for %s: it has this endpoint already, or does not let us register",
                    self._kernel,
                    code,
                )
        if code not in self._joined:
            self._joined.append(code)
            log.info("registered %s with the kernel at %s: %s", code, self._kernel, ", ".join(self._endpoints))
        return SUCCESS in words

    async def _register_endpoints(self, code: str) -> list[str]:
        return [await self._ask("register", code, endpoint) for endpoint in self._endpoints]

    async def _ask(self, action: str, code: str, endpoint: str) -> str:
        body = emit_form({"name": code, "endpoint": endpoint})
        asked = self._client.request(b"POST", f"{self._paths}{action}".encode(), _HEADERS, body)
        async with asked as answer:
            word = (await answer.read(_ANSWER_LIMIT)).decode(errors="replace").strip()
        if not 200 <= answer.status < 300 or word not in (SUCCESS, FAILED):
            raise ServingError(
                "upstream_error",
                f"its answer to {action} is {answer.status} {word[:60]!r}, not Kuwa's; is it the URL of a kernel?",
            )
        return word


def registered_base(given: str, own: str) -> str:
    """Where the kernel finds us, `scheme://host:port`: as given, port 0 standing for our listener's; else our listener.

    Raises ServingError (bad_request) when there is no address that others could reach.
    """
    listening = urlsplit(own)
    if not given:
        if listening.hostname in _UNSPECIFIED:
            raise ServingError(
                "bad_request",
                f"a kernel cannot reach {own}; set the option endpoint to http://HOST with a name of this machine",
                param="endpoint",
            )
        return own
    try:
        parts = urlsplit(given.rstrip("/"))
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise ValueError("no http or https URL")
        netloc = parts.netloc if parts.port != 0 else f"{parts.netloc.removesuffix('0')}{listening.port}"
    except ValueError as error:
        raise ServingError(
            "bad_request", f"endpoint: {given!r} is not like http://HOST:PORT ({error})", param="endpoint"
        ) from None
    return f"{parts.scheme}://{netloc}{parts.path}"
