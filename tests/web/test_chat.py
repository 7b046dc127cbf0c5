"""Chatting in a real browser: ask, watch, stop, ask again, branch, continue, with settings, images and failures."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
from playwright.sync_api import Page, expect
from running import Server, eventually
from web.chats import answered, ask, box, kept, kept_answer, said
from web_browser import PHONE

pytestmark = [pytest.mark.slow, pytest.mark.timeout(180)]


@pytest.fixture(scope="module")
def server(thinking) -> Server:
    return thinking.server


def test_ask_and_read(visit):
    page = visit("chat", query="model=echo")
    expect(box(page)).to_be_focused()
    ask(page, "Say **hello**")
    answered(page, "Say hello")
    expect(page.locator(".reply strong")).to_have_text("hello")
    expect(page.locator(".reply h2")).to_have_text("echo")
    figures = page.locator(".answer-figures")
    expect(figures).to_contain_text(re.compile(r"2 tokens.*prompt 2.*first after .*in all"))
    expect(box(page)).to_be_focused()
    expect(page).to_have_url(re.compile(r"/#/chat/[0-9a-z]{22}$"))
    ask(page, "and more")
    answered(page, "and more")
    expect(page.locator(".question")).to_have_count(2)


def test_shift_enter_makes_a_line_and_nothing_cannot_be_sent(visit):
    page = visit("chat", query="model=echo")
    box(page).fill("  ")
    box(page).press("Enter")
    expect(page.get_by_role("button", name="Send")).to_be_disabled()
    box(page).fill("one")
    box(page).press("Shift+Enter")
    page.keyboard.type("two")
    expect(page.get_by_role("button", name="Send")).to_be_enabled()
    box(page).press("Enter")
    expect(page.locator(".question-text")).to_have_text("one\ntwo")


@pytest.mark.parametrize("how", ["button", "escape"])
def test_stop_really_stops_the_engine(visit, upstream, how):
    page = visit("chat", query="model=thinker")
    ask(page, "wait for it")
    said(page, "wait for it...")
    if how == "button":
        page.get_by_role("button", name="Stop").click()
    else:
        page.keyboard.press("Escape")
    expect(page.locator(".reply")).to_contain_text("Stopped")
    assert upstream.left.wait(30)
    assert re.search(r"wait for it\.\.", kept_answer(page, "stopped")["text"])


def test_another_answer_and_the_way_between_them(visit, upstream):
    page = visit("chat", query="model=echo")
    ask(page, "first question")
    answered(page, "first question")
    page.get_by_role("button", name="Model: echo").click()
    page.get_by_role("option", name="thinker").click()
    page.get_by_role("button", name="Another answer").click()
    answered(page, "0 images; first question")
    assert upstream.asked[-1]["messages"] == [{"role": "user", "content": "first question"}]
    expect(page.locator(".reply h2")).to_have_text("thinker")
    expect(page.locator(".branches")).to_have_text("2/2")
    page.get_by_role("button", name="Version before").click()
    expect(page.locator(".reply h2")).to_have_text("echo")
    expect(page.locator(".branches")).to_have_text("1/2")

    def chosen() -> list[str]:
        (conversation,) = kept(page, "conversations")
        messages = [conversation["messages"][id] for id in conversation["chosen"].values()]
        return [message["model"] for message in messages if message["role"] == "assistant"]

    eventually(lambda: chosen() == ["echo"])
    page.reload()
    expect(page.locator(".branches")).to_have_text("1/2")


def test_a_question_is_edited_in_a_branch_of_its_own(visit):
    page = visit("chat", query="model=echo")
    ask(page, "one")
    answered(page, "one")
    ask(page, "two")
    answered(page, "two")
    page.locator(".question").first.hover()
    page.get_by_role("button", name="Edit and ask again").first.click()
    field = page.get_by_role("textbox", name="Edit and ask again")
    expect(field).to_be_focused()
    field.press("Escape")
    expect(field).to_be_hidden()
    page.get_by_role("button", name="Edit and ask again").first.click()
    field.fill("three")
    field.press("Enter")
    answered(page, "three")
    expect(page.locator(".question")).to_have_count(1)
    page.get_by_role("button", name="Version before").click()
    expect(page.locator(".question-text")).to_have_text(["one", "two"])


def test_an_answer_is_reworded_and_continued(visit, upstream):
    page = visit("chat", query="model=thinker")
    ask(page, "long story")
    expect(page.locator(".reply")).to_contain_text("Ended at the limit of tokens")
    page.get_by_role("button", name="Edit the answer").click()
    page.get_by_role("textbox", name="Edit the answer").fill("Once upon a")
    page.get_by_role("button", name="Save").click()
    expect(page.locator(".branches")).to_have_text("2/2")
    page.get_by_role("button", name="Continue").click()
    answered(page, "Once upon a0 images; long story")
    body = upstream.asked[-1]
    assert body["messages"][-1] == {"role": "assistant", "content": "Once upon a"}
    assert (body["continue_final_message"], body["add_generation_prompt"]) == (True, False)
    expect(page.locator(".reply")).to_have_count(1)


def test_reasoning_is_folded_and_tools_are_shown(visit):
    page = visit("chat", query="model=thinker")
    ask(page, "think hard")
    answered(page, "So: 42")
    expect(page.get_by_text("First this, then that.")).to_be_hidden()
    page.locator(".reasoning summary").click()
    expect(page.locator(".reasoning strong")).to_have_text("this")
    ask(page, "tool now")
    expect(page.get_by_role("list", name="Calls of tools")).to_contain_text("Calls weather")
    expect(page.locator(".tool-call code")).to_have_text('{\n  "place": "Paris"\n}')


def test_settings_go_along_and_are_kept(visit, upstream):
    page = visit("chat", query="model=thinker")
    page.get_by_role("button", name="Settings").click()
    page.get_by_role("textbox", name="System prompt").fill("Be kind.")
    page.get_by_role("textbox", name="Temperature").fill("0,3")
    page.get_by_role("textbox", name="Most tokens").fill("many")
    expect(page.get_by_text("This is no number.")).to_be_visible()
    page.get_by_role("textbox", name="Most tokens").fill("64")
    page.get_by_text("More parameters").click()
    page.get_by_role("textbox", name="Stop at").fill("END\n\\n\\n")
    ask(page, "hello")
    answered(page, "hello")
    body = upstream.asked[-1]
    assert body["messages"][0] == {"role": "system", "content": "Be kind."}
    assert (body["temperature"], body["max_tokens"], body["stop"]) == (0.3, 64, ["END", "\n\n"])
    assert "top_p" not in body
    page.get_by_role("button", name="Copy a link with these settings").click()
    expect(page.get_by_text("Copied. It brings")).to_be_visible()
    link = page.evaluate("navigator.clipboard.readText()")
    assert "hello" not in link
    other = visit("", query=link.split("?")[1].split("#")[0])
    expect(other.get_by_role("button", name="Settings, 4 of them set")).to_be_visible()
    ask(other, "again")
    answered(other, "again")
    assert {**body, "messages": 0} == {**upstream.asked[-1], "messages": 0}
    assert "?" not in other.url
    page.get_by_role("button", name="Back to the engine's defaults").click()
    ask(page, "plain")
    answered(page, "plain")
    assert "temperature" not in upstream.asked[-1]


def test_a_template_makes_a_prompt_of_it(visit, upstream):
    page = visit("chat", query="model=thinker&template=vicuna_v1.1")
    ask(page, "hello")
    answered(page, "ASSISTANT:")
    assert upstream.asked[-1]["prompt"].endswith("USER: hello ASSISTANT:")
    page.get_by_role("button", name="Edit the answer").click()
    page.get_by_role("textbox", name="Edit the answer").fill("Once upon a")
    page.get_by_role("button", name="Save").click()
    page.get_by_role("button", name="Continue").click()
    answered(page, "Once upon a0 images; ")
    assert upstream.asked[-1]["prompt"].endswith("USER: hello ASSISTANT: Once upon a")


def test_a_link_with_nonsense_says_so(visit):
    page = visit("chat", query="model=echo&temperature=hot")
    expect(page.get_by_text("settings that cannot be read: temperature")).to_be_visible()
    ask(page, "works")
    answered(page, "works")


def test_the_engines_defaults_can_be_seen(visit):
    page = visit("chat", query="model=pocket&max_tokens=8")
    ask(page, "hello")
    expect(page.get_by_role("button", name="Send")).to_be_visible(timeout=60_000)
    page.get_by_role("button", name="Settings").click()
    told = page.evaluate("fetch('/web/api/models').then((answer) => answer.json())")["models"]
    defaults = next(model["defaults"] for model in told if model["name"] == "pocket")
    shown = f"default {defaults['temperature']}" if "temperature" in defaults else "engine's default"
    expect(page.get_by_role("textbox", name="Temperature")).to_have_attribute("placeholder", shown)


PICTURE = """async ([width, height]) => { const canvas = new OffscreenCanvas(width, height); canvas.getContext("2d").fillRect(0, 0, 9, 9);
  const blob = await canvas.convertToBlob({type: "image/png"});
  return Array.from(new Uint8Array(await blob.arrayBuffer())); }"""


def test_images_in(visit, upstream, tmp_path: Path):
    page = visit("chat", query="model=thinker")
    large = tmp_path / "large.png"
    large.write_bytes(bytes(page.evaluate(PICTURE, [3000, 1500])))
    none = tmp_path / "none.png"
    none.write_bytes(b"no picture")
    page.locator(".composer input[type=file]").set_input_files([str(large), str(none)])
    expect(page.get_by_text("none.png is no image that this browser can read")).to_be_visible()
    drop(page, "dropped.png")
    expect(page.get_by_role("img", name="dropped.png")).to_be_visible()
    paste(page, "pasted.png")
    expect(page.get_by_role("list", name="Images to be sent").get_by_role("img")).to_have_count(3)
    page.get_by_role("button", name="Remove dropped.png").click()
    ask(page, "what is this")
    answered(page, "2 images; what is this")
    urls = [part["image_url"]["url"] for part in upstream.asked[-1]["messages"][0]["content"][:2]]
    sizes = page.evaluate(
        "async (urls) => Promise.all(urls.map(async (url) => { const image = new Image(); image.src = url; "
        "await image.decode(); return [image.width, image.height]; }))",
        urls,
    )
    assert sizes == [[2048, 1024], [1, 1]]
    kept_answer(page, "done")
    page.reload()
    expect(page.locator(".question-images img")).to_have_count(2)
    # A model that takes none is asked without them, and gets no new ones.
    page.get_by_role("button", name="Model: thinker").click()
    page.get_by_role("option", name="pocket").click()
    expect(page.get_by_role("button", name="pocket takes no images")).to_be_disabled()
    paste(page, "more.png")
    expect(page.get_by_role("status").get_by_text("pocket takes no images")).to_be_visible()


TRANSFER = """([pixel, name, kind]) => { const transfer = new DataTransfer();
  transfer.items.add(new File([new Uint8Array(pixel)], name, {type: "image/png"}));
  const box = document.querySelector(".composer textarea");
  box.dispatchEvent(kind === "paste" ? new ClipboardEvent("paste", {clipboardData: transfer, bubbles: true})
    : new DragEvent("drop", {dataTransfer: transfer, bubbles: true, cancelable: true})); }"""


def drop(page: Page, name: str) -> None:
    page.evaluate(TRANSFER, [page.evaluate(PICTURE, [1, 1]), name, "drop"])


def paste(page: Page, name: str) -> None:
    page.evaluate(TRANSFER, [page.evaluate(PICTURE, [1, 1]), name, "paste"])


def test_an_answer_that_breaks_off_stays_and_can_be_gone_on_with(visit, upstream):
    page = visit("chat", query="model=thinker")
    ask(page, "break here")
    expect(page.get_by_role("alert")).to_be_visible()
    expect(page.locator(".reply")).to_contain_text("0 images; break here")
    page.get_by_role("button", name="Again", exact=True).click()
    expect(page.locator(".branches")).to_have_text("2/2")
    expect(page.get_by_role("alert")).to_be_visible()
    page.get_by_role("button", name="Continue").click()
    expect(page.locator(".reply")).to_contain_text("0 images; break here0 images; break here")
    assert upstream.asked[-1]["messages"][-1]["role"] == "assistant"


def test_a_refusal_says_why(visit):
    page = visit("chat", query="model=nobody", allow=("404",))
    ask(page, "hello")
    expect(page.get_by_role("alert")).to_contain_text("nobody")
    expect(page.get_by_role("button", name="Again", exact=True)).to_be_visible()


def test_the_picker_searches_and_shows_states(visit, server):
    page = visit("chat")
    opener = page.get_by_role("button", name=re.compile("^Model: "))
    opener.press("Enter")
    expect(page.get_by_role("listbox", name="Model")).to_be_focused()
    expect(page.get_by_role("option")).to_have_count(4)
    expect(page.get_by_role("option", name="echo")).to_contain_text("ready")
    page.keyboard.press("End")
    page.keyboard.press("Enter")
    expect(opener).to_have_accessible_name(re.compile("^Model: pocket"))
    expect(page.get_by_role("listbox")).to_have_count(0)
    names = [f"more-{number}" for number in range(6)]
    for name in names:
        server.post("/admin/models", {"name": name, "source": "debug"})
    try:
        opener.click()
        search = page.get_by_role("combobox", name="Model")
        expect(search).to_be_focused()
        search.fill("more-3")
        expect(page.get_by_role("option")).to_have_count(1)
        search.fill("nothing at all")
        expect(page.get_by_text("No model fits")).to_be_visible()
        search.fill("more-4")
        search.press("Enter")
        expect(opener).to_have_accessible_name(re.compile("^Model: more-4"))
    finally:
        for name in names:
            server.request("DELETE", f"/admin/models/{name}")
    expect(opener).to_have_accessible_name("Model: more-4, not offered any more")


def test_for_developers(visit):
    page = visit("chat", query="model=echo")
    ask(page, "hello")
    answered(page, "hello")
    page.get_by_role("button", name="For developers").click()
    expect(page.get_by_role("dialog")).to_contain_text("/v1/chat/completions")
    page.get_by_role("tab", name="Events").click()
    expect(page.get_by_role("dialog")).to_contain_text('"hello"')
    page.keyboard.press("Escape")
    kept_answer(page, "done")
    page.reload()
    page.get_by_role("button", name="For developers").click()
    expect(page.get_by_role("dialog")).to_contain_text("hello")


def test_on_a_phone(visit):
    page = visit("chat", size=PHONE, query="model=echo")
    box(page).fill("hello")
    page.get_by_role("button", name="Send").click()
    answered(page, "hello")
    page.get_by_role("button", name="Settings").click()
    page.get_by_role("dialog").get_by_role("textbox", name="Temperature").fill("0.5")
    page.keyboard.press("Escape")
    expect(page.get_by_role("button", name="Settings, one of them set")).to_be_visible()
    page.get_by_role("button", name="Chats", exact=True).click()
    page.get_by_role("dialog").get_by_role("button", name="New chat").click()
    expect(page.get_by_role("dialog")).to_be_hidden()
    expect(page.locator(".question")).to_have_count(0)
    expect(page.locator("html")).to_have_js_property("scrollWidth", PHONE["width"])


def test_reading_further_up_is_not_disturbed(visit, upstream):
    page = visit("chat", query="model=thinker")
    ask(page, "many 2000")
    answered(page, "word1999")
    ask(page, "wait")
    said(page, "wait...")
    thread = page.locator(".thread")
    page.wait_for_function(
        "() => (t => t.scrollHeight - t.scrollTop - t.clientHeight < 2)(document.querySelector('.thread'))"
    )
    # Where it stands when scrolling back has ended; scrolling along with the answer ends at the end.
    thread.evaluate(
        """(t) => t.addEventListener("scrollend", () => {
          if (t.scrollHeight - t.scrollTop - t.clientHeight > 200) window.stoodAt ??= t.scrollTop;
        })"""
    )
    thread.hover()
    page.mouse.wheel(0, -400)
    at = page.wait_for_function("() => window.stoodAt").json_value()
    before = page.locator(".reply").last.inner_text()
    page.wait_for_function(
        "(before) => document.querySelectorAll('.reply')[1].innerText.length > before + 40", arg=len(before)
    )
    assert abs(thread.evaluate("thread => thread.scrollTop") - at) < 2
    page.get_by_role("button", name="To the end").click()
    page.wait_for_function(
        "() => (t => t.scrollHeight - t.scrollTop - t.clientHeight < 2)(document.querySelector('.thread'))"
    )
    upstream.gate.set()
    answered(page, "wait")


def test_no_key_and_no_text_in_an_address(visit):
    page = visit("chat", query="model=echo")
    ask(page, "very private words")
    answered(page, "very private words")
    assert "private" not in page.url
    assert "private" not in json.dumps(page.evaluate("performance.getEntriesByType('resource').map((one) => one.name)"))
