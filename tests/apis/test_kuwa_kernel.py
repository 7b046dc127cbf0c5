"""Kuwa's kernel word for word: schedule, complete, abort; and what the old one did wrong behind the same words."""

from __future__ import annotations

import asyncio
import json
from contextlib import AsyncExitStack
from typing import Any

import pytest
from apis.kuwa_executors import until
from apis.kuwa_kernels import FORM, IDLE, Executor, Script, Stream, ask, kernel
from backends.kuwa_peers import listening

from trunkcall.apis import kuwa_kernel as module
from trunkcall.control.dispatch import Lease
from trunkcall.control.keyring import Keyring
from trunkcall.core.errors import ServingError
from trunkcall.core.events import Notice
from trunkcall.core.ports import Api, Exchange
from trunkcall.protocols.kuwa import KuwaEmitter

pytestmark = pytest.mark.anyio

HELLO = '[{"isbot":false,"msg":"hello"}]'
BOMB = pytest.param("[" * 100_000, id="bomb")
JSON = b"content-type: application/json\r\n"


@pytest.fixture(autouse=True)
def patient(monkeypatch: pytest.MonkeyPatch) -> None:
    """What waits that should not is noticed."""
    monkeypatch.setattr(module, "START_SECONDS", 3600.0)


def block(text: str) -> bytes:
    return KuwaEmitter().feed(Notice("warning", text))


async def test_one_chat_word_for_word() -> None:
    fake = Executor(*"héy you".encode().partition(b"\xc3"))
    async with listening(fake) as origin, kernel() as kuwa:
        endpoint = f"{origin}/chat"
        assert await kuwa.register("x", endpoint + "/") == "Success"
        assert await kuwa.register("alias/one", endpoint) == "Success"
        listed = await ask(kuwa.url, "GET", "/v1.0/worker/list")
        assert (listed.headers[b"content-type"], listed.body) == (b"application/json", b'["x","alias/one"]\n')
        assert await kuwa.state() == {"x": [[endpoint, *IDLE]], "alias/one": [[endpoint, *IDLE]]}
        assert await kuwa.schedule("x") == "READY"
        assert await kuwa.schedule("x") == "BUSY"
        assert await kuwa.schedule("alias/one", "2") == "BUSY"
        assert await kuwa.schedule("nobody") == "NOMACHINE"
        assert await kuwa.records("x") == [["READY", "1", "7"]] == await kuwa.records("alias/one")
        fake.hold.clear()
        stream = Stream(kuwa.url, name="x", history_id="1", input=HELLO)
        await until(lambda: fake.running)
        assert await kuwa.records("x") == [["BUSY", "1", "7"]]
        fake.hold.set()
        assert await stream.end() == "héy you"
        assert await kuwa.records("x") == [IDLE]
        # The reservation is used up.
        again = await kuwa.complete("x")
        assert (again.status, again.headers[b"content-type"], again.body) == (200, b"text/html; charset=utf-8", b"")


async def test_the_head_of_an_answer_and_what_the_executor_is_told() -> None:
    fake = Executor(b"h", b"i")
    async with listening(fake) as origin, kernel() as kuwa:
        await kuwa.register("x", f"{origin}/chat")
        await kuwa.schedule("x")
        headers = b"accept-language: zh-TW\r\nauthorization: Bearer its-own\r\n"
        fields = {"name": "x", "history_id": "1", "user_id": "7", "input": HELLO, "openai_token": "sk", "more": "a&ä"}
        reply = await kuwa.post("chat/completions", headers, **fields)
        assert reply.headers[b"content-type"] == b"text/plain"
        assert reply.headers[b"transfer-encoding"] == b"chunked"
        assert reply.body == b"hi"
        assert fake.forms == [fields]
        assert fake.headers[0][b"accept-language"] == b"zh-TW"
        assert fake.headers[0][b"authorization"] == b"Bearer its-own"
        (meter,) = kuwa.journal.closed
        assert (meter.model, meter.protocol, meter.status, meter.chunks) == ("x", "kuwa", 200, 2)


async def test_our_own_key_stays_here() -> None:
    def guard(exchange: Exchange, api: Api) -> None:
        exchange.principal = "somebody"

    fake = Executor(b"hi")
    keyring = Keyring(configured={"somebody": "ours"})
    async with listening(fake) as origin, kernel(guard=guard, keyring=keyring) as kuwa:
        await kuwa.register("x", f"{origin}/chat")
        await kuwa.schedule("x")
        fields = {"name": "x", "history_id": "1", "user_id": "7", "input": HELLO}
        await kuwa.post("chat/completions", b"Authorization: Bearer ours\r\nx-api-key: ours\r\n", **fields)
        assert not {b"authorization", b"x-api-key"} & set(fake.headers[0])


@pytest.mark.parametrize(
    ("fields", "word"),
    [
        ({}, "BUSY"),
        ({"name": "x"}, "BUSY"),
        ({"history_id": "1"}, "BUSY"),
        ({"name": "", "history_id": "1"}, "NOMACHINE"),
        ({"name": "x", "history_id": ""}, "READY"),
        ({"name": "x", "history_id": "a chat"}, "READY"),
    ],
)
async def test_schedules_of_all_kinds(fields: dict[str, str], word: str) -> None:
    async with kernel() as kuwa:
        await kuwa.register("x", "http://127.0.0.1:9/chat")
        assert await kuwa.word("worker/schedule", **fields) == word


async def test_the_user_may_be_nobody_and_ids_are_compared_as_text() -> None:
    async with listening(Executor(b"hi")) as origin, kernel() as kuwa:
        await kuwa.register("x", f"{origin}/chat")
        assert await kuwa.word("worker/schedule", name="x", history_id="1") == "READY"
        assert await kuwa.records("x") == [["READY", "1", None]]
        for wrong in ({"user_id": "7"}, {"history_id": "01"}, {"name": "y"}, {"history_id": ""}):
            fields = {"name": "x", "history_id": "1", "input": HELLO, **wrong}
            assert (await kuwa.post("chat/completions", **fields)).body == b""
        assert (await kuwa.post("chat/completions", name="x", history_id="1", input=HELLO)).body == b"hi"


async def test_forms_of_both_kinds() -> None:
    fake = Executor(b"hi")
    parts = "".join(
        f'--b\r\ncontent-disposition: form-data; name="{name}"\r\n\r\n{value}\r\n'
        for name, value in {"name": "x", "history_id": "1", "user_id": "7", "input": HELLO}.items()
    )
    picture = b'--b\r\ncontent-disposition: form-data; name="pic"; filename="a.png"\r\n\r\n\xff\x00\r\n'
    body = parts.encode() + picture + b"--b--\r\n"
    async with listening(fake) as origin, kernel() as kuwa:
        await kuwa.register("x", f"{origin}/chat")
        multipart = b"content-type: multipart/form-data; boundary=b\r\n"
        assert (await ask(kuwa.url, "POST", "/v1.0/worker/schedule", body, multipart)).text == "READY"
        reply = await ask(kuwa.url, "POST", "/v1.0/chat/completions", body, multipart)
        assert (reply.body, reply.headers[b"x-trunkcall-dropped"]) == (b"hi", b"pic")
        assert fake.forms == [{"name": "x", "history_id": "1", "user_id": "7", "input": HELLO}]
        assert fake.headers[0][b"content-type"] == b"application/x-www-form-urlencoded"
        broken = await ask(kuwa.url, "POST", "/v1.0/worker/schedule", b"--b\r\nx", multipart)
        assert (broken.status, b"multipart" in broken.body) == (400, True)


async def test_large_histories_and_characters_that_are_split() -> None:
    said = "長い話 " * 250_000
    pieces = "中文 🙂 é".encode()
    fake = Executor(*(pieces[i : i + 1] for i in range(len(pieces))))
    async with listening(fake) as origin, kernel() as kuwa:
        await kuwa.register("x", f"{origin}/chat")
        await kuwa.schedule("x")
        assert (await kuwa.complete("x", said)).body == pieces
        assert said in json.loads(fake.forms[0]["input"])[0]["msg"]


@pytest.mark.parametrize("path", ["worker/register", "worker/schedule", "chat/completions", "chat/abort"])
async def test_methods_as_the_old_framework_told_them(path: str) -> None:
    async with kernel() as kuwa:
        wrong = await ask(kuwa.url, "GET", f"/v1.0/{path}")
        options = await ask(kuwa.url, "OPTIONS", f"/v1.0/{path}")
        missing = await ask(kuwa.url, "GET", f"/v1.0/{path}x")
        assert [reply.status for reply in (wrong, options, missing)] == [405, 200, 404]
        assert {reply.headers[b"content-type"] for reply in (wrong, options, missing)} == {b"text/html; charset=utf-8"}
        assert wrong.headers[b"allow"] == options.headers[b"allow"] == b"OPTIONS, POST"
        assert b"<h1>" in wrong.body and b"<h1>" in missing.body and options.body == b""


async def test_reservations_that_nobody_uses_expire(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "SWEEP_SECONDS", 0.01)
    async with listening(Executor(b"hi")) as origin, kernel(seconds=0.05) as kuwa:
        await kuwa.register("x", f"{origin}/chat")
        assert await kuwa.schedule("x") == "READY"
        await until(lambda: not kuwa.dispatch.pools["x"].replicas[0].in_flight)
        assert (await kuwa.complete("x")).body == b""
        # The next one is used in time, however long that takes.
        kuwa.keep_unused(60.0)
        assert await kuwa.schedule("x", "2") == "READY"
        assert (await kuwa.complete("x", history_id="2")).body == b"hi"


async def test_one_stays_while_it_is_used(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "SWEEP_SECONDS", 0.01)
    fake = Executor(b"h", b"i")
    async with listening(fake) as origin, kernel() as kuwa:
        await kuwa.register("x", f"{origin}/chat")
        await kuwa.schedule("x")
        fake.hold.clear()
        stream = Stream(kuwa.url, name="x", history_id="1", input=HELLO)
        await until(lambda: fake.running)
        for reservation in kuwa.api._reservations._all:  # pyright: ignore[reportPrivateUsage]
            reservation.expires = 0.0
        await asyncio.sleep(0.15)
        assert await kuwa.schedule("x", "2") == "BUSY"
        fake.hold.set()
        assert await stream.end() == "hi"


async def test_a_hundred_schedules_get_four_executors() -> None:
    fakes = [Executor(*[b"x"] * 20) for _ in range(4)]
    async with AsyncExitStack() as stack:
        origins = [await stack.enter_async_context(listening(fake)) for fake in fakes]
        kuwa = await stack.enter_async_context(kernel())
        for origin in origins:
            await kuwa.register("x", f"{origin}/chat")
            await kuwa.register("y", f"{origin}/chat")
        turns = [("x" if number % 2 else "y", str(number)) for number in range(100)]
        words = await asyncio.gather(*(kuwa.schedule(name, number) for name, number in turns))
        assert sorted(words) == ["BUSY"] * 96 + ["READY"] * 4
        for fake in fakes:
            fake.hold.clear()
        won = [turn for turn, word in zip(turns, words, strict=True) if word == "READY"]
        answers = [asyncio.create_task(kuwa.complete(name, history_id=number)) for name, number in won]
        await until(lambda: [fake.running for fake in fakes] == [1] * 4)
        assert await kuwa.schedule("x", "more") == "BUSY"
        for fake in fakes:
            fake.hold.set()
        assert [(await answer).body for answer in answers] == [b"x" * 20] * 4


async def test_abort_of_one_among_many(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "CUT_SECONDS", 60.0)
    fakes = [Executor(*[b"x"] * 5) for _ in range(4)]
    async with AsyncExitStack() as stack:
        origins = [await stack.enter_async_context(listening(fake)) for fake in fakes]
        kuwa = await stack.enter_async_context(kernel())
        for origin in origins:
            await kuwa.register("x", f"{origin}/chat")
        for number in ("a chat", "-4", "3"):
            assert await kuwa.schedule("x", number) == "READY"
        assert await kuwa.schedule("x", "3", user_id="8") == "READY"
        for fake in fakes:
            fake.hold.clear()
        streams = {n: Stream(kuwa.url, name="x", history_id=n, input=HELLO) for n in ("a chat", "-4")}
        await until(lambda: sum(fake.running for fake in fakes) == 2)
        # A running one, and one that was not used yet; another user's and another chat stay.
        async with asyncio.timeout(30):
            assert await kuwa.abort("[-4, 3, 99]") == "Success"
        assert sum("aborted" in fake.seen for fake in fakes) == 1
        records = await kuwa.records("x")
        assert sorted(records, key=str) == [["BUSY", "a chat", "7"], ["READY", "3", "8"], IDLE, IDLE]
        assert await streams["-4"].end() == ""
        assert await kuwa.abort("['a chat']") == "Success"
        assert await streams["a chat"].end() == ""
        assert (await kuwa.complete("x", history_id="3")).body == b""


@pytest.mark.parametrize("ids", ["[1]", "1", "['1']", '["1", "x"]', "(1", "__import__('os')", BOMB, ""])
async def test_abort_answers_success_whatever_it_gets(ids: str) -> None:
    async with kernel() as kuwa:
        await kuwa.register("x", "http://127.0.0.1:9/chat")
        await kuwa.schedule("x", "1")
        assert await kuwa.word("chat/abort") == "Success"
        assert await kuwa.abort(ids) == "Success"
        meant = ids in ("[1]", "1", "['1']", '["1", "x"]')
        assert await kuwa.records("x") == [IDLE if meant else ["READY", "1", "7"]]


async def test_a_client_that_leaves_frees_the_slot() -> None:
    fake = Executor(*[b"x"] * 5)
    async with listening(fake) as origin, kernel() as kuwa:
        await kuwa.register("x", f"{origin}/chat")
        await kuwa.schedule("x")
        fake.hold.clear()
        stream = Stream(kuwa.url, name="x", history_id="1", input=HELLO)
        await until(lambda: fake.running)
        await stream.leave()
        await until(lambda: not kuwa.dispatch.pools["x"].replicas[0].in_flight)
        assert "aborted" in fake.seen
        assert await kuwa.schedule("x", "2") == "READY"


async def test_an_executor_that_breaks_off() -> None:
    fake = Executor(b"what came", None)
    async with listening(fake) as origin, kernel() as kuwa:
        await kuwa.register("x", f"{origin}/chat")
        await kuwa.schedule("x")
        reply = await kuwa.complete("x")
        assert reply.status == 200
        assert reply.text.startswith("what came<<<WARNING>>>") and reply.text.endswith("<<</WARNING>>>")
        assert await kuwa.records("x") == [IDLE]
        assert kuwa.journal.closed[0].error == "upstream_error"


async def test_an_executor_that_fails_or_has_gone() -> None:
    failing = Executor(status=500)
    async with listening(failing) as origin, kernel() as kuwa:
        await kuwa.register("bad", f"{origin}/chat")
        await kuwa.register("gone", "http://127.0.0.1:9/chat")
        for worker in kuwa.registry.workers("kuwa"):
            worker.since -= 100
        await kuwa.schedule("bad")
        reply = await kuwa.complete("bad")
        assert (reply.status, reply.headers[b"content-type"]) == (200, b"text/plain")
        assert reply.text.startswith("<<<WARNING>>>") and "what it says" in reply.text
        await kuwa.schedule("gone")
        reply = await kuwa.complete("gone")
        assert (reply.status, reply.headers[b"content-type"], reply.body) == (200, b"text/html; charset=utf-8", b"")
        # Dropped at once, as the old kernel did it.
        assert await kuwa.schedule("gone") == "NOMACHINE"
        assert set(await kuwa.state()) == {"bad"}


async def test_a_refused_connection_goes_to_another_executor() -> None:
    fake = Executor(b"hi")
    async with listening(fake) as origin, kernel() as kuwa:
        await kuwa.register("x", "http://127.0.0.1:9/chat")
        await kuwa.register("x", f"{origin}/chat")
        assert await kuwa.schedule("x") == "READY"
        fake.hold.clear()
        stream = Stream(kuwa.url, name="x", history_id="1", input=HELLO)
        await until(lambda: fake.running)
        assert await kuwa.records("x") == [IDLE, ["BUSY", -1, -1]]
        fake.hold.set()
        assert await stream.end() == "hi"
        assert await kuwa.records("x") == [IDLE, IDLE]


async def test_models_of_the_settings_are_called_by_their_names() -> None:
    async with kernel() as kuwa:
        script = Script("Hel", Notice("info", "slow today"), "lo")
        kuwa.own("mine", script, slots=2)
        assert await kuwa.state() == {"mine": [["test:0", *IDLE]]}
        assert [await kuwa.schedule("mine", number) for number in ("1", "2", "3")] == ["READY", "READY", "BUSY"]
        assert await kuwa.records("mine") == [["READY", "1", "7"], ["READY", "2", "7"]]
        reply = await kuwa.complete("mine", modelfile='[{"name":"parameter","args":"llm_temperature 0.5"}]')
        assert reply.body == b"Hel" + block("slow today") + b"lo"
        assert reply.headers[b"content-type"] == b"text/plain"
        assert script.asked[0].sampling.temperature == 0.5
        assert script.asked[0].session.conversation == "1"
        assert await kuwa.records("mine") == [["READY", "2", "7"], IDLE]


@pytest.mark.parametrize(
    ("fields", "body"),
    [
        ({"input": "[]"}, b"[No input message entered]"),
        ({}, b"[No input message entered]"),
        pytest.param({"input": "[" * 100_000}, b"<<<WARNING>>>input", id="bomb"),
        ({"input": '{"a": 1}'}, b"<<<WARNING>>>input"),
        ({"input": HELLO, "modelfile": "x"}, b"<<<WARNING>>>modelfile"),
    ],
)
async def test_bad_chats_are_told_what_is_wrong(fields: dict[str, str], body: bytes) -> None:
    async with kernel() as kuwa:
        kuwa.own("mine", Script("hi"))
        await kuwa.schedule("mine")
        reply = await kuwa.post("chat/completions", name="mine", history_id="1", user_id="7", **fields)
        assert (reply.status, reply.headers[b"content-type"]) == (200, b"text/plain")
        assert reply.body.startswith(body)
        assert await kuwa.records("mine") == [IDLE]


async def test_a_model_that_fails_in_the_middle() -> None:
    async with kernel() as kuwa:
        kuwa.own("mine", Script("what came", ServingError("upstream_error", "it broke")))
        await kuwa.schedule("mine")
        assert (await kuwa.complete("mine")).body == b"what came" + block("it broke")


async def test_schedule_waits_for_a_model_that_is_not_started(monkeypatch: pytest.MonkeyPatch) -> None:
    async with kernel() as kuwa:
        pool = kuwa.own("mine", None, state="off")
        scheduling = asyncio.create_task(kuwa.schedule("mine"))
        async with asyncio.timeout(20):
            await pool.wanted.wait()
        kuwa.dispatch.ready(pool.replicas[0], Script("hi"), 1)
        assert await scheduling == "READY"
        assert await kuwa.schedule("mine", "2") == "BUSY"
        assert (await kuwa.complete("mine")).body == b"hi"

        kuwa.dispatch.lost(pool.replicas[0], "starting", "killed")
        monkeypatch.setattr(module, "START_SECONDS", 0.05)
        assert await kuwa.schedule("mine") == "BUSY"
        assert len(pool.queue) == 0

        monkeypatch.setattr(module, "START_SECONDS", 3600.0)
        scheduling = asyncio.create_task(kuwa.schedule("mine"))
        await until(lambda: len(pool.queue))
        kuwa.dispatch.lost(pool.replicas[0], "failed", "no such file")
        assert await scheduling == "NOMACHINE"
        assert await kuwa.schedule("mine") == "NOMACHINE"
        assert await kuwa.state() == {"mine": []}


async def test_a_client_that_leaves_a_starting_model_waits_no_more() -> None:
    async with kernel() as kuwa:
        pool = kuwa.own("mine", None, state="starting")
        scheduling = asyncio.create_task(kuwa.schedule("mine"))
        await until(lambda: len(pool.queue))
        scheduling.cancel()
        await until(lambda: not len(pool.queue))
        kuwa.dispatch.ready(pool.replicas[0], Script("hi"), 1)
        assert pool.replicas[0].in_flight == 0


async def test_a_reservation_outlives_a_restart_of_its_engine() -> None:
    async with kernel() as kuwa:
        pool = kuwa.own("mine", Script("old"))
        assert await kuwa.schedule("mine") == "READY"
        kuwa.dispatch.lost(pool.replicas[0], "starting", "killed")
        kuwa.dispatch.ready(pool.replicas[0], Script("new"), 1)
        assert (await kuwa.complete("mine")).body == b"new"
        assert pool.replicas[0].in_flight == 0


async def test_schedules_of_a_model_that_others_use_up() -> None:
    async with kernel() as kuwa:
        kuwa.own("mine", Script("hi"))
        held = kuwa.dispatch.lease("mine")
        assert isinstance(held, Lease)
        assert await kuwa.schedule("mine") == "BUSY"
        assert await kuwa.records("mine") == [["BUSY", -1, -1]]
        held.release()
        kuwa.dispatch.drain()
        assert await kuwa.schedule("mine") == "BUSY"


async def test_json_is_openai() -> None:
    fake = Executor(b"h", b"i")
    async with listening(fake) as origin, kernel() as kuwa:
        await kuwa.register("x", f"{origin}/chat")

        async def chat(body: Any, headers: bytes = JSON) -> tuple[int, Any]:
            data = body if isinstance(body, bytes) else json.dumps(body).encode()
            reply = await ask(kuwa.url, "POST", "/v1.0/chat/completions", data, headers)
            return reply.status, json.loads(reply.body)

        asked = {"model": "x", "messages": [{"role": "user", "content": "hello"}]}
        for content_type in (JSON, b"Content-Type: Application/JSON; charset=utf-8\r\n"):
            status, answer = await chat(asked, content_type)
            assert (status, answer["choices"][0]["message"]["content"]) == (200, "hi")
        status, answer = await chat({**asked, "model": "nobody"})
        assert (status, answer["error"]["code"]) == (404, "model_not_found")
        for broken in (b"{", b"", b"[" * 100_000):
            status, answer = await chat(broken)
            assert status == 400 and answer["error"]["message"]
        streamed = await ask(
            kuwa.url, "POST", "/v1.0/chat/completions", json.dumps({**asked, "stream": True}).encode(), JSON
        )
        assert streamed.body.endswith(b"data: [DONE]\n\n")


@pytest.mark.parametrize("form", [b"", b"x", b"name=x", b"=&=&&", b"%zz=%", b"name=%ff&history_id=%ff"])
async def test_completions_of_other_bodies_are_empty(form: bytes) -> None:
    async with kernel() as kuwa:
        reply = await ask(kuwa.url, "POST", "/v1.0/chat/completions", form, FORM)
        assert (reply.status, reply.headers[b"content-type"], reply.body) == (200, b"text/html; charset=utf-8", b"")
