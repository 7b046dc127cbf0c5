"""How to start any other server: a command with a place for its port, a path that tells when it is ready."""

from __future__ import annotations

import os
import shlex
import shutil
from typing import Annotated, Final

import msgspec

from trunkcall.core.errors import ServingError
from trunkcall.core.models import LaunchSpec, Machine, ModelSettings, read_options
from trunkcall.engines.launched import (
    GRACE_SECONDS,
    LATE_SECONDS,
    RUNNER_SECONDS,
    START_SECONDS,
    Positive,
    Seconds,
    runner,
)
from trunkcall.protocols.outside_host import OutsideSettings, places

ENGINE: Final = "command"
DEFAULT_SLOTS: Final = 16

_FORM: Final = "write `command:PROGRAM WORD ... {port} ...`, or its words as the option command"

Path = Annotated[str, msgspec.Meta(pattern=r"^(/[!-~]*)?$")]


class CommandOptions(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A model's `options`.

    command: the words, or one text that is divided as a shell does it, without a shell; `{port}` in it becomes a free
    port, `{port2}` to `{port9}` further ones, `{host}` the address to listen at. health: the path that answers with
    the status `ready` as soon as, and as long as, the server can be asked; empty: it is enough that it takes
    connections. protocol: what it speaks; path: where that begins, empty for the usual place. slots: requests that it
    is given at once; start_seconds: how long it may load; patience: seconds for which it may leave `health`
    unanswered, which a server that answers in turn does while it generates; grace: seconds that it has to end.
    """

    command: tuple[str, ...] | str = ()
    health: Path = "/health"
    ready: Annotated[int, msgspec.Meta(ge=200, le=599)] = 200
    protocol: str = "openai"
    path: Path = ""
    slots: Positive | None = None
    start_seconds: Seconds = START_SECONDS
    patience: Seconds = 60.0
    grace: Seconds = GRACE_SECONDS


class Command:
    """Fits core.ports.Engine for `command:PROGRAM WORD ...`, and for a bare `command` with the option of that name."""

    def plan(self, model: ModelSettings, machine: Machine) -> LaunchSpec:
        """The runner with the command.

        Raises ServingError (bad_request) for a command that cannot be started or has no place for the port.
        """
        options = read_options(model, CommandOptions)
        command = _command(model, options)
        return LaunchSpec(
            command=runner(
                OutsideSettings(
                    name=os.path.basename(command[0]),
                    command=command,
                    health=options.health,
                    ready=options.ready,
                    base=options.path.rstrip("/"),
                    patience=options.patience,
                    start_seconds=options.start_seconds,
                    grace=options.grace,
                )
            ),
            protocol=options.protocol,
            slots=options.slots or model.slots or DEFAULT_SLOTS,
            start_timeout=options.start_seconds + LATE_SECONDS + options.grace,
            grace=options.grace + RUNNER_SECONDS,
            engine=ENGINE,
            why="the source is its command",
            model=model.sources[0].model,
        )


def _command(model: ModelSettings, options: CommandOptions) -> tuple[str, ...]:
    target = model.sources[0].target
    if target and options.command:
        raise ServingError("bad_request", "command: give the command in the source or as the option", param="command")
    said = target or options.command
    try:
        words = tuple(shlex.split(said)) if isinstance(said, str) else said
    except ValueError as error:
        raise ServingError("bad_request", f"command: {said!r} cannot be read: {error}", param="command") from error
    if not words:
        raise ServingError("bad_request", f"command: there is none; {_FORM}", param="command")
    if "port" not in places(words):
        raise ServingError(
            "bad_request",
            f"command: {shlex.join(words)} has no {{port}}, where we put a free port; {_FORM}",
            param="command",
        )
    program = shutil.which(os.path.expanduser(words[0]))
    if program is None:
        raise ServingError("bad_request", f"command: {words[0]} is no program that can be started", param="command")
    return (os.path.abspath(program), *words[1:])
