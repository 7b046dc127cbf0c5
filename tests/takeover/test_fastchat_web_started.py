"""FastChat's web servers as they are started by the old commands: the page, its models, users and logs, by HTTP."""

from __future__ import annotations

import base64
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from apis.fastchat_openai_peers import Peer, peer
from apis.fastchat_openai_started import Api, started
from running import eventually
from tool_caller import tool_caller

pytestmark = pytest.mark.timeout(180)

ASK = [{"role": "user", "content": "Who are you?"}]


@pytest.fixture
def controller() -> Iterator[Peer]:
    with peer() as made:
        yield made


def names(web: Api, **headers: str) -> list[str]:
    """Of the models that the page shows."""
    status, found = web.get("/web/api/models", **headers)
    assert status == 200, found
    return sorted(model["name"] for model in found["models"])


def basic(user: str, password: str) -> str:
    return "Basic " + base64.b64encode(f"{user}:{password}".encode()).decode()


@pytest.mark.parametrize(
    ("command", "pages"),
    [("gradio_web_server", ["chat"]), ("gradio_web_server_multi", ["battle", "compare", "chat"])],
)
def test_the_page_chats_and_logs(tmp_path: Path, controller: Peer, command: str, pages: list[str]) -> None:
    arguments = ("--controller-url", controller.url, "--model-list-mode", "reload", "--show-terms-of-use")
    logs = tmp_path / "logs"
    with started(tmp_path / "as", *arguments, env={"LOGDIR": str(logs)}, command=command) as web:
        status, headers, page = web.raw("GET", "/", headers={"accept": "*/*"})
        assert (status, headers["content-type"]) == (200, "text/html; charset=utf-8")
        assert b"<script" in page
        assert "script-src 'self'" in headers["content-security-policy"]
        status, session = web.get("/web/api/session")
        told = {key: session[key] for key in ("open", "signed_in", "pages", "locked", "conversations", "most_turns")}
        assert told == {
            "open": True,
            "signed_in": True,
            "pages": pages,
            "locked": True,
            "conversations": True,
            "most_turns": 50,
        }
        assert session["terms"]
        eventually(lambda: names(web) == ["tinyrand"], 60)
        status, answer = web.post("/v1/chat/completions", {"model": "tinyrand", "messages": ASK})
        assert (status, answer["choices"][0]["message"]["content"]) == (200, "Hello wörld")
        # FastChat's, where a question does not say.
        (asked,) = controller.of("worker_generate_stream")
        assert asked["temperature"] == 0.7
        status, refused = web.post("/v1/chat/completions", {"model": "nobody", "messages": ASK})
        assert (status, refused["error"]["code"]) == (404, "model_not_found")
        said = {
            "conversation_id": "c1",
            "model": "tinyrand",
            "messages": [*ASK, {"role": "assistant", "content": "Hello wörld"}],
            "start": 1.5,
            "finish": 2.5,
        }
        post: Any = lambda path, body: web.post(path, body, **{"content-type": "application/json"})  # noqa: E731
        assert post("/web/api/conversations", said)[0] == 200
        assert post("/web/api/votes", {"vote": "downvote", "conversations": [said]})[0] == 200
        for path in ("/admin/models", "/metrics", "/debug"):
            assert web.raw("GET", path)[0] == 404
    (file,) = logs.iterdir()
    assert [json.loads(line)["type"] for line in file.read_text().splitlines()] == ["chat", "downvote"]


@pytest.mark.slow
def test_models_come_later_or_not_at_all(tmp_path: Path, controller: Peer) -> None:
    given = ("--controller-url", controller.url, "--model-list-mode")
    with (
        started(tmp_path / "once", *given, "once", command="gradio_web_server") as once,
        started(tmp_path / "reload", *given, "reload", command="gradio_web_server") as reload,
    ):
        for web in (once, reload):
            eventually(lambda web=web: names(web) == ["tinyrand"], 60)
        controller.models = ["other", "tinyrand"]
        eventually(lambda: names(reload) == ["other", "tinyrand"], 60)
        # It has looked again by now, as it is asked to.
        assert once.get("/v1/models")[0] == 200
        assert names(once) == ["tinyrand"]


def test_users_sign_in_with_their_own_password(tmp_path: Path, controller: Peer) -> None:
    users = tmp_path / "users"
    users.write_text("ann:s3cret,bób:pässwörd")
    arguments = ("--controller-url", controller.url, "--gradio-auth-path", str(users), "--password", "of-the-page")
    with started(tmp_path / "as", *arguments, command="gradio_web_server_multi") as web:
        assert web.raw("GET", "/")[0] == 200
        status, session = web.get("/web/api/session")
        assert (status, session["signed_in"], session["sign_in"], session["pages"]) == (200, False, "password", [])
        for shown, known in (
            (basic("ann", "s3cret"), True),
            (basic("bób", "pässwörd"), True),
            (basic("anybody", "of-the-page"), True),
            ("Bearer of-the-page", True),
            ("Bearer ann:s3cret", True),
            (basic("ann", "pässwörd"), False),
            (basic("bób", "s3cret"), False),
            (basic("", "s3cret"), False),
            ("Bearer s3cret", False),
        ):
            assert web.get("/web/api/session", authorization=shown)[1]["signed_in"] is known, shown
            for path in ("/web/api/models", "/v1/models"):
                assert web.get(path, authorization=shown)[0] == (200 if known else 401), shown
        status, session = web.get("/web/api/session", authorization=basic("ann", "s3cret"))
        assert session["pages"] == ["battle", "compare", "chat"]
        assert web.post("/api/v1/token_check", {"prompts": []})[0] == 401
        said = (tmp_path / "as" / "log").read_text()
        assert "s3cret" not in said
        assert "of-the-page" not in said


def test_without_a_controller_the_models_of_a_file_are_shown(tmp_path: Path) -> None:
    with tool_caller() as url:
        file = tmp_path / "endpoints.json"
        entry = {"model_name": "their-caller", "api_type": "openai", "api_base": url, "api_key": "s3cret"}
        file.write_text(json.dumps({"theirs": {**entry, "anony_only": False}}))
        arguments = ("--controller-url", "", "--register-api-endpoint-file", str(file))
        with started(tmp_path / "as", *arguments, command="gradio_web_server_multi") as web:
            assert names(web) == ["theirs"]
            assert web.chat("theirs", tools=[{"type": "function", "function": {"name": "f"}}])[0] == 200
            assert "s3cret" not in (tmp_path / "as" / "log").read_text()
