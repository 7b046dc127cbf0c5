"""Which of the fields that a caller set another protocol cannot carry, by their OpenAI names."""

from __future__ import annotations

from typing import Any

import msgspec
from msgspec import UNSET

from trunkcall.core.requests import Generate, MessagesPrompt, Sampling
from trunkcall.protocols.openai import requested_fields
from trunkcall.protocols.openai_paths import NULL


def left_out(request: Generate, protocol: str, carried: frozenset[str]) -> list[str]:
    """The names of set fields beside `carried`, without those that `protocol` itself added to the request.

    Messages and tools are left to the caller of this, because only parts of them may be lost. A null asks
    for what a protocol without the field does anyway, and so loses nothing; one choice likewise.
    """
    sampling: dict[str, Any] = msgspec.structs.asdict(request.sampling)
    told = {name: UNSET if value is None else value for name, value in sampling.items()}
    if told["n"] == 1:
        told["n"] = UNSET
    shape, reporting = request.shape, request.reporting
    bare = msgspec.structs.replace(
        request,
        prompt=MessagesPrompt(()),
        sampling=Sampling(**told),
        stops=msgspec.structs.replace(request.stops, strings=request.stops.strings or UNSET),
        shape=msgspec.structs.replace(
            shape,
            tools=UNSET,
            parallel_tool_calls=UNSET if shape.parallel_tool_calls is None else shape.parallel_tool_calls,
            format=UNSET if shape.format is None else shape.format,
            reasoning_effort=UNSET if shape.reasoning_effort is None else shape.reasoning_effort,
        ),
        reporting=msgspec.structs.replace(
            reporting, logprobs=UNSET if reporting.logprobs is None else reporting.logprobs
        ),
        extra={
            other: {name: raw for name, raw in fields.items() if raw != NULL}
            for other, fields in request.extra.items()
            if other != protocol
        },
    )
    return [name for name in requested_fields(bare) if name not in carried]
