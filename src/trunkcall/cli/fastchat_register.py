"""`fastchat.serve.register_worker`: tell a controller of a worker by hand."""

from __future__ import annotations

import argparse
from collections.abc import Sequence

from trunkcall.cli.client import Server
from trunkcall.cli.fastchat_client import controller_flag, models
from trunkcall.core.errors import ServingError


def run(arguments: Sequence[str]) -> int:
    """Register; gives the exit code.

    A controller answers the same whether it took the worker or not, so it is asked for its models before and after.
    Raises ServingError when the controller does not answer.
    """
    parser = argparse.ArgumentParser(
        prog="fastchat.serve.register_worker", description="Register a worker with a controller by hand."
    )
    controller_flag(parser)
    parser.add_argument("--worker-name", "--worker", metavar="URL", required=True, help="where the worker answers")
    parser.add_argument("--check-heart-beat", action="store_true", help="forget the worker when it beats no more")
    parser.add_argument("--multimodal", action="store_true", help="the worker takes images")
    asked = parser.parse_args(arguments)
    controller = Server(asked.controller_address)
    try:
        Server(asked.worker_name).call("POST", "/worker_get_status", {})
    except ServingError as error:
        raise ServingError(
            "unreachable", f"the worker at {asked.worker_name} does not answer, so no controller takes it"
        ) from error
    entry = {
        "worker_name": asked.worker_name,
        "check_heart_beat": asked.check_heart_beat,
        "worker_status": None,
        "multimodal": asked.multimodal,
    }
    controller.call("POST", "/register_worker", entry)
    print(f"{asked.worker_name} is registered; the controller's models are now: {', '.join(models(controller))}")
    return 0
