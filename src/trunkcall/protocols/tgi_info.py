"""What a TGI server tells of itself at /info: the fields of all its editions."""

from __future__ import annotations

from typing import Final

import msgspec

from trunkcall.core.errors import ServingError

ROUTER: Final = "text-generation-router"


class Info(msgspec.Struct, frozen=True, kw_only=True):
    """As on the wire; None for what is not told. Read of any edition, told in the words of all."""

    model_id: str
    model_sha: str | None = None
    model_dtype: str | None = None
    model_device_type: str | None = None
    model_pipeline_tag: str | None = None
    max_concurrent_requests: int | None = None
    max_best_of: int | None = None
    max_stop_sequences: int | None = None
    max_input_length: int | None = None
    max_input_tokens: int | None = None
    max_total_tokens: int | None = None
    waiting_served_ratio: float | None = None
    max_batch_total_tokens: int | None = None
    max_waiting_tokens: int | None = None
    validation_workers: int | None = None
    max_client_batch_size: int | None = None
    router: str | None = None
    version: str = ""
    sha: str | None = None
    docker_label: str | None = None

    @property
    def input_limit(self) -> int | None:
        """The most tokens of a prompt, under the name of either edition."""
        return self.max_input_length if self.max_input_tokens is None else self.max_input_tokens


_info: Final = msgspec.json.Decoder(Info)
_encode: Final = msgspec.json.Encoder().encode


def read_info(body: bytes) -> Info:
    """The answer of /info; raises ServingError (upstream_error) for what is none."""
    try:
        return _info.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise ServingError(
            "upstream_error",
            f"/info is not that of a TGI server ({error}); check that its address is right",
            upstream=(200, body),
        ) from None


def emit_info(info: Info) -> bytes:
    """The answer of /info."""
    return _encode(info)
