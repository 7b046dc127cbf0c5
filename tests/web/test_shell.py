"""The frame around all pages: navigation, palette, shortcuts, theme, and a server that goes and comes back."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from playwright.sync_api import Locator, Page, expect
from running import Server, eventually
from web_browser import PHONE, WIDE

pytestmark = [pytest.mark.slow, pytest.mark.timeout(240)]

PAGES = ["Chat", "Compare", "Battle", "Models", "Operate", "Keys"]


def palette(page: Page) -> Locator:
    """Where the palette is typed into."""
    return page.get_by_role("combobox", name=re.compile("^Search pages"))


def test_all_pages_are_at_hand_on_a_desktop(visit):
    page = visit()
    links = page.get_by_role("navigation", name="Pages").get_by_role("link")
    expect(links).to_have_text(PAGES)
    for name in PAGES:
        links.filter(has_text=name).click()
        expect(page).to_have_title(f"{name} · Trunkcall")
        expect(links.filter(has_text=name)).to_have_attribute("aria-current", "page")
        expect(page.locator("main h1").first).to_be_visible()


def test_a_phone_has_the_rest_behind_more(visit):
    page = visit(size={"width": 360, "height": 740})
    expect(page.get_by_role("navigation", name="Pages").get_by_role("link")).to_have_text(PAGES[:4])
    page.get_by_role("button", name="More").click()
    page.get_by_role("dialog").get_by_role("link", name="Operate").click()
    expect(page).to_have_title("Operate · Trunkcall")
    expect(page.get_by_role("dialog")).to_be_hidden()


@pytest.mark.parametrize("name", PAGES)
def test_nothing_is_wider_than_the_window(visit, name):
    page = visit(name.lower())
    expect(page.locator("main h1").first).to_be_attached()
    for width in (360, 640, 641, 1000, 1440, 3840):
        page.set_viewport_size({"width": width, "height": 800})
        # Columns that only a wider window has come and go with the next frame.
        page.wait_for_function(
            "(width) => { const main = document.querySelector('main');"
            " return document.documentElement.scrollWidth === width && main.scrollWidth === main.clientWidth }",
            arg=width,
        )


def test_twice_as_large_nothing_is_cut(visit):
    # What zooming by 200 % makes of a small laptop's window.
    page = visit(size={"width": 640, "height": 360}, device_scale_factor=2)
    expect(page.locator("main h1").first).to_be_attached()
    expect(page.locator("html")).to_have_js_property("scrollWidth", 640)


def test_the_palette_finds_pages_models_and_actions(visit):
    page = visit("models")
    expect(page.locator("main h1").first).to_be_visible()
    page.keyboard.press("Control+k")
    typed = palette(page)
    expect(typed).to_be_focused()
    typed.fill("oper")
    expect(page.get_by_role("dialog").get_by_role("option", selected=True)).to_have_text("Operate")
    typed.press("Enter")
    expect(page).to_have_title("Operate · Trunkcall")
    expect(page.get_by_role("dialog")).to_be_hidden()

    page.keyboard.press("Control+k")
    typed.fill("dark")
    typed.press("Enter")
    expect(page.locator("html")).to_have_attribute("data-theme", "dark")

    page.keyboard.press("Control+k")
    typed.fill("crawl")
    expect(page.get_by_role("dialog").get_by_role("option").filter(has_text="Chat with crawl")).to_contain_text("ready")
    typed.fill("no such thing")
    expect(page.get_by_role("dialog").get_by_role("option")).to_have_count(0)
    expect(page.get_by_text("Nothing fits “no such thing”.")).to_be_visible()
    typed.press("Enter")
    typed.press("Escape")
    expect(page.get_by_role("dialog")).to_be_hidden()


def test_what_is_typed_right_behind_the_shortcut_is_the_palettes(visit):
    page = visit("operate")
    expect(page.locator("main h1").first).to_be_visible()
    at_once = """() => {
      document.body.dispatchEvent(new KeyboardEvent("keydown", { key: "k", ctrlKey: true, bubbles: true, cancelable: true }));
      return new Promise((resolve) => setTimeout(() => resolve(document.activeElement.role)));
    }"""
    assert page.evaluate(at_once) == "combobox"


def test_the_palette_opens_a_chat_with_a_model(visit):
    page = visit("operate")
    expect(page.locator("main h1").first).to_be_visible()
    page.keyboard.press("Control+k")
    palette(page).fill("chat with slow")
    page.keyboard.press("Enter")
    expect(page).to_have_title("Chat · Trunkcall")
    expect(page.get_by_role("main").get_by_role("button", name=re.compile("slow")).first).to_be_visible()


@pytest.mark.parametrize(
    ("typed", "first"),
    [
        ("mo", "Models"),
        ("chat", "Chat"),
        ("slow", "Chat with slow"),
        ("ready sl", "Chat with slow"),
        ("theme", "Theme: dark"),
        ("zzz", None),
        ("", "Chat with slow"),
    ],
)
def test_ranking(visit, typed, first):
    page = visit()
    entries = [
        {"id": "1", "label": "Chat with slow", "group": "Models", "hint": "ready"},
        {"id": "2", "label": "Chat", "group": "Pages"},
        {"id": "3", "label": "Models", "group": "Pages"},
        {"id": "4", "label": "Theme: dark", "group": "Actions"},
    ]
    if typed == "chat":
        entries = entries[1:]
    found = page.evaluate(
        "async ([entries, typed]) => (await import('/web/lib/palette.js')).ranked(entries, typed).map((e) => e.label)",
        [entries, typed],
    )
    assert (found or [None])[0] == first


def test_what_pages_offer_comes_and_goes(visit):
    page = visit()
    assert page.evaluate(
        """async () => {
          const { offer, offered } = await import("/web/lib/palette.js");
          const names = () => offered().map((one) => one.id).filter((id) => id.startsWith("my-"));
          const one = offer({ id: "my-one", label: "One", run() {} });
          let more = [];
          const others = offer(() => more);
          more = [{ id: "my-two", label: "Two", run() {} }, { id: "my-one", label: "Uno", run() {} }];
          const before = [names(), offered().find((one) => one.id === "my-one").label];
          one();
          others();
          return [...before, names()];
        }"""
    ) == [["my-one", "my-two"], "Uno", []]


def test_messages_stand_over_dialogs(visit):
    page = visit("chat")
    expect(page.locator("main h1").first).to_be_attached()
    page.keyboard.press("Control+k")
    expect(palette(page)).to_be_focused()
    page.evaluate("async () => (await import('/web/components/toast.js')).notify('Said over all')")
    toast = page.get_by_text("Said over all")
    expect(toast).to_be_visible()
    # What is outside a modal dialog cannot be hit, so its place in the top layer is asked for.
    expect(page.locator(".toasts:popover-open", has=toast)).to_have_count(1)


def test_shortcuts(visit):
    page = visit("operate")
    expect(page.locator("main h1").first).to_be_visible()
    page.keyboard.press("?")
    expect(page.get_by_role("dialog", name="Help and shortcuts")).to_be_visible()
    # A dialog takes the keys: no second one opens.
    page.keyboard.press("/")
    expect(page.get_by_role("dialog")).to_have_count(1)
    page.get_by_label("Single keys").uncheck()
    page.keyboard.press("Escape")
    page.keyboard.press("?")
    page.keyboard.press("Control+k")
    expect(page.get_by_role("dialog")).to_have_accessible_name("Commands")
    page.keyboard.press("Escape")
    page.get_by_role("button", name="Help and shortcuts").click()
    page.get_by_label("Single keys").check()
    page.keyboard.press("Escape")
    page.keyboard.press("n")
    expect(page).to_have_title("Chat · Trunkcall")
    # In a field they are letters.
    page.get_by_role("main").get_by_role("textbox").last.fill("")
    page.get_by_role("main").get_by_role("textbox").last.type("n?/")
    expect(page.get_by_role("dialog")).to_have_count(0)
    expect(page.get_by_role("main").get_by_role("textbox").last).to_have_value("n?/")


def test_the_theme_is_kept_and_the_same_in_all_tabs(visit):
    page = visit(scheme="dark")
    dark = page.evaluate("getComputedStyle(document.body).backgroundColor")
    page.get_by_role("button", name="Theme: as the system has it").click()
    expect(page.locator("body")).not_to_have_css("background-color", dark)
    other = page.context.new_page()
    other.goto(page.url)
    expect(other.get_by_role("button", name="Theme: light")).to_be_visible()
    other.get_by_role("button", name="Theme: light").click()
    expect(page.get_by_role("button", name="Theme: dark")).to_be_visible()
    page.reload()
    expect(page.locator("html")).to_have_attribute("data-theme", "dark")


def test_it_is_walked_through_by_keyboard(visit):
    page = visit("models")
    expect(page.locator("main h1").first).to_be_visible()
    page.keyboard.press("Tab")
    expect(page.get_by_role("link", name="Skip to the content")).to_be_focused()
    page.keyboard.press("Enter")
    expect(page.get_by_role("main")).to_be_focused()
    assert page.url.endswith("#/models")


def focus_stops(page: Page, most: int = 150) -> list[dict[str, object]]:
    """What Tab stops at, from the begin of the page until it comes round."""
    page.locator(".skip-link").focus()
    stops = []
    for _ in range(most):
        page.keyboard.press("Tab")
        stop = page.evaluate(
            """async () => {
              const found = document.activeElement;
              if (found === document.body) return null;
              const painted = () => new Promise((resolve) => requestAnimationFrame(() => requestAnimationFrame(resolve)));
              await painted();
              const look = () => {
                const styles = [];
                for (let one = found, up = 0; one && up < 4; one = one.parentElement, up += 1) {
                  const style = getComputedStyle(one);
                  styles.push(style.outlineStyle, style.outlineWidth, style.boxShadow, style.borderColor, style.backgroundColor);
                }
                return styles.join();
              };
              const box = found.getBoundingClientRect();
              const focused = look();
              found.blur();
              await painted();
              const changes = look() !== focused;
              found.focus();
              return { name: found.outerHTML.slice(0, 160), changes, seen: box.width > 0 && box.height > 0 };
            }"""
        )
        if stop is None:
            return stops
        stops.append(stop)
    return stops


@pytest.mark.parametrize("name", PAGES)
def test_each_stop_of_the_keyboard_is_seen(visit, name):
    page = visit(name.lower(), reduced_motion="reduce")
    expect(page.locator("main h1").first).to_be_visible()
    stops = focus_stops(page)
    assert len(stops) > 8
    assert [stop for stop in stops if not (stop["changes"] and stop["seen"])] == []


def test_nothing_moves_for_those_who_do_not_want_it(visit):
    page = visit("models", reduced_motion="reduce")
    expect(page.locator("main h1").first).to_be_visible()
    assert page.evaluate(
        """() => [...document.querySelectorAll("*")].filter((one) => {
          const style = getComputedStyle(one);
          return [style.animationDuration, style.transitionDuration].some((text) => text.split(",").some((d) => parseFloat(d) > 0.001));
        }).length"""
    ) == 0  # fmt: skip


def test_in_forced_colours_the_page_in_use_still_stands_out(visit):
    page = visit("models", forced_colors="active")
    here = page.get_by_role("link", name="Models", exact=True)
    other = page.get_by_role("link", name="Operate", exact=True)
    look = (
        "(e) => { const s = getComputedStyle(e); return [s.outlineStyle, s.borderStyle, s.fontWeight, s.color].join() }"
    )
    assert here.evaluate(look) != other.evaluate(look)


@pytest.mark.parametrize("size", [PHONE, WIDE], ids=["phone", "wide"])
def test_the_first_paint_is_quick_and_nothing_jumps(visit, size):
    page = visit("", size=size)
    expect(page.locator("main h1").first).to_be_attached()
    page.reload()
    expect(page.locator("main h1").first).to_be_attached()
    page.wait_for_timeout(300)
    found = page.evaluate(
        """() => new Promise((resolve) => new PerformanceObserver((list) =>
             resolve(list.getEntries().reduce((sum, one) => sum + (one.hadRecentInput ? 0 : one.value), 0))
           ).observe({ type: "layout-shift", buffered: true }) || setTimeout(() => resolve(0), 500))"""
    )
    assert found < 0.1, found
    page.wait_for_function("() => performance.getEntriesByName('first-contentful-paint').length > 0")


def test_it_goes_on_by_itself_after_a_restart(visit, tmp_path: Path, free_port):
    words = ("--port", str(free_port), "--model", "echo=debug")
    with Server(*words, home=tmp_path) as first:
        page = visit("models", at=first.url, allow=("ERR_", "Failed to load"))
        expect(page.get_by_role("main").get_by_text("echo").first).to_be_visible()
    page.keyboard.press("Control+k")
    palette(page).fill("chat")
    page.keyboard.press("Escape")
    expect(page.get_by_text("The server cannot be reached.").first).to_be_visible()
    with Server(*words, "--model", "another=debug", home=tmp_path):
        expect(page.locator(".offline")).to_be_hidden()
        expect(page.get_by_role("main").get_by_text("another").first).to_be_visible()


def test_a_page_that_fails_says_so_and_can_be_tried_again(visit):
    page = visit("operate", allow=("script: ", "console: "))
    expect(page.locator("main h1").first).to_be_visible()
    page.route("**/web/models/models_page.js", lambda route: route.fulfill(
        content_type="text/javascript", body="export default function Broken() { throw new Error('broken on purpose'); }"
    ))  # fmt: skip
    page.get_by_role("link", name="Models", exact=True).click()
    expect(page.get_by_role("alert")).to_contain_text("This page has failed")
    expect(page.get_by_role("button", name="Try again")).to_be_visible()
    page.get_by_role("link", name="Operate", exact=True).click()
    expect(page.get_by_role("main").get_by_role("heading", level=1)).to_be_visible()


def test_without_storage_it_works_as_well(visit, server):
    page = visit("")
    page.add_init_script(
        """for (const name of ["localStorage", "sessionStorage", "indexedDB"])
             Object.defineProperty(window, name, { get() { throw new DOMException("no", "SecurityError"); } });"""
    )
    page.reload()
    expect(page.locator("main h1").first).to_be_attached()
    page.get_by_role("button", name="Theme: as the system has it").click()
    expect(page.locator("html")).to_have_attribute("data-theme", "light")


def test_all_the_page_weighs_little(visit):
    page = visit("")
    weights: dict[str, int] = {}
    page.on("response", lambda answer: weights.update({answer.url: int(answer.headers.get("content-length", 0))}))
    for name in PAGES:
        page.goto(f"{page.url.split('#')[0]}#/{name.lower()}")
        page.reload()
        expect(page.locator("main h1").first).to_be_attached()
    eventually(lambda: len(weights) > 20)
    assert sum(weights.values()) < 400_000, sorted(weights.items(), key=lambda one: -one[1])[:8]
