"""The classes that users of Kuwa derive their executors from, of both generations."""

from __future__ import annotations

import argparse
import inspect
import logging
import os
import sys
import threading
from collections.abc import Callable, Mapping, Sequence
from contextvars import ContextVar
from functools import cached_property
from typing import Any, Final, NoReturn

from trunkcall.core.errors import ServingError
from trunkcall.protocols.kuwa import Modelfile, read_history
from trunkcall.workers.kuwa_options import DEFAULTS, General, add_general_options, new_parser, read_general
from trunkcall.workers.kuwa_relaunch import relaunch

SERVE: Final[ContextVar[Callable[[BaseExecutor], None]]] = ContextVar("SERVE")
"""What run() does in a child of ours; not set where the file was started by hand."""

_ATTRIBUTES: Final = {
    "version": "executor_iface_version",
    "ignore_kernel": "ignore_kernel",
    "https": "https",
    "host": "host",
    "port": "port",
    "executor_path": "executor_path",
    "kernel_url": "kernel_url",
    "concurrent_req_limit": "concurrent_req_limit",
    "log": "log_level",
}
"""General option -> the attribute that holds it."""


class BaseExecutor:
    """An executor that answers a request as it came: override `serve`.

    Class attributes of the options' names are their defaults. `args` and `parser` are made when they are
    first asked for, so that both kinds of `__init__` work: the one that expects arguments after it and the
    one that adds some to the parser.
    """

    executor_iface_version: str = DEFAULTS.version
    ignore_kernel: bool = DEFAULTS.ignore_kernel
    https: bool = DEFAULTS.https
    host: str | None = DEFAULTS.host
    port: int | None = DEFAULTS.port
    executor_path: str = DEFAULTS.executor_path
    kernel_url: str = DEFAULTS.kernel_url
    concurrent_req_limit: int = DEFAULTS.concurrent_req_limit
    log_level: str | int = DEFAULTS.log
    LLM_name: str | None = None
    """The first access code; `setup` may set it."""
    access_codes: Sequence[str] = ()
    concurrent_requests: int = 0
    """Requests that are being answered."""
    ready: bool = False
    """`setup` is done."""
    registered: bool = False
    """Requests can come. It is the server in front that registers with a kernel."""

    @cached_property
    def parser(self) -> argparse.ArgumentParser:
        """Reads the command line; has the general options already."""
        values: dict[str, Any] = {option: getattr(self, name) for option, name in _ATTRIBUTES.items()}
        values["log"] = _level_name(self.log_level)
        codes = tuple(self.access_codes) or ((self.LLM_name,) if self.LLM_name else None)
        parser = new_parser()
        add_general_options(parser, defaults=General(access_code=codes, **values))
        return parser

    @cached_property
    def args(self) -> argparse.Namespace:
        """What the command line says; ends the process for --help and wrong use."""
        self.extend_arguments(self.parser)
        asked = self.parser.parse_args()
        general = read_general(asked)
        for option, name in _ATTRIBUTES.items():
            setattr(self, name, getattr(general, option))
        self.access_codes = list(general.access_code or ())
        self.LLM_name = self.access_codes[0] if self.access_codes else None
        return asked

    @cached_property
    def metrics(self) -> dict[str, Any]:
        """Empty: the server in front counts, and shows it under the old names."""
        return {}

    @property
    def app(self) -> NoReturn:
        """Not there; raises AttributeError that says so."""
        raise AttributeError("app: there is no FastAPI application here, and routes of one's own are not served")

    def extend_arguments(self, parser: argparse.ArgumentParser) -> None:
        """Override to add arguments of your own, which are then in `self.args`."""

    def setup(self) -> None:
        """Override to load what is needed; called once, before the first request."""

    def serve(self, header: Mapping[str, str], content: Mapping[str, str]) -> Any:
        """Override as an asynchronous generator of text; `content` has the fields of the form."""
        raise NotImplementedError(f"{type(self).__name__} needs a method serve(self, header, content)")

    def run(self) -> None:
        """Read the command line, set up and serve until told to end.

        Started by hand, the process goes on as a server with this file behind it.
        """
        _ = self.args  # first of all: --help and wrong use end here, and need no server
        if threading.current_thread() is not threading.main_thread():
            raise RuntimeError("run() must be called in the main thread")
        serve = SERVE.get(None)
        if serve is not None:
            serve(self)
            return
        try:
            command = relaunch(sys.orig_argv, sys.executable)
        except ServingError as error:
            raise SystemExit(error.message) from None
        sys.stdout.flush()
        sys.stderr.flush()
        os.execv(command[0], command)

    def in_debug(self) -> bool:
        """Whether debugging was asked for with `--log`."""
        return _level_name(self.log_level) == "DEBUG"

    def get_reg_endpoint(self) -> str:
        """The URL of this executor, as the command line gives it; without, where this process answers."""
        scheme = "https" if self.https else "http"
        return f"{scheme}://{self.host}:{self.port}{self.executor_path}"


class LLMExecutor(BaseExecutor):
    """An executor that answers a conversation: override `llm_compute`, an asynchronous generator of text.

    It takes the history and the modelfile or, in the first generation, the fields of the form. `abort`, if
    there is one, is called to end an answer early and gives the word for the caller.
    """

    def serve(self, header: Mapping[str, str], content: Mapping[str, str]) -> Any:
        """The answer of `llm_compute`; raises ServingError (bad_request) for what is no conversation."""
        compute: Callable[..., Any] | None = getattr(self, "llm_compute", None)
        if compute is None:
            raise NotImplementedError(f"{type(self).__name__} needs a method llm_compute(self, history, modelfile)")
        if _takes_data(compute):
            return compute(content)
        history = read_history(content.get("input", "[]"))
        modelfile = Modelfile.from_json(content.get("modelfile", "[]"))
        return compute(history, modelfile.with_fields(content, header.get("accept-language", "")))


def _takes_data(compute: Callable[..., Any]) -> bool:
    """Whether this is of the first generation: one parameter, all fields."""
    kinds = [parameter.kind for parameter in inspect.signature(compute).parameters.values()]
    positional = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)
    return inspect.Parameter.VAR_POSITIONAL not in kinds and sum(kind in positional for kind in kinds) == 1


def _level_name(level: str | int) -> str:
    return level.upper() if isinstance(level, str) else logging.getLevelName(level)
