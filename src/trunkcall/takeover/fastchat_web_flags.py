"""The flags of FastChat's web servers, of all their ages, and what stands in the place of those without a use here."""

from __future__ import annotations

import argparse
from typing import Any, Final

from trunkcall.takeover.fastchat_flags import add_controller, port

_PORT: Final = 7860
"""Gradio's own."""
_NO_TABLE: Final = "the leaderboard is made of the votes that are given on this page"
_GONE: Final = {
    "add_claude": "the models that it added are switched off; name those of today in --register-api-endpoint-file",
    "add_palm": "Google has switched PaLM off; name a Gemini model in --register-api-endpoint-file",
    "use_remote_storage": "conversations are not uploaded",
    "share": "no tunnel to the Internet is opened; a proxy of your own does it",
    "gradio_root_path": "the page stands at the root of a host; give it a name or a port of its own in the proxy",
    "moderate": "no text is sent to a moderation service",
    "concurrency_count": "how many requests a model answers at once is its server's to say; the others wait in a queue",
    "multimodal": "images can be given to every model that takes them, without the flag",
    "random_questions": "no example questions are shown",
    "elo_results_file": _NO_TABLE,
    "leaderboard_table_file": _NO_TABLE,
    "arena_hard_table": _NO_TABLE,
    "ga_id": "nothing is told to Google Analytics",
    "show_visualizer": "there is no visualizer",
    "anony_only_for_proprietary_model": "all models can be chosen by name",
}
"""Flags that change nothing here, and what stands in their place."""


def new_parser(prog: str) -> argparse.ArgumentParser:
    """The flags that both web servers have."""
    parser = argparse.ArgumentParser(
        prog=prog,
        description="A page to chat with the models of a FastChat controller, and OpenAI's API for them.",
        epilog="Conversations and votes are appended to DATE-conv.json in the folder LOGDIR of the environment, or "
        "else in the current one.",
    )
    parser.add_argument("--host", default="0.0.0.0", help="address to listen on (default: %(default)s)")
    parser.add_argument("--port", type=port, default=_PORT, help="port to listen on (default: %(default)s)")
    add_controller(parser)
    parser.add_argument(
        "--model-list-mode",
        choices=("once", "reload"),
        default="once",
        help="list the models that the controller has at the start, or those of the moment (default: %(default)s)",
    )
    parser.add_argument(
        "--register-api-endpoint-file", dest="endpoints", default="", metavar="FILE", help="models of other servers"
    )
    parser.add_argument(
        "--gradio-auth-path", default="", metavar="FILE", help="user:password of those who may use it, by commas"
    )
    parser.add_argument(
        "--show-terms-of-use", action="store_true", help="have terms accepted before the first question"
    )
    unused = parser.add_argument_group("accepted, and without a use here")
    unused.add_argument("--concurrency-count", type=int, metavar="N", help=_GONE["concurrency_count"])
    unused.add_argument("--gradio-root-path", metavar="PATH", help=_GONE["gradio_root_path"])
    for flag in ("--share", "--moderate", "--use-remote-storage"):
        unused.add_argument(flag, action="store_true", help=_GONE[_name(flag)])
    return parser


def add_arena(parser: argparse.ArgumentParser) -> None:
    """The flags that only the web server with the arena has, of all its ages."""
    parser.add_argument("--password", metavar="PASSWORD", help="of the page, whatever the user is called")
    parser.add_argument("--add-chatgpt", action="store_true", help="serve gpt-3.5-turbo and gpt-4, with OPENAI_API_KEY")
    unused = parser.add_argument_group("of the arena; accepted, and without a use here")
    unused.add_argument(
        "--vision-arena", "--multimodal", dest="multimodal", action="store_true", help=_GONE["multimodal"]
    )
    for flag in ("--random-questions", "--elo-results-file", "--leaderboard-table-file", "--arena-hard-table"):
        unused.add_argument(flag, metavar="FILE", help=_GONE[_name(flag)])
    unused.add_argument("--ga-id", metavar="ID", help=_GONE["ga_id"])
    for flag in ("--show-visualizer", "--add-claude", "--add-palm", "--anony-only-for-proprietary-model"):
        unused.add_argument(flag, action="store_true", help=_GONE[_name(flag)])


def unused_notes(asked: argparse.Namespace) -> list[str]:
    """What to say of the flags that were given and change nothing."""
    given: dict[str, Any] = vars(asked)
    return [f"{_flag(name)}: {why}" for name, why in _GONE.items() if given.get(name)]


def _flag(name: str) -> str:
    return f"--{name.replace('_', '-')}"


def _name(flag: str) -> str:
    return flag.removeprefix("--").replace("-", "_")
