"""The life of the process that hosts a custom executor: set up, serve, end.

User code keeps the main thread, as it had it in Kuwa: what `setup` makes may be used in that thread only (a
SQLite connection, a CUDA context), and signal handlers can be set there only. HTTP has a thread of its own,
so that /health and the end of the process do not wait for user code that blocks.
"""

from __future__ import annotations

import asyncio
import logging
import os
import signal
import socket
import sys
import threading
import time
from collections.abc import Callable
from types import FrameType
from typing import Any, Final

import uvloop

from trunkcall.net.listeners import bind
from trunkcall.workers.kuwa_classes import BaseExecutor
from trunkcall.workers.kuwa_crossing import tell
from trunkcall.workers.kuwa_host import host
from trunkcall.workers.kuwa_options import DEFAULTS

_SWITCH_SECONDS: Final = 0.0005
"""Pieces change threads; at the default of 5 ms the server waits that long for a busy generator."""
_LOG_FORMAT: Final = "%(asctime)s [%(name)s] %(levelname)s: %(message)s"
_DRAIN_SECONDS: Final = 5.0
"""More than the HTTP side takes to end."""
_LAST_SECONDS: Final = 2.0
"""For what user code still does after its last answer."""
_SIGNALS: Final = (signal.SIGTERM, signal.SIGINT)

Report = Callable[[str, dict[str, Any]], None]


class Child:
    """Serves one executor in this process; report is called with its address and what else is to be known of it.

    `exit_code` is the process's, once `serve` has returned.
    """

    def __init__(self, report: Report) -> None:
        self._report = report
        self._server = uvloop.new_event_loop()
        self._ended = asyncio.Event()
        self.called = False
        """run() was called."""
        self.ready = False
        """The address has been reported."""
        self.exit_code = 0

    def serve(self, executor: BaseExecutor) -> None:
        """Set the executor up and serve it until SIGTERM, SIGINT or its own sys.exit.

        Raises what its `setup` raises.
        """
        self.called = True
        logging.basicConfig(level=executor.log_level, format=_LOG_FORMAT)
        bound = bind("127.0.0.1", 0)
        executor.host = executor.host or bound.getsockname()[0]
        executor.port = executor.port or bound.getsockname()[1]
        name = executor.LLM_name
        executor.setup()
        codes = list(executor.access_codes)
        if executor.LLM_name and executor.LLM_name != name:
            codes = [executor.LLM_name, *codes[1:]]
        executor.access_codes = codes
        executor.ready = executor.registered = True
        sys.setswitchinterval(_SWITCH_SECONDS)
        with asyncio.Runner() as runner:
            users = runner.get_loop()
            over = users.create_future()
            thread = threading.Thread(target=self._serve_http, args=(executor, bound, users, over), daemon=True)
            self._heed_signals()
            thread.start()
            try:
                runner.run(_until(over))
            except SystemExit as end:
                # From a task that user code made itself.
                self._exit(end)
            finally:
                tell(self._server, self._ended.set)
        thread.join(_DRAIN_SECONDS)

    def _serve_http(
        self,
        executor: BaseExecutor,
        bound: socket.socket,
        users: asyncio.AbstractEventLoop,
        over: asyncio.Future[None],
    ) -> None:
        def ready(address: str) -> None:
            self.ready = True
            self._report(address, about(executor))

        try:
            self._server.run_until_complete(host(executor, users, bound, self._ended, ready, self._exit))
        except BaseException:
            self.exit_code = 1
            raise
        finally:
            tell(users, over.cancel)
            end_soon(self.exit_code)

    def _heed_signals(self) -> None:
        """Have signals end the server at once, also while user code keeps the main thread in a native call."""
        noticed, woken = socket.socketpair()
        noticed.setblocking(False)
        woken.setblocking(False)

        def heed(number: int, frame: FrameType | None) -> None:
            # The second one is the user's who does not want to wait.
            signal.signal(number, signal.SIG_DFL)
            tell(self._server, self._ended.set)

        def read() -> None:
            if any(number in _SIGNALS for number in noticed.recv(64)):
                self._ended.set()

        for number in _SIGNALS:
            signal.signal(number, heed)
        signal.set_wakeup_fd(woken.detach(), warn_on_full_buffer=False)
        self._server.add_reader(noticed, read)

    def _exit(self, end: SystemExit) -> None:
        self.exit_code = exit_code(end)
        tell(self._server, self._ended.set)


def about(executor: BaseExecutor) -> dict[str, Any]:
    """What the server in front must know: the access codes, the path and, where the file says so, the kernel."""
    told: dict[str, Any] = {"codes": list(executor.access_codes), "path": executor.executor_path}
    if executor.kernel_url != DEFAULTS.kernel_url:
        told["kernel"] = executor.kernel_url
    if executor.ignore_kernel:
        told["ignore_kernel"] = True
    return told


def exit_code(end: SystemExit) -> int:
    """The code with which Python would end."""
    return end.code if isinstance(end.code, int) else int(end.code is not None)


def end_soon(code: int) -> None:
    """End this process in two seconds at the latest, also when user code blocks or has threads that never end."""

    def end() -> None:
        time.sleep(_LAST_SECONDS)
        os._exit(code)

    threading.Thread(target=end, name="end", daemon=True).start()


async def _until(over: asyncio.Future[None]) -> None:
    await asyncio.wait((over,))
