"""Instructions and cache misses of a request, counted by valgrind: the same on a busy machine as on a quiet one."""

from __future__ import annotations

import argparse
import dataclasses
import os
import re
import subprocess
import sys
import time
from pathlib import Path

from bench.gateways import GATEWAYS, Gateway, Site, Unavailable, install_system, started, system_program, upstream
from bench.load import WORKLOADS, measure
from bench.processes import scratch, unwind_on_signals
from bench.tables import number, table

TRUNKCALL = next(gateway for gateway in GATEWAYS if gateway.name == "trunkcall")
# of the processors that were measured: 32 kB for instructions and for data, and 1 MB behind both
CACHES = ("--I1=32768,8,64", "--D1=32768,8,64", "--LL=1048576,8,64")
# instructions, misses of the two near caches, misses of the one behind them
COLUMNS = {"Ir": "instructions", "I1mr": "code", "D1mr": "data", "ILmr": "far code", "DLmr": "far data"}
# everything takes some fifty times as long
READY_SECONDS, CONTROL_SECONDS = 240.0, 60.0
WARM_UP, COUNTED = 10.0, 20.0


def counting(counts: Path) -> Gateway:
    """Trunkcall under valgrind, which follows `up` into the server; children are told apart by their process id."""

    def command(site: Site) -> list[str]:
        return [
            system_program("valgrind"), "--tool=callgrind", "--trace-children=yes", "--separate-threads=yes",
            "--cache-sim=yes", *CACHES, f"--callgrind-out-file={counts}/%p", *TRUNKCALL.command(site),
        ]  # fmt: skip

    return dataclasses.replace(TRUNKCALL, command=command, ready_within=READY_SECONDS)


def control(option: str, pid: int) -> None:
    """Tell the running server's valgrind to begin anew (-z) or to write what it has counted (-d)."""
    subprocess.run(
        [system_program("callgrind_control"), option, str(pid)],
        stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, timeout=CONTROL_SECONDS, check=True,
    )  # fmt: skip


def read(file: Path) -> dict[str, int]:
    """A thread's sums by event."""
    text = file.read_text(errors="replace")
    events = re.search(r"^events: (.+)$", text, re.MULTILINE)
    sums = re.search(r"^(?:summary|totals): (.+)$", text, re.MULTILINE)
    if events is None or sums is None:
        return {}
    return dict(zip(events[1].split(), map(int, sums[1].split()), strict=False))


def main() -> int:
    names = [workload.name for workload in WORKLOADS]
    parser = argparse.ArgumentParser(prog="python -m bench.instructions", description=__doc__)
    parser.add_argument("--workload", choices=names, default="json-32", help="(default json-32)")
    parser.add_argument("--keep", type=Path, metavar="FOLDER", help="leave callgrind's files there, for its annotate")
    options = parser.parse_args()
    unwind_on_signals()
    install_system(["valgrind", "wrk"])
    workload = next(one for one in WORKLOADS if one.name == options.workload)
    try:
        with scratch() as place:
            counts = options.keep or place / "counts"
            counts.mkdir(parents=True, exist_ok=True)
            with upstream(place) as mock, started(counting(counts), mock, place) as running:
                pid = running.child.pid
                load = {"port": running.port, "pid": None, "mock": mock, "scratch": place}
                measure(workload, seconds=WARM_UP, **load)
                control("-z", pid)
                done = measure(workload, seconds=COUNTED, **load).completed
                # what the ledger's thread still does for the last of them belongs to them
                time.sleep(1.0)
                control("-d", pid)
            rows = [
                [f"{file.suffix or file.name}", *(number(sums[name] / done) for name in COLUMNS)]
                for file in sorted(counts.glob(f"{pid}.1-*"))
                if (sums := read(file)).get("Ir", 0) > done
            ]
    except Unavailable as error:
        print(error, file=sys.stderr)
        return 1
    print(table(f"a request of {workload.title}, {done:,} counted, by thread", ["thread", *COLUMNS.values()], rows))
    print(f"\n{os.cpu_count()} cores; misses of 32 kB of code and of data each, and of 1 MB behind both (far)")
    return 0


if __name__ == "__main__":
    sys.exit(main())
