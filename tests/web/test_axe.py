"""What keeps people with screen readers, keyboards or weak eyes out, as axe-core finds it: nothing serious, anywhere."""

from __future__ import annotations

import re

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Page, expect

pytestmark = [pytest.mark.slow, pytest.mark.timeout(180)]

PAGES = ["chat", "compare", "battle", "models", "operate", "keys"]
REFUSED = ("status of 401",)


def serious(page: Page) -> list[str]:
    """The violations that are serious or critical, one line each."""
    # What fades in is looked at when it is there.
    page.evaluate(
        "Promise.allSettled(document.getAnimations().filter((a) => a.effect.getTiming().iterations === 1).map((a) => a.finished))"
    )
    found = Axe().run(page).response["violations"]
    return [
        f"{one['id']}: {node['html'][:160]} | {node['failureSummary'][:300]}"
        for one in found
        if one["impact"] in ("serious", "critical")
        for node in one["nodes"][:3]
    ]


def opened(page: Page) -> Page:
    expect(page.get_by_role("main").get_by_role("heading", level=1).first).to_be_attached()
    expect(page.locator(".waiting")).to_have_count(0)
    return page


@pytest.mark.parametrize("name", PAGES)
def test_pages_as_they_open(visit, look, name):
    page = opened(visit(name, look=look))
    assert serious(page) == []


def test_sign_in(visit, look, closed):
    page = visit("", look=look, at=closed.server.url, allow=REFUSED)
    expect(page.get_by_label("API key")).to_be_visible()
    assert serious(page) == []
    page.get_by_label("API key").fill("sk-wrong")
    page.keyboard.press("Enter")
    expect(page.get_by_role("alert")).to_contain_text("not known")
    assert serious(page) == []


def test_a_users_own_use(visit, look, closed):
    page = opened(visit("usage", look=look, at=closed.server.url, secret=closed.secrets["anna"]))
    assert serious(page) == []


def test_the_frames_dialogs(visit, look):
    page = opened(visit("models", look=look))
    page.keyboard.press("Control+k")
    expect(page.get_by_role("combobox")).to_be_focused()
    assert serious(page) == []
    page.keyboard.press("Escape")
    page.keyboard.press("?")
    expect(page.get_by_role("dialog")).to_be_visible()
    assert serious(page) == []
    page.keyboard.press("Escape")
    more = page.get_by_role("button", name="More", exact=True)
    if more.is_visible():
        more.click()
        expect(page.get_by_role("dialog")).to_be_visible()
        assert serious(page) == []


def test_every_dialog_that_a_page_opens(visit, look):
    """Each button that says it opens something is pressed, and what it opens is looked at."""
    for name in PAGES:
        page = opened(visit(name, look=look))
        buttons = page.get_by_role("main").locator("button[aria-haspopup]:visible")
        for at in range(buttons.count()):
            buttons.nth(at).click()
            assert serious(page) == [], (name, buttons.nth(at).get_attribute("aria-label"))
            page.keyboard.press("Escape")


def ask(page: Page, text: str) -> None:
    composer = page.get_by_role("main").get_by_role("textbox").last
    composer.fill(text)
    composer.press("Enter")


MARKDOWN = """# A heading\n\nSome **bold** text, `code`, [a link](https://example.org) and $a^2+b^2$.\n
| a | b |\n|---|---|\n| 1 | 2 |\n\n```python\ndef f(x: int) -> str:\n    return "text"  # a comment\n```\n\n- one\n- two\n\n> quoted"""


def test_a_conversation(visit, look):
    page = opened(visit("chat", look=look, query="model=echo"))
    ask(page, MARKDOWN)
    expect(page.get_by_role("main").locator("table")).to_be_visible()
    assert serious(page) == []
    page.get_by_role("main").get_by_role("button", name=re.compile("more|develop", re.IGNORECASE)).last.click()
    assert serious(page) == []


def test_an_answer_that_comes_and_one_that_was_stopped(visit, look):
    page = opened(visit("chat", look=look, query="model=crawl"))
    ask(page, "one two three four five six seven eight nine ten")
    expect(page.get_by_role("main").get_by_text("one two", exact=False).last).to_be_visible()
    assert serious(page) == []
    page.keyboard.press("Escape")
    expect(page.get_by_role("button", name=re.compile("^stop", re.IGNORECASE))).to_have_count(0)
    assert serious(page) == []


@pytest.mark.parametrize("name", ["compare", "battle"])
def test_answers_side_by_side(visit, look, name):
    page = opened(visit(name, look=look))
    ask(page, MARKDOWN)
    expect(page.get_by_role("main").locator("table:visible").first).to_be_visible()
    assert serious(page) == []


def test_filled_administration(visit, look, server):
    for model in ("echo", "slow", "no-such-model"):
        server.chat(model, "hello")
    server.request("POST", "/admin/models", {"name": "broken", "source": "/no/such/file.gguf"})
    for name in ("models", "operate"):
        page = opened(visit(name, look=look))
        page.wait_for_timeout(500)
        assert serious(page) == [], name


def test_filled_keys(visit, look, closed):
    limited = {"name": f"limited-{look.scheme}-{look.size['width']}", "tokens_per_day": 1000, "models": ["echo"]}
    status, _, data = closed.server.post("/admin/keys", limited, authorization=f"Bearer {closed.secrets['boss']}")
    assert status < 300, data
    closed.server.post(
        "/v1/chat/completions",
        {"model": "echo", "messages": [{"role": "user", "content": "some words " * 20}]},
        authorization=f"Bearer {data['secret']}",
    )
    page = opened(visit("keys", look=look, at=closed.server.url, secret=closed.secrets["boss"]))
    expect(page.get_by_role("main").get_by_text(limited["name"]).first).to_be_visible()
    assert serious(page) == []
