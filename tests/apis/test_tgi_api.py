"""TGI's routes before scripted replicas: shapes, headers, limits, keys, failures before and after the first token."""

from __future__ import annotations

import asyncio
import base64
import json
from types import SimpleNamespace
from typing import Any, Literal, cast

import msgspec
import pytest
from apis.kuwa_executors import Journal, until
from apis.tgi_listeners import JSON, Speaker, events_of, services_of, tgi

from trunkcall import plugins
from trunkcall.apis import tgi_pace
from trunkcall.apis.tgi import mounted
from trunkcall.app import MAIN_APIS
from trunkcall.catalogue import NewModel
from trunkcall.control.dispatch import Dispatch
from trunkcall.control.services import Operations
from trunkcall.core.errors import Kind, ServingError
from trunkcall.core.ports import Api
from trunkcall.core.requests import Format, TokenPrompt
from trunkcall.net.client import Client
from trunkcall.net.listeners import RouteTable

pytestmark = pytest.mark.anyio

GENERATING = ["/", "/generate", "/generate_stream"]
UNAVAILABLE = {"error": "unhealthy", "error_type": "healthcheck"}


async def test_shapes_of_the_three_routes() -> None:
    async with tgi(Speaker("x", " y")) as running:
        asked = {"inputs": "a b", "parameters": {"details": True, "max_new_tokens": 9}}
        whole = await running.told("/generate", asked)
        listed = await running.told("/", asked)
        assert listed == [{**whole, "generated_text": "a bx y"}]
        assert whole["generated_text"] == "x y"
        assert whole["details"]["tokens"][0] == {"id": 0, "text": "x", "logprob": -0.5, "special": False}
        for path, stream in (("/generate_stream", None), ("/", True)):
            reply = await running.post(path, {**asked, "stream": stream})
            events = events_of(reply.body)
            assert [event["token"] for event in events] == whole["details"]["tokens"]
            assert events[-1]["generated_text"] == ("x y" if path != "/" else "a bx y")
            assert b"[DONE]" not in reply.body
        # What a body says of streaming is for / only.
        assert (await running.told("/generate", {**asked, "stream": True})) == whole


async def test_pipelines_of_other_kinds_give_no_prompt_back() -> None:
    async with tgi(Speaker("x"), pipeline_tag="text2text-generation") as running:
        assert await running.told("/", {"inputs": "a"}) == [{"generated_text": "x"}]
        assert await running.told("/", {"inputs": "a", "parameters": {"return_full_text": True}}) == [
            {"generated_text": "ax"}
        ]


async def test_headers() -> None:
    async with tgi(Speaker("x", " y"), compute_type="1-nvidia-a10g") as running:
        whole = (await running.generate("ä b c", details=True)).headers
        assert whole[b"x-compute-type"] == b"1-nvidia-a10g"
        assert (whole[b"x-compute-characters"], whole[b"x-prompt-tokens"], whole[b"x-generated-tokens"]) == (
            b"5", b"3", b"3",
        )  # fmt: skip
        for name in (b"total-time", b"validation-time", b"queue-time", b"inference-time", b"time-per-token"):
            assert whole[b"x-" + name].isdigit()
        assert 0 < float(whole[b"x-compute-time"]) < 60
        streamed = (await running.generate("ä b c", "/generate_stream")).headers
        assert (streamed[b"x-accel-buffering"], streamed[b"x-compute-characters"]) == (b"no", b"5")
        assert b"x-total-time" not in streamed


async def test_about_the_server() -> None:
    async with tgi(Speaker(), max_best_of=3, model_id="org/name", sha="abc", dtype="torch.float16", device="cuda") as t:
        for path in ("/", "/health", "/ping"):
            reply = await t.get(path)
            assert (reply.status, reply.body) == (200, b"")
        info = json.loads((await t.get("/info")).body)
        assert {name: info[name] for name in ("model_id", "model_sha", "model_dtype", "model_device_type")} == {
            "model_id": "org/name", "model_sha": "abc", "model_dtype": "torch.float16", "model_device_type": "cuda",
        }  # fmt: skip
        assert (info["max_input_length"], info["max_input_tokens"], info["max_total_tokens"]) == (63, 63, 64)
        assert (info["max_best_of"], info["version"], info["router"]) == (3, "3.3.7", "text-generation-router")
        (entry,) = json.loads((await t.get("/v1/models")).body)["data"]
        assert entry == {"id": "org/name", "object": "model", "created": 0, "owned_by": "org/name"}
        assert b"/api-doc/openapi.json" in (await t.get("/docs")).body
        document = json.loads((await t.get("/api-doc/openapi.json")).body)
        assert set(document["paths"]["/"]) == {"get", "post"}


async def test_a_server_that_cannot_answer() -> None:
    async with tgi(None) as running:
        for path in ("/", "/health", "/ping"):
            reply = await running.get(path)
            assert (reply.status, json.loads(reply.body)) == (503, UNAVAILABLE)
        (replica,) = running.dispatch.pools["m0"].replicas
        replica.state = "off"
        # The next request starts it, unless it is to be there before.
        assert (await running.get("/health")).status == 200
        settings = running.dispatch.pools["m0"].settings
        running.dispatch.pools["m0"].settings = msgspec.structs.replace(settings, preload=True)
        assert (await running.get("/health")).status == 503
        # What it holds is not known before it is there.
        assert json.loads((await running.get("/info")).body)["max_total_tokens"] is None


async def test_the_wrong_thing_at_the_wrong_place() -> None:
    async with tgi(Speaker("x"), payload=200) as running:
        for path in (*GENERATING, "/v1/chat/completions", "/v1/completions", "/vertex", "/tokenize", "/chat_tokenize"):
            for body, headers, status in (
                (b"{", JSON, 422),
                (b"[]", JSON, 422),
                (b'{"inputs":3,"messages":3,"prompt":3,"instances":3}', JSON, 422),
                (b'{"inputs":"x"}', b"content-type: text/plain\r\n", 422),
                (b'{"inputs":"' + b"x" * 200 + b'"}', JSON, 413),
                (b'{"inputs":"\xff"}', JSON, 422),
            ):
                reply = await running.post(path, body, headers)
                told = json.loads(reply.body)
                assert (reply.status, told["error_type"]) == (status, "validation"), (path, body)
                assert told["error"].startswith("Input validation error: ")
        assert (await running.get("/generate")).status == 405
        reply = await running.get("/nowhere")
        assert (reply.status, json.loads(reply.body)["error_type"]) == (404, "not_found")
        assert (await running.post("/generate", b'{"inputs":"x"}', b"")).status == 200


async def test_a_rule_is_told_in_the_answer_or_in_the_stream() -> None:
    error = {"error": "Input validation error: `temperature` must be strictly positive", "error_type": "validation"}
    async with tgi(Speaker("x")) as running:
        asked = {"inputs": "a", "parameters": {"temperature": 0.0}}
        for path in ("/", "/generate"):
            reply = await running.post(path, asked)
            assert (reply.status, json.loads(reply.body)) == (422, error)
        assert await running.stream("a", temperature=0.0) == [error]
        reply = await running.post("/", {**asked, "stream": True})
        assert (reply.status, events_of(reply.body)) == (200, [error])


@pytest.mark.parametrize(
    ("words", "parameters", "text"),
    [
        (63, {"max_new_tokens": 1}, None),
        (64, {}, "`inputs` must have less than 63 tokens. Given: 64"),
        (1, {"max_new_tokens": 63}, None),
        (
            2,
            {"max_new_tokens": 63},
            "`inputs` tokens + `max_new_tokens` must be <= 64. Given: 2 `inputs` tokens and 63",
        ),
        (0, {}, "`inputs` cannot be empty"),
        (1, {"truncate": 64}, "`truncate` must be strictly positive and less than 63. Given: 64"),
        (999, {"truncate": 63, "max_new_tokens": 1}, None),
    ],
)
async def test_lengths(words: int, parameters: dict[str, Any], text: str | None) -> None:
    speaker = Speaker("x")
    async with tgi(speaker) as running:
        for _ in range(2):
            # The second time the model's context is known.
            reply = await running.generate(" ".join("w" * words), **parameters)
            if text is None:
                assert reply.status == 200, reply
            else:
                assert reply.status == 422
                assert json.loads(reply.body)["error"].startswith(f"Input validation error: {text}")
        assert len(speaker.asked) == (2 if text is None else 0)


async def test_configured_limits_come_first() -> None:
    async with tgi(Speaker("x"), max_input_tokens=2, max_total_tokens=4) as running:
        assert (await running.generate("a b", max_new_tokens=2)).status == 200
        assert b"must be <= 4. Given: 2 `inputs` tokens and 3" in (await running.generate("a b", max_new_tokens=3)).body
        assert b"less than 2 tokens. Given: 3" in (await running.generate("a b c", max_new_tokens=1)).body
    with pytest.raises(ServingError, match="must be less than max_total_tokens"):
        async with tgi(Speaker(), max_input_tokens=4, max_total_tokens=4):
            pass


async def test_what_fits_is_asked_for() -> None:
    speaker = Speaker("x")
    async with tgi(speaker) as running:
        await running.generate("a b c")
        await running.generate("a b c", max_new_tokens=7)
        # A short prompt is not counted: the engine sees itself to what its context holds.
        assert [request.sampling.max_tokens for request in speaker.asked] == [None, 7]
        assert speaker.counted == 1
    speaker = Speaker("x")
    async with tgi(speaker, max_total_tokens=32) as running:
        await running.generate("a b c")
        assert speaker.asked[0].sampling.max_tokens == 29
    speaker = Speaker("x", context=None)
    async with tgi(speaker, compat="2") as running:
        # Who does not count is not held against a guess.
        await running.generate("a b c")
        assert (await running.generate("a" * 100_000, max_new_tokens=7)).status == 200
        assert [request.sampling.max_tokens for request in speaker.asked] == [100, 7]


async def test_truncation_keeps_the_last_tokens() -> None:
    speaker = Speaker("x")
    async with tgi(speaker) as running:
        reply = await running.generate("a b c d", truncate=2, details=True)
        assert speaker.asked[-1].prompt == TokenPrompt(((2, 3),))
        assert reply.status == 200
        await running.generate("a b", truncate=2)
        assert speaker.asked[-1].prompt != TokenPrompt(((0, 1),))
    speaker = Speaker("x", context=None)
    async with tgi(speaker) as running:
        await running.generate("a b c d" * 9, truncate=2)
        assert bytes(speaker.asked[-1].extra["tgi"]["truncate"]) == b"2"


async def test_129_at_128() -> None:
    speaker = Speaker("x")
    speaker.go.clear()
    overloaded = {"error": "Model is overloaded", "error_type": "overloaded"}
    async with tgi(speaker) as running:
        paths = ["/generate", "/generate_stream", "/v1/chat/completions", "/"]
        body = {"inputs": "a", "messages": [{"role": "user", "content": "a"}]}
        calls = [asyncio.create_task(running.post(paths[place % 4], body)) for place in range(128)]
        await until(lambda: speaker.running == 128)
        for path in ("/generate", "/", "/v1/chat/completions", "/v1/completions"):
            reply = await running.post(path, {**body, "prompt": "a"})
            assert (reply.status, json.loads(reply.body)) == (429, overloaded)
        assert await running.stream("a") == [overloaded]
        # Asking how it is takes no place.
        assert (await running.get("/health")).status == 200
        speaker.go.set()
        assert {reply.status for reply in await asyncio.gather(*calls)} == {200}
        assert speaker.most == 128
        assert (await running.generate("a")).status == 200


@pytest.mark.parametrize("path", [*GENERATING, "/v1/chat/completions", "/v1/completions", "/vertex"])
async def test_who_leaves_gives_the_place_back(path: str) -> None:
    speaker = Speaker("x")
    speaker.go.clear()
    turn = [{"role": "user", "content": "a"}]
    body = {"inputs": "a", "messages": turn, "prompt": "a", "instances": [{"inputs": "a"}, {"messages": turn}]}
    async with tgi(speaker, slots=2, max_concurrent_requests=3) as running:
        async with running.leaving(path, body):
            await until(lambda: speaker.running == (2 if path == "/vertex" else 1))
        await until(lambda: speaker.running == 0)
        speaker.go.set()
        assert (await running.generate("a")).status == 200


class Steps(asyncio.Event):
    """Lets a speaker say one word at a time."""

    def __init__(self) -> None:
        super().__init__()
        self.free = asyncio.Semaphore(0)

    async def wait(self) -> Literal[True]:
        await self.free.acquire()
        return True


async def test_a_token_goes_out_when_it_comes() -> None:
    speaker = Speaker("x", " y", " z")
    speaker.go = steps = Steps()
    async with tgi(speaker) as running:
        client = Client(running.url)
        body = b'{"inputs":"a","parameters":{"max_new_tokens":9,"stop":["nothing"]}}'
        steps.free.release()
        async with client.request(b"POST", b"/generate_stream", JSON, body) as answer:
            for word in ("x", " y", " z"):
                event, *_ = events_of(await anext(aiter(answer)))
                assert event["token"]["text"] == word
                steps.free.release()
        await client.aclose()


async def test_a_body_over_the_limit_in_chunks() -> None:
    async with tgi(Speaker("x"), payload=200) as running:
        reader, writer = await asyncio.open_connection("127.0.0.1", int(running.url.rpartition(":")[2]))
        head = b"POST /generate HTTP/1.1\r\nhost: x\r\ntransfer-encoding: chunked\r\n\r\n"
        writer.write(head + b"c9\r\n" + b" " * 201 + b"\r\n0\r\n\r\n")
        assert (await reader.readline()).startswith(b"HTTP/1.1 413 ")
        writer.close()


KINDS: list[tuple[Kind, int, str]] = [
    ("unreachable", 424, "generation"),
    ("upstream_error", 424, "generation"),
    ("out_of_memory", 424, "generation"),
    ("overloaded", 429, "overloaded"),
    ("too_long", 422, "validation"),
    ("no_capacity", 503, "healthcheck"),
    ("rate_limited", 429, "rate_limited"),
    ("no_model", 404, "not_found"),
    ("bug", 500, "internal"),
]
IN_STREAMS = {"generation", "overloaded", "validation"}


@pytest.mark.parametrize(("kind", "status", "error_type"), KINDS)
async def test_failures_before_and_after_the_first_token(
    kind: Kind, status: int, error_type: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    # So many failures in a row would be left alone.
    monkeypatch.setattr("trunkcall.control.dispatch.breaker.judge", lambda error: "nobody")
    error = ServingError(kind, "because of it")
    for words, refusal in (((), error), (("x", " y", error), None)):
        async with tgi(Speaker(*words, refusal=refusal)) as running:
            for path in ("/", "/generate"):
                reply = await running.generate(path=path)
                told = json.loads(reply.body)
                assert (reply.status, told["error_type"]) == (status, error_type)
                assert told["error"].endswith("because of it")
            if words or error_type in IN_STREAMS:
                *before, last = await running.stream()
                assert [event["token"]["text"] for event in before] == ["x", " y"][: len(words)]
                assert last == told
            else:
                # TGI has no word for it, so it has a status of its own before the first byte.
                reply = await running.generate(path="/generate_stream")
                assert (reply.status, json.loads(reply.body)) == (status, told)
            chat = await running.post(
                "/v1/chat/completions", {"messages": [{"role": "user", "content": "a"}], "stream": True}
            )
            if words:
                last = json.loads(chat.body.split(b"\n\n")[-2].removeprefix(b"data: "))
                assert last == {"error": {"message": told["error"], "http_status_code": status}}
            else:
                assert (chat.status, json.loads(chat.body)) == (status, told)


async def test_an_engine_that_ends_without_an_end() -> None:
    async with tgi(Speaker("x", ends=False)) as running:
        reply = await running.generate()
        assert (reply.status, json.loads(reply.body)["error_type"]) == (500, "incomplete_generation")
        assert (await running.stream())[-1] == {
            "error": "Incomplete generation stream", "error_type": "incomplete_generation_stream",
        }  # fmt: skip


async def test_stop_sequences_split_over_tokens() -> None:
    words = ("one", "\n\n", "Us", "er", ": snow ", "⛄", "️")
    async with tgi(Speaker(*words[:4]), Speaker(*words), model="m0") as running:
        events = await running.stream("a", stop=["\n\nUser"], details=True)
        assert events[-1]["generated_text"] == "one\n\nUser"
        assert events[-1]["details"]["finish_reason"] == "stop_sequence"
        whole = json.loads((await running.generate("a", stop=["\n\nUser"], details=True)).body)
        assert whole["details"]["finish_reason"] == "stop_sequence"
        assert whole["details"]["tokens"] == [event["token"] for event in events]
    async with tgi(Speaker(*words)) as running:
        events = await running.stream("a", stop=["⛄️"], details=True)
        assert (events[-1]["token"]["text"], events[-1]["details"]["finish_reason"]) == ("️", "stop_sequence")
    async with tgi(Speaker("one", matched="END")) as running:
        # An engine that cuts it off: it stays in the text all the same.
        assert (await running.stream("a", stop=["END"]))[-1]["generated_text"] == "oneEND"


async def test_silence_is_filled(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tgi_pace, "SILENCE_SECONDS", 0.05)
    speaker = Speaker("x")
    speaker.go.clear()
    async with tgi(speaker) as running:
        client, body = Client(running.url), b""
        async with client.request(b"POST", b"/generate_stream", JSON, b'{"inputs":"a b c"}') as answer:
            async for piece in answer:
                body += piece
                if body.startswith(b":\n\n:\n\n"):
                    speaker.go.set()
        await client.aclose()
        assert body.startswith(b":\n\n:\n\n")
        assert [event["token"]["text"] for event in events_of(body.replace(b":\n\n", b""))] == ["x", ""]
        speaker.go.clear()
        task = asyncio.create_task(running.generate())
        await asyncio.sleep(0.2)
        speaker.go.set()
        assert json.loads((await task).body) == {"generated_text": "x"}


async def test_seeds() -> None:
    speaker = Speaker("x")
    async with tgi(speaker) as running:
        drawn = json.loads((await running.generate(do_sample=True, details=True)).body)["details"]["seed"]
        assert speaker.asked[-1].sampling.seed == drawn
        assert isinstance(drawn, int)
        assert json.loads((await running.generate(details=True)).body)["details"]["seed"] is None
        assert json.loads((await running.generate(details=True, do_sample=True, seed=7)).body)["details"]["seed"] == 7
        several = json.loads((await running.generate(details=True, do_sample=True, best_of=2)).body)["details"]
        assert (several["seed"], len(several["best_of_sequences"])) == (None, 1)


async def test_what_cannot_be_honoured_is_told() -> None:
    grammar = {"type": "regex", "value": "a+"}
    refused = {"error": "Input validation error: grammar is not supported", "error_type": "validation"}
    async with tgi(Speaker("x", dropped=("watermark", "seed"))) as running:
        reply = await running.generate(watermark=True, seed=1)
        assert (reply.status, reply.headers[b"x-trunkcall-dropped"]) == (200, b"watermark, seed")
        strict = JSON + b"x-trunkcall-strict: 1\r\n"
        assert (await running.post("/generate", {"inputs": "a"}, strict)).status == 422
        assert (await running.generate(grammar=grammar)).status == 200
    speaker = Speaker("x", dropped=("guided_regex",))
    async with tgi(speaker) as running:
        reply = await running.generate(grammar=grammar)
        assert (reply.status, json.loads(reply.body)) == (422, refused)
        assert await running.stream("a", grammar=grammar) == [refused]
        assert speaker.asked[-1].shape.format == Format("regex", source="a+")
    cause = ServingError("bad_request", "because of it", param="structured_outputs.regex")
    async with tgi(Speaker("x", refusal=cause)) as running:
        told = json.loads((await running.generate(grammar=grammar)).body)
        assert told["error"] == "Input validation error: grammar is not supported: because of it"
    async with tgi(Speaker("x"), grammar=False) as running:
        assert json.loads((await running.generate(grammar=grammar)).body) == refused
        # Lengths are looked at before.
        assert b"`inputs` must have" in (await running.generate("a " * 99, grammar=grammar)).body


@pytest.mark.parametrize(("options", "told"), [({}, False), ({"prefill": True}, True), ({"compat": "2"}, True)])
async def test_prefill_is_for_who_allows_it(options: dict[str, Any], told: bool) -> None:
    speaker = Speaker("x")
    async with tgi(speaker, **options) as running:
        await running.generate(details=True, decoder_input_details=True, max_new_tokens=5)
        request = speaker.asked[-1]
        assert request.reporting.prompt_logprobs is told
        assert ("decoder_input_details" in request.extra.get("tgi", {})) is not told


async def test_one_listener_serves_one_model() -> None:
    async with tgi(Speaker("x"), Speaker("y")) as running:
        reply = await running.generate()
        told = json.loads(reply.body)
        assert (reply.status, told["error_type"]) == (404, "not_found")
        assert "m0, m1" in told["error"]
        assert "option model" in told["error"]
        assert (await running.generate(path="/generate_stream")).status == 404
    async with tgi(Speaker("x"), Speaker("y"), model="m1") as running:
        assert json.loads((await running.generate()).body) == {"generated_text": "y"}
    async with tgi() as running:
        assert (await running.generate()).status == 404
        assert (await running.get("/health")).status == 404


async def test_each_model_under_a_path() -> None:
    async with tgi(Speaker("x"), Speaker("y"), prefix="/tgi/{model*}") as running:
        for model, text in (("m0", "x"), ("m1", "y")):
            at = f"/tgi/{model}"
            assert json.loads((await running.generate(path=f"{at}/generate")).body) == {"generated_text": text}
            for path in (at, f"{at}/"):
                assert (await running.get(path)).status == 200
                assert json.loads((await running.generate("a", path=path)).body) == [{"generated_text": f"a{text}"}]
            assert json.loads((await running.get(f"{at}/info")).body)["model_id"] == model
            turn = {"messages": [{"role": "user", "content": "a"}]}
            chat = await running.told(f"{at}/v1/chat/completions", turn)
            assert chat["choices"][0]["message"]["content"] == text
        assert (await running.generate(path="/tgi/other/generate")).status == 404
        assert (await running.get("/")).status == 404


async def test_all_models_beside_the_other_apis_of_the_main_port() -> None:
    models = SimpleNamespace(entry=NewModel)
    operations = cast(Operations, SimpleNamespace(models=models, keys=None, records=None, news=None))
    services = msgspec.structs.replace(services_of(Dispatch(), Journal()), operations=operations)
    apis: list[Api] = [plugins.find("apis", name)(services) for name in MAIN_APIS if name != "tgi_models"]
    table = RouteTable([*apis, mounted(services)])
    for method, path, model in (
        ("POST", "/tgi/m/generate", "m"),
        ("POST", "/tgi/org/m/", "org/m"),
        ("POST", "/tgi/m", "m"),
        ("GET", "/tgi/org/m/v1/models", "org/m"),
    ):
        found = table.find(method, path)
        assert found is not None
        assert found[2] == {"model": model}


@pytest.mark.parametrize("path", ["/generate", "/generate_stream", "/v1/completions"])
async def test_a_deadline_holds_while_the_model_starts_too(path: str) -> None:
    async with tgi(None) as running:
        body = {"inputs": "a", "prompt": "a", "model": "tgi"}
        reply = await running.post(path, body, JSON + b"x-trunkcall-timeout: 0.1\r\n")
        assert (reply.status, "deadline" in reply.text) == (408, True), reply
        reply = await running.post(path, body, JSON + b"x-trunkcall-timeout: soon\r\n")
        assert "x-trunkcall-timeout must be a number" in reply.text


async def test_adapters() -> None:
    base, adapted = Speaker("x"), Speaker("y")
    async with tgi(base, adapted, model="m0") as running:
        pools = running.dispatch.pools
        pools["m0"].adapters["m1"] = pools["m1"]
        assert json.loads((await running.generate(adapter_id="m1")).body) == {"generated_text": "y"}
        for name in ("", "tgi", "m0", None):
            assert json.loads((await running.generate(adapter_id=name)).body) == {"generated_text": "x"}
        reply = await running.generate(adapter_id="m2")
        assert (reply.status, json.loads(reply.body)["error"]) == (
            422, "Input validation error: `adapter_id` 'm2' is not an adapter of this model: m1",
        )  # fmt: skip
        for name, text in (("m1", "y"), ("tgi", "x"), ("gpt-4", "x"), (None, "x")):
            turn = {"model": name, "messages": [{"role": "user", "content": "a"}]}
            chat = await running.told("/v1/chat/completions", turn)
            assert (chat["choices"][0]["message"]["content"], chat["model"]) == (text, "m0")
    async with tgi(base, adapted) as running:
        # The only model that is no adapter is meant.
        running.dispatch.pools["m0"].adapters["m1"] = running.dispatch.pools["m1"]
        assert json.loads((await running.generate()).body) == {"generated_text": "x"}


async def test_keys() -> None:
    basic = base64.b64encode(b"user:secret")
    async with tgi(Speaker("x"), keys={"k": "secret"}) as running:
        for header, status in (
            (b"", 401),
            (b"authorization: Bearer secret\r\n", 200),
            (b"authorization: bEaReR secret\r\n", 200),
            (b"authorization: Bearer wrong\r\n", 401),
            (b"authorization: Basic %b\r\n" % basic, 200),
        ):
            for path in ("/generate", "/"):
                reply = await running.post(path, {"inputs": "a"}, JSON + header)
                assert reply.status == status
                if status == 401:
                    assert json.loads(reply.body)["error_type"] == "unauthorized"
        for path in ("/", "/health", "/ping"):
            assert (await running.get(path)).status == 200
        assert (await running.get("/info")).status == 401
    async with tgi(Speaker("x"), keys={"k": "secret"}, open=True) as running:
        for path in ("/info", "/metrics", "/v1/models"):
            assert (await running.get(path)).status == 200
        assert (await running.post("/", {"inputs": "a"})).status == 401


async def test_metrics() -> None:
    async with tgi(Speaker("x", " y")) as running:
        await running.generate("a b", max_new_tokens=9)
        await running.stream("a b", max_new_tokens=9)
        await running.generate("a", temperature=0.0)
        found = await running.metrics()
        assert (found["tgi_request_count"], found["tgi_request_success"]) == (3, 2)
        assert found['tgi_request_failure{err="validation"}'] == 1
        assert found["tgi_request_generated_tokens_count"] == 2
        assert found["tgi_request_max_new_tokens_sum"] == 18
        assert found['tgi_request_duration_bucket{le="+Inf"}'] == 2
        assert found["tgi_queue_size"] == found["tgi_batch_current_size"] == 0
        assert found['vllm:request_success_total{finished_reason="stop",model_name="m0"}'] == 2
        buckets = [value for name, value in found.items() if name.startswith("tgi_request_duration_bucket")]
        assert buckets == sorted(buckets)
        for method, passes in (("prefill", 2), ("decode", 3)):
            label = f'method="{method}"'
            for name in ("count", "success", "duration_count"):
                assert found[f"tgi_batch_inference_{name}{{{label}}}"] == passes
            assert found[f'tgi_batch_inference_duration_bucket{{{label},le="+Inf"}}'] == passes
        decoding = found['tgi_batch_inference_duration_sum{method="decode"}']
        assert 0 < decoding < found["tgi_request_inference_duration_sum"]
        assert (found["tgi_batch_next_size_count"], found["tgi_batch_next_size_sum"]) == (2, 2)


async def test_metrics_of_what_fails_and_waits() -> None:
    async with tgi(Speaker("x", " y", ServingError("upstream_error", "gone"))) as running:
        await running.stream("a b")
        found = await running.metrics()
        assert [found[f'tgi_batch_inference_{name}{{method="decode"}}'] for name in ("count", "success")] == [2, 1]
        assert (found["tgi_request_count"], found['tgi_request_failure{err="generation"}']) == (1, 1)
    speaker = Speaker("x")
    speaker.go.clear()
    async with tgi(speaker, slots=1) as running:
        calls = [asyncio.create_task(running.generate("a")) for _ in range(3)]
        await until(lambda: len(running.dispatch.pools["m0"].queue) == 2)
        found = await running.metrics()
        assert (found["tgi_queue_size"], found["tgi_batch_current_size"]) == (2, 1)
        assert found['tgi_batch_inference_success{method="prefill"}'] == 0
        speaker.go.set()
        assert {reply.status for reply in await asyncio.gather(*calls)} == {200}
        # The first found nobody waiting, the second one, the third none.
        assert (await running.metrics())["tgi_batch_next_size_sum"] == 1 + 2 + 1


async def test_a_tgi_behind_is_passed_through() -> None:
    class Passing(Speaker):
        protocols = frozenset({"tgi"})

        def forward(self, wire: Any, meter: Any) -> Any:
            raise ServingError("unsupported", f"{wire.protocol} {wire.path} {wire.body.decode()}")

    async with tgi(Passing()) as running:
        reply = await running.generate("a", adapter_id="its-own")
        assert json.loads(reply.body)["error"].startswith('Input validation error: tgi /generate {"inputs": "a"')
