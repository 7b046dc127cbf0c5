"""The kernel in a real `trunkcall up`: one registry for all protocols, kill -9 under load, and the original executor."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import socket
import subprocess
import sys
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager
from pathlib import Path
from typing import Any

import pytest
from apis.kuwa_executors import until
from apis.kuwa_kernels import FORM, IDLE, Executor, Stream, ask
from backends.kuwa_peers import listening
from running import Server, eventually, reserve

from trunkcall.core.errors import ServingError
from trunkcall.protocols.forms import emit_form

pytestmark = pytest.mark.anyio

HELLO = '[{"isbot":false,"msg":"hello"}]'
OLD = Path(sys.prefix) / "kuwa"
"""The original executor 0.1.0, which `make test-all` installs."""
NEW = "TRUNKCALL_KUWA_EXECUTOR"
"""Names the newest original's `kuwa-executor` program, where somebody has built it."""
KERNEL = "TRUNKCALL_KUWA_KERNEL"
"""Names the newest original's `kuwa-kernel` program."""
RUN_OLD = "from kuwa.executor.cli import main; main()"


async def word(url: str, path: str, **fields: str) -> str:
    return (await ask(url, "POST", f"/v1.0/{path}", emit_form(fields), FORM)).text


async def state(url: str) -> dict[str, list[Any]]:
    return json.loads((await ask(url, "GET", "/v1.0/worker/read")).body)


async def idle(url: str, name: str) -> int:
    try:
        return sum(record[1:] == IDLE for record in (await state(url)).get(name, ()))
    except ServingError:
        return 0


async def until_idle(url: str, name: str, count: int) -> None:
    async with asyncio.timeout(60):
        while await idle(url, name) != count:
            await asyncio.sleep(0.05)


async def start(serve: Callable[..., Server], port: int, **options: Any) -> tuple[Server, str]:
    """A server with a kernel, and the kernel's URL; fakes of this loop answer meanwhile."""
    server = await asyncio.to_thread(serve, "--listen", f"127.0.0.1:{port}=kuwa_kernel", "--no-pocket", **options)
    return server, f"http://127.0.0.1:{port}"


async def test_what_registers_is_a_model_everywhere(serve: Callable[..., Server], free_port: int) -> None:
    fake = Executor(b"h", b"i")
    async with listening(fake) as origin:
        server, url = await start(serve, free_port)
        assert await word(url, "worker/register", name="a code/x", endpoint=f"{origin}/chat") == "Success"
        listed = await asyncio.to_thread(server.get, "/v1/models")
        assert [entry["id"] for entry in listed["data"]] == ["a code/x"]
        _, _, answer = await asyncio.to_thread(server.chat, "a code/x", "hello")
        assert answer["choices"][0]["message"]["content"] == "hi"
        admin = await asyncio.to_thread(server.get, "/admin/models/a code/x".replace(" ", "%20"))
        assert admin["replicas"][0]["state"] == "ready"
        assert await word(url, "worker/unregister", name="a code/x", endpoint=origin) == "Success"
        status, _, _ = await asyncio.to_thread(server.chat, "a code/x", "hello")
        assert status == 404


@pytest.mark.timeout(240)
async def test_kernel_killed_and_started_again_under_twenty_streams(
    serve: Callable[..., Server], free_port: int, tmp_path: Path
) -> None:
    fakes = [Executor(*[b"x"] * 10) for _ in range(20)]
    async with AsyncExitStack() as stack:
        origins = [await stack.enter_async_context(listening(fake)) for fake in fakes]
        first, url = await start(serve, free_port, home=tmp_path / "home")
        for origin in origins:
            assert await word(url, "worker/register", name="x", endpoint=f"{origin}/chat") == "Success"
        for fake in fakes:
            fake.hold.clear()
        streams = await begin(url, 20)
        await until(lambda: all(fake.running for fake in fakes))
        kept = tmp_path / "home" / "workers.json"
        await until(lambda: kept.exists() and len(json.loads(kept.read_bytes())) == 20)
        await asyncio.to_thread(first.stop, signal.SIGKILL)
        for stream in streams:
            with pytest.raises(ServingError):
                await stream.end()
        await until(lambda: not any(fake.running for fake in fakes))
        for fake in fakes:
            fake.hold.set()
        _, url = await start(serve, free_port, home=tmp_path / "home")
        await until_idle(url, "x", 20)
        assert [await stream.end() for stream in await begin(url, 20)] == ["x" * 10] * 20
        await until_idle(url, "x", 20)


async def begin(url: str, count: int) -> list[Stream]:
    ids = [str(number) for number in range(count)]
    assert {await word(url, "worker/schedule", name="x", history_id=number, user_id="7") for number in ids} == {"READY"}
    return [Stream(url, name="x", history_id=number, input=HELLO) for number in ids]


@pytest.fixture
def second_port() -> Iterator[int]:
    """Another free port."""
    with reserve() as held:
        yield int(held.getsockname()[1])


@contextmanager
def original(edition: str, port: int, url: str, *codes: str) -> Iterator[subprocess.Popen[bytes]]:
    """An original debug executor at a port, registered with a kernel."""
    env = dict(os.environ)
    if edition == "0.1.0":
        if not OLD.is_dir():
            pytest.skip("the original executor 0.1.0 is not installed: make test-all installs it")
        # -S: beside our own packages its form reader takes our `multipart` for its own.
        command = [sys.executable, "-S", "-c", RUN_OLD]
        env["PYTHONPATH"] = str(OLD)
    elif NEW in os.environ:
        command = [os.environ[NEW]]
    else:
        pytest.skip(f"set {NEW} to the newest original's kuwa-executor program")
    place = ["--host", "127.0.0.1", "--port", str(port), "--kernel_url", f"{url}/", "--access_code", *codes]
    with ended(
        subprocess.Popen([*command, "debug", *place], env=env, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    ) as child:
        yield child


@contextmanager
def ended(child: subprocess.Popen[bytes]) -> Iterator[subprocess.Popen[bytes]]:
    try:
        yield child
    finally:
        if child.poll() is None:
            child.kill()
        child.wait(30)


@asynccontextmanager
async def with_original(
    edition: str, serve: Callable[..., Server], ports: tuple[int, int]
) -> AsyncIterator[tuple[str, Any]]:
    _, url = await start(serve, ports[0])
    with original(edition, ports[1], url, "debug") as child:
        await until_idle(url, "debug", 1)
        # It registers before it listens.
        await asyncio.to_thread(eventually, lambda: listens(ports[1]), 60)
        yield url, child


def listens(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


@pytest.mark.slow
@pytest.mark.timeout(300)
@pytest.mark.parametrize("edition", ["0.1.0", "newest"])
async def test_the_original_executor_streams_aborts_and_leaves(
    edition: str, serve: Callable[..., Server], free_port: int, second_port: int
) -> None:
    async with with_original(edition, serve, (free_port, second_port)) as (url, child):
        said = "héy, 長い話 🙂 " * 3
        history = json.dumps([{"isbot": False, "msg": said}])
        ids = {"name": "debug", "user_id": "7"}
        assert await word(url, "worker/schedule", history_id="1", **ids) == "READY"
        stream = Stream(url, history_id="1", input=history, **ids)
        assert await stream.end() == said.strip()
        assert stream.pieces > 20
        await until_idle(url, "debug", 1)

        assert await word(url, "worker/schedule", history_id="-2", **ids) == "READY"
        stream = Stream(url, history_id="-2", input=json.dumps([{"isbot": False, "msg": "x" * 2000}]), **ids)
        await until(lambda: len(stream.body) > 5)
        assert await word(url, "chat/abort", history_id="[-2]", user_id="7") == "Success"
        assert 5 < len(await stream.end()) < 2000
        assert await word(url, "worker/schedule", history_id="3", **ids) == "READY"
        stream = Stream(url, history_id="3", input=HELLO, **ids)
        assert await stream.end() == "hello"

        child.send_signal(signal.SIGINT)
        await until_idle(url, "debug", 0)
        assert await state(url) == {}


@pytest.mark.slow
@pytest.mark.timeout(300)
@pytest.mark.parametrize("edition", ["0.1.0", "newest"])
async def test_the_original_executor_killed_in_the_middle_and_started_again(
    edition: str, serve: Callable[..., Server], free_port: int, second_port: int
) -> None:
    async with with_original(edition, serve, (free_port, second_port)) as (url, child):
        ids = {"name": "debug", "history_id": "1", "user_id": "7"}
        assert await word(url, "worker/schedule", **ids) == "READY"
        stream = Stream(url, input=json.dumps([{"isbot": False, "msg": "x" * 2000}]), **ids)
        await until(lambda: len(stream.body) > 5)
        child.kill()
        got = await stream.end()
        assert got.startswith("xxxxx") and got.endswith("<<</WARNING>>>")
        assert await idle(url, "debug") == 1
        with original(edition, second_port, url, "debug"):
            await asyncio.to_thread(eventually, lambda: listens(second_port), 60)
            assert await word(url, "worker/schedule", **ids) == "READY"
            assert await Stream(url, input=HELLO, **ids).end() == "hello"


@pytest.mark.slow
@pytest.mark.timeout(300)
async def test_our_executor_at_the_original_kernel(free_port: int, second_port: int, tmp_path: Path) -> None:
    if KERNEL not in os.environ:
        pytest.skip(f"set {KERNEL} to the newest original's kuwa-kernel program")
    url = f"http://127.0.0.1:{free_port}"
    # It writes its files into the current directory.
    kernel = [os.environ[KERNEL], "--host", "127.0.0.1", "--port", str(free_port)]
    ours = [sys.executable, "-m", "trunkcall", "as", "kuwa-executor", "debug", "--concurrent_req_limit", "2"]
    ours += ["--host", "127.0.0.1", "--port", str(second_port), "--kernel_url", url, "--delay", "0.01"]
    quiet: dict[str, Any] = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    env = {**os.environ, "TRUNKCALL_HOME": str(tmp_path / "home")}
    with ended(await asyncio.to_thread(subprocess.Popen, kernel, cwd=tmp_path, **quiet)):
        await asyncio.to_thread(eventually, lambda: listens(free_port), 60)
        with ended(await asyncio.to_thread(subprocess.Popen, ours, env=env, **quiet)) as child:
            await asyncio.to_thread(eventually, lambda: listens(second_port), 60)
            await at_the_original(url, 2)
            child.send_signal(signal.SIGTERM)
            assert await asyncio.to_thread(child.wait, 60) == 0
        page = (await ask(url, "GET", "/v1.0/worker/debug")).text
        assert "READY" not in page, "it has taken leave"


async def at_the_original(url: str, limit: int) -> None:
    """Fill the executor's slots through the kernel, all at once, and see the next one refused."""
    async with asyncio.timeout(60):
        while (await ask(url, "GET", "/v1.0/worker/debug")).text.count("READY") < limit:
            await asyncio.sleep(0.1)
    streams: list[Stream] = []
    for number in range(limit):
        ids = {"name": "debug", "history_id": str(number), "user_id": "7"}
        assert await word(url, "worker/schedule", **ids) == "READY"
        streams.append(Stream(url, input=json.dumps([{"isbot": False, "msg": f"say {number} " * 9}]), **ids))
    assert await word(url, "worker/schedule", name="debug", history_id="9", user_id="7") == "BUSY"
    assert [await stream.end() for stream in streams] == [(f"say {number} " * 9).strip() for number in range(limit)]
