"""One Kuwa executor, called at the endpoint that it registers."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Final

from trunkcall.backends.kuwa_stream import (
    FORM_TYPE,
    SAID_LIMIT,
    Passed,
    Pieces,
    asking_user,
    fresh_id,
    passed,
    passed_headers,
    refused,
    told,
    written_headers,
)
from trunkcall.backends.owned import owned
from trunkcall.backends.patience import Patience
from trunkcall.backends.upstream import OF_A_KEY, PROBE, entered
from trunkcall.core.errors import ServingError
from trunkcall.core.events import Event
from trunkcall.core.log import log
from trunkcall.core.meter import Meter
from trunkcall.core.models import Health
from trunkcall.core.requests import Generate, Wire
from trunkcall.net.client import Client, Timeouts
from trunkcall.protocols.forms import emit_form, read_form
from trunkcall.protocols.kuwa import emit_fields

_ABORT: Final = Timeouts(connect=2.0, first_byte=10.0, idle=10.0, whole=10.0)


class KuwaEndpoint:
    """Fits core.ports.Backend, Generates and Forwards.

    origin, path: of the endpoint, `http://host:port` and `/chat`; model: the name that the executor is told,
    empty for the caller's; patience: seconds to go on while it is busy.
    """

    protocols: frozenset[str] = frozenset({"kuwa"})

    def __init__(self, origin: str, path: str, model: str, timeouts: Timeouts, patience: float) -> None:
        self._client = Client(origin, timeouts=timeouts, reuse_after_stream=True)
        self._path = path.encode()
        self._who = f"the executor {origin}{path}"
        self._model = model
        self._patience = patience

    async def health(self) -> Health:
        """Whether the executor says that it is well."""
        try:
            async with self._client.request(b"GET", b"/health", b"", timeouts=PROBE) as answer:
                if answer.status == 204:
                    return Health(True, what="Kuwa executor")
                wants_key = answer.status in OF_A_KEY
                return Health(False, f"/health answered {answer.status}, not 204", wants_key=wants_key)
        except ServingError as error:
            return Health(False, error.message)

    async def aclose(self) -> None:
        """Close all connections."""
        await self._client.aclose()

    def forward(self, wire: Wire, meter: Meter) -> AbstractAsyncContextManager[Passed]:
        """Pass the form and the caller's headers on, and the text back."""
        body = wire.body
        name = self._model or meter.served
        if self._model or name != meter.model:
            body = emit_form(read_form(FORM_TYPE, body).first() | {"name": name})
        return passed(self._ask(passed_headers(wire.headers), body), meter)

    def open(self, request: Generate, meter: Meter) -> AbstractAsyncContextManager[AsyncGenerator[Event]]:
        """Ask in Kuwa's words; what they cannot say is noted as dropped."""
        fields, meter.dropped = emit_fields(
            request,
            name=self._model or meter.served,
            history_id=request.session.conversation or fresh_id(),
            user_id=asking_user(request) or fresh_id(),
        )
        return told(self._ask(written_headers(request), emit_form(fields)), request, meter)

    @asynccontextmanager
    async def _ask(self, headers: bytes, body: bytes) -> AsyncGenerator[Pieces]:
        """The answer's pieces once the executor has time; leaving before their end stops it before this returns.

        Raises ServingError: overloaded, unreachable, upstream_error, upstream_timeout.
        """
        patience = Patience(0.05, 1.0, self._patience)
        busy = False
        while True:
            sent = self._client.request(b"POST", self._path, headers, body)
            pieces: Pieces | None = None
            # An abort stops whatever the executor does, and until it answers a busy one may be at another's work.
            begun = not busy
            try:
                incoming = await entered(sent)
                begun = incoming.status == 200
                if begun:
                    pieces = Pieces(incoming)
                    yield pieces
                    return
                said = await incoming.read(SAID_LIMIT)
            except ServingError as error:
                begun = begun and error.kind != "unreachable"
                raise
            finally:
                await sent.__aexit__(None, None, None)
                if begun and (pieces is None or not pieces.complete):
                    await owned(self._abort())
            busy = incoming.status == 429
            if not busy:
                raise refused(self._who, incoming.status, said)
            await patience.pause(self._who)

    async def _abort(self) -> None:
        """Have the executor stop; one that cannot be asked has the closed connection to tell it."""
        try:
            async with self._client.request(b"GET", self._path + b"/abort", b"", timeouts=_ABORT) as answer:
                await answer.read(SAID_LIMIT)
        except ServingError as error:
            log.info("%s could not be told to stop: %s", self._who, error.message)
