"""What is kept of requests, and how it is told."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from trunkcall.control.news import News
from trunkcall.control.stories import KEPT, Stories, Story, Wanted, recorded, told
from trunkcall.core.events import Usage
from trunkcall.core.meter import Meter


def meter(id: str = "r1", model: str = "chat", **fields: Any) -> Meter:
    made = Meter(id, model=model, protocol="openai", stream=True, key=fields.pop("key", ""))
    for name, value in fields.items():
        setattr(made, name, value)
    return made


def test_a_story_follows_the_request_from_the_queue_to_its_end() -> None:
    one = meter()
    waiting = told(one)
    assert (waiting.state, waiting.replica, waiting.asked) == ("waiting", "", "")
    assert waiting.queue_ms is not None and waiting.queue_ms >= 0 and waiting.first_token_ms is None
    one.grant("big/1", "big", "fallback of chat")
    one.progress(3)
    running = told(one)
    assert (running.state, running.model, running.asked, running.why) == ("running", "big", "chat", "fallback of chat")
    assert (running.completion_tokens, running.estimated) == (3, True)
    one.usage = Usage(prompt=7, completion=4, cached=2)
    one.ended = one.started + 2.5
    one.finish, one.attempts, one.resumes, one.resumed, one.cost, one.dropped = "stop", 2, 1, "exact", 0.25, ("seed",)
    ended = told(one)
    assert (ended.state, ended.total_ms, ended.estimated) == ("ended", 2500.0, False)
    assert (ended.prompt_tokens, ended.completion_tokens, ended.cached_tokens) == (7, 4, 2)
    assert (ended.attempts, ended.resumes, ended.resumed, ended.cost, ended.dropped) == (2, 1, "exact", 0.25, ("seed",))


@pytest.mark.parametrize(
    ("wanted", "ids"),
    [
        (Wanted(), ["d", "c", "b", "a"]),
        (Wanted(model="big"), ["b"]),
        (Wanted(model="chat"), ["d", "b", "a"]),
        (Wanted(key="ops"), ["c"]),
        (Wanted(error="quota"), ["c"]),
        (Wanted(error="any"), ["d", "c"]),
        (Wanted(before=3.0), ["b", "a"]),
        (Wanted(model="chat", error="any"), ["d"]),
    ],
)
def test_the_newest_that_are_wanted_come_first(wanted: Wanted, ids: list[str]) -> None:
    stories = Stories()
    for one in (
        meter("a", opened_at=1.0),
        meter("b", opened_at=2.0, served="big"),
        meter("c", model="x", opened_at=3.0, key="ops", error="quota"),
        meter("d", opened_at=4.0, error="cancelled"),
    ):
        stories.began(one)
        if one.id != "b":
            stories.ended(one)
    assert [story.id for story in stories.latest(10, wanted)] == ids
    assert [story.id for story in stories.latest(1, wanted)] == ids[:1]


def test_the_last_ones_are_kept_and_it_is_known_since_when_all_are() -> None:
    stories = Stories()
    began = stories.complete_since
    late = meter("late", opened_at=began + 5)
    stories.began(late)
    for number in range(KEPT - 1):
        one = meter(str(number), opened_at=began + 10 + number)
        stories.began(one)
        one.ended = one.started + 0.5
        stories.ended(one)
    assert stories.complete_since == began
    late.ended = late.started + KEPT
    stories.ended(late)
    one = meter("last", opened_at=began + 10 + KEPT)
    stories.began(one)
    one.ended = one.started + 0.5
    stories.ended(one)
    assert stories.find("0") is None and stories.find("1") is not None and stories.find("late") is not None
    assert stories.complete_since == pytest.approx(began + 11.5), "who has gone ended before that"
    assert sum(1 for _ in stories.over()) == KEPT and list(stories.running()) == []
    # Its own opening is earlier than what is known of: the rest is in the ledger.
    assert stories.latest(2 * KEPT, Wanted())[-1].opened_at < stories.complete_since


def test_what_callers_make_up_is_kept_short_is_no_model_and_can_be_told() -> None:
    stories = Stories()
    one = meter(model="\ud800" + "x" * 10_000_000, error="no_model")
    stories.began(one)
    stories.ended(one)
    assert len(one.model) + len(one.served) < 1000
    (story,) = stories.latest(1, Wanted())
    assert story.model == "" and story.asked.startswith("?xxx") and len(story.asked) == 256
    assert len(msgspec.json.encode(story)) < 1000


def test_news_is_told_at_the_beginning_and_at_the_end_while_somebody_listens() -> None:
    news = News()
    stories = Stories(news)
    heard: list[tuple[str, Any]] = []
    assert not news.wanted
    leave = news.listen(lambda kind, about: heard.append((kind, about)))
    one = meter()
    stories.began(one)
    one.ended = one.started + 1
    stories.ended(one)
    assert [(kind, about.state) for kind, about in heard] == [("request", "waiting"), ("request", "ended")]
    leave()
    stories.began(meter("r2"))
    assert len(heard) == 2 and not news.wanted


def test_a_row_of_the_ledger_becomes_the_same_story() -> None:
    row = {
        "id": "r", "model": "chat", "replica": "chat/0", "opened_at": 5, "dropped": "seed,stop", "closed": True,
        "first_token_ms": None, "prompt_tokens": 3, "stream": True, "why": "only replica", "writer": "w",
    }  # fmt: skip
    story = recorded(row)
    assert story == Story(
        id="r", state="ended", model="chat", replica="chat/0", opened_at=5.0, dropped=("seed", "stop"), prompt_tokens=3,
        stream=True, why="only replica",
    )  # fmt: skip
    assert recorded({**row, "closed": False, "dropped": ""}).state == "running"
