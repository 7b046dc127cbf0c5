"""What an old command line means here: settings for one self-contained server, shown or started."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Final

import msgspec

from trunkcall import config
from trunkcall.config import Settings
from trunkcall.core.errors import ServingError
from trunkcall.home import Home, locate

_TAKING_WORKERS: Final = frozenset({"fastchat_controller", "kuwa_executor", "kuwa_kernel"})
"""Apis that ask where a caller is: workers register there, or a kernel may end an executor."""
_HOMES: Final = 64
"""Most servers of one name at a time, when their ports do not tell them apart."""


class Plan(msgspec.Struct, frozen=True):
    """An old command line in our words.

    home: the name of its state directory below HOME/as; shared: several may run, and each takes
    the first free directory of that name; secrets: what the settings refer to as env:NAME and the
    command line held; notes: what the user should know, one line each; lacking: why it can be
    shown but not started, empty when it can.
    """

    settings: Settings
    home: str
    shared: bool = False
    secrets: dict[str, str] = {}
    notes: tuple[str, ...] = ()
    lacking: str = ""


Read = Callable[[Sequence[str]], Plan]
"""Reads the arguments of an old command; ends the process as argparse does for --help and wrong use.

Raises ServingError for what cannot be done here."""


class Guards(msgspec.Struct, frozen=True):
    """What `trunkcall as` adds to an old command: who may call."""

    allow_from: tuple[str, ...] = ()
    keys: tuple[str, ...] = ()


def guarded(plan: Plan, guards: Guards) -> Plan:
    """The plan with its listeners closed to others; as open as the old command's without guards."""
    workers_from = guards.allow_from or (() if guards.keys else ("0.0.0.0/0", "::/0"))
    listen = tuple(
        msgspec.structs.replace(
            listener,
            allow_from=guards.allow_from,
            workers_from=workers_from if _TAKING_WORKERS.intersection(listener.apis) else (),
        )
        for listener in plan.settings.listen
    )
    keys = (*plan.settings.keys, *guards.keys)
    return msgspec.structs.replace(plan, settings=msgspec.structs.replace(plan.settings, listen=listen, keys=keys))


def show(plan: Plan) -> str:
    """The plan as a trunkcall.yaml, with what the user should know as comments."""
    import yaml

    tree = config.show(plan.settings)
    usual = config.show(Settings(models={}))
    written: dict[str, Any] = {key: value for key, value in tree.items() if value != usual[key]}
    written["models"] = {
        name: entry["source"] if list(entry) == ["source"] else entry for name, entry in tree["models"].items()
    }
    lines = [f"# {note}" for note in (*plan.notes, plan.lacking) if note]
    lines += [f"# set in the environment: {name}" for name in plan.secrets]
    if not plan.settings.keys and any(not config.is_loopback(found.host) for found in plan.settings.listen):
        lines.append("# `trunkcall up` asks for a key on an address like this one: keys: [env:NAME]")
    lines.append("# trunkcall up --config THIS_FILE")
    return "\n".join(lines) + "\n" + yaml.safe_dump(written, sort_keys=False, allow_unicode=True)


def start(plan: Plan, command: str) -> int:
    """Serve what the plan of an old command says until a signal; gives the exit code.

    Raises ServingError for what keeps the server from starting.
    """
    if plan.lacking:
        raise ServingError("unsupported", plan.lacking)
    for note in plan.notes:
        print(f"trunkcall: {note}", file=sys.stderr)
    os.environ.update(plan.secrets)
    from trunkcall.app import run

    return run(config.Loaded(plan.settings, None, {}), _home(plan), command)


def _home(plan: Plan) -> Home:
    root = locate(None, os.environ) / "as"
    names = [plan.home]
    if plan.shared:
        names += [f"{plan.home}-{number}" for number in range(2, _HOMES)]
    for name in names:
        home = Home(root / name)
        if not plan.shared or home.running() is None:
            return home
    raise ServingError("conflict", f"{_HOMES} servers already run below {Path(root)} as {plan.home}")
