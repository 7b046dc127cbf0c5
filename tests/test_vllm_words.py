"""What vLLM's words mean here."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest

from trunkcall.core.errors import ServingError
from trunkcall.core.models import Machine, ModelSettings, parse_source
from trunkcall.vllm_words import env_of, plan_of, source_of, translate


@pytest.mark.parametrize(
    ("model", "revision", "source"),
    [
        ("pocket", "", "pocket"),
        ("debug", "", "debug"),
        ("m/model.gguf", "", "m/model.gguf"),
        ("facebook/opt-125m", "", "hf:facebook/opt-125m"),
        ("gpt2", "", "hf:gpt2"),
        ("facebook/opt-125m", "main", "hf:facebook/opt-125m@main"),
        ("hf:org/repo:f.gguf", "", "hf:org/repo:f.gguf"),
        ("openai:http://h/v1#m", "", "openai:http://h/v1#m"),
        ("./here", "", "./here"),
        ("/not/there", "", "/not/there"),
    ],
)
def test_models_become_sources(model: str, revision: str, source: str) -> None:
    assert source_of(model, revision) == source


def test_a_folder_wins_over_a_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "org" / "name").mkdir(parents=True)
    monkeypatch.chdir(tmp_path)
    assert source_of("org/name") == str(tmp_path / "org" / "name")
    assert parse_source(source_of("org/name")).scheme == "folder"


@pytest.mark.parametrize(("model", "revision"), [("", ""), ("pocket", "v1"), ("./here", "v1")])
def test_what_cannot_be_meant_is_refused(model: str, revision: str) -> None:
    with pytest.raises(ServingError) as caught:
        source_of(model, revision)
    assert caught.value.kind == "bad_request"


@pytest.mark.parametrize(
    ("word", "value", "vllm", "transformers", "llamacpp"),
    [
        ("dtype", "half", {"dtype": "float16"}, {"dtype": "float16"}, None),
        ("dtype", "float", {"dtype": "float32"}, {"dtype": "float32"}, None),
        ("dtype", "bfloat16", {"dtype": "bfloat16"}, {"dtype": "bfloat16"}, None),
        ("dtype", "auto", {}, {}, {}),
        ("tensor_parallel_size", 2, {"tensor_parallel": 2}, None, None),
        ("tensor_parallel_size", 1, {}, {}, {}),
        ("pipeline_parallel_size", 2, {"pipeline_parallel": 2}, None, None),
        ("gpu_memory_utilization", 0.5, {"memory_share": 0.5}, None, None),
        ("max_model_len", 99, {"context": 99}, {"context": 99}, {"context": 99}),
        ("max_num_seqs", 3, {"slots": 3}, {"slots": 3}, {"slots": 3}),
        ("seed", 0, {"seed": 0}, None, {"seed": 0}),
        ("quantization", "awq", {"quantization": "awq"}, None, None),
        ("trust_remote_code", True, {"trust_remote_code": True}, {"trust_remote_code": True}, None),
        ("trust_remote_code", False, {}, {}, {}),
        ("tokenizer", "t", {"args": ["--tokenizer", "t"]}, None, None),
        ("tokenizer", None, {}, {}, {}),
        ("tokenizer_mode", "auto", {}, {}, {}),
        ("block_size", 16, {"args": ["--block-size", "16"]}, None, None),
        ("load_format", "npcache", {"args": ["--load-format", "npcache"]}, None, None),
        ("enforce_eager", True, {"args": ["--enforce-eager"]}, None, None),
        ("disable_log_stats", True, {"args": ["--disable-log-stats"]}, None, None),
    ],
)
def test_each_word_for_each_engine(word: str, value: Any, vllm: Any, transformers: Any, llamacpp: Any) -> None:
    for engine, expected in (("vllm", vllm), ("transformers", transformers), ("llamacpp", llamacpp), ("", None)):
        translated = translate({word: value}, engine)
        if expected is None and vllm:
            assert (translated.options, translated.idle) == ({}, (word,)), engine
        else:
            assert (translated.options, translated.idle) == (expected or {}, ()), engine


def test_downloads_go_where_they_were_sent() -> None:
    words = {"download_dir": "~/models"}
    assert env_of(words) == {"HF_HUB_CACHE": os.path.expanduser("~/models")}
    assert env_of({}) == env_of({"download_dir": None}) == {}
    assert all(translate(words, engine).idle == () for engine in ("vllm", "transformers", "llamacpp", ""))


@pytest.mark.parametrize(("source", "engine"), [("pocket", "llamacpp"), ("vllm:org/name", "vllm"), ("debug", None)])
def test_a_scheme_that_is_an_engine_needs_no_look(source: str, engine: str | None) -> None:
    spec = plan_of(ModelSettings(name="m", sources=(parse_source(source),)), Machine(1, 1))
    assert (spec.engine if spec else None) == engine


def test_a_folder_is_looked_at(tmp_path: Path) -> None:
    with pytest.raises(ServingError, match="not a model folder"):
        plan_of(ModelSettings(name="m", sources=(parse_source(str(tmp_path)),)), Machine(1, 2**34))
