"""The pooled HTTP/1.1 client for worker hops and cloud upstreams: one origin, connections reused last-in first-out."""

from __future__ import annotations

import asyncio
import re
import socket
import ssl
from types import TracebackType
from typing import Final
from urllib.parse import urlsplit

from trunkcall.core.errors import ServingError
from trunkcall.net.connection import AWAITING, ENDED, STEP, Connection, Incoming, Timeouts

__all__ = ["Client", "Exchanged", "Incoming", "Timeouts"]

TICK: Final = 0.1
"""Seconds between two looks at the deadlines of running requests."""
STALE: Final = 60.0
"""Seconds after which an idle connection is not used again: middleboxes drop such ones without a word."""

_STANDARD: Final = Timeouts()
_METHODS: Final = frozenset({b"GET", b"HEAD", b"POST", b"PUT", b"PATCH", b"DELETE", b"OPTIONS"})
_WITH_BODY: Final = frozenset({b"POST", b"PUT", b"PATCH"})
_TARGET: Final = re.compile(rb"/[!-~\x80-\xff]*")
# Field lines of RFC 9110, 5.5 and 5.6.2, except those that frame the message: they are the client's own.
_HEADERS: Final = re.compile(
    rb"(?:(?!(?:host|content-length|transfer-encoding|connection|expect|upgrade):)"
    rb"[!#$%&'*+\-.^_`|~0-9a-z]+:[\t -~\x80-\xff]*\r\n)*",
    re.IGNORECASE,
)
_HOST: Final = re.compile(rb"[A-Za-z0-9._-]+|\[[0-9A-Fa-f:.]+\]")


class Client:
    """HTTP/1.1 to one origin, `http://host:port` or `https://host`; for one event loop.

    timeouts: for requests that bring none; max_idle: most connections kept for reuse;
    reuse_after_stream: the server is known to keep a connection open after an event stream
    (llama.cpp's says so and closes it); tls: for https, instead of the system's trust store.

    Raises ServingError (bad_request) when `origin` is not such a URL.
    """

    def __init__(
        self,
        origin: str,
        *,
        timeouts: Timeouts = _STANDARD,
        max_idle: int = 256,
        reuse_after_stream: bool = False,
        tls: ssl.SSLContext | None = None,
    ) -> None:
        self._origin = origin.rstrip("/")
        self._secure, self._host, self._port, authority = _parse_origin(self._origin)
        self._opening = b" HTTP/1.1\r\nHost: %b\r\n" % authority
        self._timeouts = timeouts
        self._max_idle = max_idle
        self._reuse_after_stream = reuse_after_stream
        self._tls = tls
        self._idle: list[Connection] = []
        self._open: set[Connection] = set()
        self._active: set[Connection] = set()
        self._sweep: asyncio.TimerHandle | None = None
        self._sound_target = b"/"
        self._sound_headers = b""
        self._closing = False
        self._all_gone: asyncio.Future[None] | None = None

    def request(
        self, method: bytes, target: bytes, headers: bytes, body: bytes = b"", *, timeouts: Timeouts | None = None
    ) -> Exchanged:
        """A request, sent by entering what this returns.

        target: absolute path and query; headers: encoded field lines, each ending in CRLF, without
        those that the client adds (Host, and Content-Length for a body or a POST, PUT, PATCH).

        Raises ServingError: bad_request for a method or target that does not fit on a request line,
        bug for header lines that would break the message.
        """
        if method not in _METHODS or (target != self._sound_target and not _TARGET.fullmatch(target)):
            raise ServingError("bad_request", f"Not a request that HTTP can carry: {(method + b' ' + target)[:200]!r}.")
        self._sound_target = target
        if headers != self._sound_headers:
            if not _HEADERS.fullmatch(headers):
                raise ServingError("bug", "A request to an upstream has unfit header lines.", detail=repr(headers))
            self._sound_headers = headers
        size = len(body)
        length = b"Content-Length: %d\r\n\r\n" % size if size or method in _WITH_BODY else b"\r\n"
        large = size > STEP
        payload = b"".join((method, b" ", target, self._opening, headers, length, b"" if large else body))
        return Exchanged(self, payload, body if large else b"", method == b"HEAD", timeouts or self._timeouts)

    async def aclose(self) -> None:
        """Close all connections and wait until they are closed; running requests end as upstream_error."""
        self._closing = True
        if self._sweep is not None:
            self._sweep.cancel()
            self._sweep = None
        for connection in tuple(self._open):
            connection.abort()
        if self._open:
            if self._all_gone is None:
                self._all_gone = asyncio.get_running_loop().create_future()
            await asyncio.shield(self._all_gone)

    # For Exchanged.

    def acquire(self) -> Connection | None:
        """The connection that was used last, if it can be used again."""
        idle = self._idle
        while idle:
            connection = idle.pop()
            if connection.loop.time() - connection.rested_at < STALE:
                return connection
            connection.abort()
        return None

    async def connect(self, timeouts: Timeouts) -> Connection:
        """A fresh connection; raises ServingError unreachable or upstream_timeout."""
        loop = asyncio.get_running_loop()
        if self._closing:
            raise ServingError("draining", f"The client of {self._origin} is closed.")
        if self._secure and self._tls is None:
            self._tls = ssl.create_default_context()
        scope = asyncio.timeout(timeouts.connect)
        try:
            async with scope:
                _, connection = await loop.create_connection(
                    lambda: Connection(loop, self._origin, self._forget),
                    self._host,
                    self._port,
                    ssl=self._tls if self._secure else None,
                )
        except (OSError, UnicodeError) as error:
            if scope.expired():
                raise ServingError(
                    "upstream_timeout",
                    f"{self._origin} could not be connected to within {timeouts.connect:g} s (timeout `connect`).",
                    detail=repr(error),
                ) from error
            raise _unreachable(self._origin, error) from error
        if self._closing:
            connection.abort()
            raise ServingError("draining", f"The client of {self._origin} was closed.")
        self._open.add(connection)
        return connection

    def watch(self, connection: Connection) -> None:
        """Hold the connection to its deadlines until it is released."""
        self._active.add(connection)
        if self._sweep is None:
            self._sweep = connection.loop.call_later(TICK, self._look)

    def release(self, connection: Connection) -> None:
        """Keep the connection for the next request if that is safe, or close it."""
        self._active.discard(connection)
        if (
            connection.reusable
            and connection.state == ENDED
            and len(self._idle) < self._max_idle
            and (self._reuse_after_stream or not _is_event_stream(connection.headers))
        ):
            connection.rest()
            self._idle.append(connection)
        else:
            connection.abort()

    def _look(self) -> None:
        self._sweep = None
        if self._active:
            loop = asyncio.get_running_loop()
            now = loop.time()
            for connection in tuple(self._active):
                connection.check(now)
            self._sweep = loop.call_later(TICK, self._look)

    def _forget(self, connection: Connection) -> None:
        self._open.discard(connection)
        if connection in self._idle:
            self._idle.remove(connection)
        if self._all_gone is not None and not self._open:
            self._all_gone.set_result(None)
            self._all_gone = None


class Exchanged:
    """One request and its response; entering sends the request and gives the response once its head is in.

    A request on a used connection that the server closes without a single byte is sent again,
    once, on a fresh one. Leaving before the end of the body closes the connection at once, which
    stops the server's work; leaving after it returns the connection to the pool.

    Entering raises ServingError: unreachable, upstream_timeout, upstream_error, draining.
    """

    __slots__ = ("_bodiless", "_body", "_client", "_incoming", "_payload", "_timeouts", "zero_bytes")

    def __init__(self, client: Client, payload: bytes, body: bytes, bodiless: bool, timeouts: Timeouts) -> None:
        self._client = client
        self._payload = payload
        self._body = body
        self._bodiless = bodiless
        self._timeouts = timeouts
        self._incoming: Incoming | None = None
        self.zero_bytes = True
        """No byte of a response has been seen: after an error, the request may be tried elsewhere."""

    async def __aenter__(self) -> Incoming:
        client = self._client
        connection = client.acquire()
        used = connection is not None
        while True:
            if connection is None:
                connection = await client.connect(self._timeouts)
            client.watch(connection)
            try:
                connection.begin(self._payload, self._bodiless, self._timeouts)
                if self._body:
                    await connection.send(self._body)
                while connection.state == AWAITING:
                    await connection.wait()
            except BaseException:
                self.zero_bytes = connection.silent
                client.release(connection)
                raise
            self.zero_bytes = connection.silent
            if connection.status:
                self._incoming = Incoming(connection)
                return self._incoming
            client.release(connection)
            if connection.failure is not None and not (used and connection.unanswered):
                raise connection.failure
            used = False
            connection = None

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.leave()

    def leave(self) -> None:
        """What `__aexit__` does, for who need not wait for it."""
        connection = self._incoming.leave() if self._incoming is not None else None
        if connection is not None:
            self._client.release(connection)


def _parse_origin(origin: str) -> tuple[bool, str, int, bytes]:
    """Whether TLS is spoken, host, port, and the value of the Host field."""
    try:
        parts = urlsplit(origin)
        secure = {"http": False, "https": True}[parts.scheme]
        host = parts.hostname or ""
        port = parts.port or (443 if secure else 80)
        name = b"[%b]" % host.encode("ascii") if ":" in host else host.encode("idna")
        if not _HOST.fullmatch(name) or "@" in parts.netloc or parts.path or parts.query or parts.fragment:
            raise ValueError("more or less than scheme, host and port")
    except (KeyError, ValueError) as error:
        raise ServingError(
            "bad_request",
            f"{origin!r} is not the address of an HTTP server; write http://HOST:PORT or https://HOST.",
            detail=repr(error),
        ) from error
    return secure, host, port, name if parts.port is None else b"%b:%d" % (name, port)


def _unreachable(origin: str, error: OSError | UnicodeError) -> ServingError:
    match error:
        case ssl.SSLCertVerificationError():
            said = (
                f"showed a TLS certificate that is not trusted ({error.verify_message}); check the host name, and"
                " SSL_CERT_FILE for a private authority"
            )
        case ssl.SSLError():
            said = f"does not speak TLS as expected ({error.reason}); check the port, or write http://"
        case socket.gaierror() | UnicodeError():
            said = "has a host name that cannot be resolved; check its spelling and this machine's DNS"
        case ConnectionRefusedError():
            said = "refuses connections; check that the server runs and listens on this port"
        case _:
            said = f"cannot be reached ({error.strerror or error}); check the address and the network"
    return ServingError("unreachable", f"{origin} {said}.", detail=f"{origin}: {error!r}")


def _is_event_stream(headers: list[tuple[bytes, bytes]]) -> bool:
    return any(name == b"content-type" and value.lower().startswith(b"text/event-stream") for name, value in headers)
