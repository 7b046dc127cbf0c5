"""The flags that all of FastChat's workers share: where one listens, where it is found and with whom it registers."""

from __future__ import annotations

import argparse
import os
import re
from collections.abc import Sequence
from typing import Final

import msgspec

from trunkcall.core.errors import ServingError
from trunkcall.takeover.kuwa_models import check_url

DEFAULT_MODEL: Final = "lmsys/vicuna-7b-v1.5"

_BEAT: Final = "FASTCHAT_WORKER_HEART_BEAT_INTERVAL"
_KEY_FILE: Final = "SSL_KEYFILE"
_CERTIFICATE_FILE: Final = "SSL_CERTFILE"


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
    group.add_argument("--port", type=_port, default=21002, help="port to listen on; 0 for a free one")
    group.add_argument("--worker-address", default="", metavar="URL", help="where controllers find it; else the above")
    group.add_argument(
        "--controller-address",
        # Written out: as mere beginnings of --controller-address and --controller-url they would fit both.
        *("--controller-url", "--controller"),
        action="append",
        metavar="URL",
        help="controllers to register with; repeatable, or with commas between (default: http://localhost:21001)",
    )
    group.add_argument("--no-register", action="store_true", help="register with no controller")
    group.add_argument(
        "--conv-template", action="append", metavar="NAME", help="prompts come in this template, as text"
    )
    group.add_argument(
        "--limit-worker-concurrency", type=_at_least_one, default=limit, metavar="N", help="calls answered at once"
    )
    group.add_argument("--stream-interval", type=_at_least_one, metavar="N", help="tokens to a frame; None: 2")
    group.add_argument("--ssl", action="store_true", help=f"TLS, with the files in {_KEY_FILE} and {_CERTIFICATE_FILE}")
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
    written: Sequence[str] = found.controller_address or ["http://localhost:21001"]
    urls = [url.strip() for words in written for url in words.split(",") if url.strip()]
    certificate, key = _tls_files() if found.ssl else ("", "")
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
        beat=_beat(),
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


def _beat() -> float | None:
    text = os.environ.get(_BEAT, "")
    try:
        seconds = float(text) if text else None
    except ValueError:
        seconds = 0.0
    if seconds is not None and not 0 < seconds < float("inf"):
        raise ServingError("bad_request", f"the variable {_BEAT} is {text!r}; give a number of seconds, such as 45")
    return seconds


def _tls_files() -> tuple[str, str]:
    found = [os.environ.get(name, "") for name in (_CERTIFICATE_FILE, _KEY_FILE)]
    if not all(found):
        raise ServingError(
            "bad_request", f"--ssl needs the variables {_KEY_FILE} and {_CERTIFICATE_FILE}, with the paths of PEM files"
        )
    return os.path.abspath(found[0]), os.path.abspath(found[1])


def _names(text: str) -> list[str]:
    names = [name.strip() for name in text.split(",")]
    if not all(names):
        raise argparse.ArgumentTypeError(f"{text!r} has an empty name in it")
    return names


def _port(text: str) -> int:
    number = int(text) if text.isascii() and text.isdigit() else -1
    if not 0 <= number <= 65535:
        raise argparse.ArgumentTypeError(f"{text!r} is not a port; give a number from 0 to 65535")
    return number


def _at_least_one(text: str) -> int:
    number = int(text) if text.isascii() and text.isdigit() else 0
    if number < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is not a number of 1 or more")
    return number
