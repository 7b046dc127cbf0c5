"""SOURCE strings."""

from __future__ import annotations

import pytest

from trunkcall.core.errors import ServingError
from trunkcall.core.models import Source, parse_source

TABLE = {
    "pocket": Source("pocket"),
    "debug:0.05": Source("debug", "0.05"),
    "model.gguf": Source("llamacpp", "model.gguf"),
    "/a/b c/Model.GGUF": Source("llamacpp", "/a/b c/Model.GGUF"),
    "./x:y.gguf": Source("llamacpp", "./x:y.gguf"),
    "llamacpp:/a/b.gguf": Source("llamacpp", "/a/b.gguf"),
    "openai:http://h:1/v1#their": Source("openai", "http://h:1/v1", "their"),
    "openai:http://h:1/v1#their.gguf": Source("openai", "http://h:1/v1", "their.gguf"),
    "hf:org/repo:file.gguf": Source("hf", "org/repo:file.gguf"),
    "openai:http://h:1/v1": Source("openai", "http://h:1/v1"),
    "./models/llama": Source("folder", "./models/llama"),
    "../x": Source("folder", "../x"),
    "..": Source("folder", ".."),
    ".": Source("folder", "."),
    "~/models/llama-3.1#x": Source("folder", "~/models/llama-3.1#x"),
    "/a/b c:d": Source("folder", "/a/b c:d"),
    "/a/b.GGUF": Source("llamacpp", "/a/b.GGUF"),
    "folder:x": Source("folder", "x"),
    ".hidden": Source(".hidden"),
    "org/repo": Source("org/repo"),
}


@pytest.mark.parametrize("text", TABLE)
def test_source(text: str) -> None:
    assert parse_source(text) == TABLE[text]


@pytest.mark.parametrize("text", ["pocket", "debug:0.05", "openai:http://h:1/v1#their.gguf", "llamacpp:/a/b.gguf"])
def test_source_is_written_as_it_is_read(text: str) -> None:
    assert str(parse_source(text)) == text


def test_empty_source() -> None:
    with pytest.raises(ServingError) as caught:
        parse_source("  ")
    assert caught.value.kind == "bad_request"
