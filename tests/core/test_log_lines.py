"""The last lines of a log."""

from __future__ import annotations

import threading

from trunkcall.core.log_lines import LogLines


def test_the_last_are_kept_and_told_from_a_number_on() -> None:
    lines = LogLines(3)
    assert lines.tail() == (0, ())
    for word in "abcde":
        lines.add(word)
    assert lines.tail() == (5, ("c", "d", "e"))
    assert lines.tail(4) == (5, ("e",))
    assert lines.tail(5) == (5, ())


def test_threads_lose_nothing() -> None:
    lines = LogLines(4000)
    threads = [threading.Thread(target=lambda: [lines.add("x") for _ in range(500)]) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert lines.tail()[0] == 2000 and len(lines.tail()[1]) == 2000
