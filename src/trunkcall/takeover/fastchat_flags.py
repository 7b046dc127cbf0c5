"""What command lines of several FastChat servers have in common: a controller, ports, lists, TLS, variables."""

from __future__ import annotations

import argparse
import os
from math import inf
from typing import Any, Final, cast

import msgspec

from trunkcall.core.errors import ServingError
from trunkcall.takeover.urls import fault_of

CONTROLLER: Final = "http://localhost:21001"
WORKER_TIMEOUT: Final = "FASTCHAT_WORKER_API_TIMEOUT"
"""The environment's word for the seconds that a worker may be silent in a stream."""

_BATCH: Final = "FASTCHAT_WORKER_API_EMBEDDING_BATCH_SIZE"

_VARIABLES: Final = ("SSL_CERTFILE", "SSL_KEYFILE")


def add_controller(parser: argparse.ArgumentParser, default: str = CONTROLLER) -> None:
    """The flag in both of its spellings and as it is shortened, which two spellings would make ambiguous."""
    parser.add_argument(
        "--controller-address",
        "--controller-url",
        "--controller",
        dest="controller",
        metavar="URL",
        type=url,
        default=default,
        help="where the controller is; an empty one means that there is none (default: %(default)s)",
    )


def url(text: str) -> str:
    """A server's plain URL without a slash at its end, or nothing."""
    fault = fault_of(text) if text else ""
    if fault:
        raise argparse.ArgumentTypeError(fault)
    return text.rstrip("/")


def port(text: str) -> int:
    """A port from 0 to 65535."""
    number = int(text) if text.isascii() and text.isdigit() else -1
    if not 0 <= number <= 65535:
        raise argparse.ArgumentTypeError(f"{text!r} is not a port; give a number from 0 to 65535")
    return number


def at_least_one(text: str) -> int:
    """A whole number of 1 or more."""
    number = int(text) if text.isascii() and text.isdigit() else 0
    if number < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is not a number of 1 or more")
    return number


def json_words(text: str) -> tuple[str, ...]:
    """The members of a JSON list of texts."""
    try:
        value: Any = msgspec.json.decode(text)
    except msgspec.DecodeError:
        value = None
    words = cast("list[Any]", value) if isinstance(value, list) else []
    if not isinstance(value, list) or not all(isinstance(word, str) for word in words):
        raise argparse.ArgumentTypeError(f"{text!r} is not a JSON list, such as '[\"*\"]'")
    return tuple(cast("list[str]", words))


def seconds_of(variable: str, such_as: float) -> float | None:
    """The seconds that a variable of the environment says; None where it is not set.

    Raises ServingError (bad_request), with a number such as is meant.
    """
    text = os.environ.get(variable, "")
    try:
        seconds = float(text) if text else None
    except ValueError:
        seconds = 0.0
    if seconds is not None and not 0 < seconds < inf:
        raise ServingError(
            "bad_request", f"the variable {variable} is {text!r}; give a number of seconds, such as {such_as:g}"
        )
    return seconds


def batch_of_embeddings() -> int | None:
    """Texts that a worker is sent at once, None where the environment does not say.

    Raises ServingError (bad_request).
    """
    text = os.environ.get(_BATCH, "")
    try:
        return at_least_one(text) if text else None
    except argparse.ArgumentTypeError as error:
        raise ServingError("bad_request", f"the variable {_BATCH}: {error}; give one such as 4") from None


def tls_files(wanted: bool) -> tuple[str, str]:
    """The certificate and the private key that `--ssl` means; two empty texts without it.

    Raises ServingError (bad_request) when the environment does not name them.
    """
    if not wanted:
        return "", ""
    certificate, private_key = (os.environ.get(name, "") for name in _VARIABLES)
    if not certificate or not private_key:
        raise ServingError(
            "bad_request", "--ssl: set SSL_CERTFILE and SSL_KEYFILE to the PEM files of a certificate and its key"
        )
    return os.path.abspath(certificate), os.path.abspath(private_key)
