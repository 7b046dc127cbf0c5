"""Custom executors as users wrote them, each in a real child, driven over HTTP as the backend does it."""

from __future__ import annotations

import argparse
import contextlib
import http.client
import importlib.util
import json
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlencode, urlsplit

import pytest
from running import alive, eventually

from trunkcall.core.errors import ServingError
from trunkcall.net.link import VARIABLE
from trunkcall.workers.kuwa_executor import expose_function_parameter, merge_config, read_config
from trunkcall.workers.kuwa_given import Fields, Headers
from trunkcall.workers.kuwa_options import General, add_general_options, new_parser, read_general
from trunkcall.workers.kuwa_relaunch import relaunch

FILES = Path(__file__).parents[1] / "takeover" / "data"
ERROR = "Error occurred. Please consult support."


class Reply:
    """An answer whose head has come."""

    def __init__(self, connection: http.client.HTTPConnection) -> None:
        self._connection = connection
        self._answer = connection.getresponse()
        self.status = self._answer.status

    def read(self, size: int | None = None) -> str:
        return self._answer.read(size).decode()

    def close(self) -> None:
        self._answer.close()
        self._connection.close()


class Child:
    """A host process; `report` is what it told."""

    def __init__(self, log: Path, *words: str, **environment: str) -> None:
        self.log = log
        self.link, theirs = socket.socketpair()
        with log.open("wb") as output:
            self.process = subprocess.Popen(
                [sys.executable, "-P", "-u", "-m", "trunkcall.workers.kuwa_executor", *words],
                pass_fds=(theirs.fileno(),),
                env={**os.environ, **environment, VARIABLE: str(theirs.fileno())},
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
            )
        theirs.close()
        self.link.settimeout(45)

    def wait(self) -> dict[str, Any]:
        """Its report; empty when it ended without one."""
        with self.link.makefile("rb") as reports:
            report: dict[str, Any] = json.loads(reports.readline() or b"{}")
        self.where = urlsplit(report.get("address", ""))
        return report

    def connect(self) -> http.client.HTTPConnection:
        return http.client.HTTPConnection(self.where.hostname or "", self.where.port, timeout=45)

    def get(self, path: str) -> tuple[int, bytes]:
        connection = self.connect()
        try:
            connection.request("GET", path)
            answer = connection.getresponse()
            return answer.status, answer.read()
        finally:
            connection.close()

    def post(self, fields: dict[str, str], headers: dict[str, str] | None = None) -> Reply:
        """The body is still to be read."""
        connection = self.connect()
        kind = {"content-type": "application/x-www-form-urlencoded"}
        connection.request("POST", self.where.path, urlencode(fields), {**kind, **(headers or {})})
        return Reply(connection)

    def whole(self, fields: dict[str, str], headers: dict[str, str] | None = None) -> tuple[int, str]:
        """Status and text."""
        with contextlib.closing(self.post(fields, headers)) as reply:
            return reply.status, reply.read()

    def chat(self, text: str, **fields: str) -> tuple[int, str]:
        return self.whole({"input": json.dumps([{"isbot": False, "msg": text}]), **fields})

    def begin(self, text: str) -> Reply:
        """Send, and wait for the first five bytes of the answer."""
        reply = self.post({"input": json.dumps([{"isbot": False, "msg": text}])})
        assert reply.status == 200
        assert len(reply.read(5)) == 5
        return reply

    def stop(self, number: int = signal.SIGTERM, limit: float = 30.0) -> int:
        if self.process.poll() is None:
            self.process.send_signal(number)
        try:
            return self.process.wait(limit)
        finally:
            self.process.kill()
            self.process.wait(5)
            self.link.close()


Start = Callable[..., Child]


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Start]:
    """Starts children; a file's name is one of the examples."""
    running: list[Child] = []

    def run(file: str, *words: str, **environment: str) -> Child:
        child = Child(tmp_path / f"log{len(running)}", str(FILES / file), *words, **environment)
        running.append(child)
        return child

    yield run
    for child in running:
        child.stop(signal.SIGKILL)


@pytest.fixture
def notes(tmp_path: Path) -> Path:
    return tmp_path / "notes"


@pytest.fixture
def trouble(start: Start, notes: Path) -> Child:
    child = start("trouble.py", "--notes", str(notes))
    assert child.wait()["about"] == {"codes": [], "path": "/chat"}
    return child


def test_second_generation(start: Start) -> None:
    child = start("shout.py", "--access_code", "one", "a/b", "--mark", "?", "--executor_path", "/x", "--log", "debug")
    assert child.wait()["about"] == {"codes": ["one", "a/b"], "path": "/x"}
    modelfile = json.dumps([{"name": "system", "args": "so: "}])
    assert child.chat("hé", modelfile=modelfile) == (200, "so: HÉ?")
    with socket.create_connection((child.where.hostname, child.where.port), timeout=10) as raw:
        body = urlencode({"input": '[{"isbot": false, "msg": "hé"}]'}).encode()
        raw.sendall(
            b"POST /chat HTTP/1.1\r\nhost: x\r\nconnection: close\r\ncontent-length: %d\r\n\r\n" % len(body) + body
        )
        said = b"".join(iter(lambda: raw.recv(65536), b""))
    head, _, chunks = said.partition(b"\r\n\r\n")
    assert b"content-type: text/event-stream; charset=utf-8" in head.lower()
    assert chunks == b"1\r\nH\r\n2\r\n\xc3\x89\r\n1\r\n?\r\n0\r\n\r\n"
    assert child.get("/health") == (204, b"")
    assert child.get("/chat/abort") == (200, b'{"msg":"Stopped"}')
    assert child.get("/chat")[0] == 405
    assert child.whole({}) == (400, '{"msg":"Received empty request!"}')
    assert child.stop() == 0


def test_first_generation(start: Start) -> None:
    child = start("first_era.py", "--repeat", "2")
    assert child.wait()["about"] == {"codes": ["plain"], "path": "/old"}
    assert child.chat("ab", name="n") == (200, "abab ['input', 'name'] n none")
    assert child.get("/chat/abort") == (404, b'{"msg":"No abort method configured"}')
    given = start("first_era.py", "--access_code", "mine", "--kernel_url", "http://127.0.0.1:9/")
    assert given.wait()["about"] == {"codes": ["mine"], "path": "/old", "kernel": "http://127.0.0.1:9/"}


@pytest.mark.timeout(180)
def test_class_attributes_are_defaults(tmp_path: Path, start: Start) -> None:
    file = tmp_path / "own.py"
    file.write_text(
        "import logging, multiprocessing\n"
        "from kuwa.executor import LLMExecutor\n"
        "class Own(LLMExecutor):\n"
        "    LLM_name, executor_path, kernel_url, log_level = 'own', '/p', 'http://k:1/', logging.DEBUG\n"
        "    ignore_kernel = True\n"
        "    def __init__(self): pass\n"
        "    def setup(self):\n"
        # Spawned processes run the file again, and find its imports too.
        "        worker = multiprocessing.get_context('spawn').Process(target=print, args=('spawned',))\n"
        "        worker.start(); worker.join(); assert worker.exitcode == 0\n"
        "        assert self.in_debug() and not hasattr(self, 'app') and self.metrics == {}\n"
        "if __name__ == '__main__':\n"
        "    Own().run()\n"
    )
    told = start(str(file)).wait()["about"]
    assert told == {"codes": ["own"], "path": "/p", "kernel": "http://k:1/", "ignore_kernel": True}
    assert start(str(file), "--access_code", "a", "--executor_path", "/q").wait()["about"] == {
        **told,
        "codes": ["a"],
        "path": "/q",
    }


def test_below_llm_executor(start: Start) -> None:
    child = start("raw.py", "--heat", "0.9", "--host", "127.0.0.1", "--port", "9", "--https")
    assert "address" in child.wait()
    assert child.whole({"input": "[]"}, {"Accept-Language": "zh-TW"}) == (
        200,
        "zh-TW [] 0.9 {'top': 3, 'heat': 0.5} False https://127.0.0.1:9/chat "
        "[{'role': 'user', 'content': ''}]{}(None, [])",
    )


@pytest.mark.parametrize(
    ("asked", "said"),
    [
        ("raise", f"so far{ERROR}"),
        ("odd pieces", "5Noneé?"),
        ("nothing", ""),
        ("flood", "flooded"),
        ("many", "".join(f"{number}," for number in range(20_000))),
    ],
)
def test_what_user_code_may_do(trouble: Child, asked: str, said: str) -> None:
    assert trouble.chat(asked) == (200, said)
    # The child is none the worse for it.
    assert trouble.chat("nothing") == (200, "")
    assert ("ValueError: a secret place in the code" in trouble.log.read_text()) is (asked == "raise")


@pytest.mark.parametrize(("asked", "code"), [("exit", 3), ("exit in a task", 4)])
def test_sys_exit_ends_the_answer_and_the_child(trouble: Child, asked: str, code: int) -> None:
    assert trouble.chat(asked) == (200, f"so far{ERROR}")
    assert trouble.process.wait(30) == code


@pytest.mark.parametrize(
    "fields",
    [{"input": "{"}, {"input": '[{"role":"user"}]'}, {"input": "[" * 100_000}, {"input": "[]", "modelfile": ""}],
)
def test_what_is_no_conversation(trouble: Child, fields: dict[str, str]) -> None:
    assert trouble.whole(fields) == (200, ERROR)
    assert trouble.chat("nothing") == (200, "")


@pytest.mark.parametrize(
    ("file", "words", "reason", "code"),
    [
        ("trouble.py", ["--at_setup", "raise"], "OSError: no such weights", 1),
        ("trouble.py", ["--at_setup", "say"], "the licence has run out", 1),
        ("trouble.py", ["--at_setup", "exit"], None, 7),
        ("trouble.py", ["--port", "x"], None, 2),
        ("trouble.py", ["--unknown"], None, 2),
        ("no_run.py", [], "ended without serving: its last line must call run()", 1),
        ("not there.py", [], "not there.py does not exist", 1),
        ("old-commands.md", [], "SyntaxError", 1),
    ],
)
def test_a_start_that_fails_says_why(start: Start, file: str, words: list[str], reason: str | None, code: int) -> None:
    child = start(file, *words)
    report = child.wait()
    assert ("error" in report) is (reason is not None)
    assert (reason or "") in report.get("error", "")
    assert child.process.wait(30) == code


@pytest.mark.parametrize("asked", ["wait", "blocking", "many", "stubborn"])
def test_a_client_that_leaves_ends_the_generator(trouble: Child, notes: Path, asked: str) -> None:
    trouble.begin(asked).close()
    # The next caller does not find the executor busy with an answer that nobody wants.
    assert trouble.chat("nothing") == (200, "")
    assert notes.read_text().splitlines() == ["closed", "closed"]


def test_abort_comes_between_the_pieces_of_a_generator_that_never_awaits(trouble: Child, notes: Path) -> None:
    reply = trouble.begin("blocking")
    assert trouble.get("/chat/abort") == (200, b'{"msg":"Aborted"}')
    assert set(reply.read()) <= {"."}
    reply.close()
    assert eventually(lambda: notes.read_text().splitlines() == ["aborted", "closed"])


def test_user_code_that_blocks_keeps_nobody_else(trouble: Child) -> None:
    reply = trouble.begin("block")
    assert trouble.get("/health") == (204, b"")
    assert trouble.chat("nothing") == (429, '{"msg":"Processing another request."}')
    reply.close()


@pytest.mark.slow
def test_sigterm_ends_a_child_whose_user_code_blocks(trouble: Child) -> None:
    reply = trouble.begin("block")
    trouble.process.send_signal(signal.SIGTERM)
    assert eventually(lambda: trouble.get("/health")[0] == 503)
    assert trouble.process.wait(30) == 0
    reply.close()


@pytest.mark.parametrize("at_setup", [None, "hang"])
def test_the_child_ends_with_its_parent(start: Start, notes: Path, at_setup: str | None) -> None:
    child = start("trouble.py", "--notes", str(notes), *(["--at_setup", at_setup] if at_setup else []))
    reply = None
    if at_setup is None:
        child.wait()
        reply = child.begin("block")
    else:
        eventually(lambda: "hanging" in child.log.read_text(), 30)
    child.link.close()
    child.process.wait(30)
    assert not alive(child.process.pid)
    if reply is not None:
        reply.close()


def test_threads_of_user_code_do_not_keep_the_child(start: Start) -> None:
    child = start("trouble.py", "--at_setup", "thread")
    assert "address" in child.wait()
    assert child.stop() == 0


def test_as_many_at_once_as_were_allowed(start: Start, notes: Path) -> None:
    child = start("trouble.py", "--notes", str(notes), "--concurrent_req_limit", "2")
    child.wait()
    first = child.begin("wait")
    second = child.begin("blocking")
    assert child.chat("nothing")[0] == 429
    first.close()
    # abort() would stop the other's answer too.
    assert child.get("/chat/abort") == (200, b'{"msg":"Aborted"}')
    assert child.chat("odd pieces") == (200, "5Noneé?")
    assert second.read(5) == "....."
    assert "aborted" not in notes.read_text()
    second.close()


def test_running_answers_finish_after_sigterm(trouble: Child) -> None:
    reply = trouble.begin("blocking")
    trouble.process.send_signal(signal.SIGTERM)
    assert eventually(lambda: trouble.get("/health")[0] == 503)
    assert trouble.get("/chat/abort") == (200, b'{"msg":"Aborted"}')
    assert set(reply.read()) <= {"."}
    reply.close()
    assert trouble.process.wait(30) == 0


def test_kuwa_stays_a_namespace(tmp_path: Path, start: Start) -> None:
    client = tmp_path / "site" / "kuwa" / "client"
    client.mkdir(parents=True)
    (client / "__init__.py").write_text("HERE = True\n")
    file = tmp_path / "both.py"
    file.write_text("import neighbour, kuwa.client\n" + (FILES / "shout.py").read_text())
    (tmp_path / "neighbour.py").write_text("")
    assert "address" in start(str(file), PYTHONPATH=str(tmp_path / "site")).wait()
    assert importlib.util.find_spec("kuwa") is None


def test_a_module_in_place_of_a_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, start: Start) -> None:
    package = tmp_path / "mine"
    package.mkdir()
    (package / "__init__.py").write_text("")
    (package / "shout.py").write_text((FILES / "shout.py").read_text())
    monkeypatch.chdir(tmp_path)
    child = Child(tmp_path / "log", "-m", "mine.shout", "--mark", "#")
    try:
        assert "address" in child.wait()
        assert child.chat("a") == (200, "A#")
    finally:
        child.stop()


@pytest.mark.parametrize(
    ("words", "code", "said"), [(["--help"], 0, "General Options:"), (["--port", "-1"], 2, "argument --port:")]
)
def test_help_and_wrong_use_without_a_server(words: list[str], code: int, said: str) -> None:
    command = [sys.executable, "-P", "-m", "trunkcall.workers.kuwa_executor", str(FILES / "shout.py"), *words]
    run = subprocess.run(command, capture_output=True, text=True, timeout=30)
    assert run.returncode == code
    assert said in run.stdout + run.stderr
    assert "usage: shout.py [-h]" in run.stdout + run.stderr
    assert "Traceback" not in run.stderr


@pytest.mark.parametrize(
    ("started", "command"),
    [
        (["python", "f.py"], ["f.py"]),
        (
            ["python", "-u", "-X", "dev", "-Wd", "f.py", "--port", "1"],
            ["-u", "-X", "dev", "-W", "d", "|", "f.py", "--port", "1"],
        ),
        (["python", "-m", "a.b", "-m", "x"], ["-m", "a.b", "-m", "x"]),
        (["python", "-um", "a.b"], ["-u", "|", "-m", "a.b"]),
        (["python", "-ma.b"], ["-m", "a.b"]),
        (["python", "--check-hash-based-pycs", "never", "f.py"], ["--check-hash-based-pycs", "never", "|", "f.py"]),
        (["python"], None),
        (["python", "-c", "print()", "f.py"], None),
        (["python", "-"], None),
    ],
)
def test_relaunch(started: list[str], command: list[str] | None) -> None:
    if command is None:
        with pytest.raises(ServingError, match=r"python FILE\.py"):
            relaunch(started, "/py")
        return
    at = command.index("|") if "|" in command else 0
    flags, target = command[:at], command[at + ("|" in command) :]
    assert relaunch(started, "/py") == ["/py", *flags, "-P", "-m", "trunkcall", "as", "python", *target]


def test_general_options() -> None:
    def read(*words: str, own: str = "") -> General:
        parser = new_parser("x")
        parser.conflict_handler = "resolve"
        add_general_options(parser)
        if own:
            parser.add_argument(own, action="store_true")
        return read_general(parser.parse_args(words))

    assert read() == General()
    assert read("--access_code", "a", "b", "--log", "warning", "--port", "0", "--executor_path", "/a/") == General(
        access_code=("a", "b"), log="WARNING", port=0, executor_path="/a"
    )
    # A user's own flag of the same name is not ours.
    assert read("--version", own="--version") == General()
    for wrong in (["--port", "65536"], ["--executor_path", "chat"], ["--concurrent_req_limit", "0"], ["--log", "loud"]):
        with pytest.raises(SystemExit):
            read(*wrong)


def test_fields_and_headers() -> None:
    fields = Fields([("a", "1"), ("b", "2"), ("a", "3")])
    assert (fields["a"], fields.get("c"), list(fields.items()), "b" in fields) == (
        "3",
        None,
        [("a", "3"), ("b", "2")],
        True,
    )
    assert (fields.getlist("a"), len(fields.multi_items())) == (["1", "3"], 3)
    assert "3" not in repr(fields)
    headers = Headers([("Accept-Language", "de")])
    assert headers["accept-language"] == headers.get("ACCEPT-LANGUAGE") == "de"
    assert "Accept-language" in headers


def test_parameters_of_a_function() -> None:
    def sample(
        prompt: str,
        heat: float = 0.5,
        top: int | None = None,
        seed: int | Missing = 4,  # noqa: F821 - as where it is imported for type checkers only
        flag: bool = True,
        *,
        end: float,
    ) -> None:
        """Of no use."""

    parser = argparse.ArgumentParser()
    found = expose_function_parameter(
        sample, parser, defaults={"heat": 0.9}, desc_parser=lambda doc, name: f"50% of {name}"
    )
    assert found == {"heat": 0.9, "top": None, "seed": 4, "end": None}
    assert vars(parser.parse_args(["--top", "3"])) == {**found, "top": 3}
    assert "50% of end" in parser.format_help()
    assert expose_function_parameter(sample, accepted_types=(str,)) == {"prompt": None}


def test_configurations(tmp_path: Path) -> None:
    for name, text in (("a.yaml", "heat: 0.9\nstop: [END]"), ("a.YML", "{}"), ("a.json", '{"heat": 1}')):
        (tmp_path / name).write_text(text)
    assert read_config(tmp_path / "a.yaml") == {"heat": 0.9, "stop": ["END"]}
    assert read_config(str(tmp_path / "a.json")) == {"heat": 1}
    assert read_config(tmp_path / "a.YML") == {}
    with pytest.raises(RuntimeError, match=r"\.yaml, \.yml or \.json"):
        read_config(tmp_path / "a.txt")
    (tmp_path / "a.yaml").write_text("a: [")
    with pytest.raises(ValueError, match=r"a\.yaml"):
        read_config(tmp_path / "a.yaml")
    assert merge_config({"a": 1, "b": 2}, {"a": None, "b": 3, "c": 4}) == {"a": 1, "b": 3, "c": 4}
