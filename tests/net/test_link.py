"""The link, with real children."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
import textwrap
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from trunkcall.net.link import ChildLink, ParentLink, Report

Spawn = Callable[[str, ParentLink], "subprocess.Popen[bytes]"]


@pytest.fixture
def spawn() -> Iterator[Spawn]:
    """Runs Python text in a child with `link` made; children are killed at the end."""
    children: list[subprocess.Popen[bytes]] = []

    def start(text: str, link: ParentLink) -> subprocess.Popen[bytes]:
        head = "import os, sys, threading, time\nfrom trunkcall.net.link import ChildLink\nlink = ChildLink()\n"
        child = subprocess.Popen(
            [sys.executable, "-c", head + textwrap.dedent(text)],
            env={**os.environ, **link.environment},
            pass_fds=(link.child_fd,),
            start_new_session=True,
            stdout=subprocess.PIPE,
        )
        link.started()
        children.append(child)
        return child

    yield start
    for child in children:
        try:
            os.killpg(child.pid, signal.SIGKILL)
        except ProcessLookupError:
            pass
        child.wait()
        assert child.stdout is not None
        child.stdout.close()


async def ended(child: subprocess.Popen[bytes]) -> None:
    """Wait until the child has ended, for half of the time that it would take without the link."""
    async with asyncio.timeout(30):
        while child.poll() is None:
            await asyncio.sleep(0.005)


@pytest.mark.anyio
@pytest.mark.parametrize(
    ("text", "report"),
    [
        ("link.report(address='http://127.0.0.1:1')", Report("http://127.0.0.1:1")),
        ("link.report(error='no\\n\\u00e9')", Report(error="no\né")),
        ("link.report(error='x' * 1000000)", Report(error="x" * 8192)),
        ("pass", None),
        ("os.write(link._socket.fileno(), b'nonsense\\n')", None),
    ],
)
async def test_a_child_reports_once(spawn: Spawn, text: str, report: Report | None) -> None:
    link = ParentLink()
    spawn(text, link)
    async with asyncio.timeout(30):
        assert await link.report == report
    link.close()
    link.close()


@pytest.mark.anyio
async def test_a_report_comes_before_the_end(spawn: Spawn) -> None:
    link = ParentLink()
    child = spawn("link.report(address='here'); time.sleep(60)", link)
    async with asyncio.timeout(30):
        assert await link.report == Report("here")
    assert child.poll() is None
    link.close()


@pytest.mark.anyio
@pytest.mark.parametrize(
    "busy",
    [
        pytest.param("time.sleep(60)", id="asleep"),
        pytest.param("while True: pass", id="spinning"),
        pytest.param("import asyncio; asyncio.run(asyncio.sleep(60))", id="event loop"),
        pytest.param("import select; select.select([], [], [])", id="native code without the lock"),
    ],
)
async def test_a_child_ends_with_the_link(spawn: Spawn, busy: str) -> None:
    link = ParentLink()
    child = spawn(f"link.watch(); link.report(address='x')\n{busy}", link)
    await link.report
    await asyncio.sleep(0.1)
    assert child.poll() is None
    link.close()
    await ended(child)


HOLDS_THE_LOCK = "import ctypes; ctypes.PyDLL(None).sleep(60)"


@pytest.mark.anyio
@pytest.mark.skipif(sys.platform != "linux", reason="SIGIO ends a process on Linux only")
async def test_a_child_whose_native_code_holds_the_lock_ends_too(spawn: Spawn) -> None:
    link = ParentLink()
    child = spawn(f"link.report(address='x')\nwith link.fatal():\n    {HOLDS_THE_LOCK}", link)
    await link.report
    await asyncio.sleep(0.3)
    assert child.poll() is None
    link.close()
    await ended(child)


@pytest.mark.anyio
async def test_a_parent_that_ended_before_the_block_is_noticed(spawn: Spawn) -> None:
    link = ParentLink()
    child = spawn(f"link.report(address='x')\ntime.sleep(1)\nwith link.fatal():\n    {HOLDS_THE_LOCK}", link)
    await link.report
    link.close()
    await ended(child)


@pytest.mark.anyio
async def test_after_the_block_the_link_is_harmless(spawn: Spawn) -> None:
    link = ParentLink()
    child = spawn(
        "with link.fatal():\n    link.report(address='x')\n    time.sleep(0.2)\ntime.sleep(0.3)\nprint('alive', flush=True)\n"
        "link.watch(lambda: print('lost', flush=True))\ntime.sleep(60)",
        link,
    )
    assert child.stdout is not None
    assert await asyncio.to_thread(child.stdout.readline) == b"alive\n"
    link.close()
    assert await asyncio.to_thread(child.stdout.readline) == b"lost\n"
    await ended(child)


@pytest.mark.slow
@pytest.mark.anyio
async def test_clean_up_that_hangs_is_cut(spawn: Spawn) -> None:
    link = ParentLink()
    child = spawn("link.watch(lambda: time.sleep(60)); link.report(address='x'); time.sleep(60)", link)
    await link.report
    began = time.monotonic()
    link.close()
    await ended(child)
    assert time.monotonic() - began > 0.5


def sockets(pid: int) -> set[str]:
    """The sockets that a process holds."""
    folder = Path(f"/proc/{pid}/fd")
    return {name for fd in folder.iterdir() if (name := os.readlink(fd)).startswith("socket:")}


@pytest.mark.anyio
async def test_other_children_do_not_hold_the_link(spawn: Spawn) -> None:
    link = ParentLink()
    with subprocess.Popen(["sleep", "60"], close_fds=False) as other:  # noqa: ASYNC220
        try:
            child = spawn(
                """
                import subprocess
                link.watch()
                own = subprocess.Popen(['sleep', '60'], close_fds=False)
                link.report(address=str(own.pid))
                time.sleep(60)
                """,
                link,
            )
            report = await link.report
            assert report is not None
            await asyncio.sleep(0.3)
            (held,) = sockets(child.pid)
            assert held not in sockets(int(report.address)) | sockets(other.pid)
            link.close()
            await ended(child)
        finally:
            other.kill()


def test_started_by_hand_it_reports_to_stdout(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.delenv("TRUNKCALL_LINK", raising=False)
    link = ChildLink()
    link.watch()
    with link.fatal():
        link.report(address="http://127.0.0.1:5")
    assert capsys.readouterr().out == '{"address":"http://127.0.0.1:5"}\n'
