"""An executor registers with its kernel, stays registered, and leaves."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Coroutine, Sequence
from contextlib import asynccontextmanager
from typing import Any

import pytest
from apis.kuwa_executors import Kernel, Script, executor, kernel_at, until

from trunkcall.apis import kuwa_registration
from trunkcall.apis.kuwa_registration import Registration, registered_base
from trunkcall.core.errors import ServingError

pytestmark = pytest.mark.anyio

ENDPOINT = "http://127.0.0.1:9301/chat"


def registration(
    kernel: str, codes: Sequence[str] = ("one",), endpoints: Sequence[str] = (ENDPOINT,), **given: Any
) -> Registration:
    quick: dict[str, Any] = {"pauses": (0.01,) * 4, "renew_seconds": 0.02, **given}
    return Registration(kernel, "v1.0", codes, endpoints, **quick)


@asynccontextmanager
async def alive(work: Coroutine[Any, Any, None] | asyncio.Task[None]) -> AsyncIterator[asyncio.Task[None]]:
    """Runs while the context is open, and is cancelled at its end."""
    task = work if isinstance(work, asyncio.Task) else asyncio.create_task(work)
    try:
        yield task
    finally:
        task.cancel()
        await asyncio.wait([task], timeout=30)
        assert task.done()


@pytest.mark.parametrize(
    ("given", "own", "expected"),
    [
        ("", "http://127.0.0.1:9301", "http://127.0.0.1:9301"),
        ("", "http://[::1]:9301", "http://[::1]:9301"),
        ("http://box:0", "http://0.0.0.0:9301", "http://box:9301"),
        ("https://box:0/", "http://0.0.0.0:9301", "https://box:9301"),
        ("http://[fd00::1]:0", "http://[::]:9301", "http://[fd00::1]:9301"),
        ("http://box:80", "http://0.0.0.0:9301", "http://box:80"),
        ("https://proxy.example", "http://0.0.0.0:9301", "https://proxy.example"),
        ("https://proxy.example/one/", "http://0.0.0.0:9301", "https://proxy.example/one"),
        ("", "http://0.0.0.0:9301", None),
        ("", "http://[::]:9301", None),
        ("box:9301", "http://127.0.0.1:9301", None),
        ("ftp://box", "http://127.0.0.1:9301", None),
        ("http://box:many", "http://127.0.0.1:9301", None),
    ],
)
def test_where_the_kernel_finds_us(given: str, own: str, expected: str | None) -> None:
    if expected is None:
        with pytest.raises(ServingError, match="endpoint"):
            registered_base(given, own)
    else:
        assert registered_base(given, own) == expected


@pytest.mark.parametrize(("path", "prefix"), [("", "/v1.0"), ("/", "/v1.0"), ("/kuwa/", "/kuwa/v1.0")])
async def test_registers_stays_and_leaves(path: str, prefix: str) -> None:
    kernel = Kernel(prefix=prefix)
    async with kernel_at(kernel) as listening:
        endpoints = [ENDPOINT, f"{ENDPOINT}/2"]
        async with alive(registration(listening.url + path, ["one", "alias/two"], endpoints).live()):
            await until(lambda: len(kernel.seen) > 8)
        first = [f"register {code} {endpoint}" for code in ("one", "alias/two") for endpoint in endpoints]
        assert kernel.seen[:8] == first * 2
        assert kernel.seen[-2:] == [f"unregister one {ENDPOINT}", f"unregister alias/two {ENDPOINT}"]
        assert kernel.known == []


async def test_a_kernel_that_forgot_us_is_told_again(caplog: pytest.LogCaptureFixture) -> None:
    kernel = Kernel()
    caplog.set_level("INFO", "trunkcall")
    async with kernel_at(kernel) as listening, alive(registration(listening.url).live()):
        await until(lambda: len(kernel.seen) > 2)
        assert "forgotten" not in caplog.text
        kernel.known.clear()
        await until(lambda: kernel.known)
        await until(lambda: "registered again with the kernel, which had forgotten one" in caplog.text)


async def test_a_kernel_that_is_away_is_waited_for_quietly(caplog: pytest.LogCaptureFixture, free_port: int) -> None:
    caplog.set_level("INFO", "trunkcall")
    kernel = Kernel()
    async with kernel_at(kernel, free_port) as listening:
        task = asyncio.create_task(registration(listening.url).live())
        await until(lambda: kernel.known)
    async with alive(task):
        await until(lambda: "does not answer" in caplog.text)
        await asyncio.sleep(0.2)
        back = Kernel()
        async with kernel_at(back, free_port):
            await until(lambda: back.known and "registered again" in caplog.text)
            assert caplog.text.count("does not answer") == 1
            task.cancel()
            await asyncio.wait([task])
    assert back.seen[-1] == f"unregister one {ENDPOINT}"
    assert "Unregistered one from kernel." in caplog.text


async def test_records_of_an_earlier_life_are_made_anew() -> None:
    kernel = Kernel()
    kernel.known = [("one", ENDPOINT)]
    async with kernel_at(kernel) as listening, alive(registration(listening.url, renew_seconds=60).live()):
        await until(lambda: len(kernel.seen) == 3)
        await asyncio.sleep(0.05)
        assert kernel.seen == [f"{action} one {ENDPOINT}" for action in ("register", "unregister", "register")]
        assert kernel.known == [("one", ENDPOINT)]


async def test_failed_means_that_we_are_there_already(caplog: pytest.LogCaptureFixture) -> None:
    kernel = Kernel(*[(200, "Failed")] * 4)
    async with kernel_at(kernel) as listening, alive(registration(listening.url, renew_seconds=60).live()) as task:
        await until(lambda: "answers Failed for one" in caplog.text)
        await asyncio.sleep(0.05)
        assert not task.done()
        assert len(kernel.seen) == 3


@pytest.mark.parametrize(
    ("answer", "reason"),
    [((500, "Success"), "500 'Success'"), ((200, "<html>"), "is it the URL of a kernel"), ((404, ""), "404")],
)
async def test_five_tries(answer: tuple[int, str], reason: str) -> None:
    kernel = Kernel(*[answer] * 5)
    async with kernel_at(kernel) as listening:
        with pytest.raises(ServingError, match="The program will exit now") as caught:
            await registration(listening.url).live()
    assert (caught.value.kind, len(kernel.seen)) == ("unreachable", 5)
    assert reason in caught.value.message


async def test_the_last_try_may_work_and_half_of_it_is_taken_back() -> None:
    kernel = Kernel(*[(503, "")] * 4)
    async with kernel_at(kernel) as listening, alive(registration(listening.url).live()):
        await until(lambda: kernel.known)
    failing = Kernel((200, "Success"), (500, ""), *[(200, "Failed"), (500, "")] * 4)
    async with kernel_at(failing) as listening:
        with pytest.raises(ServingError, match="failed 5 times"):
            await registration(listening.url, ["one", "two"]).live()
    assert failing.seen[-1] == f"unregister one {ENDPOINT}"


async def test_nobody_at_the_kernel_s_address(free_port: int, caplog: pytest.LogCaptureFixture) -> None:
    with pytest.raises(ServingError, match=r"(?s)refuses connections.*--ignore_kernel") as caught:
        await registration(f"http://127.0.0.1:{free_port}/").live()
    assert caught.value.kind == "unreachable"
    assert caplog.text.count("registering with the kernel") == 4


@pytest.mark.parametrize("url", ["127.0.0.1:9000", "ftp://127.0.0.1", "http://user@127.0.0.1"])
def test_no_url_of_a_kernel(url: str) -> None:
    with pytest.raises(ServingError):
        registration(url)


async def test_a_kernel_that_hangs_does_not_hold_up_the_end(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(kuwa_registration, "LEAVE_SECONDS", 0.1)
    heard = asyncio.Event()

    async def hang(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        heard.set()
        await reader.read()
        writer.close()

    server = await asyncio.start_server(hang, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    async with server, alive(registration(f"http://127.0.0.1:{port}").live()) as task:
        await heard.wait()
        task.cancel()
        await asyncio.wait([task], timeout=20)
        assert task.cancelled()


# What the api registers, and when.


@pytest.mark.parametrize(
    ("options", "about", "expected"),
    [
        ({}, {}, ["model {url}/chat"]),
        ({"codes": ("a", "b"), "limit": 2}, {}, [f"{c} {{url}}/chat{n}" for c in "ab" for n in ("", "/2")]),
        ({"path": "/ask"}, {"codes": ["told"]}, ["told {url}/ask"]),
        ({"codes": ("given",)}, {"codes": ["told"], "path": "/mine"}, ["given {url}/mine"]),
        ({"endpoint": "https://box:80"}, {}, ["model https://box:80/chat"]),
    ],
)
async def test_what_is_registered(options: dict[str, Any], about: dict[str, Any], expected: list[str]) -> None:
    kernel = Kernel()
    async with kernel_at(kernel) as listening:
        async with executor(Script("x"), kernel=listening.url, about=about, **options) as running:
            async with alive(running.api.live(running.url)):
                await until(lambda: len(kernel.known) == len(expected))
            wanted = [entry.format(url=running.url) for entry in expected]
            assert kernel.seen[: len(wanted)] == [f"register {entry}" for entry in wanted]


async def test_a_custom_executor_s_kernel_wins_unless_there_is_to_be_none() -> None:
    kernel = Kernel()
    async with kernel_at(kernel) as listening:
        about = {"kernel": listening.url}
        async with executor(Script("x"), kernel="http://127.0.0.1:1", about=about) as running:
            async with alive(running.api.live(running.url)):
                await until(lambda: kernel.known)
        seen = len(kernel.seen)
        async with executor(Script("x"), about=about) as running:
            await running.api.live(running.url)
        about = {"ignore_kernel": True}
        async with executor(Script("x"), kernel=listening.url, about=about) as running:
            await running.api.live(running.url)
        assert len(kernel.seen) == seen


async def test_nothing_is_registered_before_the_model_is_ready() -> None:
    kernel = Kernel()
    async with kernel_at(kernel) as listening, executor(None, kernel=listening.url) as running:
        pool = running.dispatch.pools["model"]
        async with alive(running.api.live(running.url)):
            await until(lambda: len(pool.queue))
            await asyncio.sleep(0.05)
            assert kernel.seen == []
            running.dispatch.ready(running.replica, Script("x"), None)
            await until(lambda: kernel.known)
            assert running.replica.in_flight == 0


async def test_a_model_that_cannot_start_ends_it_with_the_reason() -> None:
    async with executor(None) as running:
        pool = running.dispatch.pools["model"]
        task = asyncio.create_task(running.api.live(running.url))
        await until(lambda: len(pool.queue))
        running.dispatch.lost(running.replica, "failed", "the file is not there")
        with pytest.raises(ServingError, match="the file is not there"):
            await task
        assert running.replica.in_flight == 0
