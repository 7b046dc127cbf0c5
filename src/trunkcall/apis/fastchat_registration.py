"""Keeping a worker registered with FastChat controllers, from the first model's readiness to its end."""

from __future__ import annotations

import asyncio
import random
import socket
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Final
from urllib.parse import urlsplit

from trunkcall.core.errors import ServingError
from trunkcall.core.log import log
from trunkcall.net.client import Client, Timeouts
from trunkcall.protocols.fastchat import Status
from trunkcall.protocols.fastchat_joining import emit_beat, emit_registration, read_beat

RETRY_SECONDS: Final = 5.0
LEAVE_SECONDS: Final = 3.0
LOOK_SECONDS: Final = 1.0
"""Between two looks at the names that are offered."""

_HEADERS: Final = b"Content-Type: application/json\r\n"
_TIMEOUTS: Final = Timeouts(connect=5.0, first_byte=10.0, idle=5.0, whole=15.0)
_ANSWER_LIMIT: Final = 64 * 1024
_UNSPECIFIED: Final = frozenset({"0.0.0.0", "::"})


class Registration:
    """One worker on one controller.

    controller: its URL; address: where it finds the worker, by which it knows it; status: the names that are
    offered, and the calls running and waiting; beat: seconds between two signs of life, retry: after a failed one.

    Raises ServingError (bad_request) for what is no URL of a controller.
    """

    def __init__(
        self,
        controller: str,
        address: str,
        status: Callable[[], Status],
        *,
        beat: float,
        multimodal: bool = False,
        retry: float = RETRY_SECONDS,
    ) -> None:
        parts = urlsplit(controller)
        self._client = Client(f"{parts.scheme}://{parts.netloc}", timeouts=_TIMEOUTS)
        self._path = parts.path.rstrip("/")
        self._controller = controller
        self._address = address
        self._status = status
        self._beat_seconds = beat
        self._retry_seconds = retry
        self._multimodal = multimodal
        self._told: tuple[str, ...] = ()
        """The names that the controller knows, as far as we know."""
        self._away = False

    async def live(self) -> None:
        """Register, and stay registered until cancelled.

        A controller that does not answer is tried again for ever: it may be started later.
        """
        while True:
            try:
                await self._show()
            except ServingError as error:
                self._miss(error)
                await asyncio.sleep(self._retry_seconds * (1 + random.random() / 4))
                continue
            if self._away:
                log.info("the FastChat controller at %s answers again", self._controller)
            self._away = False
            await self._rest()

    async def leave(self) -> None:
        """Take leave, after which this is of no more use.

        The protocol has no word for it: a worker without models is asked nothing, and expires.
        """
        try:
            if self._told:
                async with asyncio.timeout(LEAVE_SECONDS):
                    await self._ask("register_worker", emit_registration(self._address, Status(())))
        except TimeoutError:
            log.warning("the FastChat controller at %s did not answer in time to let us go", self._controller)
        except ServingError as error:
            log.warning("taking leave of the FastChat controller failed: %s", error.message)
        finally:
            await self._client.aclose()

    async def _show(self) -> None:
        """A sign of life; a registration where the controller does not know all of us."""
        status = self._status()
        if status.names == self._told:
            if not status.names:
                return
            beat = emit_beat(self._address, int(status.queue_length))
            if read_beat(await self._ask("receive_heart_beat", beat)):
                return
        await self._ask("register_worker", emit_registration(self._address, status, multimodal=self._multimodal))
        self._told = status.names
        log.info("registered %s with the controller at %s: %s", self._address, self._controller, ", ".join(self._told))

    async def _rest(self) -> None:
        """Until the next beat is due, or other models are offered."""
        loop = asyncio.get_running_loop()
        due = loop.time() + self._beat_seconds
        while (left := due - loop.time()) > 0 and self._status().names == self._told:
            await asyncio.sleep(min(left, LOOK_SECONDS))

    def _miss(self, error: ServingError) -> None:
        if not self._away:
            log.warning(
                "the FastChat controller at %s cannot be told of this worker: %s; it is tried again. Start it, "
                "correct --controller-address, or do without one (--no-register)",
                self._controller,
                error.message.rstrip("."),
            )
        self._away = True

    async def _ask(self, route: str, body: bytes) -> bytes:
        asked = self._client.request(b"POST", f"{self._path}/{route}".encode(), _HEADERS, body)
        async with asked as answer:
            text = await answer.read(_ANSWER_LIMIT)
        if answer.status != 200:
            raise ServingError(
                "upstream_error", f"it answers {route} with {answer.status}; is it the URL of a FastChat controller?"
            )
        return text


def worker_address(given: str, own: str, controllers: Sequence[str] = ()) -> str:
    """Where controllers and their clients find us: as given, else our listener's URL.

    The address of all interfaces is nobody's: that of this machine stands in for it. Port 0 stands for our listener's.
    May block while a controller's name is looked up.

    Raises ServingError (bad_request) for what is no URL.
    """
    listening = urlsplit(own)
    try:
        parts = urlsplit((given or own).rstrip("/"))
        host, port = parts.hostname, parts.port
        if parts.scheme not in ("http", "https") or not host:
            raise ValueError("no http or https URL")
    except ValueError as error:
        raise ServingError(
            "bad_request", f"address: {given!r} is not like http://HOST:PORT ({error})", param="address"
        ) from None
    if host not in _UNSPECIFIED and port != 0:
        return f"{parts.scheme}://{parts.netloc}{parts.path}"
    if host in _UNSPECIFIED:
        host = own_address(controllers)
        if given:
            log.warning(
                "nobody can reach %s; controllers are told %s in its place. Give an address of your own", given, host
            )
    shown = f"[{host}]" if ":" in host else host
    return f"{parts.scheme}://{shown}:{port or listening.port}{parts.path}"


def own_address(towards: Sequence[str]) -> str:
    """This machine's address on the way to one of those URLs; what its own name tells, where they are on it."""
    found: list[str] = []
    for url in towards:
        parts = urlsplit(url)
        with suppress(OSError, ValueError), socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
            # Sends nothing: it only chooses the interface.
            probe.connect((parts.hostname or "", parts.port or 80))
            found.append(probe.getsockname()[0])
    with suppress(OSError):
        found.append(socket.gethostbyname(socket.gethostname()))
    return next((address for address in found if not address.startswith("127.")), "127.0.0.1")
