"""`fastchat.serve.controller`: the flags of the old controller."""

from __future__ import annotations

import argparse
import os
from collections.abc import Sequence
from typing import Any, Final

from trunkcall.apis.fastchat_controller import expiration
from trunkcall.config import Listener, Settings
from trunkcall.takeover.fastchat_flags import WORKER_TIMEOUT, port, seconds_of, tls_files
from trunkcall.takeover.plan import Plan

METHODS: Final = ("lottery", "shortest_queue")
MISSPELT: Final = "shorteset_queue"
"""As the Intelligent Systems Lab's page writes it."""

_API: Final = "fastchat_controller"
_LOGS: Final = "LOGDIR"


def read(arguments: Sequence[str]) -> Plan:
    """The controller as a server of ours; ends the process for --help and wrong use."""
    parser = argparse.ArgumentParser(
        prog="fastchat.serve.controller",
        description="Knows the workers that register with it, and tells clients which of them to ask.",
        formatter_class=argparse.ArgumentDefaultsHelpFormatter,
    )
    parser.add_argument("--host", default="localhost", help="address to listen on")
    parser.add_argument("--port", type=port, default=21001, help="port to listen on")
    parser.add_argument(
        "--dispatch-method",
        type=lambda word: "shortest_queue" if word == MISSPELT else word,
        choices=METHODS,
        default="shortest_queue",
        help="how a model's worker is chosen",
    )
    parser.add_argument("--ssl", action="store_true", help="speak TLS with the files SSL_CERTFILE and SSL_KEYFILE")
    asked = parser.parse_args(arguments)
    certificate, private_key = tls_files(asked.ssl)
    options: dict[str, Any] = {
        "dispatch": asked.dispatch_method,
        "front": "none",
        "expiration": expiration(os.environ),
    }
    silence = seconds_of(WORKER_TIMEOUT, 100)
    if silence is not None:
        options["stream_timeout"] = silence
    listener = Listener(
        asked.host, asked.port, (_API,), {_API: options}, certificate=certificate, private_key=private_key
    )
    notes: tuple[str, ...] = ()
    if os.environ.get(_LOGS):
        notes = (f"{_LOGS} is set, and not used: what is logged is on standard error",)
    return Plan(Settings(listen=(listener,), pocket=False), f"fastchat-controller-{asked.port}", notes=notes)
