"""Trunkcall: any client protocol in, any language model engine behind, one control plane."""

from importlib import import_module
from typing import Any

__version__ = "0.1.0"

_PLACES = {
    "LLM": "trunkcall.offline",
    "SamplingParams": "trunkcall.offline",
    "Client": "trunkcall.python_client",
    "AsyncClient": "trunkcall.python_client",
}


def __getattr__(name: str) -> Any:
    """What users import, on first use; the server and the command line never need it."""
    if name not in _PLACES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(_PLACES[name]), name)
