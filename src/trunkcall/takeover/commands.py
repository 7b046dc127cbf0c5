"""`trunkcall as COMMAND`: the old commands by name, loaded when one is asked for."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from importlib import import_module
from typing import TYPE_CHECKING, Final

from trunkcall.core.errors import ServingError
from trunkcall.core.text import did_you_mean

if TYPE_CHECKING:
    from trunkcall.takeover.plan import Read

COMMANDS: Final = {
    "kuwa-executor": ("trunkcall.takeover.kuwa_executor", "serve a model to a Kuwa kernel"),
    "kuwa-kernel": ("trunkcall.takeover.kuwa_kernel", "the Kuwa kernel"),
    "python": ("trunkcall.takeover.kuwa_custom", "a file with a Kuwa LLMExecutor class"),
    "vllm": ("trunkcall.takeover.vllm", "`vllm serve MODEL`"),
    "vllm.entrypoints.openai.api_server": ("trunkcall.takeover.vllm_api_server", "vLLM's OpenAI server"),
}
"""Command -> module whose `read` makes a plan of its arguments, and what it is."""


def run(arguments: Sequence[str]) -> int:
    """Run `trunkcall as ARGUMENTS`; gives the exit code.

    Raises ServingError; SystemExit as argparse does.
    """
    parser = _parser()
    asked = parser.parse_args(arguments)
    read = _find(asked.command)
    plan = read(asked.arguments)
    from trunkcall.config import networks, reference
    from trunkcall.takeover.plan import Guards, guarded, show, start

    keys = tuple(reference(word, "--api-keys") for word in asked.api_keys)
    plan = guarded(plan, Guards(networks(asked.allow_from, "--allow-from"), keys))
    if asked.show:
        print(show(plan), end="")
        return 0
    return start(plan, asked.command)


def _find(command: str) -> Read:
    if command not in COMMANDS:
        raise ServingError(
            "bad_request", f"{command!r} is not a command that is replaced here. {did_you_mean(command, COMMANDS)}"
        )
    read: Read = import_module(COMMANDS[command][0]).read
    return read


def _parser() -> argparse.ArgumentParser:
    width = max(map(len, COMMANDS))
    listed = "\n".join(f"  {name:<{width}}  {what}" for name, (_, what) in COMMANDS.items())
    parser = argparse.ArgumentParser(
        prog="trunkcall as",
        usage="%(prog)s [--show] [--allow-from CIDR] [--api-keys env:NAME] COMMAND ...",
        description="Run an old command line as it was written, as one self-contained server.",
        epilog=f"commands:\n{listed}\n\n`trunkcall as COMMAND --help` shows the flags of one.",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--show", action="store_true", help="print the equivalent trunkcall.yaml and end")
    parser.add_argument("--allow-from", metavar="CIDR", action="append", default=[], help="who may call; repeatable")
    parser.add_argument(
        "--api-keys", metavar="REF", action="append", default=[], help="env:NAME or file:PATH of a key; repeatable"
    )
    parser.add_argument("command", metavar="COMMAND", help="the old command, see below")
    parser.add_argument("arguments", nargs=argparse.REMAINDER, metavar="...", help="its arguments")
    return parser


if __name__ == "__main__":
    sys.exit(run(sys.argv[1:]))
