"""Forward passes of a language model over several requests: together in one pass, or each by itself."""

from __future__ import annotations

import inspect
from collections.abc import Generator, Sequence
from contextlib import contextmanager
from typing import Any, Final, Protocol

import torch
import transformers
from torch import Tensor

from trunkcall.core.errors import ServingError
from trunkcall.workers.transformers_attention import NAME, Pass, Slots, attend
from trunkcall.workers.transformers_layout import CPU_CALL, GPU_CALL, Piece

_SWITCHING: Final = frozenset({"dynamic", "longrope"})
"""Rotary embeddings that depend on the longest request of a pass."""
_TOLERANCE: Final = {"torch.float32": 1e-3}
_HALF_TOLERANCE: Final = 5e-2
_TRIED: Final = (7, 4)
"""Lengths of the two made-up prompts that both ways must answer alike."""

_TOO_LITTLE: Final = ("can't allocate memory", "MPS backend out of memory")


class Passes(Protocol):
    """How tokens of requests become logits."""

    together: bool
    """Pieces of several requests may share a pass."""

    def logits(self, pieces: Sequence[Piece]) -> Tensor:
        """For each piece whose next token is chosen, in order: (pieces, vocabulary), float32, to be changed at will."""
        ...

    def end(self, slot: int) -> None:
        """The request in this slot has ended."""
        ...


class Together:
    """All pieces in one pass, with our attention; `model` must have been told to use it."""

    together = True

    def __init__(self, model: Any, slots: int, context: int) -> None:
        self._model = model
        self._slots = Slots(slots, context)
        self._device = model.get_input_embeddings().weight.device
        self._call = CPU_CALL if self._device.type == "cpu" else GPU_CALL
        self._keeps = _accepts(model, "logits_to_keep")

    def logits(self, pieces: Sequence[Piece]) -> Tensor:
        """See Passes."""
        shape = Pass(self._slots, pieces, self._call)
        ends: list[int] = []
        tokens: list[int] = []
        for piece in pieces:
            tokens += piece.tokens
            if piece.chosen:
                ends.append(len(tokens) - 1)
        last = torch.tensor(ends, dtype=torch.long, device=self._device)
        made = self._model(
            input_ids=torch.tensor([tokens], device=self._device),
            position_ids=shape.positions.to(self._device)[None],
            use_cache=False,
            trunkcall_pass=shape,
            **({"logits_to_keep": last} if self._keeps else {}),
        ).logits[0]
        return (made if self._keeps else made[last.to(made.device)]).float()

    def end(self, slot: int) -> None:
        """Nothing: what a slot holds is overwritten."""


class Apart:
    """Each request in passes of its own, with the cache that the model itself makes; works for all models."""

    together = False

    def __init__(self, model: Any) -> None:
        self._model = model
        self._device = model.get_input_embeddings().weight.device
        self._keeps = _accepts(model, "logits_to_keep")
        self._cache = "past_key_values" if _accepts(model, "past_key_values") else "cache_params"
        self._caches: dict[int, Any] = {}

    def logits(self, pieces: Sequence[Piece]) -> Tensor:
        """See Passes; the one piece is either a whole prompt or the token after it."""
        (piece,) = pieces
        if piece.start == 0:
            self._caches.pop(piece.slot, None)
        made = self._model(
            input_ids=torch.tensor([list(piece.tokens)], device=self._device),
            use_cache=True,
            **{self._cache: self._caches.get(piece.slot)},
            **({"logits_to_keep": 1} if self._keeps else {}),
        )
        self._caches[piece.slot] = getattr(made, self._cache)
        return made.logits[:, -1].float()

    def end(self, slot: int) -> None:
        """Give back the request's cache."""
        self._caches.pop(slot, None)


def best_passes(model: Any, slots: int, context: int) -> tuple[Passes, str]:
    """Together where the model then says what it says by itself; else Apart, and why.

    Whether a model can be batched in our way is not written down anywhere, so it is tried on two made-up prompts.

    Raises ServingError (out_of_memory) when the slots do not fit.
    """
    own = model.config._attn_implementation
    if _SWITCHING & _rope_types(model.config):
        return Apart(model), "its rotary embedding changes with the length of a request"
    if model._is_stateful:
        return Apart(model), "it keeps a state instead of keys and values"
    size = model.get_input_embeddings().weight.shape[0]
    prompts = [[(7 * place + 3) % size for place in range(length)] for length in _TRIED]
    expected = _by_itself(model, prompts)
    transformers.AttentionInterface.register(NAME, attend)
    try:
        model.set_attn_implementation(NAME)
        passes = Together(model, slots, context)
        found = _batched(passes, prompts)
    except (TypeError, ValueError, KeyError, AttributeError, IndexError, RuntimeError) as error:
        if short_of_memory(error):
            raise ServingError(
                "out_of_memory",
                f"not enough memory for the keys and values of {slots} slots of {context} tokens; "
                "lower the option slots or context",
                detail=str(error),
            ) from error
        reason = f"its attention is not one that we can take the place of ({error})"
    else:
        allowed = _TOLERANCE.get(str(model.dtype), _HALF_TOLERANCE) * float(expected.abs().max())
        if float((found - expected).abs().max()) <= allowed:
            return passes, ""
        reason = "with our attention it says something else"
    model.set_attn_implementation(own)
    return Apart(model), reason


@contextmanager
def by_itself(model: Any, own: str) -> Generator[None]:
    """A model that is batched reads texts by itself meanwhile; own: the attention that it came with."""
    shared = model.config._attn_implementation
    if shared == own:
        yield
        return
    model.set_attn_implementation(own)
    try:
        yield
    finally:
        model.set_attn_implementation(shared)


def short_of_memory(error: BaseException) -> bool:
    """Whether an error of torch is one of too little memory."""
    return isinstance(error, torch.OutOfMemoryError) or any(words in str(error) for words in _TOO_LITTLE)


def _by_itself(model: Any, prompts: Sequence[Sequence[int]]) -> Tensor:
    device = model.get_input_embeddings().weight.device
    made = [model(input_ids=torch.tensor([list(prompt)], device=device)).logits[0, -1] for prompt in prompts]
    return torch.stack(made).float()


def _batched(passes: Together, prompts: Sequence[Sequence[int]]) -> Tensor:
    """The same logits by a pass for all but the last tokens and one for these."""
    passes.logits([Piece(slot, 0, prompt[:-1], False) for slot, prompt in enumerate(prompts)])
    return passes.logits([Piece(slot, len(prompt) - 1, prompt[-1:], True) for slot, prompt in enumerate(prompts)])


def _accepts(model: Any, name: str) -> bool:
    return name in inspect.signature(model.forward).parameters


def _rope_types(config: Any) -> set[str]:
    """The kinds of rotary embedding in a config, which has one or one for each kind of layer."""
    found: dict[str, Any] = getattr(config.get_text_config(), "rope_parameters", None) or {}
    nested: list[dict[str, Any]] = [one for one in found.values() if isinstance(one, dict)]
    return {str(one.get("rope_type")) for one in (found, *nested)}
