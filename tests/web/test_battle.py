"""Battles between hidden models: drawn, voted on, revealed; the votes kept, listed, ranked and taken along."""

from __future__ import annotations

import csv
import json
import random
import re
from collections.abc import Iterator
from typing import Any

import pytest
import yaml
from playwright.sync_api import Page, expect
from running import Server, eventually
from web.chats import ask, column, kept, noted
from web_browser import PHONE

pytestmark = [pytest.mark.slow, pytest.mark.timeout(180)]

NAMES = ["echo", "slow", "crawl"]


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """Three models, and a log of what is said."""
    home = tmp_path_factory.mktemp("home")
    settings = home / "trunkcall.yaml"
    listener = {
        "port": 0,
        "apis": ["openai", "web", "landing", "admin"],
        "options": {"web": {"conversations": str(home / "log")}},
    }
    models = {"echo": "debug", "slow": "debug:0.01", "crawl": "debug:1"}
    settings.write_text(yaml.safe_dump({"listen": [listener], "models": models}))
    with Server("--config", str(settings), "--no-pocket", home=home) as running:
        yield running


def leave_out(page: Page, *names: str) -> None:
    page.get_by_role("button", name=re.compile("take part$")).click()
    for name in names:
        page.get_by_role("checkbox", name=re.compile(f"^{name}")).uncheck()
    page.keyboard.press("Escape")


def keep(page: Page, votes: list[dict[str, Any]]) -> None:
    page.evaluate(
        "(votes) => import('/web/lib/store.js').then((store) => Promise.all(votes.map((one) => store.keep('votes', one))))",
        votes,
    )


def made(count: int, names: list[str] = NAMES) -> list[dict[str, Any]]:
    """Votes in which earlier names are mostly better."""
    draw = random.Random(4)
    votes = []
    for number in range(count):
        a, b = draw.sample(range(len(names)), 2)
        better = draw.random() < (0.85 if a < b else 0.15)
        winner = draw.choice(["tie", "bothbad"]) if number % 9 == 0 else "left" if better else "right"
        votes.append(
            {"id": f"v{number}", "at": 1760000000000 + number * 1000, "models": [names[a], names[b]], "winner": winner,
             "anonymous": number % 2 == 0, "conversations": ["c", "d"], "question": f"Question {number}"}
        )  # fmt: skip
    return votes


@pytest.mark.parametrize(
    ("button", "winner", "kind", "told"),
    [
        ("A is better", "left", "leftvote", "{0} is better than {1}"),
        ("B is better", "right", "rightvote", "{1} is better than {0}"),
        ("Tie", "tie", "tievote", "{0} and {1} are equally good"),
        ("Both are bad", "bothbad", "bothbad_vote", "{0} and {1} are both bad"),
    ],
)
def test_names_are_hidden_until_the_vote(visit, server, button, winner, kind, told):
    page = visit("battle")
    leave_out(page, "crawl")
    log = server.home / "log"
    before = len(noted(log))
    with page.expect_request("**/web/api/ask") as sent:
        ask(page, "Who are you?")
    pair = [question["body"]["model"] for question in sent.value.post_data_json["questions"]]
    assert sorted(pair) == ["echo", "slow"]
    expect(page.get_by_role("button", name=button)).to_be_enabled()
    ask(page, "And who am I?")
    expect(page.get_by_role("button", name=button)).to_be_enabled()
    shown = page.locator(".compare").inner_html()
    assert not [name for name in NAMES if name in shown] and "tokens/s" not in shown
    expect(page.get_by_role("button", name="Share")).to_be_disabled()
    eventually(lambda: len(noted(log)) == before + 4)
    page.get_by_role("button", name=button).click()
    for letter, name in zip("AB", pair, strict=True):
        expect(column(page, letter).get_by_role("heading", level=2)).to_have_text(name)
        expect(column(page, letter).locator(".answer-figures").last).to_contain_text("tokens")
    expect(page.get_by_text(told.format(*pair))).to_be_visible()
    expect(page.get_by_role("textbox", name="Ask both")).to_have_count(0)
    (vote,) = eventually(lambda: kept(page, "votes"))
    assert (vote["models"], vote["winner"], vote["anonymous"], vote["question"]) == (
        pair,
        winner,
        True,
        "And who am I?",
    )
    eventually(lambda: len(noted(log)) == before + 5)
    *chats, line = noted(log)[before:]
    assert {chat["type"] for chat in chats} == {"chat"} and sorted(chat["model"] for chat in chats) == sorted(pair * 2)
    assert (line["type"], line["models"]) == (kind, ["", ""])
    assert [state["model_name"] for state in line["states"]] == pair
    assert [state["conv_id"] for state in line["states"]] == vote["conversations"]
    assert [text for _, text in line["states"][0]["messages"]] == [
        "Who are you?",
        "Who are you?",
        "And who am I?",
        "And who am I?",
    ]
    page.get_by_role("button", name="Share").click()
    expect(page.get_by_text("Copied: the names and the vote")).to_be_visible()
    text = page.evaluate("navigator.clipboard.readText()")
    assert (
        text.startswith(told.format(*pair) + "\n")
        and text.endswith("#/compare/" + ",".join(pair))
        and "am I" not in text
    )


def test_an_error_does_not_tell_the_name(visit, server):
    page = visit("battle")
    leave_out(page, "echo", "crawl")
    expect(page.get_by_text("slow is the only model that takes part")).to_be_visible()

    def refuse(route: Any) -> None:
        refusal = json.dumps({"error": {"message": "model 'slow' is tired", "type": "x", "code": "x", "param": None}})
        events = [("stream", {"stream": "s"})]
        for part in (0, 1):
            events += [
                ("head", {"part": part, "status": 429, "headers": []}),
                ("body", {"part": part, "text": refusal}),
                ("end", {"part": part}),
            ]
        route.fulfill(
            content_type="text/event-stream",
            body="".join(f"event: {name}\ndata: {json.dumps(told)}\n\n" for name, told in events),
        )

    page.route("**/web/api/ask", refuse)
    ask(page, "hello")
    expect(column(page, "A").get_by_role("alert")).to_contain_text("model 'Model A' is tired")
    expect(column(page, "B").get_by_role("alert")).to_contain_text("model 'Model B' is tired")
    expect(page.get_by_role("button", name="Tie")).to_be_disabled()


def test_a_new_round_draws_anew_and_clear_keeps_the_two(visit):
    page = visit("battle")
    leave_out(page, "crawl")
    with page.expect_request("**/web/api/ask") as first:
        ask(page, "hello")
    pair = [question["body"]["model"] for question in first.value.post_data_json["questions"]]
    expect(page.get_by_role("button", name="Tie")).to_be_enabled()
    page.get_by_role("button", name="Clear").click()
    expect(page.locator(".turn")).to_have_count(0)
    with page.expect_request("**/web/api/ask") as second:
        ask(page, "again")
    asked = second.value.post_data_json["questions"]
    assert [question["body"]["model"] for question in asked] == pair
    assert [len(question["body"]["messages"]) for question in asked] == [1, 1]
    expect(page.get_by_role("button", name="Tie")).to_be_enabled()
    with page.expect_request("**/web/api/ask") as third:
        page.get_by_role("button", name="Regenerate").click()
    assert [question["body"]["model"] for question in third.value.post_data_json["questions"]] == pair
    expect(page.get_by_role("button", name="Tie")).to_be_enabled()
    page.get_by_role("button", name="New round").click()
    expect(page.locator(".turn")).to_have_count(0)
    expect(page.get_by_role("button", name=re.compile("take part$"))).to_be_enabled()
    assert kept(page, "votes") == []


def test_a_single_model_plays_itself_and_nobody_cannot(visit):
    page = visit("battle")
    leave_out(page, "slow", "crawl")
    expect(page.get_by_text("echo is the only model that takes part: it plays against itself.")).to_be_visible()
    for _ in range(2):
        ask(page, "hello")
        page.get_by_role("button", name="Tie").click()
        expect(page.get_by_text("echo and echo are equally good")).to_be_visible()
        page.get_by_role("button", name="New round").click()
    page.get_by_role("link", name="Leaderboard").click()
    expect(page.get_by_text("All votes are on a model and itself.")).to_be_visible()
    page.get_by_role("link", name="Round", exact=True).click()
    leave_out(page, "echo")
    expect(page.get_by_text("No model takes part.")).to_be_visible()
    page.get_by_role("textbox", name="Ask both").fill("hello")
    expect(page.get_by_role("button", name="Send")).to_be_disabled()


def test_a_round_stays_while_the_votes_are_looked_at(visit):
    page = visit("battle")
    leave_out(page, "crawl")
    ask(page, "hello")
    expect(page.get_by_role("button", name="Tie")).to_be_enabled()
    page.get_by_role("link", name="Votes").click()
    expect(page.get_by_text("No votes yet")).to_be_visible()
    page.get_by_role("link", name="Begin a round").click()
    expect(column(page, "B").locator(".answer")).to_contain_text("hello")


def test_the_log_is_looked_through_and_votes_are_deleted(visit):
    page = visit("battle/votes")
    keep(page, made(250))
    page.reload()
    rows = page.locator("table.votes tbody tr")
    expect(rows).to_have_count(100)
    expect(rows.first).to_contain_text("Question 249")
    page.get_by_role("button", name="Show 100 more").click()
    expect(rows).to_have_count(200)
    page.get_by_label("Show votes by what they say").select_option("Both are bad")
    expect(rows.first).to_contain_text("Both are bad")
    bad = sum(vote["winner"] == "bothbad" for vote in made(250))
    expect(page.get_by_text(f"{bad} of 250 votes")).to_be_visible()
    page.get_by_label("Show votes by what they say").select_option("All votes")
    page.get_by_label("Show votes by whether names were hidden").select_option("Seen names")
    expect(page.get_by_text("125 of 250 votes")).to_be_visible()
    page.get_by_label("Search models and questions").fill("question 249")
    expect(rows).to_have_count(1)
    page.get_by_role("button", name=re.compile("^Delete the vote on")).click()
    expect(page.get_by_text("0 of 249 votes")).to_be_visible()
    eventually(lambda: len(kept(page, "votes")) == 249)
    page.get_by_role("button", name="Delete all").click()
    dialog = page.get_by_role("dialog", name="Delete all")
    dialog.get_by_role("button", name="Cancel").click()
    page.get_by_role("button", name="Delete all").click()
    dialog.get_by_role("button", name="Delete 249 votes").click()
    expect(page.get_by_text("No votes yet")).to_be_visible()
    eventually(lambda: kept(page, "votes") == [])


def test_the_leaderboard(visit):
    page = visit("battle/leaderboard")
    expect(page.get_by_text("A leaderboard needs two votes")).to_be_visible()
    keep(page, made(1))
    page.reload()
    expect(page.get_by_text("A leaderboard needs two votes")).to_be_visible()
    keep(page, [*made(200), {**made(1)[0], "id": "own", "models": ["echo", "echo"]}])
    page.reload()
    board = page.locator("table.board tbody tr")
    expect(board.locator("th")).to_have_text(NAMES)
    cells = [row.locator("td").all_inner_texts() for row in board.all()]
    assert [row[0] for row in cells] == ["1", "2", "3"]
    scores = [int(row[1]) for row in cells]
    assert scores == sorted(scores, reverse=True) and abs(sum(scores) - 3000) <= 2
    for row, score in zip(cells, scores, strict=True):
        low, high = map(int, row[2].split(" – "))
        assert low < score < high
        assert int(row[3]) == sum(map(int, row[4:7]))
    assert sum(int(row[3]) for row in cells) == 400
    expect(page.get_by_text("One vote on a model and itself does not count.")).to_be_visible()
    pairs = page.locator("table.pairs tbody tr")
    first, second = pairs.nth(0).locator("td").nth(1).inner_text(), pairs.nth(1).locator("td").nth(0).inner_text()
    shares = [int(text.split(" ")[0]) for text in (first, second)]
    assert sum(shares) in (99, 100, 101) and shares[0] > shares[1]
    page.get_by_label("Show votes by whether names were hidden").select_option("Hidden names")
    expect(page.get_by_text("100 votes count")).to_be_visible()


def test_votes_are_taken_along_and_brought_in(visit, tmp_path):
    page = visit("battle/votes")
    keep(page, made(20))
    page.reload()
    with page.expect_download() as download:
        page.get_by_role("button", name="Export JSON").click()
    assert download.value.suggested_filename == "trunkcall-votes.json"
    file = tmp_path / "votes.json"
    download.value.save_as(file)
    told = json.loads(file.read_text())
    assert sorted(vote["id"] for vote in told["votes"]) == sorted(vote["id"] for vote in made(20))
    assert {model["name"] for model in told["ranking"]} == set(NAMES)
    with page.expect_download() as download:
        page.get_by_role("button", name="Export CSV").click()
    rows = list(csv.DictReader(download.value.path().read_text().splitlines()))
    assert [row["question"] for row in rows] == [f"Question {number}" for number in reversed(range(20))]
    page.get_by_role("link", name="Leaderboard").click()
    expect(page.locator("table.board")).to_be_visible()
    with page.expect_download() as download:
        page.get_by_role("button", name="Export CSV").click()
    assert [row["name"] for row in csv.DictReader(download.value.path().read_text().splitlines())] == [
        model["name"] for model in told["ranking"]
    ]
    page.get_by_role("link", name="Votes").click()
    page.get_by_role("button", name=re.compile("^Delete the vote on")).first.click()
    expect(page.get_by_text("19 of 19 votes")).to_be_visible()
    page.get_by_label("Import").set_input_files(file)
    expect(page.get_by_text("Imported one vote; 19 were here already.")).to_be_visible()
    expect(page.get_by_text("20 of 20 votes")).to_be_visible()
    page.get_by_label("Import").set_input_files({"name": "x.json", "mimeType": "application/json", "buffer": b"{]"})
    expect(page.get_by_text("x.json was not imported: it is no JSON, or is damaged.")).to_be_visible()
    eventually(lambda: len(kept(page, "votes")) == 20)


def test_another_tab_sees_votes_at_once(visit):
    page = visit("battle/votes")
    expect(page.get_by_text("No votes yet")).to_be_visible()
    other = page.context.new_page()
    other.goto(page.url)
    keep(other, made(3))
    expect(page.get_by_text("3 of 3 votes")).to_be_visible()


def test_without_a_store_votes_last_as_long_as_the_page(visit):
    page = visit("battle")
    page.add_init_script("Object.defineProperty(window, 'indexedDB', { get() { throw new Error('forbidden'); } })")
    page.reload()
    leave_out(page, "crawl")
    ask(page, "hello")
    page.get_by_role("button", name="Tie").click()
    page.get_by_role("link", name="Votes").click()
    expect(page.get_by_text("1 of 1 votes")).to_be_visible()
    expect(page.get_by_text("votes are gone when it is closed")).to_be_visible()


def test_on_a_phone_nothing_is_wider_than_the_screen(visit):
    page = visit("battle", size=PHONE)
    keep(page, made(30, ["a-model-with-quite-a-long-name/and-a-path-to-it-7b-instruct-q4", "echo", "slow"]))
    leave_out(page, "crawl")
    ask(page, "hello")
    page.get_by_role("button", name="A is better").click()
    expect(page.get_by_role("button", name="New round")).to_be_in_viewport()
    for view in ("Round", "Votes", "Leaderboard"):
        page.get_by_role("link", name=view).click()
        expect(page.get_by_role("link", name=view)).to_have_attribute("aria-current", "page")
        expect(page.locator("main")).to_have_js_property("scrollWidth", PHONE["width"])
