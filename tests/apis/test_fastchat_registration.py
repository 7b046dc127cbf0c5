"""A worker's life with a controller: it registers, beats, is forgotten and comes back, and takes leave."""

from __future__ import annotations

import asyncio
import logging
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
from apis.fastchat_workers import Controller, controller_at
from apis.kuwa_executors import until

from trunkcall.apis.fastchat_registration import Registration, worker_address
from trunkcall.core.errors import ServingError
from trunkcall.core.log import log
from trunkcall.protocols.fastchat import Status

pytestmark = pytest.mark.anyio

ADDRESS = "http://127.0.0.1:1"


@asynccontextmanager
async def registered(url: str, status: list[Status], *, beat: float = 0.03) -> AsyncIterator[Registration]:
    registration = Registration(url, ADDRESS, lambda: status[0], beat=beat, retry=0.02)
    task = asyncio.create_task(registration.live())
    try:
        yield registration
    finally:
        task.cancel()
        await asyncio.wait({task}, timeout=20)
        await registration.leave()


async def test_beats_carry_the_queue_and_a_forgotten_worker_registers_again() -> None:
    controller, status = Controller(), [Status(("m",))]
    async with controller_at(controller) as listening:
        async with registered(listening.url, status):
            await until(lambda: len(controller.told) > 2)
            status[0] = Status(("m",), queue_length=3)
            await until(lambda: controller.told[-1][1].get("queue_length") == 3)
            assert controller.routes_told.count("register_worker") == 1
            controller.known.clear()
            await until(lambda: ADDRESS in controller.known)
            assert controller.routes_told[-2:] == ["receive_heart_beat", "register_worker"]
            assert controller.told[-1][1]["worker_status"]["queue_length"] == 3
        assert controller.told[-1][0] == "register_worker"
        assert controller.known == {ADDRESS: []}


async def test_new_names_are_told_before_the_next_beat_is_due() -> None:
    controller, status = Controller(), [Status(())]
    async with controller_at(controller) as listening, registered(listening.url, status, beat=60):
        await asyncio.sleep(0.05)
        assert controller.told == []
        status[0] = Status(("a", "b"))
        await until(lambda: controller.known == {ADDRESS: ["a", "b"]})
        assert controller.routes_told == ["register_worker"]


async def test_a_controller_that_comes_late_goes_and_comes_back(
    caplog: pytest.LogCaptureFixture, free_port: int
) -> None:
    controller = Controller()
    log.addHandler(caplog.handler)
    caplog.set_level(logging.INFO, log.name)
    try:
        async with registered(f"http://127.0.0.1:{free_port}/", [Status(("m",))]):
            await until(lambda: "--no-register" in caplog.text)
            for _ in range(2):
                controller.known.clear()
                async with controller_at(controller, free_port):
                    await until(lambda: ADDRESS in controller.known)
                await until(lambda: caplog.text.count("cannot be told") > 1)
            controller.garbage = True
            async with controller_at(controller, free_port):
                controller.status = 500
                await until(lambda: len(controller.told) > 5)
        assert "answers again" in caplog.text
    finally:
        log.removeHandler(caplog.handler)


@pytest.mark.parametrize(("status", "garbage"), [(500, False), (404, False), (200, True)])
async def test_what_is_no_controller_is_asked_again(status: int, garbage: bool) -> None:
    controller = Controller()
    controller.status, controller.garbage = status, garbage
    async with controller_at(controller) as listening, registered(listening.url, [Status(("m",))]):
        await until(lambda: len(controller.told) > 3)
        controller.status, controller.garbage = 200, False
        await until(lambda: ADDRESS in controller.known)


async def test_what_is_no_url_is_refused() -> None:
    with pytest.raises(ServingError):
        Registration("localhost:21001", ADDRESS, lambda: Status(()), beat=1)


@pytest.mark.parametrize(
    ("given", "own", "told"),
    [
        ("", "http://127.0.0.1:5", "http://127.0.0.1:5"),
        ("", "http://[::1]:5", "http://[::1]:5"),
        ("http://gpu:21002", "http://127.0.0.1:5", "http://gpu:21002"),
        ("http://gpu:21002/", "http://0.0.0.0:5", "http://gpu:21002"),
        ("http://gpu:0", "http://0.0.0.0:5", "http://gpu:5"),
        ("http://[::1]:0/p", "http://0.0.0.0:5", "http://[::1]:5/p"),
        ("https://gpu/worker", "http://127.0.0.1:5", "https://gpu/worker"),
    ],
)
def test_address(given: str, own: str, told: str) -> None:
    assert worker_address(given, own) == told


@pytest.mark.parametrize(
    ("given", "own", "port"), [("http://0.0.0.0:7", "http://0.0.0.0:5", 7), ("", "http://[::]:5", 5)]
)
def test_the_address_of_all_interfaces_is_told_to_nobody(given: str, own: str, port: int) -> None:
    told = worker_address(given, own, ["http://127.0.0.1:1", "http://no.such.host.invalid:1"])
    host, _, found = told.removeprefix("http://").rpartition(":")
    assert socket.inet_aton(host) != bytes(4)
    assert found == str(port)


@pytest.mark.parametrize("given", ["gpu:21002", "ftp://gpu", "http://", "http://gpu:x"])
def test_an_address_that_is_none_is_refused(given: str) -> None:
    with pytest.raises(ServingError, match="http://HOST:PORT"):
        worker_address(given, "http://127.0.0.1:5")
