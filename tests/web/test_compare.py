"""Several models side by side: asked at once, stopped and asked again one by one, added and removed while others answer."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator
from typing import Any

import pytest
import yaml
from playwright.sync_api import Page, expect
from running import Server, eventually
from web.chats import ask, column, kept, noted, running_now
from web_browser import PHONE, WIDE

pytestmark = [pytest.mark.slow, pytest.mark.timeout(180)]

LONG = " ".join(f"word{number}" for number in range(60))


def shows(page: Page, *models: str) -> None:
    """The columns are of these."""
    columns = page.locator("section.column")
    expect(columns).to_have_count(len(models))
    for at, model in enumerate(models):
        expect(columns.nth(at)).to_have_attribute("aria-label", f"Column {'ABCDEFGH'[at]}: {model}")


def menu(page: Page, of: str, item: str) -> None:
    page.get_by_role("button", name=f"More for {of}").click()
    page.get_by_role("menuitem", name=item).click()


def test_one_prompt_to_all_over_one_connection_and_over_several_turns(visit):
    page = visit("compare/echo,slow,echo")
    asked: list[dict[str, Any]] = []
    page.on("request", lambda request: request.url.endswith("/web/api/ask") and asked.append(request.post_data_json))
    ask(page, "one **two** three")
    for letter in "ABC":
        expect(column(page, letter).locator(".answer strong")).to_have_text("two")
        expect(column(page, letter).locator(".answer-figures")).to_contain_text("3 tokens")
    expect(page.get_by_role("button", name="Send")).to_be_visible()
    ask(page, "four")
    for letter in "ABC":
        expect(column(page, letter).locator(".answer").last).to_contain_text("four")
    assert [[question["body"]["model"] for question in one["questions"]] for one in asked] == [
        ["echo", "slow", "echo"]
    ] * 2
    said = [("user", "one **two** three"), ("assistant", "one **two** three"), ("user", "four")]
    for question in asked[1]["questions"]:
        assert [(message["role"], message["content"]) for message in question["body"]["messages"]] == said


def test_eight_slow_columns_answer_at_once_and_stop_together(visit, server):
    page = visit("compare/" + ",".join(["slow"] * 8))
    expect(page.locator("section.column")).to_have_count(8)
    expect(page.get_by_role("button", name="Add a column")).to_be_disabled()
    ask(page, LONG * 40)
    for letter in "ABCDEFGH":
        expect(column(page, letter).locator(".answer")).to_contain_text("word3 ")
    eventually(lambda: running_now(server) == 8)
    page.get_by_role("button", name="Stop all").click()
    for letter in "ABCDEFGH":
        expect(column(page, letter)).to_contain_text("Stopped")
    eventually(lambda: running_now(server) == 0)


def test_one_is_stopped_and_answers_once_more_while_the_others_go_on(visit, server):
    page = visit("compare/crawl,crawl,echo")
    ask(page, LONG * 4)
    page.get_by_role("button", name="Stop column A").click()
    expect(column(page, "A")).to_contain_text("Stopped")
    eventually(lambda: running_now(server) == 1)
    expect(page.get_by_role("button", name="Stop column B")).to_be_visible()
    page.get_by_role("button", name="Another answer from column A").click()
    expect(page.get_by_role("button", name="Stop column A")).to_be_visible()
    expect(column(page, "A").locator(".turn")).to_have_count(1)
    eventually(lambda: running_now(server) == 2)
    # Not kept from it by what is said in a corner.
    page.evaluate("async () => (await import('/web/components/toast.js')).notify('Said in a corner')")
    expect(page.get_by_text("Said in a corner")).to_be_visible()
    page.keyboard.press("Escape")
    expect(page.get_by_role("button", name="Send")).to_be_visible()
    eventually(lambda: running_now(server) == 0)


def test_columns_get_the_models_that_come_later(visit, tmp_path):
    with Server("--no-pocket", home=tmp_path) as server:
        page = visit("compare", at=server.url, allow=("ERR_",))
        expect(page.get_by_text("No models yet")).to_be_visible()
        page.get_by_role("button", name="Add a model").click()
        expect(page).to_have_title(re.compile("Models"))
        for name in ("one", "two"):
            assert server.post("/admin/models", {"name": name, "source": "debug"})[0] == 201
        expect(page.get_by_role("link", name="two", exact=True)).to_be_visible()
        page.get_by_role("link", name="Compare", exact=True).click()
        shows(page, "one", "two")


def test_columns_come_and_go_while_others_answer(visit, server):
    page = visit("compare/crawl,crawl")
    ask(page, f"{LONG * 4} eight nine ten")
    page.get_by_role("button", name="Add a column").click()
    expect(page.locator("section.column")).to_have_count(3)
    expect(column(page, "C")).to_contain_text("Joins in with the next question")
    page.get_by_role("button", name="Model of column C").click()
    page.get_by_role("option", name=re.compile("^echo")).click()
    page.get_by_role("button", name="Ask the last question here too").click()
    expect(column(page, "C").locator(".answer")).to_contain_text("eight nine ten")
    expect(page).to_have_url(re.compile("#/compare/crawl,crawl,echo$"))
    menu(page, "column A", "Remove this column")
    eventually(lambda: running_now(server) == 1)
    shows(page, "crawl", "echo")
    expect(page.get_by_role("button", name="Stop column A")).to_be_visible()
    page.get_by_role("button", name="Stop all").click()
    page.get_by_role("button", name="More for column A").click()
    expect(page.get_by_role("menuitem", name="Remove this column")).to_be_disabled()


def test_each_column_has_its_own_parameters_and_fails_alone(visit):
    page = visit("compare/echo,echo,gone")
    page.get_by_role("button", name="Settings of column B").click()
    dialog = page.get_by_role("dialog", name="Settings of column B")
    dialog.get_by_role("textbox", name="Most tokens", exact=True).fill("2")
    dialog.get_by_label("System prompt").fill("Be brief.")
    dialog.get_by_role("button", name="Done").click()
    expect(page.get_by_role("button", name="Settings of column B: 2 are set")).to_be_visible()
    with page.expect_request("**/web/api/ask") as sent:
        ask(page, "one two three")
    bodies = [question["body"] for question in sent.value.post_data_json["questions"]]
    assert [body.get("max_tokens") for body in bodies] == [None, 2, None]
    assert [body["messages"][0]["role"] for body in bodies] == ["user", "system", "user"]
    expect(column(page, "A").locator(".answer")).to_contain_text("one two three")
    expect(column(page, "B")).to_contain_text("Ended at the limit of tokens")
    expect(column(page, "C").get_by_role("alert")).to_contain_text("'gone' does not exist")
    expect(page.get_by_text("An answer has failed")).to_be_visible()
    expect(page.get_by_role("button", name="A is the best")).to_be_disabled()
    # What was set is there again after a reload, as the address has the same columns.
    page.reload()
    expect(page.get_by_role("button", name="Settings of column B: 2 are set")).to_be_visible()
    page.get_by_role("button", name="Settings of column B").click()
    page.get_by_role("button", name="Give these to all columns").click()
    page.get_by_role("button", name="Done").click()
    expect(page.get_by_role("button", name=re.compile("Settings of column .: 2 are set"))).to_have_count(3)


def test_a_template_that_is_gone_fails_in_its_column_only(visit):
    page = visit("compare/echo,echo", allow=("status of 4",))
    page.evaluate(
        """localStorage.setItem("trunkcall.compare.columns", JSON.stringify(
          [{ model: "echo" }, { model: "echo", system: "", template: "no-such", parameters: {} }]))"""
    )
    page.reload()
    ask(page, "hello")
    expect(column(page, "A").locator(".answer")).to_contain_text("hello")
    expect(column(page, "B").get_by_role("alert")).to_contain_text("no-such")


def test_votes_on_two_and_the_best_of_three(visit):
    page = visit("compare/echo,slow")
    ask(page, "hello there")
    page.get_by_role("button", name="B is better").click()
    expect(page.get_by_role("status").filter(has_text="B is better")).to_be_visible()
    page.get_by_role("button", name="Another answer from column A").click()
    page.get_by_role("button", name="Both are bad").click()
    expect(page.get_by_role("status").filter(has_text="Both are bad")).to_be_visible()
    page.get_by_role("button", name="Add a column").click()
    page.get_by_role("button", name="Model of column C").click()
    page.get_by_role("option", name=re.compile("^crawl")).click()
    ask(page, "hi")
    page.get_by_role("button", name="C is the best").click()
    expect(page.get_by_role("link", name="Leaderboard")).to_be_visible()
    found = eventually(lambda: len(there := kept(page, "votes")) == 4 and there)
    assert [(vote["models"], vote["winner"], vote["anonymous"]) for vote in found] == [
        (["echo", "slow"], "right", False),
        (["echo", "slow"], "bothbad", False),
        (["crawl", "echo"], "left", False),
        (["crawl", "slow"], "left", False),
    ]
    assert [vote["question"] for vote in found] == ["hello there", "hello there", "hi", "hi"]
    assert len({id for vote in found for id in vote["conversations"]}) == 3


def test_clear_begins_anew_with_the_same_columns(visit):
    page = visit("compare/echo,slow")
    ask(page, "hello")
    expect(page.get_by_role("button", name="Tie")).to_be_enabled()
    page.get_by_role("button", name="Clear").click()
    expect(page.locator(".turn")).to_have_count(0)
    shows(page, "echo", "slow")
    with page.expect_request("**/web/api/ask") as sent:
        ask(page, "again")
    assert [len(question["body"]["messages"]) for question in sent.value.post_data_json["questions"]] == [1, 1]


def test_other_answers_from_all(visit):
    page = visit("compare/echo,slow")
    ask(page, "hello")
    expect(page.get_by_role("button", name="Tie")).to_be_enabled()
    with page.expect_request("**/web/api/ask") as sent:
        menu(page, "this comparison", "Other answers from all")
    assert len(sent.value.post_data_json["questions"]) == 2
    expect(page.get_by_role("button", name="Tie")).to_be_enabled()
    expect(page.locator(".turn")).to_have_count(2)


def test_a_column_goes_on_in_a_chat_and_the_comparison_stays(visit):
    page = visit("compare/echo,slow")
    ask(page, "hello from here")
    expect(page.get_by_role("button", name="Tie")).to_be_enabled()
    menu(page, "column B", "Go on in a chat")
    expect(page.get_by_role("article", name="Answer of slow")).to_contain_text("hello from here")
    page.get_by_role("link", name="Compare").click()
    expect(column(page, "A").locator(".answer")).to_contain_text("hello from here")
    expect(page).to_have_url(re.compile("#/compare/echo,slow$"))


def test_answers_go_on_while_another_page_is_looked_at(visit, server):
    page = visit("compare/slow,slow")
    ask(page, LONG)
    expect(column(page, "A").locator(".answer")).to_contain_text("word1")
    page.get_by_role("link", name="Battle").click()
    eventually(lambda: running_now(server) == 0)
    page.get_by_role("link", name="Compare").click()
    expect(column(page, "B").locator(".answer")).to_contain_text("word59")


@pytest.mark.parametrize(
    ("address", "query", "wanted"),
    [
        ("compare/slow,echo,pocket", "", ["slow", "echo", "pocket"]),
        ("compare/slow", "", ["slow", "echo"]),
        ("compare/echo%2Cslow", "", ["echo", "slow"]),
        ("compare", "models=pocket,slow", ["pocket", "slow"]),
        ("compare/a,b", "models=pocket,slow", ["a", "b"]),
        ("compare", "", ["echo", "slow"]),
        ("compare/" + ",".join(["echo"] * 12), "", ["echo"] * 8),
    ],
)
def test_addresses_preset_the_columns(visit, address, query, wanted):
    page = visit(address, query=query)
    shows(page, *wanted)
    expect(page).to_have_url(re.compile("^[^?]*#/compare/" + ",".join(wanted) + "$"))
    page.reload()
    shows(page, *wanted)


def test_another_address_replaces_the_columns_and_keeps_what_is_typed(visit):
    page = visit("compare/echo,slow")
    page.get_by_role("textbox", name="Ask both").fill("not yet sent")
    page.evaluate("location.hash = '#/compare/slow,crawl,echo'")
    shows(page, "slow", "crawl", "echo")
    expect(page.get_by_role("textbox", name="Ask all 3")).to_have_value("not yet sent")


def test_the_link_names_the_models_only(visit):
    page = visit("compare/echo,slow")
    ask(page, "a secret")
    menu(page, "this comparison", "Copy a link")
    expect(page.get_by_text("The link is copied.")).to_be_visible()
    link = page.evaluate("navigator.clipboard.readText()")
    assert link.endswith("/#/compare/echo,slow") and "secret" not in link


def in_rows(page: Page, *wanted: int) -> None:
    """So many columns stand in each row."""
    tops = "all => all.map((one) => one.offsetTop)"
    columns = page.locator("section.column")
    eventually(lambda: [*Counter(sorted(columns.evaluate_all(tops))).values()] == [*wanted])


def test_columns_in_a_row_as_the_reader_chooses(visit):
    page = visit("compare/echo,slow,crawl,pocket,echo", size=WIDE)
    in_rows(page, 3, 2)
    for choice, wanted in (("all", [5]), ("4", [4, 1]), ("1", [1] * 5), ("as fits", [3, 2]), ("2", [2, 2, 1])):
        page.get_by_label("In a row").select_option(choice)
        in_rows(page, *wanted)
    page.reload()
    in_rows(page, 2, 2, 1)


@pytest.fixture(scope="module")
def decided(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A server whose operator has locked the models, given their order and the columns, and takes one turn."""
    home = tmp_path_factory.mktemp("decided")
    settings = home / "trunkcall.yaml"
    options = {
        "locked": True, "models": ["d", "b", "a", "c"], "columns": -1, "pages": ["compare", "chat"], "heading": "# Our models",
        "terms": "Be kind.", "most_turns": 1, "conversations": str(home / "log"),
    }  # fmt: skip
    listener = {"port": 0, "apis": ["openai", "web", "landing"], "options": {"web": options}}
    settings.write_text(yaml.safe_dump({"listen": [listener], "models": dict.fromkeys("abcd", "debug")}))
    with Server("--config", str(settings), "--no-pocket", home=home) as server:
        yield server


def test_what_the_operator_has_decided(visit, decided):
    page = visit("compare", at=decided.url)
    shows(page, "d", "b", "a", "c")
    in_rows(page, 4)
    expect(page.get_by_role("heading", name="Our models")).to_be_visible()
    page.get_by_role("button", name="I accept").click()
    ask(page, "hello")
    page.get_by_role("button", name="A is the best").click()
    expect(page.get_by_text("A is better than each of the others")).to_be_visible()
    expect(page.get_by_role("link", name="Leaderboard")).to_have_count(0)
    expect(page.get_by_text("These conversations have 1 questions")).to_be_visible()
    found = eventually(lambda: len(lines := noted(decided.home / "log")) == 7 and lines)
    assert sorted(line["model"] for line in found if line["type"] == "chat") == ["a", "b", "c", "d"]
    assert [line["models"] for line in found if line["type"] == "leftvote"] == [["d", "b"], ["d", "a"], ["d", "c"]]
    chat = next(line for line in found if line["type"] == "chat")
    assert [text for _, text in chat["state"]["messages"]] == ["hello", "hello"] and chat["finish"] >= chat["start"]


def test_a_phone_has_tabs_and_cards_to_swipe(visit):
    page = visit("compare/echo,slow,crawl", size=PHONE)
    ask(page, LONG)
    tabs = page.get_by_role("group", name="Columns").get_by_role("button")
    expect(tabs).to_have_count(3)
    expect(tabs.nth(0)).to_have_attribute("aria-pressed", "true")
    expect(column(page, "A")).to_be_in_viewport(ratio=0.9)
    tabs.nth(2).click()
    expect(column(page, "C")).to_be_in_viewport(ratio=0.9)
    expect(column(page, "A")).not_to_be_in_viewport()
    expect(tabs.nth(2)).to_have_attribute("aria-pressed", "true")
    for part in ("html", "main"):
        expect(page.locator(part)).to_have_js_property("scrollWidth", PHONE["width"])
    page.get_by_role("button", name="Stop all").click()


def test_nothing_jumps_while_eight_columns_answer(visit):
    page = visit("compare/" + ",".join(["slow"] * 8))
    expect(page.locator("section.column")).to_have_count(8)
    ask(page, f"{LONG}\n\n```python\nprint(1)\n```\n\n| a | b |\n|---|---|\n| 1 | 2 |")
    expect(column(page, "H").locator(".answer")).to_contain_text("word0")
    page.evaluate(
        """() => {
          window.shifts = 0;
          new PerformanceObserver((found) => {
            for (const one of found.getEntries()) window.shifts += one.value;
          }).observe({ type: "layout-shift", buffered: false });
        }"""
    )
    for letter in "ABCDEFGH":
        expect(column(page, letter).locator(".answer-figures")).to_contain_text("tokens/s")
    assert page.evaluate("window.shifts") < 0.005


def test_a_server_that_goes_and_comes_back(visit, tmp_path, free_port):
    words = ("--model", "crawl=debug:1", "--no-pocket", "--port", str(free_port))
    with Server(*words, home=tmp_path) as server:
        page = visit("compare/crawl,crawl", at=server.url, allow=("ERR_", "status of"))
        ask(page, LONG)
        for letter in "AB":
            expect(column(page, letter).locator(".answer")).to_contain_text("word0")
        server.process.kill()
        server.process.wait(30)
        for letter in "AB":
            expect(column(page, letter).get_by_role("alert")).to_contain_text("broke off")
            expect(column(page, letter).locator(".answer")).to_contain_text("word0")
    with Server(*words, home=tmp_path):
        expect(page.get_by_text("This page goes on by itself")).to_have_count(0)
        ask(page, "hello")
        expect(column(page, "A").locator(".answer").last).to_contain_text("hello")


def test_a_user_with_one_model_compares_it_with_itself(visit, closed):
    page = visit("compare", at=closed.server.url, secret=closed.secrets["anna"])
    shows(page, "echo", "echo")
    ask(page, "hello")
    expect(column(page, "B").locator(".answer")).to_contain_text("hello")
    page.evaluate("location.hash = '#/compare/echo,slow'")
    expect(column(page, "B")).to_contain_text("slow")
    ask(page, "hello")
    expect(column(page, "B").get_by_role("alert")).to_contain_text("slow")
    expect(column(page, "A").locator(".answer")).to_contain_text("hello")
