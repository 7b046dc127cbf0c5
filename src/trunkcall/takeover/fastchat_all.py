"""`python -m fastchat.serve.launch_all_serve`: controller, workers and OpenAI server, here in one process."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from trunkcall.takeover.plan import Plan

_LOCAL: Final = ("localhost", "127.0.0.1", "0.0.0.0", "::1")


def read(arguments: Sequence[str]) -> Plan:
    """One server with all of it; ends the process for --help and wrong use.

    Raises ServingError for a model that cannot be served, and for workers on other machines.
    """
    import msgspec

    from trunkcall.config import Listener
    from trunkcall.takeover.fastchat_flags import WORKER_TIMEOUT, batch_of_embeddings, seconds_of
    from trunkcall.takeover.fastchat_loading_flags import gone_notes, loaded_as
    from trunkcall.takeover.fastchat_worker_flags import Asked, names_of
    from trunkcall.takeover.fastchat_worker_serving import serve

    asked = _parser().parse_args(arguments)
    items = [_item(text) for text in asked.model_path_address]
    models = [loaded_as(asked, path, names_of((), path), asked.conv_template or "") for path, _, _ in items]
    first = Asked(host=items[0][1], port=items[0][2], limit=asked.limit_worker_concurrency, debug=asked.debug)
    plan = serve("all", first, models, gone_notes(asked))
    (told,) = plan.settings.listen
    workers: list[Listener] = []
    for (_, host, port), loaded in zip(items, models, strict=True):
        name = loaded.names[0]
        options: dict[str, Any] = {**told.options["fastchat_worker"], "names": {name: name}}
        workers.append(Listener(host, port, ("fastchat_worker",), {"fastchat_worker": options}))
    calls = {"stream_timeout": seconds_of(WORKER_TIMEOUT, 100), "embedding_batch": batch_of_embeddings()}
    served: dict[str, Any] = {"open": True, **{name: value for name, value in calls.items() if value is not None}}
    if "templates" in told.options["fastchat_worker"]:
        served["templates"] = told.options["fastchat_worker"]["templates"]
    listen = (
        Listener(asked.server_host, asked.server_port, ("fastchat_openai",), {"fastchat_openai": served}),
        Listener(
            asked.controller_host,
            asked.controller_port,
            ("fastchat_controller",),
            {"fastchat_controller": {"dispatch": asked.dispatch_method, "front": "others"}},
        ),
        *workers,
    )
    return msgspec.structs.replace(
        plan,
        settings=msgspec.structs.replace(plan.settings, listen=listen),
        home=f"fastchat-all-{asked.controller_port}",
        shared=False,
    )


def _item(text: str) -> tuple[str, str, int]:
    """`path@host@port` as its parts; raises ServingError (bad_request, unsupported)."""
    from trunkcall.core.errors import ServingError

    path, _, rest = text.partition("@")
    host, _, port = rest.partition("@")
    if not path or not host or not port.isascii() or not port.isdigit() or int(port) > 65535:
        raise ServingError("bad_request", f"--model-path-address: {text!r} is not PATH@HOST@PORT")
    if host not in _LOCAL:
        raise ServingError(
            "unsupported",
            f"--model-path-address: {text!r} is for another machine; start it there with "
            f"`trunkcall as fastchat.serve.model_worker --model-path {path} --port {port} --controller-address URL`",
        )
    return path, host, int(port)


def _parser() -> argparse.ArgumentParser:
    from trunkcall.takeover.fastchat_controller import METHODS, MISSPELT
    from trunkcall.takeover.fastchat_flags import port
    from trunkcall.takeover.fastchat_loading_flags import add_loading_flags

    parser = argparse.ArgumentParser(
        prog="fastchat.serve.launch_all_serve",
        description="Start a controller, workers and the OpenAI server, as one process.",
    )
    parser.add_argument("--controller-host", default="localhost")
    parser.add_argument("--controller-port", type=port, default=21001)
    parser.add_argument(
        "--dispatch-method",
        type=lambda word: "shortest_queue" if word == MISSPELT else word,
        choices=METHODS,
        default="shortest_queue",
    )
    parser.add_argument("--server-host", default="localhost", help="of the OpenAI server")
    parser.add_argument("--server-port", type=port, default=8001)
    parser.add_argument(
        "--model-path-address", nargs="+", required=True, metavar="PATH@HOST@PORT", help="the workers of this machine"
    )
    parser.add_argument("--conv-template", metavar="NAME", help="prompts come in this template, as text")
    parser.add_argument("--limit-worker-concurrency", type=int, default=5, metavar="N")
    add_loading_flags(parser)
    return parser
