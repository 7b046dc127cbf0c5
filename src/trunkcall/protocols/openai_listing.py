"""The list of models that a server of the OpenAI API gives, and which server it is by what it says there."""

from __future__ import annotations

from typing import Final

import msgspec

from trunkcall.core.errors import ServingError

_SERVERS: Final = {
    "vllm": "vLLM",
    "sglang": "SGLang",
    "llamacpp": "llama.cpp's server",
    "fastchat": "FastChat's API server",
    "trunkcall": "Trunkcall",
}
"""By the owner that each gives its models."""


class Listing(msgspec.Struct, frozen=True):
    """The models' names in their order; server: which one it is, empty where that cannot be told."""

    names: tuple[str, ...]
    server: str = ""


class _Model(msgspec.Struct):
    id: str
    owned_by: str | None = None


class _Models(msgspec.Struct):
    data: list[_Model]


_models: Final = msgspec.json.Decoder(_Models)


def read_listing(body: bytes) -> Listing:
    """The answer of /models; raises ServingError (upstream_error) for what is none."""
    try:
        data = _models.decode(body).data
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        page = body.lstrip()[:1] == b"<"
        said = "is a page for people, not JSON" if page else f"is no list of models ({error})"
        raise ServingError(
            "upstream_error", f"what /models answered {said}; check that the address is right", upstream=(200, body)
        ) from None
    owners = {model.owned_by for model in data}
    return Listing(
        tuple(model.id for model in data),
        next((server for owner, server in _SERVERS.items() if owner in owners), ""),
    )
