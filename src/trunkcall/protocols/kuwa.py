"""Kuwa's wire protocol, forms and text to values and back: the names that its apis, backend and hosts use."""

from trunkcall.protocols.kuwa_answers import BlockReader, KuwaEmitter, parse_history_ids
from trunkcall.protocols.kuwa_calls import KuwaCall, read_call, read_generate
from trunkcall.protocols.kuwa_fields import emit_fields
from trunkcall.protocols.kuwa_history import (
    extract_last_url,
    read_history,
    rectify_chat_history,
    to_openai_chat_format,
    write_history,
)
from trunkcall.protocols.kuwa_modelfile import Modelfile, Parameters

__all__ = [
    "BlockReader",
    "KuwaCall",
    "KuwaEmitter",
    "Modelfile",
    "Parameters",
    "emit_fields",
    "extract_last_url",
    "parse_history_ids",
    "read_call",
    "read_generate",
    "read_history",
    "rectify_chat_history",
    "to_openai_chat_format",
    "write_history",
]
