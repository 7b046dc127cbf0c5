"""Text from tokens: whole characters, stop strings over pieces, and which tokens belong to what is shown."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trunkcall.workers.transformers_text import Alignment, Detokenizer, Stopper, begun
from trunkcall.workers.transformers_wanted import Chosen


def decode(ids: list[int]) -> str:
    """A tokenizer whose tokens are bytes."""
    return bytes(ids).decode(errors="replace")


def shown(text: str, before: bytes = b"") -> tuple[list[str], str]:
    detokenizer = Detokenizer(decode, before)
    return [detokenizer.feed(byte) for byte in text.encode()], detokenizer.flush()


@given(st.text(), st.binary(max_size=5))
def test_bytes_become_the_same_text(text: str, before: bytes) -> None:
    before = before.decode(errors="ignore").encode()
    pieces, rest = shown(text, before)
    if "\ufffd" not in text:
        assert "".join(pieces) + rest == text
        assert "\ufffd" not in "".join(pieces)


def test_a_character_comes_when_it_is_whole() -> None:
    assert shown("é😀") == (["", "é", "", "", "", "😀"], "")
    detokenizer = Detokenizer(decode, ())
    assert [detokenizer.feed(byte) for byte in "a😀".encode()[:3]] == ["a", "", ""]
    assert detokenizer.flush() == ""
    broken = Detokenizer(decode, ())
    assert "".join(broken.feed(0xFF) for _ in range(4)) == "\ufffd" * 4


def test_what_stands_before_decides_how_a_token_is_written() -> None:
    def spaced(ids: list[int]) -> str:
        return " ".join(str(one) for one in ids)

    assert Detokenizer(spaced, (7,)).feed(8) == " 8"
    assert Detokenizer(spaced, ()).feed(8) == "8"


@pytest.mark.parametrize(
    ("stops", "include", "pieces", "text", "matched"),
    [
        (["END"], False, ["a E", "N", "D b"], "a ", "END"),
        (["END"], True, ["a E", "N", "D b"], "a END", "END"),
        (["END"], False, ["a E", "N"], "a EN", None),
        (["ab", "b"], False, ["xa", "b"], "x", "ab"),
        (["b", "abc"], False, ["ab", "c"], "a", "b"),
        (["aab"], False, ["aa", "ab"], "a", "aab"),
        (["", "x"], False, ["yx"], "y", "x"),
        ([], False, ["any"], "any", None),
    ],
)
def test_stop_strings(stops: list[str], include: bool, pieces: list[str], text: str, matched: str | None) -> None:
    stopper = Stopper(stops, include=include)
    made = ""
    for piece in pieces:
        made += stopper.feed(piece)
        if stopper.matched is not None:
            break
    else:
        made += stopper.flush()
    assert (made, stopper.matched) == (text, matched)


@given(st.lists(st.text(alphabet="ab", max_size=4), max_size=8), st.text(alphabet="ab", min_size=1, max_size=4))
def test_nothing_of_a_stop_string_is_ever_shown(pieces: list[str], stop: str) -> None:
    stopper = Stopper([stop], include=False)
    made = ""
    for piece in pieces:
        made += stopper.feed(piece)
        assert stop not in made
        if stopper.matched is not None:
            break
    else:
        made += stopper.flush()
    assert made == "".join(pieces).partition(stop)[0]


@given(st.text(alphabet="ab", max_size=6), st.text(alphabet="ab", min_size=1, max_size=4))
def test_the_longest_beginning_at_the_end(text: str, word: str) -> None:
    found = begun(text, word)
    assert text.endswith(word[:found])
    assert not any(text.endswith(word[:more]) for more in range(found + 1, len(word)))


def test_tokens_go_out_with_their_first_character() -> None:
    alignment = Alignment()
    for token, text in enumerate(["ab", "", "é", "cd"]):
        alignment.add(Chosen(token), text)
    assert [chosen.token for chosen in alignment.show("a")] == [0]
    assert [chosen.token for chosen in alignment.show("bé")] == [1, 2]
    assert [chosen.token for chosen in alignment.show("")] == []
    assert [chosen.token for chosen in alignment.rest()] == [3]
    assert alignment.rest() == ()
