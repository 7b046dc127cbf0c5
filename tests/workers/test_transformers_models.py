"""Models of many kinds, with random weights: batched they say what transformers itself makes them say."""

from __future__ import annotations

from typing import Any

import pytest
from transformers_child import SMALL

torch = pytest.importorskip("torch", reason="MODELS NOT CHECKED: install trunkcall[transformers]")
transformers = pytest.importorskip("transformers", reason="MODELS NOT CHECKED: install trunkcall[transformers]")

from trunkcall.workers.transformers_layout import Piece  # noqa: E402
from trunkcall.workers.transformers_passes import Passes, best_passes  # noqa: E402

pytestmark = [pytest.mark.slow, pytest.mark.timeout(180), pytest.mark.filterwarnings("default")]

PROMPTS = {0: list(range(5, 30)), 1: [9, 8, 7], 3: list(range(100, 112))}
"""By slot; one slot between them stays empty."""
TOKENS = 12
ALIBI = {"hidden_size": 64, "n_layer": 2, "n_head": 4, "vocab_size": 2048}
LONG_ROPE = {
    "rope_type": "longrope", "rope_theta": 10000.0, "short_factor": [1.0] * 8, "long_factor": [2.0] * 8,
    "original_max_position_embeddings": 20,
}  # fmt: skip

CASES = [
    ("llama", SMALL, True),
    ("qwen2", SMALL, True),
    ("qwen3", SMALL, True),
    ("qwen3_moe", {**SMALL, "num_experts": 4, "num_experts_per_tok": 2, "moe_intermediate_size": 32}, True),
    ("mistral", {**SMALL, "sliding_window": 8}, True),
    ("gemma3_text", {**SMALL, "sliding_window": 8, "layer_types": ["sliding_attention", "full_attention"]}, True),
    ("gpt2", {"n_embd": 64, "n_layer": 2, "n_head": 4, "vocab_size": 2048, "n_positions": 256}, True),
    ("gpt_neox", SMALL, True),
    ("phi3", {**SMALL, "rope_parameters": LONG_ROPE}, False),
    ("gemma2", {**SMALL, "layer_types": ["sliding_attention", "full_attention"], "sliding_window": 8}, False),
    ("bloom", ALIBI, False),
    ("mamba", {"hidden_size": 64, "num_hidden_layers": 2, "vocab_size": 2048, "state_size": 8}, False),
]


def batched(passes: Passes) -> dict[int, list[int]]:
    """Greedy answers to all prompts, read in pieces of at most seven tokens where they may be split."""
    said: dict[int, list[int]] = {slot: [] for slot in PROMPTS}
    rest = {slot: list(prompt) for slot, prompt in PROMPTS.items()}
    done = dict.fromkeys(PROMPTS, 0)
    while any(len(answer) < TOKENS for answer in said.values()):
        pieces = []
        for slot, tokens in rest.items():
            count = min(7, len(tokens)) if passes.together else len(tokens)
            pieces.append(Piece(slot, done[slot], tuple(tokens[:count]), count == len(tokens)))
        pieces.sort(key=lambda piece: (len(piece.tokens) > 1, piece.slot))
        groups = [pieces] if passes.together else [[piece] for piece in pieces]
        for group in groups:
            chosen = passes.logits(group).argmax(-1).tolist()
            for piece in group:
                del rest[piece.slot][: len(piece.tokens)]
                done[piece.slot] += len(piece.tokens)
                if piece.chosen:
                    token = chosen.pop(0)
                    said[piece.slot].append(token)
                    rest[piece.slot].append(token)
    return {slot: answer[:TOKENS] for slot, answer in said.items()}


@pytest.mark.parametrize(("kind", "fields", "together"), CASES, ids=[kind for kind, _, _ in CASES])
def test_the_same_greedy_tokens(kind: str, fields: dict[str, Any], together: bool) -> None:
    torch.manual_seed(1)
    model = transformers.AutoModelForCausalLM.from_config(transformers.AutoConfig.for_model(kind, **fields)).eval()
    expected = {}
    for slot, prompt in PROMPTS.items():
        ids = torch.tensor([prompt])
        options = {"max_new_tokens": TOKENS, "min_new_tokens": TOKENS, "do_sample": False, "pad_token_id": 0}
        made = model.generate(ids, attention_mask=torch.ones_like(ids), eos_token_id=None, **options)
        expected[slot] = made[0, len(prompt) :].tolist()
    with torch.inference_mode():
        passes, reason = best_passes(model, 4, 64)
        assert (passes.together, reason == "") == (together, together), reason
        assert batched(passes) == expected
