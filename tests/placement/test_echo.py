"""Output of children on our stderr: whole while it is read, never waited for when it is not."""

from __future__ import annotations

import os

from running import eventually

from trunkcall.placement.echo import MOST, Echo


def test_what_is_read_is_whole_and_what_is_not_is_left_out() -> None:
    reader, writer = os.pipe()
    try:
        echo = Echo(writer)
        echo.write("one, zwölf\n".encode())
        assert os.read(reader, 100) == "one, zwölf\n".encode()
        # Nobody reads now: the pipe holds 64 KiB, and writing goes on all the same.
        for _ in range(3 * MOST // 1024):
            echo.write(b"x" * 1024)
        seen = bytearray()

        def told() -> bool:
            seen.extend(os.read(reader, 1 << 16))
            return b"left out here" in seen

        assert eventually(told)
        assert len(seen) < 2 * MOST
    finally:
        os.close(reader)
        os.close(writer)
