"""A chat of 100 turns and 50,000 tokens: what is finished is left alone while an answer comes, and nothing jumps."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from playwright.sync_api import expect
from running import Server
from web.chats import ask, said, unhurried

pytestmark = [pytest.mark.slow, pytest.mark.timeout(180)]

TURNS = 100
TEXT = (
    "## A heading\n\n"
    + "Some *words* of an answer, and `code`. " * 50
    + "\n\n- one\n- two\n\n```python\nprint(1)\n```\n"
)
WATCH = """() => {
  window.touched = 0; window.shifted = 0;
  const watch = new MutationObserver((all) => { window.touched += all.length; });
  const options = {childList: true, subtree: true, characterData: true, attributes: true};
  for (const article of [...document.querySelectorAll(".message")].slice(0, -1)) watch.observe(article, options);
  new PerformanceObserver((list) => { for (const one of list.getEntries()) window.shifted += one.value; })
    .observe({type: "layout-shift"}); }"""


@pytest.fixture(scope="module")
def server(thinking) -> Server:
    return thinking.server


def long_chat() -> str:
    messages, parent = [], ""
    for turn in range(TURNS):
        question = {"id": f"q{turn}", "parent": parent, "role": "user", "at": 2 * turn, "text": f"question {turn}"}
        parent = f"a{turn}"
        answer = {
            "id": parent,
            "parent": f"q{turn}",
            "role": "assistant",
            "at": 2 * turn + 1,
            "text": TEXT,
            "model": "thinker",
        }
        messages += [question, answer]
    chosen = {message["parent"]: message["id"] for message in messages}
    one = {"id": "long", "title": "long", "model": "thinker", "messages": messages, "chosen": chosen}
    return json.dumps({"format": "trunkcall.conversations", "version": 1, "conversations": [one]})


def test_what_is_finished_is_left_alone(visit, upstream, tmp_path: Path):
    file = tmp_path / "long.json"
    file.write_text(long_chat())
    page = visit("chat")
    unhurried(page)
    page.locator(".list input[type=file]").set_input_files(str(file))
    page.get_by_role("navigation", name="Chats").get_by_role("link", name="long").click()
    expect(page.locator(".reply")).to_have_count(TURNS)
    expect(page.locator(".reply").last).to_be_in_viewport()
    # What is far away is not laid out.
    assert page.locator(".message").first.evaluate("one => getComputedStyle(one).contentVisibility") == "auto"
    # One block of code is coloured after the other, which is part of its being finished.
    expect(page.locator("figure.code", has=page.locator(".hl-number"))).to_have_count(TURNS, timeout=90_000)
    ask(page, "wait for it")
    said(page, "wait for it...")
    assert len(upstream.asked[-1]["messages"]) == 2 * TURNS + 1
    page.evaluate(WATCH)
    expect(page.locator(".reply").last).to_contain_text("." * 150, timeout=60_000)
    assert page.evaluate("touched") == 0
    assert page.evaluate("shifted") < 0.02
    # What has come since the last frame was drawn is not followed yet.
    page.wait_for_function(
        "() => (t => t.scrollHeight - t.scrollTop - t.clientHeight < 2)(document.querySelector('.thread'))"
    )
    upstream.gate.set()
    expect(page.get_by_role("button", name="Send")).to_be_visible()
    said(page, "5 tokens")
