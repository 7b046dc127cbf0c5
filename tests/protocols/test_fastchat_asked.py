"""The bodies of a worker's smaller routes, both ways."""

from __future__ import annotations

import base64
import json
import math
import struct
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trunkcall.core.errors import ServingError
from trunkcall.core.requests import Embed, Vectors
from trunkcall.protocols.fastchat_asked import emit_embeddings, read_embeddings, read_model, read_prompt
from trunkcall.protocols.fastchat_joining import emit_beat, emit_registration, read_beat
from trunkcall.protocols.fastchat_status import Status

Floats = st.lists(st.floats(-1e6, 1e6).filter(lambda x: abs(x) > 1e-3 or x == 0), min_size=1, max_size=8)


@given(st.lists(Floats, max_size=4))
def test_vectors_come_out_with_unit_length(vectors: list[list[float]]) -> None:
    given = Vectors(tuple(map(tuple, vectors)), 3)
    plain = json.loads(emit_embeddings(given, Embed(model="m", inputs=())))
    packed = json.loads(emit_embeddings(given, Embed(model="m", inputs=(), encoding="base64")))
    assert plain["token_num"] == packed["token_num"] == 3
    for vector, numbers, text in zip(vectors, plain["embedding"], packed["embedding"], strict=True):
        length = math.hypot(*vector)
        assert math.hypot(*numbers) == pytest.approx(1 if length else 0)
        assert numbers == pytest.approx([number / (length or 1) for number in vector])
        assert struct.unpack(f"<{len(vector)}f", base64.b64decode(text)) == pytest.approx(numbers, abs=1e-6)


@pytest.mark.parametrize(
    ("body", "model"), [(b"", ""), (b" ", ""), (b"{}", ""), (b'{"model":null}', ""), (b'{"model":"m"}', "m")]
)
def test_model(body: bytes, model: str) -> None:
    assert read_model(body) == model


def test_one_text_is_a_list_of_one() -> None:
    assert read_embeddings(b'{"input":"a"}', "m") == read_embeddings(b'{"input":["a"],"encoding_format":null}', "m")


@pytest.mark.parametrize(
    ("read", "body", "param"),
    [
        (read_model, b"[]", None),
        (read_model, b'{"model":["m"]}', "model"),
        (read_prompt, b"{}", "prompt"),
        (read_prompt, b'{"prompt":null}', "prompt"),
        (read_prompt, b'{"prompt":["a"]}', "prompt"),
        (read_prompt, b'{"prompt":"\xff"}', None),
        (lambda body: read_embeddings(body, "m"), b"{}", "input"),
        (lambda body: read_embeddings(body, "m"), b'{"input":[]}', "input"),
        (lambda body: read_embeddings(body, "m"), b'{"input":[1]}', "input[0]"),
        (lambda body: read_embeddings(body, "m"), b'{"input":"a","encoding_format":"hex"}', "encoding_format"),
    ],
)
def test_what_is_wrong_is_named(read: Any, body: bytes, param: str | None) -> None:
    with pytest.raises(ServingError) as caught:
        read(body)
    assert (caught.value.kind, caught.value.param) == ("bad_request", param)


def test_what_a_controller_is_told() -> None:
    assert json.loads(emit_registration("http://w:1", Status(("a", "b"), queue_length=2), multimodal=True)) == {
        "worker_name": "http://w:1",
        "check_heart_beat": True,
        "worker_status": {"model_names": ["a", "b"], "speed": 1, "queue_length": 2},
        "multimodal": True,
    }
    assert json.loads(emit_beat("http://w:1", 4)) == {"worker_name": "http://w:1", "queue_length": 4}


@pytest.mark.parametrize(("body", "known"), [(b'{"exist":true}', True), (b'{"exist": false, "more": 1}', False)])
def test_beat(body: bytes, known: bool) -> None:
    assert read_beat(body) is known


@pytest.mark.parametrize("body", [b"", b"null", b"{}", b"<html>", b'{"exist":"no"}', b"\xff"])
def test_what_is_no_answer_to_a_beat(body: bytes) -> None:
    with pytest.raises(ServingError, match="controller"):
        read_beat(body)
