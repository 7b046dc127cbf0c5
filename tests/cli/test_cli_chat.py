"""`trunkcall chat`: one answer on stdout, and the conversation in a terminal."""

from __future__ import annotations

import os
import pty
import re
import select
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from trunkcall.cli.chat import answer
from trunkcall.cli.client import Server


def test_a_prompt_is_answered_on_stdout(cli: Any, on_home: Any) -> None:
    found = cli("chat", "--system", "Be brief.", "hello", "you")
    assert (found.returncode, found.stdout, found.stderr) == (0, "You said hello you.\n", "")
    assert on_home.asked == [
        {
            "model": "served",
            "messages": [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "hello you"}],
            "stream": True,
        }
    ]


def test_url_key_model_and_a_piped_prompt(cli: Any, server: Any) -> None:
    server.key = "sesame"
    arguments = ("chat", "--url", f"{server.url}/v1", "--model", "other", "--key", "sesame")
    assert cli(*arguments, input="from a pipe\n").stdout == "You said from a pipe.\n"
    assert server.asked[0]["model"] == "other"
    found = cli("chat", "--url", server.url, "hi")
    assert found.returncode == 1
    assert "--key or TRUNKCALL_API_KEY" in found.stderr
    assert cli("chat", "--url", server.url, "hi", TRUNKCALL_API_KEY="sesame").stdout == "You said hi.\n"


def test_failures_before_and_in_the_answer(cli: Any, on_home: Any) -> None:
    for prompt, words in (("fail", "The queue is full"), ("fault", "The engine died."), ("break", "broke off")):
        found = cli("chat", prompt)
        assert found.returncode == 1, prompt
        assert words in found.stderr, prompt
    assert "nothing to answer" in cli("chat").stderr
    on_home.models.clear()
    assert "trunkcall models add" in cli("chat", "hi").stderr


def test_leaving_an_answer_ends_the_call(server: Any) -> None:
    pieces = answer(Server(server.url), "served", [{"role": "user", "content": "forever"}])
    assert next(pieces) == "You "
    pieces.close()
    assert server.left.wait(20)


def test_an_interrupt_stops_a_single_answer(on_home: Any, environ: dict[str, str], work: Path) -> None:
    with subprocess.Popen(
        [sys.executable, "-m", "trunkcall", "chat", "forever"],
        stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=environ, cwd=work,
    ) as child:  # fmt: skip
        try:
            assert child.stdout is not None
            assert child.stderr is not None
            assert child.stdout.read(4) == b"You "
            child.send_signal(signal.SIGINT)
            assert child.wait(30) == 130
            assert child.stderr.read() == b""
        finally:
            child.kill()
    assert on_home.left.wait(20)


class Terminal:
    """A child on a terminal of its own."""

    def __init__(self, arguments: list[str], environ: dict[str, str], work: Path) -> None:
        self.master, slave = pty.openpty()
        self.child = subprocess.Popen(
            arguments, stdin=slave, stdout=slave, stderr=slave, env=environ, cwd=work, start_new_session=True,
            preexec_fn=_take_terminal,
        )  # fmt: skip
        os.close(slave)
        self.seen = ""

    def until(self, pattern: str) -> str:
        """What appears up to a match, at most 30 seconds long."""
        limit = time.monotonic() + 30
        while (found := re.search(pattern, self.seen)) is None:
            assert time.monotonic() < limit, self.seen
            if select.select([self.master], [], [], 0.1)[0]:
                self.seen += os.read(self.master, 4096).decode(errors="replace")
        text, self.seen = self.seen[: found.end()], self.seen[found.end() :]
        return text

    def type(self, text: str) -> None:
        os.write(self.master, text.encode())

    def __enter__(self) -> Terminal:
        return self

    def __exit__(self, *_: object) -> None:
        self.child.kill()
        self.child.wait(30)
        os.close(self.master)


def _take_terminal() -> None:
    import fcntl
    import termios

    fcntl.ioctl(0, termios.TIOCSCTTY, 0)


def test_a_conversation_in_a_terminal(on_home: Any, environ: dict[str, str], work: Path) -> None:
    with Terminal([sys.executable, "-m", "trunkcall", "chat"], environ, work) as terminal:
        assert "served" in terminal.until("> ")
        terminal.type("[bold]one\n")
        terminal.until(re.escape("You said [bold]one."))
        terminal.until("> ")
        terminal.type("fault\n")
        terminal.until(r"trunkcall: The engine died\.")
        terminal.until("> ")
        terminal.type("forever\n")
        terminal.until("more more ")
        terminal.type("\x03")
        terminal.until(r"\(stopped\)")
        assert on_home.left.wait(20)
        terminal.until("> ")
        terminal.type("two\n")
        terminal.until("You said two")
        terminal.until("> ")
        terminal.type("/new\n")
        terminal.until("> ")
        terminal.type("three\n")
        terminal.until("You said three")
        terminal.until("> ")
        terminal.type("\x04")
        assert terminal.child.wait(30) == 0
    roles = [[message["role"] for message in body["messages"]] for body in on_home.asked]
    assert roles[0] == ["user"]
    assert roles[3][:3] == ["user", "assistant", "user"]
    assert on_home.asked[3]["messages"][1]["content"] == "You said [bold]one."
    assert roles[4] == ["user"]
