"""Streams whose upstream dies go on from another one, in every lane and protocol, or end with a clear error."""

from __future__ import annotations

import http.client
import itertools
import json
from collections.abc import Iterator
from typing import Any
from urllib.parse import urlsplit

import pytest
from control.recovery_peers import CLOSE, DONE, END, HANG, RESET, Script, chunk, frame, text_chunk, upstreams, usage
from running import Server, eventually

pytestmark = pytest.mark.timeout(180)

MOST_TESTS = 48
HELLO = [{"role": "user", "content": "Hi"}]
BEGUN = [chunk(), chunk("The "), chunk("sky ")]
REST = [chunk(id="chatcmpl-two"), chunk("is ", id="chatcmpl-two"), chunk("blue.", id="chatcmpl-two")]
FINISH = [chunk(finish="stop", id="chatcmpl-two"), usage(13, 3), DONE]
TOOLS = [{"type": "function", "function": {"name": "add", "parameters": {"type": "object"}}}]
CALL = chunk("", tool_calls=[{"index": 0, "id": "c1", "function": {"name": "add", "arguments": '{"a"'}}])
DRAINING = frame({"error": {"message": "this replica ended", "type": "server_error", "code": "draining"}})


@pytest.fixture(scope="module")
def script() -> Script:
    return Script()


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory, script: Script) -> Iterator[Server]:
    home = tmp_path_factory.mktemp("home")
    with upstreams(script) as peers:
        sources = [f"openai:http://127.0.0.1:{peer.port}/v1#m" for peer in peers]
        # A busy machine is silent for a moment too.
        options = {"idle_timeout": 30}
        kinds: dict[str, dict[str, Any]] = {
            "auto": {"source": sources, "options": options},
            "exact": {"source": sources, "recover": "exact", "options": options},
            "off": {"source": sources, "recover": "off", "options": options},
            "alone": {"source": sources[:1], "options": options},
            "events": {"source": sources, "options": {"normalise": True, **options}},
            "auto-soon": {"source": sources, "options": {"idle_timeout": 5}},
            "events-soon": {"source": sources, "options": {"normalise": True, "idle_timeout": 5}},
            "at-once": {"source": sources, "options": {"idle_timeout": 1}},
        }
        # Each test has models of its own, since replicas that fail are left alone for a while.
        models = {f"{kind}-{number}": fields for kind, fields in kinds.items() for number in range(MOST_TESTS)}
        config = home / "trunkcall.yaml"
        config.write_text(json.dumps({"models": models}))
        with Server("--config", str(config), home=home) as running:
            yield running


@pytest.fixture(autouse=True)
def _own_models() -> None:
    _current[0] = next(_numbers)


_numbers = itertools.count()
_current = [0]


def named(kind: str) -> str:
    """The model of a kind that the current test has for itself."""
    return f"{kind}-{_current[0]}"


def ask(server: Server, kind: str = "auto", path: str = "/v1/chat/completions", **fields: Any) -> bytes:
    """The whole of a streamed answer."""
    model = named(kind)
    prompt: dict[str, Any] = {"prompt": "Hi"} if path == "/v1/completions" else {"messages": HELLO}
    options = {"stream": True, "stream_options": {"include_usage": True}}
    status, _, data = server.request("POST", path, {"model": model, **prompt, **options, **fields})
    assert status == 200, data
    return data


def told(data: bytes) -> tuple[str, dict[str, Any]]:
    """The text, and what else the frames say."""
    text = ""
    found: dict[str, Any] = {"ids": set(), "usage": [], "finish": [], "error": None, "done": data.count(DONE)}
    found["comments"] = [line for line in data.split(b"\n") if line.startswith(b":")]
    for line in data.split(b"\n\n"):
        body = line.rpartition(b"\n")[2].removeprefix(b"data: ")
        if not body.startswith(b"{"):
            continue
        fields = json.loads(body)
        if "error" in fields:
            found["error"] = fields["error"]["message"]
            continue
        found["ids"].add((fields["id"], fields["created"], fields["model"]))
        found["usage"] += [fields["usage"]] if fields.get("usage") else []
        for choice in fields["choices"]:
            text += (choice["delta"].get("content") if "delta" in choice else choice["text"]) or ""
            found["finish"] += [choice["finish_reason"]] if choice["finish_reason"] else []
    return text, found


def story(server: Server) -> dict[str, Any]:
    rows: list[dict[str, Any]] = server.get("/admin/requests?limit=1")["requests"]
    return rows[0]


@pytest.mark.parametrize("model", ["auto", "events"])
@pytest.mark.parametrize(
    ("pieces", "end"),
    [
        (BEGUN, RESET),
        (BEGUN, CLOSE),
        (BEGUN, END),
        pytest.param(BEGUN, HANG, marks=pytest.mark.slow),
        ([*BEGUN, chunk("lost")[:40]], RESET),
        ([*BEGUN, DRAINING], END),
        ([b"".join([*BEGUN, DRAINING])], END),
        ([b"".join(BEGUN)[:-5], b"".join(BEGUN)[-5:]], RESET),
    ],
    ids=["reset", "cut", "no end", "silent", "half a frame", "draining", "draining in one piece", "split"],
)
def test_a_text_goes_on_flagged(server: Server, script: Script, model: str, pieces: list[bytes], end: str) -> None:
    script.play((pieces, end), ([*REST, *FINISH], END))
    model = f"{model}-soon" if end == HANG else model
    text, found = told(ask(server, model, max_tokens=50))
    assert text == "The sky is blue."
    assert found["ids"] == {("chatcmpl-one", 7, named(model))}
    assert found["usage"] == [{"prompt_tokens": 11, "completion_tokens": 5, "total_tokens": 16}]
    assert (found["finish"], found["error"], found["done"]) == (["stop"], None, 1)
    assert found["comments"] == [b": trunkcall resumed text"]
    first, second = script.asked
    assert "continue_final_message" not in first
    assert second["messages"] == [*HELLO, {"role": "assistant", "content": "The sky "}]
    assert (second["continue_final_message"], second["add_generation_prompt"]) == (True, False)
    assert second["max_tokens"] == 48
    row = story(server)
    assert (row["resumes"], row["resumed"], row["error"]) == (1, "text", "")


def test_a_completion_goes_on_behind_its_prompt(server: Server, script: Script) -> None:
    rest = [text_chunk("c"), text_chunk("d"), text_chunk("", "length"), usage(5, 2), DONE]
    script.play(([text_chunk("a"), text_chunk("b")], RESET), (rest, END))
    text, found = told(ask(server, path="/v1/completions", max_tokens=4, stop=["\n"], echo=True))
    assert text == "abcd"
    assert found["usage"] == [{"prompt_tokens": 3, "completion_tokens": 4, "total_tokens": 7}]
    assert script.asked[1]["prompt"] == "Hiab"
    assert (script.asked[1]["max_tokens"], script.asked[1]["stop"]) == (2, ["\n"])
    assert "echo" not in script.asked[1]


def test_what_has_said_nothing_is_asked_again_as_it_was(server: Server, script: Script) -> None:
    script.play(([chunk()], RESET), ([*REST, *FINISH], END))
    text, found = told(ask(server, tools=TOOLS, n=1, response_format={"type": "json_object"}))
    assert text == "is blue."
    assert found["comments"] == []
    assert found["usage"] == [{"prompt_tokens": 13, "completion_tokens": 3, "total_tokens": 16}]
    assert script.asked[1]["messages"] == HELLO
    assert story(server)["resumed"] == ""


def test_what_is_complete_ends(server: Server, script: Script) -> None:
    script.play(([*BEGUN, chunk(finish="stop")], RESET))
    text, found = told(ask(server))
    assert (text, found["finish"], found["done"], found["error"]) == ("The sky ", ["stop"], 1, None)
    script.play((BEGUN, RESET))
    text, found = told(ask(server, max_tokens=2))
    assert (text, found["finish"], found["done"], found["error"]) == ("The sky ", ["length"], 1, None)
    assert len(script.asked) == 1


@pytest.mark.parametrize(
    ("model", "fields", "pieces", "words"),
    [
        ("exact", {}, BEGUN, "recover is exact"),
        ("off", {}, BEGUN, "closed the connection"),
        ("alone", {}, BEGUN, "closed the connection"),
        ("auto", {"tools": TOOLS}, [chunk(), CALL], "tool calls"),
        ("auto", {"response_format": {"type": "json_object"}}, BEGUN, "held to a format"),
        ("auto", {"n": 2}, BEGUN, "several answers"),
        ("auto", {}, [chunk(), chunk("", reasoning_content="Hm")], "thoughts"),
    ],
    ids=["exact", "off", "no other", "tool call", "json", "n", "thoughts"],
)
def test_what_cannot_go_on_ends_with_the_reason(
    server: Server, script: Script, model: str, fields: dict[str, Any], pieces: list[bytes], words: str
) -> None:
    script.play((pieces, RESET), ([*REST, *FINISH], END))
    text, found = told(ask(server, model, **fields))
    assert text == told(b"".join(pieces))[0]
    assert words in found["error"]
    assert len(script.asked) == 1
    assert story(server)["error"] == "upstream_error"


def test_a_request_that_ends_each_replica_is_given_up_after_three(server: Server, script: Script) -> None:
    script.play((BEGUN, RESET))
    text, found = told(ask(server))
    assert len(script.asked) == 4
    assert text == "The sky " * 4
    assert "closed the connection" in found["error"]
    assert script.asked[3]["messages"][-1]["content"] == "The sky " * 3
    assert story(server)["resumes"] == 3


def test_two_deaths_one_answer(server: Server, script: Script) -> None:
    script.play((BEGUN, RESET), (REST[:2], RESET), ([chunk("blue.", id="x"), chunk(finish="stop"), DONE], END))
    text, found = told(ask(server))
    assert text == "The sky is blue."
    assert found["ids"] == {("chatcmpl-one", 7, named("auto"))}
    assert story(server)["resumes"] == 2


def test_a_whole_answer_says_it_in_its_head(server: Server, script: Script) -> None:
    script.play((BEGUN, RESET), ([*REST, *FINISH], END))
    status, headers, answer = server.post("/v1/chat/completions", {"model": named("events"), "messages": HELLO})
    assert status == 200
    assert answer["choices"][0]["message"]["content"] == "The sky is blue."
    assert (answer["usage"]["prompt_tokens"], answer["usage"]["completion_tokens"]) == (11, 5)
    assert headers["x-trunkcall-resumed"] == "text"


@pytest.mark.parametrize("model", ["auto", "events"])
def test_a_client_that_leaves_while_it_goes_on_stops_the_work(server: Server, script: Script, model: str) -> None:
    script.play((BEGUN, RESET), (REST[:2], HANG))
    split = urlsplit(server.url)
    connection = http.client.HTTPConnection(split.hostname or "", split.port, timeout=60)
    connection.request(
        "POST", "/v1/chat/completions", json.dumps({"model": named(model), "messages": HELLO, "stream": True})
    )
    answer = connection.getresponse()
    while b"is " not in answer.readline():
        pass
    connection.close()
    answer.close()
    # The upstream's own silence would be noticed after half a minute.
    row = eventually(lambda: [row for row in [story(server)] if row["error"]], 25)[0]
    assert (row["error"], row["resumes"]) == ("cancelled", 1)


def test_a_deadline_holds(server: Server, script: Script) -> None:
    script.play((BEGUN, HANG))
    body = {"model": named("at-once"), "messages": HELLO, "stream": True}
    _, _, data = server.request("POST", "/v1/chat/completions", body, {"x-trunkcall-timeout": "1.5"})
    assert "deadline" in told(data)[1]["error"]
