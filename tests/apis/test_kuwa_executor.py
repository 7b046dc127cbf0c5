"""The executor's API: its words and bodies, one call at a time, aborts, keys, failures and numbers."""

from __future__ import annotations

import asyncio
import json
import signal
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from apis.kuwa_executors import Executor, Kernel, Script, ask, executor, kernel_at, until
from running import Server

from trunkcall.backends import debug
from trunkcall.control.keyring import Keyring
from trunkcall.control.pool import Pool, Replica
from trunkcall.core.errors import ServingError
from trunkcall.core.events import Notice
from trunkcall.core.meter import Meter
from trunkcall.core.models import Health, ModelSettings, Source
from trunkcall.core.ports import Api
from trunkcall.core.requests import Generate, MessagesPrompt, TextPart, Wire
from trunkcall.net.exchange import Exchange
from trunkcall.protocols.forms import read_form

pytestmark = pytest.mark.anyio

STREAM = b"text/event-stream; charset=utf-8"
ERROR = "Error occurred. Please consult support."
HELLO = '[{"isbot":false,"msg":"hello"}]'
FORM = b"content-type: application/x-www-form-urlencoded\r\n"


def kuwa_debug(delay: float = 0.0) -> Any:
    options = {"unit": "character", "history": "all", "delay": delay}
    settings = ModelSettings(name="model", sources=(Source("debug"),), options=options)
    return debug.connect("", settings, "")


def said(request: Generate) -> list[tuple[str, str]]:
    assert isinstance(request.prompt, MessagesPrompt)
    return [
        (m.role, "".join(part.text for part in m.parts if isinstance(part, TextPart))) for m in request.prompt.messages
    ]


# What a client compares, as the real executors answer it.

EMPTY = (400, b'{"msg":"Received empty request!"}')
NOT_ALLOWED = (405, b'{"detail":"Method Not Allowed"}')
NOT_FOUND = (404, b'{"detail":"Not Found"}')


@pytest.mark.parametrize(
    ("method", "path", "headers", "body", "expected"),
    [
        ("POST", "/chat", b"", b"", EMPTY),
        ("POST", "/chat", FORM, b"", EMPTY),
        ("POST", "/chat", b"content-type: application/json\r\n", b'{"input":"[]"}', EMPTY),
        ("GET", "/chat", b"", b"", NOT_ALLOWED),
        ("PUT", "/chat", FORM, b"a=b", NOT_ALLOWED),
        ("POST", "/chat/abort", b"", b"", NOT_ALLOWED),
        ("POST", "/health", b"", b"", NOT_ALLOWED),
        ("DELETE", "/metrics", b"", b"", NOT_ALLOWED),
        ("GET", "/", b"", b"", NOT_FOUND),
        ("GET", "/nope", b"", b"", NOT_FOUND),
        ("GET", "/abort", b"", b"", NOT_FOUND),
        ("POST", "/chat/2", FORM, b"input=[]", NOT_FOUND),
        ("GET", "/chat/abort", b"", b"", (200, b'{"msg":"Aborted"}')),
        ("GET", "/health", b"", b"", (204, b"")),
        ("POST", "/chat", FORM, b"input=" + HELLO.encode(), (200, b"hello")),
    ],
)
async def test_words(method: str, path: str, headers: bytes, body: bytes, expected: tuple[int, bytes]) -> None:
    async with executor(kuwa_debug()) as running:
        reply = await ask(running.url, method, path, body, headers)
    assert (reply.status, reply.body) == expected
    if reply.status == 405:
        assert reply.headers[b"allow"] == (b"POST" if path == "/chat" else b"GET")
    if reply.status >= 400 or path.endswith("abort"):
        assert reply.headers[b"content-type"] == b"application/json"


async def test_one_chunk_for_each_character_and_nothing_else() -> None:
    async with executor(kuwa_debug()) as running:
        reader, writer = await asyncio.open_connection("127.0.0.1", int(running.url.rsplit(":", 1)[1]))
        body = "input=" + json.dumps([{"isbot": False, "msg": "hé👋"}], ensure_ascii=False)
        head = f"POST /chat HTTP/1.1\r\nHost: x\r\nConnection: close\r\n{FORM.decode()}"
        writer.write(f"{head}Content-Length: {len(body.encode())}\r\n\r\n{body}".encode())
        answer = await reader.read()
        writer.close()
    head_lines, _, rest = answer.partition(b"\r\n\r\n")
    assert b"content-type: " + STREAM in head_lines
    assert b"transfer-encoding: chunked" in head_lines
    assert rest == "1\r\nh\r\n2\r\né\r\n4\r\n👋\r\n0\r\n\r\n".encode()


async def test_each_piece_leaves_before_the_next_is_there() -> None:
    backend = Script("a", "b")
    backend.go.clear()
    async with executor(backend) as running:
        reader, writer = await asyncio.open_connection("127.0.0.1", int(running.url.rsplit(":", 1)[1]))
        body = f"input={HELLO}"
        writer.write(
            f"POST /chat HTTP/1.1\r\nHost: x\r\n{FORM.decode()}Content-Length: {len(body)}\r\n\r\n{body}".encode()
        )
        assert (await reader.readuntil(b"1\r\na\r\n")).startswith(b"HTTP/1.1 200")
        backend.go.set()
        assert await reader.readuntil(b"0\r\n\r\n") == b"1\r\nb\r\n0\r\n\r\n"
        writer.close()


MULTIPART = (
    b'--B\r\ncontent-disposition: form-data; name="input"\r\n\r\n%b\r\n'
    b'--B\r\ncontent-disposition: form-data; name="photo"; filename="a.png"\r\n\r\n\x89PNG\xff\r\n--B--\r\n'
)


async def test_a_multipart_form_is_read_and_its_file_reported() -> None:
    async with executor(kuwa_debug()) as running:
        body = MULTIPART % HELLO.encode()
        reply = await ask(running.url, "POST", "/chat", body, b"content-type: multipart/form-data; boundary=B\r\n")
        broken = await ask(running.url, "POST", "/chat", b"--B", b"content-type: multipart/form-data; boundary=B\r\n")
    assert (reply.status, reply.text) == (200, "hello")
    assert reply.headers[b"x-trunkcall-dropped"] == b"photo"
    assert broken.status == 400
    assert "multipart" in json.loads(broken.body)["detail"]


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ({"input": '[{"isbot":false,"msg":"héllo 世界"}]'}, "héllo 世界"),
        ({"input": '[{"isbot":false,"msg":"%s"}]' % ("x" * 1_000_000)}, "x" * 1_000_000),
        ({"input": '[{"isbot":false,"msg":"a"},{"isbot":true,"msg":null},{"isbot":false,"msg":"b"}]'}, "ab"),
        ({"input": "[]"}, "[No input message entered]"),
        ({"name": "x"}, "[No input message entered]"),
        ({"input": "[{"}, ERROR),
        ({"input": '[{"who":"me"}]'}, ERROR),
        ({"input": "[" * 100_000}, ERROR),
        ({"input": HELLO, "modelfile": "null"}, "hello"),
        ({"input": HELLO, "modelfile": ""}, ERROR),
        ({"input": HELLO, "modelfile": '[{"name":"before-prompt","args":"> "}]'}, "> hello"),
        ({"input": HELLO, "modelfile": '[{"name":"parameter","args":"llm_delay never"}]'}, ERROR),
    ],
    ids=range(12),
)
async def test_forms(fields: dict[str, str], expected: str) -> None:
    settings = ModelSettings(name="model", sources=(Source("debug"),), options={"history": "all"})
    async with executor(debug.connect("", settings, "")) as running:
        reply = await running.post(fields)
        failed = (await running.metrics())['executor_framework_failed_total{executor_name="model"}']
    assert (reply.status, reply.headers[b"content-type"]) == (200, STREAM)
    assert reply.text == expected
    assert failed == (expected == ERROR)


async def test_what_the_options_say_reaches_the_model() -> None:
    backend = Script("ok")
    given: dict[str, Any] = {"generation": {"temperature": 0.5, "max_tokens": 9}, "template": "T"}
    async with executor(backend, system_prompt="Be kind.", **given) as running:
        modelfile = '[{"name":"parameter","args":"llm_temperature 0.25"}]'
        reply = await running.say("one", "two", "three", modelfile=modelfile, headers=b"accept-language: de\r\n")
    assert reply.text == "ok"
    (asked,) = backend.asked
    assert said(asked) == [("system", "Be kind."), ("user", "one"), ("assistant", "two"), ("user", "three")]
    assert (asked.sampling.temperature, asked.sampling.max_tokens) == (0.25, 9)
    assert (asked.templating.chat_template, asked.session.language, asked.credential) == ("T", "de", None)


# One at a time, or as many as the limit says.


async def start(running: Executor, backend: Script, path: str = "/chat") -> asyncio.Task[Any]:
    before = len(backend.asked)
    task = asyncio.create_task(running.say("hello", path=path))
    await until(lambda: len(backend.asked) > before)
    return task


async def test_more_than_the_limit_is_told_that_we_are_busy() -> None:
    backend = Script("a", "b")
    backend.go.clear()
    async with executor(backend, limit=2) as running:
        calls = [await start(running, backend, path) for path in ("/chat", "/chat/2")]
        busy = await running.say("hello")
        state = await running.metrics()
        backend.go.set()
        answered = [(await call).text for call in calls]
        again = await running.say("hello")
        idle = await running.metrics()
    assert (busy.status, busy.body) == (429, b'{"msg":"Processing another request."}')
    assert busy.headers[b"content-type"] == b"application/json"
    assert [*answered, again.text] == ["ab"] * 3
    name = 'executor_framework_state{executor_framework_state="busy",executor_name="model"}'
    assert (state[name], idle[name]) == (1, 0)


async def test_a_caller_that_left_gives_its_slot_to_the_next() -> None:
    backend = Script("a", "b")
    backend.go.clear()
    async with executor(backend) as running:
        call = await start(running, backend)
        call.cancel()
        await asyncio.gather(call, return_exceptions=True)
        await until(lambda: not backend.running)
        following = await start(running, backend)
        backend.go.set()
        assert (await following).text == "ab"
        assert [meter.error for meter in running.journal.closed] == ["cancelled", ""]


async def test_an_abort_ends_the_call_of_its_own_path() -> None:
    backend = Script("a", "b")
    backend.go.clear()
    async with executor(backend, limit=3) as running:
        first, second, third = [await start(running, backend, path) for path in ("/chat", "/chat/2", "/chat/3")]
        aborted = await running.get("/chat/2/abort")
        assert (aborted.status, aborted.body) == (200, b'{"msg":"Aborted"}')
        assert backend.running == 2
        assert (await second).text == "a"
        next_call = await start(running, backend, "/chat/2")
        backend.go.set()
        assert [(await call).text for call in (first, third, next_call)] == ["ab"] * 3
        assert running.journal.closed[0].error == "cancelled"


async def test_an_abort_ends_a_call_that_waits_for_the_engine() -> None:
    backend = Script("a", "b")
    backend.go.clear()
    async with executor(backend, slots=1, limit=2) as running:
        first = await start(running, backend)
        waiting = asyncio.create_task(running.say("hello", path="/chat/2"))
        await until(lambda: len(running.dispatch.pools["model"].queue))
        assert (await running.get("/chat/2/abort")).status == 200
        assert (await waiting).text == ""
        assert not len(running.dispatch.pools["model"].queue)
        queued = asyncio.create_task(running.say("hello", path="/chat/2"))
        await until(lambda: len(running.dispatch.pools["model"].queue))
        backend.go.set()
        assert [(await first).text, (await queued).text] == ["ab", "ab"]


# Keys.

NO_KEY = "[Please enter your OpenAI API Token in the user settings on the website in order to use the model.]"
TOKENS = ("openai_token", "third_party_token")


@pytest.mark.parametrize(
    ("options", "fields", "expected"),
    [
        ({"needs_key": True}, {"openai_token": "mine"}, "mine"),
        ({"needs_key": True}, {"openai_token": "", "third_party_token": "other"}, "other"),
        ({"needs_key": True, "has_key": True}, {"openai_token": "mine"}, "mine"),
        ({"needs_key": True, "has_key": True}, {}, None),
        ({"needs_key": True, "has_key": True, "own_key_wins": True}, {"openai_token": "mine"}, None),
        ({"needs_key": True, "own_key_wins": True}, {"openai_token": "mine"}, "mine"),
        ({"needs_key": True}, {"google_token": "no"}, NO_KEY),
        ({"needs_key": True, "missing_key": "[words]"}, {}, "[words]"),
        ({"tokens": ()}, {"openai_token": "mine"}, None),
    ],
)
async def test_whose_key_goes_upstream(options: dict[str, Any], fields: dict[str, str], expected: str | None) -> None:
    backend = Script("ok")
    async with executor(backend, **{"tokens": TOKENS, **options}) as running:
        reply = await running.say("hello", **fields)
    assert (reply.status, reply.headers[b"content-type"]) == (200, STREAM)
    if reply.text != "ok":
        assert (reply.text, backend.asked) == (expected, [])
    else:
        credential = backend.asked[0].credential
        assert (credential.reveal() if credential else None) == expected


# Failures are text.


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (ServingError("too_long", "x"), "[Sorry, The input message is too long!]"),
        (
            ServingError("unauthenticated", "x"),
            "[Invalid OpenAI API Token, please check if the OpenAI API Token is correct.]",
        ),
        (
            ServingError("upstream_error", "x", upstream=(401, b"{}")),
            "[Invalid OpenAI API Token, please check if the OpenAI API Token is correct.]",
        ),
        (ServingError("upstream_error", "x", upstream=(500, b"{}")), ERROR),
        (ServingError("rate_limited", "x"), ERROR),
        (ServingError("bad_request", "x"), ERROR),
    ],
)
async def test_failures(error: ServingError, expected: str, caplog: pytest.LogCaptureFixture) -> None:
    async with executor(Script(refusal=error)) as early, executor(Script("so far ", error)) as late:
        replies = [await running.say("hello") for running in (early, late)]
        failed = [(await e.metrics())['executor_framework_failed_total{executor_name="model"}'] for e in (early, late)]
    assert [(r.status, r.headers[b"content-type"]) for r in replies] == [(200, STREAM)] * 2
    assert [r.text for r in replies] == [expected, f"so far {expected}"]
    assert failed == [expected == ERROR] * 2
    told = [r.headers[b"x-trunkcall-request-id"].decode() in caplog.text for r in replies]
    assert told == [expected == ERROR] * 2


async def test_the_model_that_stood_in_is_named() -> None:
    async with executor(Script(ServingError("unreachable", "gone")), model="model") as running:
        pools = running.dispatch.pools
        source = Source("test")
        replica = Replica("other/0", source, None)
        replica.backend, replica.state = Script("mine"), "ready"
        own = ModelSettings(name="model", sources=(source,), fallback=("other",))
        pools["model"] = Pool(own, pools["model"].replicas)
        pools["other"] = Pool(ModelSettings(name="other", sources=(source,)), [replica])
        reply = await running.post({"input": HELLO})
    assert (reply.text, reply.headers[b"x-trunkcall-model"]) == ("mine", b"other")


async def test_a_notice_is_a_warning_block() -> None:
    async with executor(Script("a", Notice("warning", "careful"), "b")) as running:
        assert (await running.say("hello")).text == "a<<<WARNING>>>careful<<</WARNING>>>b"


# Numbers.


async def test_numbers_have_the_names_of_the_dashboards() -> None:
    async with executor(kuwa_debug(), codes=("first", "second")) as running:
        await running.say("héllo 世界")
        page = await running.get("/metrics")
        found = await running.metrics()
    assert page.headers[b"content-type"].startswith(b"text/plain; version=0.0.4")
    label = '{executor_name="first"}'
    assert found[f"executor_framework_failed_total{label}"] == 0
    assert found[f"executor_framework_output_length_charters_sum{label}"] == 8
    assert found['executor_framework_output_length_charters_bucket{executor_name="first",le="10.0"}'] == 1
    assert found[f"executor_framework_process_time_seconds_count{label}"] == 1
    assert found[f"executor_framework_output_throughput_charters_per_second_count{label}"] == 1
    assert found['executor_framework_state{executor_framework_state="idle",executor_name="first"}'] == 1
    assert {"process_cpu_seconds_total", "process_resident_memory_bytes"} <= set(found)
    assert any(name.startswith("python_info{") for name in found)
    assert 'python_gc_collections_total{generation="0"}' in found


async def test_the_description_names_the_routes() -> None:
    async with executor(kuwa_debug(), path="/ask") as running:
        found = json.loads((await running.get("/openapi.json")).body)
    assert found["openapi"].startswith("3.")
    assert list(found["paths"]) == ["/ask", "/ask/abort", "/health", "/metrics", "/shutdown"]


# Custom executors: their child speaks Kuwa, so everything passes.


class Child:
    """A replica that passes Kuwa's bytes through, and notes them."""

    protocols = frozenset({"kuwa"})

    def __init__(self, *pieces: bytes) -> None:
        self.pieces = pieces
        self.wires: list[Wire] = []

    async def health(self) -> Health:
        return Health(True)

    async def aclose(self) -> None:
        pass

    @asynccontextmanager
    async def forward(self, wire: Wire, meter: Meter) -> AsyncGenerator[Any]:
        self.wires.append(wire)
        yield Passed(self.pieces)

    def open(self, request: Generate, meter: Meter) -> Any:
        raise AssertionError("it forwards")


class Passed:
    status = 200
    headers = ((b"content-type", b"text/plain"),)
    streamed = True

    def __init__(self, pieces: tuple[bytes, ...]) -> None:
        self._pieces = pieces

    async def __aiter__(self) -> AsyncGenerator[bytes]:
        for piece in self._pieces:
            yield piece

    async def whole(self) -> bytes:
        return b"".join(self._pieces)


async def test_a_custom_executor_gets_all_fields_and_headers_but_not_our_key() -> None:
    def knows(exchange: Exchange, api: Api) -> None:
        exchange.principal = "us" if exchange.header(b"authorization") else ""

    child = Child("h\u00e9".encode()[:2], "h\u00e9".encode()[2:])
    async with executor(child, guard=knows, keyring=Keyring(configured={"us": "ours"})) as running:
        for headers in (b"x-mine: 1\r\naccept-language: zh-TW\r\n", b"authorization: Bearer ours\r\n"):
            reply = await running.say("hello", headers=headers, anything="else", user_token="t")
            assert (reply.text, reply.headers[b"content-type"]) == ("hé", STREAM)
        lengths = (await running.metrics())['executor_framework_output_length_charters_sum{executor_name="model"}']
    assert lengths == 4
    first, second = child.wires
    fields = read_form(dict(first.headers)[b"content-type"], first.body).first()
    assert fields == {"input": HELLO, "anything": "else", "user_token": "t"}
    assert (dict(first.headers)[b"x-mine"], dict(first.headers)[b"accept-language"]) == (b"1", b"zh-TW")
    assert b"authorization" not in dict(second.headers)


async def test_a_custom_executor_says_its_own_path_and_codes() -> None:
    async with executor(Child(b"x", ERROR.encode()), about={"path": "/mine/", "codes": ["c1", "c2"]}) as running:
        assert (await running.say("hello")).status == 404
        assert (await running.say("hello", path="/mine")).text == f"x{ERROR}"
        assert (await running.get("/mine/abort")).status == 200
        assert (await running.metrics())['executor_framework_failed_total{executor_name="c1"}'] == 1


# Health, options, the end.


@pytest.mark.parametrize(
    ("state", "status"), [("ready", 204), ("off", 204), ("starting", 503), ("failed", 503), ("draining", 503)]
)
async def test_health_is_the_model_s(state: Any, status: int) -> None:
    async with executor(kuwa_debug()) as running:
        running.replica.state = state
        assert (await running.get("/health")).status == status


@pytest.mark.parametrize("path", ["chat", "/chat/", ""])
async def test_a_path_that_is_none(path: str) -> None:
    with pytest.raises(ServingError, match="path"):
        async with executor(kuwa_debug(), path=path):
            pass


async def test_which_model_must_be_clear() -> None:
    async with executor(kuwa_debug()) as running:
        running.dispatch.pools["other"] = running.dispatch.pools["model"]
        reply = await running.get("/health")
        assert (reply.status, "option model" in reply.text) == (404, True)
    async with executor(kuwa_debug(), model="model") as running:
        running.dispatch.pools["other"] = running.dispatch.pools["model"]
        assert (await running.say("hello")).text == "hello"


async def test_only_who_may_register_can_end_it() -> None:
    def refuse(exchange: Any) -> None:
        raise ServingError("forbidden", "not from there")

    async with executor(kuwa_debug(), allow=refuse) as running:
        reply = await running.get("/shutdown")
    assert (reply.status, reply.body) == (403, b'{"detail":"not from there"}')


async def test_a_page_of_another_site_neither_ends_it_nor_aborts() -> None:
    async with executor(kuwa_debug()) as running:
        for path in ("/shutdown", "/chat/abort"):
            assert (await ask(running.url, "GET", path, headers=b"sec-fetch-site: cross-site\r\n")).status == 403
        assert (await running.say("hello")).text == "hello"


SETTINGS = """\
listen:
  - 127.0.0.1:0
  - port: {port}
    apis: [kuwa_executor]
    options:
      kuwa_executor: {{model: echo, codes: [one, two], kernel: "{kernel}", limit: 2}}
models:
  echo: {{source: debug, options: {{unit: character, history: all}}}}
"""


@pytest.mark.timeout(180)
@pytest.mark.parametrize("how", ["shutdown", "SIGTERM", "SIGINT"])
async def test_a_whole_server_registers_and_leaves(how: str, tmp_path: Path, free_port: int) -> None:
    kernel = Kernel()
    async with kernel_at(kernel) as listening:
        (tmp_path / "trunkcall.yaml").write_text(SETTINGS.format(port=free_port, kernel=listening.url))
        server = Server("--config", str(tmp_path / "trunkcall.yaml"), home=tmp_path / "home")
        try:
            await asyncio.to_thread(server.wait_ready)
            await until(lambda: len(kernel.known) == 4)
            url = f"http://127.0.0.1:{free_port}"
            assert (await ask(url, "POST", "/chat/2", b"input=" + HELLO.encode(), FORM)).body == b"hello"
            if how == "shutdown":
                reply = await ask(url, "GET", "/shutdown")
                assert (reply.status, reply.body) == (200, b'{"msg":"Shutting down..."}')
                await until(lambda: server.process.poll() is not None, 40)
                assert server.process.returncode == 0
            else:
                assert await asyncio.to_thread(server.stop, getattr(signal, how)) == 0
        finally:
            await asyncio.to_thread(server.stop)
    registered = [f"register {code} {url}/chat{place}" for code in ("one", "two") for place in ("", "/2")]
    # Where it lived for long it has registered more than once.
    assert kernel.seen[:4] == registered and set(kernel.seen[4:-2]) <= set(registered)
    assert kernel.seen[-2:] == [f"unregister one {url}/chat", f"unregister two {url}/chat"]
    assert kernel.known == []
    assert [f"Unregistered {code} from kernel." in server.output for code in ("one", "two")] == [True, True]
