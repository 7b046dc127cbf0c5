"""Every gateway against one mock upstream in interleaved rounds, as tables with ratios and the bars."""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import platform
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from bench.gateways import (
    CACHE,
    GATEWAYS,
    TRANSLATED,
    Gateway,
    Running,
    Unavailable,
    install,
    install_system,
    started,
    system_program,
    upstream,
    version,
)
from bench.load import WORKLOADS, Sample, Workload, WrongAnswer, check, measure
from bench.processes import scratch, unwind_on_signals
from bench.tables import Bar, bars_table, median, number, table

DIRECT = "(no gateway)"
RUST = ("sglang-router", "vllm-router")


@dataclass
class Results:
    """What has been measured so far; a round's samples of one workload are compared with one another only."""

    samples: dict[tuple[str, str], list[Sample | None]] = field(
        default_factory=dict[tuple[str, str], "list[Sample | None]"]
    )
    failures: dict[str, str] = field(default_factory=dict[str, str])
    wrong: dict[tuple[str, str], str] = field(default_factory=dict[tuple[str, str], str])
    starts: dict[str, Running] = field(default_factory=dict[str, Running])

    def note(self, workload: Workload, name: str, sample: Sample | None) -> None:
        self.samples.setdefault((workload.name, name), []).append(sample)

    def of(self, workload: str, name: str) -> list[Sample | None]:
        return self.samples.get((workload, name), [])

    def median(self, workload: str, name: str, figure: Callable[[Sample], float | None]) -> float | None:
        return median(figure(sample) for sample in self.of(workload, name) if sample)

    def ratio(
        self,
        workload: str,
        name: str,
        others: Sequence[str],
        figure: Callable[[Sample], float | None],
        best: Callable[..., float] = max,
    ) -> float | None:
        """The median over the rounds of the figure against the best of the others' in the same round."""
        ratios: list[float | None] = []
        for at, sample in enumerate(self.of(workload, name)):
            rivals = [
                found
                for other in others
                if at < len(self.of(workload, other))
                and (rival := self.of(workload, other)[at])
                and (found := figure(rival))
            ]
            mine = figure(sample) if sample else None
            if mine is not None and rivals:
                ratios.append(mine / best(rivals))
        return median(ratios)


def rate(sample: Sample) -> float:
    return sample.per_second


def cpu(sample: Sample) -> float | None:
    return sample.cpu_us


def measured(
    results: Results, workload: Workload, running: Running | None, mock: int, seconds: float, place: Path
) -> None:
    """One run into the results; an answer that is wrong, or no answer, is a result too."""
    name = running.gateway.name if running else DIRECT
    sample = None
    if (workload.name, name) not in results.wrong:
        try:
            check(workload, running.port if running else mock, mock)
            sample = measure(
                workload,
                port=running.port if running else mock,
                pid=running.child.pid if running else None,
                mock=mock,
                seconds=seconds,
                scratch=place,
            )
        except (WrongAnswer, OSError) as error:
            results.wrong[workload.name, name] = str(error) or type(error).__name__
    results.note(workload, name, sample)


def interleave(
    results: Results, gateways: Sequence[Gateway], mock: int, rounds: int, seconds: float, place: Path
) -> None:
    """Starts these gateways one after another, then loads them in turn, there and back, workload by workload."""
    with contextlib.ExitStack() as stack:
        runners: list[Running] = []
        for gateway in gateways:
            say(f"starting {gateway.name}")
            try:
                runners.append(stack.enter_context(started(gateway, mock, place)))
                results.starts[gateway.name] = runners[-1]
            except (Unavailable, OSError) as error:
                results.failures[gateway.name] = str(error)
        for workload in WORKLOADS:
            entrants: list[Running | None] = [
                running for running in runners if workload.name not in running.gateway.skips
            ]
            if not entrants:
                continue
            # the mock alone shows where the tools themselves are the limit
            if workload.name != TRANSLATED and not any(gateway.alone for gateway in gateways):
                entrants.insert(0, None)
            say(f"{workload.name}: {rounds} x {len(entrants)} runs of {seconds:.0f} s")
            for turn in range(rounds):
                for running in entrants if turn % 2 == 0 else reversed(entrants):
                    measured(results, workload, running, mock, seconds, place)


def say(text: str) -> None:
    print(f"[{time.monotonic() - BEGAN:5.0f} s] {text}", file=sys.stderr, flush=True)


BEGAN = time.monotonic()


def workload_table(results: Results, workload: Workload, names: Sequence[str]) -> str:
    unit = "chunk" if workload.paced else "stream" if workload.shape == "stream" else "request"
    head = [
        "gateway",
        f"{unit}s/s",
        "of nginx",
        "of Rust",
        f"CPU us/{unit}",
        "CPU/nginx",
        "p50 ms",
        "p99 ms",
        *(["first byte ms"] if workload.paced else []),
        "errors",
    ]
    rows: list[list[str]] = []
    for name in names:
        samples = [sample for sample in results.of(workload.name, name) if sample]
        reason = "did not start" if name in results.failures else results.wrong.get((workload.name, name), "0")
        if not samples:
            rows.append([name, *["-"] * (len(head) - 2), reason])
            continue
        errors = sum(sample.errors for sample in samples)
        kinds = next((sample.errors_text for sample in samples if sample.errors), "")
        row = [
            name,
            number(results.median(workload.name, name, rate)),
            number(results.ratio(workload.name, name, ["nginx"], rate), 2),
            number(results.ratio(workload.name, name, RUST, rate), 2),
            number(results.median(workload.name, name, cpu), 2 if workload.paced else 0),
            number(results.ratio(workload.name, name, ["nginx"], cpu), 2),
            number(results.median(workload.name, name, lambda sample: sample.p50_ms), 2),
            number(results.median(workload.name, name, lambda sample: sample.p99_ms), 2),
        ]
        if workload.paced:
            row.append(number(results.median(workload.name, name, lambda sample: sample.first_byte_ms), 2))
        rows.append([*row, f"{errors} ({kinds})" if errors else reason])
    return table(f"{workload.name}: {workload.title}", head, rows)


def start_table(results: Results, gateways: Sequence[Gateway]) -> str:
    rows: list[list[str]] = []
    for gateway in gateways:
        running = results.starts.get(gateway.name)
        if running is None:
            rows.append([gateway.name, "-", "-", "-", results.failures.get(gateway.name, "not run")])
        else:
            rows.append(
                [gateway.name, version(gateway), f"{running.first_200:.2f}", f"{running.idle_rss_mb:.0f}", "ok"]
            )
    return table(
        "start: seconds to the first answer with status 200, memory of the whole process tree at rest",
        ["gateway", "version", "first 200 s", "idle RSS MB", "state"],
        rows,
    )


def bars(results: Results) -> list[Bar]:
    ours = "trunkcall"
    start = results.starts.get(ours)
    translated, plain = results.median(TRANSLATED, ours, cpu), results.median("paced-96", "nginx", cpu)
    return [
        Bar("CPU us per request, JSON, 32 connections", results.median("json-32", ours, cpu), 150),
        Bar("the same against sglang-router's", results.ratio("json-32", ours, ["sglang-router"], cpu), 1),
        Bar(
            "streams/s back to back, 32 connections, against the better Rust router",
            results.ratio("stream-32", ours, RUST, rate),
            1,
            at_least=True,
        ),
        Bar(
            "req/s, one process, against the better Rust router",
            results.ratio("json-32", ours, RUST, rate),
            0.8,
            at_least=True,
        ),
        Bar("CPU per chunk, 96 paced streams, against nginx's", results.ratio("paced-96", ours, ["nginx"], cpu), 2.2),
        Bar("the same against sglang-router's", results.ratio("paced-96", ours, ["sglang-router"], cpu), 1),
        Bar(
            "the same, translated, against nginx's untranslated",
            translated / plain if translated and plain else None,
            3.5,
        ),
        Bar("idle memory with all children, MB", start.idle_rss_mb if start else None, 70),
        Bar("first 200 after start, s", start.first_200 if start else None, 1.0),
    ]


def prepare(gateways: Sequence[Gateway], results: Results) -> list[Gateway]:
    """Installs what is missing, side by side; those that cannot be installed are noted as failed."""
    CACHE.mkdir(exist_ok=True)
    say("installing what is missing")
    install_system(["wrk", "gcc", *(["nginx"] if any(gateway.name == "nginx" for gateway in gateways) else [])])
    system_program("wrk")

    results.failures.update(install(gateways))
    return [gateway for gateway in gateways if gateway.name not in results.failures]


def as_json(results: Results) -> str:
    return json.dumps(
        {
            "machine": {"python": platform.python_version(), "kernel": platform.release(), "cores": os.cpu_count()},
            "samples": [
                {
                    "workload": workload,
                    "gateway": name,
                    "rounds": [sample.as_dict() if sample else None for sample in samples],
                }
                for (workload, name), samples in results.samples.items()
            ],
            "starts": {
                name: {"first_200_s": running.first_200, "idle_rss_mb": running.idle_rss_mb}
                for name, running in results.starts.items()
            },
            "failures": results.failures,
            "wrong": [
                {"workload": workload, "gateway": name, "reason": reason}
                for (workload, name), reason in results.wrong.items()
            ],
        },
        indent=1,
    )


def main() -> int:
    names = [gateway.name for gateway in GATEWAYS]
    parser = argparse.ArgumentParser(prog="python -m bench.head_to_head", description=__doc__)
    parser.add_argument(
        "--quick",
        action="store_true",
        help="one round of one second and no LiteLLM: shows that everything works, not how fast it is",
    )
    parser.add_argument("--only", metavar="NAMES", help=f"some of {','.join(names)}")
    parser.add_argument(
        "--seconds",
        type=int,
        default=2,
        choices=range(1, 61),
        metavar="N",
        help="length of one run, 1 to 60 (default 2)",
    )
    parser.add_argument("--rounds", type=int, default=3, choices=range(1, 21), metavar="N", help="1 to 20 (default 3)")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write every sample there too")
    options = parser.parse_args()
    wanted = (
        options.only.split(",")
        if options.only
        else [name for name in names if not (options.quick and name == "litellm")]
    )
    if unknown := [name for name in wanted if name not in names]:
        parser.error(f"unknown gateway {unknown[0]}; there are {', '.join(names)}")
    gateways = [gateway for gateway in GATEWAYS if gateway.name in wanted]
    rounds, seconds = (1, 1) if options.quick else (options.rounds, options.seconds)
    unwind_on_signals()
    load = os.getloadavg()

    results = Results()
    try:
        ready = prepare(gateways, results)
        with scratch() as place, upstream(place) as mock:
            interleave(results, [gateway for gateway in ready if not gateway.alone], mock, rounds, seconds, place)
            for gateway in ready:
                if gateway.alone:
                    # hundreds of times slower than the others, so that noise does not matter and its idle work would
                    interleave(results, [gateway], mock, 1, max(6, seconds), place)
    except Unavailable as error:
        print(error, file=sys.stderr)
        return 1

    print(start_table(results, gateways))
    for workload in WORKLOADS:
        entrants = [gateway.name for gateway in gateways if workload.name not in gateway.skips]
        ceiling = [DIRECT] if results.of(workload.name, DIRECT) else []
        if entrants:
            print(workload_table(results, workload, [*ceiling, *entrants]))
    if "trunkcall" in wanted:
        print(bars_table(bars(results)))
    print(
        f"\n{rounds} interleaved rounds of {seconds} s: medians, ratios taken within each round."
        "\nLiteLLM has one run, alone and later: hundreds of times slower than the others, noise does not matter to it."
        f"\nload average {load[0]:.1f} before the start, {os.cpu_count()} cores; took {time.monotonic() - BEGAN:.0f} s"
    )
    if options.json:
        options.json.write_text(as_json(results))
    return 0


if __name__ == "__main__":
    sys.exit(main())
