"""What tests do in chats, comparisons and battles: ask, wait for what is said, and look at what is kept and noted of it."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

from playwright.sync_api import Locator, Page, expect
from running import Server

UNHURRIED = """() => {
  const really = window.setTimeout;
  window.setTimeout = (work, ms, ...more) => really(work, [3000, 6000].includes(ms) ? 100 * ms : ms, ...more);
}"""
"""What ends after 6 s is a message with what can be undone, after 3 s the wait for the colours of a code."""


def box(page: Page) -> Locator:
    """Where questions are written."""
    return page.get_by_role("textbox", name=re.compile("^Ask "))


def ask(page: Page, text: str) -> None:
    """As soon as it can be asked: the models are known, and no answer comes."""
    box(page).fill(text)
    expect(page.locator(".composer", has=box(page)).get_by_role("button", name="Send")).to_be_enabled()
    box(page).press("Enter")


def said(page: Page, text: str) -> None:
    """The last answer of a chat holds this; more of it may come."""
    expect(page.locator(".reply").last).to_contain_text(text)


def answered(page: Page, text: str) -> None:
    """The last answer of a chat holds this, and is whole."""
    said(page, text)
    expect(page.get_by_role("button", name="Send")).to_be_visible()


def listed(page: Page) -> Locator:
    """The chats of the list."""
    return page.get_by_role("navigation", name="Chats").get_by_role("link")


def column(page: Page, letter: str) -> Locator:
    """One of the models that are compared."""
    return page.get_by_role("region", name=re.compile(f"^Column {letter}: "))


def unhurried(page: Page) -> None:
    """From now on the page waits for a machine that is short of time."""
    page.evaluate(UNHURRIED)


def kept(page: Page, store: str) -> list[dict[str, Any]]:
    """What this browser keeps: conversations in no order, or votes as they were made."""
    found = page.evaluate("(store) => import('/web/lib/store.js').then(({ all }) => all(store))", store)
    return sorted(found, key=lambda one: one.get("at", 0))


def kept_answer(page: Page, state: str) -> dict[str, Any]:
    """The last answer in this state, once it is kept so."""
    find = """(state) => import('/web/lib/store.js').then(({ all }) => all('conversations')).then((all) =>
      all.flatMap((one) => Object.values(one.messages)).filter((one) => one.state === state).at(-1))"""
    return page.wait_for_function(find, arg=state).json_value()


def noted(folder: Path) -> list[dict[str, Any]]:
    """The lines of the operator's log of conversations, without one that is just being written."""
    files = sorted(folder.glob("*-conv.json"))
    return [json.loads(line) for file in files for line in file.read_text().split("\n")[:-1]]


def running_now(server: Server) -> int:
    """How many answers its models are giving."""
    return sum(replica["in_flight"] for model in server.get("/admin/models")["models"] for replica in model["replicas"])
