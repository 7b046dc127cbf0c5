"""`kuwa-kernel`: the flags of the old kernel."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from trunkcall.config import Listener, Settings
from trunkcall.config_file import LogLevel
from trunkcall.takeover.plan import Plan

OUR_LEVELS: Final[dict[str, LogLevel]] = {
    "NOTSET": "debug",
    "DEBUG": "debug",
    "INFO": "info",
    "WARNING": "warning",
    "ERROR": "error",
    "CRITICAL": "error",
}
OLD_RECORDS: Final = "records.pickle"


def read(arguments: Sequence[str]) -> Plan:
    """The kernel as a server of ours; ends the process for --help and wrong use."""
    parser = argparse.ArgumentParser(
        prog="kuwa-kernel",
        description="Routes chats to the executors that register with it.",
        formatter_class=argparse.ArgumentDefaultsHelpFormatter,
    )
    parser.add_argument(
        "--log_level", type=str.upper, choices=tuple(OUR_LEVELS), default="INFO", help="how much is logged"
    )
    parser.add_argument("--host", default="0.0.0.0", help="address to listen on")
    parser.add_argument("--port", type=int, default=9000, help="port to listen on")
    asked = parser.parse_args(arguments)
    settings = Settings(
        listen=(Listener(asked.host, asked.port, ("kuwa_kernel",)),),
        pocket=False,
        log_level=our_level(asked.log_level),
    )
    notes: tuple[str, ...] = ()
    if Path(OLD_RECORDS).exists():
        notes = (
            f"{OLD_RECORDS} here is not read, because reading a pickle runs what is in it. Executors that are started "
            "now register by themselves; for those that run, `curl -d name=NAME -d endpoint=URL "
            f"http://127.0.0.1:{asked.port}/v1.0/worker/register` does it",
        )
    return Plan(settings, f"kuwa-kernel-{asked.port}", notes=notes)


def our_level(word: str) -> LogLevel:
    """Python's name of a log level in our words."""
    return OUR_LEVELS[word.upper()]
