"""What keeps people with screen readers, keyboards or weak eyes out, as axe-core finds it: nothing serious, anywhere."""

from __future__ import annotations

import json
import re
from typing import Any

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Page, expect
from web.chats import ask
from web_browser import DESKTOP, PHONE

pytestmark = [pytest.mark.slow, pytest.mark.timeout(480)]

PAGES = ["chat", "compare", "battle", "models", "operate", "keys"]
REFUSED = ("status of 401",)
MARKDOWN = """# A heading\n\nSome **bold** text, `code`, [a link](https://example.org) and $a^2+b^2$.\n
| a | b |\n|---|---|\n| 1 | 2 |\n\n```python\ndef f(x: int) -> str:\n    return "text"  # a comment\n```\n\n- one\n- two\n\n> quoted"""


def violations(page: Page) -> list[str]:
    """Those that are serious or critical, a line each, on a desktop and a phone, light and dark."""
    found: list[str] = []
    for size in (DESKTOP, PHONE):
        for scheme in ("light", "dark"):
            page.set_viewport_size(size)
            page.emulate_media(color_scheme=scheme, reduced_motion="reduce")
            page.evaluate("new Promise((resolve) => requestAnimationFrame(() => requestAnimationFrame(resolve)))")
            told: Any = Axe().run(page).response["violations"]
            found.extend(
                f"{size['width']} {scheme} {one['id']}: {node['html'][:160]} | {node['failureSummary'][:300]}"
                for one in told
                if one["impact"] in ("serious", "critical")
                for node in one["nodes"][:3]
            )
    page.set_viewport_size(DESKTOP)
    return found


def opened(page: Page) -> Page:
    expect(page.get_by_role("main").get_by_role("heading", level=1).first).to_be_attached()
    expect(page.locator(".waiting")).to_have_count(0)
    return page


def test_it_finds_what_is_wrong(visit):
    page = opened(visit("models"))
    page.evaluate("document.querySelector('main').append(document.createElement('button'))")
    assert len(violations(page)) == 4


@pytest.mark.parametrize("name", PAGES)
def test_pages_as_they_open(visit, name):
    assert violations(opened(visit(name))) == []


def test_sign_in(visit, closed):
    page = visit("", at=closed.server.url, allow=REFUSED)
    expect(page.get_by_label("API key")).to_be_visible()
    assert violations(page) == []
    page.get_by_label("API key").fill("sk-wrong")
    page.keyboard.press("Enter")
    expect(page.get_by_role("alert")).to_contain_text("not known")
    assert violations(page) == []


def test_sign_in_over_the_page(visit, closed):
    authorization = f"Bearer {closed.secrets['boss']}"
    secret = closed.server.post("/admin/keys", {"name": "short"}, authorization=authorization)[2]["secret"]
    page = opened(visit("chat", at=closed.server.url, secret=secret, allow=REFUSED))
    closed.server.request("DELETE", "/admin/keys/short", headers={"authorization": authorization})
    expect(page.get_by_role("dialog", name="Sign in again")).to_be_visible()
    assert violations(page) == []


def test_a_users_own_use(visit, closed):
    assert violations(opened(visit("usage", at=closed.server.url, secret=closed.secrets["anna"]))) == []


def test_the_frames_dialogs(visit):
    page = opened(visit("models"))
    page.keyboard.press("Control+k")
    expect(page.get_by_role("combobox", name=re.compile("^Search pages"))).to_be_focused()
    assert violations(page) == []
    page.keyboard.press("Escape")
    page.keyboard.press("?")
    expect(page.get_by_role("dialog")).to_be_visible()
    assert violations(page) == []
    page.keyboard.press("Escape")
    page.set_viewport_size(PHONE)
    page.get_by_role("button", name="More", exact=True).click()
    expect(page.get_by_role("dialog")).to_be_visible()
    assert violations(page) == []


@pytest.mark.parametrize("name", PAGES)
def test_what_its_buttons_open(visit, name):
    """Each button that says it opens something is pressed, and what it opens is looked at."""
    page = opened(visit(name))
    buttons = page.get_by_role("main").locator("button[aria-haspopup]:visible:enabled")
    for at in range(min(buttons.count(), 6)):
        buttons.nth(at).click()
        assert violations(page) == [], at
        page.keyboard.press("Escape")


@pytest.mark.parametrize(
    ("name", "button"),
    [("models", "Add a model"), ("keys", "New key"), ("chat", "Settings"), ("operate", "Table")],
)
def test_what_stands_on_a_button_and_opens(visit, name, button):
    page = opened(visit(name))
    page.get_by_role("main").get_by_text(button).or_(page.get_by_role("main").get_by_label(button)).first.click()
    assert violations(page) == []


def test_lists_that_are_long(visit):
    page = visit("operate")
    one = json.loads(page.request.get(f"{page.url.split('#')[0]}web/api/models").text())["models"][0]
    many = {"models": [{**one, "name": f"model-{number}", "description": "one of many " * 4} for number in range(60)]}
    page.route("**/web/api/models", lambda route: route.fulfill(json=many))
    page.goto(f"{page.url.split('#')[0]}#/chat")
    page.reload()
    opened(page)
    page.get_by_role("main").get_by_role("button", name=re.compile("model-0")).first.click()
    expect(page.get_by_role("option", name=re.compile("model-59"))).to_be_attached()
    assert violations(page) == []
    page.keyboard.press("Escape")
    page.keyboard.press("Control+k")
    expect(page.get_by_role("option").nth(50)).to_be_attached()
    assert violations(page) == []


def test_a_conversation(visit):
    page = opened(visit("chat", query="model=echo"))
    ask(page, MARKDOWN)
    expect(page.get_by_role("main").locator("table")).to_be_visible()
    assert violations(page) == []
    page.get_by_role("main").get_by_role("button", name=re.compile("developer", re.IGNORECASE)).last.click()
    for tab in ("JSON", "Events"):
        page.get_by_role("tab", name=tab).click()
        assert violations(page) == []


def test_an_answer_that_comes_and_one_that_was_stopped(visit):
    page = opened(visit("chat", query="model=crawl"))
    # It must not be over before it is stopped.
    ask(page, "one two three four five six seven eight nine ten " * 60)
    expect(page.get_by_role("article").last).to_contain_text("one two")
    assert violations(page) == []
    page.keyboard.press("Escape")
    expect(page.get_by_role("button", name=re.compile("^stop", re.IGNORECASE))).to_have_count(0)
    expect(page.get_by_role("article").last.get_by_text("Stopped").first).to_be_attached()
    assert violations(page) == []


@pytest.mark.parametrize("name", ["compare", "battle"])
def test_answers_side_by_side(visit, name):
    page = opened(visit(name))
    ask(page, MARKDOWN)
    # Of the models of a battle the quicker one may be the one that says a word each second.
    expect(page.get_by_role("main").locator("table:visible").first).to_be_visible(timeout=120_000)
    assert violations(page) == []


def test_votes_and_the_leaderboard(visit):
    page = opened(visit("battle"))
    ask(page, "hello")
    # One of both may have to be loaded.
    page.get_by_role("button", name="A is better").click(timeout=120_000)
    expect(page.get_by_text(re.compile("is better than"))).to_be_visible()
    assert violations(page) == []
    for view in ("Votes", "Leaderboard"):
        page.get_by_role("navigation", name="Parts of this page").get_by_role("link", name=view).click()
        assert violations(page) == []


def test_filled_administration(visit, server):
    for model in ("echo", "slow", "no-such-model"):
        server.chat(model, "hello")
    server.request("POST", "/admin/models", {"name": "broken", "source": "openai:http://127.0.0.1:9/v1"})
    try:
        server.chat("broken", "hello")
        for name in ("models", "models/pocket", "models/broken", "operate"):
            page = opened(visit(name))
            page.wait_for_timeout(500)
            assert violations(page) == [], name
    finally:
        # Battles of other tests draw from all models.
        server.request("DELETE", "/admin/models/broken")


def test_filled_keys(visit, closed):
    limited = {"name": "limited", "tokens_per_day": 1000, "models": ["echo"]}
    authorization = f"Bearer {closed.secrets['boss']}"
    status, _, told = closed.server.post("/admin/keys", limited, authorization=authorization)
    assert status < 300, told
    question = {"model": "echo", "messages": [{"role": "user", "content": "some words " * 20}]}
    closed.server.post("/v1/chat/completions", question, authorization=f"Bearer {told['secret']}")
    page = opened(visit("keys", at=closed.server.url, secret=closed.secrets["boss"]))
    expect(page.get_by_role("main").get_by_text("limited").first).to_be_visible()
    assert violations(page) == []
    page.get_by_text("What was used").click()
    assert violations(page) == []
