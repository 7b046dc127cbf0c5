"""One bounded run of one workload against one port: what wrk counted, and what it cost the server in CPU time."""

from __future__ import annotations

import contextlib
import http.client
import json
import socket
import statistics
import subprocess
import time
from collections.abc import Generator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

from bench.gateways import AUTHORIZATION, TRANSLATED, system_program
from bench.processes import cpu_seconds

PATH = "/v1/chat/completions"
PACE_MS = 5
# the mock's frames per stream: 63 words and the finish, then usage and [DONE] in one piece
WORDS, PIECES = 63, 65


class WrongAnswer(Exception):
    """The gateway's answer is not what the upstream said."""


@dataclass(frozen=True)
class Workload:
    """What every connection sends over and over; `paced` runs are counted by chunk, the others by request."""

    name: str
    title: str
    connections: int
    shape: Literal["json", "stream"]
    paced: bool = False
    model: str = "m"

    @property
    def body(self) -> str:
        """The request; the pace stands in the prompt, which no gateway and no translation changes."""
        ask = f"Say something. pace_us={PACE_MS * 1000}" if self.paced else "Say something."
        body: dict[str, Any] = {
            "model": self.model,
            "messages": [{"role": "user", "content": ask}],
            "max_tokens": 64,
            "temperature": 0.7,
        }
        if self.shape == "stream":
            body["stream"] = True
            body["stream_options"] = {"include_usage": True}
        return json.dumps(body)


WORKLOADS = (
    Workload("json-1", "JSON answers, 1 connection", 1, "json"),
    Workload("json-32", "JSON answers, 32 connections", 32, "json"),
    Workload("stream-1", "64-chunk streams back to back, 1 connection", 1, "stream"),
    Workload("stream-32", "64-chunk streams back to back, 32 connections", 32, "stream"),
    Workload("paced-96", f"96 streams, a chunk every {PACE_MS} ms", 96, "stream", paced=True),
    Workload(
        TRANSLATED,
        f"the same through the neutral model, 96 streams, a chunk every {PACE_MS} ms",
        96,
        "stream",
        paced=True,
        model="t",
    ),
)


@dataclass(frozen=True)
class Sample:
    """One run. Rates are per second; cpu_us is the server's user and system time per request, or per chunk when paced.

    p50_ms and p99_ms are of whole answers; first_byte_ms is the median over single requests made beside a paced load.
    """

    per_second: float
    cpu_us: float | None
    p50_ms: float
    p99_ms: float
    first_byte_ms: float | None
    completed: int
    errors: int
    errors_text: str

    def as_dict(self) -> dict[str, Any]:
        return asdict(self)


@dataclass(frozen=True)
class _Counted:
    completed: int
    seconds: float
    connect: int
    read: int
    write: int
    status: int
    timeout: int
    p50_us: float
    p99_us: float


_DONE = """
done = function(summary, latency, requests)
    local e = summary.errors
    io.write(string.format("COUNTED %d %f %d %d %d %d %d %f %f\\n", summary.requests, summary.duration / 1e6,
        e.connect, e.read, e.write, e.status, e.timeout, latency:percentile(50), latency:percentile(99)))
end
"""


def _script(workload: Workload) -> str:
    headers = f'wrk.headers["content-type"] = "application/json"\nwrk.headers["authorization"] = "{AUTHORIZATION}"\n'
    return f'wrk.method = "POST"\nwrk.path = "{PATH}"\nwrk.body = [==[{workload.body}]==]\n{headers}{_DONE}'


@contextlib.contextmanager
def _wrk(workload: Workload, port: int, seconds: float, scratch: Path) -> Generator[subprocess.Popen[str]]:
    script = scratch / f"{workload.name}.lua"
    script.write_text(_script(workload))
    command = [
        system_program("wrk"), "--threads", "1", "--connections", str(workload.connections),
        "--duration", f"{round(seconds)}s", "--timeout", "20s", "--script", str(script), f"http://127.0.0.1:{port}",
    ]  # fmt: skip
    process = subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, start_new_session=True
    )
    try:
        yield process
    finally:
        if process.poll() is None:
            process.kill()
        process.wait()


def _count(process: subprocess.Popen[str], limit: float) -> _Counted:
    said, _ = process.communicate(timeout=limit)
    for line in said.splitlines():
        if line.startswith("COUNTED "):
            c = [float(word) for word in line.split()[1:]]
            return _Counted(int(c[0]), c[1], int(c[2]), int(c[3]), int(c[4]), int(c[5]), int(c[6]), c[7], c[8])
    raise WrongAnswer(f"wrk gave no count: {said.strip()[-200:]}")


def measure(workload: Workload, *, port: int, pid: int | None, mock: int, seconds: float, scratch: Path) -> Sample:
    """Runs the load for so many whole seconds; `pid` is the root of the tree whose CPU time is taken."""
    run = _paced if workload.paced else _saturating
    return run(workload, port, pid, mock, seconds, scratch)


def _saturating(workload: Workload, port: int, pid: int | None, mock: int, seconds: float, scratch: Path) -> Sample:
    before = cpu_seconds(pid) if pid else 0.0
    with _wrk(workload, port, seconds, scratch) as process:
        counted = _count(process, seconds + 30)
    # what the server still does for the last answers belongs to them
    time.sleep(0.1)
    spent = cpu_seconds(pid) - before if pid else None
    cpu_us = spent * 1e6 / counted.completed if spent is not None and counted.completed else None
    return _sample(counted, counted.completed / counted.seconds, cpu_us, None)


def _paced(workload: Workload, port: int, pid: int | None, mock: int, seconds: float, scratch: Path) -> Sample:
    """A window inside the load, counted by the chunks that the mock sent, so that no stream has to be whole."""
    warm_up, slack = 0.7, 0.3
    with _wrk(workload, port, seconds + warm_up + slack, scratch) as process:
        time.sleep(warm_up)
        began, cpu, chunks = time.monotonic(), cpu_seconds(pid) if pid else 0.0, _chunks(mock)
        waits: list[float] = []
        while time.monotonic() - began < seconds - PACE_MS * PIECES / 1000:
            waits.append(first_byte_ms(workload, port))
        time.sleep(max(0.0, began + seconds - time.monotonic()))
        window, spent, sent = time.monotonic() - began, cpu_seconds(pid) - cpu if pid else None, _chunks(mock) - chunks
        counted = _count(process, seconds + 30)
    cpu_us = spent * 1e6 / sent if spent is not None and sent else None
    return _sample(counted, sent / window, cpu_us, statistics.median(waits) if waits else None)


def _sample(counted: _Counted, per_second: float, cpu_us: float | None, first_byte: float | None) -> Sample:
    kinds = {name: getattr(counted, name) for name in ("connect", "read", "write", "status", "timeout")}
    return Sample(
        per_second, cpu_us, counted.p50_us / 1000, counted.p99_us / 1000, first_byte, counted.completed,
        sum(kinds.values()), ", ".join(f"{count} {name}" for name, count in kinds.items() if count),
    )  # fmt: skip


def _chunks(mock: int) -> int:
    connection = http.client.HTTPConnection("127.0.0.1", mock, timeout=5)
    try:
        connection.request("GET", "/stats")
        return int(json.loads(connection.getresponse().read())["chunks"])
    finally:
        connection.close()


def first_byte_ms(workload: Workload, port: int, limit: float = 20.0) -> float:
    """Milliseconds from sending one request to the first frame of its answer; reads the answer to its end."""
    body = workload.body.encode()
    ends = f"connection: close\r\ncontent-length: {len(body)}\r\n\r\n"
    fields = f"content-type: application/json\r\nauthorization: {AUTHORIZATION}\r\n{ends}"
    head = f"POST {PATH} HTTP/1.1\r\nhost: bench\r\n{fields}"
    with socket.create_connection(("127.0.0.1", port), timeout=limit) as client:
        client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        began = time.monotonic()
        client.sendall(head.encode() + body)
        seen, waited = b"", None
        while piece := client.recv(65536):
            if waited is None:
                seen += piece
                if b"data:" in seen:
                    waited = (time.monotonic() - began) * 1000
    if waited is None:
        raise WrongAnswer(f"no frame in the stream: {seen[:200]!r}")
    return waited


def check(workload: Workload, port: int, mock: int) -> None:
    """One answer through the gateway against the upstream's own. Raises WrongAnswer."""
    expected = _text(_ask(QUESTION_AS_JSON, mock))
    got = _ask(workload.body, port)
    if workload.shape == "json":
        if _text(got) != expected:
            raise WrongAnswer(f"another text: {got[:200]!r}")
        return
    frames = [line[5:].strip() for line in got.splitlines() if line.startswith("data:")]
    events = [json.loads(frame) for frame in frames if frame != "[DONE]"]
    pieces = [event["choices"][0]["delta"].get("content") for event in events if event["choices"]]
    ended = bool(frames) and frames[-1] == "[DONE]" and any(event.get("usage") for event in events)
    words = [piece for piece in pieces if piece]
    if "".join(words) != expected:
        raise WrongAnswer(f"another text: {''.join(words)[:120]!r}")
    if len(words) != WORDS:
        raise WrongAnswer(f"{len(words)} chunks instead of {WORDS}")
    if not ended:
        raise WrongAnswer("the stream has no proper end or no usage")


QUESTION_AS_JSON = WORKLOADS[0].body


def _text(answer: str) -> str:
    try:
        return str(json.loads(answer)["choices"][0]["message"]["content"])
    except (ValueError, LookupError, TypeError):
        raise WrongAnswer(f"no chat answer: {answer[:200]!r}") from None


def _ask(body: str, port: int) -> str:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=20)
    try:
        connection.request("POST", PATH, body, {"content-type": "application/json", "authorization": AUTHORIZATION})
        answer = connection.getresponse()
        text = answer.read().decode()
    except (OSError, http.client.HTTPException) as error:
        raise WrongAnswer(f"{PATH}: {error}") from None
    finally:
        connection.close()
    if answer.status != 200:
        raise WrongAnswer(f"{PATH}: status {answer.status}: {text[:200]}")
    return text
