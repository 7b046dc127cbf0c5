"""`vllm serve MODEL`: vLLM's command, of which the part that serves is replaced."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from trunkcall.takeover.plan import Plan


def read(arguments: Sequence[str]) -> Plan:
    """The server with its one model; ends the process for --help and wrong use.

    Raises ServingError for a model that cannot be served.
    """
    _parser().parse_args(arguments[:1])
    from trunkcall.takeover.vllm_flags import read_flags
    from trunkcall.takeover.vllm_serving import serve

    return serve(read_flags("vllm serve", arguments[1:]))


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="vllm",
        usage="%(prog)s [-h] serve [MODEL] ...",
        description="Serves a model as vLLM does. For a talk with one there is `trunkcall chat`.",
        epilog="`vllm serve --help` shows the flags.",
    )
    parser.add_argument("command", choices=("serve",), help="its flags come after it")
    return parser
