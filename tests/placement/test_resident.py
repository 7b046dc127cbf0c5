"""The memory of processes, on a made-up /proc and on the real one."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from trunkcall.placement.resident import resident

PAGE = os.sysconf("SC_PAGE_SIZE")


def process(root: Path, pid: int, parent: int, pages: int) -> None:
    folder = root / "proc" / str(pid)
    folder.mkdir(parents=True)
    (folder / "stat").write_text(f"{pid} (a ) b) S {parent} 1 1 0")
    (folder / "statm").write_text(f"1000 {pages} 1 1 0 1 0")


def test_descendants_count(tmp_path: Path) -> None:
    for pid, parent, pages in ((10, 1, 3), (11, 10, 4), (12, 11, 5), (20, 1, 6)):
        process(tmp_path, pid, parent, pages)
    (tmp_path / "proc" / "12" / "statm").write_text("nothing that is known")
    assert resident([10, 11, 20, 99], tmp_path) == [7 * PAGE, 4 * PAGE, 6 * PAGE, 0]


def test_a_real_child() -> None:
    code = "import subprocess, sys; b = bytearray(30 << 20); subprocess.run(['cat'])"
    child = subprocess.Popen([sys.executable, "-c", code], stdin=subprocess.PIPE)
    try:
        while resident([child.pid])[0] < 30 << 20:
            assert child.poll() is None
        assert resident([os.getpid()])[0] > resident([child.pid])[0]
    finally:
        child.communicate(timeout=30)
