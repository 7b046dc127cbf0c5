"""Train the pocket model on its generated corpus for a fixed time on one CPU thread."""

import argparse
import os
import time
from itertools import chain, islice
from pathlib import Path

os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")

import torch
from tokenizers import Tokenizer
from torch.nn import functional
from transformers import GenerationConfig, LlamaConfig, LlamaForCausalLM

from pocket.batches import batches
from pocket.corpus import documents
from pocket.muon import Muon
from pocket.text import END_OF_TEXT, TURN_END, number_of, save_tokenizer, train_tokenizer, with_tool_marks

_VOCABULARY, _CONTEXT = 2048, 1024
_ROW, _ROWS, _LONG_EVERY = 320, 8, 10
_WARM_UP = 0.02


def fresh_tokenizer(seed: int) -> Tokenizer:
    sample = islice(documents(seed), 40000)
    return train_tokenizer(chain.from_iterable([d.plain, *(m.text for m in d.messages)] for d in sample), _VOCABULARY)


def build(tokenizer: Tokenizer) -> LlamaForCausalLM:
    end, stop = number_of(tokenizer, END_OF_TEXT), number_of(tokenizer, TURN_END)
    config = LlamaConfig(
        vocab_size=tokenizer.get_vocab_size(),
        hidden_size=192,
        intermediate_size=512,
        num_hidden_layers=6,
        num_attention_heads=6,
        num_key_value_heads=6,
        head_dim=32,
        max_position_embeddings=_CONTEXT,
        rms_norm_eps=1e-5,
        rope_parameters={"rope_type": "default", "rope_theta": 10000.0},
        tie_word_embeddings=True,
        bos_token_id=None,
        eos_token_id=stop,
        pad_token_id=end,
    )
    model = LlamaForCausalLM(config)
    model.generation_config = GenerationConfig(
        do_sample=False, bos_token_id=None, eos_token_id=[stop, end], pad_token_id=end, max_new_tokens=256
    )
    return model


def loss_of(model: LlamaForCausalLM, ids: torch.Tensor, weights: torch.Tensor) -> torch.Tensor:
    """Weighted mean; the vocabulary is scored only where an answer is predicted."""
    hidden = model.model(input_ids=ids[:, :-1], use_cache=False).last_hidden_state
    counted = weights[:, 1:] > 0
    losses = functional.cross_entropy(model.lm_head(hidden[counted]), ids[:, 1:][counted], reduction="none")
    share = weights[:, 1:][counted]
    return (losses * share).sum() / share.sum()


def pace(done: float, hold: float) -> float:
    """The share of the full learning rate at this share of the time: warm up, hold, fall to almost nothing."""
    return min(1.0, done / _WARM_UP + 0.01, max(0.01, (1 - done) / (1 - hold)))


def save(model: LlamaForCausalLM, tokenizer: Tokenizer, folder: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    model.save_pretrained(folder)
    save_tokenizer(tokenizer, folder, _CONTEXT)


def train(folder: Path, minutes: float, seed: int, rate: float, hold: float, start: Path | None) -> None:
    """``start`` is a trained folder to go on from; give another seed then, so that the corpus is new."""
    torch.set_num_threads(1)
    torch.manual_seed(seed)
    if start is None:
        tokenizer = fresh_tokenizer(seed)
        model = build(tokenizer)
    else:
        tokenizer = with_tool_marks(Tokenizer.from_file(str(start / "tokenizer.json")))
        model = LlamaForCausalLM.from_pretrained(start, dtype=torch.float32)
        model.resize_token_embeddings(tokenizer.get_vocab_size())
    matrices = [param for name, param in model.named_parameters() if param.ndim == 2 and ".layers." in name]
    others = [param for name, param in model.named_parameters() if not (param.ndim == 2 and ".layers." in name)]
    optimizers: list[torch.optim.Optimizer] = [
        Muon(matrices, lr=0.02 * rate),
        torch.optim.AdamW(others, lr=0.004 * rate, betas=(0.9, 0.98), weight_decay=0.0),
    ]
    rates = [group["lr"] for optimizer in optimizers for group in optimizer.param_groups]
    short, long = batches(tokenizer, seed + 1, _ROW, _ROWS), batches(tokenizer, seed + 2, _CONTEXT, 2, turns=40)
    print(f"parameters {sum(param.numel() for param in model.parameters())}", flush=True)
    began, saved, step, smooth = time.monotonic(), 0.0, 0, 4.0
    while (passed := time.monotonic() - began) < minutes * 60:
        for optimizer, full in zip(optimizers, rates, strict=True):
            optimizer.param_groups[0]["lr"] = full * pace(passed / (minutes * 60), hold)
        loss = loss_of(model, *next(long if step % _LONG_EVERY == _LONG_EVERY - 1 else short))
        loss.backward()
        torch.nn.utils.clip_grad_norm_(others, 1.0)
        for optimizer in optimizers:
            optimizer.step()
            optimizer.zero_grad(set_to_none=True)
        step += 1
        smooth += 0.03 * (loss.item() - smooth)
        if step % 50 == 0:
            print(f"step {step} seconds {passed:.0f} loss {smooth:.3f}", flush=True)
        if passed - saved > 240:
            save(model, tokenizer, folder)
            saved = passed
    save(model, tokenizer, folder)
    print(
        f"finished: steps {step} minutes {(time.monotonic() - began) / 60:.1f} CPU minutes {time.process_time() / 60:.1f} loss {smooth:.3f}",
        flush=True,
    )


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path, help="where checkpoints and the finished model go, outside the repository")
    parser.add_argument("--minutes", type=float, default=44)
    parser.add_argument("--seed", type=int, default=7)
    parser.add_argument("--start", type=Path, help="a trained folder to go on from")
    parser.add_argument("--rate", type=float, default=0.3, help="scales the learning rates; at 1 answers stay noisy")
    parser.add_argument(
        "--hold", type=float, default=0.5, help="share of the time before the learning rates begin to fall"
    )
    chosen = parser.parse_args()
    train(chosen.folder, chosen.minutes, chosen.seed, chosen.rate, chosen.hold, chosen.start)
