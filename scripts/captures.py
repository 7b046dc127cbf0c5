"""Draw docs/captures/*.svg: what the commands of administration print on a server that really runs."""

from __future__ import annotations

import contextlib
import http.client
import io
import json
import os
import pty
import re
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Generator
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlsplit

from rich.console import Console
from rich.text import Text

FOLDER: Final = Path(__file__).resolve().parent.parent / "docs" / "captures"
WIDTH: Final = 140
SETTINGS: Final = """\
pocket: false
models:
  chat: {source: pocket, replicas: 2, price: {prompt: 0.5, completion: 1.5}}
  large: {source: "openai:http://127.0.0.1:9/v1#large", fallback: chat}
  echo: "debug:0.02"
"""
QUESTIONS: Final = (
    "Who are you?",
    "What is a trunk call?",
    "Tell me a story.",
    "How do I add a model?",
    "Count to ten.",
)
SECONDS: Final = 6.0


class Server:
    """A `trunkcall up` with a home of its own."""

    def __init__(self, home: Path) -> None:
        self.environ = {**os.environ, "TRUNKCALL_HOME": str(home), "COLUMNS": str(WIDTH), "TERM": "xterm-256color"}
        (home / "trunkcall.yaml").write_text(SETTINGS)
        command = [sys.executable, "-m", "trunkcall", "up", "--port", "0", "--config", str(home / "trunkcall.yaml")]
        self.process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=self.environ, cwd=home)
        assert self.process.stdout is not None
        self.url = next(found[1] for line in self.process.stdout if (found := re.search(r"Open\s+(http\S+)", line)))

    def run(self, *words: str, terminal: bool = True) -> str:
        """What a command prints, into a terminal or into a pipe."""
        command = [sys.executable, "-m", "trunkcall", *words]
        if not terminal:
            return subprocess.run(command, env=self.environ, capture_output=True, text=True, check=True).stdout
        master, slave = pty.openpty()
        with subprocess.Popen(command, env=self.environ, stdin=subprocess.DEVNULL, stdout=slave) as child:
            os.close(slave)
            printed = b""
            # A terminal whose other side is closed cannot be read.
            with contextlib.suppress(OSError):
                while data := os.read(master, 1 << 16):
                    printed += data
        os.close(master)
        if child.returncode:
            raise SystemExit(f"trunkcall {' '.join(words)} ended with {child.returncode}")
        return printed.decode().replace("\r\n", "\n")

    def ask(self, key: str, model: str, question: str, stream: bool) -> None:
        """One question; failures are part of the picture."""
        split = urlsplit(self.url)
        connection = http.client.HTTPConnection(split.hostname or "", split.port, timeout=30)
        body: dict[str, Any] = {"model": model, "messages": [{"role": "user", "content": question}], "stream": stream}
        headers = {"authorization": f"Bearer {key}", "content-type": "application/json"}
        connection.request("POST", "/v1/chat/completions", json.dumps({**body, "max_tokens": 120}), headers)
        connection.getresponse().read()
        connection.close()


@contextlib.contextmanager
def traffic(server: Server, keys: dict[str, str]) -> Generator[None]:
    """Some callers at once, as long as the block."""
    over = threading.Event()

    def call(number: int, key: str) -> None:
        turn = number
        while not over.is_set():
            model = "nosuch" if turn % 13 == 12 else ("chat", "chat", "large", "echo", "chat")[turn % 5]
            server.ask(key, model, QUESTIONS[turn % 5] * (1 + 8 * (model == "echo")), turn % 2 == 0)
            turn += 1
            over.wait(0.05)

    callers = [threading.Thread(target=call, args=(n, key)) for n, key in enumerate([*keys.values()] * 3)]
    for caller in callers:
        caller.start()
    try:
        yield
    finally:
        over.set()
        for caller in callers:
            caller.join(30)


def draw(name: str, command: str, printed: str) -> None:
    """Write what a command printed as a picture of a terminal."""
    console = Console(record=True, width=WIDTH, file=io.StringIO(), color_system="truecolor")
    console.print(Text(f"$ {command}", style="bold"))
    console.print(Text.from_ansi(printed.rstrip("\n")))
    picture = console.export_svg(title=command)
    # Who looks at the documentation shall not have to load fonts from elsewhere.
    FOLDER.mkdir(exist_ok=True)
    (FOLDER / f"{name}.svg").write_text(re.sub(r"@font-face \{.*?\}\s*", "", picture, flags=re.DOTALL))


def main() -> None:
    """Run a server, let callers ask it, and draw."""
    with tempfile.TemporaryDirectory() as folder:
        server = Server(Path(folder))
        try:
            boss = server.run("keys", "create", "ops", "--role", "admin", terminal=False).strip()
            keys = {name: server.run("keys", "create", name, terminal=False).strip() for name in ("search", "support")}
            with traffic(server, {"ops": boss, **keys}):
                time.sleep(SECONDS)
                draw("top", "trunkcall top", server.run("top"))
            draw("requests", "trunkcall requests -n 16", server.run("requests", "-n", "16"))
            told = json.loads(server.run("requests", "--model", "large", "-n", "1", "--json", terminal=False))
            id = told["requests"][0]["id"]
            draw("request", f"trunkcall requests {id}", server.run("requests", id))
            draw("usage", "trunkcall usage --by model,key", server.run("usage", "--by", "model,key"))
            draw("models", "trunkcall models show chat", server.run("models", "show", "chat"))
        finally:
            server.process.terminate()
            server.process.wait(20)


if __name__ == "__main__":
    main()
