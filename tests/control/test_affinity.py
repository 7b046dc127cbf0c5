"""What a call belongs to, as its protocol tells it."""

from __future__ import annotations

from typing import Any

import pytest

from trunkcall.control.affinity import Belonging
from trunkcall.control.calls import Call, EmbedCall, GenerateCall
from trunkcall.core.errors import ServingError
from trunkcall.core.ports import Response
from trunkcall.core.requests import (
    Embed,
    Generate,
    ImagePart,
    Message,
    MessagesPrompt,
    Session,
    TextPart,
    TextPrompt,
    TokenPrompt,
    Wire,
)

HI = TextPrompt(("hi", "there"))
WIRE = Wire("x", "/x", [], b"")


def refused(error: ServingError) -> Response:
    return Response(error.status, b"")


def call_of(request: Generate | Embed | ServingError, **more: Any) -> Call:
    def read() -> Any:
        if isinstance(request, ServingError):
            raise request
        return request

    if isinstance(request, Embed):
        return EmbedCall(model="m", wire=WIRE, read=read, emit=lambda vectors, asked: b"", failure=refused)
    return GenerateCall(
        model="m",
        stream=False,
        wire=WIRE,
        read=read,
        emitter=lambda asked: pytest.fail("nobody answers here"),
        failure=refused,
        fault=lambda error: b"",
        **more,
    )


SESSIONS: list[tuple[str, Generate | Embed | ServingError, bytes | None, str]] = [
    ("the header", Generate(model="m", prompt=HI, user="me"), b"talk", "talk"),
    ("the conversation", Generate(model="m", prompt=HI, session=Session("talk", "me")), None, "talk"),
    ("the user of the session", Generate(model="m", prompt=HI, session=Session("", "me")), None, "me"),
    ("the user", Generate(model="m", prompt=HI, user="me"), None, "me"),
    ("the user of vectors", Embed(model="m", inputs=("a",), user="me"), None, "me"),
    ("the key", Generate(model="m", prompt=HI), None, "key"),
    ("the key of vectors", Embed(model="m", inputs=("a",)), b"", "key"),
    ("the key of what cannot be read", ServingError("bad_request", "x"), None, "key"),
]


@pytest.mark.parametrize(("what", "request_", "header", "session"), SESSIONS, ids=[row[0] for row in SESSIONS])
def test_session(what: str, request_: Generate | Embed | ServingError, header: bytes | None, session: str) -> None:
    assert Belonging(call_of(request_), header, "key").session() == session


TALK = MessagesPrompt(
    (Message("system", (TextPart("be kind"),)), Message("user", (ImagePart("data:x"), TextPart("hi"))))
)
PROMPTS: list[tuple[Generate | Embed | ServingError, str | tuple[int, ...]]] = [
    (Generate(model="m", prompt=HI), "hi"),
    (Generate(model="m", prompt=TokenPrompt(((1, 2), (3,)))), (1, 2)),
    (Generate(model="m", prompt=TALK), "system: be kind\nImagePart\nuser: hi"),
    (Embed(model="m", inputs=("a", "b")), "a"),
    (Embed(model="m", inputs=()), ""),
    (ServingError("bad_request", "x"), ""),
]


@pytest.mark.parametrize(("request_", "prompt"), PROMPTS)
def test_prompt(request_: Generate | Embed | ServingError, prompt: str | tuple[int, ...]) -> None:
    assert Belonging(call_of(request_), None, "").prompt() == prompt


def test_reading_with_effects_is_left_to_the_lane() -> None:
    request = Generate(model="m", prompt=HI)
    call = call_of(ServingError("bug", "it was read"), peek=lambda: request)
    assert Belonging(call, None, "").prompt() == "hi"
