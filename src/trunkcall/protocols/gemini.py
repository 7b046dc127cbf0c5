"""Gemini's wire protocol, bytes to values and back: the names that backends/gemini uses."""

from trunkcall.protocols.gemini_calls import continued, emit_count, emit_embedding, emit_generate
from trunkcall.protocols.gemini_errors import read_error
from trunkcall.protocols.gemini_replies import GenerateReader, read_count, read_embedding_answer, read_models

__all__ = [
    "GenerateReader",
    "continued",
    "emit_count",
    "emit_embedding",
    "emit_generate",
    "read_count",
    "read_embedding_answer",
    "read_error",
    "read_models",
]
