"""Forwarding: the head is read exactly, and edits change nothing but what they are for."""

from __future__ import annotations

import json
import random
from typing import Any

import msgspec
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from trunkcall.core.errors import ServingError
from trunkcall.protocols.openai import Head, ask_usage, read_head, replace_model

json_text = st.text(max_size=8) | st.sampled_from(["model", '"model":"x"', "stream_options", "a\\", '\\"model'])
values = st.recursive(
    st.none() | st.booleans() | st.integers(-(10**6), 10**6) | json_text,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(json_text, inner, max_size=3),
    max_leaves=8,
)


def written(value: Any, draw: random.Random) -> str:
    """JSON with odd whitespace, escapes in any string and duplicate keys."""
    space = draw.choice(["", " ", "\n\t", "  "])
    if isinstance(value, str):
        return '"' + "".join(_character(character, draw) for character in value) + '"'
    if isinstance(value, list):
        return "[" + f"{space},".join(written(item, draw) for item in value) + space + "]"
    if isinstance(value, dict):
        members = [f"{space}{written(key, draw)}{space}:{space}{written(item, draw)}" for key, item in value.items()]
        return "{" + f"{space},".join(members) + space + "}"
    return json.dumps(value)


def _character(character: str, draw: random.Random) -> str:
    if draw.random() < 0.2:
        units = character.encode("utf-16-be")
        return "".join(f"\\u{units[at : at + 2].hex()}" for at in range(0, len(units), 2))
    return json.dumps(character, ensure_ascii=draw.random() < 0.5)[1:-1]


def model_spans(text: str) -> list[tuple[int, int]]:
    """Where the values of outermost `model` keys stand, found with the standard library's decoder."""
    found: list[tuple[int, int]] = []
    decoder = json.JSONDecoder(strict=False)
    at = text.index("{") + 1
    while True:
        while text[at] in " \n\t,":
            at += 1
        if text[at] == "}":
            return found
        key, at = decoder.raw_decode(text, at)
        while text[at] in " \n\t:":
            at += 1
        _, end = decoder.raw_decode(text, at)
        if key == "model":
            found.append((at, end))
        at = end


@given(
    st.lists(st.tuples(json_text, values), max_size=4),
    st.lists(st.text(max_size=5), min_size=1, max_size=2),
    st.text(max_size=6) | st.sampled_from(['q"\\', "model", "a"]),
    st.randoms(use_true_random=False),
)
def test_only_the_outermost_model_changes(
    others: list[tuple[str, Any]], models: list[str], name: str, draw: random.Random
) -> None:
    members = [(key, value) for key, value in others if key not in ("model", "stream", "stream_options")]
    members += [("model", model) for model in models]
    draw.shuffle(members)
    space = draw.choice(["", " ", "\n"])
    text = ",".join(f"{space}{written(key, draw)}{space}:{space}{written(value, draw)}" for key, value in members)
    before = space + "{" + text + space + "}"
    read_head(before.encode())
    after = before
    for start, end in reversed(model_spans(before)):
        after = after[:start] + msgspec.json.encode(name).decode() + after[end:]
    assert json.loads(after)["model"] == name
    assert replace_model(before.encode(), name) == after.encode()


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        (b'{"model":"a"}', b'{"model":"Z"}'),
        (b' {\n "model" :\t"a" ,"x":1}', b' {\n "model" :\t"Z" ,"x":1}'),
        (b'{"x":{"model":"n"},"model":"a"}', b'{"x":{"model":"n"},"model":"Z"}'),
        (b'{"x":{"model":"n"},"model":"Z"}', b'{"x":{"model":"n"},"model":"Z"}'),
        (b'{"model":"a","x":{"model":"n"}}', b'{"model":"Z","x":{"model":"n"}}'),
        (b'{"x":"model","model":"a"}', b'{"x":"model","model":"Z"}'),
        (b'{"x":"\\"model\\":\\"q\\"","model":"a"}', b'{"x":"\\"model\\":\\"q\\"","model":"Z"}'),
        (b'{"\\u006dodel":"a"}', b'{"\\u006dodel":"Z"}'),
        (b'{"\\u006Dodel":"a","model":"b"}', b'{"\\u006Dodel":"Z","model":"Z"}'),
        (b'{"model":"a","y":[1,2],"model":"b"}', b'{"model":"Z","y":[1,2],"model":"Z"}'),
        (b'{"a":1,"b":true,"c":"d","model":"m\\"x","e":[{"model":{}}]}', b'{"a":1,"b":true,"c":"d","model":"Z","e":[{"model":{}}]}'),
        (b'{"y":[":",{"model":[]},"model"],"model":"a"}', b'{"y":[":",{"model":[]},"model"],"model":"Z"}'),
        (b'{"models":"a","model":"b"}', b'{"models":"a","model":"Z"}'),
        (b'{"id":"no model"}', b'{"id":"no model"}'),
    ],
)  # fmt: skip
def test_replace_model(body: bytes, expected: bytes) -> None:
    assert replace_model(body, "Z") == expected


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        (b'{"model":"a"}', b'{"stream_options":{"include_usage":true},"model":"a"}'),
        (b'{"model":"a","stream_options":null }', b'{"model":"a","stream_options":{"include_usage":true} }'),
        (b'{"model":"a","stream_options": {}}', b'{"model":"a","stream_options": {"include_usage":true}}'),
        (b'{"model":"a","stream_options":{"x":1}}', b'{"model":"a","stream_options":{"include_usage":true,"x":1}}'),
        (b'{"stream_options":{"x":[2],"include_usage":false,"y":3}}', b'{"stream_options":{"x":[2],"include_usage":true,"y":3}}'),
        (b'{"stream_options":{"include_usage" : null}}', b'{"stream_options":{"include_usage" : true}}'),
        (b'{"stream\\u005foptions":{"include_usage":true}}', b'{"stream\\u005foptions":{"include_usage":true}}'),
        (b'{"x":{"stream_options":null},"y":"stream_options"}', b'{"stream_options":{"include_usage":true},"x":{"stream_options":null},"y":"stream_options"}'),
    ],
)  # fmt: skip
def test_ask_usage(body: bytes, expected: bytes) -> None:
    assert ask_usage(body) == expected


@given(
    st.lists(st.tuples(json_text, values), max_size=3),
    st.none() | st.just("absent") | st.dictionaries(json_text, values, max_size=2),
    st.none() | st.booleans() | st.just("absent"),
    st.randoms(use_true_random=False),
)
@example([], {}, None, random.Random(1))
def test_usage_is_asked_for_and_nothing_else_changes(
    others: list[tuple[str, Any]], options: Any, include: Any, draw: random.Random
) -> None:
    members: list[tuple[str, Any]] = [("model", "m")]
    members += [(key, value) for key, value in others if key not in ("model", "stream", "stream_options")]
    if options != "absent":
        if isinstance(options, dict) and include != "absent":
            options = {**options, "include_usage": include}
        elif isinstance(options, dict):
            options.pop("include_usage", None)
        members.append(("stream_options", options))
    body = written(dict(members), draw).encode()
    read_head(body)
    expected = json.loads(body)
    expected["stream_options"] = {**(expected.get("stream_options") or {}), "include_usage": True}
    edited = ask_usage(body)
    assert json.loads(edited) == expected
    assert read_head(edited).usage_in_stream


@pytest.mark.parametrize(
    ("body", "head"),
    [
        (b'{"model":"a"}', Head("a", False, False, False)),
        (b'{"model":"a","stream":null,"stream_options":null}', Head("a", False, False, True)),
        (b'{"model":"a","stream":true,"stream_options":{}}', Head("a", True, False, True)),
        (b'{"model":"a","stream":true,"stream_options":{"include_usage":true,"z":1}}', Head("a", True, True, True)),
        ('{"model":"ü","x":["ß"]}'.encode(), Head("ü", False, False, False)),
    ],
)
def test_read_head(body: bytes, head: Head) -> None:
    assert read_head(body) == head


@pytest.mark.parametrize(
    ("body", "param", "words"),
    [
        (b"", None, "not valid JSON"),
        (b"[]", None, "expected `object`"),
        (b'{"messages":[]}', "model", "required"),
        (b'{"model":5}', "model", "expected `str`"),
        (b'{"model":"a","stream":"yes"}', "stream", "bool"),
        (b'{"model":"a","stream_options":{"include_usage":1}}', "stream_options.include_usage", "bool"),
        (b'{"model":"a"} x', None, "trailing"),
        (b'{"model":"a","x":"\xff"}', None, "UTF-8 at byte 18"),
        (b'{"model":"a","x":[1,]}', None, "not valid JSON"),
        (b'{"model":"a","x":' + b"[" * 100_000 + b"]" * 100_000 + b"}", None, "nested too deeply"),
    ],
)
def test_read_head_refuses(body: bytes, param: str | None, words: str) -> None:
    with pytest.raises(ServingError) as caught:
        read_head(body)
    assert caught.value.kind == "bad_request"
    assert caught.value.param == param
    assert words in caught.value.message
