"""Forms: every field arrives as it was sent, whatever it holds and however it was encoded."""

from __future__ import annotations

from urllib.parse import urlencode

import pytest
from hypothesis import given
from hypothesis import strategies as st
from protocols.kuwa_transcripts import exchanges

from trunkcall.core.errors import ServingError
from trunkcall.protocols.forms import FIELD_LIMIT, Form, emit_form, read_form

URLENCODED = b"application/x-www-form-urlencoded"
MULTIPART = b"multipart/form-data; boundary=cut"

texts = st.text(st.characters(exclude_categories=["Cs"]))


def part(name: str, value: bytes, more: str = "") -> bytes:
    return b'--cut\r\nContent-Disposition: form-data; name="%b"%b\r\n\r\n%b\r\n' % (name.encode(), more.encode(), value)


@pytest.mark.parametrize(
    ("content_type", "body", "fields"),
    [
        (URLENCODED, b"a=1&b=2&a=3", (("a", "1"), ("b", "2"), ("a", "3"))),
        (b"Application/X-WWW-Form-Urlencoded; charset=UTF-8", b"a=1", (("a", "1"),)),
        (None, b"a=b+c%20d%2Be", (("a", "b c d+e"),)),
        (URLENCODED, b"a&=b&&c=", (("a", ""), ("", "b"), ("c", ""))),
        (URLENCODED, b"a=b=c", (("a", "b=c"),)),
        (URLENCODED, b"a=%zz%4%&b=100%", (("a", "%zz%4%"), ("b", "100%"))),
        (URLENCODED, "ä=ö".encode(), (("ä", "ö"),)),
        (URLENCODED, b"a=%E4%B8&b=\xff", (("a", "\ufffd"), ("b", "\ufffd"))),
        (URLENCODED, b"", ()),
        (None, b"", ()),
        (b"application/json", b'{"a":1}', ()),
        (b"text/plain", b"a=1", ()),
        (MULTIPART, b"", ()),
        (MULTIPART, part("a", b"1") + part("a", b"2\r\n+%20") + b"--cut--\r\n", (("a", "1"), ("a", "2\r\n+%20"))),
        (MULTIPART, part("a%22b", b"") + b"--cut--", (('a"b', ""),)),
        (MULTIPART, part("a", b"\xff") + b"--cut--", (("a", "\ufffd"),)),
    ],
)
def test_fields(content_type, body, fields):
    assert read_form(content_type, body).fields == fields


def test_uploads_become_fields_where_they_are_text():
    body = (
        part("doc", "grün".encode(), '; filename="a.txt"') + part("pic", b"\x89PNG", '; filename="b.png"') + b"--cut--"
    )
    form = read_form(MULTIPART, body)
    assert form.fields == (("doc", "grün"),)
    assert form.files == ("pic",)


@pytest.mark.parametrize(
    ("content_type", "body", "says"),
    [
        (b"multipart/form-data", b"x", "boundary"),
        (MULTIPART, b"no parts", "not valid multipart"),
        (MULTIPART, part("a", b"1"), "not valid multipart"),
        (MULTIPART, b"--cut\r\nX: y\r\n\r\n1\r\n--cut--", "not valid multipart"),
        (MULTIPART, b'--cut\r\nContent-Disposition: form-data; name="\xff"\r\n\r\n1\r\n--cut--', "not valid multipart"),
        (MULTIPART, part("a", b"1") * (FIELD_LIMIT + 1) + b"--cut--", "not valid multipart"),
        (URLENCODED, b"a=1&" * FIELD_LIMIT, "more than 1000 fields"),
    ],
)
def test_bad_forms_are_refused(content_type, body, says):
    with pytest.raises(ServingError, match=says) as caught:
        read_form(content_type, body)
    assert caught.value.kind == "bad_request"


@given(st.lists(st.tuples(texts, texts), max_size=5))
def test_what_others_encode_is_read(pairs):
    assert read_form(URLENCODED, urlencode(pairs).encode()).fields == tuple(pairs)


@given(st.dictionaries(texts, texts, max_size=5))
def test_round_trip(fields):
    assert read_form(None, emit_form(fields)).fields == tuple(fields.items())


@given(st.binary())
def test_any_bytes_are_a_form_or_an_error(body):
    for content_type in (None, MULTIPART):
        try:
            read_form(content_type, body)
        except ServingError as error:
            assert error.kind == "bad_request"


@pytest.mark.parametrize("piece", ['{"isbot": false, "msg": "hello"} ', "中文"])
def test_a_long_history_is_no_problem(piece):
    value = piece * 100_000
    body = emit_form({"input": value, "name": "x"})
    assert read_form(URLENCODED, body).get("input") == value
    multipart = part("input", value.encode()) + b"--cut--"
    assert read_form(MULTIPART, multipart).get("input") == value


def test_first_values_count_and_secrets_do_not_show():
    form = Form((("a", "1"), ("openai_token", "sk-secret"), ("a", "2")))
    assert form.first() == {"a": "1", "openai_token": "sk-secret"}
    assert list(form.first()) == ["a", "openai_token"]
    assert (form.get("a"), form.get("b"), form.get("b", "c")) == ("1", None, "c")
    assert form and not Form() and not Form(files=("pic",))
    assert "sk-secret" not in repr(form)


@pytest.mark.parametrize("file", ["kernel", "executor", "executor_010", "executor_mirror"])
def test_recorded_requests(file):
    """Those that the real Kuwa found empty are empty to us; the others have their fields."""
    for entry in exchanges(file):
        form = read_form(entry.headers.get("content-type"), entry.body)
        assert bool(form) == bool(entry.body and entry.about != "JSON")
        if entry.path == "/v1.0/worker/schedule":
            assert list(form.first()) == ["name", "history_id", "user_id"]
