"""FastChat's controller word for word, and what the original did wrong behind the same words."""

from __future__ import annotations

import asyncio
import json
import random
from contextlib import AsyncExitStack
from typing import Any

import pytest
from apis.fastchat_controllers import Control, Worker, control, frame, listening, workers
from apis.kuwa_executors import Script, ask, until

from trunkcall.apis import fastchat_asking as asking
from trunkcall.apis import fastchat_beats as beats
from trunkcall.apis.fastchat_controller import ControllerOptions, expiration
from trunkcall.control import registry as registry_module
from trunkcall.control.registry import Record
from trunkcall.core.errors import ServingError
from trunkcall.core.ports import Exchange
from trunkcall.net.client import Timeouts

pytestmark = pytest.mark.anyio

NOWHERE = "http://127.0.0.1:9"
OTHERS = ControllerOptions(front="others")
JSON = b"application/json"


@pytest.fixture(autouse=True)
def patient(monkeypatch: pytest.MonkeyPatch) -> None:
    """A machine that stands still for seconds is no worker's silence."""
    monkeypatch.setattr(beats, "FRESH_SECONDS", 3600.0)
    monkeypatch.setattr(asking, "WAIT_SECONDS", 20.0)
    monkeypatch.setattr(asking, "_TIMEOUTS", Timeouts(connect=20.0, first_byte=20.0, idle=20.0, whole=20.0))


class Clock:
    """Stands for the module `time` where workers are found silent."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.now = 1e6
        monkeypatch.setattr(beats, "time", self)

    def monotonic(self) -> float:
        return self.now


def prompt(model: str) -> dict[str, Any]:
    return {"model": model, "prompt": "hi", "echo": False}


async def settled(made: Control, names: list[str], kind: str = "list_models") -> None:
    async with asyncio.timeout(30):
        while await made.models(kind) != names:
            await asyncio.sleep(0.005)


async def test_word_for_word() -> None:
    worker = Worker("tinyrand")
    async with listening(worker) as url, control() as made:
        reply = await made.ask("list_models")
        assert (reply.status, reply.headers[b"content-type"], reply.body) == (200, JSON, b'{"models":[]}')
        assert (await made.ask("get_worker_address", {"model": "tinyrand"})).body == b'{"address":""}'
        assert (await made.ask("worker_get_status")).body == b'{"model_names":[],"speed":0,"queue_length":0}'
        status = {"model_names": ["tinyrand"], "speed": 1, "queue_length": 0}
        told = {"worker_name": url, "check_heart_beat": True, "worker_status": status, "multimodal": False}
        # Old clients name no type, or another.
        assert (await made.ask("register_worker", told, b"content-type: text/plain\r\n")).body == b"null"
        for route, body in (
            ("list_models", b'{"models":["tinyrand"]}'),
            ("list_language_models", b'{"models":["tinyrand"]}'),
            ("list_multimodal_models", b'{"models":[]}'),
            ("worker_get_status", b'{"model_names":["tinyrand"],"speed":1,"queue_length":0}'),
            ("refresh_all_workers", b"null"),
        ):
            reply = await made.ask(route)
            assert (reply.status, reply.headers[b"content-type"], reply.body) == (200, JSON, body)
        address = await made.ask("get_worker_address", {"model": "tinyrand"})
        assert address.body == b'{"address":"%b"}' % url.encode()
        assert (await made.ask("receive_heart_beat", {"worker_name": url, "queue_length": 0})).body == b'{"exist":true}'
        other = {"worker_name": NOWHERE, "queue_length": 0}
        assert (await made.ask("receive_heart_beat", other)).body == b'{"exist":false}'
        assert (await made.ask("test_connection", method="GET")).body == b'"success"'
        stream = await made.ask("worker_generate_stream", prompt("tinyrand"))
        assert stream.body == frame("h") + frame("hé") + frame("hé!") + frame("hé!", "stop")
        assert b"content-type" not in stream.headers
        assert [body for route, body in worker.asked if route == "worker_generate_stream"] == [prompt("tinyrand")]


@pytest.mark.parametrize("method", ["GET", "PUT", "DELETE", "OPTIONS", "PATCH"])
async def test_other_methods_and_paths(method: str) -> None:
    async with control() as made:
        for route in ("list_models", "register_worker", "worker_generate_stream", "worker_get_status"):
            reply = await made.ask(route, method=method)
            assert (reply.status, reply.body) == (405, b'{"detail":"Method Not Allowed"}')
        reply = await made.ask("nothing", method=method)
        assert (reply.status, reply.body) == (404, b'{"detail":"Not Found"}')
    async with control() as made:
        assert (await made.ask("test_connection")).status == 405


@pytest.mark.parametrize(
    ("route", "body", "field"),
    [
        ("register_worker", {"check_heart_beat": True}, "worker_name"),
        ("register_worker", {"worker_name": NOWHERE}, "check_heart_beat"),
        ("register_worker", {"worker_name": "0.0.0.0:1", "check_heart_beat": True}, "worker_name"),
        ("register_worker", b"", "JSON"),
        ("register_worker", b"\xff{}", "UTF-8"),
        ("register_worker", b"[" * 100_000, "body"),
        ("receive_heart_beat", {"worker_name": NOWHERE}, "queue_length"),
        ("get_worker_address", {}, "model"),
        ("get_worker_address", {"model": ["a"]}, "model"),
    ],
)
async def test_a_mistake_is_told_with_the_status_of_the_original(route: str, body: Any, field: str) -> None:
    async with control() as made:
        reply = await made.ask(route, body)
        assert (reply.status, reply.headers[b"content-type"]) == (500, JSON)
        assert field in json.loads(reply.body)["detail"]
        assert await made.models() == []


@pytest.mark.parametrize("body", [b"", b"[]", b'{"prompt":"hi"}', {"model": "nope", "prompt": "x"}, {"model": 5}])
async def test_the_relay_tells_any_mistake_in_one_object(body: Any) -> None:
    async with control() as made:
        reply = await made.ask("worker_generate_stream", body)
        (told,) = [json.loads(one) for one in reply.body.removesuffix(b"\0").split(b"\0")]
        assert (reply.status, told["error_code"]) == (
            200,
            50005 if isinstance(body, dict) and "prompt" in body else 40001,
        )
        assert "model" in told["text"] or "body" in told["text"] or "nope" in told["text"]


async def test_replicas_alternate_and_a_beat_corrects() -> None:
    first, second = Worker("m"), Worker("m")
    async with workers(first, second) as (a, b), control() as made:
        await made.register(a, "m")
        await made.register(b, "m")
        assert [await made.address("m") for _ in range(5)] == [a, b, a, b, a]
        assert (await made.said("worker_get_status"))["queue_length"] == 5
        assert await made.beat(a, 9)
        assert [await made.address("m") for _ in range(3)] == [b, b, b]
        assert await made.beat(a, 0)
        assert await made.address("m") == a
        # Relayed calls count too.
        await made.beat(b, 0)
        await made.beat(a, 0)
        for _ in range(4):
            await made.generate("m")
        assert first.count("worker_generate_stream") == second.count("worker_generate_stream") == 2


async def test_faster_workers_get_more() -> None:
    one, two = Worker("m"), Worker("m")
    two.speed = 3
    async with workers(one, two) as (a, b), control() as made:
        await made.register(a, "m", speed=1)
        await made.register(b, "m", speed=3)
        given = [await made.address("m") for _ in range(40)]
        assert 9 <= given.count(a) <= 11
        assert await made.said("worker_get_status") == {"model_names": ["m"], "speed": 4, "queue_length": 40}


async def test_lottery_follows_the_speeds_and_knows_no_queue(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(random, "random", random.Random(7).random)
    async with control(ControllerOptions(front="none", dispatch="lottery")) as made:
        one, two = Worker("m"), Worker("m")
        one.speed, two.speed = 0.25, 0.75
        async with workers(one, two) as (a, b):
            await made.register(a, "m", speed=0.25)
            await made.register(b, "m", speed=0.75, queue=1000)
            given = [await made.address("m") for _ in range(200)]
            assert 30 <= given.count(a) <= 70 and given.count(a) + given.count(b) == 200
        await made.register(NOWHERE, "still", speed=0)
        assert await made.address("still") == ""


async def test_no_speed_is_no_error() -> None:
    async with control() as made:
        await made.register(NOWHERE, "m", speed=0)
        assert await made.address("m") == NOWHERE


async def test_multimodal_models_have_a_list_of_their_own() -> None:
    async with control() as made:
        await made.register(NOWHERE, "text")
        await made.register("http://127.0.0.1:8", "seeing", multimodal=True)
        assert await made.models() == ["seeing", "text"]
        assert await made.models("list_multimodal_models") == ["seeing"]
        assert await made.models("list_language_models") == ["text"]


async def test_models_are_the_union_of_what_was_registered_and_what_the_status_says() -> None:
    async with listening(Worker("one", "two")) as url, control() as made:
        # One sub-model of a multi_model_worker comes back alone.
        await made.register(url, "one")
        await settled(made, ["one", "two"])
        assert await made.address("two") == url


async def test_registering_again_replaces_the_models() -> None:
    worker = Worker("new", "both")
    async with listening(worker) as url, control() as made:
        await made.register(url, "old", "both")
        await made.register(url, "new", "both")
        assert await made.models() == ["both", "new"]
        # Its leave-taking: it is still there, and not asked.
        before = worker.count("worker_get_status")
        await made.register(url)
        assert await made.models() == []
        await asyncio.sleep(0.3)
        assert worker.count("worker_get_status") <= before + 1
        assert await made.models() == []


async def test_a_worker_whose_status_was_left_out_is_asked_before_the_answer() -> None:
    async with listening(Worker("late")) as url, control() as made:
        await made.register_unseen(url)
        assert await made.models() == ["late"]


async def test_a_worker_whose_models_come_late(monkeypatch: pytest.MonkeyPatch, free_port: int) -> None:
    monkeypatch.setattr(asking, "PAUSES", (0.05,) * 100)
    url = f"http://127.0.0.1:{free_port}"
    worker = Worker()
    async with control() as made:
        await made.register_unseen(url, checked=True)
        assert await made.models() == [] and await made.beat(url)
        async with listening(worker, free_port):
            await until(lambda: worker.count("worker_get_status"))
            assert await made.models() == []
            worker.names = ["late"]
            await settled(made, ["late"])
            asked = worker.count("worker_get_status")
            await asyncio.sleep(0.2)
            assert worker.count("worker_get_status") == asked


@pytest.mark.parametrize("status", [b"", b"{}", b"<html>", b'{"model_names":5}', b"\xff", b"[" * 100_000])
async def test_a_worker_that_tells_garbage(status: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(asking, "PAUSES", (0.01, 0.01))
    worker = Worker("m")
    worker.status = status
    async with listening(worker) as url, control() as made:
        await made.register_unseen(url)
        assert await made.models() == []
        await made.register(url, "m")
        await until(lambda: worker.count("worker_get_status") >= 3)
        assert await made.models() == ["m"]
        await made.ask("refresh_all_workers")
        assert await made.models() == []


async def test_refresh_asks_all_and_drops_who_does_not_answer() -> None:
    one, two = Worker("m", "more"), Worker("m")
    two.code = 500
    one.queue = 4
    async with workers(one, two) as (a, b), control() as made:
        await made.register(a, "m")
        await made.register(b, "m")
        await made.register(NOWHERE, "gone", checked=False)
        await made.ask("refresh_all_workers")
        assert await made.models() == ["m", "more"]
        assert await made.said("worker_get_status") == {"model_names": ["m", "more"], "speed": 1, "queue_length": 4}
        assert not await made.beat(b) and not await made.beat(NOWHERE)


async def test_silent_workers_expire_unless_they_do_not_beat(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = Clock(monkeypatch)
    async with control(ControllerOptions(front="none", expiration=0.4)) as made:
        one, two = Worker("beats", "b2"), Worker("quiet")
        async with workers(one, two, Worker("dumb")) as (a, b, c):
            await made.register(a, "beats", "b2")
            await made.register(b, "quiet")
            await made.register(c, "dumb", checked=False)
            for _ in range(8):
                clock.now += 0.1
                assert await made.beat(a)
            await settled(made, ["b2", "beats", "dumb"])
            # It registers again, as it does when it is told so.
            assert not await made.beat(b)
            await made.register(b, "quiet")
            assert await made.models() == ["b2", "beats", "dumb", "quiet"]


def test_how_long_a_worker_may_be_silent() -> None:
    name = "FASTCHAT_CONTROLLER_HEART_BEAT_EXPIRATION"
    assert (expiration({}), expiration({name: "6"}), expiration({name: ""})) == (90.0, 6.0, 90.0)
    for word in ("soon", "0", "-1", "nan", "inf"):
        with pytest.raises(ServingError, match=name):
            expiration({name: word})


async def test_a_dead_worker_is_not_chosen(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(beats, "FRESH_SECONDS", 0.0)
    async with AsyncExitStack() as stack, control() as made:
        alive = await stack.enter_async_context(listening(Worker("m")))
        async with listening(Worker("m")) as dying:
            await made.register(dying, "m")
            await made.register(alive, "m")
            assert {await made.address("m") for _ in range(4)} == {dying, alive}
        assert {await made.address("m") for _ in range(10)} == {alive}
        # One that is slow is chosen all the same.
        slow = Worker("slow")
        slow.pause = 30.0
        url = await stack.enter_async_context(listening(slow))
        monkeypatch.setattr(asking, "WAIT_SECONDS", 0.05)
        await made.register(url, "slow")
        async with asyncio.timeout(15):
            assert await made.address("slow") == url


async def test_a_dead_worker_leaves_the_list_and_comes_back(monkeypatch: pytest.MonkeyPatch, free_port: int) -> None:
    monkeypatch.setattr(beats, "FRESH_SECONDS", 0.0)
    monkeypatch.setattr(registry_module, "YOUNG_SECONDS", 0.0)
    monkeypatch.setattr(asking, "PAUSES", (0.05,) * 20)
    url = f"http://127.0.0.1:{free_port}"
    async with control() as made:
        async with listening(Worker("m"), free_port):
            await made.register(url, "m")
            assert await made.address("m") == url
        assert await made.address("m") == "" and await made.models() == []
        async with listening(Worker("m"), free_port):
            # It has not noticed anything, and only beats.
            assert await made.beat(url)
            await settled(made, ["m"])
            assert await made.address("m") == url


async def test_one_that_registers_before_it_listens_is_trusted_when_it_does(
    monkeypatch: pytest.MonkeyPatch, free_port: int
) -> None:
    monkeypatch.setattr(asking, "PAUSES", (0.02,) * 200)
    monkeypatch.setattr(beats, "FRESH_SECONDS", 0.0)
    url = f"http://127.0.0.1:{free_port}"
    async with listening(Worker("m")) as other, control() as made:
        await made.register(url, "m")
        await made.register(other, "m", queue=5)
        worker = made.registry.find("fastchat", url)
        assert worker is not None
        await until(lambda: worker.failures)
        assert await made.address("m") == other
        async with listening(Worker("m"), free_port):
            await until(lambda: not worker.failures)
            assert await made.address("m") == url


async def test_a_call_to_a_dead_worker_goes_elsewhere(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(asking, "PAUSES", (3600.0,))
    worker = Worker("m")
    async with listening(worker) as url, control() as made:
        await made.register(NOWHERE, "m")
        await made.register(url, "m")
        assert await made.address("m") == NOWHERE
        assert await made.address("m") == url
        for _ in range(3):
            _, told = await made.generate("m")
            assert [one["text"] for one in told] == ["h", "hé", "hé!", "hé!"]


async def test_nobody_answers_is_one_object() -> None:
    async with control() as made:
        await made.register(NOWHERE, "m")
        for _ in range(2):
            _, (told,) = await made.generate("m")
            assert told["error_code"] == 50006 and "127.0.0.1:9" in told["text"]


async def test_who_finds_the_last_worker_dead_is_told_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(registry_module, "YOUNG_SECONDS", 0.0)
    async with control() as made:
        await made.register(NOWHERE, "m")
        _, (told,) = await made.generate("m")
        assert told["error_code"] == 50006 and "127.0.0.1:9" in told["text"]
        assert await made.models() == []


CUT = pytest.mark.parametrize("cut", [b"", b'{"text":"h\xc3'])


@CUT
async def test_a_stream_goes_on_at_another_worker_when_its_own_is_killed(cut: bytes) -> None:
    dying, alive = Worker("m", texts=("h", "hé", None)), Worker("m", texts=("!", "!!"))
    dying.cut = cut
    async with AsyncExitStack() as stack, control() as made:
        b = await stack.enter_async_context(listening(alive))
        async with listening(dying) as a:
            await made.register(a, "m")
            await made.register(b, "m", queue=1)
            _, told = await made.generate("m")
            assert [one["text"] for one in told] == ["h", "hé", "hé!", "hé!!", "hé!!"]
            assert {one["error_code"] for one in told} == {0}
            # What the dead one said counts, also where only its text is known; the prompt is the caller's own.
            assert told[-1]["usage"] == {"prompt_tokens": 7, "completion_tokens": 4, "total_tokens": 11}
            assert [one["finish_reason"] for one in told] == [None] * 4 + ["stop"]
        (asked,) = [body for route, body in alive.asked if route == "worker_generate_stream"]
        (first,) = [body for route, body in dying.asked if route == "worker_generate_stream"]
        assert asked["prompt"] == first["prompt"] + "hé"
        # The next call finds out that the first worker is away.
        await made.beat(b, 5)
        _, told = await made.generate("m")
        assert [one["text"] for one in told] == ["!", "!!", "!!"]
        assert await made.address("m") == b


@CUT
async def test_a_worker_killed_in_the_middle_is_one_object_where_it_was_the_last(cut: bytes) -> None:
    dying = Worker("m", texts=("h", "hé", None))
    dying.cut = cut
    async with control() as made:
        async with listening(dying) as a:
            await made.register(a, "m")
            _, told = await made.generate("m")
        assert [one["text"] for one in told[:2]] == ["h", "hé"]
        assert len(told) == 3 and told[2]["error_code"] >= 50001 and told[2]["text"]


async def test_who_leaves_ends_the_work() -> None:
    worker = Worker("m")
    worker.hold.clear()
    async with listening(worker) as url, control() as made:
        await made.register(url, "m")
        task = asyncio.create_task(made.generate("m"))
        await until(lambda: worker.running)
        task.cancel()
        await asyncio.wait({task})
        await until(lambda: worker.left == 1)
        _, told = await asyncio.wait_for(generate_released(worker, made), 30)
        assert told[-1]["text"] == "hé!"


async def test_a_silent_worker_is_given_up_as_the_options_say() -> None:
    worker = Worker("m")
    worker.hold.clear()
    async with listening(worker) as url, control(ControllerOptions(front="none", stream_timeout=0.3)) as made:
        await made.register(url, "m")
        (told,) = (await asyncio.wait_for(made.generate("m"), 30))[1]
        assert told["error_code"] == 50006
        await until(lambda: not worker.running)


async def generate_released(worker: Worker, made: Control) -> tuple[bytes, list[dict[str, Any]]]:
    worker.hold.set()
    return await made.generate("m")


async def test_two_workers_with_one_address(caplog: pytest.LogCaptureFixture) -> None:
    async with listening(Worker("vicuna")) as url, control() as made:
        await made.register(url, "vicuna")
        await settled(made, ["vicuna"])
        # Another one was started without --worker-address: it says the default, where the first one is.
        await made.register(url, "llama")
        await settled(made, ["vicuna"])
        (said,) = [record.message for record in caplog.records if "one address" in record.message]
        assert url in said and "llama" in said and "vicuna" in said and "--worker-address" in said
        caplog.clear()
        await made.register(url, "vicuna")
        await made.register(url, "vicuna")
        assert [record.message for record in caplog.records if "if it was not started anew" in record.message]


async def test_an_address_that_others_cannot_call_is_warned_about(caplog: pytest.LogCaptureFixture) -> None:
    async with control() as made:
        await made.register("http://0.0.0.0:9", "m")
        assert "--worker-address" in caplog.text
    assert beats.why_unreachable("http://localhost:21002", "10.0.0.7")
    assert not beats.why_unreachable("http://localhost:21002", "127.0.0.1")
    assert not beats.why_unreachable("http://10.0.0.7:21002", "10.0.0.7")


async def test_after_a_restart_those_that_answer_are_known(monkeypatch: pytest.MonkeyPatch) -> None:
    about = {"checked": True, "multimodal": True, "speed": 2}
    async with listening(Worker("m")) as url:
        kept = (Record("fastchat", url, ("m",), None, about), Record("fastchat", NOWHERE, ("n",), None, about))
        async with control(kept=kept) as made:
            await settled(made, ["m"])
            assert await made.models("list_multimodal_models") == ["m"]
            assert await made.said("worker_get_status") == {"model_names": ["m"], "speed": 2, "queue_length": 0}
            assert await made.beat(url) and not await made.beat(NOWHERE)
            await made.register(NOWHERE, "n")
            assert await made.models() == ["m", "n"]
    kept = (Record("fastchat", url, ("m",), None, about),)
    async with listening(Worker("m"), int(url.rpartition(":")[2])):
        clock = Clock(monkeypatch)
        async with control(ControllerOptions(front="none", expiration=0.3), kept=kept) as made:
            await settled(made, ["m"])
            async with asyncio.timeout(30):
                while await made.models() != []:
                    clock.now += 0.4
                    await asyncio.sleep(0.005)


async def test_a_controller_is_a_worker_of_another() -> None:
    async with listening(Worker("m")) as url, control() as below, control() as above:
        await below.register(url, "m")
        await above.register_unseen(below.url)
        assert await above.models() == ["m"]
        assert await above.address("m") == below.url
        _, told = await above.generate("m")
        assert told[-1]["text"] == "hé!"
        # What the original's OpenAI server asks a worker.
        assert (await below.ask("count_token", prompt("m"))).body == b'{"count":7,"error_code":0}'
        assert (await below.ask("model_details", {"model": "m"})).body == b'{"context_length":4096}'
        nobody = json.loads((await below.ask("count_token", prompt("n"))).body)
        assert nobody["error_code"] == 50005


async def test_the_front_serves_what_is_no_fastchat_worker() -> None:
    worker = Worker("real")
    async with listening(worker) as url, control(OTHERS) as made:
        script = Script("h", "é")
        made.own("org/own model", script)
        await made.register(url, "real")
        assert await made.models() == ["org/own model", "real"]
        assert await made.address("real") == url
        address = await made.address("org/own model")
        assert address == f"{made.url}/w/org%2Fown%20model"
        assert await made.address("none") == ""
        reply = await ask(
            address.removesuffix("/w/org%2Fown%20model"), "POST", "/w/org%2Fown%20model/worker_get_status"
        )
        assert json.loads(reply.body) == {"model_names": ["org/own model"], "speed": 1, "queue_length": 0}
        for route in ("w/org%2Fown%20model/worker_generate_stream", "worker_generate_stream"):
            reply = await made.ask(route, prompt("org/own model"))
            told = [json.loads(one) for one in reply.body.removesuffix(b"\0").split(b"\0")]
            assert told[-1]["text"] == "hé" and told[-1]["finish_reason"] == "stop"
        # A name of ours cannot be taken.
        await made.register(url, "org/own model", "real")
        assert await made.address("org/own model") == address
        told = {"model_names": ["org/own model", "real"], "speed": 2, "queue_length": 0}
        assert await made.said("worker_get_status") == told
        assert (await made.ask("w/real/nothing", {})).status == 404
        assert (await made.ask("w/real/worker_get_status", method="GET")).status == 405


async def test_the_front_may_be_for_all_or_none() -> None:
    async with control(ControllerOptions(front="all")) as made:
        await made.register(NOWHERE, "real")
        assert await made.address("real") == f"{made.url}/w/real"
        reply = await made.ask("get_worker_address", {"model": "real"}, b"")
        assert json.loads(reply.body)["address"].startswith("http://127.0.0.1:")
    async with control() as made:
        made.own("own", Script("x"))
        assert await made.models() == [] and await made.address("own") == ""
        assert (await made.ask("w/own/worker_get_status", {})).status == 404
        _, (told,) = await made.generate("own")
        assert told["error_code"] == 50005


async def test_who_may_register() -> None:
    def forbid(exchange: Exchange) -> None:
        raise ServingError("forbidden", "not from there")

    async with control(allow=forbid) as made:
        told = {"worker_name": NOWHERE, "check_heart_beat": True, "worker_status": {"model_names": ["m"]}}
        for route in ("register_worker", "receive_heart_beat"):
            reply = await made.ask(route, told)
            assert (reply.status, json.loads(reply.body)) == (403, {"detail": "not from there"})
        assert await made.models() == []
    async with control() as made:
        reply = await made.ask("register_worker", told, b"origin: http://evil.example\r\n")
        assert reply.status == 403 and await made.models() == []


async def test_two_hundred_workers_at_once() -> None:
    made_workers = [Worker("m", f"m{number}") for number in range(200)]
    async with workers(*made_workers) as urls, control() as made:
        await asyncio.gather(*(made.register(url, "m") for url in urls))
        await settled(made, sorted(["m", *(f"m{number}" for number in range(200))]))
        assert sorted([await made.address("m") for _ in range(200)]) == sorted(urls)
        await made.ask("refresh_all_workers")
        assert len(await made.models()) == 201
