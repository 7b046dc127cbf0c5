"""What llama.cpp's own descriptions say of a model, for whoever asks it."""

from __future__ import annotations

import msgspec

from trunkcall.core.about import About
from trunkcall.workers.asked import Abilities


class _Sampled(msgspec.Struct, frozen=True):
    """llama.cpp's names."""

    temperature: int | float | None = None
    top_k: int | float | None = None
    top_p: int | float | None = None
    min_p: int | float | None = None
    typical_p: int | float | None = None
    repeat_penalty: int | float | None = None
    presence_penalty: int | float | None = None
    frequency_penalty: int | float | None = None


class _Settings(msgspec.Struct, frozen=True):
    n_ctx: int
    params: _Sampled = _Sampled()


class _Modalities(msgspec.Struct, frozen=True):
    vision: bool | None = None


class _Props(msgspec.Struct, frozen=True):
    default_generation_settings: _Settings
    chat_template_caps: Abilities = Abilities()
    modalities: _Modalities = _Modalities()


class _Meta(msgspec.Struct, frozen=True):
    n_params: int | None = None


class _Model(msgspec.Struct, frozen=True):
    meta: _Meta | None = None


class _Models(msgspec.Struct, frozen=True):
    data: tuple[_Model, ...] = ()


def about(props: bytes, models: bytes) -> About:
    """What the answers of /props and /v1/models say together."""
    told = msgspec.json.decode(props, type=_Props)
    listed = msgspec.json.decode(models, type=_Models).data
    meta = listed[0].meta if listed else None
    sampled = told.default_generation_settings.params
    defaults = {
        "repetition_penalty" if name == "repeat_penalty" else name: _shortest(value)
        for name, value in msgspec.structs.asdict(sampled).items()
        if value is not None
    }
    return About(
        context=told.default_generation_settings.n_ctx,
        images=told.modalities.vision,
        tools=told.chat_template_caps.supports_tools,
        # A template may make it think without saying that it can be told how long.
        reasoning=told.chat_template_caps.supports_reasoning_effort or None,
        parameters=meta.n_params if meta else None,
        defaults=defaults,
    )


def _shortest(value: int | float) -> int | float:
    """A number of 32 bits as it was meant: 0.8, not 0.800000011920929."""
    return value if isinstance(value, int) else float(f"{value:.6g}")
