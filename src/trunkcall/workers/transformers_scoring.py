"""How likely each token of a prompt is: passes over the prompt by itself, beside the batch."""

from __future__ import annotations

import inspect
from collections.abc import Sequence
from typing import Any, Final

import torch

from trunkcall.workers.transformers_passes import by_itself
from trunkcall.workers.transformers_sampling import tell
from trunkcall.workers.transformers_wanted import Chosen

_STEP: Final = 256
"""Tokens per pass: each has as many float32 as the vocabulary has tokens."""


class Scorer:
    """Scores prompts with one model, in the thread that owns it; made before the model is told to be batched."""

    def __init__(self, model: Any) -> None:
        self._model = model
        self._own = model.config._attn_implementation
        self._continues = "past_key_values" in inspect.signature(model.forward).parameters and not model._is_stateful

    def score(self, ids: Sequence[int], tops: int) -> list[Chosen]:
        """The tokens with their probabilities; nothing precedes the first, so it has none. tops: alternatives."""
        with by_itself(self._model, self._own):
            return self._scored(ids, tops)

    def _scored(self, ids: Sequence[int], tops: int) -> list[Chosen]:
        device = self._model.get_input_embeddings().weight.device
        step = _STEP if self._continues else len(ids)
        made = [Chosen(ids[0])]
        more: dict[str, Any] = {}
        for begin in range(0, len(ids) - 1, step):
            read = torch.tensor([list(ids[begin : begin + step])], device=device)
            passed = self._model(input_ids=read, use_cache=self._continues, **more)
            if self._continues:
                more = {"past_key_values": passed.past_key_values}
            logprobs = torch.log_softmax(passed.logits[0].float(), -1)
            after = ids[begin + 1 : begin + step + 1]
            made += [tell(token, logprobs[place], tops) for place, token in enumerate(after)]
        return made
