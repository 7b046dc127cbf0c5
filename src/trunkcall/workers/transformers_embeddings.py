"""Vectors for texts: a model's hidden states, pooled as its folder says (that of sentence-transformers) or as asked."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final, cast

import msgspec
import torch
from torch import Tensor

from trunkcall.core.errors import ServingError
from trunkcall.core.requests import Embed
from trunkcall.protocols.transformers_host import HostSettings, Pooling
from trunkcall.workers.transformers_passes import by_itself
from trunkcall.workers.transformers_words import Words

_BATCH: Final = 32
"""Inputs per pass."""
_KNOWN: Final = frozenset({"Transformer", "Pooling", "Normalize"})


class Recipe(msgspec.Struct, frozen=True):
    """How hidden states become a vector; longest: tokens of an input, 0 for the model's context."""

    pooling: Pooling
    normalized: bool = True
    longest: int = 0


class _Module(msgspec.Struct):
    type: str
    path: str


def read_recipe(settings: HostSettings) -> Recipe:
    """What a sentence-transformers folder says, or the usual for the kind of model; the option pooling wins.

    Raises ServingError (unsupported) for a folder that asks for more than pooling and normalizing.
    """
    folder = Path(settings.path)
    try:
        modules = msgspec.json.decode((folder / "modules.json").read_bytes(), type=list[_Module])
    except FileNotFoundError:
        usual: Pooling = "last" if settings.generates else "mean"
        return Recipe(settings.pooling or usual)
    kinds = {module.type.rpartition(".")[2]: module.path for module in modules}
    if unknown := sorted(kinds.keys() - _KNOWN):
        raise ServingError(
            "unsupported", f"{folder} needs the module {unknown[0]} of sentence-transformers, not known here"
        )
    longest = _read(folder / kinds.get("Transformer", "") / "sentence_bert_config.json").get("max_seq_length") or 0
    return Recipe(
        settings.pooling or _pooling(_read(folder / kinds.get("Pooling", "") / "config.json")),
        "Normalize" in kinds,
        int(longest),
    )


def _pooling(config: dict[str, Any]) -> Pooling:
    """sentence-transformers writes a flag for each kind, newer ones a name."""
    flags: dict[str, Pooling] = {
        "pooling_mode_cls_token": "cls",
        "pooling_mode_mean_tokens": "mean",
        "pooling_mode_lasttoken": "last",
    }
    names: dict[str, Pooling] = {"cls": "cls", "mean": "mean", "lasttoken": "last"}
    chosen: list[Pooling] = [kind for flag, kind in flags.items() if config.get(flag)]
    mode = config.get("pooling_mode")
    if isinstance(mode, str) and mode in names:
        chosen.append(names[mode])
    others = [flag for flag in config if flag.startswith("pooling_mode_") and config[flag] and flag not in flags]
    if len(chosen) != 1 or others:
        raise ServingError(
            "unsupported",
            "the folder asks for a pooling that is not mean, cls or last; choose one with the option pooling",
        )
    return chosen[0]


def _read(path: Path) -> dict[str, Any]:
    try:
        return msgspec.json.decode(path.read_bytes(), type=dict[str, Any])
    except FileNotFoundError:
        return {}


class Embedder:
    """Vectors of one model; `vectors` runs in the thread that owns the model."""

    def __init__(self, model: Any, words: Words, recipe: Recipe, context: int) -> None:
        self._model = model
        self._words = words
        self._recipe = recipe
        self._longest = min(recipe.longest or context, context)
        self._own = model.config._attn_implementation

    def tokens(self, request: Embed) -> list[tuple[int, ...]]:
        """The inputs as tokens.

        Raises ServingError (too_long, bad_request) that names the input.
        """
        made: list[tuple[int, ...]] = []
        for place, one in enumerate(request.inputs):
            tokens = self._words.tokens(one, special=True) if isinstance(one, str) else one
            where = f"input[{place}]" if request.batched else "input"
            if not tokens:
                raise ServingError("bad_request", f"{where}: must not be empty", param=where)
            if max(tokens) >= self._words.size:
                raise ServingError("bad_request", f"{where}: there is no token {max(tokens)}", param=where)
            if len(tokens) > self._longest:
                raise ServingError(
                    "too_long", f"{where}: {len(tokens)} tokens; this model takes {self._longest}", param=where
                )
            made.append(tokens)
        return made

    def vectors(self, inputs: Sequence[Sequence[int]]) -> list[tuple[float, ...]]:
        """One vector per input, in order; for as many inputs as `groups` puts together."""
        with by_itself(self._model, self._own):
            return self._pooled(inputs)

    def _pooled(self, inputs: Sequence[Sequence[int]]) -> list[tuple[float, ...]]:
        longest = max(len(one) for one in inputs)
        device = self._model.get_input_embeddings().weight.device
        ids = torch.zeros(len(inputs), longest, dtype=torch.long)
        seen = torch.zeros(len(inputs), longest, dtype=torch.long)
        for row, one in enumerate(inputs):
            ids[row, : len(one)] = torch.tensor(one)
            seen[row, : len(one)] = 1
        seen = seen.to(device)
        states = self._model.base_model(input_ids=ids.to(device), attention_mask=seen).last_hidden_state.float()
        made = pool(states, seen.to(states.device), self._recipe.pooling)
        if self._recipe.normalized:
            made = torch.nn.functional.normalize(made, dim=-1)
        return [tuple(one) for one in cast("list[list[float]]", made.tolist())]


def groups(inputs: Sequence[Sequence[int]]) -> list[list[int]]:
    """Which inputs, by their places, go into a pass together: those of like length, so that little is padded."""
    order = sorted(range(len(inputs)), key=lambda place: len(inputs[place]))
    return [order[begin : begin + _BATCH] for begin in range(0, len(order), _BATCH)]


def pool(states: Tensor, seen: Tensor, how: Pooling) -> Tensor:
    """(inputs, tokens, width) to (inputs, width); seen: 1 where there is a token, (inputs, tokens)."""
    match how:
        case "cls":
            return states[:, 0]
        case "mean":
            return (states * seen[..., None]).sum(1) / seen.sum(1, keepdim=True)
        case "last":
            last = seen.sum(1) - 1
            return states[torch.arange(states.shape[0], device=states.device), last]
