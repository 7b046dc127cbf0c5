"""The controller in real `trunkcall up` and `trunkcall as` processes: one registry for all protocols, kill -9 under load,
and TLS."""

from __future__ import annotations

import asyncio
import json
import signal
import ssl
from collections.abc import Callable
from contextlib import AbstractContextManager, AsyncExitStack
from pathlib import Path
from typing import Any

import pytest
from apis.fastchat_controllers import Worker, listening
from apis.kuwa_executors import ask, until
from old_command import OldCommand, old_command
from running import Server
from tls_files import self_made

from trunkcall.core.errors import ServingError
from trunkcall.net.client import Client

pytestmark = pytest.mark.anyio


async def said(url: str, route: str, body: Any = None) -> Any:
    reply = await ask(url, "POST", f"/{route}", b"" if body is None else json.dumps(body).encode())
    assert reply.status == 200, reply.text
    return json.loads(reply.body)


async def register(url: str, worker: str, *names: str) -> None:
    status = {"model_names": names, "speed": 1, "queue_length": 0}
    assert (
        await said(url, "register_worker", {"worker_name": worker, "check_heart_beat": True, "worker_status": status})
        is None
    )


async def generate(url: str, model: str, path: str = "") -> dict[str, Any]:
    """The last object of an answer."""
    body = json.dumps({"model": model, "prompt": "hi", "echo": False, "max_new_tokens": 8, "temperature": 0}).encode()
    reply = await ask(url, "POST", f"{path}/worker_generate_stream", body)
    return json.loads(reply.body.split(b"\0")[-2])


def controller(home: Path, *arguments: str, env: dict[str, str]) -> AbstractContextManager[OldCommand]:
    """A `trunkcall as fastchat.serve.controller`, not ready yet."""
    return old_command(home, "fastchat.serve.controller", "--host", "127.0.0.1", *arguments, env=env)


async def test_what_registers_is_a_model_everywhere_and_every_model_has_an_address(
    serve: Callable[..., Server], free_port: int
) -> None:
    worker = Worker("real/m")
    async with listening(worker) as origin:
        server = await asyncio.to_thread(serve, "--listen", f"127.0.0.1:{free_port}=fastchat_controller")
        url = f"http://127.0.0.1:{free_port}"
        await register(url, origin, "real/m")
        listed = await asyncio.to_thread(server.get, "/v1/models")
        assert sorted(entry["id"] for entry in listed["data"]) == ["pocket", "real/m"]
        prompted = {"model": "real/m", "prompt": "hi"}
        status, _, answer = await asyncio.to_thread(server.post, "/v1/completions", prompted)
        assert (status, answer["choices"][0]["text"]) == (200, "hé!")
        assert sorted((await said(url, "list_models"))["models"]) == ["pocket", "real/m"]
        assert await said(url, "get_worker_address", {"model": "real/m"}) == {"address": origin}
        assert await said(url, "get_worker_address", {"model": "pocket"}) == {"address": f"{url}/w/pocket"}
        # The shipped model as a worker of FastChat, and through the relay.
        for path in ("/w/pocket", ""):
            told = await generate(url, "pocket", path)
            assert told["error_code"] == 0 and told["text"] and told["finish_reason"] in ("stop", "length")
        assert (await said(url, "worker_get_status"))["speed"] == 2


async def test_workers_register_without_a_key_where_callers_need_one(
    serve: Callable[..., Server], tmp_path: Path, free_port: int
) -> None:
    (tmp_path / "trunkcall.yaml").write_text(
        f"listen: [127.0.0.1:0, {{port: {free_port}, apis: [fastchat_controller, kuwa_kernel]}}]\nkeys: [env:A_KEY]\n"
    )
    server = await asyncio.to_thread(
        serve, "--config", str(tmp_path / "trunkcall.yaml"), env={"A_KEY": "a-key-of-theirs"}
    )
    url = f"http://127.0.0.1:{free_port}"
    async with listening(Worker("m")) as origin:
        await register(url, origin, "m")
        beat = {"worker_name": origin, "queue_length": 0}
        assert await said(url, "receive_heart_beat", beat) == {"exist": True}
        form = b"content-type: application/x-www-form-urlencoded\r\n"
        for verb in ("register", "unregister"):
            told = await ask(url, "POST", f"/v1.0/worker/{verb}", b"name=x&endpoint=http://127.0.0.1:9/chat", form)
            assert told.text == "Success"
        for route in ("list_models", "get_worker_address", "worker_generate_stream", "refresh_all_workers"):
            assert (await ask(url, "POST", f"/{route}", b'{"model":"m"}')).status == 401, route
        key = {"authorization": "Bearer a-key-of-theirs"}
        prompted = {"model": "m", "prompt": "hi"}
        status, _, _ = await asyncio.to_thread(lambda: server.post("/v1/completions", prompted, **key))
        assert status == 200


@pytest.mark.slow
@pytest.mark.timeout(300)
async def test_killed_and_started_again_under_load(tmp_path: Path, free_port: int) -> None:
    url = f"http://127.0.0.1:{free_port}"
    fakes = [Worker("m", f"m{number}") for number in range(20)]
    # Long enough for all that is done before one of them may go.
    env = {"FASTCHAT_CONTROLLER_HEART_BEAT_EXPIRATION": "20"}
    async with AsyncExitStack() as stack:
        origins = [await stack.enter_async_context(listening(fake)) for fake in fakes]
        with controller(tmp_path, "--port", str(free_port), env=env) as child:
            await asyncio.to_thread(child.ready)
            for origin in origins:
                await register(url, origin, "m")
            await until_models(url, 21)
            kept = tmp_path / "as" / f"fastchat-controller-{free_port}" / "workers.json"
            await until(kept.exists)
            await until(lambda: sum(len(one["names"]) for one in json.loads(kept.read_bytes())) == 40)
            for fake in fakes:
                fake.hold.clear()
            calls = [asyncio.create_task(generate(url, "m")) for _ in range(20)]
            await until(lambda: all(fake.running == 1 for fake in fakes))
            child.process.send_signal(signal.SIGKILL)
            ended = await asyncio.gather(*calls, return_exceptions=True)
            assert all(isinstance(one, (ServingError, IndexError)) for one in ended)
            await until(lambda: not any(fake.running for fake in fakes))
            for fake in fakes:
                fake.hold.set()
                # Slower than the start that follows: nobody is to find no model before they have answered.
                fake.pause = 0.3
        with controller(tmp_path, "--port", str(free_port), env=env) as child:
            await asyncio.to_thread(child.ready)
            assert (await said(url, "get_worker_address", {"model": "m19"}))["address"] == origins[19]
            assert len((await said(url, "list_models"))["models"]) == 21
            assert {(await generate(url, "m"))["text"] for _ in range(20)} == {"hé!"}
            beat = {"worker_name": origins[0], "queue_length": 0}
            assert await said(url, "receive_heart_beat", beat) == {"exist": True}
            # Only the first goes on to beat.
            async with asyncio.timeout(90):
                while (await said(url, "list_models"))["models"] != ["m", "m0"]:
                    assert await said(url, "receive_heart_beat", beat) == {"exist": True}
                    await asyncio.sleep(0.05)


async def until_models(url: str, count: int) -> None:
    async with asyncio.timeout(60):
        while len((await said(url, "list_models"))["models"]) != count:
            await asyncio.sleep(0.02)


async def test_over_tls(tmp_path: Path, free_port: int) -> None:
    cert, key = self_made(tmp_path)
    env = {"SSL_CERTFILE": str(cert), "SSL_KEYFILE": str(key)}
    with controller(tmp_path / "home", "--port", str(free_port), "--ssl", env=env) as child:
        await asyncio.to_thread(child.ready)
        url = f"https://127.0.0.1:{free_port}"
        assert f"is ready at {url} " in child.said
        client = Client(url, tls=ssl.create_default_context(cafile=str(cert)))
        async with client.request(b"POST", b"/list_models", b"") as answer:
            assert await answer.read() == b'{"models":[]}'
        await client.aclose()


async def test_a_certificate_that_is_none_is_told_at_once(tmp_path: Path, free_port: int) -> None:
    env = {"SSL_CERTFILE": str(tmp_path / "none.pem"), "SSL_KEYFILE": str(tmp_path / "none.pem")}
    with pytest.raises(AssertionError, match=r"none\.pem' cannot be read"):
        with controller(tmp_path, "--port", str(free_port), "--ssl", env=env) as child:
            await asyncio.to_thread(child.ready)
