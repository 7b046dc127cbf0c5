"""`kuwa-executor`: the old command and its list of executors, each with flags of its own."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from trunkcall.takeover.plan import Plan

EXECUTORS: Final = {
    "sysinfo": "[Tool] System information executor. It will print the system information for debugging.",
    "debug": "[Tool] Debugging executor. It will reflect the last input.",
    "dummy": "[Tool] Dummy executor. It will reply fixed message regardless of the user prompt.",
    "geminipro": "[Cloud model] Google Gemini-Pro. Need API key.",
    "chatgpt": "[Cloud model] OpenAI ChatGPT. Need API key.",
    "huggingface": "[On-premises model] Download and run Huggingface model locally.",
    "llamacpp": "[On-premises model] Run the GGUF model locally.",
    "ollama": "[On-premises model] Run a proxy that connected to the Ollama API server.",
}
"""Rows of `--list`, which scripts read, word for word as the original prints them."""


def read(arguments: Sequence[str]) -> Plan:
    """One executor as a server of ours; ends the process for --list, --help and wrong use.

    Raises ServingError for what cannot be served here.
    """
    # What stands behind the executor's name is for its own parser.
    name_at = next((at for at, word in enumerate(arguments) if not word.startswith("-")), len(arguments))
    asked = _parser().parse_args(arguments[: name_at + 1])
    from trunkcall.takeover.kuwa_flags import new_executor_parser
    from trunkcall.takeover.kuwa_models import choose
    from trunkcall.takeover.kuwa_serving import serve
    from trunkcall.workers.kuwa_options import read_general

    flags = new_executor_parser(asked.executor).parse_args(arguments[name_at + 1 :])
    return serve(read_general(flags), choose(asked.executor, flags))


class _List(argparse.Action):
    """Print the table and end, without what makes an executor."""

    def __call__(self, parser: argparse.ArgumentParser, *_: Any) -> None:
        width = max(map(len, EXECUTORS))
        rows = "\n".join(f"{name:<{width}}: {what}" for name, what in EXECUTORS.items())
        footer = f'Use "{parser.prog} [executor] --help" to get more information.'
        print(f"Available model executors:\n\n{rows}\n\n{footer}\n")
        sys.exit(0)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="kuwa-executor", description="Serves a model to a Kuwa kernel.")
    parser.add_argument("--list", action=_List, nargs=0, help="print the executors and end")
    parser.add_argument("executor", choices=tuple(EXECUTORS), help="its own flags come after it")
    return parser
