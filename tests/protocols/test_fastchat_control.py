"""What FastChat's controller is told and asked: read as the real programs write it, and refused with the field's name."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trunkcall.core.errors import ServingError
from trunkcall.protocols.fastchat import Status
from trunkcall.protocols.fastchat_control import (
    Beat,
    Registration,
    addressed_as,
    emit_address,
    emit_exist,
    emit_models,
    names_of,
    read_heart_beat,
    read_registration,
    read_wanted,
)

URL = "http://127.0.0.1:21002"
STATUS = {"model_names": ["a", "b"], "speed": 1, "queue_length": 3}


@pytest.mark.parametrize(
    ("body", "read"),
    [
        (
            {"worker_name": URL, "check_heart_beat": True, "worker_status": STATUS, "multimodal": False},
            Registration(URL, True, Status(("a", "b"), 1, 3)),
        ),
        ({"worker_name": URL, "check_heart_beat": False, "worker_status": None}, Registration(URL, False)),
        ({"worker_name": URL + "/", "check_heart_beat": True, "multimodal": True}, Registration(URL, True, None, True)),
        ({"worker_name": URL, "check_heart_beat": True, "multimodal": None, "new": [1]}, Registration(URL, True)),
        (
            {"worker_name": "https://a-b.c/w/org%2Fm", "check_heart_beat": True, "worker_status": {"model_names": []}},
            Registration("https://a-b.c/w/org%2Fm", True, Status((), 1, 0)),
        ),
        (
            {
                "worker_name": "http://[::1]:1",
                "check_heart_beat": True,
                "worker_status": {"model_names": ["é", "", "é"], "speed": 0.5, "queue_length": 0.0, "more": 1},
            },
            Registration("http://[::1]:1", True, Status(("é",), 0.5, 0)),
        ),
    ],
)
def test_registrations(body: Any, read: Registration) -> None:
    assert read_registration(json.dumps(body).encode()) == read


GOOD = {"worker_name": URL, "check_heart_beat": True}


@pytest.mark.parametrize(
    ("body", "param"),
    [
        ({}, "worker_name"),
        ({"check_heart_beat": True}, "worker_name"),
        ({"worker_name": URL}, "check_heart_beat"),
        (GOOD | {"worker_name": 7}, "worker_name"),
        *((GOOD | {"worker_name": word}, "worker_name") for word in ("", "a:1", "ftp://a", "http://", "http://a b")),
        *(
            (GOOD | {"worker_name": f"http://{word}"}, "worker_name")
            for word in ("u:p@a", "a:99999", "a?b", "a#b", "é")
        ),
        (GOOD | {"check_heart_beat": "yes"}, "check_heart_beat"),
        (GOOD | {"worker_status": []}, "worker_status"),
        (GOOD | {"worker_status": {}}, "worker_status.model_names"),
        (GOOD | {"worker_status": STATUS | {"model_names": "a"}}, "worker_status.model_names"),
        (GOOD | {"worker_status": STATUS | {"model_names": [1]}}, "worker_status.model_names[0]"),
        (GOOD | {"worker_status": STATUS | {"speed": -1}}, "worker_status.speed"),
        (GOOD | {"worker_status": STATUS | {"queue_length": "3"}}, "worker_status.queue_length"),
        (GOOD | {"multimodal": 3}, "multimodal"),
        ([], None),
        ("text", None),
        (None, None),
    ],
)
def test_a_registration_that_cannot_be_read_names_the_field(body: Any, param: str | None) -> None:
    with pytest.raises(ServingError) as caught:
        read_registration(json.dumps(body).encode())
    assert (caught.value.kind, caught.value.param) == ("bad_request", param)
    assert (param or "body") in caught.value.message


def test_beats_and_wants() -> None:
    assert read_heart_beat(b'{"worker_name":"http://a:1/","queue_length":2,"x":1}') == Beat("http://a:1", 2)
    assert read_wanted(b'{"model":"org/m"}') == "org/m"
    for read, body, param in (
        (read_heart_beat, b'{"worker_name":"x"}', "queue_length"),
        (read_heart_beat, b'{"worker_name":"x","queue_length":null}', "queue_length"),
        (read_heart_beat, b'{"queue_length":1}', "worker_name"),
        (read_wanted, b"{}", "model"),
        (read_wanted, b'{"model":null}', "model"),
    ):
        with pytest.raises(ServingError) as caught:
            read(body)
        assert caught.value.param == param


@given(st.binary() | st.from_type(dict[str, str | None]).map(lambda d: json.dumps(d).encode()))
def test_anything_else_is_a_bad_request(body: bytes) -> None:
    readers: list[Callable[[bytes], object]] = [read_registration, read_heart_beat, read_wanted]
    for read in readers:
        try:
            read(body)
        except ServingError as error:
            assert error.kind == "bad_request"


def test_answers_word_for_word() -> None:
    assert emit_models(["a", "ü"]) == '{"models":["a","ü"]}'.encode()
    assert (emit_address("http://a:1"), emit_address("")) == (b'{"address":"http://a:1"}', b'{"address":""}')
    assert (emit_exist(True), emit_exist(False)) == (b'{"exist":true}', b'{"exist":false}')


@pytest.mark.parametrize(
    ("address", "told"),
    [
        ("http://0.0.0.0:1", "unspecified"),
        ("http://[::]:1", "unspecified"),
        ("http://localhost:1", "loopback"),
        ("https://127.0.1.1", "loopback"),
        ("http://[::1]:1/w/m", "loopback"),
        ("http://10.0.0.1:1", "well"),
        ("http://localhost.example:1", "well"),
    ],
)
def test_whom_an_address_means(address: str, told: str) -> None:
    assert addressed_as(address) == told


@pytest.mark.parametrize(
    ("told", "status", "names"),
    [
        ((), (), ()),
        (("a",), (), ("a",)),
        ((), ("b",), ("b",)),
        (("a",), ("b", "a"), ("a", "b")),
        (("a", "b"), ("a",), ("a", "b")),
        (("a",), ("b", "c"), ("b", "c")),
    ],
)
def test_the_models_of_a_worker(told: tuple[str, ...], status: tuple[str, ...], names: tuple[str, ...]) -> None:
    assert names_of(told, status) == names
