"""A chat and its server: one that goes away, keys that stop being good, limits, terms, votes and logs of the operator's."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
import yaml
from playwright.sync_api import expect
from running import Server, eventually
from web.chats import ask, kept, noted, said

pytestmark = [pytest.mark.slow, pytest.mark.timeout(180)]

GONE = ("ERR_", "Failed to load")


def site(home: Path, *words: str, **options: Any) -> Server:
    settings = home / "trunkcall.yaml"
    listener = {"port": 0, "apis": ["openai", "web", "landing", "admin"], "options": {"web": options}}
    settings.write_text(yaml.safe_dump({"listen": [listener], "models": {"echo": "debug", "crawl": "debug:0.2"}}))
    return Server("--config", str(settings), "--no-pocket", *words, home=home)


def test_a_server_that_goes_away_while_it_answers(visit, tmp_path: Path, free_port):
    words = ("--port", str(free_port), "--model", "echo=debug", "--model", "crawl=debug:0.2", "--no-pocket")
    with Server(*words, home=tmp_path) as first:
        page = visit("chat", at=first.url, query="model=crawl", allow=GONE)
        ask(page, "one two three " * 100)
        said(page, "one two three")
        first.process.kill()
        first.process.wait(30)
        expect(page.get_by_role("alert")).to_be_visible()
        said(page, "one two three")
        ask(page, "is anybody there")
        expect(page.get_by_role("alert").last).to_contain_text("cannot be reached")
        page.get_by_role("textbox", name="Ask crawl").fill("half a thought")
    with Server(*words, home=tmp_path):
        expect(page.locator(".offline")).to_be_hidden()
        page.get_by_role("button", name="Again", exact=True).click()
        said(page, "is anybody there")
        expect(page.get_by_role("textbox", name="Ask crawl")).to_have_value("half a thought")
        expect(page.locator(".question")).to_have_count(2)


def test_a_key_that_stops_being_good(visit, closed):
    boss = {"authorization": f"Bearer {closed.secrets['boss']}"}
    secret = closed.server.post("/admin/keys", {"name": "short", "role": "user"}, **boss)[2]["secret"]
    page = visit("chat", at=closed.server.url, query="model=slow", secret=secret, allow=("401",))
    ask(page, "word " * 60)
    said(page, "word word")
    closed.server.request("DELETE", "/admin/keys/short", headers=boss)
    over = page.get_by_role("dialog", name="Sign in again")
    expect(over).to_be_visible()
    over.get_by_label("API key").fill(closed.secrets["anna"])
    over.get_by_role("button", name="Sign in").click()
    expect(over).to_be_hidden()
    expect(page.locator(".question").first).to_contain_text("word word")
    # anna may ask another model only, and goes on in the same chat.
    page.get_by_role("button", name="Model: slow, not offered any more").click()
    page.get_by_role("option").click()
    ask(page, "goes on")
    said(page, "goes on")
    expect(page.locator(".reply h2").last).to_have_text("echo")


def test_a_model_that_is_unloaded_while_it_is_asked(visit, server):
    page = visit("chat", query="model=crawl", allow=GONE)
    server.post("/admin/models", {"name": "brief", "source": "debug:0.3"})
    page.get_by_role("button", name=re.compile("^Model: ")).click()
    page.get_by_role("option", name="brief").click()
    ask(page, "one two three four five six seven eight nine ten")
    said(page, "one two")
    assert server.request("DELETE", "/admin/models/brief")[0] == 200
    # The answer that runs is let to its end; the next question finds nobody.
    said(page, "nine ten")
    expect(page.get_by_role("button", name="Model: brief, not offered any more")).to_be_visible()
    ask(page, "anybody")
    expect(page.locator(".reply").last.get_by_role("alert")).to_contain_text("'brief' does not exist")
    expect(page.locator(".question")).to_have_count(2)


def test_what_the_operator_says_and_limits(visit, tmp_path: Path):
    options = {"heading": "# Our **models**", "terms": "Be *kind*.", "most_characters": 40, "most_turns": 2}
    with site(tmp_path, **options) as server:
        page = visit("chat", at=server.url, query="model=echo", allow=GONE)
        expect(page.get_by_role("region", name="Messages").get_by_role("heading", name="Our models")).to_be_visible()
        expect(page.get_by_role("textbox", name="Ask echo")).to_have_count(0)
        page.get_by_role("button", name="I accept").click()
        field = page.get_by_role("textbox", name="Ask echo")
        field.fill("x" * 41)
        expect(page.get_by_text("41 of 40 characters")).to_be_visible()
        field.press("Enter")
        expect(page.get_by_role("button", name="Send")).to_be_disabled()
        page.goto(f"{server.url}/?model=echo")
        for text in ("one", "two"):
            ask(page, text)
            said(page, text)
        expect(page.get_by_text("This chat has its 2 questions")).to_be_visible()
        field.fill("three")
        expect(page.get_by_role("button", name="Send")).to_be_disabled()
        expect(page.get_by_role("button", name="Good answer")).to_have_count(0)


def test_votes_and_logs(visit, tmp_path: Path):
    folder = tmp_path / "log"
    with site(tmp_path, conversations=str(folder)) as server:
        page = visit("chat", at=server.url, query="model=echo&temperature=0.5&system=be", allow=GONE)
        ask(page, "hello you")
        said(page, "hello you")
        eventually(lambda: len(noted(folder)) == 1)
        page.get_by_role("button", name="Good answer").click()
        expect(page.get_by_role("button", name="Good answer")).to_have_attribute("aria-pressed", "true")
        expect(page.get_by_role("button", name="Bad answer")).to_be_disabled()
        eventually(lambda: len(noted(folder)) == 2)
        page.get_by_role("button", name="Another answer").click()
        expect(page.locator(".branches")).to_have_text("2/2")
        eventually(lambda: len(noted(folder)) == 3)
        page.get_by_role("button", name="Flag").click()
        eventually(lambda: len(noted(folder)) == 4)
        (chat,) = eventually(lambda: [one for one in kept(page, "conversations") if '"flag"' in json.dumps(one)])
        assert sorted(one.get("vote", "") for one in chat["messages"].values()) == ["", "flag", "upvote"]
        page.reload()
        expect(page.get_by_role("button", name="Flag")).to_have_attribute("aria-pressed", "true")
    found = noted(folder)
    assert [line["type"] for line in found] == ["chat", "upvote", "chat", "flag"]
    assert found[0]["gen_params"]["temperature"] == 0.5
    assert found[1]["state"]["system_message"] == "be"
    assert [text for _, text in found[1]["state"]["messages"]] == ["hello you", "hello you"]


def test_a_vote_that_cannot_be_noted_is_taken_back(visit, tmp_path: Path):
    with site(tmp_path, conversations=str(tmp_path / "log")) as server:
        page = visit("chat", at=server.url, query="model=echo", allow=("503", *GONE))
        ask(page, "hello")
        said(page, "hello")
        refusal = {"error": {"message": "the disk is full", "kind": "internal", "param": None}}
        page.route("**/web/api/votes", lambda route: route.fulfill(status=503, json=refusal))
        page.get_by_role("button", name="Bad answer").click()
        expect(page.get_by_text("The vote was not noted: the disk is full")).to_be_visible()
        expect(page.get_by_role("button", name="Bad answer")).to_be_enabled()


def test_a_server_without_models_says_what_to_do(visit, tmp_path: Path):
    settings = tmp_path / "trunkcall.yaml"
    settings.write_text(yaml.safe_dump({"models": {}}))
    with Server("--config", str(settings), "--no-pocket", home=tmp_path) as server:
        page = visit("chat", at=server.url, allow=GONE)
        expect(page.get_by_text("No models yet")).to_be_visible()
        page.get_by_role("button", name="Add a model").click()
        expect(page).to_have_title(re.compile("Models"))
