"""`fastchat.serve.controller`: the flags of the old controller."""

from __future__ import annotations

import argparse
import os
from collections.abc import Sequence
from typing import Final

from trunkcall.apis.fastchat_controller import expiration
from trunkcall.config import Listener, Settings
from trunkcall.takeover.fastchat_flags import port, tls_files
from trunkcall.takeover.plan import Plan

METHODS: Final = ("lottery", "shortest_queue")
MISSPELT: Final = "shorteset_queue"
"""As the Intelligent Systems Lab's page writes it."""

_API: Final = "fastchat_controller"
_IGNORED: Final = {
    "LOGDIR": "log files are not written: what is logged is on standard error",
    "FASTCHAT_WORKER_API_TIMEOUT": "a worker that says nothing for 120 s is given up",
}


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
    options = {"dispatch": asked.dispatch_method, "front": "none", "expiration": expiration(os.environ)}
    listener = Listener(
        asked.host, asked.port, (_API,), {_API: options}, certificate=certificate, private_key=private_key
    )
    notes = tuple(f"{name} is set, and not used: {why}" for name, why in _IGNORED.items() if os.environ.get(name))
    return Plan(Settings(listen=(listener,), pocket=False), f"fastchat-controller-{asked.port}", notes=notes)
