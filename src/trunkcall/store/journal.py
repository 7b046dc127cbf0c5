"""The journal: every request noted in append-only files by a thread of its own, off the request's path."""

from __future__ import annotations

import asyncio
import fcntl
import logging
import os
import re
import socket
import threading
import time
from collections import deque
from pathlib import Path
from typing import Annotated, Final

import msgspec
from msgspec import Meta

from trunkcall.core.meter import Meter
from trunkcall.core.models import Health

_log = logging.getLogger("trunkcall.journal")

WINDOW: Final = 0.05
"""Seconds between writes: what `kill -9` may lose."""
SYNC: Final = 1.0
"""Seconds between fdatasync calls while rows are written: what a power loss may take."""
_SLOWEST: Final = 5.0
"""Seconds between tries at most, while the disk refuses."""

_NAME_LENGTH: Final = 256
_TEXT_LENGTH: Final = 1024
"""Characters that a row keeps of what callers and upstreams can make as long as they like."""
MOST: Final = 2**40
"""Tokens that an upstream is believed to count in one request: sums of wilder counts would not fit into a bigint."""

Integer = Annotated[int, Meta(ge=-(2**63), le=2**63 - 1)]
"""What a database's bigint holds: a wilder count makes one row unreadable, not the import."""
Tokens = Annotated[int, Meta(ge=0, le=MOST)]
"""Of a request that has ended."""
Moment = Annotated[float, Meta(ge=0, lt=253402300800)]
"""Unix seconds, up to the year 9999."""
Amount = Annotated[float, Meta(ge=0, le=1e15)]
"""Milliseconds, or money: many of them can still be summed up."""


class Open(msgspec.Struct, frozen=True, array_like=True, gc=False, tag="open"):
    """A request was granted a replica.

    Here and below: model: which one serves it; asked: the name that was asked for where it is another; why: the reason
    for the replica. What has a default was not written by earlier versions.
    """

    sequence: Integer
    id: str
    model: str
    replica: str
    protocol: str
    key: str
    stream: bool
    opened_at: Moment
    asked: str = ""
    queue_ms: Amount | None = None
    why: str = ""


class Progress(msgspec.Struct, frozen=True, array_like=True, gc=False, tag="progress"):
    """A live request has had `chunks` pieces of answer so far."""

    sequence: Integer
    chunks: Integer


class Close(msgspec.Struct, frozen=True, array_like=True, gc=False, tag="close"):
    """A request has ended; whole in itself, so that a short request is this one row.

    model is empty where there is none of the name that was asked for. estimated: the engine said no usage;
    completion_tokens counts pieces of the answer, prompt_tokens is guessed by the prompt's length. Milliseconds are
    since the request's arrival: to its first replica (queue_ms), to its first piece of answer and to its end. dropped:
    names joined by commas; resumes: how often it went on from another replica, resumed: `exact` or `text`; cost: at the
    model's prices.
    """

    sequence: Integer
    id: str
    model: str
    replica: str
    protocol: str
    key: str
    stream: bool
    opened_at: Moment
    prompt_tokens: Tokens
    completion_tokens: Tokens
    cached_tokens: Tokens | None
    first_token_ms: Amount | None
    total_ms: Amount | None
    finish: str
    error: str
    status: Integer
    dropped: str
    attempts: Integer
    estimated: bool
    asked: str = ""
    queue_ms: Amount | None = None
    why: str = ""
    resumes: Integer = 0
    resumed: str = ""
    cost: Amount = 0.0


Row = Open | Progress | Close


def _ms(moment: float | None, started: float) -> float | None:
    """To the microsecond: more digits are noise, and half of a row."""
    # `round` writes the number out and reads it again, which takes a third of what a row takes.
    return None if moment is None else int((moment - started) * 1e6 + 0.5) / 1000


def _open_row(meter: Meter) -> Open:
    granted = meter.granted
    return Open(
        meter.sequence,
        meter.id[:_NAME_LENGTH],
        meter.served[:_NAME_LENGTH],
        meter.replica,
        meter.protocol,
        meter.key,
        meter.stream,
        meter.opened_at,
        meter.model[:_NAME_LENGTH] if meter.model != meter.served else "",
        _ms(granted, meter.started),
        meter.why[:_TEXT_LENGTH],
    )


def _close_row(meter: Meter) -> Close:
    started, granted, first, ended = meter.started, meter.granted, meter.first, meter.ended
    usage = meter.usage
    if usage is None:
        prompt, completion, cached = meter.prompt, meter.chunks, None
    else:
        # Comparing them takes half of what `min` takes.
        prompt, completion, cached = usage.prompt, usage.completion, usage.cached
    # Callers can make up names without end: none of them becomes a model of the ledger's.
    served = "" if granted is None and meter.error == "no_model" else meter.served
    return Close(
        meter.sequence,
        meter.id[:_NAME_LENGTH],
        served[:_NAME_LENGTH],
        meter.replica,
        meter.protocol,
        meter.key,
        meter.stream,
        meter.opened_at,
        prompt if prompt < MOST else MOST,
        completion if completion < MOST else MOST,
        cached if cached is None or cached < MOST else MOST,
        _ms(first, started),
        _ms(ended, started),
        meter.finish[:_NAME_LENGTH],
        meter.error,
        meter.status,
        ",".join(meter.dropped)[:_TEXT_LENGTH] if meter.dropped else "",
        meter.attempts,
        usage is None and (meter.chunks > 0 or meter.prompt > 0 or not meter.error),
        meter.model[:_NAME_LENGTH] if meter.model != served else "",
        _ms(granted, started),
        meter.why[:_TEXT_LENGTH],
        meter.resumes,
        meter.resumed,
        meter.cost,
    )


class FileJournal:
    """Notes requests in DIRECTORY as WRITER.EPOCH.PART.jsonl; fits core.ports.Journal.

    writer: who notes, by default the host's name; the epoch is unique per object and sorts
    by time. Call `open` and `close` from one thread (the event loop's). They only queue the
    meter; a writer thread, awake only while something is live or waits, encodes the rows and
    appends them with one write per WINDOW. While WRITER.EPOCH.lock is locked, the writer lives.

    A disk that refuses is tried again with back-off; up to `limit` rows wait for it, then the
    oldest are dropped and counted in `lost`. A part ends at `part_bytes`.
    """

    def __init__(
        self, directory: Path, *, writer: str = "", limit: int = 100_000, part_bytes: int = 32 * 1024 * 1024
    ) -> None:
        self.directory = directory
        self.writer = re.sub(r"[^A-Za-z0-9_-]", "-", writer or socket.gethostname()) or "-"
        self.epoch = f"{time.time_ns():020d}-{os.getpid()}-{os.urandom(2).hex()}"
        self.lost = 0
        self._limit = limit
        self._part_bytes = part_bytes
        self._sequence = 0
        self._opened: deque[Meter] = deque()
        self._closed: deque[Meter] = deque()
        self._awake = False
        self._wake = threading.Event()
        self._ending = threading.Event()
        self._thread: threading.Thread | None = None
        # What follows belongs to the writer thread.
        self._live: dict[int, Meter] = {}
        self._encoder = msgspec.json.Encoder()
        self._pending: deque[tuple[int, bytes]] = deque()
        self._pending_rows = 0
        self._lock: int | None = None
        self._file: int | None = None
        self._part = 0
        self._size = 0
        self._unsynced = False
        self._synced_at = 0.0
        self._syncer: threading.Thread | None = None
        self._trouble = ""
        self._pause = WINDOW
        self._retry_at = 0.0

    def open(self, meter: Meter) -> None:
        """Note a grant; a second call for the same meter does nothing."""
        if meter.sequence:
            return
        self._sequence = meter.sequence = self._sequence + 1
        self._opened.append(meter)
        if not self._awake:
            self._rouse()

    def close(self, meter: Meter) -> None:
        """Note a request's end, also of one that never was opened; sets `ended` where it is unset."""
        if not meter.sequence:
            self._sequence = meter.sequence = self._sequence + 1
        if meter.ended is None:
            meter.ended = time.monotonic()
        self._closed.append(meter)
        if not self._awake:
            self._rouse()

    @property
    def waiting(self) -> int:
        """Rows that wait for the disk."""
        return self._pending_rows

    def health(self) -> Health:
        """Not ok while rows cannot be written."""
        trouble = self._trouble
        return Health(not trouble, trouble)

    async def aclose(self) -> None:
        """Write what waits, sync it and give up the lock; requests still open become gateway_lost."""
        self._ending.set()
        self._wake.set()
        if self._thread is not None:
            await asyncio.to_thread(self._thread.join)

    def _rouse(self) -> None:
        if self._ending.is_set():
            self.lost += 1
            return
        self._wake.set()
        if self._thread is None:
            self._awake = True
            self._thread = threading.Thread(target=self._run, name="trunkcall-journal", daemon=True)
            self._thread.start()

    def _run(self) -> None:
        ending = False
        while not ending:
            # `open` and `close` queue first and then look at _awake; this is the other way round, so none is missed.
            self._awake = False
            if not (self._opened or self._closed or self._live or self._pending or self._unsynced):
                self._wake.wait()
            self._wake.clear()
            self._awake = True
            ending = self._ending.wait(WINDOW)
            self._collect()
            self._write(last=ending)
            self._sync()
        self._awake = False
        self._end()

    def _collect(self) -> None:
        """Encode what happened since the last window into one batch."""
        live = self._live
        rows: list[Row] = []
        # Counted before _opened is emptied: the meters of these closes have then all been seen as opened.
        closes = len(self._closed)
        fresh: list[Meter] = []
        for _ in range(len(self._opened)):
            meter = self._opened.popleft()
            # Of one that has ended already the end is a row that is whole in itself.
            if meter.ended is None:
                live[meter.sequence] = meter
                fresh.append(meter)
        for _ in range(closes):
            meter = self._closed.popleft()
            live.pop(meter.sequence, None)
            rows.append(_close_row(meter))
        rows.extend(_open_row(meter) for meter in fresh if meter.sequence in live)
        # While the disk refuses, progress would only push out the rows that wait.
        for meter in () if self._trouble else live.values():
            chunks = meter.chunks
            if chunks != meter.noted:
                meter.noted = chunks
                rows.append(Progress(meter.sequence, chunks))
        if not rows:
            return
        try:
            data = self._encoder.encode_lines(rows)
        except UnicodeError:
            data = self._encode_apart(rows)
        count = data.count(b"\n")
        self._pending.append((count, data))
        self._pending_rows += count
        while self._pending_rows > self._limit and len(self._pending) > 1:
            dropped, _ = self._pending.popleft()
            self._pending_rows -= dropped
            if not self.lost:
                _log.warning("the journal drops its oldest rows: more than %d wait for the disk", self._limit)
            self.lost += dropped

    def _encode_apart(self, rows: list[Row]) -> bytes:
        """Encode row by row, with other characters for what JSON cannot say: lone surrogates."""
        lines: list[bytes] = []
        for row in rows:
            try:
                line = self._encoder.encode(row)
            except UnicodeError:
                texts = {name: value for name, value in msgspec.structs.asdict(row).items() if isinstance(value, str)}
                line = self._encoder.encode(
                    msgspec.structs.replace(row, **{name: _paired(value) for name, value in texts.items()})
                )
            lines.append(line + b"\n")
        return b"".join(lines)

    def _write(self, *, last: bool) -> None:
        if not self._pending or (time.monotonic() < self._retry_at and not last):
            return
        try:
            while self._pending:
                count, data = self._pending[0]
                done = 0
                try:
                    file = self._ready()
                    while done < len(data):
                        wrote = os.write(file, data[done:] if done else data)
                        done += wrote
                        self._size += wrote
                        self._unsynced = True
                finally:
                    # Rows that are whole in the file are not written again.
                    whole = data.rfind(b"\n", 0, done) + 1
                    left = count - data.count(b"\n", 0, whole) if whole < len(data) else 0
                    self._pending_rows -= count - left
                    if left:
                        self._pending[0] = (left, data[whole:])
                    else:
                        self._pending.popleft()
        except OSError as error:
            self._refused(error)
        else:
            if self._trouble:
                _log.warning("the journal writes again")
            self._trouble = ""
            self._pause = WINDOW

    def _refused(self, error: OSError) -> None:
        if not self._trouble:
            _log.error("the journal cannot write to %s (%s); rows wait in memory", self.directory, error.strerror)
        self._trouble = f"cannot write to {self.directory}: {error.strerror}"
        self._retry_at = time.monotonic() + self._pause
        self._pause = min(self._pause * 2, _SLOWEST)
        if self._size:
            # The part may end in a torn line: what comes next goes to a new one.
            self._end_part()

    def _ready(self) -> int:
        """The file to append to: locked, opened and rotated as needed."""
        if self._file is not None and self._size >= self._part_bytes:
            self._end_part()
        if self._lock is None:
            self.directory.mkdir(parents=True, exist_ok=True)
            lock = os.open(self.directory / f"{self.writer}.{self.epoch}.lock", os.O_CREAT | os.O_RDWR, 0o600)
            try:
                fcntl.flock(lock, fcntl.LOCK_EX)
            except OSError:
                os.close(lock)
                raise
            self._lock = lock
        if self._file is None:
            name = f"{self.writer}.{self.epoch}.{self._part + 1:06d}.jsonl"
            self._file = os.open(self.directory / name, os.O_CREAT | os.O_EXCL | os.O_WRONLY | os.O_APPEND, 0o600)
            self._part += 1
            self._size = 0
        return self._file

    def _end_part(self) -> None:
        if self._file is not None:
            if self._unsynced:
                self._start_sync(self._file)
            os.close(self._file)
            self._file = None
            self._size = 0

    def _sync(self) -> None:
        now = time.monotonic()
        if not self._unsynced or self._file is None or now - self._synced_at < SYNC:
            return
        if self._syncer is None or not self._syncer.is_alive():
            self._synced_at = now
            self._start_sync(self._file)

    def _start_sync(self, file: int) -> None:
        """Sync in yet another thread: a slow disk must not stretch the window of the next write."""
        self._unsynced = False
        self._syncer = threading.Thread(target=_sync_and_close, args=(os.dup(file),), daemon=True)
        self._syncer.start()

    def _end(self) -> None:
        # Tried on while it gets rows through: a limit on file size takes some with each part.
        before = self._pending_rows + 1
        while 0 < self._pending_rows < before:
            before = self._pending_rows
            self._write(last=True)
        if self._pending:
            self.lost += self._pending_rows
            _log.error("the journal ends with %d rows unwritten: %s", self._pending_rows, self._trouble)
            self._pending.clear()
        if self._syncer is not None:
            self._syncer.join()
        if self._file is not None:
            _sync_and_close(self._file)
            self._file = None
        if self._lock is not None:
            os.close(self._lock)
            self._lock = None


def _paired(text: str) -> str:
    return text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")


def _sync_and_close(file: int) -> None:
    try:
        os.fsync(file)
    except OSError as error:
        _log.error("the journal could not be synced to disk: %s", error.strerror)
    finally:
        os.close(file)
