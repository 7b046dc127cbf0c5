"""TGI's wire protocol, bytes to values and back: the names that its api and backend use."""

from trunkcall.protocols.tgi_answers import StreamEmitter, WholeEmitter
from trunkcall.protocols.tgi_asked import Asked, read_asked
from trunkcall.protocols.tgi_errors import failure, fault_event, overloaded, read_error, stream_failure
from trunkcall.protocols.tgi_info import Info, emit_info, read_info
from trunkcall.protocols.tgi_limits import NEWEST, VERSIONS, Compat, Limits, compat_of
from trunkcall.protocols.tgi_replies import StreamReader, read_whole
from trunkcall.protocols.tgi_requests import check_tokens, emit_generate, to_generate
from trunkcall.protocols.tgi_words import PROTOCOL

__all__ = [
    "NEWEST",
    "PROTOCOL",
    "VERSIONS",
    "Asked",
    "Compat",
    "Info",
    "Limits",
    "StreamEmitter",
    "StreamReader",
    "WholeEmitter",
    "check_tokens",
    "compat_of",
    "emit_generate",
    "emit_info",
    "failure",
    "fault_event",
    "overloaded",
    "read_asked",
    "read_error",
    "read_info",
    "read_whole",
    "stream_failure",
    "to_generate",
]
