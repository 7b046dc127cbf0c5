"""Tokens of a text and where they stand in it."""

from __future__ import annotations

import json

import pytest

from trunkcall.protocols.tgi_tokenize import emit_chat_tokenized, emit_tokenized, read_tokenized, tokenized

CASES = [
    ("Hi ☃", [b"Hi", b" ", b"\xe2", b"\x98\x83"], [("Hi", 0, 2), (" ", 2, 3), ("", 3, 4), ("☃", 4, 6)]),
    ("Hi", [b"<s>", b"Hi"], [("", 0, 0), ("Hi", 0, 2)]),
    ("Hi you", [b"<s>", b" Hi", b" you", b"</s>"], [("", 0, 0), ("Hi", 0, 2), (" you", 2, 6), ("", 6, 6)]),
    (" Hi", [b"<s>", b" Hi"], [("", 0, 0), (" Hi", 0, 3)]),
    ("<s>Hi", [b"<s>", b"<s>", b"Hi"], [("<s>", 0, 3), ("", 3, 3), ("Hi", 3, 5)]),
    # Pieces that are not the text's own, such as those of a normalized one, stand one after the other.
    ("e\u0301", ["é".encode()], [("é", 0, 2)]),
    (None, [b"<s>", b"Hi"], [("<s>", 0, 3), ("Hi", 3, 5)]),
]


@pytest.mark.parametrize(("text", "pieces", "told"), CASES)
def test_where_tokens_stand(text: str | None, pieces: list[bytes], told: list[tuple[str, int, int]]) -> None:
    made = tokenized(range(len(pieces)), pieces, text)
    assert [(token.text, token.start, token.stop) for token in made] == told
    back = read_tokenized(emit_tokenized(made), text)
    assert (back.count, back.ids) == (len(pieces), tuple(range(len(pieces))))
    if text is not None and text.isascii():
        assert b"".join(back.pieces or ()) == text.encode()


def test_the_text_of_a_conversation() -> None:
    told = json.loads(emit_chat_tokenized(tokenized((1, 2), (b"<s>", b"Hi"))))
    assert (told["templated_text"], len(told["tokenize_response"])) == ("<s>Hi", 2)
