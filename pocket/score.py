"""Score the shipped GGUF file on the hand-written prompts, none of which the corpus contains."""

import argparse
import json
import re
import subprocess
import sys
from collections.abc import Sequence
from itertools import islice
from pathlib import Path

from pocket.corpus import documents, held_out, normal

_HERE = Path(__file__).parent
_SHIPPED = _HERE.parent / "src" / "trunkcall" / "pocket" / "pocket.gguf"
Prompt = str | Sequence[dict[str, str]] | dict[str, str]


def answers(model: Path, prompts: Sequence[Prompt]) -> list[str]:
    """Greedy answers from llama.cpp in a child process."""
    done = subprocess.run(
        [sys.executable, "-m", "pocket.ask", str(model)],
        input=json.dumps(prompts),
        capture_output=True,
        text=True,
        check=True,
        timeout=300,
        cwd=_HERE.parent,
    )
    read: list[str] = json.loads(done.stdout)
    return read


def seen_in_corpus(seed: int, count: int) -> int:
    """How many held-out prompts turn up in so many documents; the corpus leaves them out, so zero."""
    kept = held_out()
    return len(
        kept & {normal(message.text) for document in islice(documents(seed), count) for message in document.messages}
    )


def score(model: Path) -> None:
    entries = [json.loads(line) for line in (_HERE / "prompts.jsonl").read_text(encoding="utf-8").splitlines()]
    right: dict[str, list[bool]] = {"in": [], "out": []}
    for entry, answer in zip(entries, answers(model, [entry["prompt"] for entry in entries]), strict=True):
        good = re.search(entry["accept"], answer.lower(), re.DOTALL) is not None
        right[entry["scope"]].append(good)
        if not good:
            print(f"wrong ({entry['scope']}): {entry['prompt']!r} -> {answer!r}")
    for scope, marks in right.items():
        print(f"{scope}-scope: {sum(marks)} of {len(marks)}")
    print(f"held-out prompts in 20000 corpus documents: {seen_in_corpus(7, 20000)}")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("model", type=Path, nargs="?", default=_SHIPPED)
    score(parser.parse_args().model)
