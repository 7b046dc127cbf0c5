"""What a client can get wrong, each answered in its own words with the field named."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest
from running import Server

HI = [{"role": "user", "content": "hi"}]
CHAT = "/v1/chat/completions"


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    home = tmp_path_factory.mktemp("home")
    settings = home / "trunkcall.yaml"
    settings.write_text(
        "max_body: 1MiB\nmodels: {d: debug, small: {source: pocket, options: {context: 256, slots: 1}}}\n",
        encoding="utf-8",
    )
    with Server("--config", str(settings), home=home) as running:
        yield running
    assert "Traceback" not in running.output


BAD: dict[str, tuple[str, Any, int, str | None, str]] = {
    "invalid JSON": (CHAT, b'{"model": "d", "messages": [', 400, None, "JSON"),
    "not an object": (CHAT, b"[1]", 400, None, "object"),
    "empty body": (CHAT, b"", 400, None, "JSON"),
    "broken UTF-8": (CHAT, b'{"model":"d","messages":[{"role":"user","content":"\xff\xfe"}]}', 400, None, "UTF-8"),
    "broken UTF-8 for an engine": (
        CHAT,
        b'{"model":"pocket","messages":[{"role":"user","content":"\xff\xfe"}]}',
        400,
        None,
        "UTF-8",
    ),
    "no model": (CHAT, {"messages": HI}, 400, "model", "model"),
    "model of a wrong type": (CHAT, {"model": 7, "messages": HI}, 400, "model", "str"),
    "unknown model": (CHAT, {"model": "pocked", "messages": HI}, 404, "model", "pocket"),
    "no messages": (CHAT, {"model": "d"}, 400, "messages", "messages"),
    "no messages for an engine": (CHAT, {"model": "pocket"}, 400, "messages", "messages"),
    "empty messages": (CHAT, {"model": "pocket", "messages": []}, 400, "messages", "messages"),
    "temperature of a wrong type": (
        CHAT,
        {"model": "pocket", "messages": HI, "temperature": "hot"},
        400,
        "temperature",
        "temperature",
    ),
    "temperature out of range": (
        CHAT,
        {"model": "d", "messages": HI, "temperature": 9},
        400,
        "temperature",
        "temperature",
    ),
    "bad role": (
        CHAT,
        {"model": "pocket", "messages": [{"role": "king", "content": "x"}]},
        400,
        "messages[0].role",
        "role",
    ),
    "content of a wrong type": (
        CHAT,
        {"model": "pocket", "messages": [{"role": "user", "content": 5}]},
        400,
        "messages[0].content",
        "content",
    ),
    "stream of a wrong type": (CHAT, {"model": "pocket", "messages": HI, "stream": "yes"}, 400, "stream", "stream"),
    "no prompt": ("/v1/completions", {"model": "pocket"}, 400, "prompt", "prompt"),
    "embeddings of a chat model": ("/v1/embeddings", {"model": "pocket", "input": "x"}, 400, None, "embeddings"),
    "embeddings of debug": ("/v1/embeddings", {"model": "d", "input": "x"}, 400, "model", "embeddings"),
    "prompt over the context": (
        CHAT,
        {"model": "small", "messages": [{"role": "user", "content": "word " * 500}]},
        400,
        "messages",
        "256",
    ),
}


@pytest.mark.parametrize("case", BAD)
def test_bad_input(server: Server, case: str) -> None:
    path, body, status, param, words = BAD[case]
    got, headers, data = server.request("POST", path, body)
    assert got == status, data
    error = json.loads(data)["error"]
    assert set(error) >= {"message", "type", "param", "code"}
    assert isinstance(error["message"], str)
    if param is not None:
        assert error["param"] == param
    assert words.lower() in error["message"].lower()
    assert headers["x-trunkcall-failed-by"] == "client"
    assert "Traceback" not in data.decode()


def test_codes_that_programs_compare(server: Server) -> None:
    assert server.chat("pocked", "x")[2]["error"]["code"] == "model_not_found"
    long = server.post(CHAT, {"model": "small", "messages": [{"role": "user", "content": "word " * 500}]})
    assert long[2]["error"]["code"] == "context_length_exceeded"


def test_same_errors_for_a_stream(server: Server) -> None:
    for case in ("no messages for an engine", "unknown model", "prompt over the context"):
        path, body, status, param, _ = BAD[case]
        got, headers, data = server.request("POST", path, {**body, "stream": True})
        assert got == status
        assert headers["content-type"].startswith("application/json")
        assert json.loads(data)["error"]["param"] == param


def test_body_over_the_limit(server: Server) -> None:
    body = {"model": "d", "messages": [{"role": "user", "content": "x" * 2**20}]}
    status, _, answer = server.post(CHAT, body)
    assert status == 413
    assert "max_body" in answer["error"]["message"]


def test_unknown_path_and_method(server: Server) -> None:
    status, _, data = server.request("GET", "/v1/nothing")
    assert (status, json.loads(data)["error"]["type"]) == (404, "invalid_request_error")
    status, headers, _ = server.request("GET", CHAT)
    assert (status, headers["allow"]) == (405, "POST")


@pytest.mark.parametrize("model", ["d", "pocket"])
def test_fields_that_cannot_be_honoured_are_named(server: Server, model: str) -> None:
    body = {"model": model, "messages": HI, "store": True, "metadata": {"a": "b"}, "max_tokens": 3}
    status, headers, _ = server.post(CHAT, body)
    assert status == 200
    dropped = {name.strip() for name in headers["x-trunkcall-dropped"].split(",")}
    assert {"store", "metadata"} <= dropped
    status, _, answer = server.post(CHAT, body, **{"x-trunkcall-strict": "true"})
    assert status == 400
    assert "store" in answer["error"]["message"]


@pytest.mark.parametrize("model", ["d", "pocket"])
def test_field_names_that_no_header_can_hold(server: Server, model: str) -> None:
    body = {"model": model, "messages": HI, "max_tokens": 3, "a\r\nb: c": 1, "größe": 2}
    status, headers, _ = server.post(CHAT, body)
    assert status == 200
    assert "gr??e" in headers["x-trunkcall-dropped"]
    assert "b" not in headers


@pytest.mark.parametrize("model", ["d", "pocket"])
def test_strict_is_content_with_what_is_honoured(server: Server, model: str) -> None:
    body = {"model": model, "messages": HI, "max_tokens": 3, "user": "me", "stream": False}
    assert server.post(CHAT, body, **{"x-trunkcall-strict": "1"})[0] == 200
