"""FastChat's worker protocol to values and back: the names that its apis, backend and command lines use."""

from trunkcall.protocols.fastchat_calls import echoed, read_generate
from trunkcall.protocols.fastchat_emitter import FrameEmitter
from trunkcall.protocols.fastchat_errors import error_code, error_of, failure, fault_frame, unrouted
from trunkcall.protocols.fastchat_named import NAMES, named
from trunkcall.protocols.fastchat_parameters import emit_generate, prompt_text, templated
from trunkcall.protocols.fastchat_prompts import parse_prompt
from trunkcall.protocols.fastchat_rendering import render
from trunkcall.protocols.fastchat_replies import FrameReader
from trunkcall.protocols.fastchat_status import Status, emit_status, read_status
from trunkcall.protocols.fastchat_tap import FrameTap, with_model
from trunkcall.protocols.fastchat_templates import NEUTRAL, ConvTemplate, Style, emit_template, read_template

__all__ = [
    "NAMES",
    "NEUTRAL",
    "ConvTemplate",
    "FrameEmitter",
    "FrameReader",
    "FrameTap",
    "Status",
    "Style",
    "echoed",
    "emit_generate",
    "emit_status",
    "emit_template",
    "error_code",
    "error_of",
    "failure",
    "fault_frame",
    "named",
    "parse_prompt",
    "prompt_text",
    "read_generate",
    "read_status",
    "read_template",
    "render",
    "templated",
    "unrouted",
    "with_model",
]
