"""Who may use the page: signing in and out, keys that stop being good while it is open, and where keys must never be."""

from __future__ import annotations

import json
import re
import time
from pathlib import Path

import pytest
from playwright.sync_api import Page, expect
from running import Server, eventually
from web.chats import ask, box
from web_browser import PHONE

pytestmark = [pytest.mark.slow, pytest.mark.timeout(240)]

REFUSED = ("status of 401", "status of 403")
"""The browser's console tells of each refusal."""


def sign_in(page: Page, secret: str, *, stay: bool = False) -> None:
    page.get_by_label("API key").fill(secret)
    if stay:
        page.get_by_label("Stay signed in").check()
    page.get_by_role("button", name="Sign in").click()


def admin(closed, method: str, path: str, body: object = None) -> dict[str, object]:
    status, _, data = closed.server.request(method, path, body, {"authorization": f"Bearer {closed.secrets['boss']}"})
    assert status < 300, data
    return json.loads(data or b"{}")


def new_key(closed, name: str, **more: object) -> str:
    return str(admin(closed, "POST", "/admin/keys", {"name": name, **more})["secret"])


def test_on_loopback_nobody_signs_in(visit):
    page = visit("")
    expect(page.locator(".nav")).to_contain_text("No key needed")
    expect(page.get_by_role("button", name="Sign out")).to_have_count(0)


@pytest.mark.parametrize("size", [None, PHONE], ids=["desktop", "phone"])
def test_signing_in_and_out(visit, closed, size):
    page = visit("models", at=closed.server.url, allow=REFUSED, **({"size": size} if size else {}))
    expect(page).to_have_title("Sign in · Trunkcall")
    expect(page.get_by_label("API key")).to_be_focused()
    sign_in(page, closed.secrets["boss"])
    expect(page).to_have_title("Models · Trunkcall")
    if size:
        page.get_by_role("button", name="More").click()
    expect(page.locator("p.account:visible")).to_contain_text("boss")
    expect(page.locator("p.account:visible")).to_contain_text("administrator")
    page.get_by_role("button", name="Sign out").last.click()
    expect(page.get_by_label("API key")).to_be_visible()
    page.reload()
    expect(page.get_by_label("API key")).to_be_visible()


def test_a_user_sees_only_what_the_key_may(visit, closed):
    page = visit("models", at=closed.server.url, secret=closed.secrets["anna"])
    links = page.get_by_role("navigation", name="Pages").get_by_role("link")
    expect(links).to_have_text(["Chat", "Compare", "Battle", "Your use"])
    expect(page).to_have_title("Chat · Trunkcall")
    page.keyboard.press("Escape")
    page.keyboard.press("Control+k")
    page.get_by_role("combobox", name=re.compile("^Search pages")).fill("chat with")
    expect(page.get_by_role("dialog").get_by_role("option")).to_have_text(["Chat with echoready"])
    page.get_by_role("combobox", name=re.compile("^Search pages")).fill("operate")
    expect(page.get_by_role("dialog").get_by_role("option")).to_have_count(0)


def test_each_refusal_is_said_clearly(visit, closed):
    off = new_key(closed, "off")
    admin(closed, "PATCH", "/admin/keys/off", {"disabled": True})
    # Soon, but no key is made that has expired already.
    past = new_key(closed, "past", expires_at=time.time() + 5)
    page = visit("", at=closed.server.url, allow=REFUSED)
    for secret, said in {
        "sk-wrong": "the API key is not known to this server",
        off: "the API key 'off' is disabled; an administrator can enable it",
        "two words": "This is no key",
        "ключ": "This is no key",
    }.items():
        sign_in(page, secret)
        expect(page.get_by_role("alert")).to_contain_text(said)
        expect(page.locator(".field-error")).to_contain_text(said)
        expect(page.get_by_label("API key")).to_have_attribute("aria-invalid", "true")
    shown = {"authorization": f"Bearer {past}"}
    eventually(lambda: closed.server.request("GET", "/web/api/models", headers=shown)[0] == 401)
    sign_in(page, past)
    expect(page.get_by_role("alert")).to_contain_text("the API key 'past' expired at")
    sign_in(page, f"  {closed.secrets['anna']}  ")
    expect(page.locator(".nav")).to_contain_text("anna")


def test_without_the_server_the_sign_in_says_so(visit, tmp_path: Path):
    with Server("--model", "echo=debug", home=tmp_path) as server:
        server.post("/admin/keys", {"name": "boss", "role": "admin"})
        page = visit("", at=server.url, allow=("ERR_", "Failed to load"))
        expect(page.get_by_label("API key")).to_be_visible()
    sign_in(page, "sk-any")
    expect(page.get_by_role("alert")).to_contain_text("The server cannot be reached")


@pytest.mark.parametrize("how", ["revoked", "disabled"])
def test_a_key_that_stops_being_good_loses_nothing(visit, closed, how):
    name = f"temporary-{how}"
    page = visit("chat", at=closed.server.url, allow=REFUSED)
    secret = new_key(closed, name)
    sign_in(page, secret)
    ask(page, "one two three")
    articles = page.get_by_role("article")
    expect(articles.filter(has_text="one two three")).to_have_count(2)
    box(page).fill("half a thought")
    if how == "revoked":
        admin(closed, "DELETE", f"/admin/keys/{name}")
    else:
        admin(closed, "PATCH", f"/admin/keys/{name}", {"disabled": True})
    over = page.get_by_role("dialog", name="Sign in again")
    expect(over).to_be_visible()
    page.keyboard.press("Escape")
    page.keyboard.press("Escape")
    expect(over).to_be_visible()
    sign_in(page, "sk-wrong")
    expect(over.get_by_role("alert")).to_contain_text("not known")
    if how == "revoked":
        secret = new_key(closed, f"{name}-2")
    else:
        admin(closed, "PATCH", f"/admin/keys/{name}", {"disabled": False})
    sign_in(page, secret)
    expect(over).to_be_hidden()
    expect(box(page)).to_have_value("half a thought")
    expect(articles.filter(has_text="one two three")).to_have_count(2)
    ask(page, "and on")
    expect(articles.filter(has_text="and on")).to_have_count(2)


def test_while_signed_out_the_server_is_left_alone(visit, closed):
    page = visit("", at=closed.server.url, allow=REFUSED)
    sign_in(page, new_key(closed, "chatty"))
    expect(page.locator(".nav")).to_contain_text("chatty")
    admin(closed, "DELETE", "/admin/keys/chatty")
    expect(page.get_by_role("dialog", name="Sign in again")).to_be_visible()
    asked: list[str] = []
    page.on("request", lambda request: asked.append(request.url))
    page.wait_for_timeout(6500)
    assert asked == []


def test_a_server_that_begins_to_need_keys_asks_for_one(visit, tmp_path: Path):
    with Server("--model", "echo=debug", home=tmp_path) as server:
        page = visit("chat", at=server.url, allow=(*REFUSED, "ERR_"))
        expect(page.locator(".nav")).to_contain_text("No key needed")
        box(page).fill("mine")
        secret = server.post("/admin/keys", {"name": "boss", "role": "admin"})[2]["secret"]
        expect(page.get_by_role("dialog", name="Sign in again")).to_be_visible()
        sign_in(page, secret)
        expect(page.locator(".nav")).to_contain_text("boss")
        expect(box(page)).to_have_value("mine")


@pytest.mark.parametrize("stay", [False, True])
def test_signing_out_signs_out_the_other_tabs(visit, closed, stay):
    page = visit("", at=closed.server.url, allow=REFUSED)
    sign_in(page, closed.secrets["anna"], stay=stay)
    expect(page.locator(".nav")).to_contain_text("anna")
    other = page.context.new_page()
    other.goto(page.url)
    if not stay:
        sign_in(other, closed.secrets["boss"])
    expect(other.get_by_role("button", name="Sign out")).to_be_visible()
    page.get_by_role("button", name="Sign out").click()
    for tab in (page, other):
        expect(tab.get_by_label("API key")).to_be_visible()
        assert tab.evaluate("[sessionStorage.getItem('trunkcall.key'), localStorage.getItem('trunkcall.key')]") == [
            None,
            None,
        ]


def test_staying_signed_in_signs_in_waiting_tabs_and_later_ones(visit, closed):
    page = visit("", at=closed.server.url, allow=REFUSED)
    waiting = page.context.new_page()
    waiting.goto(page.url)
    expect(waiting.get_by_label("API key")).to_be_visible()
    sign_in(page, closed.secrets["anna"], stay=True)
    expect(waiting.locator(".nav")).to_contain_text("anna")
    later = page.context.new_page()
    later.goto(page.url)
    expect(later.locator(".nav")).to_contain_text("anna")


def test_a_key_is_in_no_address_no_cookie_no_link_and_no_log(visit, closed):
    page = visit("", at=closed.server.url, allow=REFUSED)
    urls: list[str] = []
    page.on("request", lambda request: urls.append(request.url))
    secret = closed.secrets["boss"]
    sign_in(page, secret)
    for name in ("Chat", "Compare", "Battle", "Models", "Operate", "Keys"):
        page.get_by_role("link", name=name, exact=True).click()
        expect(page).to_have_title(f"{name} · Trunkcall")
        expect(page.locator("main h1").first).to_be_attached()
        assert secret not in page.content()
    assert urls
    assert not any(secret in url for url in urls)
    assert page.context.cookies() == []
    assert secret not in closed.server.output
    assert all(secret not in path.read_text(errors="replace") for path in closed.server.home.rglob("*.log"))


def test_a_server_away_at_the_begin_is_waited_for(visit, tmp_path: Path):
    with Server("--model", "echo=debug", home=tmp_path) as first:
        page = visit("", at=first.url, allow=("ERR_", "Failed to load"))
        expect(page.locator("main h1").first).to_be_attached()
        page.route("**/web/api/session", lambda route: route.abort())
        page.reload()
        expect(page.get_by_role("alert")).to_contain_text("The server cannot be reached")
        expect(page.get_by_role("button", name="Try again")).to_be_visible()
        page.unroute("**/web/api/session")
        expect(page.locator("main h1").first).to_be_attached()


def test_password_servers_ask_for_a_name_too(visit, tmp_path: Path):
    (tmp_path / "trunkcall.yaml").write_text(
        "models: {echo: debug}\nkeys: [env:ANNA]\n"
        "listen: {port: 0, apis: [web, openai, landing], options: {web: {sign_in: password}}}\n"
    )
    with Server(home=tmp_path / "home", cwd=tmp_path, env={"ANNA": "anna:open sesame"}) as server:
        page = visit("", at=server.url, allow=(*REFUSED, "ERR_"))
        for user, password in [("anna", "open"), ("bob", "open sesame")]:
            page.get_by_label("User name").fill(user)
            page.get_by_label("Password").fill(password)
            page.get_by_role("button", name="Sign in").click()
            expect(page.get_by_role("alert")).to_contain_text("The user name or the password is wrong")
        page.get_by_label("User name").fill("anna")
        page.get_by_label("Password").fill("open sesame")
        page.get_by_role("button", name="Sign in").click()
        expect(page.locator(".nav")).to_contain_text("Chat")


def test_no_page_may_frame_it_or_bring_scripts(closed):
    headers = closed.server.request("GET", "/")[1]
    assert "frame-ancestors 'none'" in headers["content-security-policy"]
    assert re.search(r"script-src 'self'(;|$)", headers["content-security-policy"])
