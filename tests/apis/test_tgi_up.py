"""TGI's API of a real server with the pocket model: tokens, shapes, limits, and an engine that is killed."""

from __future__ import annotations

import http.client
import json
import os
import re
import signal
import threading
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
from apis.tgi_listeners import events_of
from running import Server, eventually

pytestmark = pytest.mark.timeout(240)

Serve = Callable[..., Server]

LONG = {"max_new_tokens": 900, "grammar": {"type": "regex", "value": "[a-z]{5000}"}}
"""Work that keeps the engine busy."""

PROMPT = "<|im_start|>user\nWhat is 2 plus 3?<|im_end|>\n<|im_start|>assistant\n"


@pytest.fixture
def server(serve: Serve, free_port: int, tmp_path: Path) -> Server:
    """Its `url` is the TGI listener's."""
    file = tmp_path / "trunkcall.yaml"
    tgi = {"host": "127.0.0.1", "port": free_port, "apis": ["tgi"], "options": {"tgi": {"prefill": True}}}
    file.write_text(json.dumps({"listen": [{"host": "127.0.0.1", "port": 0}, tgi]}))
    started = serve("--config", str(file))
    started.main = started.url  # type: ignore[attr-defined]
    started.url = f"http://127.0.0.1:{free_port}"
    return started


def generate(server: Server, inputs: str = PROMPT, path: str = "/generate", **parameters: Any) -> Any:
    status, _, told = server.post(path, {"inputs": inputs, "parameters": parameters})
    assert status == 200, told
    return told


def streamed(server: Server, inputs: str = PROMPT, **parameters: Any) -> list[dict[str, Any]]:
    body = {"inputs": inputs, "parameters": parameters}
    status, _, data = server.request("POST", "/generate_stream", body)
    assert status == 200
    return events_of(data)


def engine(server: Server) -> int:
    """The engine's process."""
    host = urlsplit(server.main)  # type: ignore[attr-defined]
    connection = http.client.HTTPConnection(host.hostname or "", host.port, timeout=60)
    connection.request("GET", "/admin/models/pocket")
    pid: int = json.loads(connection.getresponse().read())["replicas"][0]["pid"]
    connection.close()
    return pid


def alike(first: list[dict[str, Any]], second: list[dict[str, Any]]) -> bool:
    """The same tokens; what a prompt's cache holds changes the last digits of probabilities."""
    values = [[token["logprob"] for token in tokens] for tokens in (first, second)]
    same = [[(token["id"], token["text"], token["special"]) for token in tokens] for tokens in (first, second)]
    return same[0] == same[1] and values[0] == pytest.approx(values[1], abs=0.05)


@pytest.mark.slow
def test_tokens_are_the_same_whole_and_streamed(server: Server) -> None:
    for inputs in (PROMPT, "Zürich ☃ is", "\N{FLAG IN HOLE}"):
        for parameters in ({}, {"do_sample": True, "seed": 7, "temperature": 2.0}, {"top_n_tokens": 3}):
            asked: dict[str, Any] = {"details": True, "max_new_tokens": 24, **parameters}
            whole = generate(server, inputs, **asked)
            events = streamed(server, inputs, **asked)
            details = whole["details"]
            assert alike([event["token"] for event in events], details["tokens"])
            assert events[-1]["generated_text"] == whole["generated_text"]
            text = "".join(token["text"] for token in details["tokens"] if not token["special"])
            assert text == whole["generated_text"]
            assert details["generated_tokens"] == len(details["tokens"])
            assert events[-1]["details"]["input_length"] == len(server.post("/tokenize", {"inputs": inputs})[2])
            assert all(token["logprob"] <= 0 and token["id"] >= 0 for token in details["tokens"])


def test_what_the_model_says(server: Server) -> None:
    told = generate(server, details=True)
    assert (told["generated_text"], told["details"]["finish_reason"]) == ("2 + 3 = 5", "eos_token")
    assert told["details"]["tokens"][-1]["special"]
    first = told["details"]["tokens"][0]
    assert alike(generate(server, max_new_tokens=1, details=True)["details"]["tokens"], [first])
    stopped = generate(server, stop=["= 5"], details=True)
    assert (stopped["generated_text"], stopped["details"]["finish_reason"]) == ("2 + 3 = 5", "stop_sequence")
    assert streamed(server, stop=["= 5"])[-1]["generated_text"] == "2 + 3 = 5"
    prefill = generate(server, "Hi there", details=True, decoder_input_details=True, max_new_tokens=1)["details"][
        "prefill"
    ]
    assert "".join(token["text"] for token in prefill) == "Hi there"
    assert [token["logprob"] is None for token in prefill] == [True] + [False] * (len(prefill) - 1)


@pytest.mark.slow
def test_grammars(server: Server) -> None:
    schema = {
        "type": "object",
        "properties": {"n": {"type": "integer"}},
        "required": ["n"],
        "additionalProperties": False,
    }
    for grammar in ({"type": "json", "value": schema}, {"type": "json_schema", "value": {"schema": schema}}):
        said = json.loads(generate(server, grammar=grammar, max_new_tokens=100)["generated_text"])
        assert isinstance(said["n"], int)
    for source in ("^[0-9]{3}/[a-c]$", r'{"n": \d{,2}}', r"[[/]\<x$"):
        text = generate(server, grammar={"type": "regex", "value": source})["generated_text"]
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            assert re.fullmatch(source, text)
    beyond = {"inputs": "a", "parameters": {"grammar": {"type": "regex", "value": "(?=a)b"}}}
    status, _, told = server.post("/generate", beyond)
    assert (status, "`(?=`" in told["error"]) == (422, True)
    chat = {"messages": [{"role": "user", "content": "Hi"}], "response_format": {"type": "regex", "value": "[xyz]{4}"}}
    text = server.post("/v1/chat/completions", chat)[2]["choices"][0]["message"]["content"]
    assert re.fullmatch("[xyz]{4}", text)


@pytest.mark.slow
def test_at_the_limits(server: Server) -> None:
    generate(server, max_new_tokens=1)
    info = server.get("/info")
    assert (info["max_input_tokens"], info["max_total_tokens"]) == (1023, 1024)
    word = " the"
    one = len(server.post("/tokenize", {"inputs": word})[2])
    assert one == 1
    for count, status in ((1023, 200), (1024, 422)):
        found, headers, told = server.post("/generate", {"inputs": word * count, "parameters": {"max_new_tokens": 1}})
        assert found == status, told
        if status == 200:
            assert headers["x-prompt-tokens"] == str(count)
    assert told["error"].startswith("Input validation error: `inputs` tokens + `max_new_tokens` must be <= 1024.")
    found, _, told = server.post("/generate", {"inputs": word * 1024})
    assert told["error"] == "Input validation error: `inputs` must have less than 1023 tokens. Given: 1024"
    details = generate(server, "Hi", grammar=LONG["grammar"], details=True)["details"]
    assert (details["finish_reason"], details["generated_tokens"]) == ("length", 1023)
    whole = generate(server, word * 2000, truncate=5, max_new_tokens=2, details=True)
    same = generate(server, word * 5, max_new_tokens=2, details=True)
    assert alike(whole["details"]["tokens"], same["details"]["tokens"])


@pytest.mark.slow
def test_an_engine_that_is_killed(server: Server) -> None:
    generate(server, max_new_tokens=1)
    pid = engine(server)
    os.kill(pid, signal.SIGKILL)
    # Before its first token nothing is lost: the next engine answers.
    assert generate(server)["generated_text"] == "2 + 3 = 5"
    second = engine(server)
    assert second != pid
    split = urlsplit(server.url)
    connection = http.client.HTTPConnection(split.hostname or "", split.port, timeout=60)
    body = json.dumps({"inputs": "Tell me a story.", "parameters": LONG})
    connection.request("POST", "/generate_stream", body, {"content-type": "application/json"})
    answer = connection.getresponse()
    data = answer.readline()
    # At once, before the answer is over.
    os.kill(second, signal.SIGKILL)
    assert b'"index":1' in data
    *_, last = events_of(data + answer.read())
    connection.close()
    assert set(last) == {"error", "error_type"}
    assert last["error_type"] == "generation"
    assert last["error"].startswith("Request failed during generation: ")
    assert generate(server)["generated_text"] == "2 + 3 = 5"


def test_who_leaves_stops_the_work(server: Server) -> None:
    generate(server, max_new_tokens=1)
    pid = engine(server)
    os.kill(pid, signal.SIGSTOP)
    split = urlsplit(server.url)
    asked: list[http.client.HTTPConnection] = []

    def ask() -> None:
        connection = http.client.HTTPConnection(split.hostname or "", split.port, timeout=60)
        asked.append(connection)
        body = json.dumps(
            {"inputs": "Hi", "parameters": {"do_sample": True, "temperature": 50.0, "max_new_tokens": 1000}}
        )
        try:
            connection.request("POST", "/generate", body, {"content-type": "application/json"})
            connection.getresponse()
        except (OSError, http.client.HTTPException, AttributeError):
            return

    threads = [threading.Thread(target=ask) for _ in range(2)]
    for thread in threads:
        thread.start()
    size = re.compile(r"^tgi_batch_current_size (\d+)", re.MULTILINE)

    def running() -> int:
        found = size.search(server.request("GET", "/metrics")[2].decode())
        assert found
        return int(found[1])

    eventually(lambda: running() == len(threads))
    for connection in asked:
        if connection.sock is not None:
            connection.sock.shutdown(2)
        connection.close()
    eventually(lambda: not running())
    os.kill(pid, signal.SIGCONT)
    for thread in threads:
        thread.join(30)
    assert generate(server)["generated_text"] == "2 + 3 = 5"
