"""How FastChat's web servers are served until their pages are here: the same models at the same address, by API."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any, Final

from trunkcall import config
from trunkcall.config import Listener, Settings
from trunkcall.core.errors import ServingError
from trunkcall.core.models import ModelSettings
from trunkcall.takeover.fastchat_endpoints import Endpoints, read_endpoints
from trunkcall.takeover.fastchat_flags import add_controller, port
from trunkcall.takeover.fastchat_openai_api_server import KEY_NAME
from trunkcall.takeover.plan import Plan

_PORT: Final = 7860
"""Gradio's own."""
_CHATGPT: Final = ("gpt-3.5-turbo", "gpt-4")
"""What --add-chatgpt stands for."""
_GONE: Final = {
    "add_claude": "the models that it added are switched off; name those of today in --register-api-endpoint-file",
    "add_palm": "Google has switched PaLM off; name a Gemini model in --register-api-endpoint-file",
    "use_remote_storage": "conversations are not uploaded",
    "share": "no tunnel to the Internet is opened; a proxy of your own does it",
    "gradio_root_path": "let the proxy in front take the prefix off",
    "moderate": "no text is sent to a moderation service",
}
"""Flags that change nothing here, and what stands in their place."""
_OF_THE_PAGE: Final = (
    "concurrency_count",
    "show_terms_of_use",
    "multimodal",
    "random_questions",
    "elo_results_file",
    "leaderboard_table_file",
    "arena_hard_table",
    "ga_id",
    "show_visualizer",
    "anony_only_for_proprietary_model",
)


def new_parser(prog: str) -> argparse.ArgumentParser:
    """The flags that both web servers have."""
    parser = argparse.ArgumentParser(
        prog=prog,
        description="The models of a FastChat controller. Their chat page comes with a later version; "
        "until then a landing page and OpenAI's API answer here.",
    )
    parser.add_argument("--host", default="0.0.0.0", help="address to listen on (default: %(default)s)")
    parser.add_argument("--port", type=port, default=_PORT, help="port to listen on (default: %(default)s)")
    add_controller(parser)
    parser.add_argument(
        "--model-list-mode",
        choices=("once", "reload"),
        default="once",
        help="accepted; the list is always that of the moment",
    )
    parser.add_argument(
        "--register-api-endpoint-file", dest="endpoints", default="", metavar="FILE", help="models of other servers"
    )
    parser.add_argument(
        "--gradio-auth-path", default="", metavar="FILE", help="user:password of those who may use it, by commas"
    )
    page = parser.add_argument_group("accepted; for the page, or without a use here")
    page.add_argument("--concurrency-count", type=int, help="requests at once")
    page.add_argument("--gradio-root-path", metavar="PATH", help="a prefix of a proxy")
    for flag in ("--share", "--moderate", "--show-terms-of-use", "--use-remote-storage"):
        page.add_argument(flag, action="store_true")
    return parser


def add_arena(parser: argparse.ArgumentParser) -> None:
    """The flags that only the web server with the arena has, of all its ages."""
    arena = parser.add_argument_group("the arena: accepted; for the page, or without a use here")
    arena.add_argument("--vision-arena", "--multimodal", dest="multimodal", action="store_true", help="images")
    for flag in ("--random-questions", "--elo-results-file", "--leaderboard-table-file", "--arena-hard-table"):
        arena.add_argument(flag, metavar="FILE")
    arena.add_argument("--ga-id", metavar="ID", help="of Google Analytics, which is not used")
    arena.add_argument("--password", metavar="PASSWORD", help="of the page")
    arena.add_argument("--show-visualizer", action="store_true")
    arena.add_argument("--add-chatgpt", action="store_true", help="serve gpt-3.5-turbo and gpt-4, with OPENAI_API_KEY")
    arena.add_argument("--add-claude", action="store_true", help=_GONE["add_claude"])
    arena.add_argument("--add-palm", action="store_true", help=_GONE["add_palm"])
    arena.add_argument("--anony-only-for-proprietary-model", action="store_true")


def serve(asked: argparse.Namespace) -> Plan:
    """The plan of a web server.

    Raises ServingError (bad_request) for a file of endpoints or of users that cannot be used.
    """
    endpoints = read_endpoints(asked.endpoints) if asked.endpoints else Endpoints()
    models = {**endpoints.models, **_chatgpt(asked)}
    passwords = _passwords(asked)
    keys = {f"{KEY_NAME}_{number}": password for number, password in enumerate(passwords, start=1)}
    defaults = {name: endpoints.defaults.get(name, {}) for name in models}
    options: dict[str, Any] = {"controller": asked.controller}
    if defaults:
        options["defaults"] = defaults
    settings = Settings(
        listen=(Listener(asked.host, asked.port, ("fastchat_openai", "landing"), {"fastchat_openai": options}),),
        models=models,
        pocket=False,
        keys=tuple(f"env:{variable}" for variable in keys),
    )
    return Plan(
        settings,
        f"fastchat-web-{asked.port}" if asked.port else "fastchat-web",
        shared=not asked.port,
        secrets=keys | endpoints.secrets,
        notes=(
            "the chat page comes with a later version; until then this address has a landing page and OpenAI's API",
            *_notes(asked, bool(keys)),
            *endpoints.notes,
        ),
    )


def _chatgpt(asked: argparse.Namespace) -> dict[str, ModelSettings]:
    if not getattr(asked, "add_chatgpt", False):
        return {}
    source = "openai:https://api.openai.com/v1"
    return {name: config.model(name, f"{source}#{name}", base=Path.cwd()) for name in _CHATGPT}


def _passwords(asked: argparse.Namespace) -> list[str]:
    """Those of the users' file, and that of the page."""
    found: list[str] = [asked.password] if getattr(asked, "password", None) else []
    if not asked.gradio_auth_path:
        return found
    try:
        text = Path(asked.gradio_auth_path).expanduser().read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise ServingError(
            "bad_request", f"--gradio-auth-path: {asked.gradio_auth_path!r} cannot be read: {error}"
        ) from None
    for entry in text.replace("\n", ",").split(","):
        user, _, password = entry.strip().partition(":")
        if user and not password:
            raise ServingError(
                "bad_request", f"--gradio-auth-path: {asked.gradio_auth_path!r} has an entry that is no user:password"
            )
        if password:
            found.append(password)
    if not found:
        raise ServingError("bad_request", f"--gradio-auth-path: {asked.gradio_auth_path!r} names no user:password")
    return list(dict.fromkeys(found))


def _notes(asked: argparse.Namespace, closed: bool) -> list[str]:
    given: dict[str, Any] = vars(asked)
    notes = [f"{_flag(name)}: {why}" for name, why in _GONE.items() if given.get(name)]
    for_the_page = [_flag(name) for name in _OF_THE_PAGE if given.get(name)]
    if for_the_page:
        notes.append(f"kept for the page: {', '.join(for_the_page)}")
    if closed:
        notes.append("the passwords of --gradio-auth-path and --password are API keys until the page is here")
    return notes


def _flag(name: str) -> str:
    return f"--{name.replace('_', '-')}"
