"""FastChat's web servers as their users see them: the old commands before a controller and a worker, in a browser."""

from __future__ import annotations

import json
import re
from base64 import b64encode
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from urllib.request import Request, urlopen

import pytest
from old_command import OldCommand, old_command
from playwright.sync_api import Locator, Page, expect
from running import eventually
from web.chats import ask, box, noted

pytestmark = [pytest.mark.slow, pytest.mark.timeout(180)]

BEGUN = {"temperature": 0.7, "top_p": 1, "max_tokens": 1024}
"""Where the old page's sliders stood at first."""
OF_BROWSER = ("status of 401",)


@dataclass(frozen=True)
class Old:
    """The web servers of both commands, the second one with users; logs: the folder of both."""

    single: str
    arena: str
    logs: Path


def offered(url: str, user: str = "") -> set[str]:
    """The models that this web server has."""
    shown = {"authorization": f"Basic {b64encode(user.encode()).decode()}"} if user else {}
    with urlopen(Request(f"{url.rstrip('/')}/web/api/models", headers=shown), timeout=30) as answer:
        return {model["name"] for model in json.load(answer)["models"]}


@pytest.fixture(scope="module")
def old(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Old]:
    home = tmp_path_factory.mktemp("old")
    users = home / "users"
    users.write_text("ann:s3cret,bób:pässwörd")
    with ExitStack() as stack:

        def start(name: str, *words: str) -> OldCommand:
            child = old_command(
                home / words[0], f"fastchat.serve.{name}", "--port", "0", *words[1:], env={"LOGDIR": str(home / "logs")}
            )
            return stack.enter_context(child)

        controller = start("controller", "controller", "--host", "127.0.0.1").ready(90)
        worker = start(
            "multi_model_worker", "worker", "--host", "127.0.0.1", "--controller-address", controller,
            "--model-path", "debug", "--model-names", "echo", "--model-path", "debug:0.05", "--model-names", "slow",
        )  # fmt: skip
        worker.ready(90)
        web = ("--host", "127.0.0.1", "--controller-url", controller, "--model-list-mode", "reload")
        single = start("gradio_web_server", "single", *web)
        arena = start("gradio_web_server_multi", "arena", *web, "--gradio-auth-path", str(users), "--show-terms-of-use")
        found = Old(single.ready(90), arena.ready(90), home / "logs")
        # They are told of by the worker to the controller, and by that to the web servers.
        eventually(lambda: offered(found.single) == offered(found.arena, "ann:s3cret") == {"echo", "slow"})
        yield found
        for child in (single, arena):
            assert "Traceback" not in child.said and "s3cret" not in child.said


def sign_in(page: Page, user: str, password: str) -> None:
    page.get_by_label("User name").fill(user)
    page.get_by_label("Password").fill(password)
    page.get_by_role("button", name="Sign in").click()


@pytest.mark.parametrize("query", ["", "model=slow"])
def test_a_chat_begins_with_the_old_parameters(visit, old, query):
    page = visit("", at=old.single, query=query)
    expect(page.get_by_role("navigation", name="Pages").get_by_role("link")).to_have_text(["Chat"])
    before = len(noted(old.logs))
    with page.expect_request("**/v1/chat/completions") as sent:
        ask(page, "Who are you?")
    asked = sent.value.post_data_json
    assert {name: asked.get(name) for name in BEGUN} == BEGUN
    if query:
        assert asked["model"] == "slow"
    eventually(lambda: len(noted(old.logs)) > before)
    line = noted(old.logs)[-1]
    assert (line["type"], line["model"]) == ("chat", asked["model"])
    assert line["gen_params"] == {"temperature": 0.7, "top_p": 1.0, "max_new_tokens": 1024}
    page.get_by_role("button", name="Bad answer").click()
    expect(page.get_by_role("button", name="Good answer")).to_be_disabled()
    eventually(lambda: noted(old.logs)[-1]["type"] == "downvote")


def test_what_was_set_is_there_again_however_the_panel_stands(visit, old):
    page = visit("", at=old.single)
    page.get_by_role("button", name="Settings").first.click()
    page.get_by_role("textbox", name="Temperature").fill("0.2")
    page.get_by_role("button", name="Settings").first.click()
    page.get_by_role("button", name="Settings").first.click()
    page.reload()
    expect(page.get_by_role("textbox", name="Temperature")).to_have_value("0.2")


@pytest.mark.parametrize("name", ["compare", "battle"])
def test_several_models_begin_with_them_too(visit, old, name):
    page = visit(name, at=old.arena, allow=OF_BROWSER)
    sign_in(page, "ann", "s3cret")
    page.get_by_role("button", name="I accept").click()
    before = len(noted(old.logs))
    with page.expect_request("**/web/api/ask") as sent:
        ask(page, "Who are you?")
    for question in sent.value.post_data_json["questions"]:
        assert {name: question["body"].get(name) for name in BEGUN} == BEGUN
    # The vote comes behind what it is on.
    eventually(lambda: len(noted(old.logs)) == before + 2)
    page.get_by_role("button", name="Tie").click()
    eventually(lambda: len(noted(old.logs)) == before + 3)
    *chats, vote = noted(old.logs)[before:]
    assert [chat["gen_params"]["max_new_tokens"] for chat in chats] == [1024, 1024]
    assert vote["type"] == "tievote"
    assert sorted(vote["models"]) == (["", ""] if name == "battle" else ["echo", "slow"])


def test_users_are_called_by_their_names(visit, old):
    page = visit("", at=old.arena, allow=OF_BROWSER)
    for user, password in [("nobody", "s3cret"), ("ann", "pässwörd")]:
        sign_in(page, user, password)
        expect(page.get_by_role("alert")).to_contain_text("The user name or the password is wrong")
    sign_in(page, "bób", "pässwörd")
    expect(page.get_by_role("navigation", name="Pages").get_by_role("link")).to_have_text(["Battle", "Compare", "Chat"])
    expect(page.locator("p.account")).to_have_text("bób")
    expect(page.locator(".terms")).to_contain_text("without any warranty")
    page.reload()
    expect(page.locator("p.account")).to_have_text("bób")


def test_a_link_to_a_model_that_is_not_offered_says_so(visit, old):
    page = visit("", at=old.single, query="model=vicuna-13b")
    expect(page.get_by_text("This server offers no model vicuna-13b.")).to_be_visible()


def test_without_models_nobody_is_sent_to_a_page_that_is_not_there(visit, tmp_path):
    words = ("gradio_web_server_multi", "--host", "127.0.0.1", "--port", "0", "--controller-url", "")
    with old_command(tmp_path, f"fastchat.serve.{words[0]}", *words[1:], cwd=tmp_path) as child:
        page = visit("chat", at=child.ready(90), query="model=pocket")
        for name in ("Chat", "Compare", "Battle"):
            page.get_by_role("link", name=name).click()
            expect(page.get_by_text("Models appear here by themselves")).to_be_visible()
            expect(page.get_by_role("button", name="Add a model")).to_have_count(0)
            expect(page.get_by_text("Ask pocket something")).to_have_count(0)
        page.get_by_role("link", name="Chat").click()
        page.get_by_role("button", name="Model: pocket").click()
        expect(page.get_by_role("dialog", name="Model")).to_contain_text("Models appear here by themselves")
        # It would miss the server behind this.
        page.close()


def test_of_what_nobody_asked_for_nothing_is_reported(visit, old):
    page = visit("", at=old.single, query="model=echo")
    ask(page, "Who are you?")
    expect(page.locator(".answer-remark")).to_have_text("Not taken by the model: temperature, top_p")


@pytest.fixture
def plain(visit, old) -> Page:
    """The page as it is by HTTP from another machine: browsers keep their clipboard from it."""
    page = visit("", at=old.single, query="model=echo")
    page.add_init_script("Object.defineProperty(navigator, 'clipboard', { value: undefined })")
    page.reload()
    return page


def copy(button: Locator) -> None:
    """Press it, and wait until it has said that this has worked, which it does for a moment."""
    button.evaluate(
        """(button) => {
          window.copied = false;
          const look = () => { window.copied ||= [button.ariaLabel, button.textContent.trim()].includes("Copied"); };
          const all = { attributes: true, childList: true, characterData: true, subtree: true };
          new MutationObserver(look).observe(button, all);
        }"""
    )
    button.click()
    button.page.wait_for_function("() => window.copied")


def test_copying_works_without_tls(plain):
    ask(plain, "Code:\n```\nx = 1\n```")
    field = box(plain)
    for button, text in [("Copy the answer", "Code:\n```\nx = 1\n```"), ("Copy", "x = 1")]:
        copy(plain.get_by_role("article").last.get_by_role("button", name=button, exact=True))
        field.fill("")
        field.press("Control+v")
        expect(field).to_have_value(text)
    field.fill("")
    plain.get_by_role("button", name="For developers").click()
    copy(plain.get_by_role("dialog").get_by_role("button", name="Copy").first)
    plain.keyboard.press("Escape")
    expect(plain.get_by_role("dialog")).to_be_hidden()
    field.press("Control+v")
    expect(field).to_have_value(re.compile("^curl"))
