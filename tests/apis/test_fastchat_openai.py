"""FastChat's OpenAI server in `trunkcall up` and as `trunkcall as`: routes, errors, keys, models of a controller."""

from __future__ import annotations

import contextlib
import http.client
import json
import re
import ssl
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import httpx2
import openai
import pytest
from apis.fastchat_openai_peers import Peer, peer
from apis.fastchat_openai_started import Api, started
from running import Server, eventually
from tls_files import self_made
from tool_caller import tool_caller

from trunkcall.core.requests import Message, TextPart
from trunkcall.protocols.fastchat import named, render

pytestmark = pytest.mark.timeout(180)

ASK: Any = [{"role": "user", "content": "Who are you?"}]
ID = r"-[2-9A-HJ-NP-Za-km-z]{22}"


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("home")


@pytest.fixture(scope="module")
def api(home: Path) -> Iterator[Api]:
    """Our own models behind FastChat's server, in a `trunkcall up`."""
    with tool_caller() as url:
        settings = home / "trunkcall.yaml"
        settings.write_text(
            "listen: [{port: 0, apis: [fastchat_openai, web, landing],"
            " options: {fastchat_openai: {templates: {vectors: zero_shot}}}}]\n"
            "models:\n"
            "  vectors: {source: pocket, options: {embeddings: true}}\n"
            f"  caller: 'openai:{url}#their-caller'\n"
            "  broken: 'openai:http://127.0.0.1:9/v1#x'\n",
            encoding="utf-8",
        )
        # Server's --port 0 is the same listener.
        with Server("--config", str(settings), home=home) as server:
            yield Api(server.url)


def sdk(url: str, **more: Any) -> openai.OpenAI:
    return openai.OpenAI(base_url=f"{url}/v1", api_key="any", max_retries=0, timeout=60, **more)


def test_chat_has_fastchats_shape(api: Api) -> None:
    status, found = api.chat("pocket", temperature=0)
    assert status == 200
    assert re.fullmatch(f"chatcmpl{ID}", found["id"])
    assert list(found["usage"])[:3] == ["prompt_tokens", "total_tokens", "completion_tokens"]
    assert "Pocket" in found["choices"][0]["message"]["content"]
    assert found["choices"][0]["finish_reason"] == "stop"
    assert found["object"] == "chat.completion"
    assert abs(found["created"] - time.time()) < 60


def test_a_stream_is_the_same_answer(api: Api) -> None:
    body = {"model": "pocket", "messages": ASK, "temperature": 0, "stream": True}
    *frames, done = api.frames("/v1/chat/completions", body)
    assert done == "[DONE]"
    chunks = [json.loads(frame) for frame in frames]
    assert len({chunk["id"] for chunk in chunks}) == 1
    assert all({"id", "object", "created", "model", "choices"} <= chunk.keys() for chunk in chunks)
    assert chunks[0]["choices"][0]["delta"]["role"] == "assistant"
    text = "".join(chunk["choices"][0]["delta"].get("content") or "" for chunk in chunks)
    assert text == api.chat("pocket", temperature=0)[1]["choices"][0]["message"]["content"]
    assert chunks[-1]["choices"][0] == {"index": 0, "delta": {}, "logprobs": None, "finish_reason": "stop"}
    *_, last, _ = api.frames("/v1/chat/completions", {**body, "stream_options": {"include_usage": True}})
    assert json.loads(last)["usage"]["completion_tokens"] > 0


def test_one_string_is_a_prompt_without_template(api: Api) -> None:
    prompt = "Once upon a time"
    _, text = api.post("/v1/completions", {"model": "pocket", "prompt": prompt, "temperature": 0, "max_tokens": 8})
    _, chat = api.chat("pocket", messages=prompt, temperature=0, max_tokens=8)
    assert chat["choices"][0]["message"]["content"] == text["choices"][0]["text"]
    assert chat["usage"]["prompt_tokens"] == text["usage"]["prompt_tokens"]


def test_a_named_template_stands_in_for_the_models_own(api: Api) -> None:
    prompt = render(named("zero_shot"), (Message("user", (TextPart("Who are you?"),)),))
    _, templated = api.chat("vectors", temperature=0, max_tokens=8)
    _, text = api.chat("vectors", messages=prompt, temperature=0, max_tokens=8)
    assert templated["choices"] == text["choices"]
    assert templated["usage"]["prompt_tokens"] == text["usage"]["prompt_tokens"]


@pytest.mark.parametrize(("prompt", "choices"), [("a b", 1), (["a", "b"], 2), ([1, 2, 3], 1), ([[1, 2], [3]], 2)])
def test_completions_take_all_shapes(api: Api, prompt: Any, choices: int) -> None:
    status, found = api.post("/v1/completions", {"model": "pocket", "prompt": prompt, "max_tokens": 3})
    assert status == 200, found
    assert re.fullmatch(f"cmpl{ID}", found["id"])
    assert [choice["index"] for choice in found["choices"]] == list(range(choices))


def test_a_completion_has_16_tokens_when_nothing_is_said(api: Api) -> None:
    _, found = api.post("/v1/completions", {"model": "pocket", "prompt": "Once upon a time", "seed": 1})
    assert found["usage"]["completion_tokens"] <= 16


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("/v1/embeddings", {"model": "vectors", "input": ["a", "b"]}),
        ("/v1/engines/vectors/embeddings", {"input": ["a", "b"]}),
        ("/v1/engines/any/embeddings", {"model": "vectors", "input": ["a", "b"]}),
    ],
)
def test_embeddings(api: Api, path: str, body: Any) -> None:
    status, found = api.post(path, body)
    assert status == 200, found
    assert [entry["index"] for entry in found["data"]] == [0, 1]
    assert list(found["usage"]) == ["prompt_tokens", "total_tokens"]
    assert found["model"] == "vectors"


def test_token_check(api: Api) -> None:
    asked = [{"model": "pocket", "prompt": "hello world", "max_tokens": tokens} for tokens in (1, 10**6)]
    status, found = api.post("/api/v1/token_check", {"prompts": asked})
    assert status == 200, found
    small, large = found["prompts"]
    assert (small["fits"], large["fits"]) == (True, False)
    assert small["tokenCount"] == large["tokenCount"] > 0
    assert small["contextLength"] > 100
    assert (
        api.post("/api/v1/token_check", {"prompts": [{"model": "no", "prompt": "x", "max_tokens": 1}]})[1]["code"]
        == 40301
    )


def test_cards_are_sorted(api: Api) -> None:
    status, found = api.get("/v1/models")
    assert status == 200
    assert [card["id"] for card in found["data"]] == ["broken", "caller", "pocket", "vectors"]
    assert found["data"][0]["permission"][0]["object"] == "model_permission"
    assert api.get("/v1/models/pocket")[1]["id"] == "pocket"


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ({"model": "nope"}, (400, 40301, "Only broken&&caller&&pocket&&vectors allowed now, your model nope")),
        ({"temperature": 3}, (400, 40302, "3.0 is greater than the maximum of 2 - 'temperature'")),
        ({"max_tokens": 0}, (400, 40302, "0 is less than the minimum of 1 - 'max_tokens'")),
        ({"messages": [{"role": "user", "content": "word " * 9000}]}, (400, 40303, "")),
        ({"messages": 5}, (400, 40001, "")),
        ({"model": "broken"}, (503, 50006, "")),
    ],
)
def test_errors_have_the_codes_of_fastchat(api: Api, fields: dict[str, Any], expected: tuple[int, int, str]) -> None:
    for path in ("/v1/chat/completions", "/api/v1/chat/completions"):
        status, found = api.post(path, {"model": "pocket", "messages": ASK, **fields})
        assert (status, found["object"], found["code"]) == (expected[0], "error", expected[1]), found
        assert not expected[2] or found["message"] == expected[2]


def test_broken_json_and_other_paths(api: Api) -> None:
    assert api.post("/v1/chat/completions", b"{")[1]["code"] == 40001
    assert api.raw("GET", "/v1/nothing")[::2] == (404, b'{"detail":"Not Found"}')
    status, headers, body = api.raw("GET", "/v1/completions")
    assert (status, headers["allow"], body) == (405, "POST", b'{"detail":"Method Not Allowed"}')
    # The landing page's path beside it.
    assert b"detail" not in api.raw("PUT", "/")[2]


def test_the_openai_sdk_is_at_home(api: Api) -> None:
    with sdk(api.url) as client:
        with pytest.raises(openai.BadRequestError, match="Only broken&&caller&&pocket&&vectors allowed now"):
            client.chat.completions.create(model="nope", messages=ASK)
        tool: Any = {"type": "function", "function": {"name": "get_weather", "parameters": {"type": "object"}}}
        answer = client.chat.completions.create(model="caller", messages=ASK, tools=[tool])
        assert answer.choices[0].message.tool_calls
        assert answer.choices[0].finish_reason == "tool_calls"
        assert answer.id.startswith("chatcmpl-")
        answer = client.chat.completions.create(
            model="pocket", messages=ASK, temperature=0, max_tokens=60, frequency_penalty=1.0,
            response_format={"type": "json_schema", "json_schema": {"name": "a", "schema": {"enum": [7]}}},
        )  # fmt: skip
        assert json.loads(answer.choices[0].message.content or "") == 7
        vectors = client.embeddings.create(model="vectors", input="hello")
        assert len(vectors.data[0].embedding) > 1


# In front of a controller, as the old command starts it.


@pytest.fixture(scope="module")
def controller() -> Iterator[Peer]:
    with peer() as made:
        yield made


@pytest.fixture(scope="module")
def front(controller: Peer, home: Path) -> Iterator[Api]:
    with started(home / "front", "--controller", controller.url + "/") as made:
        yield made


@pytest.fixture(autouse=True)
def _usual(request: pytest.FixtureRequest) -> Iterator[None]:
    yield
    if "controller" in request.fixturenames:
        made: Peer = request.getfixturevalue("controller")
        made.error, made.early, made.delay, made.models = None, False, 0.0, ["tinyrand"]


def test_a_controllers_models_are_served(front: Api, controller: Peer) -> None:
    assert front.ids() == ["tinyrand"]
    assert controller.of("refresh_all_workers")
    controller.asked.clear()
    status, found = front.chat("tinyrand", stop=["#"])
    assert status == 200, found
    assert found["choices"][0]["message"]["content"] == "Hello wörld"
    assert found["choices"][0]["finish_reason"] == "stop"
    assert found["usage"] == {"prompt_tokens": 2, "completion_tokens": 3, "total_tokens": 5}
    (asked,) = controller.of("worker_generate_stream")
    assert asked["model"] == "tinyrand"
    assert asked["prompt"] == "\nUSER: Who are you?\nASSISTANT:"
    assert asked["temperature"] == 0.7
    assert asked["echo"] is False
    assert asked["stop"] == ["#"]
    assert 0 < asked["max_new_tokens"] < 512, "the rest of the context"


def test_a_stream_of_a_controllers_model(front: Api) -> None:
    body = {"model": "tinyrand", "messages": ASK, "stream": True}
    *frames, done = front.frames("/v1/chat/completions", body)
    assert done == "[DONE]"
    pieces = [json.loads(frame)["choices"][0]["delta"].get("content") or "" for frame in frames]
    assert "".join(pieces) == "Hello wörld"
    assert len([piece for piece in pieces if piece]) == 3
    *frames, _ = front.frames("/v1/completions", {"model": "tinyrand", "prompt": "x", "stream": True})
    assert "".join(json.loads(frame)["choices"][0]["text"] for frame in frames) == "Hello wörld"


def test_several_choices_and_prompts(front: Api) -> None:
    _, found = front.chat("tinyrand", n=2)
    assert [choice["message"]["content"] for choice in found["choices"]] == ["Hello wörld"] * 2
    _, found = front.post("/v1/completions", {"model": "tinyrand", "prompt": ["a", "b"], "n": 2})
    assert [choice["index"] for choice in found["choices"]] == [0, 1, 2, 3]


def test_embeddings_and_token_check_reach_the_worker(front: Api, controller: Peer) -> None:
    _, found = front.post("/v1/embeddings", {"model": "tinyrand", "input": ["a", "b"]})
    assert [entry["embedding"] for entry in found["data"]] == [[pytest.approx(0.6), pytest.approx(0.8)]] * 2
    assert found["usage"] == {"prompt_tokens": 2, "total_tokens": 2}
    asked = [{"model": "tinyrand", "prompt": "one two", "max_tokens": tokens} for tokens in (510, 511)]
    _, found = front.post("/api/v1/token_check", {"prompts": asked})
    assert found["prompts"] == [
        {"fits": True, "tokenCount": 2, "contextLength": 512},
        {"fits": False, "tokenCount": 2, "contextLength": 512},
    ]


def test_a_prompt_over_the_context_is_refused_before_the_worker_cuts_it(front: Api, controller: Peer) -> None:
    controller.asked.clear()
    status, found = front.chat("tinyrand", messages=[{"role": "user", "content": "word " * 600}])
    assert (status, found["code"]) == (400, 40303)
    assert "maximum context length is 512 tokens" in found["message"]
    assert not controller.of("worker_generate_stream")


def test_token_ids_need_tiktoken_where_a_worker_takes_text(front: Api) -> None:
    for path, body in (("/v1/completions", {"prompt": [1, 2]}), ("/v1/embeddings", {"input": [[1]]})):
        status, found = front.post(path, {"model": "tinyrand", **body})
        assert (status, found["code"]) == (400, 40001)
        assert "tiktoken" in found["message"]


def test_a_model_that_has_just_come_is_found_at_once_and_one_that_left_is_gone(front: Api, controller: Peer) -> None:
    controller.models = ["new", "tinyrand"]
    assert front.chat("new")[0] == 200
    controller.models = ["new"]
    assert front.ids() == ["new"]
    status, found = front.chat("tinyrand")
    assert (status, found["message"]) == (400, "Only new allowed now, your model tinyrand")


@pytest.mark.parametrize(("code", "status"), [(50001, 400), (50002, 400), (40303, 400), (50005, 503)])
def test_an_error_of_the_worker_keeps_its_cause(front: Api, controller: Peer, code: int, status: int) -> None:
    controller.error, controller.early = (code, "CUDA is tired"), True
    found_status, found = front.chat("tinyrand")
    assert (found_status, found["object"], found["code"]) == (status, "error", code)
    assert "CUDA is tired" in found["message"]


def test_an_error_in_a_stream(front: Api, controller: Peer) -> None:
    controller.error = (50001, "it died")
    *_, last, done = front.frames("/v1/chat/completions", {"model": "tinyrand", "messages": ASK, "stream": True})
    assert done == "[DONE]"
    found = json.loads(last)
    assert found["error_code"] == 50001
    assert "it died" in found["text"]
    with sdk(front.url) as client:
        with pytest.raises(openai.APIError, match="it died"):
            list(client.chat.completions.create(model="tinyrand", messages=ASK, stream=True))


def test_a_client_that_leaves_stops_the_worker(front: Api, controller: Peer) -> None:
    controller.delay, before = 0.3, controller.left
    controller.pieces = ["x" * 5000] * 200
    try:
        split = urlsplit(front.url)
        connection = http.client.HTTPConnection(split.hostname or "", split.port, timeout=60)
        body = json.dumps({"model": "tinyrand", "messages": ASK, "stream": True})
        connection.request("POST", "/v1/chat/completions", body)
        answer = connection.getresponse()
        answer.read(100)
        answer.close()
        connection.close()
        eventually(lambda: controller.left > before)
    finally:
        controller.pieces = ["Hel", "lo ", "wörld"]


def test_a_client_that_leaves_is_not_looked_up_for(front: Api, controller: Peer) -> None:
    say = controller.say

    def slow(route: str, body: Any) -> Any:
        time.sleep(0.5)
        return say(route, body)

    controller.say = slow  # type: ignore[method-assign]
    try:
        asked = {"prompts": [{"model": "tinyrand", "prompt": "x", "max_tokens": 1}] * 400}
        for path, body in (("/api/v1/token_check", asked), ("/v1/chat/completions", {"model": "no", "messages": ASK})):
            split = urlsplit(front.url)
            connection = http.client.HTTPConnection(split.hostname or "", split.port, timeout=60)
            known = len(controller.asked)
            connection.request("POST", path, json.dumps(body))
            eventually(lambda known=known: len(controller.asked) > known)
            connection.close()

        def over() -> bool:
            before = len(controller.of("count_token"))
            time.sleep(1.2)
            return len(controller.of("count_token")) == before

        # All of them would take minutes.
        eventually(over)
    finally:
        del controller.say
    assert front.ids() == ["tinyrand"]


@pytest.mark.slow
def test_a_controller_that_goes_is_told_and_its_models_come_back(tmp_path: Path, free_port: int) -> None:
    with contextlib.ExitStack() as stack:
        with peer(free_port) as first:
            front = stack.enter_context(started(tmp_path / "as", "--controller-url", first.url))
            assert front.ids() == ["tinyrand"]
        status, found = front.get("/v1/models")
        assert (status, found["object"], found["code"]) == (503, "error", 50005)
        assert f"controller at {first.url} does not answer" in found["message"]
        status, found = front.chat("tinyrand")
        assert (status, found["code"]) == (503, 50005), found
        assert "tinyrand" in found["message"] or "controller" in found["message"]
        stack.enter_context(peer(free_port))
        assert front.chat("tinyrand")[0] == 200


@pytest.mark.slow
def test_it_starts_before_its_controller(tmp_path: Path, free_port: int) -> None:
    with started(tmp_path / "as", "--controller-address", f"http://127.0.0.1:{free_port}") as front:
        assert front.get("/v1/models")[0] == 503
        with peer(free_port):
            assert front.ids() == ["tinyrand"]


@pytest.mark.slow
def test_workers_are_asked_as_the_environment_says(tmp_path: Path) -> None:
    env = {"FASTCHAT_WORKER_API_TIMEOUT": "2", "FASTCHAT_WORKER_API_EMBEDDING_BATCH_SIZE": "2"}
    with peer() as controller, started(tmp_path / "as", "--controller-url", controller.url, env=env) as front:
        controller.delay = 5.0
        *_, last, done = front.frames("/v1/chat/completions", {"model": "tinyrand", "messages": ASK, "stream": True})
        assert (json.loads(last)["error_code"], done) == (50006, "[DONE]")
        assert front.chat("tinyrand")[0] == 200, "a whole answer may take longer"
        _, found = front.post("/v1/embeddings", {"model": "tinyrand", "input": ["a", "b", "c"]})
        assert len(found["data"]) == 3
        assert [len(body["input"]) for body in controller.of("worker_get_embeddings")] == [2, 1]


@pytest.mark.slow
def test_what_is_no_controller_is_said(tmp_path: Path) -> None:
    with peer() as other:
        other.models = "nonsense"  # type: ignore[assignment]
        with started(tmp_path / "as", "--controller-address", other.url) as front:
            status, found = front.get("/v1/models")
            assert (status, found["code"]) == (503, 50005)
            assert "its list of models is not one" in found["message"]


def test_keys_and_the_routes_that_ask_for_none(tmp_path: Path, controller: Peer) -> None:
    with started(tmp_path / "as", "--controller-address", controller.url, "--api-keys", "k1,k2") as front:
        status, found = front.get("/v1/models")
        assert status == 401
        assert found["detail"]["error"]["code"] == "invalid_api_key"
        assert found["detail"]["error"]["type"] == "invalid_request_error"
        assert front.get("/v1/models", authorization="Bearer wrong")[0] == 401
        for key in ("k1", "k2"):
            assert front.get("/v1/models", authorization=f"Bearer {key}")[0] == 200
        assert front.chat("tinyrand")[0] == 401
        assert front.post("/v1/engines/tinyrand/embeddings", {"input": "x"})[0] == 401
        body = {"model": "tinyrand", "messages": ASK, "repetition_penalty": 1.3}
        assert front.post("/api/v1/chat/completions", body)[0] == 200
        assert controller.of("worker_generate_stream")[-1]["repetition_penalty"] == 1.3
        assert front.post("/api/v1/token_check", {"prompts": []}) == (200, {"prompts": []})
        log = (tmp_path / "as" / "log").read_text()
        assert "k1" not in log.replace("ask", ""), log


@pytest.mark.slow
def test_it_speaks_tls_and_to_other_origins(tmp_path: Path, controller: Peer) -> None:
    cert, key = self_made(tmp_path)
    env = {"SSL_CERTFILE": str(cert), "SSL_KEYFILE": str(key)}
    with started(tmp_path / "as", "--controller", controller.url, "--ssl", env=env) as front:
        assert front.url.startswith("https://")
        trusting = httpx2.Client(verify=ssl.create_default_context(cafile=str(cert)))
        with sdk(front.url, http_client=trusting) as client:
            assert [card.id for card in client.models.list()] == ["tinyrand"]
            answer = client.chat.completions.with_raw_response.create(
                model="tinyrand", messages=ASK, extra_headers={"origin": "http://page"}
            )
            assert answer.headers["access-control-allow-origin"] == "*"
            assert answer.parse().choices[0].message.content == "Hello wörld"


def test_in_up_all_routes_ask_for_the_key(serve: Any, tmp_path: Path) -> None:
    settings = tmp_path / "trunkcall.yaml"
    settings.write_text(
        "listen: [{port: 0, apis: [fastchat_openai, web, landing], options: {fastchat_openai: {errors: openai}}}]\n"
        "keys: [env:K]\nmodels: {d: debug}\npocket: false\n"
    )
    server = serve("--config", str(settings), env={"K": "secret"})
    api = Api(server.url)
    assert api.post("/api/v1/token_check", {"prompts": []})[0] == 401
    status, found = api.post("/v1/chat/completions", {"model": "no", "messages": ASK}, authorization="Bearer secret")
    assert (status, found["error"]["code"], found["error"]["param"]) == (404, "model_not_found", "model")


@pytest.mark.slow
def test_models_of_an_endpoint_file_are_in_the_one_registry(tmp_path: Path) -> None:
    with tool_caller() as url:
        file = tmp_path / "endpoints.json"
        entry = {"model_name": "their-caller", "api_type": "openai", "api_base": url, "api_key": "s3cret"}
        file.write_text(json.dumps({"theirs": {**entry, "anony_only": False}}))
        with started(tmp_path / "as", "--controller", "", "--register-api-endpoint-file", str(file)) as front:
            assert front.ids() == ["theirs"]
            status, found = front.chat("theirs", tools=[{"type": "function", "function": {"name": "f"}}])
            assert (status, found["model"]) == (200, "theirs")
            assert "s3cret" not in (tmp_path / "as" / "log").read_text()
