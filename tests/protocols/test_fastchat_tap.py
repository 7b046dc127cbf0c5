"""Forwarded FastChat calls: the model's name is put in, and the meter notes what passes."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trunkcall.core.errors import ServingError
from trunkcall.core.events import Usage
from trunkcall.core.meter import Meter
from trunkcall.protocols.fastchat import FrameTap, with_model

DATA = Path(__file__).parent / "data" / "fastchat"


def meter() -> Meter:
    return Meter("id", model="m", protocol="fastchat", stream=True)


@pytest.mark.parametrize(
    ("body", "sent"),
    [
        (b"", b'{"model":"n"}'),
        (b" {} ", b'{"model":"n"}'),
        (b'{"model": "m", "prompt":"p"}', b'{"model": "n", "prompt":"p"}'),
        (b'{ "prompt":"p"}', b'{"model":"n", "prompt":"p"}'),
        (b'{"model":null}', b'{"model":"n"}'),
        (
            b'{"prompt":"\\"model\\":\\"x\\"","a":{"model":"x"}}',
            b'{"model":"n","prompt":"\\"model\\":\\"x\\"","a":{"model":"x"}}',
        ),
    ],
)
def test_puts_the_name_in(body: bytes, sent: bytes) -> None:
    assert with_model(body, "n") == sent


@pytest.mark.parametrize("body", [b"[]", b"{", b"null", b'{"a":"\xff"}'])
def test_refuses_what_is_no_object(body: bytes) -> None:
    with pytest.raises(ServingError) as caught:
        with_model(body, "n")
    assert caught.value.kind == "bad_request"


@given(st.dictionaries(st.text(), st.text() | st.integers() | st.none(), max_size=5), st.text())
def test_changes_nothing_else(fields: dict[str, object], name: str) -> None:
    sent = json.loads(with_model(json.dumps(fields).encode(), name))
    assert sent == {**fields, "model": name}


@pytest.mark.parametrize(
    ("name", "usage", "finish", "error", "chunks"),
    [
        ("plain.stream", Usage(2, 4), "length", "", 4),
        ("whole.json", Usage(2, 4), "length", "", 1),
        ("error.stream", None, "", "upstream_error", 1),
        ("no_worker.stream", None, "", "no_capacity", 2),
    ],
)
@pytest.mark.parametrize("step", [1, 7, 10_000])
def test_notes_what_passes(name: str, usage: Usage | None, finish: str, error: str, chunks: int, step: int) -> None:
    data = (DATA / name).read_bytes()
    noted = meter()
    tap = FrameTap(noted)
    for at in range(0, len(data), step):
        tap.feed(data[at : at + step])
    tap.end()
    assert (noted.usage, noted.finish, noted.error, noted.chunks) == (usage, finish, error, chunks)


def test_notes_vectors_and_is_not_misled() -> None:
    noted = meter()
    tap = FrameTap(noted)
    tap.feed(b'{"embedding":[[0.1]],"token_num":5}')
    tap.end()
    assert noted.usage == Usage(5, 0)
    misled = meter()
    tap = FrameTap(misled)
    tap.feed(
        b'{"text":"\\"finish_reason\\": \\"stop\\", \\"error_code\\": 5","error_code":0,"finish_reason":null}\0nonsense\0'
    )
    tap.end()
    assert (misled.usage, misled.finish, misled.error) == (None, "", "")
