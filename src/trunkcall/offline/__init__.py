"""Models in a Python program of one's own, without a server: the same engines and supervisor, answering in batches."""

from trunkcall.offline.llm import LLM
from trunkcall.offline.outputs import CompletionOutput, EmbeddingOutput, EmbeddingRequestOutput, RequestOutput
from trunkcall.offline.sampling import SamplingParams

__all__ = [
    "LLM",
    "CompletionOutput",
    "EmbeddingOutput",
    "EmbeddingRequestOutput",
    "RequestOutput",
    "SamplingParams",
]
