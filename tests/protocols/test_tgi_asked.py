"""TGI's requests: every rule with its exact text and in its order, the defaults of each edition, nulls everywhere."""

from __future__ import annotations

import itertools
import json
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec import UNSET

from trunkcall.core.errors import ServingError
from trunkcall.core.requests import Format, Generate, Sampling, Stops, TextPrompt
from trunkcall.protocols.tgi import (
    Asked,
    Compat,
    Limits,
    check_tokens,
    compat_of,
    emit_generate,
    read_asked,
    to_generate,
)

DATA = Path(__file__).parent / "data" / "tgi"
LIMITS = Limits(max_input_tokens=100, max_total_tokens=200)
EDITIONS: list[Compat] = ["0.8", "1", "2", "3"]
TOTAL = "`inputs` tokens + `max_new_tokens` must be <= 200. Given: "


def ask(
    inputs: str = "Hi", limits: Limits = LIMITS, compat: Compat = "3", stream: bool | None = False, **parameters: Any
) -> Asked:
    body = json.dumps({"inputs": inputs, "parameters": parameters}).encode()
    return read_asked(body, compat, limits, streaming=stream)


def refusal(
    inputs: str = "Hi", tokens: int | None = 2, limits: Limits = LIMITS, **asked: Any
) -> tuple[str, str | None]:
    with pytest.raises(ServingError) as caught:
        check_tokens(ask(inputs, limits, **asked), tokens, limits, asked.get("compat", "3"))
    assert caught.value.kind == "bad_request"
    return caught.value.message, caught.value.param


RULES: list[tuple[str, dict[str, Any]]] = [
    ("`best_of` != 1 is not supported when streaming tokens", {"stream": True, "best_of": 2, "temperature": 1}),
    (
        "`decoder_input_details` == true is not supported when streaming tokens",
        {"stream": True, "decoder_input_details": True},
    ),
    ("`best_of` must be > 0 and <= 2. Given: 3", {"best_of": 3, "do_sample": True}),
    ("`best_of` must be > 0 and <= 2. Given: 0", {"best_of": 0}),
    ("you must use sampling when `best_of` is > 1", {"best_of": 2}),
    ("`temperature` must be strictly positive", {"temperature": 0.0}),
    ("`temperature` must be strictly positive", {"temperature": -1}),
    ("`repetition_penalty` must be strictly positive", {"repetition_penalty": 0.0}),
    ("`frequency_penalty` must be >= -2.0 and <= 2.0", {"frequency_penalty": 2.1}),
    ("`frequency_penalty` must be >= -2.0 and <= 2.0", {"frequency_penalty": -2.1}),
    ("`top_p` must be > 0.0 and < 1.0", {"top_p": 1.0}),
    ("`top_p` must be > 0.0 and < 1.0", {"top_p": 0.0}),
    ("`typical_p` must be > 0.0 and < 1.0", {"typical_p": 1.0}),
    ("`top_k` must be strictly positive", {"top_k": 0}),
    ("`max_new_tokens` must be strictly positive", {"max_new_tokens": 0}),
    ("`stop` supports up to 4 stop sequences. Given: 5", {"stop": list("abcde")}),
    ("`seed` must not be set when `best_of` > 1", {"best_of": 2, "do_sample": True, "seed": 1}),
    ("`top_n_tokens` must be >= 0 and <= 5. Given: 6", {"top_n_tokens": 6}),
    ("`top_n_tokens` must be >= 0 and <= 5. Given: -1", {"top_n_tokens": -1}),
    ("`inputs` cannot be empty", {"inputs": ""}),
    ("`truncate` must be strictly positive and less than 100. Given: 101", {"truncate": 101}),
    ("`truncate` must be strictly positive and less than 100. Given: 0", {"truncate": 0}),
    (f"{TOTAL}50 `inputs` tokens and 151 `max_new_tokens`", {"tokens": 50, "max_new_tokens": 151}),
    ("`inputs` must have less than 100 tokens. Given: 101", {"tokens": 101, "max_new_tokens": 1}),
    ("`inputs` must have less than 100 tokens. Given: 200", {"tokens": 200}),
    ("grammar is not valid: Grammar must have a 'properties' field", {"grammar": {"type": "json", "value": {}}}),
]
"""In the order in which they are looked at."""


@pytest.mark.parametrize(("text", "asked"), RULES)
def test_each_rule_has_its_text(text: str, asked: dict[str, Any]) -> None:
    told, param = refusal(**asked)
    assert told == text
    assert param is not None
    assert param in text


def test_the_first_rule_that_is_violated_is_told() -> None:
    seen = 0
    for (text, first), (_, second) in itertools.combinations(RULES, 2):
        together = {**second, **first}
        draws = first == {"best_of": 2} and not second.keys().isdisjoint(("temperature", "top_p", "typical_p", "top_k"))
        if first.keys() & second.keys() or draws or "tokens" in first or {"stream", "best_of"} <= together.keys():
            # One of them would change what the other is about.
            continue
        seen += 1
        assert refusal(**together)[0] == text, (first, second)
    assert seen > 150


def test_other_texts() -> None:
    one = msgspec.structs.replace(LIMITS, max_best_of=1)
    assert refusal(limits=one, best_of=2, do_sample=True)[0] == "`best_of` != 1 is not allowed for this endpoint"
    assert refusal(tokens=None, max_new_tokens=201)[0] == "`max_new_tokens` must be <= 200. Given: 201"
    assert refusal(grammar={"type": "regex", "value": "("})[0].startswith("grammar is not valid: ")
    assert refusal(grammar={"type": "json", "value": "{"})[0].startswith("grammar is not valid: ")
    assert refusal(grammar={"type": "json"})[0].startswith("grammar is not valid: ")
    # Total comes before input.
    assert refusal(tokens=150, max_new_tokens=51)[0].startswith(TOTAL)


@pytest.mark.parametrize(
    ("asked", "tokens", "max_new_tokens"),
    [
        ({"best_of": 1, "top_p": 0.99, "typical_p": 0.01, "top_k": 1, "frequency_penalty": -2}, 1, 199),
        ({"best_of": 2, "top_k": 5, "stop": list("abcd"), "top_n_tokens": 5, "truncate": 100}, 100, 100),
        ({"max_new_tokens": 100}, 100, 100),
        ({"max_new_tokens": 150}, 50, 150),
        ({"max_new_tokens": 5, "truncate": 7}, 5000, 5),
        ({"max_new_tokens": 200}, None, 200),
        ({}, None, None),
    ],
)
def test_at_the_limit_all_is_well(asked: dict[str, Any], tokens: int | None, max_new_tokens: int | None) -> None:
    assert check_tokens(ask(**asked), tokens, LIMITS, "3").max_new_tokens == max_new_tokens


@pytest.mark.parametrize(
    ("compat", "absent", "null", "without_parameters"),
    [("0.8", 20, 20, False), ("1", 100, None, True), ("2", 100, None, True), ("3", None, None, True)],
)
def test_defaults_of_each_edition(
    compat: Compat, absent: int | None, null: int | None, without_parameters: bool
) -> None:
    assert ask(compat=compat).max_new_tokens == absent
    assert ask(compat=compat, max_new_tokens=None).max_new_tokens == null
    for body in (b'{"inputs":"Hi"}', b'{"inputs":"Hi","parameters":null}'):
        asked = read_asked(body, compat, LIMITS, streaming=None)
        assert asked.samples is without_parameters
        assert asked.max_new_tokens == absent
    assert ask(compat=compat).samples is False


def test_the_newest_counts_a_long_answer_in_rounds() -> None:
    limits = Limits(max_input_tokens=3000, max_total_tokens=4000)
    assert check_tokens(ask(limits=limits, max_new_tokens=9999), 2976, limits, "3").max_new_tokens == 1024
    assert "2977 `inputs` tokens and 9999" in refusal(limits=limits, tokens=2977, max_new_tokens=9999)[0]
    assert "2976 `inputs` tokens and 9999" in refusal(limits=limits, tokens=2976, max_new_tokens=9999, compat="2")[0]


@pytest.mark.parametrize("compat", EDITIONS)
@pytest.mark.parametrize("details", [True, False])
def test_prefill_came_with_details_once(compat: Compat, details: bool) -> None:
    assert ask(compat=compat, details=details).decoder_input_details is (details and compat == "0.8")
    assert ask(compat=compat, details=details, decoder_input_details=True).decoder_input_details
    assert not ask(compat=compat, details=True, stream=True).decoder_input_details


@pytest.mark.parametrize(
    ("asked", "samples"),
    [
        ({}, False), ({"do_sample": True}, True), ({"do_sample": False, "temperature": 1.0}, False),
        ({"temperature": 0.5}, True), ({"top_k": 3}, True), ({"top_p": 0.5}, True), ({"typical_p": 0.5}, True),
    ],
)  # fmt: skip
def test_when_tokens_are_drawn(asked: dict[str, Any], samples: bool) -> None:
    assert ask(**asked).samples is samples


@pytest.mark.parametrize(
    ("body", "where"),
    [
        (b"", None), (b"{", None), (b"[]", None), (b"null", None), (b'"Hi"', None), (b"{}", "inputs"),
        (b'{"inputs":null}', "inputs"), (b'{"inputs":["Hi"]}', "inputs"), (b'{"inputs":"Hi","parameters":[]}', "parameters"),
        (b'{"inputs":"Hi","parameters":{"top_k":"3"}}', "parameters.top_k"),
        (b'{"inputs":"Hi","parameters":{"seed":-1}}', "parameters.seed"),
        (b'{"inputs":"Hi","parameters":{"stop":"x"}}', "parameters.stop"),
        (b'{"inputs":"Hi","parameters":{"stop":[1]}}', "parameters.stop[0]"),
        (b'{"inputs":"Hi","parameters":{"do_sample":1}}', "parameters.do_sample"),
        (b'{"inputs":"Hi","parameters":{"grammar":{"type":"ebnf","value":""}}}', "parameters.grammar.type"),
        (b'{"inputs":"Hi","stream":"yes"}', "stream"), (b'{"inputs":"\xff"}', None), (b"[" * 5000, None),
    ],
)  # fmt: skip
def test_what_has_a_wrong_shape(body: bytes, where: str | None) -> None:
    with pytest.raises(ServingError) as caught:
        read_asked(body, "3", LIMITS, streaming=None)
    assert caught.value.kind == "bad_request"
    assert caught.value.param == where


FIELDS = [name for name in Asked.__struct_fields__ if name not in ("inputs", "stream", "samples", "format", "extra")]


def test_null_everywhere_is_as_good_as_absent() -> None:
    names = ["do_sample", *(name for name in FIELDS if name != "input_tokens")]
    nulls: dict[str, Any] = dict.fromkeys(names)
    asked = ask(**nulls)
    assert asked == ask()
    assert asked.extra == {}


def test_what_the_client_posts() -> None:
    body = (DATA / "client-generate.json").read_bytes()
    asked = check_tokens(read_asked(body, "3", LIMITS, streaming=None), 3, LIMITS, "3")
    assert asked == Asked(inputs="What?", max_new_tokens=17, details=True, input_tokens=3)
    assert to_generate(asked, "m").reporting.logprobs == 0


def test_what_the_old_page_posts() -> None:
    limits = Limits(max_input_tokens=1024, max_total_tokens=2048)
    body = (DATA / "old-page-curl.json").read_bytes()
    request = to_generate(check_tokens(read_asked(body, "0.8", limits, streaming=False), 12, limits, "0.8"), "m")
    assert request.sampling == Sampling(max_tokens=512, temperature=0.1, repetition_penalty=1.2)
    assert (request.reporting.logprobs, request.reporting.token_ids) == (UNSET, False)


def test_the_whole_of_it_becomes_neutral() -> None:
    asked = ask(
        do_sample=True, max_new_tokens=9, top_k=4, top_p=0.5, typical_p=0.25, temperature=0.75, repetition_penalty=1.5,
        frequency_penalty=-1, seed=2**64 - 1, stop=["a", "", "b"], watermark=True, details=True, top_n_tokens=3,
        decoder_input_details=True, unheard_of=[1], nothing=None,
        grammar={"type": "json_schema", "value": {"name": "n", "schema": {"properties": {}}}},
    )  # fmt: skip
    request = to_generate(check_tokens(asked, 2, LIMITS, "3"), "m")
    assert request.prompt == TextPrompt(("Hi",))
    assert request.sampling == Sampling(
        max_tokens=9, temperature=0.75, top_p=0.5, top_k=4, typical_p=0.25, repetition_penalty=1.5,
        frequency_penalty=-1, seed=2**63 - 1,
    )  # fmt: skip
    assert request.stops == Stops(strings=("a", "b"), include=True)
    assert request.shape.format == Format("schema", schema={"properties": {}}, name="n")
    assert (request.reporting.logprobs, request.reporting.prompt_logprobs) == (3, True)
    assert {name: bytes(raw) for name, raw in request.extra["tgi"].items()} == {
        "watermark": b"true", "unheard_of": b"[1]", "nothing": b"null",
    }  # fmt: skip


@pytest.mark.parametrize(
    ("grammar", "shape"),
    [
        ({"type": "regex", "value": "a+"}, Format("regex", source="a+")),
        ({"type": "json", "value": {"properties": {}}}, Format("schema", schema={"properties": {}})),
        ({"type": "json", "value": '{"properties": {}}'}, Format("schema", schema={"properties": {}})),
    ],
)
def test_grammars(grammar: dict[str, Any], shape: Format) -> None:
    asked = check_tokens(ask(grammar=grammar), 2, LIMITS, "3")
    assert asked.format == shape
    sent = json.loads(emit_generate(to_generate(asked, "m"))[0])["parameters"]["grammar"]
    assert check_tokens(ask(grammar=sent), 2, LIMITS, "3").format == shape


def test_versions() -> None:
    told = {
        "0.8.2": "0.8",
        "0.9.1": "0.8",
        "1.4.5": "1",
        "2.4.1-dev0": "2",
        "3.3.7": "3",
        "4.0": "3",
        "": "3",
        "x": "3",
    }
    assert {version: compat_of(version) for version in told} == told


POSITIVE = st.floats(0.01, 1e6)
INSIDE = st.floats(0.001, 0.999)


@given(
    st.fixed_dictionaries(
        {},
        optional={
            "do_sample": st.none() | st.booleans(),
            "temperature": st.none() | POSITIVE,
            "repetition_penalty": st.none() | POSITIVE,
            "frequency_penalty": st.none() | st.floats(-2, 2),
            "top_k": st.none() | st.integers(1, 10**6),
            "top_p": st.none() | INSIDE,
            "typical_p": st.none() | INSIDE,
            "max_new_tokens": st.integers(1, 198),
            "stop": st.none() | st.lists(st.text(min_size=1), max_size=4),
            "seed": st.none() | st.integers(0, 2**63 - 1),
            "top_n_tokens": st.none() | st.integers(0, 5),
            "watermark": st.none() | st.booleans(),
        },
    ),
    st.text(st.characters(codec="utf-8"), min_size=1),
    st.sampled_from(EDITIONS),
)
def test_what_is_sent_on_asks_for_the_same(parameters: dict[str, Any], inputs: str, compat: Compat) -> None:
    first = check_tokens(ask(inputs, compat=compat, stream=True, **parameters), 2, LIMITS, compat)
    request = to_generate(first, "m")
    body, dropped = emit_generate(request, compat=compat, room=198)
    again = check_tokens(read_asked(body, compat, LIMITS, streaming=True), 2, LIMITS, compat)
    same: Generate = to_generate(again, "m")
    if compat == "0.8":
        sampling = msgspec.structs.replace(request.sampling, frequency_penalty=UNSET)
        reporting = msgspec.structs.replace(request.reporting, logprobs=0)
        request = msgspec.structs.replace(request, sampling=sampling, reporting=reporting)
        assert set(dropped) <= {"frequency_penalty"}
    else:
        assert dropped == ()
    assert same == request


@given(st.binary() | st.recursive(st.none() | st.booleans() | st.integers() | st.floats() | st.text(), st.lists).map(
    lambda value: json.dumps({"inputs": "Hi", "parameters": {"temperature": value, "stop": value}}).encode()
))  # fmt: skip
def test_nothing_but_serving_errors(body: bytes) -> None:
    try:
        read_asked(body, "3", LIMITS, streaming=None)
    except ServingError as error:
        assert error.kind == "bad_request"
