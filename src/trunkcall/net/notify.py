"""The service manager that started this process, told of its states as sd_notify(3) has it."""

from __future__ import annotations

import contextlib
import os
import socket
import time
from typing import Final

VARIABLE: Final = "NOTIFY_SOCKET"


class Manager:
    """Whoever waits at a socket's address; nobody for an empty one. Telling never fails: nobody can do without us."""

    def __init__(self, address: str) -> None:
        self._address = f"\0{address[1:]}" if address.startswith("@") else address

    @staticmethod
    def of_this_process() -> Manager:
        """The one that the environment names, which children then do not see: they have other states."""
        return Manager(os.environ.pop(VARIABLE, ""))

    def ready(self, status: str) -> None:
        """It serves, for the first time or after a reload."""
        self._tell("READY=1", f"STATUS={status}")

    def reloading(self) -> None:
        """It reads its settings again; `ready` ends that."""
        self._tell("RELOADING=1", f"MONOTONIC_USEC={time.monotonic_ns() // 1000}")

    def stopping(self) -> None:
        """It is about to end."""
        self._tell("STOPPING=1", "STATUS=Running answers are finished")

    def _tell(self, *lines: str) -> None:
        if not self._address:
            return
        with contextlib.suppress(OSError), socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as ours:
            ours.setblocking(False)
            ours.sendto("\n".join(lines).encode(), self._address)
