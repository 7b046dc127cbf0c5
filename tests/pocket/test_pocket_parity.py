"""The Hugging Face folder and the GGUF file of the pocket model give the same greedy text."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from trunkcall.pocket import gguf_path

_ROOT = Path(__file__).parents[2]
_ODD = (
    "👋",
    "😀 hello 😀",
    "What is 🍕?",
    "🇫🇷 capital",
    "👩‍👩‍👧‍👦",
    "你好",
    "你是谁？",
    "日本の首都はどこですか",
    "안녕하세요",
    "Привет, как дела?",
    "مرحبا",
    "שלום",
    "नमस्ते",
    "สวัสดี",
    "Γειά σου",
    "cafe\u0301 or café",
    "naïve façade",
    "  spaces   inside  ",
    "line one\nline two\n\nline three",
    "tab\tand\rreturn",
    "don't, can't, we'll, I'D",
    "1234567890",
    "3.14159 + 2",
    "___---***",
    "<b>html</b> &amp;",
    "https://example.com/a?b=c#d",
    "def f(x):\n    return x",
    "ÀÉÎÕÜ ßæøå",
    "½ ² ™ €",
    "\u200bzero width",
    "a" * 100,
    "ALL CAPITALS?",
    "tell me a story about a 🐉",
    "What is the capital of côte d'ivoire?",
)
_SYSTEM = {"role": "system", "content": "You are a helpful assistant."}
_TALKS = tuple(
    [
        _SYSTEM,
        {"role": "user", "content": f"My name is {name}."},
        {"role": "assistant", "content": f"Nice to meet you, {name}! How can I help you?"},
        {"role": "user", "content": "What is my name?"},
    ]
    for name in ("Anna", "Zoë", "Иван", "小明")
)


@pytest.mark.slow
@pytest.mark.timeout(600)
@pytest.mark.filterwarnings("default")
def test_same_text_from_transformers_and_llama_cpp() -> None:
    torch = pytest.importorskip("torch", reason="PARITY NOT CHECKED: install torch and transformers")
    transformers = pytest.importorskip("transformers", reason="PARITY NOT CHECKED: install torch and transformers")
    pytest.importorskip("xllamacpp", reason="PARITY NOT CHECKED: install xllamacpp")
    written = [
        json.loads(line)["prompt"]
        for line in (_ROOT / "pocket" / "prompts.jsonl").read_text(encoding="utf-8").splitlines()
    ]
    talks = [[{"role": "user", "content": prompt}] for prompt in (*written, *_ODD)] + list(_TALKS)
    assert len(talks) >= 60
    done = subprocess.run(
        [sys.executable, "-m", "pocket.ask", str(gguf_path())],
        input=json.dumps(talks),
        capture_output=True,
        text=True,
        check=True,
        timeout=300,
        cwd=_ROOT,
    )
    torch.set_num_threads(1)
    tokenizer = transformers.AutoTokenizer.from_pretrained(_ROOT / "pocket" / "hf")
    # float32 arithmetic on the float16 weights, as llama.cpp does on a CPU.
    model = transformers.AutoModelForCausalLM.from_pretrained(_ROOT / "pocket" / "hf", dtype=torch.float32)
    different = []
    for talk, theirs in zip(talks, json.loads(done.stdout), strict=True):
        ids = tokenizer.apply_chat_template(talk, add_generation_prompt=True, return_tensors="pt", return_dict=True)[
            "input_ids"
        ]
        made = model.generate(ids, attention_mask=torch.ones_like(ids), max_new_tokens=256, do_sample=False)
        ours = tokenizer.decode(made[0, ids.shape[1] :], skip_special_tokens=True)
        if ours != theirs:
            different.append((talk[-1]["content"], ours, theirs))
    assert not different
