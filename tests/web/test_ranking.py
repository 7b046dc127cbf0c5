"""Bradley-Terry strengths and their intervals, against equations and chances that are known."""

from __future__ import annotations

import math
import random
from collections import Counter
from collections.abc import Callable
from typing import Any

import pytest

pytestmark = [pytest.mark.slow, pytest.mark.timeout(180)]

POINTS = 400 / math.log(10)
Rank = Callable[[list[tuple[str, str, str]]], dict[str, Any]]

RANKING = """async (votes) => {
  const found = (await import("/web/lib/ranking.js")).ranking(votes);
  return { ...found, pairs: Object.fromEntries([...found.pairs].map(([name, row]) => [name, Object.fromEntries(row)])) };
}"""


@pytest.fixture(scope="module")
def rank(browser, server) -> Rank:
    page = browser.new_page()
    page.goto(server.url)
    return lambda votes: page.evaluate(RANKING, [{"models": [a, b], "winner": winner} for a, b, winner in votes])


def by_name(found: dict[str, Any]) -> dict[str, dict[str, Any]]:
    return {model["name"]: model for model in found["models"]}


def root(falling: Callable[[float], float]) -> float:
    """Where a falling function is 0."""
    low, high = -50.0, 50.0
    for _ in range(200):
        middle = (low + high) / 2
        low, high = (middle, high) if falling(middle) > 0 else (low, middle)
    return low


def chance(strength: float) -> float:
    return 1 / (1 + math.exp(-strength))


def simulated(strengths: dict[str, float], count: int, seed: int) -> list[tuple[str, str, str]]:
    draw = random.Random(seed)
    votes = []
    for _ in range(count):
        a, b = draw.sample(sorted(strengths), 2)
        votes.append((a, b, "left" if draw.random() < chance(strengths[a] - strengths[b]) else "right"))
    return votes


@pytest.mark.parametrize(
    ("wins", "losses", "ties"), [(3, 1, 0), (1, 0, 0), (0, 7, 2), (40, 0, 0), (5, 5, 5), (900, 100, 0)]
)
def test_two_models_are_where_their_likelihood_is_highest(rank, wins, losses, ties):
    votes = [("a", "b", "left")] * wins + [("b", "a", "left")] * losses + [("a", "b", "tie")] * ties
    found = by_name(rank(votes))
    battles = wins + losses + ties
    # By symmetry they are as far from the middle as one another; each has half a win and half a loss there.
    strength = root(lambda x: wins + ties / 2 - battles * chance(2 * x) + 0.5 - chance(x))
    assert found["a"]["score"] == pytest.approx(1000 + POINTS * strength, abs=1e-4)
    assert found["b"]["score"] == pytest.approx(1000 - POINTS * strength, abs=1e-4)
    between = battles * chance(2 * strength) * chance(-2 * strength)
    deviation = math.sqrt(0.5 / (chance(strength) * chance(-strength) + 2 * between))
    for model in found.values():
        assert model["high"] - model["score"] == pytest.approx(1.959964 * POINTS * deviation, abs=1e-3)
        assert model["score"] - model["low"] == pytest.approx(model["high"] - model["score"])
    assert (found["a"]["wins"], found["a"]["losses"], found["a"]["ties"], found["a"]["battles"]) == (
        wins,
        losses,
        ties,
        battles,
    )


def test_several_models_fulfil_the_equations_of_the_likelihood(rank):
    votes = simulated({"a": 1.5, "b": 0.3, "c": 0.0, "d": -0.7, "e": -2.0}, 300, seed=1)
    votes += [("a", "e", "tie"), ("b", "c", "bothbad"), ("d", "d", "left")]
    found = rank(votes)
    centred = {name: (model["score"] - 1000) / POINTS for name, model in by_name(found).items()}
    assert sum(centred.values()) == pytest.approx(0, abs=1e-9)
    middle = root(lambda m: sum(0.5 - chance(strength + m) for strength in centred.values()))
    slopes: Counter[str] = Counter()
    for a, b, winner in votes:
        won = {"left": 1.0, "right": 0.0}.get(winner, 0.5)
        slopes[a] += won - chance(centred[a] - centred[b])
        slopes[b] -= won - chance(centred[a] - centred[b])
    for name, strength in centred.items():
        assert slopes[name] + 0.5 - chance(strength + middle) == pytest.approx(0, abs=1e-6)
    assert (found["counted"], found["left"]) == (302, 1)


def test_true_strengths_lie_in_their_intervals_about_as_often_as_is_said(rank):
    strengths = {"a": 1.0, "b": 0.5, "c": 0.0, "d": -0.5, "e": -1.0}
    inside = 0
    for seed in range(60):
        found = by_name(rank(simulated(strengths, 250, seed)))
        inside += sum(
            found[name]["low"] <= 1000 + POINTS * strength <= found[name]["high"]
            for name, strength in strengths.items()
        )
    # 95 % of 300; the seeds are fixed, so that this does not change from run to run.
    assert 275 <= inside <= 296, inside


def test_four_times_the_votes_halve_the_interval(rank):
    votes = simulated({"a": 0.4, "b": 0.0, "c": -0.4}, 300, seed=5)
    few, many = (by_name(rank(votes * times)) for times in (1, 4))
    for name in few:
        ratio = (few[name]["high"] - few[name]["low"]) / (many[name]["high"] - many[name]["low"])
        assert ratio == pytest.approx(2, rel=0.05)


def test_what_decides_nothing_and_what_never_met(rank):
    found = by_name(rank([("a", "b", "left")] * 30))
    assert math.isfinite(found["a"]["high"]) and found["a"]["low"] > found["b"]["high"]
    assert (found["a"]["rank"], found["b"]["rank"]) == (1, 2)
    apart = by_name(rank([("a", "b", "left")] * 5 + [("c", "d", "left")] * 5))
    assert apart["a"]["score"] == pytest.approx(apart["c"]["score"])
    assert apart["a"]["low"] < apart["d"]["high"], "models that never met, not even through others, are not told apart"
    assert rank([])["models"] == []
    alone = rank([("a", "a", "left")] * 3)
    assert (alone["models"], alone["counted"], alone["left"]) == ([], 0, 3)


def test_sides_and_order_do_not_matter_and_both_bad_is_a_tie(rank):
    votes = [*simulated({"a": 0.5, "b": 0.0, "c": -0.5}, 60, seed=2), ("a", "b", "bothbad")]
    other_side = {"left": "right", "right": "left", "bothbad": "tie"}
    turned = [(b, a, other_side[winner]) for a, b, winner in reversed(votes)]
    first, second = by_name(rank(votes)), by_name(rank(turned))
    assert {name: round(model["score"], 6) for name, model in first.items()} == {
        name: round(model["score"], 6) for name, model in second.items()
    }
    assert first["a"]["ties"] == first["b"]["ties"] == 1


def test_pairs_count_ties_as_half(rank):
    found = rank([("a", "b", "left"), ("b", "a", "left"), ("a", "b", "left"), ("b", "a", "tie"), ("c", "a", "left")])
    assert found["pairs"]["a"]["b"] == {"share": 0.625, "battles": 4}
    assert found["pairs"]["b"]["a"] == {"share": 0.375, "battles": 4}
    assert found["pairs"]["c"] == {"a": {"share": 1, "battles": 1}}
