"""Replicas as child processes of this process, each in its own process group."""

from __future__ import annotations

import asyncio
import contextlib
import os
import re
import signal
import subprocess
import threading
from collections import deque
from collections.abc import AsyncIterator, Sequence
from pathlib import Path
from typing import Final

from trunkcall.core.models import LaunchSpec
from trunkcall.core.ports import Exited, Handle, PlacementEvent, Ready
from trunkcall.net.link import ParentLink
from trunkcall.placement.echo import Echo
from trunkcall.placement.resident import resident

LOG_LINES: Final = 200
LONGEST_LINE: Final = 2000
"""In characters; the rest of a longer line is left out."""

_READ_BYTES: Final = 64 * 1024
_LAST_WORDS_SECONDS: Final = 0.2
"""How long the output of an ended child may still come; a grandchild may hold the pipe for ever."""

LOOK_SECONDS: Final = 5.0
SILENT_LOOKS: Final = 4
"""After so many looks in a row at a child that is silent and does nothing it is killed. Looks are counted rather than
seconds, since of those many pass at once when this process or the whole machine was stopped meanwhile."""
_BUSY_SHARE: Final = 0.01
"""Of a core; what a child that is stuck may still use, in threads that wake up to look around."""
_HUNG: Final = f"it hung for {LOOK_SECONDS * SILENT_LOOKS:g} seconds, neither answering nor working, and was killed"

_SAYS_HOW: Final = re.compile(r"exit code \d|killed by (SIG|signal )")
_LOOKS_BAD: Final = re.compile(r"error|exception|fatal|fail|cannot|abort|panic|out of memory|killed", re.IGNORECASE)


class LogRing:
    """The last lines of a stream of bytes."""

    def __init__(self) -> None:
        self._lines: deque[str] = deque(maxlen=LOG_LINES)
        self._open = b""
        self._count = 0

    def feed(self, data: bytes) -> None:
        """Take in output as it was read."""
        *lines, rest = (self._open + data).split(b"\n")
        self._lines.extend(_shown(line) for line in lines)
        self._count += len(lines)
        # Twice, so that a UTF-8 character at the cut does no harm.
        self._open = rest[: 2 * LONGEST_LINE]

    def lines(self) -> tuple[str, ...]:
        """The lines, the unfinished last one included."""
        return (*self._lines, _shown(self._open)) if self._open else tuple(self._lines)

    def since(self, number: int) -> tuple[int, tuple[str, ...]]:
        """The whole lines from this number on that are still there, and the number of the next."""
        first = max(0, len(self._lines) - max(0, self._count - number))
        return self._count, tuple(self._lines)[first:]


class LocalChild:
    """Fits core.ports.Handle: a started process, its output and its end. Made in the loop that is to hear of them."""

    def __init__(self, process: subprocess.Popen[bytes], link: ParentLink, echo: Echo | None = None) -> None:
        assert process.stdout is not None
        self.pid = process.pid
        self.address = ""
        self.link = link
        self.stopping = False
        self.hung = False
        self._loop = asyncio.get_running_loop()
        self.ended: asyncio.Future[int] = self._loop.create_future()
        """The exit code, negative for a signal; set once the process is reaped."""
        self._ring = LogRing()
        self._echo = echo
        self._process = process
        self._output = process.stdout
        self._exited = False
        os.set_blocking(self._output.fileno(), False)
        self._loop.add_reader(self._output, self._read)
        threading.Thread(target=self._reap, name=f"child {self.pid}", daemon=True).start()

    def log(self) -> tuple[str, ...]:
        """The last lines it wrote to stdout and stderr."""
        return self._ring.lines()

    def tail(self, number: int) -> tuple[int, tuple[str, ...]]:
        """The whole lines from this number on that are still there, and the number of the next."""
        return self._ring.since(number)

    def _read(self) -> None:
        try:
            data = os.read(self._output.fileno(), _READ_BYTES)
        except BlockingIOError:
            return
        if data:
            self._ring.feed(data)
            if self._echo is not None:
                self._echo.write(data)
            return
        # All who inherited its output have closed it.
        self._silence()
        if self._exited:
            self._end()

    def _silence(self) -> None:
        if not self._output.closed:
            self._loop.remove_reader(self._output)
            self._output.close()

    def _reap(self) -> None:
        self._process.wait()
        # The loop may have ended before the child.
        with contextlib.suppress(RuntimeError):
            self._loop.call_soon_threadsafe(self._reaped)

    def _reaped(self) -> None:
        self._exited = True
        # What it started itself must not outlive it.
        self.kill_group()
        if self._output.closed:
            self._end()
        else:
            self._loop.call_later(_LAST_WORDS_SECONDS, self._end)

    def kill_group(self) -> None:
        """Kill the child and what it started."""
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(self.pid, signal.SIGKILL)

    def terminate(self) -> None:
        """Ask the child itself to end; what it started is its own business."""
        if not self._exited:
            with contextlib.suppress(ProcessLookupError):
                os.kill(self.pid, signal.SIGTERM)

    def _end(self) -> None:
        if not self.ended.done():
            self._silence()
            self.link.close()
            self.ended.set_result(self._process.returncode)


class LocalPlacement:
    """Fits core.ports.Placement; starts children on this machine."""

    def __init__(self) -> None:
        self._echo: Echo | None = None

    async def start(self, spec: LaunchSpec) -> LocalChild:
        """Start the command with its link; raises OSError when it cannot be started."""
        link = ParentLink()
        if spec.shown and self._echo is None:
            self._echo = Echo()
        echo = self._echo if spec.shown else None
        try:
            # Not by the event loop, whose fork copied our page tables while all streams waited: 8 ms and more against
            # 0.3 ms for this one, which Python makes with vfork.
            process = subprocess.Popen(  # noqa: ASYNC220
                spec.command,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                bufsize=0,
                env={**os.environ, **spec.env, **link.environment},
                start_new_session=True,
                pass_fds=(link.child_fd,),
            )
        except BaseException:
            link.close()
            raise
        link.started()
        return LocalChild(process, link, echo)

    async def watch(self, handle: Handle) -> AsyncIterator[PlacementEvent]:
        """Ready at most once, then Exited once; the start has no limit of its own."""
        child = _own(handle)
        await asyncio.wait((child.link.report, child.ended), return_when=asyncio.FIRST_COMPLETED)
        report = child.link.report.result() if child.link.report.done() else None
        if report is not None and report.address:
            child.address = report.address
            yield Ready(report.address, report.about)
        await _end_or_hang(child)
        code = child.ended.result()
        error = _HUNG if child.hung else report.error if report is not None else ""
        yield Exited(code, exit_reason(code, error, child.log(), stopped=child.stopping))

    def memory(self, handles: Sequence[Handle]) -> list[int]:
        """Bytes of memory that each child takes with all that descends from it."""
        return resident([handle.pid for handle in handles])

    async def stop(self, handle: Handle, grace: float) -> None:
        """SIGTERM, and SIGKILL to the whole group after `grace` seconds; returns when the child is reaped."""
        child = _own(handle)
        if child.ended.done():
            return
        child.stopping = True
        child.terminate()
        try:
            await asyncio.wait((child.ended,), timeout=grace)
        finally:
            if not child.ended.done():
                child.kill_group()
        await asyncio.wait((child.ended,))


async def _end_or_hang(child: LocalChild) -> None:
    """Wait for a child's end; one that beat over its link and then hangs, stopped or in a deadlock, is killed."""
    beats, used, silent = 0, 0.0, 0
    while not child.ended.done():
        await asyncio.wait((child.ended,), timeout=LOOK_SECONDS)
        heard, beats = child.link.beats != beats, child.link.beats
        work = _work(child.pid)
        # Native code that holds the interpreter's lock keeps a loop silent too, but not idle.
        idle = work is not None and work - used < LOOK_SECONDS * _BUSY_SHARE
        used = work or 0.0
        silent = silent + 1 if beats and idle and not heard else 0
        if silent >= SILENT_LOOKS and not child.ended.done():
            child.hung = True
            child.kill_group()
            await asyncio.wait((child.ended,))


def _work(pid: int) -> float | None:
    """Seconds of a core that a process has used; None while it runs, waits for a disk or is debugged, or if unknown."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return None
    if fields[0] in ("R", "D", "t"):
        return None
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def exit_reason(code: int, reported: str, log: Sequence[str], *, stopped: bool = False) -> str:
    """Why a child ended, in one line: its own words, else the last line that looks like an error, else its code."""
    if reported:
        return reported
    if stopped:
        return "stopped"
    if code < 0:
        name = signal.Signals(-code).name if -code in set(signal.Signals) else f"signal {-code}"
        hint = " (the kernel does so when memory runs out)" if name == "SIGKILL" else ""
        ended = f"killed by {name}{hint}"
    else:
        ended = f"exit code {code}"
    lines = [line.strip() for line in log if line.strip()]
    telling = next((line for line in reversed(lines) if _LOOKS_BAD.search(line)), lines[-1] if lines and code else "")
    if not telling:
        return ended
    # The runner of a foreign server tells that one's end, which is its own too.
    return telling if _SAYS_HOW.search(telling) else f"{telling} ({ended})"


def _own(handle: Handle) -> LocalChild:
    assert isinstance(handle, LocalChild)
    return handle


def _shown(line: bytes) -> str:
    # A progress bar rewrites its line; what it shows last counts.
    text = line.rstrip(b"\r").rsplit(b"\r", 1)[-1].decode("utf-8", "replace")
    return text if len(text) <= LONGEST_LINE else text[:LONGEST_LINE] + " ..."
