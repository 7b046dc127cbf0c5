"""What the control plane takes: the choice among a thousand replicas, and all that a request pays before its answer."""

from __future__ import annotations

import argparse
import asyncio
import gc
import json
import os
import random
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, get_args

from bench.tables import Bar, bars_table, number, table
from trunkcall.apis.metrics import Metrics
from trunkcall.control.access import Access
from trunkcall.control.admission import Admission
from trunkcall.control.affinity import Belonging
from trunkcall.control.calls import GenerateCall
from trunkcall.control.condition import Condition
from trunkcall.control.dispatch import Dispatch, Lease
from trunkcall.control.keyring import Keyring, fresh
from trunkcall.control.pool import Pool, Replica
from trunkcall.control.stories import Stories
from trunkcall.core.events import Usage
from trunkcall.core.keys import KeyEntry
from trunkcall.core.meter import Counters, Meter
from trunkcall.core.models import ModelSettings, Policy, Price, Source
from trunkcall.core.requests import Wire
from trunkcall.protocols import openai as codec
from trunkcall.store.journal import FileJournal

REPLICAS = 1000
KEYS = 10_000
MODELS = 1000
CHOICE_BAR, TOGETHER_BAR, SCRAPE_BAR = 50.0, 15.0, 100.0


class Asking:
    """Stands for net.exchange.Exchange, with what the control plane reads of it."""

    id = "0123456789abcdef00000001"

    def __init__(self, **headers: str) -> None:
        self.headers = [(name.encode(), value.encode()) for name, value in headers.items()]
        self.principal = ""
        self.extra_headers: list[tuple[bytes, bytes]] = []

    def header(self, name: bytes) -> bytes | None:
        for known, value in self.headers:
            if known == name:
                return value
        return None


class Listing:
    """Stands for an api."""

    name = "openai"


def call_of(body: dict[str, Any]) -> GenerateCall:
    """A chat request as the OpenAI api hands it over."""
    data = json.dumps(body).encode()
    return GenerateCall(
        model=body["model"],
        stream=False,
        wire=Wire("openai", "/chat/completions", [], data),
        read=lambda: codec.read_chat(data),
        emitter=lambda request: codec.ChatEmitter(request, False),
        failure=codec.failure,
        fault=codec.fault_frame,
        most=codec.read_head(data).most,
    )


def pool_of(dispatch: Dispatch, name: str, policy: Policy, replicas: int) -> Pool:
    """A model with so many ready replicas, some of which are at work."""
    source = Source("openai", "http://127.0.0.1:1/v1")
    weights = tuple(float(1 + at % 4) for at in range(replicas)) if policy == "weighted" else ()
    settings = ModelSettings(
        name=name, sources=(source,) * replicas, policy=policy, weights=weights, price=Price(1.0, 2.0)
    )
    members = [Replica(f"{name}-{at + 1}", source, 64) for at in range(replicas)]
    pool = Pool(settings, members)
    dispatch.pools[name] = pool
    for member in members:
        dispatch.ready(member, object(), 64)  # pyright: ignore[reportArgumentType]
    return pool


def quantile(values: list[float], part: float) -> float:
    return sorted(values)[min(len(values) - 1, round(part * len(values)))]


def choices(policy: Policy, rounds: int) -> list[float]:
    """Microseconds of CPU of each choice, while requests come and go."""
    dispatch = Dispatch()
    pool_of(dispatch, "m", policy, REPLICAS)
    words = [f"word{at}" for at in range(200)]
    held: list[Lease] = []
    found: list[float] = []
    for at in range(rounds):
        random.shuffle(words)
        body = {"model": "m", "messages": [{"role": "user", "content": " ".join(words)}]}
        affinity = Belonging(call_of(body), b"session-%d" % (at % 5000), "")
        if policy == "prefix_affinity":
            # Decoding is the price of reading the prompt, not of choosing; it is in the table by itself.
            affinity.prompt()
        began = time.thread_time_ns()
        lease = dispatch.lease("m", affinity=affinity)
        found.append((time.thread_time_ns() - began) / 1000)
        assert isinstance(lease, Lease)
        held.append(lease)
        if len(held) > 2 * REPLICAS:
            held.pop(random.randrange(len(held))).release("ok")
    return found[rounds // 10 :]


def spent(work: Callable[[], None], rounds: int) -> float:
    """Microseconds of CPU of one round, over all threads of this process."""
    for _ in range(rounds // 10):
        work()
    began = time.process_time_ns()
    for _ in range(rounds):
        work()
    return (time.process_time_ns() - began) / 1000 / rounds


class Paid:
    """The parts of a request's way through the control plane, with keys, limits, budgets, ledger and breaker on."""

    def __init__(self, directory: Path) -> None:
        self.dispatch = Dispatch()
        pool_of(self.dispatch, "m", "least_loaded", 4)
        keyring = Keyring()
        entry = KeyEntry(
            name="bench", models=("m",), requests_per_minute=10**9, tokens_per_minute=10**12,
            tokens_per_day=10**15, tokens_per_month=10**15, money_per_day=1e12, money_per_month=1e12,
        )  # fmt: skip
        secret, stored = fresh(entry)
        others = [fresh(KeyEntry(name=f"key-{at}", requests_per_minute=100))[1] for at in range(KEYS)]
        keyring.take([stored, *others])
        self.access = Access(keyring)
        self.admission = Admission(keyring, lambda name: self.dispatch.pool(name).settings)
        self.settings = self.dispatch.pool("m").settings
        self.call = call_of(
            {"model": "m", "max_tokens": 64, "messages": [{"role": "user", "content": "Say something."}]}
        )
        self.journal = FileJournal(directory)
        self.counters = Counters()
        self.stories = Stories()
        self.usage = Usage(10, 64, 0)
        self.exchange: Any = Asking(authorization=f"Bearer {secret}", host="localhost")
        self.api: Any = Listing()

    def meter(self) -> Meter:
        return Meter("0123456789abcdef00000001", model="m", protocol="openai", stream=False, key="bench")

    def key(self) -> None:
        self.access.check(self.exchange, self.api)

    def limits(self) -> None:
        meter = self.meter()
        self._admit(meter)
        self._settle(meter)

    def _admit(self, meter: Meter) -> None:
        self.exchange.extra_headers = []
        self.admission.admit(self.exchange, meter, self.settings, self.call)

    def _settle(self, meter: Meter) -> None:
        meter.usage = self.usage
        meter.ended = time.monotonic()
        self.admission.settle(meter, self.call)

    def choice(self) -> None:
        self._lease().release("ok")

    def _lease(self) -> Lease:
        lease = self.dispatch.lease("m", key="bench")
        assert isinstance(lease, Lease)
        return lease

    def ledger(self) -> None:
        meter = self.meter()
        meter.grant("m-1", "m", "has the fewest requests")
        self.journal.open(meter)
        meter.progress()
        meter.usage = self.usage
        meter.ended = time.monotonic()
        self._close(meter)

    def _close(self, meter: Meter) -> None:
        self.counters.close(meter, "m")
        self.journal.close(meter)
        self.stories.ended(meter)

    def together(self) -> None:
        self.key()
        meter = self.meter()
        self.stories.began(meter)
        self._admit(meter)
        lease = self._lease()
        meter.grant(lease.replica.id, "m", lease.why)
        meter.attempts = 1
        self.journal.open(meter)
        meter.progress()
        lease.release("ok")
        self._settle(meter)
        self._close(meter)


def scrape() -> float:
    """Milliseconds of CPU to write /metrics with a thousand models in use."""
    dispatch, counters = Dispatch(), Counters()
    for at in range(MODELS):
        pool_of(dispatch, f"model-{at}", "least_loaded", 1)
        for error in ("", "overloaded"):
            meter = Meter("x", model=f"model-{at}", protocol="openai", stream=True)
            meter.grant(f"model-{at}-1", f"model-{at}", "")
            meter.progress()
            meter.usage, meter.error, meter.ended = Usage(3, 4), error, time.monotonic()
            counters.close(meter, f"model-{at}")
    metrics = Metrics(counters, lambda: tuple(dispatch.pools.values()), Condition)

    loop = asyncio.new_event_loop()
    try:
        return spent(lambda: void(loop.run_until_complete(metrics.response())), 10) / 1000
    finally:
        loop.run_until_complete(loop.shutdown_default_executor())
        loop.close()


async def measure(rounds: int) -> tuple[dict[str, list[float]], dict[str, float]]:
    """Choices by policy, and costs by part; a running loop is needed for leases."""
    chosen = {policy: choices(policy, rounds) for policy in get_args(Policy)}
    with tempfile.TemporaryDirectory(prefix="trunkcall-bench-") as folder:
        paid = Paid(Path(folder))
        parts = {
            "a meter (has been there before)": lambda: void(paid.meter()),
            "key check, of 10,000 keys": paid.key,
            "limits and budgets, held and settled": paid.limits,
            "choice among 4 replicas, and its return": paid.choice,
            "ledger entry, counters and story, with the journal's thread": paid.ledger,
            "all of it together": paid.together,
        }
        costs = {name: statistics.median(spent(part, rounds) for _ in range(5)) for name, part in parts.items()}
        await paid.journal.aclose()
    return chosen, costs


def void(value: object) -> None:
    """Throw it away."""


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m bench.control", description=__doc__)
    parser.add_argument("--rounds", type=int, default=10_000, metavar="N", help="of each measurement (default 10000)")
    options = parser.parse_args()
    load = os.getloadavg()
    gc.collect()
    gc.freeze()
    # As the server sets it.
    gc.set_threshold(50_000, 20, 100)
    chosen, costs = asyncio.run(measure(options.rounds))
    rows = [
        [policy, number(statistics.median(found), 1), number(quantile(found, 0.99), 1), number(max(found), 0)]
        for policy, found in chosen.items()
    ]
    print(table(f"a choice among {REPLICAS:,} replicas", ["policy", "p50 us CPU", "p99 us CPU", "max us CPU"], rows))
    print(table("a request", ["part", "CPU us"], [[name, number(cost, 2)] for name, cost in costs.items()]))
    meters = costs["a meter (has been there before)"]
    bars = [
        *(
            Bar(f"p99 of a choice, {policy}, us CPU", quantile(found, 0.99), CHOICE_BAR)
            for policy, found in chosen.items()
        ),
        Bar("key, limits, choice and ledger together, us CPU", costs["all of it together"] - meters, TOGETHER_BAR),
        Bar(f"/metrics of {MODELS:,} models, ms CPU", scrape(), SCRAPE_BAR),
    ]
    print(bars_table(bars))
    print(f"\nload average {load[0]:.1f} before the start, {os.cpu_count()} cores")
    return 0


if __name__ == "__main__":
    sys.exit(main())
