"""What goes wrong around the page: databases that hang or break, storage that is full, servers that hang or are renewed."""

from __future__ import annotations

import json
import re
import signal
from pathlib import Path

import pytest
from playwright.sync_api import Page, expect
from running import Server, eventually
from web.chats import ask, listed, said

pytestmark = [pytest.mark.slow, pytest.mark.timeout(240)]

BROKEN = {
    "never opens": "IDBFactory.prototype.open = () => ({})",
    "closed": "IDBDatabase.prototype.transaction = () => { throw new DOMException('', 'InvalidStateError') }",
    "unreadable": """for (const name of ["get", "getAll", "openCursor"])
                       IDBObjectStore.prototype[name] = () => { throw new DOMException("", "UnknownError") }""",
}
# What a page may find while the browser closes its connection, each once when `armed`.
LOST = {
    "closed": "this.close()",
    "aborted": "return cut(this, given)",
    "opening fails too": """this.close();
      const open = IDBFactory.prototype.open;
      IDBFactory.prototype.open = function () {
        IDBFactory.prototype.open = open;
        const asked = { error: new DOMException("", "AbortError") };
        setTimeout(() => asked.onerror());
        return asked;
      }""",
}
LOSE = """window.armed = false;
  const begin = IDBDatabase.prototype.transaction;
  const cut = (database, given) => {
    const begun = begin.apply(database, given);
    setTimeout(() => begun.abort());
    return begun;
  };
  IDBDatabase.prototype.transaction = function (...given) {
    if (armed && given[1] === "%s") { armed = false; %s; }
    return begin.apply(this, given);
  };"""
STUFFED = """window.full = true;
  const put = IDBObjectStore.prototype.put;
  IDBObjectStore.prototype.put = function (...given) {
    if (full) throw new DOMException("full", "QuotaExceededError");
    return put.apply(this, given);
  };"""
NOTE = "This browser keeps nothing for this page"
FULL = """const set = Storage.prototype.setItem;
  window.fill = (full) => { Storage.prototype.setItem = function (...given) {
    if (full && this === localStorage) throw new DOMException("full", "QuotaExceededError");
    set.apply(this, given); } };"""


@pytest.mark.parametrize("how", BROKEN.values(), ids=BROKEN)
def test_a_database_that_does_not_work_keeps_nobody_from_chatting(visit, server, how):
    # An exception in a callback of the database's is told as an error of the script too.
    page = visit("chat", query="model=echo", allow=("script: ",))
    page.add_init_script(how)
    page.goto(f"{server.url}/?model=echo#/chat/new")
    page.reload()
    for text in ("first", "second"):
        ask(page, text)
        said(page, text)
    expect(page.get_by_text(NOTE)).to_be_visible()
    expect(listed(page)).to_have_text(["first"])
    expect(page.locator(".question-text")).to_have_text(["first", "second"])
    page.goto(f"{server.url}/#/battle/votes")
    page.reload()
    expect(page.get_by_text("Loading")).to_have_count(0)


def begin(page: Page) -> None:
    page.get_by_role("button", name="New chat").click()
    expect(page.locator(".chat-invitation")).to_be_visible()


def asks_and_sees_kept(page: Page, text: str) -> None:
    """Ask in a chat of its own, and wait until its answer is in the database."""
    begin(page)
    ask(page, text)
    said(page, text)
    eventually(lambda: text in page.evaluate(KEPT))


KEPT = """() => new Promise((resolve) => {
  const asked = indexedDB.open("trunkcall");
  // None is made here.
  asked.onupgradeneeded = () => asked.transaction.abort();
  asked.onerror = () => resolve([]);
  asked.onsuccess = () => {
    const all = asked.result.transaction("conversations").objectStore("conversations").getAll();
    all.onsuccess = () => {
      asked.result.close();
      const messages = all.result.flatMap((one) => Object.values(one.messages));
      resolve(messages.filter((one) => one.state === "done").map((one) => one.text));
    };
  };
})"""
LASTED = """import("/web/lib/store.js").then(({ lasting }) => {
  window.lasted = [];
  lasting.subscribe((value) => lasted.push(value));
})"""


@pytest.mark.parametrize("how", LOST.values(), ids=LOST)
def test_a_connection_that_is_lost_is_made_anew_and_nothing_is_lost(visit, how):
    page = visit("chat", query="model=echo")
    page.add_init_script(LOSE % ("readwrite", how))
    page.reload()
    asks_and_sees_kept(page, "before")
    page.evaluate(LASTED)
    page.evaluate("armed = true")
    asks_and_sees_kept(page, "after")
    assert page.evaluate("[armed, lasted]") == [False, [True]]
    page.reload()
    expect(listed(page)).to_have_text(["after", "before"])


def test_a_list_whose_reading_breaks_off_has_each_once(visit):
    page = visit("chat", query="model=echo")
    asks_and_sees_kept(page, "one")
    asks_and_sees_kept(page, "two")
    page.add_init_script(
        """window.armed = true;
        const go = IDBCursor.prototype.continue;
        IDBCursor.prototype.continue = function () {
          if (!armed) return go.call(this);
          armed = false;
          this.request.transaction.abort();
        };"""
    )
    page.reload()
    expect(listed(page)).to_have_text(["two", "one"])
    assert page.evaluate("armed") is False


def test_what_a_full_storage_did_not_take_is_kept_when_it_does_again(visit):
    # An exception in a callback of the database's is told as an error of the script too.
    page = visit("chat", query="model=echo", allow=("script: ",))
    page.add_init_script(STUFFED)
    page.reload()
    ask(page, "first")
    said(page, "first")
    expect(page.get_by_text(NOTE)).to_be_visible()
    assert page.evaluate(KEPT) == []
    page.evaluate("full = false")
    asks_and_sees_kept(page, "second")
    expect(page.get_by_text(NOTE)).to_have_count(0)
    page.reload()
    expect(listed(page)).to_have_text(["second", "first"])


def test_a_database_that_opens_after_all_takes_what_was_said_meanwhile(visit, server):
    page = visit("chat", query="model=echo", allow=("404",))
    expect(page.get_by_role("textbox", name="Ask echo")).to_be_visible()
    holder = page.context.new_page()
    holder.goto(f"{server.url}/web/theme_first.js")
    # Whoever opens it now waits until it is deleted, which waits for this connection.
    holder.evaluate(
        """() => new Promise((resolve) => {
          const asked = indexedDB.open("trunkcall");
          asked.onsuccess = () => {
            window.held = asked.result;
            indexedDB.deleteDatabase("trunkcall").onblocked = resolve;
          };
        })"""
    )
    page.bring_to_front()
    page.reload()
    ask(page, "first")
    said(page, "first")
    expect(page.get_by_text(NOTE)).to_be_visible()
    holder.evaluate("held.close()")
    asks_and_sees_kept(page, "second")
    expect(page.get_by_text(NOTE)).to_have_count(0)
    page.reload()
    expect(listed(page)).to_have_text(["second", "first"])


def test_a_database_that_was_thrown_away_is_made_anew(visit, server):
    page = visit("chat", query="model=echo")
    # Kept whole, or it would be kept once more after all was thrown away.
    asks_and_sees_kept(page, "before")
    session = page.context.new_cdp_session(page)
    session.send("Storage.clearDataForOrigin", {"origin": server.url.rstrip("/"), "storageTypes": "indexeddb"})
    asks_and_sees_kept(page, "after")
    expect(page.get_by_text(NOTE)).to_have_count(0)
    page.reload()
    expect(listed(page)).to_have_text(["after"])


def test_in_a_full_storage_what_is_new_counts(visit, closed):
    page = visit("", at=closed.server.url, allow=("401",))
    page.add_init_script(FULL)
    page.reload()
    found = page.evaluate(
        """async () => {
          const { recall, remember } = await import("/web/lib/remembered.js");
          const lasts = [remember("a", "old")];
          fill(true);
          lasts.push(remember("a", "new"));
          const full = recall("a");
          fill(false);
          lasts.push(remember("a", "newest"));
          localStorage.setItem("a", "of another tab");
          return [lasts, full, recall("a")];
        }"""
    )
    assert found == [[True, False, True], "new", "of another tab"]
    # Who wants to stay signed in stays so for this tab at least.
    page.evaluate("fill(true)")
    page.get_by_label("API key").fill(closed.secrets["anna"])
    page.get_by_label("Stay signed in").check()
    page.get_by_role("button", name="Sign in").click()
    expect(page.locator(".nav")).to_contain_text("anna")
    page.reload()
    expect(page.locator(".nav")).to_contain_text("anna")


def test_a_server_that_hangs_is_told_as_one_that_is_away(visit, tmp_path: Path):
    with Server("--model", "echo=debug", "--no-pocket", home=tmp_path) as server:
        page = visit("chat", at=server.url, allow=("ERR_", "Failed to load"))
        ask(page, "hello")
        said(page, "hello")
        server.process.send_signal(signal.SIGSTOP)
        try:
            expect(page.locator(".offline")).to_be_visible(timeout=90_000)
        finally:
            server.process.send_signal(signal.SIGCONT)
        expect(page.locator(".offline")).to_be_hidden()
        ask(page, "goes on")
        said(page, "goes on")


def test_a_page_that_could_not_be_fetched_comes_with_the_server(visit, tmp_path: Path, free_port):
    words = ("--port", str(free_port), "--model", "echo=debug", "--no-pocket")
    with Server(*words, home=tmp_path) as first:
        page = visit("chat", at=first.url, allow=("ERR_", "Failed to load"))
        ask(page, "hello")
        said(page, "hello")
    page.get_by_role("link", name="Operate").click()
    expect(page.get_by_role("alert")).to_contain_text("could not be fetched")
    expect(page.locator(".offline")).to_be_visible()
    with Server(*words, home=tmp_path):
        expect(page.get_by_role("heading", level=1)).to_have_text("Operate")
        page.get_by_role("link", name="Chat", exact=True).click()
        said(page, "hello")


def test_what_something_between_answers_is_no_riddle(visit):
    page = visit("chat", query="model=echo")
    page.route("**/web/api/models", lambda route: route.fulfill(content_type="text/html", body="<h1>Sign in</h1>"))
    page.reload()
    expect(page.get_by_role("alert").first).to_contain_text("no answer of this server")


def test_as_many_large_images_as_a_question_takes_fit_into_a_request(visit):
    page = visit("chat", query="model=echo")
    expect(page.get_by_role("textbox", name="Ask echo")).to_be_visible()
    page.evaluate(
        """async () => {
          const canvas = new OffscreenCanvas(1500, 1300);
          const context = canvas.getContext("2d");
          const noise = context.createImageData(canvas.width, canvas.height);
          for (let at = 0; at < noise.data.length; at += 65536) crypto.getRandomValues(noise.data.subarray(at, at + 65536));
          context.putImageData(noise, 0, 0);
          const picture = await canvas.convertToBlob({ type: "image/png" });
          const transfer = new DataTransfer();
          for (let count = 0; count < 8; count += 1) transfer.items.add(new File([picture], `${count}.png`, { type: "image/png" }));
          document.querySelector(".composer").dispatchEvent(new DragEvent("drop", { dataTransfer: transfer, bubbles: true }));
        }"""
    )
    expect(page.get_by_role("list", name="Images to be sent").get_by_role("img")).to_have_count(8, timeout=120_000)
    with page.expect_response("**/v1/chat/completions", timeout=120_000) as answer:
        ask(page, "what are these")
    assert answer.value.status == 200


def focused(page: Page) -> str:
    """What has the keyboard: its tag and its name."""
    return page.evaluate(
        "(({tagName, labels, innerText, ariaLabel}) => `${tagName.toLowerCase()} "
        "${ariaLabel ?? labels?.[0]?.innerText ?? innerText.trim()}`)(document.activeElement)"
    )


def press(page: Page, button: str, *keys: str) -> None:
    """With the keyboard only; its name begins so."""
    page.get_by_role("button", name=re.compile(f"^{button}")).last.focus()
    page.keyboard.press("Enter")
    if keys:
        eventually(lambda: focused(page).startswith(("textarea", "div")))
    for key in keys:
        page.keyboard.press(key)


def test_the_keyboard_is_never_nowhere_in_a_chat(visit):
    page = visit("chat", query="model=echo")
    ask(page, "hello")
    said(page, "hello")
    for button, keys, then in (
        ("Model: ", ["Escape"], "button Model: echo"),
        ("Edit and ask again", ["Escape"], "button Edit and ask again"),
        ("Edit and ask again", ["End", "!", "Enter"], "textarea Ask echo"),
        ("Version before", [], "button Next version"),
        ("Edit the answer", ["Escape"], "button Edit the answer"),
        ("Edit the answer", ["End", "!", "Enter"], "button Edit the answer"),
        ("Another answer", [], "textarea Ask echo"),
    ):
        press(page, button, *keys)
        eventually(lambda then=then: focused(page).startswith(then))
    page.goto(f"{page.url.split('#')[0]}?model=crawl#/chat/new")
    for button in ("Stop", "Continue", "Stop", "Again"):
        if button == "Stop":
            # What was gone on with ends first.
            expect(page.get_by_role("button", name="Send")).to_be_visible(timeout=90_000)
            ask(page, "one two three four five six seven eight nine ten " * 2)
            said(page, "one")
        press(page, button)
        eventually(lambda: focused(page).startswith("textarea Ask crawl"))


def test_the_keyboard_is_never_nowhere_elsewhere(visit):
    page = visit("compare/crawl,crawl")
    field = page.get_by_role("textbox", name="Ask both")
    # None of them may be over before it is stopped.
    field.fill("one two three four five six seven eight nine ten " * 60)
    field.press("Enter")
    for button, then in (
        ("Stop column B", "button Copy"),
        ("Another answer from column B", "button Stop column B"),
        ("Stop column B", "button Copy"),
        ("Stop column A", "button Copy"),
        ("Tie", "a Leaderboard"),
    ):
        press(page, button)
        eventually(lambda then=then: focused(page).startswith(then))
    page.keyboard.press("Control+k")
    page.keyboard.type("Keys")
    page.keyboard.press("Enter")
    expect(page.get_by_role("main")).to_be_focused()
    page.keyboard.press("Tab")
    press(page, "New key")
    expect(page.get_by_label("Name")).to_be_focused()


def test_at_360_pixels_no_name_of_a_setting_is_cut_and_no_key_of_a_bar_stands_alone(visit):
    page = visit("chat", size={"width": 360, "height": 740}, query="model=echo")
    page.get_by_role("button", name="Settings").click()
    names = page.locator(".parameter > label")
    expect(names.first).to_be_visible()
    assert names.evaluate_all("(all) => all.filter((one) => one.scrollWidth > one.clientWidth).length") == 0
    page.goto(f"{page.url.split('#')[0]}#/models")
    parts = page.locator(".legend-part")
    expect(parts).to_have_count(2)
    assert max(parts.evaluate_all("(all) => all.map((one) => one.offsetHeight)")) < 30


def test_many_chats_that_are_imported_draw_the_list_once(visit, tmp_path: Path):
    page = visit("chat", query="model=echo")
    ask(page, "hello")
    said(page, "hello")
    expect(page.get_by_role("button", name="Send")).to_be_visible()
    page.get_by_role("button", name="All chats").click()
    with page.expect_download() as saved:
        page.get_by_role("menuitem", name="Export all as JSON").click()
    exported = json.loads(Path(saved.value.path()).read_text())
    chat = exported["conversations"][0]
    many = tmp_path / "many.json"
    many.write_text(json.dumps({**exported, "conversations": [{**chat, "id": f"chat-{at}"} for at in range(200)]}))
    page.evaluate(
        """() => { window.drawn = 0; new MutationObserver(() => { window.drawn += 1; })
             .observe(document.querySelector(".list-days"), { childList: true, subtree: true }); }"""
    )
    page.locator(".list-head input[type=file]").set_input_files(str(many))
    expect(page.get_by_role("navigation", name="Chats").get_by_role("link")).to_have_count(201, timeout=120_000)
    assert page.evaluate("window.drawn") < 10
