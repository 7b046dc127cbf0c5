"""Forwarded streams whose frames are kept, and whose tokens are told for us alone: what passes, and what is told again."""

from __future__ import annotations

import itertools
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trunkcall.core.events import Text
from trunkcall.core.meter import Meter
from trunkcall.core.requests import Generate, TextPrompt
from trunkcall.core.retained import RETAINED_LIMIT, Retained
from trunkcall.protocols import fastchat_tap, tgi_tap
from trunkcall.protocols.kuwa_answers import whole_characters
from trunkcall.protocols.openai_tap import ChatTap

HI = Generate(model="m", prompt=TextPrompt(("Hi",)))


def chunk(text: str, ids: str = "") -> bytes:
    told = json.dumps(text, ensure_ascii=False)
    head = f'data: {{"choices":[{{"finish_reason":null,"index":0,"delta":{{"content":{told}}}{ids}}}],"id":"x"}}\n\n'
    return head.encode()


def tap(*, traced: bool = False, retains: bool = True) -> ChatTap:
    meter = Meter("id", model="m", protocol="openai", stream=True)
    made = ChatTap(meter, streamed=True, hold_usage=False, rename=None, traced=traced)
    if retains:
        made.retain()
    return made


def cut(data: bytes, places: list[int]) -> list[bytes]:
    edges = [0, *sorted(place % (len(data) + 1) for place in places), len(data)]
    return [data[a:b] for a, b in itertools.pairwise(edges) if a < b]


WORDS = st.lists(st.text(max_size=4) | st.sampled_from(['"', ',"token_ids":[1]', "\\"]), min_size=1, max_size=6)


@given(words=WORDS, places=st.lists(st.integers(0, 10_000), max_size=6))
def test_tokens_are_cut_out_however_a_stream_is_split(words: list[str], places: list[int]) -> None:
    traced = b"".join(chunk(word, f',"token_ids":[{number},7]') for number, word in enumerate(words))
    watching = tap(traced=True)
    passed = b"".join(watching.feed(piece) for piece in cut(traced, places)) + watching.end()
    assert passed == b"".join(chunk(word) for word in words)
    assert watching.kept == traced


@given(words=WORDS, places=st.lists(st.integers(0, 10_000), max_size=6))
def test_only_whole_frames_pass(words: list[str], places: list[int]) -> None:
    whole = b"".join(chunk(word) for word in words)
    watching = tap()
    passed = b""
    for piece in cut(whole + b'data: {"half', places):
        passed += watching.feed(piece)
        assert passed == b"" or passed.endswith(b"\n\n")
    assert passed == whole


def failure(code: str) -> bytes:
    return b"data: " + json.dumps({"error": {"message": "no", "type": "x", "code": code}}).encode() + b"\n\n"


@pytest.mark.parametrize("retains", [True, False])
@pytest.mark.parametrize(
    ("code", "own"), [("draining", True), ("invalid_api_key", True), ("context_length_exceeded", False)]
)
def test_a_failure_of_its_own_is_held_back_where_it_is_retained(code: str, own: bool, retains: bool) -> None:
    watching = tap(retains=retains)
    passed = watching.feed(chunk("a") + failure(code) + chunk("b"))
    if own and retains:
        assert passed == chunk("a")
        assert watching.failure is not None
    else:
        assert passed == chunk("a") + failure(code) + chunk("b")
        assert watching.failure is None


def test_what_is_too_much_is_not_kept() -> None:
    kept = Retained()
    kept.add(bytes(RETAINED_LIMIT))
    assert kept.data == bytes(RETAINED_LIMIT)
    kept.add(b"x")
    assert kept.data is None


@given(text=st.text(min_size=1, max_size=6), size=st.integers(1, 24))
def test_characters_are_not_cut_in_two(text: str, size: int) -> None:
    data = text.encode()[:size]
    whole = whole_characters(data)
    assert data[:whole].decode() == data.decode(errors="ignore")


TOKEN = b'data:{"token":{"id":5,"text":"a","logprob":-1.0,"special":false},"generated_text":null,"details":null}\n\n'
BROKEN = b'data:{"error":"Request failed","error_type":"generation"}\n\n'


def test_tgi_frames_up_to_the_failure() -> None:
    passed, error = tgi_tap.until_failure(TOKEN + TOKEN + BROKEN + TOKEN)
    assert passed == TOKEN + TOKEN
    assert error is not None
    assert tgi_tap.until_failure(TOKEN) == (TOKEN, None)
    events = tgi_tap.retold(TOKEN + TOKEN + TOKEN[:20], HI)
    assert [event.text for event in events if isinstance(event, Text)] == ["a", "a"]


def test_fastchat_objects_up_to_the_failure() -> None:
    good = b'{"text":"a","error_code":0}\0'
    bad = b'{"text":"NETWORK ERROR","error_code":50001}\0'
    passed, error = fastchat_tap.until_failure(good + bad)
    assert passed == good
    assert error is not None
    assert fastchat_tap.until_failure(good) == (good, None)
    events = fastchat_tap.retold(good + b'{"text":"ab","error_code":0}\0' + bad, HI)
    assert [event.text for event in events if isinstance(event, Text)] == ["a", "b"]
