"""What command lines of several FastChat servers have in common: a controller's address, ports, lists, TLS."""

from __future__ import annotations

import argparse
import os
from typing import Any, Final, cast
from urllib.parse import urlsplit

import msgspec

from trunkcall.core.errors import ServingError

CONTROLLER: Final = "http://localhost:21001"

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
    try:
        parts = urlsplit(text)
        sound = parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
    except ValueError:
        sound = False
    if text and (not sound or set("?#@") & set(text)):
        # Not quoted with an `@`: there is a password before it.
        shown = "the address" if "@" in text else repr(text)
        raise argparse.ArgumentTypeError(f"{shown} is not the plain URL of a server; write http://HOST:PORT")
    return text.rstrip("/")


def port(text: str) -> int:
    """A port from 0 to 65535."""
    number = int(text) if text.isascii() and text.isdigit() else -1
    if not 0 <= number <= 65535:
        raise argparse.ArgumentTypeError(f"{text!r} is not a port; give a number from 0 to 65535")
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
