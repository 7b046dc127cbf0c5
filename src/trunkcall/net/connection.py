"""One HTTP/1.1 connection to a server: a request goes out, its response comes in, neither outruns the other side."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Final, cast

import httptools
import msgspec

from trunkcall.core.errors import ServingError

HEAD_LIMIT: Final = 64 * 1024
"""Most bytes of a response head, and of anything else that carries no body (chunk framing, trailers)."""
HIGH_WATER: Final = 256 * 1024
"""Reading pauses above this many unread bytes; taking them empties the buffer and resumes it."""
STEP: Final = 64 * 1024
"""A larger request body is handed to the transport in steps, each after the last one has drained."""

IDLE: Final = 0
AWAITING: Final = 1
STREAMING: Final = 2
ENDED: Final = 3


class Timeouts(msgspec.Struct, frozen=True):
    """Limits in seconds; None is no limit. They end at most a fifth of a second late.

    connect: name look-up, TCP and TLS; first_byte: request sent -> response head (while a large
    request is being sent: between two steps of it); idle: between two pieces of the body, not
    counted while our own side does not read; whole: request sent -> end of body.
    """

    connect: float | None = 5.0
    first_byte: float | None = 600.0
    idle: float | None = 120.0
    whole: float | None = None


class _NothingMore(Exception):
    """Tells the parser to stop: the response is complete though more bytes follow."""


class _Oversized(Exception):
    """The response head is over the limit."""


class Connection(asyncio.Protocol):
    """A socket, its parser, and the one exchange that is on it.

    State: IDLE -> AWAITING (request written) -> STREAMING (head is in) -> ENDED, and back to
    IDLE by `rest`. ENDED with `failure` set means that the exchange broke and the socket is closed.
    """

    __slots__ = (
        "_bodiless",
        "_blocked",
        "_feed",
        "_gone",
        "_heard",
        "_next_headers",
        "_origin",
        "_parser",
        "_paused",
        "_sink",
        "_stirred",
        "_taken",
        "_timeouts",
        "_transport",
        "_unread",
        "_until_close",
        "barren",
        "failure",
        "headers",
        "loop",
        "on_body",
        "pieces",
        "rested_at",
        "reusable",
        "sent_at",
        "state",
        "status",
        "unanswered",
        "waiter",
    )

    _transport: asyncio.Transport

    def __init__(self, loop: asyncio.AbstractEventLoop, origin: str, gone: Callable[[Connection], None]) -> None:
        """`gone` is called when the socket is closed, or was found unfit while IDLE; it may be called twice."""
        self.loop = loop
        self._origin = origin
        self._gone = gone
        self.state = IDLE
        self.status = 0
        self.headers: list[tuple[bytes, bytes]] = []
        self._next_headers: list[tuple[bytes, bytes]] = []
        self.pieces: list[bytes] = []
        # The parser calls list.append itself: no Python frame per chunk.
        self.on_body = self.pieces.append
        self.waiter: asyncio.Future[None] | None = None
        self._sink: Callable[[bytes], bool] | None = None
        self.failure: ServingError | None = None
        self.reusable = False
        self.unanswered = False
        """The server closed the socket before any byte of a response."""
        self.barren = 0
        """Bytes received since the request or since the last piece of body."""
        self.sent_at = self.rested_at = self._stirred = 0.0
        self._timeouts = Timeouts()
        self._unread = self._taken = 0
        self._bodiless = self._blocked = self._heard = self._paused = self._until_close = False
        self._parser = httptools.HttpResponseParser(self)
        self._feed = self._parser.feed_data

    # One exchange, in the order of its life.

    def begin(self, payload: bytes, bodiless: bool, timeouts: Timeouts) -> None:
        """Write a request; `bodiless` says that its response has no body whatever its head says (HEAD)."""
        self.state = AWAITING
        self.status = 0
        self.barren = self._unread = self._taken = 0
        self._bodiless = bodiless
        self._timeouts = timeouts
        self._next_headers = []
        self.sent_at = self._stirred = self.loop.time()
        self._transport.write(payload)

    @property
    def silent(self) -> bool:
        """No byte has come since `begin`."""
        return self.status == 0 and self.barren == 0

    async def send(self, body: bytes) -> None:
        """Write a large body as fast as the server takes it; returns early when it answers early."""
        view = memoryview(body)
        for start in range(0, len(view), STEP):
            while self._blocked and self.state == AWAITING:
                await self.wait()
            if self.state != AWAITING:
                # The rest of the body is missing, so the socket is of no further use.
                self.reusable = False
                return
            self._stirred = self.loop.time()
            self._transport.write(view[start : start + STEP])

    def wait(self) -> asyncio.Future[None]:
        """Done when the head, a piece of body, the end or room to write has come."""
        waiter = self.waiter = self.loop.create_future()
        return waiter

    def take(self) -> bytes:
        """All unread pieces of the body as one; resumes reading."""
        pieces = self.pieces
        data = pieces[0] if len(pieces) == 1 else b"".join(pieces)
        pieces.clear()
        self._unread = 0
        self._taken += len(data)
        if self._paused:
            self._paused = False
            if not self._transport.is_closing():
                self._transport.resume_reading()
        return data

    async def pour(self, sink: Callable[[bytes], bool]) -> None:
        """Hand over what comes, from within the event loop's own turn, until the end or until `sink` has no room."""
        self._sink = sink
        try:
            if self.pieces:
                self._pour(sink)
            while self._sink is not None and self.state != ENDED:
                await self.wait()
        finally:
            self._sink = None

    def _pour(self, sink: Callable[[bytes], bool]) -> None:
        try:
            if sink(self.take()):
                return
        except ServingError as error:
            self._fail(error)
        self._sink = None
        self._wake()

    def check(self, now: float) -> None:
        """Break the exchange if one of its limits has passed at loop time `now`."""
        limits = self._timeouts
        if self.state == ENDED:
            return
        if limits.whole is not None and now - self.sent_at >= limits.whole:
            self._late("whole", limits.whole, "did not finish its answer")
        elif self.state == AWAITING:
            if limits.first_byte is not None and now - self._stirred >= limits.first_byte:
                self._late("first_byte", limits.first_byte, "did not begin to answer")
        elif self._heard or self._paused:
            self._heard = False
            self._stirred = now
        elif limits.idle is not None and now - self._stirred >= limits.idle:
            self._late("idle", limits.idle, f"sent nothing more after {self._received()} bytes of its answer")

    def rest(self) -> None:
        """Make ready for the pool after a complete response."""
        self.state = IDLE
        self.pieces.clear()
        self.rested_at = self.loop.time()

    def abort(self) -> None:
        """Close the socket now; the server sees it at once. A running exchange ends as an upstream_error."""
        if self.state in (AWAITING, STREAMING):
            # Whoever waits for the answer has not left: the replica has been given up.
            self._broken("was given up before its answer was complete", None)
        else:
            self.reusable = False
            self._transport.abort()

    # asyncio.Protocol

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)

    def data_received(self, data: bytes) -> None:
        state = self.state
        if state in (IDLE, ENDED):
            self._spoil()
            return
        self._heard = True
        before = len(self.pieces)
        barren = self.barren = self.barren + len(data)
        try:
            self._feed(data)
        except (httptools.HttpParserError, httptools.HttpParserUpgrade) as error:
            if self.state == ENDED:
                self._spoil()
            else:
                self._malformed(repr(error.__context__ or error))
            return
        if len(self.pieces) != before:
            self.barren = 0
            self._unread += len(data)
            if self._unread > HIGH_WATER and self.state == STREAMING and not self._paused:
                self._paused = True
                self._transport.pause_reading()
            if self._sink is not None:
                self._pour(self._sink)
            elif self.waiter is not None:
                self._wake()
        elif barren > HEAD_LIMIT and self.state != ENDED:
            self._malformed(f"over {HEAD_LIMIT} bytes of head or framing")

    def eof_received(self) -> None:
        self._closed(None)

    def connection_lost(self, exc: Exception | None) -> None:
        self._closed(exc)
        self._gone(self)
        # The parser holds our callbacks; without this the pair waits for the garbage collector.
        del self._feed, self._parser

    def pause_writing(self) -> None:
        self._blocked = True

    def resume_writing(self) -> None:
        self._blocked = False
        if self.state == AWAITING:
            self._wake()

    # Called by the parser.

    def on_header(self, name: bytes, value: bytes) -> None:
        self._next_headers.append((name.lower(), value))

    def on_headers_complete(self) -> None:
        if self.state != AWAITING:
            raise _NothingMore
        parser = self._parser
        status = parser.get_status_code()
        headers = self._next_headers
        # Trailers, and the head of a response that nobody asked for, go to another list.
        self._next_headers = []
        if status < 200:
            return
        if self.barren > HEAD_LIMIT and sum(len(name) + len(value) + 4 for name, value in headers) > HEAD_LIMIT:
            raise _Oversized
        self.status = status
        self.headers = headers
        self.reusable = parser.should_keep_alive()
        # The parser says keep-alive only for a body whose end it can see.
        self._until_close = not self.reusable and not _delimited(headers)
        if self._bodiless:
            self._end()
            raise _NothingMore
        self.state = STREAMING
        self._wake()

    def on_message_complete(self) -> None:
        if self.state == STREAMING:
            self._end()

    # Ways to end.

    def _wake(self) -> None:
        waiter = self.waiter
        if waiter is not None:
            self.waiter = None
            if not waiter.done():
                waiter.set_result(None)

    def _end(self) -> None:
        self.state = ENDED
        self._wake()

    def _fail(self, failure: ServingError) -> None:
        self.failure = failure
        self.reusable = False
        self._end()
        self._transport.abort()

    def _spoil(self) -> None:
        """Bytes came that no request asked for: whatever comes next here cannot be trusted."""
        self.reusable = False
        self._transport.abort()
        if self.state == IDLE:
            self._gone(self)

    def _closed(self, exc: Exception | None) -> None:
        self.reusable = False
        if self.state == IDLE:
            self._gone(self)
        elif self.state == STREAMING and self._until_close and exc is None:
            self._end()
        elif self.state == STREAMING:
            self._broken(f"closed the connection after {self._received()} bytes of its answer", exc)
        elif self.state == AWAITING:
            self.unanswered = self.silent
            where = "without an answer" if self.unanswered else f"after {self.barren} bytes, within its answer's head"
            self._broken(f"closed the connection {where}", exc)

    def _broken(self, what: str, exc: Exception | None) -> None:
        self._fail(
            ServingError(
                "upstream_error",
                f"{self._origin} {what}; its own log may say why.",
                detail=f"{self._origin}: {exc!r}" if exc is not None else f"{self._origin}: end of file",
            )
        )

    def _malformed(self, detail: str) -> None:
        self._fail(
            ServingError(
                "upstream_error",
                f"{self._origin} answered with what is not HTTP/1.1; check that this is the address of an HTTP server.",
                detail=f"{self._origin}: malformed response: {detail}",
            )
        )

    def _late(self, name: str, seconds: float, what: str) -> None:
        self._fail(
            ServingError(
                "upstream_timeout",
                f"{self._origin} {what} within {seconds:g} s (timeout `{name}`).",
                detail=f"{self._origin}: timeout {name}={seconds:g}, {self._received()} bytes of body received",
            )
        )

    def _received(self) -> int:
        return self._taken + sum(map(len, self.pieces))


def _delimited(headers: list[tuple[bytes, bytes]]) -> bool:
    """Whether a body ends by its head's word (RFC 9112, 6.3) and not by the end of the connection."""
    codings = [value for name, value in headers if name == b"transfer-encoding"]
    if codings:
        return codings[-1].rpartition(b",")[2].strip().lower() == b"chunked"
    return any(name == b"content-length" for name, _ in headers)


class Incoming:
    """A response whose head is in: status, headers with lower-case names, and its body as it comes.

    Fits `core.ports.Answer`. To be read by one task, within the context that gave it. Reading
    raises ServingError: upstream_error when the server breaks off, upstream_timeout; what came
    before is given first. A cancelled read closes the connection.
    """

    __slots__ = ("_connection", "headers", "status")

    def __init__(self, connection: Connection) -> None:
        self._connection: Connection | None = connection
        self.status = connection.status
        self.headers = connection.headers

    def __aiter__(self) -> Incoming:
        return self

    async def __anext__(self) -> bytes:
        """All body bytes since the last call, as one object that is never empty."""
        connection = self._connection
        if connection is None:
            raise ServingError("bug", "A response was read after its request had been left.")
        while not connection.pieces:
            if connection.state == ENDED:
                if connection.failure is not None:
                    raise connection.failure
                raise StopAsyncIteration
            if connection.waiter is not None:
                raise ServingError("bug", "A response was read by two tasks at once.")
            try:
                await connection.wait()
            except BaseException:
                connection.abort()
                raise
        return connection.take()

    async def pour(self, sink: Callable[[bytes], bool]) -> None:
        """Hand what comes to `sink`, without a turn of the reading task for each piece; reading goes on after it.

        sink: gives whether it has room for more, and may raise ServingError, which ends the response. Returns when it
        has none, or at the end of the body.
        """
        connection = self._connection
        if connection is not None and connection.state != ENDED:
            try:
                await connection.pour(sink)
            except BaseException:
                connection.abort()
                raise

    async def read(self, limit: int = 64 * 2**20) -> bytes:
        """The whole body; raises ServingError (upstream_error) over `limit` bytes."""
        parts: list[bytes] = []
        size = 0
        async for data in self:
            size += len(data)
            if size > limit:
                if self._connection is not None:
                    self._connection.abort()
                raise ServingError("upstream_error", f"The upstream's answer is larger than {limit} bytes.")
            parts.append(data)
        return parts[0] if len(parts) == 1 else b"".join(parts)

    def complete(self) -> bytes | None:
        """The whole body when all of it is here, as that of a short answer mostly is; None while more is to come."""
        connection = self._connection
        if connection is None or connection.state != ENDED or connection.failure is not None:
            return None
        return connection.take()

    def leave(self) -> Connection | None:
        """The connection, once; reading is over."""
        connection = self._connection
        self._connection = None
        return connection
