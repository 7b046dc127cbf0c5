"""The pages of keys and use: making, changing, disabling and revoking keys, what they used, and a user's own page."""

from __future__ import annotations

import csv
import re
from pathlib import Path

import pytest
from playwright.sync_api import Page, expect
from running import Server, eventually

pytestmark = [pytest.mark.slow, pytest.mark.timeout(240)]

LOOKS = 90_000
"""Milliseconds in which the page has looked again, also when its last look took seconds: it looks the less often then."""


@pytest.fixture
def page(visit, closed) -> Page:
    """The page of keys, as an administrator sees it."""
    return visit("keys", at=closed.server.url, secret=closed.secrets["boss"], allow=("status of 409",))


def card(page: Page, name: str):
    return page.locator(".key-card", has=page.get_by_role("heading", name=name, exact=True))


def made(closed, **entry: object) -> str:
    """A key's secret; one of this name from an earlier test is taken out."""
    headers = {"authorization": f"Bearer {closed.secrets['boss']}"}
    closed.server.request("DELETE", f"/admin/keys/{entry['name']}", None, headers)
    status, _, told = closed.server.post("/admin/keys", entry, **headers)
    assert status == 201, told
    return told["secret"]


def asks(closed, secret: str, text: str = "hello") -> int:
    body = {"model": "echo", "messages": [{"role": "user", "content": text}]}
    return closed.server.post("/v1/chat/completions", body, authorization=f"Bearer {secret}")[0]


def test_a_key_is_made_and_its_secret_shown_once(page, closed):
    expect(card(page, "boss")).to_contain_text("yours")
    page.get_by_role("button", name="New key").click()
    form = page.get_by_role("dialog", name="New key")
    form.get_by_label("Name", exact=True).fill("fresh")
    form.get_by_label("echo").check()
    form.get_by_label("Tokens per day").fill("1,000")
    form.get_by_label("Money per month").fill("2.5")
    form.get_by_role("button", name="Make the key").click()
    shown = page.get_by_role("dialog", name="The key fresh")
    secret = shown.locator("code").inner_text()
    assert secret.startswith("tk-") and asks(closed, secret) == 200
    shown.get_by_role("button", name="Copy the secret").click()
    eventually(lambda: page.evaluate("navigator.clipboard.readText()") == secret)
    page.keyboard.press("Escape")
    expect(shown.get_by_role("alert")).to_contain_text("cannot be had again")
    shown.get_by_role("button", name="I have kept it").click()
    expect(shown).to_be_hidden()
    assert secret not in page.content()
    expect(card(page, "fresh")).to_contain_text("of 1,000")
    expect(card(page, "fresh")).to_contain_text("echo")
    expect(card(page, "fresh")).to_contain_text(re.compile(r"Money this month.*of 2\.50"))


def test_mistakes_stand_at_their_fields(page, closed):
    page.get_by_role("button", name="New key").click()
    form = page.get_by_role("dialog", name="New key")
    form.get_by_role("button", name="Make the key").click()
    name = form.get_by_label("Name", exact=True)
    expect(name).to_have_attribute("aria-invalid", "true")
    expect(name).to_be_focused()
    name.fill("boss")
    form.get_by_label("Tokens per day").fill("many")
    expect(form.get_by_label("Tokens per day")).to_have_accessible_description(re.compile("Write a whole number"))
    form.get_by_label("Tokens per day").fill("")
    form.get_by_role("button", name="Make the key").click()
    expect(name).to_have_accessible_description(re.compile("the key 'boss' is there already"))
    expect(name).to_be_focused()
    page.keyboard.press("Escape")
    expect(form).to_be_hidden()


def test_limits_are_changed_and_taken_away(page, closed):
    made(closed, name="limited", tokens_per_day=10, requests_per_minute=5)
    expect(card(page, "limited")).to_contain_text("0 of 10")
    expect(card(page, "limited")).to_contain_text("5 requests per minute")
    page.get_by_role("button", name="Limits of limited").click()
    form = page.get_by_role("dialog", name="Limits of limited")
    expect(form.get_by_role("button", name="Save")).to_be_disabled()
    form.get_by_label("Tokens per day").fill("20")
    form.get_by_label("Requests per minute").fill("")
    form.get_by_label("Expires").fill("2040-01-02T03:04")
    form.get_by_role("button", name="Save").click()
    expect(form).to_be_hidden()
    expect(card(page, "limited")).to_contain_text("0 of 20")
    expect(card(page, "limited")).not_to_contain_text("per minute")
    expect(card(page, "limited")).to_contain_text("Expires Jan 2, 2040")


def test_a_key_is_disabled_and_good_again(page, closed):
    secret = made(closed, name="turned")
    page.get_by_role("button", name="Disable turned").click()
    expect(card(page, "turned").get_by_text("disabled", exact=True)).to_be_visible()
    assert asks(closed, secret) == 401 or asks(closed, secret) == 403
    page.get_by_role("button", name="Enable turned").click()
    expect(card(page, "turned").get_by_text("good", exact=True)).to_be_visible()
    assert asks(closed, secret) == 200
    expect(page.get_by_role("button", name="Disable boss")).to_be_disabled()


def test_a_slip_of_the_mouse_loses_nothing_that_was_typed(page, closed):
    page.get_by_role("button", name="New key").click()
    form = page.get_by_role("dialog", name="New key")
    form.get_by_label("Name", exact=True).fill("half-typed")
    page.mouse.click(5, 5)
    expect(form.get_by_label("Name", exact=True)).to_have_value("half-typed")
    form.get_by_role("button", name="Cancel").click()
    expect(form).to_be_hidden()


def test_revoking_asks_first(page, closed):
    secret = made(closed, name="doomed")
    page.get_by_role("button", name="Revoke doomed").click()
    asked = page.get_by_role("dialog", name="Revoke doomed?")
    asked.get_by_role("button", name="Cancel").click()
    expect(asked).to_be_hidden()
    assert asks(closed, secret) == 200
    page.get_by_role("button", name="Revoke doomed").click()
    asked.get_by_role("button", name="Revoke").click()
    expect(card(page, "doomed")).to_have_count(0)
    assert asks(closed, secret) == 401


def test_what_is_used_shows_as_a_bar_and_changes_by_itself(page, closed):
    secret = made(closed, name="eager", tokens_per_day=100)
    bar = card(page, "eager").get_by_role("meter", name="Tokens today")
    expect(bar).to_have_attribute("aria-valuenow", "0")
    asks(closed, secret, "word " * 10)
    expect(bar).not_to_have_attribute("aria-valuenow", "0", timeout=LOOKS)
    boss = {"authorization": f"Bearer {closed.secrets['boss']}"}
    assert closed.server.request("PATCH", "/admin/keys/eager", {"tokens_per_day": 20}, boss)[0] == 200
    expect(card(page, "eager").get_by_text("budget used up")).to_be_visible(timeout=LOOKS)


def test_many_keys_are_found_by_name(page, closed):
    for number in range(9):
        made(closed, name=f"one-of-many-{number}")
    page.get_by_label("Name, role or model").fill("many-7")
    expect(page.locator(".key-card h3")).to_have_text(["one-of-many-7"])
    page.get_by_label("Name, role or model").fill("nothing like it")
    expect(page.get_by_text("No key fits “nothing like it”.")).to_be_visible()


def test_the_first_key_closes_the_server_and_the_page_goes_on(visit, tmp_path: Path):
    with Server("--no-pocket", "--model", "echo=debug", home=tmp_path) as server:
        page = visit("keys", at=server.url, allow=("ERR_", "status of 401"))
        expect(page.get_by_role("heading", name="No keys: everybody")).to_be_visible()
        page.get_by_role("button", name="New key").click()
        form = page.get_by_role("dialog", name="New key")
        expect(form).to_contain_text("This is the first key")
        expect(form.get_by_label("Role")).to_be_disabled()
        form.get_by_label("Name", exact=True).fill("first")
        form.get_by_role("button", name="Make the key").click()
        shown = page.get_by_role("dialog", name="The key first")
        expect(shown).to_contain_text("This page uses it from now on")
        shown.get_by_role("button", name="I have kept it").click()
        expect(card(page, "first")).to_contain_text("yours")
        assert server.request("GET", "/admin/keys")[0] == 401
        expect(page.locator(".account")).to_contain_text("first")


def test_what_was_used_is_summed_drawn_and_exported(visit, closed):
    secret = made(closed, name="spender")
    for _ in range(3):
        asks(closed, secret, "one two three")
    page = visit("keys/use", at=closed.server.url, secret=closed.secrets["boss"])
    expect(page.get_by_role("link", name="What was used")).to_have_attribute("aria-current", "page")
    table = page.locator("table.use-table")
    expect(table.get_by_role("row", name=re.compile("echo"))).to_be_visible()
    expect(page.get_by_role("img", name=re.compile("Tokens by Day"))).to_be_visible()
    page.get_by_label("By", exact=True).select_option("key")
    page.get_by_label("And by").select_option("")
    line = table.get_by_role("row").filter(has_text="spender")
    expect(line.get_by_role("cell").first).to_have_text("3")
    expect(page.locator(".lying-bars")).to_contain_text("spender")
    page.get_by_label("Bars of").select_option("requests")
    expect(page.locator(".lying-bars li", has_text="spender")).to_contain_text("3")
    with page.expect_download() as waiting:
        page.get_by_role("button", name="CSV").click()
    assert waiting.value.suggested_filename.startswith("trunkcall-use-by-key-")
    rows = list(csv.DictReader(Path(waiting.value.path()).read_text().splitlines()))
    assert [row["requests"] for row in rows if row["key"] == "spender"] == ["3"]
    page.get_by_label("Span").select_option("own")
    page.get_by_label("To", exact=True).fill("2020-01-01")
    page.get_by_label("From", exact=True).fill("2019-01-01")
    expect(page.get_by_text("Nothing was used in this span")).to_be_visible()
    expect(page.get_by_role("button", name="CSV")).to_be_disabled()


@pytest.mark.parametrize("span", ["today", "day", "week", "month", "this_month", "all"])
def test_each_span_by_hour(visit, closed, span):
    asks(closed, made(closed, name="hourly"))
    page = visit("keys/use", at=closed.server.url, secret=closed.secrets["boss"])
    page.get_by_label("Span").select_option(span)
    page.get_by_label("By", exact=True).select_option("hour")
    expect(page.locator("table.use-table thead th").first).to_have_text("Hour (UTC)")
    expect(page.locator("table.use-table tbody th").first).to_have_text(re.compile(r"\d{4}-\d\d-\d\d \d\d:00"))
    expect(page.locator(".use-chart")).to_be_visible()


def test_a_user_sees_their_own_use_and_what_remains(visit, closed):
    secret = made(closed, name="small", tokens_per_day=1000, models=["echo"])
    page = visit("usage", at=closed.server.url, secret=secret)
    expect(page.get_by_role("heading", name="small")).to_be_visible()
    expect(page.get_by_role("main")).to_contain_text("1,000 left. Begins anew")
    asks(closed, secret, "word " * 20)
    expect(page.get_by_role("meter")).not_to_have_attribute("aria-valuenow", "0")
    expect(page.get_by_role("link", name="Keys")).to_have_count(0)


def test_a_user_whose_budget_is_used_up_is_told(visit, closed):
    secret = made(closed, name="empty", tokens_per_month=0)
    assert asks(closed, secret) == 429
    page = visit("usage", at=closed.server.url, secret=secret)
    expect(page.get_by_role("status").filter(has_text="A budget is used up")).to_be_visible()
    expect(page.get_by_role("main")).to_contain_text("Nothing left. Begins anew")
