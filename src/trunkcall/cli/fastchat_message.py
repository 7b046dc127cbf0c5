"""`fastchat.serve.test_message`: one question to a worker, and its answer as it comes."""

from __future__ import annotations

import argparse
from collections.abc import Sequence

from trunkcall.cli.client import Server
from trunkcall.cli.fastchat_client import answer, find_worker, models, question, template_of, worker_flags
from trunkcall.core.errors import ServingError
from trunkcall.core.requests import Sampling


def run(arguments: Sequence[str]) -> int:
    """Ask; gives the exit code. Raises ServingError for whoever does not answer."""
    parser = argparse.ArgumentParser(
        prog="fastchat.serve.test_message", description="Ask a worker one question and print its answer."
    )
    worker_flags(parser)
    parser.add_argument("--temperature", type=float, default=0.0)
    parser.add_argument("--max-new-tokens", type=int, default=32)
    parser.add_argument("--message", default="Tell me a short story.", help="what is asked")
    asked = parser.parse_args(arguments)
    address: str = asked.worker_address or ""
    if not address:
        controller = Server(asked.controller_address)
        print(f"Models: {models(controller)}")
        try:
            address = find_worker(controller, asked.model_name)
        except ServingError as error:
            if error.kind != "no_model":
                raise
            print(error.message)
            return 1
    print(f"worker_addr: {address}")
    worker = Server(address)
    template = template_of(worker, asked.model_name)
    print(f"user: {asked.message}\nassistant: ", end="", flush=True)
    request = question(
        asked.model_name,
        asked.message,
        Sampling(max_tokens=asked.max_new_tokens, temperature=asked.temperature),
    )
    for piece in answer(worker, request, template):
        print(piece, end="", flush=True)
    print()
    return 0
