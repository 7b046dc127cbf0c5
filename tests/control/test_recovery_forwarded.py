"""Streams of TGI, FastChat and Kuwa that are forwarded from upstreams of the same protocol, which die."""

from __future__ import annotations

import http.client
import json
from collections.abc import Iterator
from typing import Any

import pytest
from control.recovery_peers import (
    DONE,
    END,
    RESET,
    Script,
    chunk,
    growing,
    text_chunk,
    token,
    upstreams,
    usage,
)
from running import Server, reserved_port

pytestmark = pytest.mark.timeout(180)

NAMES = {"tgi": "tgi", "fastchat": "fastchat_worker", "kuwa": "kuwa_executor"}
ABOUT = {
    "/info": {"model_id": "m", "version": "2.4.0", "max_total_tokens": 4096, "max_input_tokens": 4000},
    "/worker_get_status": {"model_names": ["m"], "speed": 1, "queue_length": 0},
    "/model_details": {"context_length": 4096},
}


class Front:
    """A server with one model and one listener for it; ask: the whole of an answer there."""

    def __init__(self, home: Any, script: Script, scheme: str, source: str, options: dict[str, Any]) -> None:
        self.script = script
        self.port = reserved_port()
        self._peers = upstreams(script)
        sources = [source.format(peer.port) for peer in self._peers.__enter__()]
        listen = [
            {"host": "127.0.0.1", "port": 0},
            {"host": "127.0.0.1", "port": self.port, "apis": [NAMES[scheme]], "options": {NAMES[scheme]: options}},
        ]
        models = {"m": {"source": sources, "options": {"idle_timeout": 30}}}
        config = home / "trunkcall.yaml"
        config.write_text(json.dumps({"models": models, "listen": listen, "pocket": False}))
        self.server = Server("--config", str(config), home=home)
        self.server.wait_ready(90)

    def ask(self, path: str, body: bytes | dict[str, Any], kind: str = "application/json") -> bytes:
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=60)
        try:
            data = body if isinstance(body, bytes) else json.dumps(body).encode()
            connection.request("POST", path, data, {"content-type": kind})
            answer = connection.getresponse()
            assert answer.status == 200, answer.read()
            return answer.read()
        finally:
            connection.close()

    def story(self) -> dict[str, Any]:
        row: dict[str, Any] = self.server.get("/admin/requests?limit=1")["requests"][0]
        return row

    def end(self) -> None:
        self.server.stop()
        self._peers.__exit__(None, None, None)


@pytest.fixture(scope="module")
def front(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Front]:
    scheme, source, options = request.param
    script = Script()
    script.plain = {path: json.dumps(told).encode() for path, told in ABOUT.items()}
    made = Front(tmp_path_factory.mktemp(scheme), script, scheme, source, options)
    try:
        yield made
    finally:
        made.end()


TGI = ("tgi", "tgi:http://127.0.0.1:{}", {})
TGI_OF_OPENAI = ("tgi", "openai:http://127.0.0.1:{}/v1#m", {})
FASTCHAT = ("fastchat", "fastchat:http://127.0.0.1:{}#m", {})
FASTCHAT_OF_OPENAI = ("fastchat", "openai:http://127.0.0.1:{}/v1#m", {})
KUWA = ("kuwa", "kuwa:http://127.0.0.1:{}/chat", {})


def tgi_events(data: bytes) -> list[dict[str, Any]]:
    return [json.loads(one[5:]) for one in data.split(b"\n\n") if one.startswith(b"data:")]


@pytest.mark.parametrize("front", [TGI], indirect=True)
@pytest.mark.parametrize("last", [b"", token(9, "x")[:30], b'data:{"error":"the shard","error_type":"generation"}\n\n'])
def test_tgi_goes_on(front: Front, last: bytes) -> None:
    begun = [token(1, "a"), token(2, "b"), *([last] if last else [])]
    front.script.play((begun, RESET), ([token(3, "c"), token(4, "d", "cd", 2)], END))
    data = front.ask("/generate_stream", {"inputs": "Hi", "parameters": {"max_new_tokens": 4, "details": True}})
    events = tgi_events(data)
    assert [event["token"]["text"] for event in events] == ["a", "b", "c", "d"]
    assert [event["token"]["id"] for event in events] == [1, 2, 3, 4]
    assert [event["generated_text"] for event in events] == [None, None, None, "abcd"]
    details = events[-1]["details"]
    assert (details["generated_tokens"], details["finish_reason"]) == (4, "length")
    assert b": trunkcall resumed text\n\n" in data
    asked = front.script.asked[1]
    assert (asked["inputs"], asked["parameters"]["max_new_tokens"]) == ("Hiab", 2)
    assert front.story()["resumed"] == "text"


@pytest.mark.parametrize("front", [TGI], indirect=True)
def test_tgi_ends_with_a_clear_error(front: Front) -> None:
    front.script.play(([token(1, "a")], RESET))
    body = {"inputs": "Hi", "parameters": {"max_new_tokens": 9, "grammar": {"type": "regex", "value": "a+"}}}
    events = tgi_events(front.ask("/generate_stream", body))
    assert events[0]["token"]["text"] == "a"
    assert "held to a format" in events[-1]["error"]


@pytest.mark.parametrize("front", [TGI_OF_OPENAI], indirect=True)
def test_tgi_from_others_goes_on(front: Front) -> None:
    rest = [text_chunk("c"), text_chunk("", "stop"), usage(4, 2), DONE]
    front.script.play(([text_chunk("a"), text_chunk("b")], RESET), (rest, END))
    body = {"inputs": "Hi", "parameters": {"max_new_tokens": 9, "details": True}}
    data = front.ask("/generate_stream", body)
    events = tgi_events(data)
    assert [event["token"]["text"] for event in events][:3] == ["a", "b", "c"]
    assert events[-1]["generated_text"] == "abc"
    assert events[-1]["details"]["generated_tokens"] == 4
    assert b": trunkcall resumed text\n\n" in data


def fastchat_objects(data: bytes) -> list[dict[str, Any]]:
    return [json.loads(one) for one in data.split(b"\0") if one]


@pytest.mark.parametrize("front", [FASTCHAT], indirect=True)
@pytest.mark.parametrize(
    "last", [b"", growing("The sky x")[:20], b'{"text":"CUDA out of memory","error_code":50002}\0']
)
def test_fastchat_goes_on(front: Front, last: bytes) -> None:
    begun = [growing("The "), growing("The sky "), *([last] if last else [])]
    rest = [growing("is "), growing("is blue."), growing("is blue.", "stop", 3)]
    front.script.play((begun, RESET), (rest, END))
    data = front.ask("/worker_generate_stream", {"model": "m", "prompt": "Hi", "max_new_tokens": 50, "echo": False})
    texts = [one["text"] for one in fastchat_objects(data)]
    assert texts[:2] == ["The ", "The sky "]
    assert texts[-1] == "The sky is blue."
    assert all(one["error_code"] == 0 for one in fastchat_objects(data))
    assert texts == sorted(texts, key=len)
    assert front.script.asked[1]["prompt"] == "HiThe sky "
    assert fastchat_objects(data)[-1]["finish_reason"] == "stop"
    assert front.story()["resumed"] == "text"


@pytest.mark.parametrize("front", [FASTCHAT_OF_OPENAI], indirect=True)
def test_fastchat_from_others_goes_on_or_ends_clearly(front: Front) -> None:
    rest = [chunk("is blue."), chunk(finish="stop"), DONE]
    front.script.play(([chunk(), chunk("The "), chunk("sky ")], RESET), (rest, END))
    body = {"model": "m", "prompt": "Human: Hi\nAssistant:", "max_new_tokens": 50, "echo": False}
    objects = fastchat_objects(front.ask("/worker_generate_stream", body))
    assert objects[-1]["text"] == "The sky is blue."
    front.script.play(([chunk(), chunk("The ")], RESET), ([], RESET))
    last = fastchat_objects(front.ask("/worker_generate_stream", body))[-1]
    assert last["error_code"] != 0


@pytest.mark.parametrize("front", [KUWA], indirect=True)
def test_kuwa_ends_with_a_warning_since_its_executors_only_begin(front: Front) -> None:
    half = "世界".encode()
    front.script.play(
        ([b"The ", half[:5]], RESET),
        ([b"The sky"], END),
    )
    body = b"input=%5B%7B%22isbot%22%3Afalse%2C%22msg%22%3A%22hi%22%7D%5D&name=m&user_id=1&history_id=2"
    data = front.ask("/chat", body, "application/x-www-form-urlencoded")
    assert data.decode().startswith("The 世")
    assert b"sky" not in data
    assert front.story()["error"] == "upstream_error"
