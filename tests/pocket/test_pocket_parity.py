"""The Hugging Face folder and the GGUF file of the pocket model give the same greedy text."""

import json
from pathlib import Path
from typing import Any

import pytest

from pocket.score import answers
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


_OFFERED: list[dict[str, Any]] = [
    {
        "type": "function",
        "function": {
            "name": "get_weather",
            "description": "The weather of a city",
            "parameters": {
                "type": "object",
                "properties": {"city": {"type": "string"}, "unit": {"type": "string"}},
                "required": ["city"],
            },
        },
    },
    {
        "type": "function",
        "function": {
            "name": "add",
            "parameters": {
                "type": "object",
                "properties": {"a": {"type": "integer"}, "b": {"type": "integer"}},
                "required": ["a", "b"],
            },
        },
    },
    {"type": "function", "function": {"name": "now", "parameters": {"type": "object", "properties": {}}}},
]
_CALL = {"id": "1", "type": "function", "function": {"name": "get_weather", "arguments": '{"city": "Zürich"}'}}
_WITH_TOOLS: tuple[list[dict[str, Any]], ...] = (
    [{"role": "user", "content": "What is the weather in Paris?"}],
    [_SYSTEM, {"role": "user", "content": "weather in são paulo"}],
    [{"role": "user", "content": "What is 17 + 25?"}],
    [_SYSTEM, {"role": "user", "content": "Who are you?"}],
    [
        _SYSTEM,
        {"role": "user", "content": "What is the weather in Zürich?"},
        {"role": "assistant", "content": None, "tool_calls": [_CALL]},
        {"role": "tool", "tool_call_id": "1", "content": '{"temperature": 18, "condition": "sunny"}'},
    ],
)


@pytest.mark.slow
@pytest.mark.timeout(600)
@pytest.mark.filterwarnings("default")
def test_same_text_from_transformers_and_llama_cpp() -> None:
    torch = pytest.importorskip("torch", reason="PARITY NOT CHECKED: install torch and transformers")
    transformers = pytest.importorskip("transformers", reason="PARITY NOT CHECKED: install torch and transformers")
    pytest.importorskip("xllamacpp", reason="PARITY NOT CHECKED: install xllamacpp")
    torch.set_num_threads(1)
    tokenizer = transformers.AutoTokenizer.from_pretrained(_ROOT / "pocket" / "hf")
    # float32 arithmetic on the float16 weights, as llama.cpp does on a CPU.
    model = transformers.AutoModelForCausalLM.from_pretrained(_ROOT / "pocket" / "hf", dtype=torch.float32)

    def rendered(talk: list[dict[str, Any]], tools: list[dict[str, Any]] | None) -> str:
        return tokenizer.apply_chat_template(talk, tools=tools, add_generation_prompt=True, tokenize=False)

    def said(prompt: str) -> str:
        ids = tokenizer(prompt, add_special_tokens=False, return_tensors="pt")["input_ids"]
        made = model.generate(ids, attention_mask=torch.ones_like(ids), max_new_tokens=256, do_sample=False)
        return tokenizer.decode(made[0, ids.shape[1] :], skip_special_tokens=True)

    written = [
        json.loads(line)["prompt"]
        for line in (_ROOT / "pocket" / "prompts.jsonl").read_text(encoding="utf-8").splitlines()
    ]
    talks = [[{"role": "user", "content": prompt}] for prompt in (*written, *_ODD)] + list(_TALKS)
    assert len(talks) >= 60
    prompts = [rendered(talk, None) for talk in talks]
    with_tools = [rendered(talk, _OFFERED) for talk in _WITH_TOOLS]
    theirs = answers(
        gguf_path(),
        [
            *talks,
            *({"messages": talk, "tools": _OFFERED, "rendered": True} for talk in _WITH_TOOLS),
            *({"plain": prompt} for prompt in with_tools),
        ],
    )
    ours = [*map(said, prompts), *with_tools, *map(said, with_tools)]
    assert sum("<tool_call>" in text for text in ours[-len(with_tools) :]) >= 2
    assert [pair for pair in zip(ours, theirs, strict=True) if pair[0] != pair[1]] == []
