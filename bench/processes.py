"""Child processes that are always ended by their id, and what /proc says of them."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Generator, Mapping, Sequence
from pathlib import Path
from types import FrameType, TracebackType

_TICKS = os.sysconf("SC_CLK_TCK")
_PAGE = os.sysconf("SC_PAGE_SIZE")


class Child:
    """A command in a session of its own, ended with everything that it started when the block is left."""

    def __init__(
        self, command: Sequence[str], *, log: Path, env: Mapping[str, str] | None = None, grace: float = 5.0
    ) -> None:
        self.log = log
        self.born = time.monotonic()
        self._grace = grace
        with log.open("wb") as sink:
            self._process = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=sink,
                stderr=sink,
                env={**os.environ, **(env or {})},
                start_new_session=True,
            )
        self.pid = self._process.pid

    def __enter__(self) -> Child:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    @property
    def running(self) -> bool:
        return self.exit_code is None

    @property
    def exit_code(self) -> int | None:
        return self._process.poll()

    def stop(self) -> None:
        """SIGTERM to the group, SIGKILL after the grace to whatever is left of the tree."""
        # taken first: once the root is gone its children belong to init and cannot be found through it
        family = tree(self.pid)
        _signal_group(self.pid, signal.SIGTERM)
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.wait(self._grace)
        _signal_group(self.pid, signal.SIGKILL)
        for pid, birth in family.items():
            if pid != self.pid and _birth(pid) == birth:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
        self._process.wait(self._grace)

    def last_words(self) -> str:
        """The end of its log, on one line."""
        lines = [line.strip() for line in self.log.read_text(errors="replace").splitlines() if line.strip()]
        return " / ".join(lines[-2:])[-240:] or "it said nothing"


def _signal_group(group: int, number: signal.Signals) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.killpg(group, number)


def free_port() -> int:
    """A port of loopback that was free a moment ago."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
    return port


def _stat(pid: int) -> list[str]:
    """The fields of /proc/PID/stat from the state on; empty when the process is gone."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except (FileNotFoundError, ProcessLookupError):
        return []


def _birth(pid: int) -> int:
    fields = _stat(pid)
    return int(fields[19]) if fields else -1


def started(pid: int) -> float | None:
    """When the process was started, in seconds of CLOCK_BOOTTIME to a hundredth; None when it is gone."""
    birth = _birth(pid)
    return birth / _TICKS if birth >= 0 else None


def tree(root: int) -> dict[int, int]:
    """The process and all its descendants: pid -> start time, which tells a reused pid apart."""
    parents: dict[int, int] = {}
    births: dict[int, int] = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit() and (fields := _stat(int(entry.name))):
            parents[int(entry.name)] = int(fields[1])
            births[int(entry.name)] = int(fields[19])
    found = {root} if root in births else set[int]()
    while more := {pid for pid, parent in parents.items() if parent in found and pid not in found}:
        found |= more
    return {pid: births[pid] for pid in found}


def cpu_seconds(root: int, *, without: int | None = None) -> float:
    """User and system time of the whole tree, with that of descendants already waited for.

    without: a process in it that does not count, nor does what it started.
    """
    members = tree(root).keys() - (tree(without).keys() if without is not None else set[int]())
    return sum(sum(int(field) for field in fields[11:15]) for pid in members if (fields := _stat(pid))) / _TICKS


def rss_mb(root: int) -> float:
    """Resident memory of the whole tree in MB (10**6); pages shared between processes count in each."""
    return sum(process_rss_mb(pid) for pid in tree(root))


def process_rss_mb(pid: int) -> float:
    """Resident memory of one process in MB (10**6); 0 when it is gone."""
    fields = _stat(pid)
    return int(fields[21]) * _PAGE / 1e6 if fields else 0.0


def wait_for_rest(root: int, limit: float = 8.0) -> None:
    """Until the tree spends no more than 2 % of a core over half a second; gives up at the limit in seconds."""
    deadline = time.monotonic() + limit
    # Trunkcall's ledger importer comes about a second after the first request
    time.sleep(1.5)
    while time.monotonic() < deadline:
        members, before = set(tree(root)), cpu_seconds(root)
        time.sleep(0.5)
        # a child that ended or came is work too
        if set(tree(root)) == members and cpu_seconds(root) - before <= 0.01:
            return


@contextlib.contextmanager
def scratch() -> Generator[Path]:
    """A temporary directory that goes when the block is left."""
    path = Path(tempfile.mkdtemp(prefix="trunkcall-bench-"))
    # nginx's worker runs as another user when its master is root
    path.chmod(0o755)
    try:
        yield path
    finally:
        shutil.rmtree(path, ignore_errors=True)


def unwind_on_signals() -> None:
    """SIGTERM and Ctrl-C unwind the stack and say nothing, so that every Child is stopped."""

    def leave(number: int, frame: FrameType | None) -> None:
        raise SystemExit(128 + number)

    signal.signal(signal.SIGTERM, leave)
    signal.signal(signal.SIGINT, leave)
