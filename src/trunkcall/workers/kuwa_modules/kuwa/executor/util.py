"""Stands in for Kuwa's module of this name."""

from trunkcall.workers.kuwa_executor import DescriptionParser, expose_function_parameter, merge_config, read_config

__all__ = ["DescriptionParser", "expose_function_parameter", "merge_config", "read_config"]
