"""Stands in for Kuwa's module of this name."""

from trunkcall.workers.kuwa_executor import BaseExecutor

__all__ = ["BaseExecutor"]
