"""The folder of logs: whole lines only, also beside each other, on a full disk and on one that hangs."""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
from collections.abc import Callable
from contextlib import suppress
from datetime import datetime, timedelta
from pathlib import Path

import pytest

from trunkcall.core.errors import ServingError
from trunkcall.web.conversation_log import ConversationLog

pytestmark = pytest.mark.anyio


def makes(line: bytes) -> Callable[[], bytes]:
    return lambda: line


def names(folder: Path) -> list[Path]:
    """The file of today, and that of tomorrow for a test around midnight."""
    days = (datetime.now(), datetime.now() + timedelta(days=1))
    return [folder / f"{day:%Y-%m-%d}-conv.json" for day in days]


def _files(folder: Path) -> list[Path]:
    return list(folder.iterdir())


async def test_lines_of_several_writers_do_not_mix(tmp_path: Path) -> None:
    logs = [ConversationLog(tmp_path) for _ in range(4)]
    wanted = [json.dumps({"n": number, "text": "x" * 5000}).encode() + b"\n" for number in range(80)]
    await asyncio.gather(*(logs[number % 4].append(makes(line)) for number, line in enumerate(wanted)))
    (file,) = _files(tmp_path)
    assert sorted(file.read_bytes().splitlines(keepends=True)) == sorted(wanted)


async def test_lines_of_one_writer_stand_in_their_order(tmp_path: Path) -> None:
    log = ConversationLog(tmp_path)
    wanted = [f"{number}\n".encode() for number in range(50)]
    await asyncio.gather(*(log.append(makes(line)) for line in wanted))
    (file,) = _files(tmp_path)
    assert file.read_bytes() == b"".join(wanted)


async def test_what_the_line_raises_is_raised(tmp_path: Path) -> None:
    def make() -> bytes:
        raise ServingError("bad_request", "no line")

    with pytest.raises(ServingError, match="no line"):
        await ConversationLog(tmp_path / "none").append(make)
    assert not (tmp_path / "none").exists()


async def test_a_folder_that_cannot_be_is_said(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(ServingError, match="choose another folder") as caught:
        await ConversationLog(tmp_path / "file").append(makes(b"x\n"))
    assert caught.value.kind == "no_capacity"


async def test_a_disk_that_hangs_holds_up_nobody_else(tmp_path: Path) -> None:
    for name in names(tmp_path):
        # Opened for writing, it waits for a reader.
        os.mkfifo(name)
    log = ConversationLog(tmp_path, patience=0.2)
    readers: list[int] = []
    try:
        async with asyncio.timeout(30):
            waiting = [asyncio.create_task(log.append(makes(b"x\n"))) for _ in range(3)]
            # All threads of the loop are free.
            await asyncio.gather(*(asyncio.to_thread(int) for _ in range(64)))
            for failed in await asyncio.gather(*waiting, return_exceptions=True):
                assert isinstance(failed, ServingError)
                assert (failed.kind, "has not answered for 0.2 s" in failed.message) == ("no_capacity", True)
            readers = [os.open(name, os.O_RDONLY | os.O_NONBLOCK) for name in names(tmp_path)]
            # The disk is back; a machine that is short of time may outlast so little patience once more.
            back = False
            while not back:
                with suppress(ServingError):
                    await log.append(makes(b"y\n"))
                    back = True
        assert b"y\n" in os.read(readers[0], 100) + os.read(readers[1], 100)
    finally:
        for reader in readers:
            os.close(reader)


HANGING = """
import asyncio, sys
from pathlib import Path
from trunkcall.core.errors import ServingError
from trunkcall.web.conversation_log import ConversationLog

async def write() -> None:
    try:
        await ConversationLog(Path(sys.argv[1]), patience=0.1).append(lambda: b"x")
    except ServingError as error:
        print(error.kind)

asyncio.run(write())
"""


def test_a_disk_that_hangs_keeps_no_process_from_ending(tmp_path: Path) -> None:
    for name in names(tmp_path):
        os.mkfifo(name)
    command = [sys.executable, "-c", HANGING, str(tmp_path)]
    assert subprocess.run(command, text=True, capture_output=True, timeout=30, check=True).stdout == "no_capacity\n"


FILLED = """
import asyncio, resource, signal, sys
from pathlib import Path
from trunkcall.core.errors import ServingError
from trunkcall.web.conversation_log import ConversationLog

async def write() -> None:
    log = ConversationLog(Path(sys.argv[1]))
    await log.append(lambda: b"first\\n")
    resource.setrlimit(resource.RLIMIT_FSIZE, (10, resource.RLIM_INFINITY))
    for text in (b"second line\\n", b"third line\\n"):
        try:
            await log.append(lambda: text)
        except ServingError as error:
            print(error.message)
    resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
    await log.append(lambda: b"fourth\\n")

signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
asyncio.run(write())
"""


def test_of_a_line_that_does_not_fit_nothing_stays(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-c", FILLED, str(tmp_path)], text=True, capture_output=True, timeout=30, check=True
    )
    assert done.stdout.count("No space left on device") == 2
    (file,) = tmp_path.iterdir()
    assert file.read_bytes() == b"first\nfourth\n"
