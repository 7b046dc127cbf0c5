"""Stands in for vLLM's module of this name."""
