"""FastChat's dialect of OpenAI's API, bytes to values and back: the names that apis/fastchat_openai uses."""

from trunkcall.protocols.fastchat_openai_answers import ChatAnswer, CompletionAnswer, model_card, model_cards
from trunkcall.protocols.fastchat_openai_checks import Checked, emit_checked, read_token_check
from trunkcall.protocols.fastchat_openai_errors import FASTCHAT, OPENAI, ErrorWords, OutOfRange
from trunkcall.protocols.fastchat_openai_requests import (
    USUAL,
    Defaults,
    only_allowed,
    read_chat,
    read_completion,
    read_embedding,
)

__all__ = [
    "FASTCHAT",
    "OPENAI",
    "USUAL",
    "ChatAnswer",
    "Checked",
    "CompletionAnswer",
    "Defaults",
    "ErrorWords",
    "OutOfRange",
    "emit_checked",
    "model_card",
    "model_cards",
    "only_allowed",
    "read_chat",
    "read_completion",
    "read_embedding",
    "read_token_check",
]
