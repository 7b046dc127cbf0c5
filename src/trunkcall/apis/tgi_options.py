"""What an operator decides of TGI's API on one listener."""

from __future__ import annotations

from typing import Annotated

import msgspec

from trunkcall.core.errors import ServingError
from trunkcall.protocols.tgi import NEWEST, Compat, Limits

_Count = Annotated[int, msgspec.Meta(ge=1)]
_LIMITS = Limits()


class TgiOptions(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """A listener's options of this api.

    model: the one that is served, empty for the only one; prefix: what stands before each path, in which {model} or
    {model*} is the model's name; compat: the edition whose defaults hold; max_input_tokens, max_total_tokens: None for
    what the model's context holds; payload: bytes; grammar: whether answers can be held to a shape; prefill: the
    tokens of prompts are told, which the newest edition does only where it was started so; open: /info, /metrics and
    /v1/models need no key, as with TGI; model_id, sha, dtype, device, pipeline_tag: what /info says of the model;
    compute_type: what the header x-compute-type says of the machine.
    """

    model: str = ""
    prefix: str = ""
    compat: Compat = NEWEST
    max_input_tokens: _Count | None = None
    max_total_tokens: _Count | None = None
    max_stop_sequences: _Count = _LIMITS.max_stop_sequences
    max_best_of: _Count = _LIMITS.max_best_of
    max_top_n_tokens: Annotated[int, msgspec.Meta(ge=0)] = _LIMITS.max_top_n_tokens
    max_client_batch_size: _Count = _LIMITS.max_client_batch_size
    max_concurrent_requests: _Count = _LIMITS.max_concurrent_requests
    payload: _Count = _LIMITS.payload
    grammar: bool = True
    prefill: bool = False
    open: bool = False
    model_id: str = ""
    sha: str = ""
    dtype: str = ""
    device: str = ""
    pipeline_tag: str = "text-generation"
    compute_type: str = "cpu"

    def __post_init__(self) -> None:
        """Raises ServingError (bad_request) for limits that no request could keep."""
        if (
            self.max_input_tokens is not None
            and self.max_total_tokens is not None
            and self.max_input_tokens >= self.max_total_tokens
        ):
            raise ServingError(
                "bad_request",
                f"max_input_tokens, {self.max_input_tokens}, must be less than max_total_tokens,"
                f" {self.max_total_tokens}",
                param="max_input_tokens",
            )

    def limits(self, context: int | None) -> Limits | None:
        """The limits of a model that holds so many tokens; None where neither that nor limits are known."""
        total = self.max_total_tokens or context
        if total is None and self.max_input_tokens is not None:
            total = self.max_input_tokens + 1
        if total is None:
            return None
        return Limits(
            max_input_tokens=min(self.max_input_tokens or total - 1, max(1, total - 1)),
            max_total_tokens=total,
            max_stop_sequences=self.max_stop_sequences,
            max_best_of=self.max_best_of,
            max_top_n_tokens=self.max_top_n_tokens,
            max_client_batch_size=self.max_client_batch_size,
            max_concurrent_requests=self.max_concurrent_requests,
            payload=self.payload,
        )
