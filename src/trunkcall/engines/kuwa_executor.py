"""How to start a custom executor of Kuwa: a user's file becomes the command of a host process."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated, Final

import msgspec

from trunkcall.core.errors import ServingError
from trunkcall.core.models import LaunchSpec, Machine, ModelSettings, read_options

_START_SECONDS: Final = 600.0

Positive = Annotated[int, msgspec.Meta(ge=1)]


class KuwaExecutorOptions(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A model's `options`.

    args: the arguments of the file, as on its command line; limit: requests that it answers at once;
    module: run this module, as `python -m` does, in place of a file; shown: what it prints appears on the
    server's stderr.
    """

    args: tuple[str, ...] = ()
    limit: Positive | None = None
    module: str = ""
    shown: bool = False


class KuwaExecutor:
    """Fits core.ports.Engine for `kuwa-executor:FILE.py`."""

    def plan(self, model: ModelSettings, machine: Machine) -> LaunchSpec:
        """The host process for the file, or for the module of the options.

        Raises ServingError (bad_request) for a file that is not there and for options that cannot work.
        """
        options = read_options(model, KuwaExecutorOptions)
        limit = options.limit or model.slots
        # In front, so that what the arguments themselves say wins.
        more = ("--concurrent_req_limit", str(limit)) if limit is not None else ()
        program = _program(model.sources[0].target, options.module)
        return LaunchSpec(
            # -P: only the file's own folder is on its path; -u: what it prints is in the log at once.
            command=(
                sys.executable,
                "-P",
                "-u",
                "-m",
                "trunkcall.workers.kuwa_executor",
                *program,
                *more,
                *options.args,
            ),
            protocol="kuwa",
            slots=limit or 1,
            start_timeout=_START_SECONDS,
            shown=options.shown,
        )


def _program(target: str, module: str) -> tuple[str, ...]:
    if module:
        if target:
            raise ServingError(
                "bad_request", "kuwa-executor: give a file or the option module, not both", param="module"
            )
        return ("-m", module)
    if not target:
        raise ServingError(
            "bad_request", "kuwa-executor needs the file of an executor; write `kuwa-executor:PATH/TO/FILE.py`"
        )
    path = Path(target).expanduser().absolute()
    if not path.is_file():
        found = "is a folder; name the .py file in it" if path.is_dir() else "does not exist"
        raise ServingError("bad_request", f"{path} {found}")
    return (str(path),)
