"""Why a server ended, in words."""

from __future__ import annotations

import re

import pytest

from trunkcall.workers.outside_end import LONGEST, explain, port_taken

TRACE = [
    "Traceback (most recent call last):",
    '  File "x.py", line 1, in <module>',
    "ValueError: the model has 3 heads",
    "",
    "The above exception was the direct cause of the following exception:",
    "RuntimeError: Engine core initialization failed. See root cause above. Failed core proc(s): {}",
    "resource_tracker: There appear to be 1 leaked semaphore objects to clean up at shutdown",
]
DEAD = [
    "(APIServer pid=1) ERROR 11-21 [async_llm.py:906]     raise self._format_exception(outputs) from None",
    "(APIServer pid=1) ERROR 11-21 [async_llm.py:906] vllm.v1.engine.exceptions.EngineDeadError: EngineCore encountered"
    " an issue. See stack trace (above) for the root cause.",
    "INFO:     Finished server process [1]",
]
OLD = [
    "(Worker pid=2) ERROR vllm.exceptions.AdapterNotFoundError: no adapter at /x",
    "(EngineCore pid=1) ERROR RuntimeError: Worker failed, please check the stack trace above for the root cause",
    'INFO:     127.0.0.1:1 - "POST /v1/chat/completions HTTP/1.1" 200 OK',
]


@pytest.mark.parametrize(
    ("code", "lines", "says"),
    [
        (-4, [], "s was killed by SIGILL: this build needs CPU features that the machine lacks; install a build for"),
        (132, ["INFO fine"], "CPU features"),
        (-9, ["loading"], "s was killed by SIGKILL; the kernel does so when memory runs out"),
        (137, [], "killed by SIGKILL"),
        (
            1,
            ["torch.OutOfMemoryError: CUDA out of memory. Tried to allocate 2 GiB"],
            "s ended with exit code 1, out of memory: torch.Out",
        ),
        (1, ["ValueError: No available memory for the cache blocks.", "RuntimeError: x"], "out of memory: ValueE"),
        (
            -6,
            ["terminate called after throwing an instance of 'std::bad_alloc'"],
            "s was killed by SIGABRT, out of memory",
        ),
        (1, TRACE, r"^s ended with exit code 1: ValueError: the model has 3 heads$"),
        (2, ["usage: x", "x: error: unrecognized arguments: --nope"], "unrecognized arguments: --nope"),
        (1, ["KeyboardInterrupt", "bye"], "KeyboardInterrupt"),
        (3, ["one", "two", " "], "s ended with exit code 3: two"),
        (0, [], "s ended with exit code 0 without a word"),
        (-11, [], "s was killed by SIGSEGV without a word"),
        (255, [], "exit code 255"),
        (0, DEAD, r"ended with exit code 0: .*EngineDeadError: EngineCore encountered an issue"),
        (1, ["Error: " + "x" * 2000], "x …"),
        (0, [*OLD, *DEAD], r"EngineDeadError: EngineCore encountered an issue"),
        (0, [*OLD[:-1], *DEAD], r"AdapterNotFoundError: no adapter"),
        (1, [*OLD, "bye"], r"AdapterNotFoundError: no adapter"),
    ],
)
def test_explain(code: int, lines: list[str], says: str) -> None:
    said = explain("s", code, lines)
    assert re.search(says, said), said
    assert len(said) < LONGEST + 200


@pytest.mark.parametrize(
    ("line", "taken"),
    [
        ("OSError: [Errno 98] Address already in use", True),
        ("listen tcp 127.0.0.1:1: bind: address already in use", True),
        ("Error: EADDRINUSE", True),
        ("port 8000 is in use", True),
        ("the model is in use", False),
    ],
)
def test_a_taken_port(line: str, taken: bool) -> None:
    assert port_taken(["x", line]) is taken
