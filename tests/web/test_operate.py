"""The operate page: figures, charts, models, requests with their stories, and the server's log."""

from __future__ import annotations

import re
import threading
import time
from pathlib import Path

import pytest
from playwright.sync_api import Page, expect
from running import Server, eventually
from web_browser import PHONE

pytestmark = [pytest.mark.slow, pytest.mark.timeout(240)]


LOOKS = 90_000
"""Milliseconds in which the page has looked again, also when its last look took seconds: it looks the less often then."""


def hearing(visit, **more) -> Page:
    """The page once its stream of events is there: what came before it is in no list that was read already."""
    page = visit("chat", **more)
    with page.expect_response(lambda answer: "/admin/events" in answer.url):
        page.evaluate("() => { location.hash = '#/operate'; }")
    return page


@pytest.fixture(scope="module")
def asked(server: Server) -> dict[str, str]:
    """Ids of requests that were made: one that went well, one for no model."""
    return {
        "good": server.chat("echo", "one two three four")[1]["x-trunkcall-request-id"],
        "lost": server.chat("no-such-model", "hello")[1]["x-trunkcall-request-id"],
    }


def row(page: Page, id: str):
    return page.locator("tr.request-row", has=page.locator(f'a[href="#/operate/{id}"]'))


def test_it_tells_how_the_server_does(visit, server, asked):
    page = visit("operate")
    expect(page.locator(".condition")).to_contain_text("Ready")
    expect(page.locator(".condition")).to_contain_text(str(server.process.pid))
    figures = page.locator(".figures .card")
    expect(figures).to_have_count(6)
    expect(figures.get_by_role("img")).to_have_count(6)
    errors = figures.filter(has=page.get_by_role("heading", name="Errors"))
    failed = server.get("/admin/requests?limit=1000&error=any")["requests"]
    expect(errors.locator(".figure-value strong")).to_have_text(str(len(failed)))
    expect(errors.get_by_role("img")).to_have_accessible_name(re.compile(r"Errors, last ten minutes\. no such model: "))
    table = page.locator("table.by-model")
    expect(table.get_by_role("row").filter(has_text="echo").first).to_contain_text("ready")
    for _ in range(3):
        server.chat("echo", "more")
    first = figures.filter(has=page.get_by_role("heading", name="Time to first token"))
    expect(first.locator(".figure-value strong")).to_have_text(re.compile(r"\d ms|\d s"))
    rate = figures.filter(has=page.get_by_role("heading", name="Requests answered"))
    expect(rate.locator(".figure-value strong")).not_to_have_text("–", timeout=LOOKS)


def test_charts_go_on(visit, server):
    server.chat("no-such-model", "hello")
    page = hearing(visit)
    card = page.locator(".figures .card").filter(has=page.get_by_role("heading", name="Errors"))
    errors = card.get_by_role("img")
    expect(errors).to_be_visible()
    # The past is read after the present.
    expect(card.locator(".figure-value strong")).not_to_have_text("0")
    before = int(card.locator(".figure-value strong").inner_text())
    began = time.monotonic()
    for _ in range(50):
        server.chat("no-such-model", "hello")
    expect(card.locator(".figure-value strong")).to_have_text(str(before + 50))
    # They came in so many steps of five seconds at most.
    least = 50 // (int((time.monotonic() - began) / 5) + 2)
    most = re.compile(rf"no such model: \d+ at last, ({'|'.join(map(str, range(least, 100)))}) at most\.")
    expect(errors).to_have_accessible_name(most, timeout=LOOKS)


def test_a_chart_has_its_numbers_behind_it(visit, asked):
    page = visit("operate")
    card = page.locator(".figures .card").filter(has=page.get_by_role("heading", name="Errors"))
    card.locator("summary").click()
    table = card.get_by_role("table")
    expect(table.get_by_role("row")).to_have_count(11)
    expect(table.get_by_role("columnheader").first).to_have_text("Time")


def test_a_story_opens_and_says_what_to_do(visit, asked):
    page = visit("operate")
    row(page, asked["lost"]).get_by_role("link").click()
    dialog = page.get_by_role("dialog", name="Story of a request")
    expect(dialog).to_contain_text(asked["lost"])
    expect(dialog).to_contain_text("no_model")
    expect(dialog).to_contain_text("No model has this name: correct it in the caller")
    page.keyboard.press("Escape")
    expect(dialog).to_be_hidden()
    expect(page).to_have_url(re.compile("#/operate$"))
    row(page, asked["good"]).locator("td").last.click()
    expect(dialog).to_contain_text("only replica")
    expect(dialog.get_by_role("link", name="echo")).to_have_attribute("href", "#/models/echo")
    page.go_back()
    expect(dialog).to_be_hidden()


def test_a_request_is_found_by_its_id(visit, asked):
    page = visit("operate")
    page.get_by_label("Request id").fill(asked["good"])
    page.keyboard.press("Enter")
    expect(page.get_by_role("dialog")).to_contain_text("echo")
    expect(page).to_have_url(re.compile(f"#/operate/{asked['good']}$"))
    there = visit(f"operate/{asked['good']}")
    expect(there.get_by_role("dialog")).to_contain_text(asked["good"])
    nowhere = visit("operate/no-such-id", allow=("404",))
    expect(nowhere.get_by_role("dialog").get_by_role("alert")).to_contain_text("there is no request 'no-such-id'")


def test_requests_come_by_themselves_and_can_be_held(visit, server, asked):
    page = hearing(visit)
    expect(row(page, asked["good"])).to_be_visible()
    came = server.chat("echo", "live")[1]["x-trunkcall-request-id"]
    expect(row(page, came)).to_be_visible()
    page.get_by_role("button", name="Hold the list still").click()
    held = server.chat("echo", "held")[1]["x-trunkcall-request-id"]
    expect(page.get_by_text("held still, one new")).to_be_visible()
    assert row(page, held).count() == 0
    page.get_by_role("button", name="Follow the list again").click()
    expect(row(page, held)).to_be_visible()


def test_a_request_is_followed_to_its_end(visit, server):
    page = hearing(visit)
    expect(page.locator("table.by-model")).to_be_visible()
    # A word each second: time to open its story meanwhile.
    asking = threading.Thread(target=server.chat, args=("crawl", "one two three four five " * 4))
    asking.start()
    running = page.locator("tr.request-row", has_text="crawl").filter(has_text="running")
    expect(running).to_be_visible()
    running.get_by_role("link").click()
    dialog = page.get_by_role("dialog")
    expect(dialog).to_contain_text("so far")
    expect(dialog.locator(".story-outcome .badge")).to_have_text("stop", timeout=LOOKS)
    expect(dialog).not_to_contain_text("so far")
    page.keyboard.press("Escape")
    expect(running).to_have_count(0)
    asking.join(60)


def test_filters(visit, server, asked):
    page = hearing(visit)
    expect(row(page, asked["good"])).to_be_visible()
    page.get_by_label("Outcome").select_option("any")
    expect(row(page, asked["lost"])).to_be_visible()
    expect(row(page, asked["good"])).to_have_count(0)
    other = server.chat("another-name", "x")[1]["x-trunkcall-request-id"]
    server.chat("echo", "not among them")
    expect(row(page, other)).to_be_visible()
    expect(page.locator("tr.request-row", has_text="echo")).to_have_count(0)
    page.get_by_label("Outcome").select_option("quota")
    expect(page.get_by_text("No request fits these filters.")).to_be_visible()
    page.get_by_role("button", name="No filter").click()
    expect(row(page, asked["good"])).to_be_visible()
    page.get_by_role("button", name="Only echo").click()
    expect(page.get_by_role("heading", name="echo: now and in the last ten minutes")).to_be_visible()
    expect(row(page, asked["lost"])).to_have_count(0)
    expect(page.get_by_label("Model", exact=True)).to_have_value("echo")


def test_older_ones_are_shown_when_they_are_asked_for(visit, tmp_path: Path):
    with Server("--no-pocket", "--model", "echo=debug", home=tmp_path) as server:
        first = server.chat("echo", "first")[1]["x-trunkcall-request-id"]
        for _ in range(104):
            server.chat("echo", "x")
        page = hearing(visit, at=server.url, allow=("ERR_",))
        rows = page.locator("tr.request-row")
        expect(rows).to_have_count(100)
        page.get_by_role("button", name="Show older ones").click()
        expect(row(page, first)).to_be_attached()
        expect(rows).to_have_count(105)
        expect(page.get_by_text("There are no older ones.")).to_be_visible()
        last = server.chat("echo", "x")[1]["x-trunkcall-request-id"]
        expect(row(page, last)).to_be_visible()
        expect(rows).to_have_count(106)


def test_the_servers_log_is_shown_as_it_is_written(visit, server):
    page = visit("operate")
    log = page.get_by_role("region", name="The server’s log")
    expect(log.last).to_be_visible()
    server.request("POST", "/admin/models/echo/load", {})
    expect(log.last).to_contain_text("administration: POST '/admin/models/echo/load'")


def test_an_empty_server_says_what_to_do(visit, tmp_path: Path):
    with Server("--no-pocket", home=tmp_path) as server:
        page = visit("operate", at=server.url, allow=("ERR_",))
        expect(page.get_by_text("This server has no models yet.")).to_be_visible()
        expect(page.get_by_text("No requests yet.")).to_be_visible()


def test_what_is_amiss_is_said(visit):
    reason = "requests wait in the journal: no space left on device"
    told = {"status": "degraded", "reasons": [reason], "failed_models": []}
    page = visit("chat")
    page.route("**/ready", lambda route: route.fulfill(json=told))
    page.get_by_role("link", name="Operate", exact=True).click()
    expect(page.locator(".condition")).to_contain_text("Degraded")
    expect(page.locator(".reasons")).to_have_text(reason)
    told.update(status="draining", reasons=[])
    expect(page.locator(".condition")).to_contain_text("Running answers end; no new requests are taken.", timeout=LOOKS)
    expect(page.locator(".reasons")).to_have_count(0)


def test_it_goes_on_when_the_server_is_back(visit, tmp_path: Path, free_port):
    words = ("--no-pocket", "--port", str(free_port), "--model", "echo=debug")
    with Server(*words, home=tmp_path) as first:
        before = first.chat("echo", "before")[1]["x-trunkcall-request-id"]
        page = visit("operate", at=first.url, allow=("ERR_", "Failed to load"))
        expect(row(page, before)).to_be_visible()
        pid = first.process.pid
    expect(page.locator(".offline")).to_be_visible()
    heard: list[str] = []
    page.on("response", lambda answer: heard.append(answer.url) if "/admin/events" in answer.url else None)
    with Server(*words, home=tmp_path) as second:
        expect(page.locator(".condition")).to_contain_text(str(second.process.pid), timeout=LOOKS)
        assert second.process.pid != pid
        # What comes before its stream of events is there may be in no list.
        eventually(lambda: page.wait_for_timeout(50) or heard)
        after = second.chat("echo", "after")[1]["x-trunkcall-request-id"]
        expect(row(page, after)).to_be_visible()
        expect(row(page, before)).to_be_visible()


@pytest.mark.parametrize("size", [PHONE, {"width": 1440, "height": 900}], ids=["phone", "desktop"])
def test_nothing_jumps_while_figures_change(visit, server, asked, size):
    for model in ("no-such-model", "echo"):
        server.chat(model, "one two three")
    page = hearing(visit, size=size)
    expect(page.locator("tr.request-row").first).to_be_visible()
    # All that is read at first.
    figures = page.locator(".figures .card")
    errors = figures.filter(has=page.get_by_role("heading", name="Errors")).locator(".figure-value strong")
    expect(errors).not_to_have_text("0")
    rate = figures.filter(has=page.get_by_role("heading", name="Requests answered")).locator(".figure-value strong")
    expect(rate).not_to_have_text("–", timeout=LOOKS)
    expect(page.locator("table.by-model").get_by_role("row").filter(has_text="echo").first).to_contain_text("ready")
    tops = (
        "[...document.querySelectorAll('.figures, .by-model, .requests')].map((one) => one.getBoundingClientRect().top)"
    )

    def stands_still() -> bool:
        before = page.evaluate(tops)
        page.wait_for_timeout(500)
        return len(before) == 3 and page.evaluate(tops) == before

    # What is read at first may come one after the other.
    eventually(stands_still)
    page.evaluate(
        """() => { window.shifts = 0;
          new PerformanceObserver((list) => { for (const one of list.getEntries()) window.shifts += one.value; })
            .observe({ type: "layout-shift", buffered: false }); }"""
    )
    before = page.evaluate(tops)
    for _ in range(5):
        came = server.chat("echo", "one two three")[1]["x-trunkcall-request-id"]
    expect(row(page, came)).to_be_attached()
    page.wait_for_timeout(1500)
    assert page.evaluate(tops) == before
    assert page.evaluate("window.shifts") < 0.05
