"""The folder of daily logs that conversations and votes are appended to, each line whole or not at all."""

from __future__ import annotations

import asyncio
import errno
import os
from collections.abc import Callable
from concurrent.futures import Future
from datetime import datetime
from pathlib import Path
from queue import SimpleQueue
from threading import Thread
from typing import Final

from trunkcall.core.errors import ServingError
from trunkcall.core.log import log
from trunkcall.protocols.fastchat_conversations import file_name

PATIENCE: Final = 10.0
"""Seconds that a disk may take, lines before it included."""


class ConversationLog:
    """Writes to `folder`, which is made when the first line comes; one line at a time, on a thread of its own, so that
    a disk that hangs takes no thread from others, and does not keep the process from ending.
    """

    def __init__(self, folder: Path, patience: float = PATIENCE) -> None:
        self._folder = folder
        self._patience = patience
        self._wanted: SimpleQueue[tuple[Callable[[], bytes], Future[None]]] = SimpleQueue()
        self._writer = Thread(target=self._write, name="conversations", daemon=True)

    async def append(self, make: Callable[[], bytes]) -> None:
        """Append the line that `make` gives, called on the writing thread, to the file of the day.

        Raises ServingError: no_capacity where it cannot be written, and what `make` raises.
        """
        if not self._writer.is_alive():
            self._writer.start()
        written: Future[None] = Future()
        self._wanted.put((make, written))
        try:
            async with asyncio.timeout(self._patience):
                await asyncio.wrap_future(written)
        except TimeoutError:
            raise self._refusal(f"its disk has not answered for {self._patience:g} s") from None
        except OSError as error:
            raise self._refusal(error.strerror or str(error)) from error

    def _write(self) -> None:
        """The thread; what nobody waits for any more is left out."""
        while True:
            make, written = self._wanted.get()
            if written.set_running_or_notify_cancel():
                try:
                    written.set_result(self._append(make))
                except Exception as error:  # noqa: BLE001
                    # Raised where the line came from.
                    written.set_exception(error)

    def _append(self, make: Callable[[], bytes]) -> None:
        line = make()
        self._folder.mkdir(parents=True, exist_ok=True)
        # What people write is for the operator alone.
        file = os.open(self._folder / file_name(datetime.now()), os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
        try:
            written = os.write(file, line)
            if written < len(line):
                _take_back(file, written)
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        finally:
            os.close(file)

    def _refusal(self, why: str) -> ServingError:
        log.warning("a conversation could not be logged in %s: %s", self._folder, why)
        return ServingError(
            "no_capacity",
            f"the server could not log the conversation: {why}; its operator has to put that right, or choose another "
            "folder (option `conversations` of the api `web`, LOGDIR of the old commands)",
        )


def _take_back(file: int, written: int) -> None:
    """Remove the part of a line that a full disk took, unless another process has appended behind it."""
    end = os.lseek(file, 0, os.SEEK_CUR)
    if os.fstat(file).st_size == end:
        os.ftruncate(file, end - written)
