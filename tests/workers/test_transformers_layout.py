"""What the model reads in a step."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trunkcall.workers.transformers_layout import Piece, Span, pieces_of, spans


@pytest.mark.parametrize(
    ("places", "made"),
    [
        ([], []),
        ([(3, 10)], [Span(0, 3, 1, 10)]),
        ([(0, 10), (1, 12), (2, 11)], [Span(0, 0, 3, 12)]),
        ([(0, 10), (2, 12)], [Span(0, 0, 1, 10), Span(1, 2, 1, 12)]),
        # Reading 4000 positions of a slot that has 10 costs more than another call.
        ([(0, 10), (1, 4000), (2, 4010)], [Span(0, 0, 1, 10), Span(1, 1, 2, 4010)]),
    ],
)
def test_spans(places: list[tuple[int, int]], made: list[Span]) -> None:
    assert spans(places, 128) == made


@given(st.dictionaries(st.integers(0, 20), st.integers(1, 5000)), st.integers(0, 1000))
def test_spans_cover_each_query_once(lengths: dict[int, int], call: int) -> None:
    places = sorted(lengths.items())
    covered = [
        (span.slot + offset, span.first + offset, span.length)
        for span in spans(places, call)
        for offset in range(span.count)
    ]
    assert [(slot, first) for slot, first, _ in covered] == [(slot, at) for at, (slot, _) in enumerate(places)]
    assert all(length >= lengths[slot] for slot, _, length in covered)


@pytest.mark.parametrize(
    ("rows", "budget", "split", "made"),
    [
        ([(0, 5, [1]), (1, 0, [2, 3, 4])], 8, True, [Piece(0, 5, (1,), True), Piece(1, 0, (2, 3, 4), True)]),
        ([(0, 0, [1, 2, 3]), (1, 9, [4])], 2, True, [Piece(1, 9, (4,), True), Piece(0, 0, (1, 2), False)]),
        ([(0, 0, [1, 2, 3]), (1, 0, [4, 5])], 3, True, [Piece(0, 0, (1, 2, 3), True)]),
        # One token of a prompt alone waits for the next step.
        ([(0, 0, [1, 2, 3]), (1, 0, [4, 5])], 4, True, [Piece(0, 0, (1, 2, 3), True)]),
        ([(0, 0, [1, 2, 3]), (1, 0, [4, 5])], 2, False, [Piece(0, 0, (1, 2, 3), True), Piece(1, 0, (4, 5), True)]),
    ],
)
def test_pieces(rows: list[tuple[int, int, list[int]]], budget: int, split: bool, made: list[Piece]) -> None:
    assert pieces_of(rows, budget, split) == made


@given(st.lists(st.integers(1, 50), min_size=1, max_size=8), st.integers(2, 40))
def test_every_prompt_is_read_in_the_end(sizes: list[int], budget: int) -> None:
    rows = [(slot, 0, list(range(size))) for slot, size in enumerate(sizes)]
    for _ in range(sum(sizes) + 1):
        pieces = pieces_of(rows, budget, True)
        assert sum(len(piece.tokens) for piece in pieces if len(piece.tokens) > 1) <= budget
        for piece in pieces:
            slot, done, tokens = rows[piece.slot]
            assert (piece.start, list(piece.tokens)) == (done, tokens[: len(piece.tokens)])
            rows[slot] = (slot, done + len(piece.tokens), tokens[len(piece.tokens) :] or [-1])
        if all(tokens == [-1] for _, _, tokens in rows):
            return
    raise AssertionError("never read")
