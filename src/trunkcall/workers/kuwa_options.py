"""The general options of Kuwa's executors: the flags that each of them has, built-in or a user's own."""

from __future__ import annotations

import argparse
import contextlib
from typing import Any, Final

import msgspec

LEVELS: Final = ("NOTSET", "DEBUG", "INFO", "WARNING", "ERROR", "CRITICAL")
KERNEL_URL: Final = "http://127.0.0.1:9000/"
EXECUTOR_PATH: Final = "/chat"
INTERFACE: Final = "v1.0"
DESCRIPTION: Final = "Serves one model to a Kuwa kernel."


class General(msgspec.Struct, frozen=True, kw_only=True):
    """Values of the general options, or their defaults.

    access_code: None when not given; host: None for the address of this machine's name; port: None
    for a free one.
    """

    access_code: tuple[str, ...] | None = None
    version: str = INTERFACE
    ignore_kernel: bool = False
    https: bool = False
    host: str | None = None
    port: int | None = None
    executor_path: str = EXECUTOR_PATH
    kernel_url: str = KERNEL_URL
    concurrent_req_limit: int = 1
    log: str = "INFO"


DEFAULTS: Final = General()


def new_parser(prog: str | None = None, description: str = DESCRIPTION) -> argparse.ArgumentParser:
    """A parser whose help shows defaults; the general options are added last, after an executor's own."""
    return argparse.ArgumentParser(
        prog=prog,
        description=description,
        formatter_class=argparse.ArgumentDefaultsHelpFormatter,
        # Not each version of Kuwa had all general options: a user's own of the same name wins.
        conflict_handler="resolve",
    )


def add_general_options(parser: argparse.ArgumentParser, *, defaults: General = DEFAULTS) -> None:
    """Give a parser the group "General Options"; `read_general` reads what it parsed."""
    group = parser.add_argument_group("General Options")
    group.add_argument(
        "--access_code", nargs="+", default=defaults.access_code, help="names under which the kernel offers the model"
    )
    group.add_argument("--version", default=defaults.version, help="version of the kernel's interface, in its URLs")
    group.add_argument(
        "--ignore_kernel", action="store_true", default=defaults.ignore_kernel, help="do not register with a kernel"
    )
    group.add_argument(
        "--https", action="store_true", default=defaults.https, help="tell the kernel that this is reached by https"
    )
    group.add_argument(
        "--host", default=defaults.host, help="address to listen on and to tell the kernel; None: this machine's"
    )
    group.add_argument("--port", type=_port, default=defaults.port, help="port to listen on; None: a free one")
    group.add_argument(
        "--executor_path", type=_path, default=defaults.executor_path, help="path that answers the kernel"
    )
    group.add_argument("--kernel_url", default=defaults.kernel_url, help="where the kernel is")
    group.add_argument(
        "--concurrent_req_limit",
        type=_at_least_one,
        default=defaults.concurrent_req_limit,
        help="requests answered at the same time",
    )
    group.add_argument("--log", type=str.upper, choices=LEVELS, default=defaults.log.upper(), help="how much is logged")


def read_general(asked: argparse.Namespace) -> General:
    """The general options that a parser found; others are passed over, also where they have the same name."""
    values: dict[str, Any] = {}
    for field in msgspec.structs.fields(General):
        with contextlib.suppress(AttributeError, msgspec.ValidationError):
            values[field.name] = msgspec.convert(getattr(asked, field.name), field.type)
    return General(**values)


def _port(text: str) -> int:
    number = int(text) if text.isascii() and text.isdigit() else -1
    if not 0 <= number <= 65535:
        raise argparse.ArgumentTypeError(f"{text!r} is not a port; give a number from 0 to 65535")
    return number


def _path(text: str) -> str:
    path = text.rstrip("/")
    if not path.startswith("/"):
        raise argparse.ArgumentTypeError(f"{text!r} is not a path; give one such as /chat")
    return path


def _at_least_one(text: str) -> int:
    number = int(text) if text.isascii() and text.isdigit() else 0
    if number < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is not a number of requests; give 1 or more")
    return number
