"""What the real FastChat 0.2.36 answered is in our answers to the same requests, member by member.

data/fastchat_openai/transcripts.json was recorded from its OpenAI server in front of its controller and model_worker
with a tiny random model; the stand-in worker here says the same tokens.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from apis.fastchat_openai_peers import peer
from apis.fastchat_openai_started import Api, started

pytestmark = [pytest.mark.slow, pytest.mark.timeout(180)]

GOLDEN: dict[str, Any] = json.loads(
    (Path(__file__).parents[1] / "protocols/data/fastchat_openai/transcripts.json").read_text(encoding="utf-8")
)
NAMED_ANEW = {"id": r"(chatcmpl|cmpl|modelperm)-[2-9A-HJ-NP-Za-km-z]{22}|tinyrand", "created": r"\d+"}
"""Members whose value is another each time, and how it looks."""


@pytest.fixture(scope="module")
def fronts(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[bool, Api]]:
    """Without and with keys."""
    homes = tmp_path_factory.mktemp("homes")
    with peer() as worker:
        worker.pieces, worker.tokens, worker.finish, worker.context = ["f", "r6", " wor^"], 4, "length", 4096
        with (
            started(homes / "open", "--controller-address", worker.url) as front,
            started(homes / "closed", "--controller-address", worker.url, "--api-keys", "k1") as closed,
        ):
            yield {False: front, True: closed}


@pytest.mark.parametrize("name", GOLDEN)
def test_the_original_is_in_our_answer(fronts: dict[bool, Api], name: str) -> None:
    told = GOLDEN[name]
    body = told["request"].encode() if isinstance(told["request"], str) else told["request"]
    headers = {"authorization": "Bearer no"} if name == "wrong-key" else {}
    status, ours, data = fronts[name.endswith("-key")].raw(told["method"], told["path"], body, headers)
    assert status == told["status"], data
    assert ours["content-type"].partition(";")[0] == told["content_type"].partition(";")[0]
    theirs, found = values(told["reply"]), values(data.decode())
    assert len(found) == len(theirs)
    for one, other in zip(theirs, found, strict=True):
        contained(one, other, name)


def values(text: str) -> list[Any]:
    if not text.startswith("data: "):
        return [json.loads(text)]
    payloads = [frame.removeprefix("data: ") for frame in re.split(r"\n\n+", text) if frame]
    return [payload if payload == "[DONE]" else json.loads(payload) for payload in payloads]


def contained(theirs: Any, ours: Any, place: str) -> None:
    if isinstance(theirs, dict):
        assert theirs.keys() <= ours.keys(), place
        for key, value in theirs.items():
            if key in NAMED_ANEW:
                assert re.fullmatch(NAMED_ANEW[key], str(ours[key])), place
                assert type(ours[key]) is type(value)
            elif key == "message" and (theirs.get("code") == 40001 or value == ""):
                # Ours names the field in a sentence, or says what is wrong with the key.
                assert ours[key], place
            else:
                contained(value, ours[key], f"{place}.{key}")
        if "prompt_tokens" in theirs:
            assert list(ours) == list(theirs), place
    elif isinstance(theirs, list):
        if place.endswith(".embedding"):
            assert all(type(number) is float for number in ours)
            return
        assert len(theirs) == len(ours), place
        for index, (one, other) in enumerate(zip(theirs, ours, strict=True)):
            contained(one, other, f"{place}[{index}]")
    else:
        assert ours == theirs, place
