"""OpenAI's wire protocol, bytes to values and back: the names that apis/openai and backends/openai use."""

from trunkcall.protocols.openai_answers import ChatEmitter, CompletionEmitter, comment_frame
from trunkcall.protocols.openai_calls import emit_chat, emit_completion, emit_embedding, requested_fields
from trunkcall.protocols.openai_errors import failure, fault_frame, read_error
from trunkcall.protocols.openai_lane import Head, ask_usage, read_head, replace_model
from trunkcall.protocols.openai_replies import (
    ChatStreamReader,
    CompletionStreamReader,
    read_chat_answer,
    read_completion_answer,
    read_embedding_answer,
)
from trunkcall.protocols.openai_requests import read_chat, read_completion, read_embedding
from trunkcall.protocols.openai_tap import ChatTap, note_answer
from trunkcall.protocols.openai_whole import emit_embeddings, model_entry, models_list

__all__ = [
    "ChatEmitter",
    "ChatStreamReader",
    "ChatTap",
    "CompletionEmitter",
    "CompletionStreamReader",
    "Head",
    "ask_usage",
    "comment_frame",
    "emit_chat",
    "emit_completion",
    "emit_embedding",
    "emit_embeddings",
    "failure",
    "fault_frame",
    "model_entry",
    "models_list",
    "note_answer",
    "read_chat",
    "read_chat_answer",
    "read_completion",
    "read_completion_answer",
    "read_embedding",
    "read_embedding_answer",
    "read_error",
    "read_head",
    "replace_model",
    "requested_fields",
]
