"""Score the shipped GGUF file on the hand-written prompts, none of which the corpus contains."""

import argparse
import json
import re
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

from pocket.corpus import documents, held_out, normal

_HERE = Path(__file__).parent
SHIPPED = _HERE.parent / "src" / "trunkcall" / "pocket" / "pocket.gguf"


@dataclass(frozen=True)
class Mark:
    """One prompt with its answer; ``scope`` is "in" or "out" of what the model was taught."""

    scope: str
    prompt: str
    answer: str
    good: bool


def answers(model: Path, asked: Sequence[Any]) -> list[Any]:
    """Greedy answers from llama.cpp in a child process; ``pocket.ask.answer`` says what can be asked."""
    done = subprocess.run(
        [sys.executable, "-m", "pocket.ask", str(model)],
        input=json.dumps(asked),
        capture_output=True,
        text=True,
        check=True,
        timeout=300,
        cwd=_HERE.parent,
    )
    read: list[Any] = json.loads(done.stdout)
    return read


def seen_in_corpus(seed: int, count: int) -> int:
    """How many held-out prompts turn up in so many documents; the corpus leaves them out, so zero."""
    kept = held_out()
    return len(
        kept
        & {
            normal(message.text)
            for document in islice(documents(seed), count)
            for message in document.messages
            if message.role == "user"
        }
    )


def accepted(pattern: str, answer: str) -> bool:
    """Whether a prompt's pattern of accepted answers is found; patterns may have capitals, answers differ in them."""
    return re.search(pattern, answer, re.DOTALL | re.IGNORECASE) is not None


def marks(model: Path) -> list[Mark]:
    """Every hand-written prompt, asked of the model and compared with the pattern of accepted answers."""
    entries = [json.loads(line) for line in (_HERE / "prompts.jsonl").read_text(encoding="utf-8").splitlines()]
    given = answers(model, [entry["prompt"] for entry in entries])
    return [
        Mark(entry["scope"], entry["prompt"], text, accepted(entry["accept"], text))
        for entry, text in zip(entries, given, strict=True)
    ]


def score(model: Path, show: bool) -> None:
    found = marks(model)
    for scope in ("in", "out"):
        of_scope = [mark for mark in found if mark.scope == scope]
        for mark in of_scope:
            if show and not mark.good:
                print(f"wrong ({scope}): {mark.prompt!r} -> {mark.answer!r}")
        print(f"{scope}-scope: {sum(mark.good for mark in of_scope)} of {len(of_scope)}")
    print(f"held-out prompts in 20000 corpus documents: {seen_in_corpus(7, 20000)}")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("model", type=Path, nargs="?", default=SHIPPED)
    parser.add_argument(
        "--show", action="store_true", help="print the wrong ones; not while the corpus is being changed"
    )
    chosen = parser.parse_args()
    score(chosen.model, chosen.show)
