"""Chats as they are kept in a browser: listed, searched, deleted and brought back, taken along, shared by tabs, or not kept."""

from __future__ import annotations

import json
import re
import time
from pathlib import Path

import pytest
from playwright.sync_api import Page, expect
from running import Server, eventually
from web.chats import answered, ask, kept, kept_answer, listed, said, unhurried
from web_browser import PHONE

pytestmark = [pytest.mark.slow, pytest.mark.timeout(180)]


@pytest.fixture(scope="module")
def server(thinking) -> Server:
    return thinking.server


def chat(page: Page, text: str) -> None:
    """A new chat with one question and its answer."""
    page.get_by_role("button", name="New chat").click()
    expect(page.locator(".question")).to_have_count(0)
    ask(page, text)
    answered(page, text.split(maxsplit=1)[0])


def do(page: Page, title: str, what: str) -> None:
    page.get_by_role("button", name=f"What to do with “{title}”").click()
    page.get_by_role("menuitem", name=what, exact=True).click()


def test_the_list(visit):
    page = visit("chat", query="model=echo")
    for text in ("apples and pears", "cherries", "plums"):
        chat(page, text)
    expect(listed(page)).to_have_text(["plums", "cherries", "apples and pears"])
    listed(page).filter(has_text="cherries").click()
    said(page, "cherries")
    expect(listed(page).filter(has_text="cherries")).to_have_attribute("aria-current", "true")
    do(page, "cherries", "Rename")
    expect(page.get_by_role("textbox", name="Rename")).to_be_focused()
    page.keyboard.type("red fruit")
    page.keyboard.press("Enter")
    expect(listed(page)).to_have_text(["plums", "red fruit", "apples and pears"])
    do(page, "plums", "Rename")
    expect(page.get_by_role("textbox", name="Rename")).to_be_focused()
    page.keyboard.type("x")
    page.keyboard.press("Escape")
    search = page.get_by_role("searchbox", name="Search chats")
    # In texts, and in titles.
    search.fill("cherries")
    expect(listed(page)).to_have_text(["red fruit"])
    search.fill("PEARS app")
    expect(listed(page)).to_have_text(["apples and pears"])
    search.fill("no such fruit")
    expect(page.get_by_text("No chat holds these words.")).to_be_visible()
    search.fill("")
    unhurried(page)
    do(page, "plums", "Delete")
    expect(listed(page)).to_have_text(["red fruit", "apples and pears"])
    page.get_by_role("button", name="Undo").click()
    expect(listed(page)).to_have_text(["plums", "red fruit", "apples and pears"])
    # The one that is shown.
    do(page, "red fruit", "Delete")
    expect(page.locator(".question")).to_have_count(0)
    expect(page.get_by_text("Deleted “red fruit”")).to_be_visible()
    page.reload()
    expect(listed(page)).to_have_text(["plums", "apples and pears"])


def test_a_chat_that_is_not_here_says_so(visit):
    page = visit("chat/nothing")
    expect(page.get_by_text("This chat is not in this browser.")).to_be_visible()
    expect(page).to_have_url(re.compile("#/chat/new$"))


def test_by_day(visit, tmp_path: Path):
    page = visit("chat", query="model=echo")
    now = time.time() * 1000
    for days in (0, 1, 40):
        at = now - days * 86_400_000
        bring(page, tmp_path, f"days{days}", [conversation(f"c{days}", at)])
    headings = page.get_by_role("navigation", name="Chats").get_by_role("heading")
    expect(headings).to_have_text(["Today", "Yesterday", re.compile(r"^\w+, \w+ \d+, \d{4}$")])


def conversation(name: str, at: float) -> dict:
    question = {"id": "q1", "parent": "", "role": "user", "at": at, "text": f"question of {name}"}
    return {"id": name, "title": f"title of {name}", "changed": at, "messages": [question], "chosen": {"": "q1"}}


def file_of(conversations: list[dict]) -> str:
    return json.dumps({"format": "trunkcall.conversations", "version": 1, "conversations": conversations})


def bring(page: Page, folder: Path, name: str, conversations: list[dict] | str) -> None:
    path = folder / f"{name}.json"
    path.write_text(conversations if isinstance(conversations, str) else file_of(conversations))
    page.locator(".list input[type=file]").set_input_files(str(path))


@pytest.mark.parametrize(("kind", "ending"), [("JSON", "json"), ("Markdown", "md")])
def test_out_and_in(visit, tmp_path: Path, kind, ending):
    page = visit("chat", query="model=echo&temperature=0.5")
    chat(page, "one\n\n## two")
    chat(page, "three")
    page.get_by_role("button", name="All chats").click()
    with page.expect_download() as download:
        page.get_by_role("menuitem", name=f"Export all as {kind}").click()
    assert download.value.suggested_filename == f"trunkcall-chats.{ending}"
    every = tmp_path / f"every.{ending}"
    download.value.save_as(every)
    page.get_by_role("button", name="This chat").click()
    with page.expect_download() as download:
        page.get_by_role("menuitem", name=f"Export as {kind}").click()
    assert download.value.suggested_filename == f"three.{ending}"
    one = tmp_path / f"one.{ending}"
    download.value.save_as(one)
    assert "two" in every.read_text()
    assert "two" not in one.read_text()
    other = visit("chat", query="model=echo")
    for path, titles in ((one, ["three"]), (every, ["three", "one ## two"])):
        if ending == "md":
            # Without names of its own: what comes again comes twice.
            other.evaluate("import('/web/lib/store.js').then((store) => store.clear('conversations'))")
            other.reload()
            expect(listed(other)).to_have_count(0)
        other.locator(".list input[type=file]").set_input_files(str(path))
        expect(listed(other)).to_have_text(titles)
    listed(other).last.click()
    expect(other.locator(".question-text")).to_have_text("one\n\n## two")
    expect(other.locator(".reply h2").first).to_have_text("echo")
    expect(other.get_by_role("button", name="Settings, one of them set")).to_be_visible()


def test_junk_changes_nothing(visit, tmp_path: Path):
    page = visit("chat", query="model=echo")
    chat(page, "mine")
    kept_answer(page, "done")
    before = kept(page, "conversations")
    for name, text in (
        ("junk", "hello"),
        ("half", file_of([conversation("c1", 1), {"id": 5}])),
        ("cut", file_of([])[:-4]),
    ):
        bring(page, tmp_path, name, text)
        expect(page.get_by_text(f"{name}.json was not imported")).to_be_visible()
    assert kept(page, "conversations") == before
    expect(listed(page)).to_have_text(["mine"])


def test_what_comes_again_is_united_with_what_is_here(visit, tmp_path: Path):
    page = visit("chat", query="model=echo")
    bring(page, tmp_path, "first", [conversation("c1", 1000)])
    listed(page).click()
    ask(page, "of mine")
    said(page, "of mine")
    theirs = conversation("c1", 2000)
    theirs["messages"].append({"id": "q2", "parent": "", "role": "user", "at": 2000, "text": "of theirs"})
    bring(page, tmp_path, "second", [theirs])
    expect(page.locator(".branches")).to_have_text("1/2")
    expect(page.locator(".question-text")).to_have_text(["question of c1", "of mine"])


def said_whole(page: Page, question: str) -> str:
    """What the upstream has answered to this as it is kept, empty before its end."""
    (found,) = kept(page, "conversations")
    begin = f"0 images; {question}"
    whole = (one["text"] for one in found["messages"].values() if one.get("state") == "done")
    return next((text for text in whole if text.startswith(begin)), "")


def test_two_tabs(visit, upstream):
    first = visit("chat", query="model=thinker")
    second = first.context.new_page()
    second.goto(first.url.split("?")[0] + "#/chat")
    expect(second.get_by_text("What you ask is listed here.")).to_be_visible()
    ask(first, "wait for me")
    said(first, "wait for me..")
    expect(listed(second)).to_have_text(["wait for me"])
    listed(second).click()
    expect(second.get_by_text("This answer comes in another tab.")).to_be_visible()
    # Here it grows by what the other tab keeps.
    said(second, "wait for me...")
    second.locator(".question").hover()
    second.get_by_role("button", name="Edit and ask again").click()
    field = second.get_by_role("textbox", name="Edit and ask again")
    field.fill("from the second")
    field.press("Enter")
    said(second, "0 images; from the second")
    second.get_by_role("button", name="Version before").click()
    upstream.gate.set()
    expect(first.get_by_role("button", name="Send")).to_be_visible()
    expect(second.get_by_text("This answer comes in another tab.")).to_be_hidden()
    whole = eventually(lambda: said_whole(first, "wait for me"))
    expect(first.locator(".reply .markdown")).to_have_text(whole)
    expect(second.locator(".reply .markdown")).to_have_text(whole)
    expect(first.locator(".branches")).to_have_text("1/2")
    wanted = sorted(["wait for me", whole, "from the second", "0 images; from the second"])

    def texts() -> list[str]:
        return sorted(message["text"] for message in kept(first, "conversations")[0]["messages"].values())

    eventually(lambda: texts() == wanted)


def test_deleted_in_another_tab_while_an_answer_comes(visit, upstream):
    first = visit("chat", query="model=thinker")
    ask(first, "wait for me")
    said(first, "wait for me..")
    second = first.context.new_page()
    second.goto(first.url.split("?")[0] + "#/chat")
    for page in (first, second):
        unhurried(page)
    do(second, "wait for me", "Delete")
    expect(first.get_by_text("This chat was deleted in another tab.")).to_be_visible()
    assert upstream.left.wait(30)
    expect(first.locator(".question")).to_have_count(0)
    assert kept(first, "conversations") == []
    second.get_by_role("button", name="Undo").click()
    expect(listed(first)).to_have_text(["wait for me"])


def test_a_tab_that_was_closed_while_an_answer_came(visit, upstream):
    first = visit("chat", query="model=thinker")
    ask(first, "wait for me")
    said(first, "wait for me..")
    first.reload()
    assert upstream.left.wait(30)
    expect(first.get_by_role("alert")).to_contain_text("The page was closed before the answer was complete.")
    said(first, "wait for me.")
    upstream.gate.set()
    first.get_by_role("button", name="Continue").click()
    expect(first.get_by_role("alert")).to_be_hidden()
    answered(first, "0 images; wait for me")


def test_leaving_the_page_does_not_stop_an_answer(visit, upstream):
    page = visit("chat", query="model=thinker")
    ask(page, "wait for me")
    said(page, "wait for me..")
    page.get_by_role("link", name="Models", exact=True).click()
    expect(page).to_have_title(re.compile("Models"))
    upstream.gate.set()
    page.get_by_role("link", name="Chat", exact=True).click()
    said(page, "wait for me..")
    expect(page.locator(".answer-figures")).to_contain_text("5 tokens")
    assert not upstream.left.is_set()


FORBIDDEN = """for (const name of ["indexedDB", "localStorage", "sessionStorage"]) {
  Object.defineProperty(window, name, {get() { throw new DOMException("forbidden", "SecurityError"); }}); }"""


def test_a_browser_that_keeps_nothing(visit, server):
    page = visit("chat", query="model=echo")
    page.add_init_script(FORBIDDEN)
    page.goto(f"{server.url}/?model=echo#/chat/new")
    page.reload()
    ask(page, "hello")
    said(page, "hello")
    expect(page.get_by_text("This browser keeps nothing for this page")).to_be_visible()
    page.get_by_role("button", name="Understood").click()
    chat(page, "more")
    expect(page.get_by_text("This browser keeps nothing for this page")).to_be_hidden()
    expect(listed(page)).to_have_text(["more", "hello"])
    listed(page).last.click()
    said(page, "hello")
    do(page, "more", "Delete")
    expect(listed(page)).to_have_text(["hello"])


# Deleting goes on for as long as the browser can draw some frames meanwhile.
SLOW = """() => { const really = IDBObjectStore.prototype.delete;
  IDBObjectStore.prototype.delete = function (id) {
    const end = performance.now() + 400;
    const waste = () => { if (performance.now() < end) this.get("none").onsuccess = waste; };
    waste();
    return really.call(this, id); }; }"""


@pytest.mark.parametrize("how", ["() => {}", SLOW], ids=["quick", "slow"])
def test_the_list_on_a_phone(visit, how):
    page = visit("chat", size=PHONE, query="model=echo")
    page.evaluate(how)
    unhurried(page)
    ask(page, "on a phone")
    said(page, "on a phone")
    page.get_by_role("button", name="Chats", exact=True).click()
    do(page, "on a phone", "Delete")
    expect(page.locator(".question")).to_have_count(0)
    page.get_by_role("button", name="Undo").click()
    # What was shown is shown again.
    said(page, "on a phone")
    expect(page.get_by_text("was deleted in another tab")).to_have_count(0)
