"""Our own headers, whatever names a client's fields have."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trunkcall.protocols.headers import DROPPED, dropped_header, is_strict, read_dropped


@pytest.mark.parametrize(
    ("value", "strict"), [(None, False), (b"", False), (b"0", False), (b"1", True), (b"TRUE", True), (b"yes", True)]
)
def test_strict(value: bytes | None, strict: bool) -> None:
    assert is_strict(value) == strict


def test_dropped_names_are_read_as_they_were_written() -> None:
    name, value = dropped_header(["store", "messages[0].name"])
    assert (name, value) == (DROPPED, b"store, messages[0].name")
    assert read_dropped(value) == ("store", "messages[0].name")


@given(st.lists(st.text(min_size=1), min_size=1))
def test_any_name_makes_one_sound_header_with_as_many_names(names: list[str]) -> None:
    _, value = dropped_header(names)
    assert all(0x20 <= byte < 0x7F for byte in value)
    assert len(read_dropped(value)) == len(names)
