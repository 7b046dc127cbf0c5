"""A model's own chat template goes before what its path would have meant to FastChat."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from trunkcall.core.models import Source
from trunkcall.pocket import gguf_path
from trunkcall.protocols.fastchat import named
from trunkcall.takeover import fastchat_worker_templates
from trunkcall.takeover.fastchat_worker_templates import usual_template


def folder(place: Path, **files: str) -> Source:
    place.mkdir(parents=True)
    for name, text in files.items():
        (place / name.replace("__", ".")).write_text(text)
    return Source("folder", str(place))


@pytest.mark.parametrize(
    ("path", "template"),
    [
        ("lmsys/vicuna-7b-v1.5", "vicuna_v1.1"),
        ("LongChat-7b", "vicuna_v1.1"),
        ("x/Llama-2-7b-chat", "llama-2"),
        ("x/Meta-Llama-3-8B", "llama-3"),
        ("mistralai/Mistral-7B", "mistral"),
        ("x/mixtral-8x7b", "mistral"),
        ("x/zephyr", "zephyr"),
        ("x/gemma-2b", "gemma"),
        ("Qwen/Qwen-7B", "chatml"),
        ("chavinlo/alpaca-native", "alpaca"),
        ("Open-Orca", "orca"),
        ("some/thing", "one_shot"),
    ],
)
def test_without_a_chat_template_the_path_tells(tmp_path: Path, path: str, template: str) -> None:
    source = folder(tmp_path / "m", tokenizer_config__json="{}")
    assert usual_template(source, path) == template
    assert named(template)


@pytest.mark.parametrize(
    "files",
    [
        {"tokenizer_config__json": json.dumps({"chat_template": "{{ messages }}"})},
        {"tokenizer_config__json": json.dumps({"chat_template": [{"name": "default", "template": "x"}]})},
        {"chat_template__jinja": "x"},
    ],
)
def test_a_chat_template_of_its_own_is_better(tmp_path: Path, files: dict[str, str]) -> None:
    assert usual_template(folder(tmp_path / "m", **files), "vicuna") == ""


@pytest.mark.parametrize("text", ["", "{", "[]", '{"chat_template": null}'])
def test_a_broken_file_is_no_template(tmp_path: Path, text: str) -> None:
    assert usual_template(folder(tmp_path / "m", tokenizer_config__json=text), "vicuna") == "vicuna_v1.1"


@pytest.mark.parametrize(
    ("source", "path", "template"),
    [
        (Source("hf", "lmsys/vicuna-7b"), "lmsys/vicuna-7b", "vicuna_v1.1"),
        (Source("hf", "x/llama-2-chat"), "x/llama-2-chat", ""),
        (Source("hf", "not a name"), "not a name", ""),
        (Source("hf", "x/y"), "x/y", ""),
        (Source("openai", "http://h/v1"), "openai:http://h/v1", ""),
        (Source("pocket"), "pocket", ""),
        (Source("llamacpp", "/no/such.gguf"), "/no/such.gguf", ""),
    ],
)
def test_what_cannot_be_seen_is_left_to_the_engine(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, source: Source, path: str, template: str
) -> None:
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path))
    assert usual_template(source, path) == template


def test_a_model_in_the_hubs_cache_is_seen(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    place = folder(tmp_path / "m", tokenizer_config__json='{"chat_template":"x"}')
    monkeypatch.setattr(fastchat_worker_templates.hub, "cached", lambda *_: Path(place.target))
    assert usual_template(Source("hf", "lmsys/vicuna-7b"), "lmsys/vicuna-7b") == ""


def test_gguf(tmp_path: Path) -> None:
    data = gguf_path().read_bytes()
    bare = tmp_path / "vicuna.gguf"
    bare.write_bytes(data.replace(b"tokenizer.chat_template", b"tokenizer.chat_templatX"))
    assert usual_template(Source("llamacpp", str(gguf_path())), "vicuna.gguf") == ""
    assert usual_template(Source("llamacpp", str(bare)), "vicuna.gguf") == "vicuna_v1.1"
    assert usual_template(Source("folder", str(tmp_path)), "x") == "one_shot"
    empty = tmp_path / "empty.gguf"
    empty.write_bytes(b"")
    assert usual_template(Source("llamacpp", str(empty)), "x") == ""
