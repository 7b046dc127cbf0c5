"""What figures and charts are made of: sums by step, percentiles, scales, and stories as the page reads them."""

from __future__ import annotations

from typing import Any

import pytest

pytestmark = pytest.mark.slow

STEP = 5000
NOW = 1_000_000 * STEP
STORY: dict[str, Any] = {
    "id": "r1", "state": "ended", "model": "m", "asked": "", "key": "k", "error": "", "finish": "stop", "status": 200,
    "opened_at": (NOW - 20_000) / 1000, "queue_ms": 5000.0, "first_token_ms": 10_000.0, "total_ms": 20_000.0,
    "prompt_tokens": 3, "completion_tokens": 10, "attempts": 1, "resumes": 0, "dropped": [], "why": "",
}  # fmt: skip


@pytest.fixture(scope="module")
def script(browser, server):
    """Runs the body of an async function with the modules' functions at hand."""
    page = browser.new_page()
    page.goto(f"{server.url.rstrip('/')}/")

    def run(body: str, given: Any = None) -> Any:
        return page.evaluate(
            "async (given) => { const rates = await import('/web/lib/rates.js');"
            f" const story = await import('/web/operate/story.js'); {body} }}",
            given,
        )

    yield run
    page.close()


def test_one_slow_look_does_not_put_off_the_next(script):
    took = [400, 10, 3000, 10, 400, 500, 300]
    asked = "const { Pace } = await import('/web/lib/pace.js'); const pace = new Pace(1000, 10);"
    assert script(f"{asked} return given.map((one) => pace.after(one));", took) == [
        1000, 1000, 1000, 1000, 1000, 4000, 3000
    ]  # fmt: skip


def test_an_amount_is_spread_over_the_steps_it_came_in(script):
    assert script(
        f"""const recent = new rates.Recent({NOW} - 30000);
        recent.add("m", "tokens", 30, {NOW} - 12500, {NOW} + 2500);
        recent.add("n", "tokens", 5, {NOW} - 1);
        recent.add("n", "tokens", -3, {NOW} - 1);
        return [recent.sums("tokens", {NOW}, "m").slice(-5), recent.sums("tokens", {NOW}).slice(-2),
                recent.rates("tokens", {NOW}, "n").at(-1), recent.total("tokens", {NOW}), recent.models().sort()];"""
    ) == [[0, 0, 5, 10, 10], [10, 15], 1, 35, ["m", "n"]]


def test_what_was_before_is_not_known_and_what_is_long_ago_is_forgotten(script):
    known, forgotten, latest = script(
        f"""const recent = new rates.Recent({NOW} - 3 * {STEP});
        recent.add("m", "requests", 6, {NOW} - {STEP});
        const known = recent.sums("requests", {NOW});
        const late = {NOW} + 121 * {STEP};
        recent.forget(late);
        return [[known.length, known.filter((one) => one !== null)], recent.total("requests", late),
                [new rates.Recent({NOW}).latest("requests", {NOW} + 10), recent.latest("requests", {NOW})]];"""
    )
    assert known == [120, [0, 0, 6]]
    assert forgotten == 0
    assert latest == [None, 0]


def test_now_is_the_last_seconds(script):
    assert script(
        f"""const recent = new rates.Recent(0);
        recent.add("m", "requests", 25, {NOW} - 10000, {NOW} + 2500);
        return [recent.latest("requests", {NOW} + 2500), recent.latest("requests", {NOW} + 2500, "other")];"""
    ) == [2, 0]


@pytest.mark.parametrize(
    ("numbers", "share", "found"),
    [
        ([], 0.5, None),
        ([7], 0.95, 7),
        ([3, 1, 2], 0.5, 2),
        ([1, 2, 3, 4], 0.5, 2),
        (list(range(1, 101)), 0.95, 95),
        ([9, 1], 1, 9),
    ],
)
def test_percentiles(script, numbers, share, found):
    assert script("return rates.percentile(given[0], given[1])", [numbers, share]) == found


@pytest.mark.parametrize(
    ("most", "whole", "top", "marks"),
    [
        (0, False, 1, [0, 1]),
        (1, True, 1, [0, 1]),
        (3, True, 3, [0, 1, 2, 3]),
        (6.1, False, 8, [0, 2, 4, 6, 8]),
        (0.3, False, 0.3, [0, 0.1, 0.2, 0.3]),
        (100, False, 100, [0, 25, 50, 75, 100]),
        (7e-5, False, 8e-5, [0, 2e-5, 4e-5, 6e-5, 8e-5]),
    ],
)
def test_scales(script, most, whole, top, marks):
    found = script("return rates.scale(given[0], given[1])", [most, whole])
    assert found["top"] == pytest.approx(top)
    assert found["marks"] == pytest.approx(marks)


def test_every_scale_holds_its_values_with_few_marks(script):
    assert script(
        """const wrong = [];
        for (let power = -6; power < 12; power += 1) for (let first = 1; first < 10; first += 0.13) {
          const most = first * 10 ** power;
          const { top, marks } = rates.scale(most);
          if (top < most * 0.9999 || top > most * 2 || marks.length < 2 || marks.length > 6) wrong.push([most, top, marks]);
        }
        return wrong;"""
    ) == []  # fmt: skip


def test_a_story_tells_the_past(script):
    waiting, running, tokens, requests, failed = script(
        f"""const recent = new rates.Recent(0);
        rates.addStory(recent, given, {NOW});
        rates.addStory(recent, {{ ...given, error: "cancelled", completion_tokens: 0 }}, {NOW});
        rates.addStory(recent, {{ ...given, error: "bug", completion_tokens: 0 }}, {NOW});
        const last = (field) => recent.sums(field, {NOW} + {STEP}).slice(-5);
        return ["waiting", "running", "tokens", "requests", "failed"].map(last);""",
        STORY,
    )
    assert waiting == [15, 0, 0, 0, 0]
    assert running == [0, 15, 15, 15, 0]
    assert tokens == [0, 0, 5, 5, 0]
    assert requests == [0, 0, 0, 0, 3]
    assert failed == [0, 0, 0, 0, 1]


def test_two_looks_tell_what_was_between_them(script):
    one = {"name": "m", "running": 2, "waiting": 1, "requests": 10, "failed": 1, "completion_tokens": 100}
    new = {**one, "name": "new", "requests": 1000}
    after = {"models": [{**one, "requests": 14, "failed": 2, "completion_tokens": 90}, new]}
    assert script(
        f"""const recent = new rates.Recent(0);
        rates.addActivity(recent, given[0], given[1], {NOW} - 2000, {NOW});
        const last = (field) => recent.sums(field, {NOW}, "m").at(-1);
        return [...["running", "waiting", "requests", "failed", "tokens"].map(last), recent.total("requests", {NOW}, "new")];""",
        [{"models": [one]}, after],
    ) == [4, 2, 4, 1, 0, 0]


def test_sums_tell_what_is_too_much_to_be_read_one_by_one(script):
    row = {"model": "m", "error": "", "requests": 10, "open": 1, "completion_tokens": 40, "mean_total_ms": 500.0}
    rows = [
        row,
        {**row, "error": "bug", "requests": 2, "open": 0, "mean_total_ms": None},
        {**row, "error": "cancelled", "open": 0},
    ]
    assert script(
        f"""const recent = new rates.Recent({NOW} - 10000);
        recent.sinceOf.waiting = {NOW} - 5000;
        rates.addUsage(recent, given, {NOW} - 10000, {NOW});
        const all = ["requests", "tokens", "running", "failed"].map((field) => recent.sums(field, {NOW}).slice(-2));
        return [all, recent.sums("waiting", {NOW}).slice(-3), recent.sums("failed", {NOW}).at(-3)];""",
        rows,
    ) == [[[10.5, 10.5], [60, 60], [5, 5], [1, 1]], [None, None, 0], None]


@pytest.mark.parametrize(
    ("wanted", "fits"),
    [
        ({}, True),
        ({"model": "m"}, True),
        ({"model": "alias"}, True),
        ({"model": "x"}, False),
        ({"key": "k"}, True),
        ({"key": "x"}, False),
        ({"error": "any"}, True),
        ({"error": "bug"}, True),
        ({"error": "quota"}, False),
        ({"model": "m", "key": "k", "error": "bug"}, True),
    ],
)
def test_filters_are_the_servers(script, wanted, fits):
    told = {**STORY, "error": "bug", "asked": "alias"}
    assert (
        script("return story.fits(given[0], given[1])", [told, {"model": "", "key": "", "error": "", **wanted}]) is fits
    )
    if not {"model", "key"} & set(wanted):
        assert script(
            "return story.fits(given[0], given[1])", [STORY, {"model": "", "key": "", "error": "", **wanted}]
        ) is (not wanted)


def test_tellings_of_one_request_are_one_and_the_furthest_counts(script):
    waiting = {**STORY, "state": "waiting"}
    running = {**STORY, "state": "running", "completion_tokens": 1}
    further = {**running, "completion_tokens": 5}
    newer = {**STORY, "id": "r2", "opened_at": STORY["opened_at"] + 1}
    assert [one["id"] for one in script("return story.merged(given[0], given[1])", [[STORY], [newer]])] == ["r2", "r1"]
    for first, second, found in [
        (waiting, running, running), (running, waiting, running), (running, further, further),
        (running, STORY, STORY), (STORY, running, STORY),
    ]:  # fmt: skip
        assert script("return story.merged(given[0], given[1])", [[first], [second]]) == [found]


@pytest.mark.parametrize(
    ("more", "parts"),
    [
        ({}, [5000, 5000, 10_000]),
        ({"first_token_ms": None}, [5000, 15_000, 0]),
        ({"queue_ms": None, "first_token_ms": None, "error": "overloaded"}, [20_000, 0, 0]),
        ({"state": "waiting", "queue_ms": 20_000.0, "first_token_ms": None}, [20_000, 0, 0]),
        ({"queue_ms": 12_000.0}, [12_000, 0, 8000]),
        ({"total_ms": None}, [0, 0, 0]),
    ],
)
def test_the_parts_of_a_requests_time(script, more, parts):
    assert [one["ms"] for one in script("return story.parts(given)", {**STORY, **more})] == parts


def test_the_speed_of_an_answer(script):
    assert script("return story.speed(given)", STORY) == pytest.approx(0.9)
    assert script("return story.speed(given)", {**STORY, "first_token_ms": None}) is None
    assert script("return story.speed(given)", {**STORY, "first_token_ms": 20_000.0}) is None
