"""Stands in for Kuwa's module of this name."""

from trunkcall.workers.kuwa_executor import (
    LLMExecutor,
    Modelfile,
    extract_last_url,
    rectify_chat_history,
    to_openai_chat_format,
)

__all__ = ["LLMExecutor", "Modelfile", "extract_last_url", "rectify_chat_history", "to_openai_chat_format"]
