"""The pocket model: a tiny language model that ships inside the package, for demonstrations and self-tests."""

from pathlib import Path


def gguf_path() -> Path:
    """The GGUF file of the pocket model (float16, Llama architecture, ChatML template that takes tools)."""
    return Path(__file__).with_name("pocket.gguf")
