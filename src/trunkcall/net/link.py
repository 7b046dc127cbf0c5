"""The link between a process and the child it started: a report and beats go up, the other's end is noticed."""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import os
import signal
import socket
import sys
import threading
from collections.abc import Callable, Generator
from typing import Any, Final

import msgspec

VARIABLE: Final = "TRUNKCALL_LINK"
"""The environment variable that holds the number of the child's descriptor."""

_LONGEST_REPORT: Final = 64 * 1024
_BEAT: Final = b"\n"
BEAT_SECONDS: Final = 1.0
_LINGER: Final = 5.0
"""The most seconds that a child's clean-up may take once its parent has gone."""


class Report(msgspec.Struct, frozen=True, omit_defaults=True):
    """What a child says once, as one JSON line: where it answers, or why it cannot start.

    about: what else its engine's users may want to know of it.
    """

    address: str = ""
    error: str = ""
    about: dict[str, Any] = {}


class ParentLink:
    """The parent's end; closing it ends the child, and so does the parent's own end, however it comes.

    Made inside a running loop, before the child is started with `environment` and
    `pass_fds=(child_fd,)`; call `started` right after that.
    """

    def __init__(self) -> None:
        self._ours, self._theirs = socket.socketpair()
        self._ours.setblocking(False)
        self._loop = asyncio.get_running_loop()
        self._received = b""
        self.report: asyncio.Future[Report | None] = self._loop.create_future()
        """The child's report; None when the link ended without one."""
        self.beats = 0
        """How often the child was heard after its report."""
        self._loop.add_reader(self._ours, self._read)

    @property
    def child_fd(self) -> int:
        """The descriptor that the child inherits."""
        return self._theirs.fileno()

    @property
    def environment(self) -> dict[str, str]:
        """What the child's environment must hold."""
        return {VARIABLE: str(self.child_fd)}

    def started(self) -> None:
        """Give up the child's end: only the child may hold it."""
        self._theirs.close()

    def close(self) -> None:
        """End the link and with it the child."""
        self._settle(None)
        if self._ours.fileno() >= 0:
            self._loop.remove_reader(self._ours)
        self._theirs.close()
        self._ours.close()

    def _read(self) -> None:
        try:
            data = self._ours.recv(_LONGEST_REPORT)
        except BlockingIOError:
            return
        except OSError:
            data = b""
        if not data:
            self._loop.remove_reader(self._ours)
        if self.report.done():
            self.beats += bool(data)
            return
        self._received += data
        line, newline, rest = self._received.partition(b"\n")
        self.beats += bool(rest)
        if newline:
            with contextlib.suppress(msgspec.DecodeError):
                self._settle(msgspec.json.decode(line, type=Report))
                return
        if newline or not data or len(self._received) > _LONGEST_REPORT:
            self._settle(None)

    def _settle(self, report: Report | None) -> None:
        if not self.report.done():
            self.report.set_result(report)


class ChildLink:
    """The child's end, found in the environment; without one (started by hand) it reports to stdout."""

    def __init__(self) -> None:
        number = os.environ.pop(VARIABLE, None)
        self._socket = socket.socket(fileno=int(number)) if number is not None else None
        if self._socket is not None:
            # The child's own children must not keep the link open.
            self._socket.set_inheritable(False)

    def report(self, *, address: str = "", error: str = "", about: dict[str, Any] | None = None) -> None:
        """Tell the parent where we answer, or why we do not."""
        line = msgspec.json.encode(Report(address, error[: _LONGEST_REPORT // 8], about or {})) + b"\n"
        if self._socket is None:
            sys.stdout.write(line.decode())
            sys.stdout.flush()
            return
        with contextlib.suppress(OSError):  # the parent has gone; the watching thread deals with it
            self._socket.sendall(line)

    def beat(self) -> None:
        """From now on show the parent every second that the event loop this is called in still runs; after the report.

        Not from a thread, which would go on while the loop that answers is stuck.
        """
        if self._socket is None:
            return
        # A parent that does not read must not hold us up.
        with contextlib.suppress(OSError):
            self._socket.send(_BEAT, socket.MSG_DONTWAIT)
        asyncio.get_running_loop().call_later(BEAT_SECONDS, self.beat)

    def watch(self, when_lost: Callable[[], None] | None = None) -> None:
        """From now on end this process soon after the parent's end, also when its event loop is stuck.

        when_lost: called first, in another thread; the process ends when it has returned, or after five seconds.
        """
        link = self._socket
        if link is None:
            return

        def wait_for_end() -> None:
            with contextlib.suppress(OSError):
                while link.recv(64):
                    pass
            if when_lost is not None:
                cleaning = threading.Thread(target=when_lost, daemon=True)
                cleaning.start()
                cleaning.join(_LINGER)
            os._exit(0)

        threading.Thread(target=wait_for_end, name="link", daemon=True).start()

    @contextlib.contextmanager
    def fatal(self) -> Generator[None, None, None]:
        """Within the block the parent's end kills this process at once, by the kernel's hand.

        For native code that holds the interpreter's lock for long (loading a model did for
        2.5 s at 340 MB), when no Python thread can run. Linux only: elsewhere SIGIO is
        ignored by default, and the thread acts after the block.
        """
        link = self._socket
        if link is None:
            yield
            return
        flags = fcntl.fcntl(link, fcntl.F_GETFL)
        signal.signal(signal.SIGIO, signal.SIG_DFL)
        fcntl.fcntl(link, fcntl.F_SETOWN, os.getpid())
        fcntl.fcntl(link, fcntl.F_SETFL, flags | os.O_ASYNC)
        with contextlib.suppress(BlockingIOError):
            if not link.recv(1, socket.MSG_PEEK | socket.MSG_DONTWAIT):
                os._exit(0)
        try:
            yield
        finally:
            fcntl.fcntl(link, fcntl.F_SETFL, flags)
