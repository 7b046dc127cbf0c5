"""Several answers over one connection: each whole, apart from the others, and stopped by itself."""

from __future__ import annotations

import json
from collections.abc import Generator
from pathlib import Path
from typing import Any
from urllib.request import Request, urlopen

import pytest
import yaml
from running import Server, eventually
from web.thinking_upstream import Upstream, thinking_upstream
from web_browser import chromium

SLOW = "slow=debug:0.05"
ENDLESS = "word " * 4000
"""Three minutes of the slow model."""


@pytest.fixture(scope="module")
def thinker() -> Generator[Upstream]:
    """Whose answer to `wait` ends when its gate is opened."""
    with thinking_upstream() as upstream:
        yield upstream


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory, thinker: Upstream) -> Generator[Server]:
    words = [
        word for model in ("quick=debug", SLOW, f"thinker=openai:{thinker.url}#thinker") for word in ("--model", model)
    ]
    with Server("--no-pocket", *words, home=tmp_path_factory.mktemp("home")) as running:
        yield running


def question(model: str, text: str, **more: Any) -> dict[str, Any]:
    body = {"model": model, "stream": True, "messages": [{"role": "user", "content": text}], **more}
    return {"path": "/v1/chat/completions", "body": body}


def asked(server: Server, *questions: dict[str, Any], **sent: str) -> list[tuple[str, dict[str, Any]]]:
    """All events of the stream; sent: headers."""
    status, headers, data = server.request("POST", "/web/api/ask", {"questions": list(questions)}, sent)
    assert (status, headers["content-type"]) == (200, "text/event-stream")
    found: list[tuple[str, dict[str, Any]]] = []
    for frame in data.decode().removesuffix("\n\n").split("\n\n"):
        event, told = frame.split("\n")
        found.append((event.removeprefix("event: "), json.loads(told.removeprefix("data: "))))
    return found


def body_of(events: list[tuple[str, dict[str, Any]]], part: int) -> str:
    return "".join(told["text"] for event, told in events if event == "body" and told["part"] == part)


def head_of(events: list[tuple[str, dict[str, Any]]], part: int) -> dict[str, Any]:
    (head,) = (told for event, told in events if event == "head" and told["part"] == part)
    return head


def said(events: list[tuple[str, dict[str, Any]]], part: int) -> str:
    body = body_of(events, part)
    chunks = [json.loads(line[6:]) for line in body.splitlines() if line.startswith("data: {")]
    return "".join(chunk["choices"][0]["delta"].get("content") or "" for chunk in chunks if chunk["choices"])


def test_each_answer_is_whole_and_a_refusal_is_its_own(server: Server) -> None:
    events = asked(server, question("quick", "one ünö"), question("nobody", "two"), question("slow", "three"))
    assert events[0][0] == "stream"
    heads = [head_of(events, part) for part in range(3)]
    assert [head["status"] for head in heads] == [200, 404, 200]
    assert (said(events, 0), said(events, 2)) == ("one ünö", "three")
    assert "nobody" in json.loads(body_of(events, 1))["error"]["message"]
    assert sorted(told["part"] for event, told in events if event == "end") == [0, 1, 2]
    ids = {heads[part]["headers"]["x-trunkcall-request-id"] for part in (0, 2)}
    stories = {story["id"] for story in server.get("/admin/requests")["requests"]}
    assert len(ids) == 2 and ids <= stories


@pytest.mark.parametrize(
    ("body", "field"),
    [({}, "questions"), ({"questions": []}, "questions"), ({"questions": [{"path": "/admin/models", "body": {}}]}, "path"),
     ({"questions": [{"path": "/v1/completions", "body": {}}] * 17}, "questions")],
)  # fmt: skip
def test_what_cannot_be_asked_is_refused(server: Server, body: Any, field: str) -> None:
    status, _, told = server.post("/web/api/ask", body)
    assert status == 400 and field in told["error"]["param"]


STRICT = {"x-trunkcall-strict": "1"}


@pytest.mark.parametrize(
    ("apis", "options", "statuses", "strict"),
    [
        # FastChat's own temperature is more than the model can honour.
        ("openai web", {"openai": {"aliases": {"nick": "quick"}}}, [200, 200, 404, 400, 400, 200], [200, 400]),
        ("fastchat_openai web", {}, [200, 400, 400, 400, 400, 200], [400, 400]),
        ("web openai", {}, [200, 404, 404, 400, 400, 200], [200, 400]),
        ("web landing", {}, [404, 404, 404, 404, 404, 404], [404, 404]),
    ],
)
def test_a_question_is_answered_as_at_its_path(
    tmp_path: Path, apis: str, options: dict[str, Any], statuses: list[int], strict: list[int]
) -> None:
    questions = [
        question("quick", "one", stream=False),
        question("nick", "two", stream=False),
        question("nobody", "three"),
        {"path": "/v1/chat/completions", "body": {"messages": 3}},
        {"path": "/v1/completions", "body": []},
        {"path": "/v1/completions", "body": {"model": "quick", "prompt": "one", "top_k": 3}},
    ]
    settings = tmp_path / "trunkcall.yaml"
    listener = {"port": 0, "apis": apis.split(), "options": options}
    settings.write_text(yaml.safe_dump({"listen": [listener], "models": {"quick": "debug"}}))
    with Server("--config", str(settings), "--no-pocket", home=tmp_path) as server:
        for some, sent, wanted in ((questions, {}, statuses), (questions[::5], STRICT, strict)):
            events = asked(server, *some, **sent)
            assert [head_of(events, part)["status"] for part in range(len(some))] == wanted
            for part, one in enumerate(some):
                status, headers, told = server.post(one["path"], one["body"], **sent)
                head, here = head_of(events, part), json.loads(body_of(events, part))
                assert (head["status"], steady(here)) == (status, steady(told))
                passing = ("content-type", "x-trunkcall-dropped")
                assert [head["headers"].get(name) for name in passing] == [headers.get(name) for name in passing]


def steady(told: dict[str, Any]) -> dict[str, Any]:
    """Without what is another one each time."""
    return {name: value for name, value in told.items() if name not in ("id", "created")}


def test_each_part_is_its_callers(closed: Any) -> None:
    server, secret = closed.server, {"authorization": f"Bearer {closed.secrets['anna']}"}
    events = asked(server, question("echo", "one"), question("slow", "two"), **secret)
    assert [head_of(events, part)["status"] for part in range(2)] == [200, 403]
    assert json.loads(body_of(events, 1))["error"]["type"] == "permission_error"
    boss = {"authorization": f"Bearer {closed.secrets['boss']}"}
    rows = json.loads(server.request("GET", "/admin/requests", headers=boss)[2])["requests"]
    assert {(row["key"], row["model"], row["error"]) for row in rows} == {
        ("anna", "echo", ""),
        ("anna", "slow", "forbidden"),
    }
    assert len(rows) == 2


def running_now(server: Server) -> int:
    return sum(r["in_flight"] for model in server.get("/admin/models")["models"] for r in model["replicas"])


def test_one_is_stopped_and_the_others_go_on(server: Server, thinker: Upstream) -> None:
    thinker.begin_anew()
    body = {"questions": [question("slow", ENDLESS), question("thinker", "wait")]}
    request = Request(
        f"{server.url}/web/api/ask", json.dumps(body).encode(), {"content-type": "application/json"}, method="POST"
    )
    with urlopen(request, timeout=30) as answer:
        answer.readline()
        name = json.loads(answer.readline().removeprefix(b"data: "))["stream"]
        eventually(lambda: running_now(server) == 2)
        assert server.post("/web/api/ask/stop", {"stream": name, "part": 0})[0] == 200
        eventually(lambda: running_now(server) == 1)
        thinker.gate.set()
        rest = answer.read().decode()
    assert '"part":1,"text":"data: [DONE]' in rest or "[DONE]" in rest
    stories = server.get("/admin/requests")["requests"][:2]
    assert sorted(story["error"] for story in stories) == ["", "cancelled"]
    assert server.post("/web/api/ask/stop", {"stream": name, "part": 1})[0] == 200


def test_who_leaves_stops_all(server: Server) -> None:
    body = {"questions": [question("slow", ENDLESS)] * 3}
    request = Request(
        f"{server.url}/web/api/ask", json.dumps(body).encode(), {"content-type": "application/json"}, method="POST"
    )
    with urlopen(request, timeout=30) as answer:
        answer.readline()
        eventually(lambda: running_now(server) == 3)
    eventually(lambda: running_now(server) == 0)


EIGHT = """async () => {
  const { askTogether } = await import("/web/lib/answer.js");
  const asked = Array.from({ length: 8 }, (_, index) => ({
    model: "slow", messages: [{ role: "user", content: `answer ${index} ` + "word ".repeat(120) }],
  }));
  const answers = askTogether(asked);
  while (answers.some((answer) => answer.state.value === "waiting")) await new Promise((next) => setTimeout(next, 20));
  const atOnce = answers.filter((answer) => answer.running).length;
  answers[3].stop();
  await Promise.all(answers.map((answer) => answer.ended));
  const told = answers.map((answer) => [answer.state.value, answer.text.value.slice(0, 8), answer.error.value?.message ?? ""]);
  return [atOnce, told];
}"""


@pytest.mark.slow
@pytest.mark.timeout(180)
def test_eight_answers_come_at_once_in_a_browser(server: Server) -> None:
    with chromium() as browser:
        page = browser.new_page()
        page.goto(server.url)
        at_once, told = page.evaluate(EIGHT)
    assert at_once == 8
    assert [state for state, _, _ in told] == ["done"] * 3 + ["stopped"] + ["done"] * 4
    assert [text for index, (_, text, _) in enumerate(told) if index != 3] == [
        f"answer {i}" for i in range(8) if i != 3
    ]
    assert all(error == "" for _, _, error in told)
