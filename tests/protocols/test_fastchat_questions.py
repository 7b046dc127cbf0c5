"""What clients ask FastChat beside generating: the real one's answers, garbage and errors with a code."""

from __future__ import annotations

import base64
import json
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from trunkcall.core.errors import ServingError
from trunkcall.core.requests import Vectors
from trunkcall.protocols import fastchat_questions as questions
from trunkcall.protocols.fastchat import Status, emit_status, read_status

DATA = Path(__file__).parent / "data" / "fastchat"
READERS = (
    questions.read_count,
    questions.read_details,
    questions.read_vectors,
    questions.read_address,
    questions.read_models,
)
BASE64 = base64.b64encode(struct.pack("<2f", 0.5, -1.0)).decode()


@pytest.mark.parametrize(
    ("reader", "body", "value"),
    [
        (questions.read_count, b'{"count":2,"error_code":0}', 2),
        (questions.read_details, b'{"context_length":4096}', 4096),
        (questions.read_address, b'{"address":"http://127.0.0.1:23102"}', "http://127.0.0.1:23102"),
        (questions.read_address, b'{"address":""}', ""),
        (questions.read_models, b'{"models":["a","b"]}', ("a", "b")),
        (questions.read_vectors, b'{"embedding":[[0.5,-1.0]],"token_num":2}', Vectors(((0.5, -1.0),), 2)),
        (questions.read_vectors, json.dumps({"embedding": [BASE64]}).encode(), Vectors(((0.5, -1.0),), 0)),
    ],
)
def test_reads_answers(reader: Callable[[bytes], Any], body: bytes, value: Any) -> None:
    assert reader(body) == value


@pytest.mark.parametrize("reader", READERS)
@pytest.mark.parametrize("body", [b"", b"null", b"<html>", b"{}", b'{"embedding":["*"]}', b'{"embedding":["AAA="]}'])
def test_names_what_cannot_be_read(reader: Callable[[bytes], Any], body: bytes) -> None:
    with pytest.raises(ServingError, match="cannot be read") as caught:
        reader(body)
    assert caught.value.kind == "upstream_error"


@pytest.mark.parametrize("reader", READERS)
def test_an_error_with_a_code_is_told(reader: Callable[[bytes], Any]) -> None:
    with pytest.raises(ServingError, match="no memory left: boom") as caught:
        reader(b'{"text":"boom","error_code":50002}')
    assert caught.value.kind == "out_of_memory"


def test_asks() -> None:
    assert json.loads(questions.ask_about("m")) == {"model": "m"}
    assert json.loads(questions.ask_count("m", "p")) == {"model": "m", "prompt": "p"}
    assert json.loads(questions.ask_vectors("m", ("a",))) == {"model": "m", "input": ["a"], "encoding_format": "base64"}


def test_status_is_the_recorded_one() -> None:
    body = (DATA / "status.json").read_bytes()
    status = read_status(body)
    assert (status.names, status.speed) == (("tinyrand",), 1)
    assert read_status(emit_status(status)) == status
    assert emit_status(Status(("a",))) == b'{"model_names":["a"],"speed":1,"queue_length":0}'
