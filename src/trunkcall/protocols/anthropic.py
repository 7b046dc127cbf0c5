"""Anthropic's wire protocol, bytes to values and back: the names that backends/anthropic uses."""

from trunkcall.protocols.anthropic_calls import SAMPLED, emit_message
from trunkcall.protocols.anthropic_errors import read_error
from trunkcall.protocols.anthropic_replies import MessageReader, read_models

__all__ = ["SAMPLED", "MessageReader", "emit_message", "read_error", "read_models"]
