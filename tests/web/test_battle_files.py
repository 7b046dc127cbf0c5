"""Votes as files, and who is drawn for a battle: pure functions of the page."""

from __future__ import annotations

import csv
import io
import json
from collections import Counter
from collections.abc import Callable
from typing import Any

import pytest

pytestmark = [pytest.mark.slow, pytest.mark.timeout(180)]

VOTE: dict[str, Any] = {
    "id": "v1", "at": 1760000000000, "models": ["a", "b"], "winner": "left", "anonymous": True,
    "conversations": ["c1", "c2"], "question": 'Say "hi",\nplease',
}  # fmt: skip


@pytest.fixture(scope="module")
def run(browser, server) -> Callable[..., Any]:
    """A function of a module: run("lib/x.js", "name", arguments…); an error is given as {"problem": its message}."""
    page = browser.new_page()
    page.goto(server.url)
    call = """async ([module, name, given]) => {
      try {
        return (await import(`/web/${module}`))[name](...given);
      } catch (error) {
        return { problem: `${error.constructor.name}: ${error.message}` };
      }
    }"""
    return lambda module, name, *given: page.evaluate(call, [module, name, given])


def file(votes: Any, **more: Any) -> str:
    return json.dumps({"format": "trunkcall.votes", "version": 1, "votes": votes, **more})


def test_json_comes_back_as_it_went(run):
    votes = [VOTE, {**VOTE, "id": "v2", "winner": "bothbad", "models": ["a", "a"], "question": ""}]
    written = run("lib/votes_files.js", "writeVotes", votes, 1760000000000)
    assert run("lib/votes_files.js", "readVotes", written) == votes
    told = json.loads(written)
    assert told["exported"] == "2025-10-09T08:53:20.000Z"
    assert [model["name"] for model in told["ranking"]] == ["a", "b"]


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("no json", "no JSON"),
        ("[]", "no export"),
        ("null", "no export"),
        ('{"format": "trunkcall.conversations", "version": 1, "votes": []}', "no export"),
        (file([], version=2), "version 2"),
        (file("x"), "no export"),
        (file([VOTE, None]), "number 2 is damaged at id"),
        (file([{**VOTE, "id": ""}]), "number 1 is damaged at id"),
        (file([{**VOTE, "id": "../x"}]), "at id"),
        (file([{**VOTE, "at": "today"}]), "at at"),
        (file([{**VOTE, "at": 1e300}]), "at at"),
        (file([{**VOTE, "models": ["a"]}]), "at models"),
        (file([{**VOTE, "models": ["a", ""]}]), "at models"),
        (file([{**VOTE, "models": ["a", "b" * 2000]}]), "at models"),
        (file([{**VOTE, "models": ["a", {"x": 1}]}]), "at models"),
        (file([{**VOTE, "winner": "a"}]), "at winner"),
        (file([{**VOTE, "winner": "constructor"}]), "at winner"),
        (file([{**VOTE, "anonymous": "yes"}]), "at anonymous"),
        (file([{**VOTE, "conversations": [1, 2]}]), "at conversations"),
    ],
)
def test_what_is_no_file_of_votes_says_why(run, text, why):
    found = run("lib/votes_files.js", "readVotes", text)
    assert found["problem"].startswith("FileProblem: ") and why in found["problem"]


def test_what_else_stands_in_a_vote_is_left_out(run):
    (found,) = run("lib/votes_files.js", "readVotes", file([{**VOTE, "question": 7, "more": "x"}]))
    assert found == {**VOTE, "question": ""}


def test_csv_is_read_by_others_and_runs_no_formula(run):
    votes = [VOTE, {**VOTE, "winner": "tie", "models": ["=cmd()", "@b"], "question": "-1+1"}]
    rows = list(csv.DictReader(io.StringIO(run("lib/votes_files.js", "votesCsv", votes), newline="")))
    assert rows[0] == {
        "at": "2025-10-09T08:53:20.000Z", "model_a": "a", "model_b": "b", "winner": "model_a", "anonymous": "true",
        "conversation_a": "c1", "conversation_b": "c2", "question": 'Say "hi",\nplease',
    }  # fmt: skip
    assert [rows[1][field] for field in ("model_a", "model_b", "winner", "question")] == [
        "'=cmd()",
        "'@b",
        "tie",
        "'-1+1",
    ]
    standing = [
        {
            "rank": 1,
            "name": "a,b",
            "score": 1012.345,
            "low": 900,
            "high": 1100,
            "battles": 2,
            "wins": 1,
            "losses": 1,
            "ties": 0,
        }
    ]
    (row,) = csv.DictReader(io.StringIO(run("lib/votes_files.js", "rankingCsv", standing), newline=""))
    assert (row["name"], row["score"], row["rank"]) == ("a,b", "1012.3", "1")


def test_every_pair_is_drawn_as_often_in_either_order(browser, server):
    page = browser.new_page()
    page.goto(server.url)
    drawn = page.evaluate(
        """async () => {
          const { drawPair } = await import("/web/lib/drawing.js");
          return Array.from({ length: 6000 }, () => drawPair(["a", "b", "c"]));
        }"""
    )
    # The browser's own dice: 1000 of each, six standard deviations being 173.
    counts = Counter(map(tuple, drawn))
    assert set(counts) == {(a, b) for a in "abc" for b in "abc" if a != b}
    assert all(820 < count < 1180 for count in counts.values()), counts


def test_a_single_model_meets_itself(run):
    assert run("lib/drawing.js", "drawPair", ["only"]) == ["only", "only"]
