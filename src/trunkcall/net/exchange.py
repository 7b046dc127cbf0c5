"""One HTTP exchange: the request as it came, its answer's framing, and notice of a client that left."""

from __future__ import annotations

import asyncio
import itertools
import os
from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, Final, NoReturn
from urllib.parse import unquote

from trunkcall.core.errors import ServingError
from trunkcall.core.meter import Meter
from trunkcall.core.ports import Header, Response
from trunkcall.net.framing import Head

if TYPE_CHECKING:
    from trunkcall.net.server import Peer

_line: Final = b": ".join
# As numbers, which `in` finds ten times as fast as bytes.
_LF: Final = 0x0A
_CR: Final = 0x0D
_PERCENT: Final = 0x25

_PROCESS: Final = os.urandom(6).hex()
_LAST_DIGITS: Final = tuple(f"{number:02x}" for number in range(256))

_NONE: Final = 0
_COUNTED: Final = 1
_CHUNKED: Final = 2
_UNTIL_CLOSE: Final = 3


def _count() -> Iterator[str]:
    """Ids, unique beyond this process; formatting a number for each would take longer than looking its end up."""
    for begun in itertools.count():
        start = f"{_PROCESS}{begun:06x}"
        for digits in _LAST_DIGITS:
            yield start + digits


_ids: Final = _count()


class Exchange:
    """Fits core.ports.Exchange; also what the relay writes to. Header names are lower-case on both ways."""

    __slots__ = (
        "_body",
        "_first",
        "_framing",
        "_left",
        "_minor",
        "_peer",
        "_unsent",
        "_writes",
        "client",
        "closes",
        "complete",
        "extra_headers",
        "headers",
        "id",
        "meter",
        "method",
        "parameters",
        "path",
        "principal",
        "query",
        "started",
        "status",
    )

    def __init__(self, peer: Peer, head: Head, body: bytes | None) -> None:
        """body: None when it has not come yet."""
        self._peer = peer
        self._body = body
        self._first = head.first
        self._minor = head.minor
        self._unsent = b""
        self._framing = _NONE
        self._left = 0
        self._writes = 0
        self.method = head.method
        path, _, self.query = head.target.partition(b"?")
        self.path = unquote(path.decode()) if _PERCENT in path else path.decode()
        self.headers = head.headers
        self.parameters: dict[str, str] = {}
        self.client = peer.address
        self.id = next(_ids)
        self.principal = ""
        self.meter: Meter | None = None
        self.status = 0
        """Of the answer; 0 until there is one."""
        self.started = False
        """A head has been decided on, so that no other answer can be given."""
        self.complete = False
        """The last byte of the answer has been handed to the transport."""
        self.closes = False
        """The connection is closed after this answer."""
        self.extra_headers: list[Header] = []

    @property
    def unread(self) -> int:
        """Bytes of the answer that the client is too slow to take; 0 while it keeps up."""
        return self._peer.unread

    def header(self, name: bytes) -> bytes | None:
        """The value of the first header of this lower-case name."""
        return self._first.get(name)

    async def body(self) -> bytes:
        """The whole request body.

        Raises ServingError: too_large over the limit, bad_request when its chunks are malformed,
        deadline when it stops coming, cancelled when the client left.
        """
        if self._body is None:
            self._body = await self._peer.receive()
        return self._body

    async def respond(self, response: Response) -> None:
        """Send a whole answer; does nothing when one has begun or the client has left."""
        if self.started or self._peer.lost or self._peer.is_closing():
            return
        body = response.body
        head = self._open(response.status, response.headers, len(body))
        self.complete = True
        self._peer.write(head if self._framing == _NONE else head + body)

    async def begin(self, status: int, headers: Sequence[Header]) -> None:
        """Decide on the head, which leaves with the first piece of the body.

        A content-length among the headers is kept to; without one the body is chunked, or ends with the
        connection in HTTP/1.0. Raises ServingError (bug) when begun twice, or when a header holds CR, LF or NUL.
        """
        if self.started:
            raise ServingError("bug", "an answer was begun twice")
        self._unsent = self._open(status, headers, None)

    async def write(self, data: bytes) -> None:
        """Send a piece of the body; waits while the client does not read.

        Raises ServingError: cancelled when the client has left, bug over the content-length or after the end.
        """
        peer = self._peer
        if peer.lost or peer.is_closing():
            await self._left_alone()
        if not data:
            # An empty chunk would end the body.
            return
        peer.write(self._framed(data))
        self._writes = writes = self._writes + 1
        if peer.blocked:
            await peer.drained()
            if peer.lost:
                await self._left_alone()
        elif not writes & 63:
            # A reader as fast as we are never blocks: others get their turn, and the news that it left comes in.
            await asyncio.sleep(0)

    def push(self, data: bytes) -> bool:
        """Send a piece of the body at once; gives whether the client has room for another.

        After False, and where it cannot be sent, `write` goes on, which waits or raises.
        """
        peer = self._peer
        if peer.lost or peer.is_closing():
            return False
        peer.write(self._framed(data))
        return not peer.blocked

    async def finish(self, data: bytes = b"") -> None:
        """Send the last piece of the body; raises as `write` does, and bug under the content-length."""
        peer = self._peer
        if peer.lost or peer.is_closing():
            await self._left_alone()
        piece = self._framed(data) if data or not self.started or self.complete else self._unsent
        if self._framing == _COUNTED and self._left:
            raise ServingError("bug", f"an answer ended {self._left} bytes before its content-length")
        if self._framing == _CHUNKED:
            piece += b"0\r\n\r\n"
        self._unsent = b""
        self.complete = True
        if piece:
            peer.write(piece)

    def cancel(self) -> None:
        """Cancel the task that handles this exchange."""
        if self._peer.task is not None:
            self._peer.task.cancel()

    def when_gone(self, callback: Callable[[], None]) -> Watch:
        """Call back once when the client leaves before the answer is complete; at once when it has left.

        One watch at a time.
        """
        peer = self._peer
        if peer.lost:
            callback()
        else:
            peer.on_gone = callback
        return Watch(peer)

    def _open(self, status: int, headers: Sequence[Header], size: int | None) -> bytes:
        peer = self._peer
        # Joining takes half of what formatting takes.
        lines = list(map(_line, headers))
        if self.extra_headers:
            lines += map(_line, self.extra_headers)
        lines.append(b"x-trunkcall-request-id: " + self.id.encode())
        bodiless = status in (204, 304)
        if size is None:
            for name, value in headers:
                if name == b"content-length":
                    size = int(value)
        elif not bodiless:
            lines.append(b"content-length: %d" % size)
        closes = peer.ends
        framing = _NONE
        if bodiless or self.method == "HEAD":
            pass
        elif size is not None:
            framing = _COUNTED
            self._left = size
        elif self._minor:
            framing = _CHUNKED
            lines.append(b"transfer-encoding: chunked")
        else:
            framing = _UNTIL_CLOSE
            closes = True
        if closes:
            lines.append(b"connection: close")
        elif not self._minor:
            lines.append(b"connection: keep-alive")
        packed = b"".join(lines)
        # A value that brings its own line break would write the answer's next line.
        if _LF in packed or _CR in packed or 0 in packed:
            raise ServingError("bug", "a header of the answer holds a line break or NUL", detail=repr(lines))
        lines.append(b"\r\n")
        self._framing = framing
        self.closes = closes
        self.status = status
        self.started = True
        return peer.server.status_and_date(status) + b"\r\n".join(lines)

    def _framed(self, data: bytes) -> bytes:
        """The piece as it goes out, after a head that has not."""
        if not self.started or self.complete:
            raise ServingError("bug", "an answer was written before its head or after its end")
        framing = self._framing
        if framing == _CHUNKED:
            data = b"%x\r\n%b\r\n" % (len(data), data)
        elif framing == _COUNTED:
            self._left -= len(data)
            if self._left < 0:
                raise ServingError("bug", "an answer is longer than its content-length")
        elif framing == _NONE:
            data = b""
        if self._unsent:
            data = self._unsent + data
            self._unsent = b""
        return data

    async def _left_alone(self) -> NoReturn:
        # The news, and the cancel that it causes, may still be on their way; what is written meanwhile is dropped.
        await asyncio.sleep(0)
        raise ServingError("cancelled", "the client left before its answer was complete")


class Watch:
    """A look-out for the client's leaving."""

    __slots__ = ("_peer",)

    def __init__(self, peer: Peer) -> None:
        self._peer = peer

    def close(self) -> None:
        """No longer call back."""
        self._peer.on_gone = None
