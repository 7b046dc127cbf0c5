"""`python -m vllm.entrypoints.openai.api_server`: vLLM's server as its old pages start it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from trunkcall.takeover.plan import Plan

NAME: Final = "vllm.entrypoints.openai.api_server"


def read(arguments: Sequence[str]) -> Plan:
    """The server with its one model; ends the process for --help and wrong use.

    Raises ServingError for a model that cannot be served.
    """
    from trunkcall.takeover.vllm_flags import read_flags
    from trunkcall.takeover.vllm_serving import serve

    return serve(read_flags(NAME, arguments))
