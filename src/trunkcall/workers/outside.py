"""The runner of a server that others wrote: starts it at a free port, tells when it is ready, ends it with all its own.

`python -m trunkcall.workers.outside JSON`, JSON being protocols.outside_host.OutsideSettings.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import re
import signal
import socket
import sys
import traceback
from collections.abc import Callable, Iterable
from functools import partial
from typing import Final, cast

import msgspec
import uvloop

from trunkcall.core.errors import ServingError
from trunkcall.net.client import Client, Timeouts
from trunkcall.net.link import ChildLink
from trunkcall.protocols.outside_host import HOST, OutsideSettings, filled, places
from trunkcall.workers.descendants import adopt_orphans, descendants, end_all, send
from trunkcall.workers.outside_end import explain, port_taken

POLL_SECONDS: Final = 0.05
"""Between two looks at a server that is not ready yet."""
LOOK_SECONDS: Final = 5.0
"""Between two looks at one that serves."""
REFUSALS: Final = 3
"""So many looks in a row that were answered with a clear no end a server that was ready."""

_PROBE_SECONDS: Final = 5.0
_TAIL_BYTES: Final = 64 * 1024
"""Of the output, kept to explain an end."""
_TAIL_LINES: Final = 100
_LAST_WORDS_SECONDS: Final = 0.3
"""How long the output of an ended server may still come."""
_OWN_LOOKS: Final = re.compile(rb'^[^\n]*"GET /(?:health|metrics) HTTP/[\d.]+" 200[^\n]*\n', re.MULTILINE)
"""In an access log, which they would fill; it is written by the line."""
_DYING_SECONDS: Final = 10.0
"""How long a killed process may be held by the kernel, for instance by a driver."""
_ORPHANED_SECONDS: Final = 0.8
"""From SIGTERM to SIGKILL after our parent's end; less than the link leaves us."""


class Ended(Exception):
    """The server is no more, unasked; `code` is what this process ends with, the text says why."""

    def __init__(self, code: int, reason: str) -> None:
        super().__init__(reason)
        self.code = code


class _PortTaken(Exception):
    """Somebody else took the port between our look and the server's."""


class Server(asyncio.SubprocessProtocol):
    """The started server; the event loop feeds it with its output and its end."""

    def __init__(self) -> None:
        self.pid = 0
        self.ended: asyncio.Future[int] = asyncio.get_running_loop().create_future()
        """The exit code, negative for a signal; set once the process is reaped."""
        self.silent = asyncio.Event()
        """Nobody holds its output any more."""
        self._tail = b""
        self._transport: asyncio.SubprocessTransport | None = None

    def lines(self) -> list[str]:
        """The last lines that it wrote."""
        return self._tail.decode("utf-8", "replace").splitlines()[-_TAIL_LINES:]

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """It has been started."""
        # uvloop's does not derive from asyncio's.
        self._transport = cast(asyncio.SubprocessTransport, transport)
        self.pid = self._transport.get_pid()

    def pipe_data_received(self, fd: int, data: bytes) -> None:
        """It wrote something, which is for our parent's log too, but for notes of our own looks at it."""
        data = _OWN_LOOKS.sub(b"", data)
        self._tail = (self._tail + data)[-_TAIL_BYTES:]
        with contextlib.suppress(OSError):
            sys.stdout.buffer.write(data)
            sys.stdout.buffer.flush()

    def pipe_connection_lost(self, fd: int, exc: Exception | None) -> None:
        """It, and all who inherited its output, closed it."""
        if fd == 1:
            self.silent.set()

    def process_exited(self) -> None:
        """It has ended and is reaped."""
        code = self._transport.get_returncode() if self._transport is not None else None
        self.ended.set_result(-int(signal.SIGKILL) if code is None else code)

    async def finish(self) -> int:
        """Kill what is left of it and of what it started; gives its exit code."""
        end = asyncio.get_running_loop().time() + _DYING_SECONDS
        while not self.ended.done() or descendants():
            if asyncio.get_running_loop().time() >= end:
                return -int(signal.SIGKILL)
            send(signal.SIGKILL, self.pid, *descendants())
            await asyncio.sleep(POLL_SECONDS)
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self.silent.wait(), _LAST_WORDS_SECONDS)
        if self._transport is not None:
            self._transport.close()
        if self._tail and not self._tail.endswith(b"\n"):
            # What we say next has a line of its own.
            self.pipe_data_received(1, b"\n")
        return self.ended.result()


async def start(settings: OutsideSettings) -> tuple[Server, str]:
    """Start the server; gives it and the origin at which it has to answer.

    Raises Ended when it cannot be started.
    """
    values = {"host": HOST, **free_ports({"port", *places((*settings.command, *settings.env.values()))} - {"host"})}
    try:
        _, server = await asyncio.get_running_loop().subprocess_exec(
            Server,
            *(filled(word, values) for word in settings.command),
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
            env={**os.environ, **{name: filled(word, values) for name, word in settings.env.items()}},
        )
    except OSError as error:
        reason = f"{settings.command[0]} cannot be started: {error.strerror or error}"
        raise Ended(127, f"{settings.name}: {reason}") from error
    return server, f"http://{HOST}:{values['port']}"


def free_ports(names: Iterable[str]) -> dict[str, str]:
    """A free port of the loopback address for each name."""
    with contextlib.ExitStack() as held:
        found: dict[str, str] = {}
        for name in names:
            bound = held.enter_context(socket.socket())
            bound.bind((HOST, 0))
            found[name] = str(bound.getsockname()[1])
        return found


async def watch(settings: OutsideSettings, origin: str, when_ready: Callable[[], None]) -> str:
    """Look at the server for ever: tell once when it is ready; ends with the reason why it has to be given up."""
    loop = asyncio.get_running_loop()
    limit = min(_PROBE_SECONDS, settings.patience)
    client = Client(origin, timeouts=Timeouts(connect=limit, first_byte=limit, idle=limit, whole=limit))
    try:
        began = loop.time()
        while (error := await trouble(settings, origin, client)) is not None:
            if loop.time() - began >= settings.start_seconds:
                return f"it was not ready after {settings.start_seconds:g} seconds: {error.message.rstrip('.')}"
            await asyncio.sleep(POLL_SECONDS)
        when_ready()
        answered = loop.time()
        refusals = 0
        while True:
            await asyncio.sleep(min(LOOK_SECONDS, settings.patience / 4))
            error = await trouble(settings, origin, client)
            if error is None:
                answered = loop.time()
                refusals = 0
            elif error.kind == "upstream_timeout":
                # It may be busy: one that answers in turn says nothing while it generates.
                if loop.time() - answered >= settings.patience:
                    return f"it runs, but has not answered {settings.health} for {loop.time() - answered:.0f} seconds"
            else:
                refusals += 1
                if refusals >= REFUSALS:
                    return f"it runs, but cannot serve any more: {error.message}"
    finally:
        await client.aclose()


async def trouble(settings: OutsideSettings, origin: str, client: Client) -> ServingError | None:
    """What keeps the server from serving: upstream_timeout when it says nothing, other kinds for a clear no."""
    try:
        if settings.health:
            async with client.request(b"GET", settings.health.encode(), b"") as answer:
                await answer.read()
                if answer.status != settings.ready:
                    return ServingError("upstream_error", f"{settings.health} answered {answer.status}")
        else:
            _, writer = await asyncio.open_connection(HOST, int(origin.rpartition(":")[2]))
            writer.close()
    except ServingError as error:
        return error
    except OSError as error:
        return ServingError("unreachable", f"its port cannot be connected to ({error.strerror or error})")
    return None


async def live(settings: OutsideSettings, link: ChildLink, stopping: asyncio.Event) -> None:
    """One life of the server, from its start until `stopping` is set and it is gone.

    Raises Ended when it comes to an end unasked, and _PortTaken when it did so because of its port.
    """
    loop = asyncio.get_running_loop()
    server, origin = await start(settings)
    ready = False

    def when_ready() -> None:
        nonlocal ready
        ready = True
        link.report(address=origin + settings.base)

    watching = loop.create_task(watch(settings, origin, when_ready))
    stopped = loop.create_task(stopping.wait())
    given_up = ""
    try:
        await asyncio.wait((server.ended, watching, stopped), return_when=asyncio.FIRST_COMPLETED)
        if stopping.is_set():
            send(signal.SIGTERM, server.pid)
            await asyncio.wait((server.ended,), timeout=settings.grace)
        elif not server.ended.done():
            given_up = watching.result()
    finally:
        watching.cancel()
        stopped.cancel()
        await asyncio.gather(watching, stopped, return_exceptions=True)
        code = await server.finish()
    if stopping.is_set():
        return
    if given_up and not ready:
        said = next((f". Its last words: {line.strip()}" for line in reversed(server.lines()) if line.strip()), "")
        remedy = "The option start_seconds gives it longer"
        raise Ended(1, f"{settings.name} was ended: {given_up}. {remedy}{said}")
    if given_up:
        raise Ended(1, f"{settings.name} was ended: {given_up}")
    if not ready and port_taken(server.lines()):
        raise _PortTaken
    raise Ended(128 - code if code < 0 else code or 1, explain(settings.name, code, server.lines()))


async def host(settings: OutsideSettings, link: ChildLink) -> None:
    """Run the server until SIGTERM; raises Ended when it ends before."""
    stopping = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stopping.set)
    link.watch(partial(end_all, _ORPHANED_SECONDS))
    try:
        await live(settings, link, stopping)
    except _PortTaken:
        try:
            await live(settings, link, stopping)
        except _PortTaken:
            raise Ended(1, f"{settings.name} says twice that its port is taken; does it listen at another?") from None


def main() -> None:
    """Run the server; the exit code is its own where it ended unasked."""
    code = 1
    reason = ""
    link = ChildLink()
    try:
        settings = msgspec.json.decode(sys.argv[1], type=OutsideSettings)
        adopt_orphans()
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            runner.run(host(settings, link))
        code = 0
    except Ended as ended:
        code, reason = ended.code, str(ended)
    except (msgspec.DecodeError, IndexError) as error:
        reason = f"trunkcall.workers.outside needs its settings as JSON: {error}"
    except Exception as error:  # noqa: BLE001
        # The last line of defence: the parent is told, the log has the traceback.
        traceback.print_exc()
        reason = f"{type(error).__name__}: {error}"
    if reason:
        link.report(error=reason)
        # After it was ready our parent listens to the log only, whose last bad line counts.
        with contextlib.suppress(OSError):
            print(f"fatal: {reason}", file=sys.stderr, flush=True)
    sys.exit(code)


if __name__ == "__main__":
    main()
