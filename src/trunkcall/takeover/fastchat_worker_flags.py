"""The flags that all of FastChat's workers share: where one listens, where it is found and with whom it registers."""

from __future__ import annotations

import argparse
import re
from collections.abc import Sequence
from typing import Final

import msgspec

from trunkcall.takeover.fastchat_flags import CONTROLLER, at_least_one, port, seconds_of, tls_files
from trunkcall.takeover.urls import check_url

DEFAULT_MODEL: Final = "lmsys/vicuna-7b-v1.5"

_BEAT: Final = "FASTCHAT_WORKER_HEART_BEAT_INTERVAL"


class Asked(msgspec.Struct, frozen=True, kw_only=True):
    """What a worker's command line says of the worker itself.

    address: what controllers are told, empty for the listener's own; controllers: none with --no-register; limit:
    calls answered at once; interval: tokens to a frame; beat: seconds between two signs of life; certificate and
    key: paths, empty without --ssl.
    """

    host: str
    port: int
    address: str = ""
    controllers: tuple[str, ...] = ()
    limit: int | None = None
    interval: int | None = None
    beat: float | None = None
    seed: int | None = None
    debug: bool = False
    multimodal: bool = False
    certificate: str = ""
    key: str = ""


def new_worker_parser(
    prog: str, description: str, epilog: str = "", *, limit: int | None = None
) -> argparse.ArgumentParser:
    """A parser that takes the shared flags, and each by the beginning of its name, as old scripts write them.

    limit: calls answered at once when the command line does not say; None for what the engine can do.
    """
    parser = argparse.ArgumentParser(
        prog=prog, description=description, epilog=epilog, formatter_class=argparse.ArgumentDefaultsHelpFormatter
    )
    group = parser.add_argument_group("worker")
    group.add_argument("--host", default="localhost", help="address to listen on; 0.0.0.0 for all")
    group.add_argument("--port", type=port, default=21002, help="port to listen on; 0 for a free one")
    group.add_argument("--worker-address", default="", metavar="URL", help="where controllers find it; else the above")
    group.add_argument(
        "--controller-address",
        # Written out: as mere beginnings of --controller-address and --controller-url they would fit both.
        *("--controller-url", "--controller"),
        action="append",
        metavar="URL",
        help=f"controllers to register with; repeatable, or with commas between (default: {CONTROLLER})",
    )
    group.add_argument("--no-register", action="store_true", help="register with no controller")
    group.add_argument(
        "--conv-template", action="append", metavar="NAME", help="prompts come in this template, as text"
    )
    group.add_argument(
        "--limit-worker-concurrency", type=at_least_one, default=limit, metavar="N", help="calls answered at once"
    )
    group.add_argument("--stream-interval", type=at_least_one, metavar="N", help="tokens to a frame; None: 2")
    group.add_argument("--ssl", action="store_true", help="TLS, with the files in SSL_KEYFILE and SSL_CERTFILE")
    return parser


def add_model_names(parser: argparse.ArgumentParser) -> None:
    """The flag --model-names, which takes names with commas between them."""
    parser.add_argument(
        "--model-names",
        action="append",
        type=_names,
        metavar="A,B",
        help="names under which the model is asked for (default: the last part of its path)",
    )


def read_asked(found: argparse.Namespace) -> Asked:
    """What was parsed of the shared flags.

    Raises ServingError (bad_request) for an address that cannot be one, and for --ssl without its files.
    """
    written: Sequence[str] = found.controller_address or [CONTROLLER]
    urls = [url.strip() for words in written for url in words.split(",") if url.strip()]
    certificate, key = tls_files(found.ssl)
    address: str = check_url(found.worker_address, "--worker-address") if found.worker_address else ""
    return Asked(
        host=found.host,
        port=found.port,
        address=address,
        controllers=()
        if found.no_register
        else tuple(dict.fromkeys(check_url(url, "--controller-address") for url in urls)),
        limit=found.limit_worker_concurrency,
        interval=found.stream_interval,
        beat=seconds_of(_BEAT, 45),
        seed=getattr(found, "seed", None),
        debug=getattr(found, "debug", False),
        multimodal=getattr(found, "multimodal", False),
        certificate=certificate,
        key=key,
    )


def names_of(written: Sequence[str], path: str) -> tuple[str, ...]:
    """A model's names: as written, else the last part of its path."""
    last = re.split(r"[/\\]", path.rstrip("/\\"))[-1]
    return tuple(dict.fromkeys(written)) or (re.sub(r"[\s\x00-\x1f]", "_", last),)


def _names(text: str) -> list[str]:
    names = [name.strip() for name in text.split(",")]
    if not all(names):
        raise argparse.ArgumentTypeError(f"{text!r} has an empty name in it")
    return names
