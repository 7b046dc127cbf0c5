# Optional: only the child that holds the model imports it, and type checks pass where it is not installed.
from typing import Any, TypeAlias

Tensor: TypeAlias = Any

def __getattr__(name: str) -> Any: ...
