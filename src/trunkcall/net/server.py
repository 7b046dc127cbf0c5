"""The HTTP/1.1 server: connections, their limits in time and size, and one task for each request.

A client that closes, or half-closes, its side before its answer is complete has left (as for nginx
and uvicorn): its connection is cut and its handler told at once.
"""

from __future__ import annotations

import asyncio
import http
import socket
import ssl
import time
from collections.abc import Callable, Coroutine
from email.utils import formatdate
from typing import Any, Final, cast

import msgspec

from trunkcall.core.errors import ServingError
from trunkcall.core.log import log
from trunkcall.net.exchange import Exchange
from trunkcall.net.framing import Chunked, Counted, Head, Refusal, check_partial, read_head

BACKLOG: Final = 2048
SMALL_BODY: Final = 64 * 1024
"""A handler is started with a body up to this size in hand; a larger one it waits for itself."""
READ_AHEAD: Final = 64 * 1024
"""Reading pauses when a client has sent so many bytes beyond the request that is being answered."""

Handle = Callable[[Exchange], Coroutine[Any, Any, None]]

IDLE: Final = 0
HEAD: Final = 1
BODY: Final = 2
WORK: Final = 3
DEAF: Final = 4
LEAVING: Final = 5


class Limits(msgspec.Struct, frozen=True):
    """Sizes in bytes, times in seconds; a time ends at most two `sweep`s late.

    head_time: first byte of a head -> its end; body_time: between two pieces of a body;
    idle_time: between two requests; linger_time: how long a client that was refused may go on
    sending, so that it sees the answer instead of a reset.
    """

    head: int = 64 * 1024
    fields: int = 256
    body: int = 64 * 2**20
    head_time: float = 15.0
    body_time: float = 30.0
    idle_time: float = 75.0
    linger_time: float = 2.0
    sweep: float = 1.0


class Peer(asyncio.Protocol):
    """One client's connection.

    State: IDLE -> HEAD (part of one is in) -> BODY (part of it is in) -> WORK (a handler has the
    whole request) -> IDLE. DEAF: the rest of the request is not wanted, its handler answers that;
    LEAVING: the last answer is on its way out. A handler may run in BODY, WORK and DEAF.
    """

    __slots__ = (
        "_arrived",
        "_body",
        "_drained",
        "_exchange",
        "_failure",
        "_head",
        "_held",
        "_paused",
        "_pending",
        "_reader",
        "_since",
        "_state",
        "_transport",
        "address",
        "blocked",
        "is_closing",
        "lost",
        "on_gone",
        "server",
        "task",
        "write",
    )

    _transport: asyncio.Transport
    _head: Head
    write: Callable[[bytes], None]
    is_closing: Callable[[], bool]

    def __init__(self, server: Server) -> None:
        self.server = server
        self.address = ""
        self.blocked = False
        """More is waiting to be sent than the transport's high-water mark."""
        self.lost = False
        """The client has left, or the connection broke."""
        self.on_gone: Callable[[], None] | None = None
        self.task: asyncio.Task[None] | None = None
        self._state = IDLE
        self._since = server.now
        self._held = bytearray()
        self._reader: Counted | Chunked | None = None
        self._body: bytes | None = None
        self._failure: ServingError | None = None
        self._exchange: Exchange | None = None
        self._arrived: asyncio.Future[None] | None = None
        self._drained: asyncio.Future[None] | None = None
        self._paused = False
        self._pending = 0

    # What an exchange needs.

    @property
    def ends(self) -> bool:
        """Whether the connection is closed after the current answer."""
        return not self._head.keep_alive or self._state != WORK or self.server.stopping

    @property
    def unread(self) -> int:
        """Bytes that wait to be sent, while they are over the transport's high-water mark."""
        return self._transport.get_write_buffer_size() if self.blocked else 0

    async def receive(self) -> bytes:
        """The current request's body; asks for it when the client waits to be asked.

        Raises ServingError: too_large, bad_request, deadline (nothing came for `body_time`),
        cancelled (the client left).
        """
        if self._head.expects and self._reader is not None and not self._reader.size and not self.lost:
            self.write(b"HTTP/1.1 100 Continue\r\n\r\n")
        while self._body is None:
            if self._failure is not None:
                raise self._failure
            if self.lost:
                raise ServingError("cancelled", "the client left before its request was complete")
            self._arrived = self.server.loop.create_future()
            await self._arrived
        return self._body

    async def drained(self) -> None:
        """Wait until the client has read enough, or has left."""
        while self.blocked and not self.lost:
            self._drained = self.server.loop.create_future()
            await self._drained

    # asyncio.Protocol

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)
        self.write = self._transport.write
        self.is_closing = self._transport.is_closing
        # (host, port, ...) of TCP; a Unix socket's client has no name.
        peer = cast(tuple[str, ...], transport.get_extra_info("peername"))
        self.address = peer[0] if peer else ""
        self.server.peers.add(self)
        if self.server.stopping:
            self.close()

    def data_received(self, data: bytes) -> None:
        state = self._state
        if state == IDLE:
            self._read(data, 0)
        elif state == HEAD:
            known = len(self._held)
            self._held += data
            self._read(self._held, known)
        elif state == BODY:
            self._since = self.server.now
            self._feed(data)
        elif state == WORK:
            self._held += data
            if len(self._held) > READ_AHEAD and not self._paused:
                self._paused = True
                self._transport.pause_reading()

    def eof_received(self) -> None:
        exchange = self._exchange
        if exchange is None or exchange.complete:
            # What has been written still goes out, then the transport closes itself.
            self._state = LEAVING
            self._since = self.server.now
        else:
            self._transport.abort()
            self._gone()

    def connection_lost(self, exc: Exception | None) -> None:
        self._gone()
        if self.task is None:
            self.server.forget(self)

    def pause_writing(self) -> None:
        self.blocked = True

    def resume_writing(self) -> None:
        self.blocked = False
        _wake(self._drained)

    # One request, in the order of its life.

    def _read(self, data: bytes | bytearray, known: int) -> None:
        """Read a head from data, of which the first `known` bytes have been looked at."""
        limits = self.server.limits
        # RFC 9112, 2.2: one empty line before a request is ignored.
        start = 2 if data.startswith(b"\r\n") else 0
        end = data.find(b"\r\n\r\n", start if known < start + 3 else known - 3)
        try:
            if end < 0:
                if len(data) > limits.head:
                    raise _too_long_a_head(limits.head)
                check_partial(data, known)
                if self._state == IDLE:
                    self._state = HEAD
                    self._since = self.server.now
                    self._held = bytearray(data)
                return
            if end > limits.head:
                raise _too_long_a_head(limits.head)
            data = bytes(data)
            head = self._head = read_head(data, start, end + 2, limits.fields)
            length = head.length
            rest = end + 4
            if 0 <= length <= len(data) - rest and length <= limits.body:
                self._held = bytearray(data[rest + length :])
                self._state = WORK
                self._start(data[rest : rest + length])
                return
            self._held = bytearray()
            self._receive_rest(head, data[rest:])
        except Refusal as refusal:
            self._refuse(refusal)

    def _receive_rest(self, head: Head, data: bytes) -> None:
        self._state = BODY
        self._since = self.server.now
        self._body = self._failure = None
        if head.length > self.server.limits.body:
            self._state = DEAF
            self._failure = _too_large(self.server.limits.body)
            self._start(None)
            return
        self._reader = Chunked() if head.length < 0 else Counted(head.length)
        if data:
            self._feed(data)
        if self._exchange is None and self._state == BODY and (head.expects or not 0 <= head.length <= SMALL_BODY):
            self._start(None)

    def _feed(self, data: bytes) -> None:
        reader = self._reader
        assert reader is not None
        try:
            rest = reader.feed(data)
        except Refusal as refusal:
            if self._exchange is None:
                self._refuse(refusal)
            else:
                self._fail(ServingError("bad_request", refusal.message))
            return
        if reader.size > self.server.limits.body:
            self._fail(_too_large(self.server.limits.body))
        elif rest is not None:
            self._reader = None
            self._held = bytearray(rest)
            self._state = WORK
            if self._exchange is None:
                self._start(reader.body())
            else:
                self._body = reader.body()
                _wake(self._arrived)

    def _fail(self, failure: ServingError) -> None:
        """The body will not be read to its end; the handler hears why."""
        self._state = DEAF
        self._reader = None
        self._failure = failure
        if self._exchange is None:
            self._start(None)
        else:
            _wake(self._arrived)

    def _start(self, body: bytes | None) -> None:
        exchange = self._exchange = Exchange(self, self._head, body)
        # By its class: the loop would first make up a name.
        task = self.task = asyncio.Task(self.server.handle(exchange), loop=self.server.loop, name=exchange.id)
        task.add_done_callback(self._ended)

    def _ended(self, task: asyncio.Task[None]) -> None:
        exchange = self._exchange
        assert exchange is not None
        self.task = self._exchange = self.on_gone = self._body = None
        if not task.cancelled() and (error := task.exception()) is not None:
            log.error("request %s failed", exchange.id, exc_info=error)
        if self.lost:
            self.server.forget(self)
        elif self._state == LEAVING:
            pass
        elif not exchange.complete:
            # The missing end tells the client that the answer is not whole.
            self.close()
        elif self._state != WORK:
            self._linger()
        elif exchange.closes or self.server.stopping:
            self.close()
        else:
            self._state = IDLE
            self._since = self.server.now
            if self._held:
                held, self._held = self._held, bytearray()
                self._read(held, 0)
            self._resume()

    def _resume(self) -> None:
        if self._paused and (self._state != WORK or len(self._held) <= READ_AHEAD):
            self._paused = False
            self._transport.resume_reading()

    # Ways to end.

    def _refuse(self, refusal: Refusal) -> None:
        log.debug("refused %s: %s", self.address, refusal.message)
        body = msgspec.json.encode(
            {
                "error": {
                    "message": refusal.message,
                    "type": "invalid_request_error",
                    "param": None,
                    "code": refusal.code,
                }
            }
        )
        self.write(
            b"%bcontent-type: application/json\r\ncontent-length: %d\r\nconnection: close\r\n\r\n%b"
            % (self.server.status_and_date(refusal.status), len(body), body)
        )
        self._linger()

    def _linger(self) -> None:
        """Close our side; what the client still sends is thrown away, for closing on it would reset the answer."""
        self._leave()
        if not self.is_closing() and self._transport.can_write_eof():
            # TLS cannot close one side only; there the sweep closes both.
            self._transport.write_eof()

    def close(self) -> None:
        """Close the connection when what was written has gone out; nothing more is read."""
        self._leave()
        self._transport.close()

    def _leave(self) -> None:
        self._state = LEAVING
        self._since = self.server.now
        self._held = bytearray()
        self._reader = None
        self._resume()

    def _gone(self) -> None:
        if self.lost:
            return
        self.lost = True
        _wake(self._arrived)
        _wake(self._drained)
        callback, self.on_gone = self.on_gone, None
        exchange = self._exchange
        if callback is not None and exchange is not None and not exchange.complete:
            callback()

    def abort(self) -> None:
        """Cut the connection now."""
        self._transport.abort()

    def wind_up(self) -> None:
        """Close the connection unless a request is being received or answered."""
        if self.task is None and self._state == IDLE:
            self.close()

    def check(self, now: float) -> None:
        """End what has taken too long at loop time `now`."""
        if self.lost:
            return
        limits = self.server.limits
        # `_since` was read off a clock that stands still between sweeps.
        waited = now - self._since - limits.sweep
        state = self._state
        if state == HEAD:
            if waited >= limits.head_time:
                if self._held.strip():
                    self._refuse(
                        Refusal(408, f"the request's head was not complete within {limits.head_time:g} s", "timeout")
                    )
                else:
                    self.close()
        elif state == BODY:
            if waited >= limits.body_time:
                message = f"nothing more of the request's body came for {limits.body_time:g} s"
                if self._exchange is None:
                    self._refuse(Refusal(408, message, "timeout"))
                else:
                    self._fail(ServingError("deadline", message))
        elif state in (IDLE, LEAVING) and waited >= (limits.idle_time if state == IDLE else limits.linger_time):
            pending = self._transport.get_write_buffer_size()
            if pending in (0, self._pending):
                self._transport.abort()
            else:
                # An answer on its way out to a slow reader.
                self._pending = pending
                self._since = now


class Server:
    """Serves `handle` on one listening socket.

    handle: answers an exchange; what it raises is logged and ends the connection.
    """

    def __init__(self, handle: Handle, limits: Limits | None = None) -> None:
        self.handle = handle
        self.limits = limits or Limits()
        self.peers: set[Peer] = set()
        """Connections that are open or whose handler has not ended."""
        self.stopping = False
        self.loop = asyncio.get_running_loop()
        self.now = self.loop.time()
        """Loop time at the last sweep."""
        self._listener: asyncio.Server | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._vacant: asyncio.Future[None] | None = None
        self._second = 0
        self._starts: dict[int, bytes] = {}

    async def start(self, bound: socket.socket, tls: ssl.SSLContext | None = None) -> None:
        """Accept connections on a bound socket, which is now ours; encrypted ones with `tls`."""
        self._listener = await self.loop.create_server(
            lambda: Peer(self),
            sock=bound,
            backlog=BACKLOG,
            ssl=tls,
            ssl_handshake_timeout=None if tls is None else self.limits.head_time,
        )
        self._sweep()

    def status_and_date(self, status: int) -> bytes:
        """The first two lines of an answer."""
        second = int(time.time())
        if second != self._second:
            self._second = second
            self._starts.clear()
        start = self._starts.get(status)
        if start is None:
            try:
                phrase = http.HTTPStatus(status).phrase
            except ValueError:
                phrase = ""
            start = self._starts[status] = (
                f"HTTP/1.1 {status} {phrase}\r\ndate: {formatdate(second, usegmt=True)}\r\n".encode()
            )
        return start

    def forget(self, peer: Peer) -> None:
        """Called by a connection that has ended with all its work."""
        self.peers.discard(peer)
        if not self.peers and self._vacant is not None:
            _wake(self._vacant)

    def stop_accepting(self) -> None:
        """Close the listening socket and idle connections; the others close after their answer."""
        if self.stopping:
            return
        self.stopping = True
        if self._listener is not None:
            self._listener.close()
        for peer in tuple(self.peers):
            peer.wind_up()

    async def aclose(self, grace: float = 5.0) -> None:
        """Stop accepting and give running handlers `grace` seconds, then cancel them; returns when all is closed."""
        self.stop_accepting()
        running = [peer.task for peer in self.peers if peer.task is not None]
        if running:
            _, late = await asyncio.wait(running, timeout=grace)
            if late:
                for task in late:
                    task.cancel()
                await asyncio.wait(late)
        # The tasks' done callbacks, which write and close, have been scheduled before this goes on.
        await asyncio.sleep(0)
        for peer in tuple(self.peers):
            peer.close()
        if self.peers:
            self._vacant = self.loop.create_future()
            await asyncio.wait((self._vacant,), timeout=1.0)
            for peer in tuple(self.peers):
                peer.abort()
            while self.peers:
                await asyncio.sleep(0.001)
        if self._timer is not None:
            self._timer.cancel()
        if self._listener is not None:
            await self._listener.wait_closed()

    def _sweep(self) -> None:
        self.now = self.loop.time()
        for peer in tuple(self.peers):
            peer.check(self.now)
        self._timer = self.loop.call_later(self.limits.sweep, self._sweep)


def _wake(waiter: asyncio.Future[None] | None) -> None:
    if waiter is not None and not waiter.done():
        waiter.set_result(None)


def _too_long_a_head(limit: int) -> Refusal:
    return Refusal(431, f"the request's head is over the limit of {limit} bytes", "head_too_large")


def _too_large(limit: int) -> ServingError:
    return ServingError(
        "too_large", f"the request body is over the limit of {limit} bytes; send less or raise the setting max_body"
    )
