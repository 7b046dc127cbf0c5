"""Token ids as text, by a stand-in for tiktoken, whose real encodings come from the Internet."""

from __future__ import annotations

import sys
from types import SimpleNamespace
from typing import Any

import pytest

from trunkcall.apis.fastchat_token_ids import texts_of
from trunkcall.core.errors import ServingError

pytestmark = pytest.mark.anyio

WORDS = {1: "hello", 2: " world"}


@pytest.fixture
def tiktoken(monkeypatch: pytest.MonkeyPatch) -> SimpleNamespace:
    def encoding(name: str) -> Any:
        return SimpleNamespace(name=name, decode=lambda ids: name[0] + "".join(WORDS[id] for id in ids))

    def for_model(model: str) -> Any:
        if model != "gpt-4":
            raise KeyError(model)
        return encoding("own")

    made = SimpleNamespace(encoding_for_model=for_model, get_encoding=encoding)
    monkeypatch.setitem(sys.modules, "tiktoken", made)
    return made


@pytest.mark.parametrize(("model", "text"), [("gpt-4", "ohello world"), ("vicuna", "chello world")])
async def test_the_models_encoding_or_the_usual_one(tiktoken: SimpleNamespace, model: str, text: str) -> None:
    assert await texts_of([[1, 2], []], model, "prompt") == (text, text[0])


async def test_an_id_that_is_not_there(tiktoken: SimpleNamespace) -> None:
    with pytest.raises(ServingError, match="input: has an id that the encoding cl100k_base does not have") as caught:
        await texts_of([[3]], "vicuna", "input")
    assert (caught.value.kind, caught.value.param) == ("bad_request", "input")


@pytest.mark.parametrize("error", [OSError("no network"), ValueError("hash")])
async def test_an_encoding_that_cannot_be_had(tiktoken: SimpleNamespace, error: Exception) -> None:
    def fail(name: str) -> None:
        raise error

    tiktoken.get_encoding = fail
    with pytest.raises(ServingError, match="could not fetch its encoding") as caught:
        await texts_of([[1]], "vicuna", "prompt")
    assert caught.value.kind == "unsupported"


async def test_without_the_package_the_remedy_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "tiktoken", None)
    with pytest.raises(ServingError, match="pip install tiktoken") as caught:
        await texts_of([[1]], "vicuna", "prompt")
    assert (caught.value.kind, caught.value.param) == ("unsupported", "prompt")
