"""Attention over keys and values that stay in slots, so that requests of different lengths share one forward pass.

transformers hands an attention function what its layers computed for the tokens of a pass, laid end to end; the
function stores keys and values in the slots of their requests and lets each query read its own slot only.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

import torch
from torch import Tensor

from trunkcall.workers.transformers_layout import Piece, spans

NAME: Final = "trunkcall_slots"
"""What the function is registered as."""


class Slots:
    """Keys and values of all layers; a layer's are made when it is first used, as large as it needs.

    slots of `context` positions each. Nothing is cleared when a request ends: what is behind a
    request's own positions is never read.
    """

    def __init__(self, slots: int, context: int) -> None:
        self._slots = slots
        self._context = context
        self._layers: dict[int, tuple[Tensor, Tensor]] = {}

    def layer(self, index: int, key: Tensor, value: Tensor) -> tuple[Tensor, Tensor]:
        """The layer's keys and values, each (slots, heads, context, width of a head)."""
        found = self._layers.get(index)
        if found is None:
            # Zeros, because what masks rule out is multiplied by 0 and must be a number.
            found = self._layers[index] = (self._room(key), self._room(value))
        return found

    def _room(self, like: Tensor) -> Tensor:
        shape = (self._slots, like.shape[1], self._context, like.shape[3])
        return torch.zeros(shape, dtype=like.dtype, device=like.device)


class Pass:
    """Where the tokens of one forward pass belong.

    pieces: first those of one token, in order of slots, then the longer ones.
    """

    def __init__(self, slots: Slots, pieces: Sequence[Piece], call: int) -> None:
        self.slots = slots
        singles = [piece for piece in pieces if len(piece.tokens) == 1]
        self.spans = spans([(piece.slot, piece.start + 1) for piece in singles], call)
        self.singles = len(singles)
        self.longer = pieces[len(singles) :]
        rows = [piece.slot for piece in pieces for _ in piece.tokens]
        columns = [piece.start + place for piece in pieces for place in range(len(piece.tokens))]
        self.positions = torch.tensor(columns)
        self._rows = torch.tensor(rows)
        self._where: dict[Any, tuple[Tensor, Tensor]] = {}
        self._masks: dict[Any, Tensor | None] = {}

    def where(self, device: Any) -> tuple[Tensor, Tensor]:
        """Slot and position of each token."""
        found = self._where.get(device)
        if found is None:
            found = self._where[device] = (self._rows.to(device), self.positions.to(device))
        return found

    def mask_of_span(self, place: int, window: int | None, device: Any) -> Tensor | None:
        """What each query of a span reads: (count, 1, 1, length) of booleans, None for all."""
        key = (place, window, device)
        if key not in self._masks:
            span = self.spans[place]
            if span.count == 1 and (window is None or span.length <= window):
                self._masks[key] = None
            else:
                ends = self.where(device)[1][span.first : span.first + span.count]
                self._masks[key] = _visible(ends, span.length, window)[:, None, None]
        return self._masks[key]

    def mask_of_piece(self, place: int, window: int | None, device: Any) -> Tensor:
        """What each query of a longer piece reads: (tokens, positions) of booleans."""
        key = (-1 - place, window, device)
        if key not in self._masks:
            piece = self.longer[place]
            ends = torch.arange(piece.start, piece.start + len(piece.tokens), device=device)
            self._masks[key] = _visible(ends, piece.start + len(piece.tokens), window)
        return self._masks[key]


def _visible(ends: Tensor, length: int, window: int | None) -> Tensor:
    columns = torch.arange(length, device=ends.device)
    visible = columns <= ends[:, None]
    return visible if window is None else visible & (columns > ends[:, None] - window)


def attend(
    module: Any,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Tensor | None,
    *,
    scaling: float | None = None,
    sliding_window: int | None = None,
    trunkcall_pass: Pass,
    **more: Any,
) -> tuple[Tensor, None]:
    """Fits transformers.AttentionInterface; query: (1, heads, tokens, width), key and value with as many or fewer.

    Raises NotImplementedError for models that ask for more than masks and windows.
    """
    for name in ("softcap", "s_aux", "position_bias"):
        if more.get(name) is not None:
            raise NotImplementedError(f"the model's attention needs {name}")
    if attention_mask is not None:
        raise NotImplementedError("the model makes masks of its own")
    device = query.device
    keys, values = trunkcall_pass.slots.layer(module.layer_idx, key, value)
    rows, columns = trunkcall_pass.where(device)
    keys[rows, :, columns] = key[0].transpose(0, 1)
    values[rows, :, columns] = value[0].transpose(0, 1)
    heads, groups, width = query.shape[1], key.shape[1], query.shape[3]
    singles = trunkcall_pass.singles
    made = query.new_empty(1, query.shape[2], heads, value.shape[3])
    # One query per slot: the heads that share a key are the queries of one call, so that no key is copied.
    shared = query[0, :, :singles].transpose(0, 1).reshape(singles, groups, heads // groups, width)
    for place, span in enumerate(trunkcall_pass.spans):
        ours, slots = slice(span.first, span.first + span.count), slice(span.slot, span.slot + span.count)
        read = torch.nn.functional.scaled_dot_product_attention(
            shared[ours],
            keys[slots, :, : span.length],
            values[slots, :, : span.length],
            attn_mask=trunkcall_pass.mask_of_span(place, sliding_window, device),
            scale=scaling,
        )
        made[0, ours] = read.reshape(span.count, heads, -1)
    begin = singles
    for place, piece in enumerate(trunkcall_pass.longer):
        ours, length = slice(begin, begin + len(piece.tokens)), piece.start + len(piece.tokens)
        begin = ours.stop
        read = torch.nn.functional.scaled_dot_product_attention(
            query[:, :, ours],
            keys[piece.slot, None, :, :length],
            values[piece.slot, None, :, :length],
            attn_mask=trunkcall_pass.mask_of_piece(place, sliding_window, device),
            scale=scaling,
            enable_gqa=heads != groups,
        )
        made[0, ours] = read[0].transpose(0, 1)
    return made, None
