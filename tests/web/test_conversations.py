"""The page's conversations and votes over HTTP: logged when it is wanted, refused clearly when it cannot be."""

from __future__ import annotations

import json
import os
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest
import yaml
from running import Server

from trunkcall.web.conversations import MOST_BODY

CHAT = "/web/api/conversations"
VOTES = "/web/api/votes"
SAID: dict[str, Any] = {
    "conversation_id": "c1",
    "model": "echo",
    "messages": [{"role": "user", "content": "Hello"}, {"role": "assistant", "content": "Hello"}],
    "start": 1,
    "finish": 2,
}
UPVOTE = {"vote": "upvote", "conversations": [SAID]}


def site(home: Path, **options: Any) -> Server:
    """A server on loopback with the page."""
    settings = home / "trunkcall.yaml"
    listener = {"port": 0, "apis": ["openai", "web", "landing", "admin"], "options": {"web": options}}
    settings.write_text(yaml.safe_dump({"listen": [listener], "models": {"echo": "debug", "other": "debug"}}))
    return Server("--config", str(settings), "--no-pocket", home=home)


def lines(folder: Path) -> list[dict[str, Any]]:
    """What is in the log of today, or of the day that has just ended."""
    (file,) = folder.glob("*-conv.json")
    assert abs((datetime.now() - datetime.strptime(file.name, "%Y-%m-%d-conv.json")).total_seconds()) < 90000
    text = file.read_text(encoding="ascii")
    assert text.endswith("\n")
    return [json.loads(line) for line in text.splitlines()]


def test_what_is_posted_is_logged(tmp_path: Path) -> None:
    folder = tmp_path / "said" / "deep"
    with site(tmp_path, conversations=str(folder)) as server:
        assert server.get("/web/api/session")["conversations"] is True
        assert not folder.exists()
        assert server.post(CHAT, SAID)[::2] == (200, {"logged": True})
        assert server.post(VOTES, UPVOTE)[0] == 200
        battle = {"vote": "left", "anonymous": True, "conversations": [SAID, {**SAID, "model": "other"}]}
        assert server.post(VOTES, battle)[0] == 200
        # A model that has gone in the meantime was asked all the same.
        assert server.post(CHAT, {**SAID, "model": "gone"})[0] == 200
    found = lines(folder)
    assert [line["type"] for line in found] == ["chat", "upvote", "leftvote", "chat"]
    assert {line["ip"] for line in found} == {"127.0.0.1"}
    assert [state["model_name"] for state in found[2]["states"]] == ["echo", "other"]
    (file,) = folder.iterdir()
    assert file.stat().st_mode & 0o777 == 0o600


def test_what_is_wrong_is_not_logged(tmp_path: Path) -> None:
    folder = tmp_path / "said"
    with site(tmp_path, conversations=str(folder)) as server:
        for path, body, status, param in (
            (CHAT, {**SAID, "model": 5}, 400, "model"),
            (VOTES, {**UPVOTE, "vote": "tie"}, 400, "conversations"),
            (VOTES, b"{", 400, None),
            (CHAT, {**SAID, "system": "x" * MOST_BODY}, 413, None),
        ):
            found, _, told = server.post(path, body)
            assert (found, told["error"]["param"]) == (status, param)
        status, _, data = server.request("POST", CHAT, SAID, {"content-type": "text/plain"})
        assert (status, json.loads(data)["error"]["param"]) == (400, "content-type")
        assert server.request("GET", CHAT)[0] == 405
    assert not folder.exists()


def test_without_a_folder_nothing_is_logged(tmp_path: Path) -> None:
    with site(tmp_path) as server:
        assert server.get("/web/api/session")["conversations"] is False
        for path, body in ((CHAT, SAID), (VOTES, UPVOTE)):
            status, _, told = server.post(path, body)
            assert (status, told["error"]["kind"]) == (404, "no_route")
            assert "conversations: FOLDER" in told["error"]["message"]


def test_a_closed_server_logs_what_its_callers_may_ask(tmp_path: Path) -> None:
    folder = tmp_path / "said"
    with site(tmp_path, conversations=str(folder)) as server:
        boss = server.post("/admin/keys", {"name": "boss", "role": "admin"})[2]["secret"]
        wanted = {"name": "anna", "role": "user", "models": ["echo"]}
        anna = server.post("/admin/keys", wanted, authorization=f"Bearer {boss}")[2]["secret"]
        assert server.post(CHAT, SAID)[0] == 401
        assert server.post(CHAT, SAID, authorization=f"Bearer {anna}")[0] == 200
        status, _, told = server.post(CHAT, {**SAID, "model": "other"}, authorization=f"Bearer {anna}")
        assert (status, told["error"]["kind"]) == (403, "forbidden")
        two = {"vote": "tie", "conversations": [SAID, {**SAID, "model": "other"}]}
        assert server.post(VOTES, two, authorization=f"Bearer {anna}")[0] == 403
        assert server.post(VOTES, two, authorization=f"Bearer {boss}")[0] == 200
    assert [line["type"] for line in lines(folder)] == ["chat", "tievote"]


def test_pages_of_other_sites_cannot_write_into_the_log(tmp_path: Path) -> None:
    folder = tmp_path / "said"
    with site(tmp_path, conversations=str(folder)) as server:
        elsewhere = {"origin": "http://elsewhere.example", "sec-fetch-site": "cross-site"}
        assert server.request("POST", CHAT, SAID, elsewhere)[0] == 403
        assert server.request("POST", CHAT, SAID, {"sec-fetch-site": "same-origin"})[0] == 200
    assert len(lines(folder)) == 1


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no /dev/full, which stands for a full disk")
def test_a_full_disk_is_said_and_serving_goes_on(tmp_path: Path) -> None:
    folder = tmp_path / "said"
    folder.mkdir()
    # On both sides of a midnight that may pass.
    for day in (datetime.now().date(), datetime.fromtimestamp(datetime.now().timestamp() + 86400).date()):
        os.symlink("/dev/full", folder / f"{day}-conv.json")
    with site(tmp_path, conversations=str(folder)) as server:
        status, _, told = server.post(CHAT, SAID)
        assert (status, told["error"]["kind"]) == (503, "no_capacity")
        assert "No space left on device" in told["error"]["message"]
        assert str(folder) not in told["error"]["message"]
        assert server.chat("echo", "Hello")[0] == 200
    assert str(folder) in server.output
    assert "Traceback" not in server.output
