"""FastChat's web servers in our words: our page at their address, with their tabs, limits, users and logs."""

from __future__ import annotations

import argparse
import os
from pathlib import Path
from typing import Any, Final

from trunkcall import config
from trunkcall.config import Listener, Settings
from trunkcall.core.errors import ServingError
from trunkcall.core.models import ModelSettings
from trunkcall.takeover.fastchat_endpoints import Endpoints, read_endpoints
from trunkcall.takeover.fastchat_openai_api_server import KEY_NAME
from trunkcall.takeover.fastchat_web_flags import unused_notes
from trunkcall.takeover.fastchat_web_users import read_users
from trunkcall.takeover.plan import Plan

_SINGLE: Final = ("chat",)
_ARENA: Final = ("battle", "compare", "chat")
"""Pages in the order of FastChat's tabs."""
_MOST_CHARACTERS: Final = 12000
_MOST_TURNS: Final = 50
_LOGS: Final = "LOGDIR"
"""The environment's word for the folder of conversations."""
_PARAMETERS: Final = {"temperature": 0.7, "top_p": 1.0, "max_tokens": 1024}
"""With which the old page began, and which its logs tell."""
_TERMS: Final = """This page is for trying language models out. By using it you agree that:
- what the models say may be false, offensive or harmful, and is yours to judge;
- you do not use it for anything unlawful, violent, hateful or sexual, nor to do harm to others;
- you enter no private data: what is said here, and how you vote, is recorded for those who run this server;
- it comes without any warranty."""
_CHATGPT: Final = ("gpt-3.5-turbo", "gpt-4")
"""What --add-chatgpt stands for."""


def serve(asked: argparse.Namespace, *, arena: bool = False) -> Plan:
    """The plan of a web server; arena: of that with battles.

    Raises ServingError (bad_request) for a file of endpoints or of users, or a LOGDIR, that cannot be used.
    """
    endpoints = read_endpoints(asked.endpoints) if asked.endpoints else Endpoints()
    models = {**endpoints.models, **_chatgpt(asked)}
    secrets = read_users(asked.gradio_auth_path) if asked.gradio_auth_path else []
    if getattr(asked, "password", None):
        secrets.append(asked.password)
    keys = {f"{KEY_NAME}_{number}": secret for number, secret in enumerate(secrets, start=1)}
    called: dict[str, Any] = {
        "controller": asked.controller,
        "errors": "openai",
        "once": asked.model_list_mode == "once",
        "defaults": {name: endpoints.defaults.get(name, {}) for name in models},
    }
    folder, unlogged = _folder()
    shown: dict[str, Any] = {
        "pages": list(_ARENA if arena else _SINGLE),
        "locked": True,
        "conversations": folder,
        "sign_in": "password" if keys else "",
        "terms": _TERMS if asked.show_terms_of_use else "",
        "most_characters": _MOST_CHARACTERS,
        "most_turns": _MOST_TURNS,
        "parameters": _PARAMETERS,
    }
    options = {"fastchat_openai": _given(called) | {"controller": asked.controller}, "web": _given(shown)}
    settings = Settings(
        listen=(Listener(asked.host, asked.port, ("fastchat_openai", "web", "landing"), options),),
        models=models,
        pocket=False,
        keys=tuple(f"env:{variable}" for variable in keys),
    )
    return Plan(
        settings,
        f"fastchat-web-{asked.port}" if asked.port else "fastchat-web",
        shared=not asked.port,
        secrets=keys | endpoints.secrets,
        notes=(*unlogged, *unused_notes(asked), *_opened(bool(keys)), *endpoints.notes),
    )


def _given(options: dict[str, Any]) -> dict[str, Any]:
    """Without what says nothing."""
    return {name: value for name, value in options.items() if value}


def _folder() -> tuple[str, list[str]]:
    """Where conversations are logged, and what the user should know of it.

    Raises ServingError (bad_request) for a LOGDIR that cannot be written to.
    """
    given = os.environ.get(_LOGS, "")
    folder = Path(given or ".").absolute()
    there = next(path for path in (folder, *folder.parents) if path.exists())
    if there.is_dir() and os.access(there, os.W_OK | os.X_OK):
        return str(folder), []
    if given:
        raise ServingError(
            "bad_request", f"{_LOGS}: conversations cannot be logged in {given!r}; name a folder that can be written to"
        )
    return "", [f"conversations and votes are not logged: {folder} cannot be written to; set {_LOGS} to a folder"]


def _chatgpt(asked: argparse.Namespace) -> dict[str, ModelSettings]:
    if not getattr(asked, "add_chatgpt", False):
        return {}
    source = "openai:https://api.openai.com/v1"
    return {name: config.model(name, f"{source}#{name}", base=Path.cwd()) for name in _CHATGPT}


def _opened(closed: bool) -> tuple[str, ...]:
    if not closed:
        return ()
    return (
        "the page and the API below /v1 are for the same people: the API's keys are USER:PASSWORD of "
        "--gradio-auth-path, and what --password says",
    )
