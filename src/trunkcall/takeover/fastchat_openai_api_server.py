"""`python -m fastchat.serve.openai_api_server`: OpenAI's API in front of a controller's models."""

from __future__ import annotations

import argparse
import os
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from trunkcall.takeover.plan import Plan

NAME: Final = "fastchat.serve.openai_api_server"
KEY_NAME: Final = "TRUNKCALL_AS_KEY"
"""The environment variables through which keys of the command line reach the settings, with a number behind each."""

_ALL: Final = ("*",)


def read(arguments: Sequence[str]) -> Plan:
    """The server; ends the process for --help and wrong use.

    Raises ServingError for a file of endpoints or of TLS that cannot be used.
    """
    from trunkcall.config import Listener, Settings
    from trunkcall.takeover.fastchat_endpoints import Endpoints, read_endpoints
    from trunkcall.takeover.fastchat_flags import WORKER_TIMEOUT, batch_of_embeddings, seconds_of, tls_files
    from trunkcall.takeover.plan import Plan

    asked = _parser().parse_args(arguments)
    endpoints = read_endpoints(asked.endpoints) if asked.endpoints else Endpoints()
    certificate, private_key = tls_files(asked.ssl)
    keys = {f"{KEY_NAME}_{number}": key for number, key in enumerate(asked.api_keys, start=1)}
    options: dict[str, Any] = {"controller": asked.controller, "open": True}
    if endpoints.defaults:
        options["defaults"] = endpoints.defaults
    calls = {"stream_timeout": seconds_of(WORKER_TIMEOUT, 100), "embedding_batch": batch_of_embeddings()}
    options |= {name: value for name, value in calls.items() if value is not None}
    listener = Listener(
        asked.host,
        asked.port,
        ("fastchat_openai",),
        {"fastchat_openai": options},
        certificate=certificate,
        private_key=private_key,
    )
    settings = Settings(
        listen=(listener,),
        models=endpoints.models,
        pocket=False,
        cors=asked.allowed_origins,
        keys=tuple(f"env:{variable}" for variable in keys),
    )
    return Plan(
        settings,
        f"fastchat-openai-{asked.port}" if asked.port else "fastchat-openai",
        shared=not asked.port,
        secrets=keys | endpoints.secrets,
        notes=(*_notes(asked), *endpoints.notes),
    )


def _notes(asked: argparse.Namespace) -> list[str]:
    notes: list[str] = []
    if asked.api_keys:
        notes.append(
            "as in FastChat, /api/v1/token_check and /api/v1/chat/completions ask for no key; "
            "`trunkcall as --allow-from CIDR ...` says who may call"
        )
    if asked.allow_credentials or asked.allowed_methods != _ALL or asked.allowed_headers != _ALL:
        notes.append(
            "--allow-credentials, --allowed-methods, --allowed-headers: a path answers its own methods, with any "
            "header and no cookies"
        )
    return notes


def _parser() -> argparse.ArgumentParser:
    from trunkcall.takeover.fastchat_flags import CONTROLLER, add_controller, json_words, port

    parser = argparse.ArgumentParser(prog=NAME, description="OpenAI's API for the models of a FastChat controller.")
    parser.add_argument("--host", default="localhost", help="address to listen on (default: %(default)s)")
    parser.add_argument("--port", type=port, default=8000, help="port to listen on (default: %(default)s)")
    add_controller(parser, os.environ.get("CONTROLLER_ADDRESS") or CONTROLLER)
    parser.add_argument("--allow-credentials", action="store_true", help="accepted; cookies are not used here")
    parser.add_argument(
        "--allowed-origins", type=json_words, default=_ALL, metavar="JSON", help="origins whose pages may call"
    )
    parser.add_argument(
        "--allowed-methods", type=json_words, default=_ALL, metavar="JSON", help="accepted; a path tells its own"
    )
    parser.add_argument(
        "--allowed-headers", type=json_words, default=_ALL, metavar="JSON", help="accepted; all are allowed"
    )
    parser.add_argument(
        "--api-keys",
        type=_keys,
        default=_keys_of_environment(),
        metavar="KEY,KEY",
        help="keys of which callers must send one (default: API_KEYS of the environment, else none)",
    )
    parser.add_argument("--ssl", action="store_true", help="speak TLS with the files in SSL_CERTFILE and SSL_KEYFILE")
    parser.add_argument(
        "--register-api-endpoint-file",
        dest="endpoints",
        default="",
        metavar="FILE",
        help="models of other servers, as FastChat's web servers take them",
    )
    return parser


def _keys(text: str) -> tuple[str, ...]:
    return tuple(key for key in (word.strip() for word in text.split(",")) if key)


def _keys_of_environment() -> tuple[str, ...]:
    """A JSON list, as the original has it, or keys between commas."""
    from trunkcall.takeover.fastchat_flags import json_words

    text = os.environ.get("API_KEYS", "")
    return json_words(text) if text.lstrip().startswith("[") else _keys(text)
