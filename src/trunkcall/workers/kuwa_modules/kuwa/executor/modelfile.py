"""Stands in for Kuwa's module of this name."""

from trunkcall.workers.kuwa_executor import Modelfile

__all__ = ["Modelfile"]
