"""A Kuwa kernel, asked for a turn on one of its executors."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Mapping
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Final

import msgspec

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
from trunkcall.net.client import Client, Exchanged, Timeouts
from trunkcall.protocols import kuwa_words as words
from trunkcall.protocols.forms import emit_form, read_form
from trunkcall.protocols.kuwa import emit_fields

LINGER: Final = 0.5
"""Seconds that a caller who leaves waits for the answer's head, so that its reservation is used and not left behind."""

_SHORT: Final = Timeouts(connect=2.0, first_byte=10.0, idle=10.0, whole=10.0)
_FORM: Final = b"content-type: %b\r\n" % FORM_TYPE
_names: Final = msgspec.json.Decoder(list[str])
_records: Final = msgspec.json.Decoder(dict[str, list[object]])


class KuwaKernel:
    """Fits core.ports.Backend, Generates and Forwards.

    origin: `http://host:port`; model: the access code to ask for; patience: seconds to go on while its executors are
    busy.
    """

    protocols: frozenset[str] = frozenset({"kuwa"})

    def __init__(self, origin: str, model: str, timeouts: Timeouts, patience: float) -> None:
        self._client = Client(origin, timeouts=timeouts, reuse_after_stream=True)
        self._who = f"the kernel {origin}"
        self._model = model
        self._patience = patience

    async def health(self) -> Health:
        """Whether the kernel lists its executors, and their names."""
        try:
            status, body = await _said(self._client, b"GET", b"/v1.0/worker/list", timeouts=PROBE)
            if status == 404:
                # The first release has no list; its page for people holds the records as JSON.
                status, page = await _said(self._client, b"GET", b"/v1.0/worker/debug", timeouts=PROBE)
                records = page.partition(b"<textarea")[2].partition(b">")[2].partition(b"</textarea>")[0]
                names = tuple(_records.decode(records)) if status == 200 else ()
            else:
                names = tuple(_names.decode(body)) if status == 200 else ()
        except ServingError as error:
            return Health(False, error.message)
        except (msgspec.DecodeError, RecursionError):
            return Health(False, "the list of workers is not one; check that this is the address of a Kuwa kernel")
        if status != 200:
            return Health(False, f"the list of workers answered {status}", wants_key=status in OF_A_KEY)
        return Health(True, models=names, what="Kuwa kernel")

    async def aclose(self) -> None:
        """Close all connections."""
        await self._client.aclose()

    def forward(self, wire: Wire, meter: Meter) -> AbstractAsyncContextManager[Passed]:
        """Pass the form, with a turn's own ids, and the caller's headers on, and the text back."""
        fields = read_form(FORM_TYPE, wire.body).first()
        ids = self._ids(fields.get("user_id", ""))
        return passed(self._ask(ids, passed_headers(wire.headers), emit_form(fields | ids)), meter)

    def open(self, request: Generate, meter: Meter) -> AbstractAsyncContextManager[AsyncGenerator[Event]]:
        """Ask in Kuwa's words; what they cannot say is noted as dropped."""
        ids = self._ids(asking_user(request))
        fields, meter.dropped = emit_fields(
            request, name=ids["name"], history_id=ids["history_id"], user_id=ids["user_id"]
        )
        return told(self._ask(ids, written_headers(request), emit_form(fields)), request, meter)

    def _ids(self, user: str) -> dict[str, str]:
        # The kernel tells turns apart by these, and two turns of one conversation may be under way at once.
        turn = fresh_id()
        return {"name": self._model, "history_id": turn, "user_id": user or turn}

    @asynccontextmanager
    async def _ask(self, ids: Mapping[str, str], headers: bytes, body: bytes) -> AsyncGenerator[Pieces]:
        """The answer's pieces once an executor has time; leaving before their end stops it before this returns.

        Raises ServingError: overloaded, no_capacity, unreachable, upstream_error, upstream_timeout.
        """
        patience = Patience(0.1, 2.0, self._patience)
        while True:
            turn = _Turn(self._client, self._who, ids, headers, body)
            try:
                await owned(turn.reserve(), linger=_SHORT.whole)
                if turn.reserved:
                    await owned(turn.begin(), linger=LINGER)
                    if turn.pieces is not None:
                        yield turn.pieces
                        return
            finally:
                await owned(turn.end())
            await patience.pause(f"{self._who}, or its executor {self._model!r},")


class _Turn:
    """One turn at a kernel: reserved, begun, ended; an executor that it has reserved is free when it has ended."""

    def __init__(self, client: Client, who: str, ids: Mapping[str, str], headers: bytes, body: bytes) -> None:
        self._client = client
        self._who = who
        self._ids = ids
        self._headers = headers
        self._body = body
        self._sent: Exchanged | None = None
        self.reserved = False
        self.pieces: Pieces | None = None
        """The answer; None before `begin`, and when the executor was busy with something else."""

    async def reserve(self) -> None:
        """Ask for an executor; `reserved` says whether one was free.

        Raises ServingError: no_capacity when there is none of this name, upstream_error for what is no verdict.
        """
        status, body = await _said(
            self._client, b"POST", b"/v1.0/worker/schedule", emit_form(self._ids), timeouts=_SHORT
        )
        match body.decode(errors="replace").strip() if status == 200 else "":
            case words.READY:
                self.reserved = True
            case words.BUSY:
                pass
            case words.NOMACHINE:
                name = self._ids["name"]
                raise ServingError(
                    "no_capacity",
                    f"{self._who} has no executor {name!r}; start one with --access_code {name}, or check the name",
                    retry_after=5,
                )
            case _:
                raise refused(self._who, status, body)

    async def begin(self) -> None:
        """Send the request and wait for the first piece of its answer.

        Raises ServingError: upstream_error for an error and for an empty answer.
        """
        sent = self._sent = self._client.request(b"POST", b"/v1.0/chat/completions", self._headers, self._body)
        incoming = await entered(sent)
        if incoming.status != 200:
            raise refused(self._who, incoming.status, await incoming.read(SAID_LIMIT))
        pieces = Pieces(incoming)
        # A kernel passes on what an executor says without the status that would tell an error from an answer.
        match await pieces.whole_if(words.BUSY_BODY.encode()):
            case None:
                self.pieces = pieces
            case b"":
                self.reserved = False
                raise ServingError(
                    "upstream_error",
                    f"{self._who} returned an empty answer: it has lost the executor; see whether that still runs",
                )
            case _:
                self.reserved = False

    async def end(self) -> None:
        """Leave nothing behind: neither a reservation, which kernels keep for ever, nor work of the executor."""
        if self.reserved and self._sent is None:
            try:
                async with asyncio.timeout(LINGER):
                    await self.begin()
            except TimeoutError:
                # Sent and taken, though not answered yet.
                pass
            except ServingError as error:
                if self.reserved:
                    log.warning("%s may keep a reservation of %r: %s", self._who, self._ids["name"], error.message)
        if self._sent is not None:
            await self._sent.__aexit__(None, None, None)
        if not self.reserved or (self.pieces is not None and self.pieces.complete):
            return
        stop = emit_form({"history_id": f"[{self._ids['history_id']}]", "user_id": self._ids["user_id"]})
        try:
            await _said(self._client, b"POST", b"/v1.0/chat/abort", stop, timeouts=_SHORT)
        except ServingError as error:
            log.info("%s could not be told to stop: %s", self._who, error.message)


async def _said(
    client: Client, method: bytes, path: bytes, form: bytes = b"", *, timeouts: Timeouts
) -> tuple[int, bytes]:
    """Status and body of a short answer."""
    sent = client.request(method, path, _FORM if form else b"", form, timeouts=timeouts)
    try:
        answer = await entered(sent)
        return answer.status, await answer.read(SAID_LIMIT)
    finally:
        await sent.__aexit__(None, None, None)
