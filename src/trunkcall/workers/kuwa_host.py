"""The HTTP side of a custom executor: its requests cross over to user code, and the answers back."""

from __future__ import annotations

import asyncio
import inspect
import socket
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, Final, Literal

import msgspec

from trunkcall.core.errors import ServingError
from trunkcall.core.ports import Exchange, Header, Response, Route
from trunkcall.net.listeners import Application, Listening
from trunkcall.net.relay import Relay, Reply
from trunkcall.protocols.forms import read_form
from trunkcall.protocols.kuwa_words import BUSY_BODY, EMPTY_REQUEST, ERROR_OCCURRED, NO_ABORT, STREAM
from trunkcall.workers.kuwa_classes import BaseExecutor
from trunkcall.workers.kuwa_crossing import Crossing
from trunkcall.workers.kuwa_given import Fields, Headers

PATH: Final = "/chat"
"""Of this process; the path that a kernel is told is the business of the server in front."""
_ABORT_SECONDS: Final = 10.0
"""As long as a kernel waits for an abort."""
_LEAVING_SECONDS: Final = 5.0
"""How long a request waits for user code that still works for a caller who left."""
_DRAIN_SECONDS: Final = 4.0
"""Of the five until our parent kills us, for answers that are on their way."""
_MAX_BODY: Final = 2**30
"""The server in front has the limit that was set."""

_HEAD: Final[tuple[Header, ...]] = (
    (b"content-type", STREAM),
    (b"cache-control", b"no-cache"),
)


class HostApi:
    """Fits core.ports.Api; `users` is the loop in which the executor's coroutines run.

    when_exit: called once when user code called sys.exit.
    """

    name = "kuwa_executor_host"
    plane: Literal["inference", "control", "worker"] = "worker"

    def __init__(
        self,
        executor: BaseExecutor,
        users: asyncio.AbstractEventLoop,
        relay: Relay,
        when_exit: Callable[[SystemExit], None],
    ) -> None:
        self._executor = executor
        self._users = users
        self._relay = relay
        self._when_exit = when_exit
        self._crossing: set[Crossing] = set()
        self.draining = False

    def routes(self) -> Sequence[Route]:
        """What the backend `kuwa` asks of an executor."""
        return (
            Route("POST", PATH, self._chat),
            Route("GET", f"{PATH}/abort", self._abort),
            Route("GET", "/health", self._health),
        )

    def failure(self, error: ServingError) -> Response:
        """The error as executors tell it."""
        return Response(error.status, msgspec.json.encode({"detail": error.message}))

    async def _chat(self, exchange: Exchange) -> None:
        self._refuse_when_draining()
        form = read_form(exchange.header(b"content-type"), await exchange.body())
        if not form:
            await exchange.respond(Response(400, EMPTY_REQUEST.encode()))
            return
        if not await self._free():
            await exchange.respond(Response(429, BUSY_BODY.encode()))
            return
        header = Headers((name.decode("latin-1"), value.decode("latin-1")) for name, value in exchange.headers)
        crossing = Crossing(self._users, partial(self._executor.serve, header, Fields(form.fields)))
        self._note(crossing)
        await self._relay.run(exchange, partial(_relay, crossing))

    async def _free(self) -> bool:
        """Whether there is room for one more, now or as soon as user code notices that its caller has left."""
        loop = asyncio.get_running_loop()
        end = loop.time() + _LEAVING_SECONDS
        while len(self._crossing) >= self._executor.concurrent_req_limit:
            leaving = [crossing.ended for crossing in self._crossing if crossing.left]
            rest = end - loop.time()
            if not leaving or rest <= 0:
                return False
            await asyncio.wait(leaving, timeout=rest, return_when=asyncio.FIRST_COMPLETED)
        return True

    def _note(self, crossing: Crossing) -> None:
        self._crossing.add(crossing)
        self._executor.concurrent_requests = len(self._crossing)

        def forget(_: asyncio.Future[None]) -> None:
            self._crossing.discard(crossing)
            self._executor.concurrent_requests = len(self._crossing)
            if crossing.exit is not None:
                self._when_exit(crossing.exit)

        crossing.ended.add_done_callback(forget)

    async def _abort(self, exchange: Exchange) -> None:
        abort: Callable[[], Any] | None = getattr(self._executor, "abort", None)
        if abort is None:
            await exchange.respond(Response(404, NO_ABORT.encode()))
            return
        # What abort() stops is not one caller's: the answer that was left is being closed already.
        others = self._executor.concurrent_req_limit > 1 and any(not crossing.left for crossing in self._crossing)
        said = "Aborted" if others else await self._ask(abort)
        await exchange.respond(Response(200, msgspec.json.encode({"msg": said})))

    async def _ask(self, abort: Callable[[], Any]) -> str:
        async def call() -> str:
            said = abort()
            return str(await said if inspect.isawaitable(said) else said)

        asked = asyncio.wrap_future(asyncio.run_coroutine_threadsafe(call(), self._users))
        try:
            return await asyncio.wait_for(asked, _ABORT_SECONDS)
        except TimeoutError:
            raise ServingError(
                "upstream_timeout",
                f"abort() of the executor gave no answer for {_ABORT_SECONDS:g} s; it, or llm_compute, blocks",
            ) from None

    async def _health(self, exchange: Exchange) -> None:
        self._refuse_when_draining()
        await exchange.respond(Response(204, b"", ()))

    def _refuse_when_draining(self) -> None:
        if self.draining:
            raise ServingError("draining", "this executor is ending; ask another", retry_after=1.0)


async def _relay(crossing: Crossing, reply: Reply) -> None:
    try:
        await reply.exchange.begin(200, _HEAD)
        async for piece in crossing:
            await reply.exchange.write(piece)
        await reply.exchange.finish(ERROR_OCCURRED.encode() if crossing.failed else b"")
    finally:
        crossing.leave()


async def host(
    executor: BaseExecutor,
    users: asyncio.AbstractEventLoop,
    bound: socket.socket,
    ended: asyncio.Event,
    when_ready: Callable[[str], None],
    when_exit: Callable[[SystemExit], None],
) -> None:
    """Serve the executor on a bound socket until `ended`, and finish what is running.

    when_ready: called with the URL that answers chats.
    """
    relay = Relay()
    api = HostApi(executor, users, relay, when_exit)
    listening = Listening(Application((api,), max_body=_MAX_BODY), bound)
    await listening.start()
    when_ready(listening.url + PATH)
    await ended.wait()
    api.draining = True
    if not await relay.drained(_DRAIN_SECONDS):
        relay.cut_all(ServingError("draining", "this executor ended before the answer was complete"))
        await relay.drained(0.1)
