"""Kuwa's kernel: executors register here, and chats reserve one, use it and end it."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from contextlib import suppress
from functools import partial
from typing import Annotated, Final, Literal

import msgspec

from trunkcall.apis.kuwa_debug_page import error_page
from trunkcall.apis.kuwa_http import HTML, answering, form_of, word
from trunkcall.apis.kuwa_records import CUT_SECONDS, SCHEME, Records
from trunkcall.apis.kuwa_reservations import Reservations
from trunkcall.apis.kuwa_workers import Workers
from trunkcall.apis.openai import OpenAI
from trunkcall.control.attempts import NO_REPLICA, SAID
from trunkcall.control.calls import GenerateCall
from trunkcall.control.dispatch import Lease
from trunkcall.control.services import Services
from trunkcall.core.errors import Kind, ServingError
from trunkcall.core.log import log
from trunkcall.core.ports import Exchange, Header, Response, Route
from trunkcall.core.requests import Wire
from trunkcall.protocols import kuwa as codec
from trunkcall.protocols.forms import emit_form
from trunkcall.protocols.headers import STRICT, dropped_header, is_strict
from trunkcall.protocols.kuwa_words import BUSY, NO_INPUT, NOMACHINE, READY, SUCCESS

START_SECONDS: Final = 5.0
"""How long `schedule` waits for a model that is not started, before it says BUSY."""
SWEEP_SECONDS: Final = 1.0

_TEXT: Final[Header] = (b"content-type", b"text/plain")
_NOTHING: Final = Response(200, b"", (HTML,))
"""The answer to a chat that no executor can take."""
_KEYS: Final = frozenset({b"authorization", b"x-api-key", b"api-key"})
_NOBODY: Final[frozenset[Kind]] = frozenset({"no_model", "no_capacity", "unreachable"})
_NOT_FOR_YOU: Final[frozenset[Kind]] = frozenset({"no_model", "no_capacity", "unreachable", "forbidden"})
"""For these a scheduler is to look for another model."""


class KuwaKernel:
    """Fits core.ports.Api and Resident; paths are below /v1.0.

    What programs compare is as the old kernel said it. An empty name, and an endpoint at which no
    executor can be, are `Failed` here and were `Success` there; what was a crash of it (status
    500) tells here what is wrong, or is understood.
    """

    name = "kuwa_kernel"
    plane: Literal["inference", "control", "worker"] = "control"
    open_paths = frozenset({"POST /v1.0/worker/register", "POST /v1.0/worker/unregister"})
    """Executors have no keys; what the listener says of their networks holds for them."""

    class Options(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
        """reservation_seconds: how long a scheduled executor waits for its chat."""

        reservation_seconds: Annotated[float, msgspec.Meta(gt=0)] = 60.0

    def __init__(self, services: Services, options: Options) -> None:
        self._serving = services.serving
        self._dispatch = services.dispatch
        self._openai = OpenAI(services)
        self._reservations = Reservations(services.serving.cut, options.reservation_seconds)
        self._workers = Workers(services, Records(services.dispatch, services.registry, self._reservations))

    def routes(self) -> Sequence[Route]:
        """What is served."""
        return (
            *self._workers.routes(),
            *answering("/v1.0/worker/schedule", POST=self._schedule),
            *answering("/v1.0/chat/completions", POST=self._complete),
            *answering("/v1.0/chat/abort", POST=self._abort),
        )

    def failure(self, error: ServingError) -> Response:
        """The error as a page, as the old kernel's framework told it."""
        return error_page(error.status, error.message)

    async def live(self, url: str) -> None:
        """Let go of reservations that nobody used, until cancelled."""
        while True:
            await asyncio.sleep(SWEEP_SECONDS)
            for reservation in self._reservations.sweep():
                log.info("a reservation of %r was not used in time and is free again", reservation.name)

    async def _schedule(self, exchange: Exchange) -> None:
        form = await form_of(exchange)
        name, history_id = form.get("name"), form.get("history_id")
        if name is None or history_id is None:
            await exchange.respond(word(BUSY))
            return
        try:
            lease = await self._lease(exchange, name)
        except ServingError as error:
            if error.kind == "no_capacity":
                log.warning("nobody can be scheduled for %r: %s", name, error.message)
            await exchange.respond(word(NOMACHINE if error.kind in _NOT_FOR_YOU else BUSY))
            return
        if lease is not None:
            self._reservations.hold(lease, name, history_id, form.get("user_id"))
        await exchange.respond(word(BUSY if lease is None else READY))

    async def _lease(self, exchange: Exchange, name: str) -> Lease | None:
        """A lease on the model, or one that stands in for it; raises as Dispatch.lease does, of what was asked for."""
        self._serving.admission.check_model(exchange.principal, name)
        try:
            return await self._lease_of(exchange, name)
        except ServingError as error:
            if error.kind in NO_REPLICA:
                for other in self._dispatch.fallbacks(name):
                    with suppress(ServingError):
                        lease = await self._lease_of(exchange, other)
                        if lease is not None:
                            lease.why = f"fallback of {name}: {error.message:.{SAID}}; {lease.why}"
                        return lease
            raise

    async def _lease_of(self, exchange: Exchange, name: str) -> Lease | None:
        """A lease now, or as soon as a model runs that was merely not started; None while all its replicas are busy."""
        granted = self._dispatch.lease(name, key=exchange.principal)
        if isinstance(granted, Lease):
            return granted
        watch = exchange.when_gone(exchange.cancel)
        try:
            if any(replica.state == "ready" for replica in self._dispatch.pool(name).replicas):
                return None
            done, _ = await asyncio.wait({granted.future}, timeout=START_SECONDS)
            if not done:
                return None
            lease = granted.future.result()
            granted.taken = True
            return lease
        finally:
            watch.close()
            granted.close()

    async def _complete(self, exchange: Exchange) -> None:
        if (exchange.header(b"content-type") or b"").partition(b";")[0].strip().lower() == b"application/json":
            await self._complete_json(exchange)
            return
        form = await form_of(exchange)
        called = codec.read_call(form, exchange.header(b"accept-language"))
        reservation = self._reservations.claim(called.name, called.history_id, called.user_id, exchange)
        if reservation is None:
            await exchange.respond(_NOTHING)
            return
        if form.files:
            exchange.extra_headers.append(dropped_header(form.files))
        lease = reservation.lease
        call = GenerateCall(
            model=reservation.name,
            stream=True,
            wire=Wire(SCHEME, exchange.path, _passed(exchange), emit_form(called.fields)),
            read=partial(codec.read_generate, called, reservation.name),
            emitter=lambda request: codec.KuwaEmitter(_TEXT[1]),
            failure=_failure,
            fault=_fault,
            content_type=_TEXT[1],
            strict=is_strict(exchange.header(STRICT)),
            lease=None if lease.released else lease,
        )
        try:
            await self._serving.serve(exchange, call)
        finally:
            self._reservations.end(reservation)

    async def _complete_json(self, exchange: Exchange) -> None:
        try:
            await self._openai.chat(exchange)
        except ServingError as error:
            if error.kind == "cancelled":
                raise
            await exchange.respond(self._openai.failure(error))

    async def _abort(self, exchange: Exchange) -> None:
        form = await form_of(exchange)
        try:
            ids = codec.parse_history_ids(form.get("history_id") or "[]")
        except ServingError as error:
            log.info("no chat is ended: %s", error.message)
            ids = ()
        meant = self._reservations.of(frozenset(ids), form.get("user_id"))
        await self._reservations.free(meant, ServingError("cancelled", "the chat was ended by its user"), CUT_SECONDS)
        await exchange.respond(word(SUCCESS))


def _passed(exchange: Exchange) -> list[Header]:
    """The caller's headers for the executor, without the key that was meant for us."""
    if not exchange.principal:
        return exchange.headers
    return [header for header in exchange.headers if header[0] not in _KEYS]


def _failure(error: ServingError) -> Response:
    """What old clients understand: status 200, nothing when there was no executor, else the reason as a warning."""
    if error.kind in _NOBODY:
        return _NOTHING
    if error.message == NO_INPUT:
        return Response(200, NO_INPUT.encode(), (_TEXT,))
    return Response(200, _fault(error), (_TEXT,))


def _fault(error: ServingError) -> bytes:
    return codec.KuwaEmitter().fault(error)
