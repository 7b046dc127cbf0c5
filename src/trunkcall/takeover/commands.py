"""`trunkcall as COMMAND`: the old commands by name, loaded when one is asked for."""

from __future__ import annotations

import argparse
from collections.abc import Mapping, Sequence
from importlib import import_module
from typing import TYPE_CHECKING, Final

from trunkcall.core.errors import ServingError
from trunkcall.core.text import did_you_mean

if TYPE_CHECKING:
    from trunkcall.takeover.plan import Read

COMMANDS: Final = {
    "fastchat.serve.controller": ("trunkcall.takeover.fastchat_controller", "FastChat's controller"),
    "fastchat.serve.gradio_web_server": ("trunkcall.takeover.fastchat_web", "FastChat's page for one model at a time"),
    "fastchat.serve.gradio_web_server_multi": ("trunkcall.takeover.fastchat_web_multi", "the same with the arena"),
    "fastchat.serve.launch_all_serve": (
        "trunkcall.takeover.fastchat_all",
        "controller, workers, OpenAI server in one",
    ),
    "fastchat.serve.model_worker": ("trunkcall.takeover.fastchat_model_worker", "a model for a FastChat controller"),
    "fastchat.serve.multi_model_worker": ("trunkcall.takeover.fastchat_multi_model_worker", "several models for one"),
    "fastchat.serve.openai_api_server": ("trunkcall.takeover.fastchat_openai_api_server", "FastChat's OpenAI server"),
    "fastchat.serve.sglang_worker": ("trunkcall.takeover.fastchat_sglang_worker", "a model in SGLang for a controller"),
    "fastchat.serve.vllm_worker": ("trunkcall.takeover.fastchat_vllm_worker", "a model in vLLM for a controller"),
    "kuwa-executor": ("trunkcall.takeover.kuwa_executor", "serve a model to a Kuwa kernel"),
    "kuwa-kernel": ("trunkcall.takeover.kuwa_kernel", "the Kuwa kernel"),
    "python": ("trunkcall.takeover.kuwa_custom", "a file with a Kuwa LLMExecutor class"),
    "text-generation-launcher": ("trunkcall.takeover.tgi", "TGI: one model behind its API"),
    "vllm": ("trunkcall.takeover.vllm", "`vllm serve MODEL`"),
    "vllm.entrypoints.openai.api_server": ("trunkcall.takeover.vllm_api_server", "vLLM's OpenAI server"),
}
"""Command -> module whose `read` makes a plan of its arguments, and what it is."""


Programs = Mapping[str, tuple[str, str]]
"""Command -> module whose `run` is called with its arguments and gives the exit code, and what it is."""


def run(arguments: Sequence[str], programs: Programs) -> int:
    """Run `trunkcall as ARGUMENTS`; gives the exit code. programs: old commands that serve nothing.

    Raises ServingError; SystemExit as argparse does.
    """
    parser = _parser(programs)
    asked = parser.parse_args(arguments)
    if asked.command == "python" and asked.arguments[:1] == ["-m"] and asked.arguments[1:]:
        module = asked.arguments[1]
        if module in COMMANDS or module in programs:
            # As it is printed in the old documentation; other modules are a user's own.
            asked.command, asked.arguments = module, asked.arguments[2:]
    if asked.command in programs:
        if asked.show or asked.allow_from or asked.api_keys:
            raise ServingError("bad_request", f"{asked.command} serves nothing: the flags before it have no meaning")
        code: int = import_module(programs[asked.command][0]).run(asked.arguments)
        return code
    read = _find(asked.command, programs)
    plan = read(asked.arguments)
    from trunkcall.config import networks, reference
    from trunkcall.takeover.plan import Guards, guarded, show, start

    keys = tuple(reference(word, "--api-keys") for word in asked.api_keys)
    plan = guarded(plan, Guards(networks(asked.allow_from, "--allow-from"), keys))
    if asked.show:
        print(show(plan), end="")
        return 0
    return start(plan, asked.command)


def _find(command: str, programs: Programs) -> Read:
    if command not in COMMANDS:
        known = (*COMMANDS, *programs)
        raise ServingError(
            "bad_request", f"{command!r} is not a command that is replaced here. {did_you_mean(command, known)}"
        )
    read: Read = import_module(COMMANDS[command][0]).read
    return read


def _parser(programs: Programs) -> argparse.ArgumentParser:
    commands = sorted({**COMMANDS, **programs}.items())
    width = max(len(name) for name, _ in commands)
    listed = "\n".join(f"  {name:<{width}}  {what}" for name, (_, what) in commands)
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
