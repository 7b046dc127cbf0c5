"""Stands in for Kuwa's module of this name."""

from trunkcall.workers.kuwa_executor import LLMExecutor, Modelfile

__all__ = ["LLMExecutor", "Modelfile"]
