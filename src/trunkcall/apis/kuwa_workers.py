"""Kuwa's kernel for executors and administrators: who registers, who leaves, and the records of all."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from typing import Any, Final, Literal, TypeVar

import msgspec

from trunkcall.apis import kuwa_debug_page as debug_page
from trunkcall.apis.kuwa_http import answering, form_of, word
from trunkcall.apis.kuwa_records import SCHEME, Record, Records, State, check_endpoint, origin_of, read_state
from trunkcall.apis.kuwa_reservations import Id
from trunkcall.control.own_page import check_own_page
from trunkcall.control.services import Services
from trunkcall.core.errors import ServingError
from trunkcall.core.log import log
from trunkcall.core.ports import Exchange, Response, Route
from trunkcall.net.client import Client, Timeouts
from trunkcall.protocols.kuwa_words import FAILED, SUCCESS

_SHUTDOWN: Final = Timeouts(connect=2.0, first_byte=10.0, idle=10.0, whole=10.0)


class Shutdown(msgspec.Struct, frozen=True):
    """What POST worker/shutdown takes."""

    access_code: str
    endpoint: str
    status: Literal["READY", "BUSY"]
    history_id: Id
    user_id: Id


class Update(msgspec.Struct, frozen=True):
    """What POST worker/update takes."""

    original_access_code: str
    original_endpoint: str
    original_status: Literal["READY", "BUSY"]
    original_history_id: Id
    original_user_id: Id
    access_code: str
    endpoint: str
    status: Literal["READY", "BUSY"]
    history_id: Id
    user_id: Id


_Command = TypeVar("_Command", Shutdown, Update)


class Workers:
    """The routes below /v1.0/worker, except that for chats. What changes something asks `may_register` before."""

    def __init__(self, services: Services, records: Records) -> None:
        self._dispatch = services.dispatch
        self._registry = services.registry
        self._may_register = services.may_register
        self._may_ask = services.serving.admission.may_ask
        self._records = records

    def routes(self) -> Sequence[Route]:
        """What is served."""
        return (
            *answering("/v1.0/worker/register", POST=self._register),
            *answering("/v1.0/worker/unregister", POST=self._unregister),
            *answering("/v1.0/worker/list", GET=self._list),
            *answering("/v1.0/worker/read", GET=self._read),
            *answering("/v1.0/worker/update", POST=self._update),
            *answering("/v1.0/worker/shutdown", POST=self._shut_down),
            *answering(debug_page.PATH, GET=self._show, POST=self._write),
        )

    async def _register(self, exchange: Exchange) -> None:
        await self._change(exchange, "register", self._join)

    async def _unregister(self, exchange: Exchange) -> None:
        await self._change(exchange, "unregister", self._leave)

    async def _change(self, exchange: Exchange, verb: str, change: Callable[[str, str], Awaitable[bool]]) -> None:
        form = await form_of(exchange)
        name, endpoint = form.get("name"), form.get("endpoint")
        done = False
        try:
            self._check_caller(exchange)
            if name and endpoint:
                done = await change(name, endpoint.removesuffix("/"))
        except ServingError as error:
            log.warning("%s may not %s %r as %r: %s", exchange.client, verb, endpoint, name, error.message)
        await exchange.respond(word(SUCCESS if done else FAILED))

    async def _join(self, name: str, endpoint: str) -> bool:
        """An executor offers a name. A new endpoint is not contacted, because executors register before they
        listen; one that is there already must have ended.
        """
        check_endpoint(endpoint)
        worker = self._registry.find(SCHEME, endpoint)
        anew = False
        if worker is not None and worker.here and not await self._registry.answers(SCHEME, endpoint):
            self._registry.renew(worker, name)
            anew = True
        return self._registry.join(name, SCHEME, endpoint) or anew

    async def _leave(self, name: str, endpoint: str) -> bool:
        """An executor takes a name back, for all of its endpoints, whatever their path."""
        origin = origin_of(endpoint)
        leaving = [
            worker
            for worker in self._registry.workers(SCHEME)
            if name in worker.names and origin_of(worker.address) == origin
        ]
        for worker in leaving:
            self._registry.leave(name, worker)
        return bool(leaving)

    async def _list(self, exchange: Exchange) -> None:
        names = [name for name in self._dispatch.names() if self._may_ask(exchange.principal, name)]
        await exchange.respond(Response(200, msgspec.json.encode(names) + b"\n"))

    async def _read(self, exchange: Exchange) -> None:
        await exchange.respond(Response(200, msgspec.json.encode(self._state(exchange)) + b"\n"))

    async def _show(self, exchange: Exchange) -> None:
        await exchange.respond(debug_page.page(self._state(exchange)))

    def _state(self, exchange: Exchange) -> State:
        """The records of the models that the caller's key is for."""
        state = self._records.state()
        return {name: records for name, records in state.items() if self._may_ask(exchange.principal, name)}

    async def _write(self, exchange: Exchange) -> None:
        self._check_caller(exchange)
        form = await form_of(exchange)
        seen = form.get("seen")
        wanted = read_state(form.get("data") or "", "data")
        await self._records.replace(wanted, None if seen is None else read_state(seen, "seen"))
        await exchange.respond(debug_page.back())

    async def _update(self, exchange: Exchange) -> None:
        async def update(asked: Update) -> str:
            old = Record(
                asked.original_endpoint, asked.original_status, asked.original_history_id, asked.original_user_id
            )
            new = Record(asked.endpoint.removesuffix("/"), asked.status, asked.history_id, asked.user_id)
            await self._records.update(asked.original_access_code, old, asked.access_code, new)
            return "Record updated successfully"

        await self._obey(exchange, Update, update)

    async def _shut_down(self, exchange: Exchange) -> None:
        async def shut_down(asked: Shutdown) -> str:
            record = Record(asked.endpoint, asked.status, asked.history_id, asked.user_id)
            worker = self._records.executor(asked.access_code, asked.endpoint)
            if worker is None or record not in self._records.state()[asked.access_code]:
                raise ServingError("no_route", "Record not found")
            await _ask_to_end(worker.address)
            return "Shutdown triggered successfully"

        await self._obey(exchange, Shutdown, shut_down)

    async def _obey(self, exchange: Exchange, shape: type[_Command], act: Callable[[_Command], Awaitable[str]]) -> None:
        self._check_caller(exchange)
        status, word_of_it = 200, "success"
        try:
            message = await act(_read_command(await exchange.body(), shape))
        except ServingError as error:
            status, word_of_it, message = error.status, "error", error.message
        body = msgspec.json.encode({"message": message, "status": word_of_it})
        await exchange.respond(Response(status, body + b"\n"))

    def _check_caller(self, exchange: Exchange) -> None:
        """Raises ServingError (forbidden) for who may not change what is here."""
        self._may_register(exchange)
        check_own_page(exchange)


def _read_command(body: bytes, shape: type[_Command]) -> _Command:
    try:
        given = msgspec.json.decode(body, type=dict[str, Any])
        missing = next((name for name in shape.__struct_fields__ if name not in given), None)
        if missing is not None:
            # The old kernel's status and words.
            raise ServingError("bug", f"'{missing}'", param=missing)
        return msgspec.convert(given, shape)
    except (msgspec.DecodeError, RecursionError) as error:
        raise ServingError("bad_request", f"the body cannot be read: {error}; send one JSON object") from None


async def _ask_to_end(address: str) -> None:
    client = Client("://".join(origin_of(address)), timeouts=_SHUTDOWN)
    try:
        async with client.request(b"GET", b"/shutdown", b"") as answer:
            if answer.status != 200:
                raise ServingError("upstream_error", f"the executor answered /shutdown with status {answer.status}")
    finally:
        await client.aclose()
