"""Our web server among FastChat 0.2.36's own programs: its controller before it, its statistics behind its logs."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
from apis.fastchat_openai_started import Api
from clients import fastchat_real
from clients.fastchat_real import WITHOUT, Site, env, installed, models
from running import eventually

pytestmark = [
    pytest.mark.slow,
    pytest.mark.timeout(480),
    pytest.mark.skipif(not installed(), reason=WITHOUT),
    pytest.mark.xdist_group("fastchat"),
]

CLIENTS = Path(fastchat_real.__file__).parent
CAPITAL = "What is the capital of France?"
PARIS = "The capital of France is Paris."


def run(program: str, *arguments: str) -> str:
    done = subprocess.run(
        [sys.executable, CLIENTS / program, *arguments],
        env=env(web=True),
        text=True,
        capture_output=True,
        timeout=240,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def lines(folder: Path) -> list[dict[str, Any]]:
    (file,) = folder.glob("*-conv.json")
    return [json.loads(line) for line in file.read_text().splitlines()]


def shape(value: Any) -> Any:
    """Keys in their order, and what kinds of values they have; how long lists are does not count."""
    if isinstance(value, dict):
        return [(key, shape(member)) for key, member in value.items()]
    if isinstance(value, list):
        return [shape(member) for member in value[:1]]
    return type(value).__name__


class Visitor:
    """Who uses our page as its scripts do."""

    def __init__(self, web: Api) -> None:
        self._web = web

    def ask(self, model: str) -> dict[str, Any]:
        """Ask and have it logged; gives the conversation."""
        start = time.time()
        asked = {"model": model, "temperature": 0.0, "top_p": 1.0, "max_tokens": 64}
        messages = [{"role": "user", "content": CAPITAL}]
        status, answer = self._web.post("/v1/chat/completions", {**asked, "messages": messages})
        assert status == 200, answer
        said = answer["choices"][0]["message"]["content"]
        conversation = {
            "conversation_id": f"conversation-with-{model}",
            "model": model,
            "messages": [*messages, {"role": "assistant", "content": said}],
            "start": start,
            "finish": time.time(),
            "parameters": {"temperature": 0.0, "top_p": 1.0, "max_tokens": 64},
        }
        self._post("conversations", conversation)
        return conversation

    def vote(self, vote: str, *conversations: dict[str, Any], anonymous: bool = False) -> None:
        self._post("votes", {"vote": vote, "anonymous": anonymous, "conversations": conversations})

    def _post(self, path: str, body: Any) -> None:
        found = self._web.post(f"/web/api/{path}", body, **{"content-type": "application/json"})
        assert found == (200, {"logged": True})


def test_our_page_is_logged_as_theirs_and_their_statistics_read_it(tmp_path: Path) -> None:
    theirs, ours = tmp_path / "theirs", tmp_path / "ours"
    theirs.mkdir()
    ours.mkdir()
    site, other = Site(theirs), Site(ours)
    try:
        controller = site.real("controller")
        controller.listens()
        for name in ("pocket", "second"):
            words = ("--model-path", "pocket", "--model-names", name, "--controller-address", controller.url)
            site.ours("model_worker", *words)
        eventually(lambda: models(controller.url) == {"pocket", "second"}, 120, 0.1)
        asked = ("--controller-url", controller.url, "--model-list-mode", "reload")
        real = site.real("gradio_web_server", *asked, web=True)
        page = other.ours("gradio_web_server", *asked)
        page.listens()
        web = Api(page.url)
        eventually(lambda: _shown(web) == ["pocket", "second"], 120, 0.1)
        assert web.raw("GET", "/")[0] == 200
        visitor = Visitor(web)
        first = visitor.ask("pocket")
        visitor.vote("upvote", first)
        visitor.ask("pocket")
        visitor.vote("flag", first)
        alike = lines(ours)
        second = visitor.ask("second")
        visitor.vote("left", first, second, anonymous=True)
        visitor.vote("tie", first, second)
        real.listens()
        run("gradio_votes.py", real.url, "pocket")
    finally:
        site.end()
        other.end()
    wanted = lines(theirs)
    assert [line["type"] for line in alike] == [line["type"] for line in wanted] == ["chat", "upvote", "chat", "flag"]
    assert [shape(line) for line in alike] == [shape(line) for line in wanted]
    for one, another in zip(alike, wanted, strict=True):
        states = [line["state"]["messages"][line["state"]["offset"] :] for line in (one, another)]
        assert states[0] == states[1] == [["Human", CAPITAL], ["Assistant", PARIS]]
        assert one.get("gen_params") == another.get("gen_params")
        assert one["ip"] == another["ip"]
    (log,) = ours.glob("*-conv.json")
    found = json.loads(run("fastchat_monitor.py", str(log)).splitlines()[-1])
    assert [row["type"] for row in found["rows"]] == ["chat", "upvote", "chat", "flag", "chat", "leftvote", "tievote"]
    battles = [
        [battle[key] for key in ("model_a", "model_b", "winner", "anony", "turn")] for battle in found["battles"]
    ]
    assert battles == [["pocket", "second", "model_a", True, 1], ["pocket", "second", "tie", False, 1]]
    assert found["ratings"]["pocket"] > found["ratings"]["second"]


def _shown(web: Api) -> list[str]:
    return sorted(model["name"] for model in web.get("/web/api/models")[1]["models"])
