"""Which tokens a grammar lets through, with the shipped model's tokenizer."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from transformers_child import POCKET

torch = pytest.importorskip("torch", reason="GUIDES NOT CHECKED: install trunkcall[transformers]")
pytest.importorskip("llguidance", reason="GUIDES NOT CHECKED: install trunkcall[transformers]")

from tokenizers import Tokenizer, decoders  # noqa: E402
from tokenizers.models import BPE  # noqa: E402
from tokenizers.pre_tokenizers import ByteLevel  # noqa: E402

from trunkcall.core.errors import ServingError  # noqa: E402
from trunkcall.workers.transformers_guides import Guide, Guides  # noqa: E402
from trunkcall.workers.transformers_sampling import Picker, choose  # noqa: E402
from trunkcall.workers.transformers_shapes import Shape  # noqa: E402
from trunkcall.workers.transformers_wanted import Rules  # noqa: E402

pytestmark = [pytest.mark.slow, pytest.mark.timeout(180), pytest.mark.filterwarnings("default")]

END = 2
WORDS = Tokenizer.from_file(str(POCKET / "tokenizer.json"))
SIZE = WORDS.get_vocab_size(with_added_tokens=True)
GUIDES = Guides(WORDS, SIZE, (END,))


def held(schema: dict[str, Any]) -> Shape:
    return Shape("response_format", f"start: answer\nanswer: %json {json.dumps(schema)}\n")


def drawn(guide: Guide, seed: int, rules: Rules, limit: int = 400, end: int = END, size: int = SIZE) -> list[int]:
    """The tokens of an answer whose model knows nothing at all."""
    picker = Picker(rules, (), seed, guide)
    noise = torch.Generator().manual_seed(seed)
    made: list[int] = []
    while len(made) < limit and end not in made:
        made.append(choose(torch.randn(1, size, generator=noise), [picker])[0].token)
        assert picker.failure is None
    return made


@settings(max_examples=15, deadline=None)
@given(st.integers(0, 2**31), st.sampled_from([{}, {"temperature": 0}, {"min_tokens": 300}, {"bias": {END: -100.0}}]))
def test_noise_becomes_what_the_schema_allows(seed: int, rules: dict[str, Any]) -> None:
    schema = {"type": "array", "items": {"enum": [1, "two", None, {"a": True}]}, "maxItems": 4}
    (guide,) = GUIDES.make(held(schema), 1)
    *tokens, end = drawn(guide, seed, Rules(**rules))
    made = json.loads(WORDS.decode(tokens))
    assert end == END
    assert all(one in (1, "two", None, {"a": True}) for one in made) and len(made) <= 4


def test_answers_of_one_request_go_their_own_ways() -> None:
    first, second = GUIDES.make(held({"enum": ["one", "two"]}), 2)
    assert {WORDS.decode(drawn(first, seed, Rules())[:-1]) for seed in (1,)} <= {'"one"', '"two"'}
    assert json.loads(WORDS.decode(drawn(second, 2, Rules())[:-1])) in ("one", "two")


def letters() -> Tokenizer:
    """One that has no marks of calls; its last token is the end."""
    made = Tokenizer(BPE({letter: place for place, letter in enumerate(sorted(ByteLevel.alphabet()))}, []))
    made.pre_tokenizer, made.decoder = ByteLevel(add_prefix_space=False), decoders.ByteLevel()
    made.add_special_tokens(["<end>"])
    return made


@pytest.mark.parametrize(("words", "end"), [(WORDS, END), (letters(), 256)])
def test_marks_are_tokens_of_their_own_where_the_model_has_them(words: Tokenizer, end: int) -> None:
    size = words.get_vocab_size(with_added_tokens=True)
    guides = Guides(words, size, (end,))
    (guide,) = guides.make(Shape("tools", 'start: open "x" close\n', calls=True), 1)
    tokens = drawn(guide, 1, Rules(), end=end, size=size)
    assert "".join(words.id_to_token(token) for token in tokens[:-1]) == "<tool_call>x</tool_call>"
    assert (len(tokens) == 4) == (words is WORDS)
    # What comes before a call is free, and what it begins it must end.
    (guide,) = guides.make(Shape("tools", 'start: (before "x" close)* rest\nrest: TEXT\n', calls=True), 1)
    texts = ["a<b", "<tool_call>", "x</tool_call>", "b"]
    written = [token for text in texts for token in words.encode(text, add_special_tokens=False).ids]
    for place, token in enumerate([*written, end]):
        scores = torch.zeros(size)
        guide.hold(scores)
        assert scores[token] == 0, place
        guide.take(token)
    (guide,) = guides.make(Shape("tools", 'start: (before "x" close)* rest\nrest: TEXT\n', calls=True), 1)
    for token in words.encode("a<tool_call>", add_special_tokens=False).ids:
        guide.take(token)
    scores = torch.zeros(size)
    guide.hold(scores)
    assert scores[end] == -torch.inf
    assert [words.id_to_token(int(token)) for token in (scores == 0).nonzero()] == ["x"]


@pytest.mark.parametrize(
    "schema", [{"type": "objct"}, {"uniqueItems": True, "type": "array"}, {"pattern": "(", "type": "string"}]
)
def test_schemas_that_cannot_be_are_the_callers(schema: dict[str, Any]) -> None:
    with pytest.raises(ServingError) as caught:
        GUIDES.make(held(schema), 1)
    assert (caught.value.kind, caught.value.param) == ("bad_request", "response_format")


def test_too_much_work_fails_that_answer_alone() -> None:
    (heavy,) = GUIDES.make(held({"type": "object", "properties": {f"p{number}": {} for number in range(3000)}}), 1)
    pickers = [Picker(Rules(temperature=0), (), 1, heavy), Picker(Rules(temperature=0), (), 1)]
    scores = torch.zeros(2, SIZE)
    scores[1, 7] = 1.0
    assert choose(scores, pickers)[1].token == 7
    assert pickers[0].failure is not None and pickers[0].failure.kind == "unsupported"
    assert "too much work" in pickers[0].failure.message
    assert pickers[1].failure is None


@pytest.mark.parametrize(("fast", "ends"), [(None, (END,)), (WORDS, ())])
def test_models_that_cannot_be_held(fast: Any, ends: tuple[int, ...]) -> None:
    with pytest.raises(ServingError, match="leave it out") as caught:
        Guides(fast, SIZE, ends).make(held({}), 1)
    assert (caught.value.kind, caught.value.param) == ("unsupported", "response_format")


def test_a_vocabulary_smaller_than_the_tokenizers() -> None:
    (guide,) = Guides(WORDS, SIZE - 6, (END,)).make(held({"const": 1}), 1)
    scores = torch.zeros(SIZE - 6)
    guide.hold(scores)
    assert {WORDS.id_to_token(int(token)) for token in (scores == 0).nonzero()} == {"1"}
