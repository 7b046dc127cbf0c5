"""Choosing tokens, compared with what the rules say in plain Python."""

from __future__ import annotations

import collections
import math
from typing import Any

import pytest

torch = pytest.importorskip("torch", reason="SAMPLING NOT CHECKED: install trunkcall[transformers]")

from trunkcall.workers.transformers_sampling import Picker, choose  # noqa: E402
from trunkcall.workers.transformers_wanted import Chosen, Rules  # noqa: E402

pytestmark = [pytest.mark.slow, pytest.mark.filterwarnings("default")]

PROBABILITIES = [0.4, 0.3, 0.15, 0.1, 0.05]
LOGITS = [math.log(one) for one in PROBABILITIES]


def picked(count: int = 400, logits: list[float] = LOGITS, prompt: tuple[int, ...] = (), **rules: Any) -> list[int]:
    """Tokens that were chosen one after the other with the same logits."""
    picker = Picker(Rules(**rules), prompt, 1)
    return [choose(torch.tensor([logits]), [picker])[0].token for _ in range(count)]


def possible(**rules: Any) -> set[int]:
    return set(picked(**rules))


@pytest.mark.parametrize(
    ("rules", "tokens"),
    [
        ({}, {0, 1, 2, 3, 4}),
        ({"temperature": 0}, {0}),
        ({"top_k": 1}, {0}),
        ({"top_k": 3}, {0, 1, 2}),
        ({"top_k": 99}, {0, 1, 2, 3, 4}),
        ({"top_p": 0.0}, {0}),
        ({"top_p": 0.4}, {0}),
        ({"top_p": 0.69}, {0, 1}),
        ({"top_p": 0.71}, {0, 1, 2}),
        # Of the two that top_k leaves, the first has 4/7.
        ({"top_k": 2, "top_p": 0.5}, {0}),
        ({"min_p": 0.3}, {0, 1, 2}),
        ({"min_p": 1.0}, {0}),
        # The expected surprise is 1.39; those of the tokens are 0.92, 1.20, 1.90, 2.30 and 3.00.
        ({"typical_p": 0.5}, {0, 1}),
        ({"banned": (0, 1)}, {2, 3, 4}),
        ({"bias": {4: 100.0}}, {4}),
        ({"bias": {0: -100.0, 1: -100.0}}, {2, 3, 4}),
    ],
)
def test_which_tokens_can_come(rules: dict[str, Any], tokens: set[int]) -> None:
    assert possible(**rules) == tokens


@pytest.mark.parametrize("temperature", [0.5, 1.0, 2.0])
def test_how_often_they_come(temperature: float) -> None:
    weights = [one ** (1 / temperature) for one in PROBABILITIES]
    counts = collections.Counter(picked(5000, temperature=temperature))
    for token, weight in enumerate(weights):
        assert abs(counts[token] / 5000 - weight / sum(weights)) < 0.03


def test_no_token_without_a_probability_comes_at_the_edge(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Picker, "draw", lambda _: 1 - 2**-53)
    assert picked(1, [0.0, 0.0, -math.inf]) == [1]
    monkeypatch.setattr(Picker, "draw", lambda _: 0.0)
    assert picked(1, [-math.inf, 0.0, 0.0]) == [1]


def test_a_nucleus_larger_than_the_first_candidates() -> None:
    assert max(picked(200, [0.0] * 5000, top_p=0.9)) > 1024


def test_penalties_count_what_was_said() -> None:
    assert picked(3, [2.0, 1.9, 1.8], temperature=0, presence_penalty=1.0) == [0, 1, 2]
    assert picked(4, [2.0, 1.5, 0.0], temperature=0, frequency_penalty=0.4) == [0, 0, 1, 0]
    assert picked(2, [2.0, 1.5, 0.0], temperature=0, repetition_penalty=2.0) == [0, 1]
    assert picked(1, [2.0, 1.5, 0.0], prompt=(0,), temperature=0, repetition_penalty=2.0) == [1]
    # Of the prompt only the repetition penalty knows.
    assert picked(1, [2.0, 1.9, 1.8], prompt=(0,), temperature=0, presence_penalty=1.0) == [0]
    assert picked(1, [-1.0, -1.5], prompt=(0,), temperature=0, repetition_penalty=2.0) == [1]


def test_an_end_does_not_come_too_early() -> None:
    assert picked(4, [9.0, 1.0], temperature=0, ending=(0,), min_tokens=2) == [1, 1, 0, 0]


def test_seeds_are_a_rows_own() -> None:
    rules = Rules(temperature=1.5, top_p=0.95)
    row = Picker(rules, (), 7)
    alone = [choose(torch.tensor([LOGITS]), [row])[0].token for _ in range(50)]
    row = Picker(rules, (), 7)
    others = [Picker(Rules(temperature=2.0), (), None), Picker(Rules(temperature=0), (), 3)]
    among = [choose(torch.tensor([LOGITS] * 3), [others[0], row, others[1]])[1].token for _ in range(50)]
    assert among == alone
    assert alone != picked(50, temperature=1.5, top_p=0.95)


def test_logprobs_are_the_models_own() -> None:
    rules = Rules(temperature=0, logprobs=2, bias={4: 100.0})
    (found,) = choose(torch.tensor([LOGITS]), [Picker(rules, (), None)])
    assert found.token == 4
    assert found.logprob == pytest.approx(math.log(0.05), abs=1e-4)
    assert [token for token, _ in found.top] == [0, 1]
    assert found.top[0][1] == pytest.approx(math.log(0.4), abs=1e-4)
    plain, told = choose(torch.tensor([LOGITS] * 2), [Picker(Rules(), (), 1), Picker(Rules(logprobs=0), (), 1)])
    assert plain == Chosen(plain.token)
    assert told.logprob is not None and told.top == ()
