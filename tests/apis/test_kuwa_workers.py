"""The kernel's routes for executors and administrators: register, unregister, and the records that can be written."""

from __future__ import annotations

import asyncio
import html
import json
import re
from typing import Any

import pytest
from apis.kuwa_executors import until
from apis.kuwa_kernels import FORM, IDLE, Executor, Kernel, Script, Stream, ask, kernel
from backends.kuwa_peers import listening
from hypothesis import example, given
from hypothesis import strategies as st

from trunkcall.apis import kuwa_kernel
from trunkcall.apis.kuwa_debug_page import error_page, page
from trunkcall.apis.kuwa_records import Record, changes, read_state
from trunkcall.control.own_page import is_own_page
from trunkcall.core.errors import ServingError
from trunkcall.core.ports import Exchange, Response, Route

pytestmark = pytest.mark.anyio

NOWHERE = "http://127.0.0.1:9/chat"
HELLO = '[{"isbot":false,"msg":"hello"}]'


@pytest.mark.parametrize(
    "fields",
    [
        {},
        {"name": "x"},
        {"endpoint": NOWHERE},
        {"name": "", "endpoint": NOWHERE},
        {"name": "x", "endpoint": ""},
        {"name": "x", "endpoint": "foo"},
        {"name": "x", "endpoint": "foo/chat"},
        {"name": "x", "endpoint": "http:///chat"},
        {"name": "x", "endpoint": "ftp://127.0.0.1/chat"},
        {"name": "x", "endpoint": "http://[::1/chat"},
        {"name": "x", "endpoint": "http://127.0.0.1:9/"},
        {"name": "x", "endpoint": "http://127.0.0.1:99999/chat"},
        {"name": "x", "endpoint": "http://user:secret@127.0.0.1:9/chat"},
        {"name": "mine", "endpoint": NOWHERE},
    ],
)
async def test_registrations_that_cannot_be_fail(fields: dict[str, str]) -> None:
    async with kernel() as kuwa:
        kuwa.own("mine", Script("hi"))
        for path in ("worker/register", "worker/unregister"):
            assert await kuwa.word(path, **fields) == "Failed"
        assert set(await kuwa.state()) == {"mine"}


async def test_a_new_endpoint_is_not_contacted_and_a_dead_one_is_replaced() -> None:
    fake = Executor(b"hi")
    async with kernel() as kuwa:
        async with listening(fake) as origin:
            endpoint = f"{origin}/chat"
            assert await kuwa.register("x", endpoint) == "Success"
            assert await kuwa.register("x", endpoint + "/") == "Failed"
            assert await kuwa.register("y", endpoint) == "Success"
        assert await kuwa.register("x", endpoint) == "Success"
        # It has only just come, so it is the same one, with its next name.
        assert set(await kuwa.state()) == {"x", "y"}
        worker = kuwa.registry.find("kuwa", endpoint)
        assert worker is not None
        worker.since -= 100
        assert await kuwa.register("y", endpoint) == "Success"
        assert set(await kuwa.state()) == {"y"}


async def test_unregistering_goes_by_host_and_port() -> None:
    async with kernel() as kuwa:
        for path in ("chat", "chat/2", "chat/3"):
            await kuwa.register("x", f"http://127.0.0.1:9/{path}")
        await kuwa.register("x", "http://127.0.0.1:8/chat")
        await kuwa.register("y", NOWHERE)
        leave = {"name": "x", "endpoint": "http://127.0.0.1:9"}
        assert await kuwa.word("worker/unregister", **leave) == "Success"
        assert await kuwa.word("worker/unregister", **leave) == "Failed"
        assert await kuwa.word("worker/unregister", name="nobody", endpoint=NOWHERE) == "Failed"
        assert await kuwa.state() == {"x": [["http://127.0.0.1:8/chat", *IDLE]], "y": [[NOWHERE, *IDLE]]}
        assert await kuwa.word("worker/unregister", name="x", endpoint="http://127.0.0.1:8/other") == "Success"
        assert set(await kuwa.state()) == {"y"}


async def test_one_that_leaves_lets_its_answer_end() -> None:
    fake = Executor(b"h", b"i")
    async with listening(fake) as origin, kernel() as kuwa:
        endpoint = f"{origin}/chat"
        await kuwa.register("x", endpoint)
        await kuwa.schedule("x")
        fake.hold.clear()
        stream = Stream(kuwa.url, name="x", history_id="1", input=HELLO)
        await until(lambda: fake.running)
        assert await kuwa.word("worker/unregister", name="x", endpoint=endpoint) == "Success"
        assert await kuwa.register("x", endpoint) == "Success"
        assert await kuwa.records("x") == [["BUSY", "1", "7"]]
        assert await kuwa.schedule("x", "2") == "BUSY"
        fake.hold.set()
        assert await stream.end() == "hi"
        assert await kuwa.schedule("x", "2") == "READY"


def written(body: bytes) -> tuple[Any, str]:
    """The records in the textarea, and what the form says was seen."""
    text = body.decode()
    found = re.search(r'<textarea name="data" rows="4" cols="50">(.*?)</textarea>', text, re.DOTALL)
    seen = re.search(r'<input type="hidden" name="seen" value="(.*?)">', text)
    assert found and seen
    return json.loads(found[1]), html.unescape(seen[1])


async def test_the_page_and_its_form() -> None:
    async with listening(Executor(b"hi")) as origin, kernel() as kuwa:
        kuwa.own("mine", Script("hi"))
        await kuwa.register("x", f"{origin}/chat")
        shown = await ask(kuwa.url, "GET", "/v1.0/worker/debug")
        assert (shown.status, shown.headers[b"content-type"]) == (200, b"text/html; charset=utf-8")
        records, seen = written(shown.body)
        assert records == json.loads(seen) == await kuwa.state()
        head = await ask(kuwa.url, "HEAD", "/v1.0/worker/debug")
        options = await ask(kuwa.url, "OPTIONS", "/v1.0/worker/debug")
        assert (head.status, head.body) == (200, b"")
        assert options.headers[b"allow"] == b"GET, HEAD, OPTIONS, POST"
        answer = await kuwa.write(records, seen=seen)
        assert (answer.status, answer.headers[b"location"]) == (302, b"/v1.0/worker/debug")
        assert await kuwa.state() == records


@example({"</textarea><script>&amp;": [Record('"><script>&quot;')]})
@given(
    st.dictionaries(st.text(), st.lists(st.builds(Record, st.text(), st.sampled_from(["READY", "BUSY"]), st.text())))
)
def test_names_are_json_and_never_markup(state: dict[str, list[Record]]) -> None:
    made = page(state)
    records, seen = written(made.body)
    assert read_state(json.dumps(records), "data") == read_state(seen, "seen") == state
    assert made.body.count(b"<script") == 1


def test_errors_are_no_markup_either() -> None:
    made = error_page(499, "<script>")
    assert made.status == 499 and b"<script>" not in made.body


async def test_written_records_replace_those_of_their_names() -> None:
    async with listening(Executor()) as one, listening(Executor()) as two, kernel() as kuwa:
        sick = Executor()
        sick.health = 500
        async with listening(sick) as bad:
            a, b, c = f"{one}/chat", f"{two}/chat", f"{bad}/chat"
            for name, endpoint in (("x", a), ("x", NOWHERE), ("gone", a), ("other", NOWHERE)):
                await kuwa.register(name, endpoint)
            wanted = {
                "x": [[a, "READY", -1, -1], [a, "READY", -1, -1], [b, "BUSY", "1", 7], [c, *IDLE], ["foo", *IDLE]],
                "gone": [],
                "": [[a, *IDLE]],
                "new/name": [[a, *IDLE], [kuwa.url, *IDLE]],
            }
            assert (await kuwa.write(wanted)).status == 302
        assert await kuwa.state() == {
            "x": [[a, *IDLE], [b, "BUSY", "1", 7]],
            "other": [[NOWHERE, *IDLE]],
            "new/name": [[a, *IDLE]],
        }
        assert await kuwa.schedule("x") == "READY"
        assert await kuwa.schedule("x") == "BUSY"


async def test_a_stuck_record_is_freed_and_one_can_be_taken_by_hand(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(kuwa_kernel, "SWEEP_SECONDS", 0.01)
    fake = Executor(*[b"x"] * 5)
    async with listening(fake) as origin, kernel() as kuwa:
        endpoint = f"{origin}/chat"
        await kuwa.register("x", endpoint)
        await kuwa.schedule("x")
        fake.hold.clear()
        stream = Stream(kuwa.url, name="x", history_id="1", input=HELLO)
        await until(lambda: fake.running)
        assert await kuwa.records("x") == [["BUSY", "1", "7"]]
        await kuwa.write({"x": [[endpoint, *IDLE]]})
        assert await stream.end() == ""
        assert "aborted" in fake.seen
        fake.hold.set()
        # Reserved by hand for a chat: it may come late.
        kuwa.keep_unused(0.01)
        await kuwa.write({"x": [[endpoint, "READY", "2", "7"]]})
        await asyncio.sleep(0.1)
        assert await kuwa.schedule("x", "3") == "BUSY"
        assert (await kuwa.complete("x", history_id="2")).body == b"x" * 5
        # Taken out of service by hand: nobody gets it.
        await kuwa.write({"x": [[endpoint, "BUSY", -1, -1]]})
        assert await kuwa.records("x") == [["BUSY", -1, -1]]
        assert await kuwa.schedule("x", "3") == "BUSY"
        await kuwa.write({"x": [[endpoint, *IDLE]]})
        assert await kuwa.schedule("x", "3") == "READY"


async def test_what_has_changed_since_the_page_was_shown_is_left_alone() -> None:
    async with listening(Executor(b"hi")) as one, listening(Executor(b"hi")) as two, kernel() as kuwa:
        a, b = f"{one}/chat", f"{two}/chat"
        await kuwa.register("x", a)
        await kuwa.schedule("x")
        shown, seen = written((await ask(kuwa.url, "GET", "/v1.0/worker/debug")).body)
        assert (await kuwa.complete("x")).body == b"hi"
        await kuwa.register("x", b)
        await kuwa.write(shown, seen=seen)
        # Without what was seen this would have reserved one again, and dropped the other.
        assert await kuwa.state() == {"x": [[a, *IDLE], [b, *IDLE]]}
        await kuwa.write(shown)
        assert await kuwa.state() == {"x": [[a, "READY", "1", "7"]]}


async def test_records_of_the_settings_models_are_freed_and_taken_only() -> None:
    async with listening(Executor()) as origin, kernel() as kuwa:
        kuwa.own("mine", Script("hi"), slots=2, replicas=2)
        for number in ("1", "2"):
            assert await kuwa.schedule("mine", number) == "READY"
        first, second = ["test:0", "READY", "1", "7"], ["test:1", "READY", "2", "7"]
        free = [["test:0", *IDLE], ["test:1", *IDLE]]
        assert (await kuwa.state())["mine"] == [first, free[0], second, free[1]]
        await kuwa.write({"mine": [first, ["test:1", "BUSY", "by hand", None], [f"{origin}/chat", *IDLE]]})
        assert (await kuwa.state())["mine"] == [first, free[0], ["test:1", "BUSY", "by hand", None], free[1]]
        await kuwa.write({"mine": []})
        assert (await kuwa.state())["mine"] == free
        # More than there is.
        await kuwa.write({"mine": [["test:0", "BUSY", str(number), None] for number in range(5)]})
        assert [record[1] for record in (await kuwa.state())["mine"]] == ["BUSY", "BUSY", "READY"]


BAD_RECORDS = {
    "nothing": "",
    "no JSON": "x",
    "a list": "[]",
    "no records": '{"x": 1}',
    "no record": '{"x": [["a"], 1]}',
    "odd state": '{"x": [["a", "ODD", -1, -1]]}',
    "odd id": '{"x": [["a", "READY", 1.5, -1]]}',
    "too long": '{"x": [["a", "READY", -1, -1, 0]]}',
    "bomb": "[" * 100_000,
    "bomb in a record": '{"x":' * 100_000,
}


@pytest.mark.parametrize("data", BAD_RECORDS.values(), ids=BAD_RECORDS)
async def test_bad_records_are_told_what_is_wrong(data: str) -> None:
    async with kernel() as kuwa:
        await kuwa.register("x", NOWHERE)
        for fields in ({"data": data}, {"data": "{}", "seen": data}):
            answer = await kuwa.post("worker/debug", **fields)
            assert (answer.status, answer.headers[b"content-type"]) == (400, b"text/html; charset=utf-8")
            assert next(reversed(fields)).encode() in answer.body
        assert set(await kuwa.state()) == {"x"}


def test_changes_count_equal_records() -> None:
    a, b = Record("a"), Record("b", "BUSY")
    assert changes([a, a, b], [a, b, b]) == ({a: 1}, {b: 1})


def updated(old: list[Any], new: list[Any], name: str = "x", new_name: str = "x") -> dict[str, Any]:
    keys = ("access_code", "endpoint", "status", "history_id", "user_id")
    before = {f"original_{key}": value for key, value in zip(keys, [name, *old], strict=True)}
    return {**before, **dict(zip(keys, [new_name, *new], strict=True))}


async def test_update_of_one_record() -> None:
    async with kernel() as kuwa:
        kuwa.own("mine", Script("hi"))
        await kuwa.register("x", NOWHERE)
        idle, taken = [NOWHERE, *IDLE], [NOWHERE, "BUSY", "1", "7"]
        moved = "http://127.0.0.1:8/chat"
        done = (200, {"message": "Record updated successfully", "status": "success"})
        missing = (404, {"message": "Record not found", "status": "error"})
        assert await kuwa.command("update", updated(taken, idle)) == missing
        assert await kuwa.command("update", updated(idle, taken)) == done
        assert await kuwa.state() == {"mine": [["test:0", *IDLE]], "x": [taken]}
        assert await kuwa.command("update", updated(idle, taken)) == missing
        assert await kuwa.command("update", updated(taken, [moved, *IDLE], new_name="y")) == done
        assert await kuwa.state() == {"mine": [["test:0", *IDLE]], "y": [[moved, *IDLE]]}
        for new, new_name in (([moved, *IDLE], "mine"), ([kuwa.url, *IDLE], "y"), ([moved, *IDLE], "")):
            status, told = await kuwa.command("update", updated([moved, *IDLE], new, "y", new_name))
            assert status in (400, 409) and told["status"] == "error"
        for new, new_name in (([moved, *IDLE], "mine"), ([moved, *IDLE], "y"), (["test:0", *IDLE], "z")):
            status, told = await kuwa.command("update", updated(["test:0", *IDLE], new, "mine", new_name))
            assert (status, told["status"]) == (409, "error")
        assert (
            await kuwa.command("update", updated(["test:0", *IDLE], ["test:0", "BUSY", -1, -1], "mine", "mine")) == done
        )
        assert await kuwa.schedule("mine") == "BUSY"


@pytest.mark.parametrize(
    ("body", "status", "message"),
    [
        ({}, 500, "'original_access_code'"),
        ({"original_access_code": "x"}, 500, "'original_endpoint'"),
        (b"", 400, "cannot be read"),
        (b"[]", 400, "cannot be read"),
        pytest.param(b"[" * 100_000, 400, "cannot be read", id="bomb"),
        (updated([NOWHERE, "ODD", -1, -1], [NOWHERE, *IDLE]), 400, "original_status"),
    ],
)
async def test_bad_updates(body: Any, status: int, message: str) -> None:
    async with kernel() as kuwa:
        found, told = await kuwa.command("update", body)
        assert (found, told["status"]) == (status, "error")
        assert message in told["message"]


async def test_shutdown_asks_the_executor() -> None:
    fake = Executor()
    async with listening(fake) as origin, kernel() as kuwa:
        endpoint = f"{origin}/chat"
        await kuwa.register("x", endpoint)
        command = {"access_code": "x", "endpoint": endpoint, "status": "READY", "history_id": -1, "user_id": -1}
        # This one has no such route, as released executors have none.
        status, told = await kuwa.command("shutdown", command)
        assert (status, told["status"]) == (502, "error") and "404" in told["message"]
        missing = (404, {"message": "Record not found", "status": "error"})
        assert await kuwa.command("shutdown", {**command, "access_code": "y"}) == missing
        assert await kuwa.command("shutdown", {**command, "status": "BUSY"}) == missing

        async def end(exchange: Exchange) -> None:
            await exchange.respond(Response(200, b"{}"))

        ended = Executor()
        ended.routes = lambda: [Route("GET", "/shutdown", end)]  # type: ignore[method-assign]
        async with listening(ended) as other:
            await kuwa.register("z", f"{other}/chat")
            asked = {**command, "access_code": "z", "endpoint": f"{other}/chat"}
            assert await kuwa.command("shutdown", asked) == (
                200,
                {"message": "Shutdown triggered successfully", "status": "success"},
            )


async def test_who_may_not_register_changes_nothing(caplog: pytest.LogCaptureFixture) -> None:
    def refuse(exchange: Exchange) -> None:
        raise ServingError("forbidden", "not from there")

    async with kernel(allow=refuse) as kuwa:
        await changes_nothing(kuwa, b"")
        assert caplog.text.count("not from there") == 2


@pytest.mark.parametrize(
    "headers", [b"origin: http://evil\r\n", b"origin: null\r\n", b"sec-fetch-site: cross-site\r\n"]
)
async def test_pages_of_other_sites_change_nothing(headers: bytes) -> None:
    async with kernel() as kuwa:
        await changes_nothing(kuwa, headers)


async def changes_nothing(kuwa: Kernel, headers: bytes) -> None:
    kuwa.own("mine", Script("hi"))
    for path in ("worker/register", "worker/unregister"):
        assert (await kuwa.post(path, headers, name="x", endpoint=NOWHERE)).text == "Failed"
    for path in ("worker/debug", "worker/update", "worker/shutdown"):
        answer = await kuwa.post(path, headers, data='{"mine": []}')
        assert (answer.status, answer.headers[b"content-type"]) == (403, b"text/html; charset=utf-8")
    assert await kuwa.schedule("mine") == "READY"


@pytest.mark.parametrize(
    ("fetch_site", "origin", "own"),
    [
        (None, None, True),
        (None, b"http://here:9000", True),
        (None, b"http://elsewhere:9000", False),
        (None, b"null", False),
        (b"same-origin", b"https://proxy", True),
        (b"none", None, True),
        (b"same-site", b"http://here:9000", False),
        (b"cross-site", None, False),
    ],
)
def test_whose_page_it_is(fetch_site: bytes | None, origin: bytes | None, own: bool) -> None:
    assert is_own_page(fetch_site, origin, b"here:9000") is own


async def test_a_form_of_another_kind_is_no_registration() -> None:
    async with kernel() as kuwa:
        body = json.dumps({"name": "x", "endpoint": NOWHERE}).encode()
        reply = await ask(kuwa.url, "POST", "/v1.0/worker/register", body, b"content-type: application/json\r\n")
        assert (reply.status, reply.text) == (200, "Failed")
        many = b"&".join([b"a=b"] * 2000)
        assert (await ask(kuwa.url, "POST", "/v1.0/worker/register", many, FORM)).status == 400
