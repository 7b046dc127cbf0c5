"""Workers that register themselves are replicas too: who came, who has gone, and what is kept over a restart."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Mapping
from typing import Any, Final, Literal

import msgspec

from trunkcall.control.dispatch import Dispatch
from trunkcall.control.pool import Pool, Replica
from trunkcall.core.errors import ServingError
from trunkcall.core.log import log
from trunkcall.core.models import ModelSettings, Source
from trunkcall.core.ports import Backend, Connect

PROBE_SECONDS: Final = 10.0
YOUNG_SECONDS: Final = 15.0
"""A worker may register before it listens: so long it is not given up."""
FORGET_SECONDS: Final = 600.0
"""A worker that was given up is asked so long whether it is back, since old ones do not register again."""
SAVE_SECONDS: Final = 0.2
REVIVE_SECONDS: Final = 2.0
_AT_ONCE: Final = 32

Judgement = Literal["well", "doubted", "gone", "forgotten"]


class Record(msgspec.Struct, frozen=True):
    """A worker as it is kept on disk: how to talk to it, where, the models it stands for, and what else it said."""

    scheme: str
    address: str
    names: tuple[str, ...]
    slots: int | None = 1
    about: dict[str, bool | int | float] = {}


def judge(ok: bool, age: float, failures: int, gone_for: float | None) -> Judgement:
    """What a probe means. age: seconds since it registered; failures: probes in a row that failed, this one
    included; gone_for: seconds since it was given up, None while it was not.
    """
    if ok:
        return "well"
    if gone_for is not None:
        return "forgotten" if gone_for > FORGET_SECONDS else "gone"
    return "gone" if failures > 1 and age > YOUNG_SECONDS else "doubted"


class Worker:
    """One worker that registered; written by its registry only."""

    def __init__(self, scheme: str, address: str, replica: Replica) -> None:
        self.scheme = scheme
        self.address = address
        self.replica = replica
        self.names: list[str] = []
        self.since = time.monotonic()
        self.failures = 0
        self.gone_since: float | None = None
        self.about: dict[str, bool | int | float] = {}
        """What it said of itself in its protocol's words."""

    @property
    def here(self) -> bool:
        """It takes requests."""
        return self.gone_since is None


class Registry:
    """The one writer of the workers that registered, and of the models that exist because of them.

    find_connect: a scheme's backend; kept: what the last process saved; save: writes a
    snapshot, in a thread.
    """

    def __init__(
        self,
        dispatch: Dispatch,
        find_connect: Callable[[str], Connect],
        kept: tuple[Record, ...] = (),
        save: Callable[[tuple[Record, ...]], None] | None = None,
    ) -> None:
        self._dispatch = dispatch
        self._find_connect = find_connect
        self._kept = kept
        self._save = save
        self._changed = asyncio.Event()
        self._workers: dict[tuple[str, str], Worker] = {}
        self._left: list[Replica] = []
        self._models: dict[str, Pool] = {}
        self._options: dict[str, dict[str, Any]] = {}

    def call_with(self, scheme: str, options: Mapping[str, Any]) -> None:
        """How a protocol's workers are called that register or are brought back from now on: a model's `options`."""
        self._options[scheme] = {**self._options.get(scheme, {}), **options}

    def workers(self, scheme: str) -> list[Worker]:
        """Those of a protocol in the order in which they came, also those that were given up."""
        return [worker for worker in self._workers.values() if worker.scheme == scheme]

    def models(self, scheme: str) -> dict[str, list[Worker]]:
        """Those that take requests, by the models that they stand for."""
        found: dict[str, list[Worker]] = {}
        for name, pool in self._models.items():
            mine = [self._workers[scheme, r.address] for r in pool.replicas if (scheme, r.address) in self._workers]
            if mine:
                found[name] = mine
        return found

    def find(self, scheme: str, address: str) -> Worker | None:
        """The worker at an address, also one that was given up."""
        return self._workers.get((scheme, address))

    def join(self, name: str, scheme: str, address: str, slots: int | None = 1) -> bool:
        """A worker offers a model; False when it did so before and is not given up.

        Raises ServingError: conflict when the operator's settings have a model of this name,
        bad_request without a name, and when there cannot be a worker at the address.
        """
        if not name:
            raise ServingError("bad_request", "a worker offers a model by a name; this one says none", param="name")
        if self._is_ours(name):
            raise ServingError("conflict", f"the model {name!r} is in the settings of this server; take another name")
        worker = self._workers.get((scheme, address))
        if worker is None:
            worker = self._make(name, scheme, address, slots)
        elif not worker.here:
            # Whoever comes back says all its names again; another program may have its address now.
            worker.names.clear()
            self._welcome(worker)
        elif name in worker.names:
            return False
        worker.names.append(name)
        self._offer(name, worker)
        self._changed.set()
        log.info("%s worker %s offers %r", scheme, address, name)
        return True

    def renew(self, worker: Worker, name: str) -> None:
        """Another worker was started at the address of this one, which has ended, and offers `name`.

        What the old one offered beside is withdrawn, unless it has only just come: then it is the
        same, not listening yet, with its next name.
        """
        now = time.monotonic()
        if now - worker.since > YOUNG_SECONDS:
            for other in [other for other in worker.names if other != name]:
                self._withdraw(other, worker)
                worker.names.remove(other)
        worker.since = now
        worker.replica.generation += 1
        self._welcome(worker)
        self._changed.set()

    def come_again(self, worker: Worker) -> None:
        """A worker has registered once more: it may have been started anew, and not listen yet."""
        worker.since = time.monotonic()
        worker.replica.generation += 1
        self._welcome(worker)

    def leave(self, name: str, worker: Worker) -> None:
        """A worker no longer offers a model; what it has begun goes on. Does nothing when it did not offer it."""
        if name not in worker.names:
            return
        if worker.here:
            self._withdraw(name, worker)
        worker.names.remove(name)
        if not worker.names:
            self._forget(worker)
        self._changed.set()
        log.info("%s worker %s no longer offers %r", worker.scheme, worker.address, name)

    def note(self, worker: Worker, about: dict[str, bool | int | float]) -> None:
        """Keep what a worker says of itself, over a restart too."""
        if about != worker.about:
            worker.about = about
            self._changed.set()

    async def answers(self, scheme: str, address: str) -> bool:
        """Whether something well is at an address, registered or not; False also for what is no address."""
        known = self._workers.get((scheme, address))
        if known is not None and known.replica.backend is not None:
            return (await known.replica.backend.health()).ok
        try:
            backend = self._connect(scheme, address, "")
        except ServingError:
            return False
        try:
            return (await backend.health()).ok
        finally:
            await backend.aclose()

    async def probe(self, worker: Worker) -> bool:
        """Ask a worker whether it is well, and act on the answer."""
        backend = worker.replica.backend
        ok = backend is not None and (await backend.health()).ok
        if self.find(worker.scheme, worker.address) is not worker:
            return ok
        worker.failures = 0 if ok else worker.failures + 1
        now = time.monotonic()
        gone_for = None if worker.gone_since is None else now - worker.gone_since
        match judge(ok, now - worker.since, worker.failures, gone_for):
            case "well":
                self._welcome(worker)
            case "doubted":
                worker.replica.suspect_until = now + PROBE_SECONDS
            case "gone":
                self._give_up(worker)
            case "forgotten":
                self._forget(worker)
        return ok

    def miss(self, worker: Worker) -> None:
        """A worker could not be reached: it is given up, unless it has only just come and may not listen yet."""
        if time.monotonic() - worker.since > YOUNG_SECONDS:
            self._give_up(worker)

    async def revive(self) -> None:
        """Bring back those that were kept and answer within 2 s; the others come with `live`.

        For before the first request, which would find no model of theirs.
        """
        self._restore()
        try:
            async with asyncio.timeout(REVIVE_SECONDS):
                await self._probe_all()
        except TimeoutError:
            late = ", ".join(worker.address for worker in self._workers.values() if not worker.here)
            log.info("workers of the last run that have not answered yet: %s", late)

    async def live(self) -> None:
        """Bring back those that were kept, probe workers and save changes, until cancelled.

        Running answers go on; `aclose` follows when they have ended.
        """
        self._restore()
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self._keep_probing())
            tasks.create_task(self._keep_saved())

    async def aclose(self) -> None:
        """Save what has changed since, and close all connections."""
        if self._changed.is_set():
            self._write(self._records())
        for replica in (*self._left, *(worker.replica for worker in self._workers.values())):
            if replica.backend is not None:
                await replica.backend.aclose()

    def _is_ours(self, name: str) -> bool:
        """Whether the operator's settings have a model of this name."""
        return name not in self._models and self._dispatch.find(name) is not None

    def _connect(self, scheme: str, address: str, name: str) -> Backend:
        source = Source(scheme, address)
        settings = ModelSettings(name=name, sources=(source,), options=self._options.get(scheme, {}))
        return self._find_connect(scheme)(address, settings, "")

    def _make(self, name: str, scheme: str, address: str, slots: int | None) -> Worker:
        source = Source(scheme, address)
        # One that left and is back may still be busy for somebody.
        replica = next((replica for replica in self._left if replica.source == source), None)
        if replica is None:
            replica = Replica(f"{scheme}:{address}", source, slots)
            replica.backend = self._connect(scheme, address, name)
            replica.address = address
        else:
            self._left.remove(replica)
            replica.slots = slots
        replica.state = "ready"
        worker = self._workers[scheme, address] = Worker(scheme, address, replica)
        replica.refused = lambda: self.miss(worker)
        return worker

    def _offer(self, name: str, worker: Worker) -> None:
        if self._is_ours(name):
            log.warning("%s worker %s may not offer %r: the settings have it", worker.scheme, worker.address, name)
            return
        pool = self._models.get(name)
        if pool is None:
            pool = Pool(ModelSettings(name=name, sources=()), [])
            self._models[name] = self._dispatch.pools[name] = pool
        self._dispatch.join(pool, worker.replica)

    def _withdraw(self, name: str, worker: Worker) -> None:
        pool = self._models.get(name)
        if pool is None or worker.replica not in pool.replicas:
            return
        self._dispatch.leave(pool, worker.replica)
        if not pool.replicas:
            del self._models[name]
            self._dispatch.remove(
                name, ServingError("no_capacity", f"the last worker of {name!r} has gone", retry_after=5)
            )

    def _welcome(self, worker: Worker) -> None:
        worker.failures = 0
        worker.replica.suspect_until = 0.0
        if worker.here:
            return
        worker.gone_since = None
        worker.since = time.monotonic()
        worker.replica.state = "ready"
        for name in worker.names:
            self._offer(name, worker)
        log.info("%s worker %s is here", worker.scheme, worker.address)

    def _give_up(self, worker: Worker) -> None:
        if not worker.here:
            return
        for name in worker.names:
            self._withdraw(name, worker)
        worker.gone_since = time.monotonic()
        worker.replica.state = "failed"
        log.warning("%s worker %s does not answer: taken out", worker.scheme, worker.address)

    def _forget(self, worker: Worker) -> None:
        if self.find(worker.scheme, worker.address) is worker:
            del self._workers[worker.scheme, worker.address]
            self._left.append(worker.replica)
            self._changed.set()

    def _restore(self) -> None:
        kept, self._kept = self._kept, ()
        for record in kept:
            names = [name for name in dict.fromkeys(record.names) if not self._is_ours(name)]
            if not names or self.find(record.scheme, record.address) is not None:
                continue
            try:
                worker = self._make(names[0], record.scheme, record.address, record.slots)
            except ServingError as error:
                log.warning("the kept worker %r is left out: %s", record.address, error.message)
                continue
            # Not offered before it has answered: the record may be older than the worker's end.
            worker.names = names
            worker.about = record.about
            worker.gone_since = time.monotonic()
            worker.replica.state = "off"

    async def _keep_probing(self) -> None:
        while True:
            await self._probe_all()
            await asyncio.sleep(PROBE_SECONDS)

    async def _probe_all(self) -> None:
        # A busy worker may be too busy to answer; its own stream shows how it is.
        idle = [worker for worker in self._workers.values() if not worker.replica.in_flight]
        limit = asyncio.Semaphore(_AT_ONCE)

        async def one(worker: Worker) -> None:
            async with limit:
                await self.probe(worker)

        async with asyncio.TaskGroup() as tasks:
            for worker in idle:
                tasks.create_task(one(worker))
        for replica in [replica for replica in self._left if not replica.in_flight]:
            self._left.remove(replica)
            if replica.backend is not None:
                await replica.backend.aclose()

    async def _keep_saved(self) -> None:
        while True:
            await self._changed.wait()
            self._changed.clear()
            writing = asyncio.create_task(asyncio.to_thread(self._write, self._records()))
            try:
                await asyncio.shield(writing)
            finally:
                # A cancel does not stop the thread, which must not write after what follows.
                await writing
            await asyncio.sleep(SAVE_SECONDS)

    def _records(self) -> tuple[Record, ...]:
        return tuple(
            Record(worker.scheme, worker.address, tuple(worker.names), worker.replica.slots, worker.about)
            for worker in self._workers.values()
            if worker.names
        )

    def _write(self, records: tuple[Record, ...]) -> None:
        if self._save is None:
            return
        try:
            self._save(records)
        except ServingError as error:
            log.warning("the list of registered workers could not be saved: %s", error.message)


def read_records(data: bytes) -> tuple[Record, ...]:
    """Records from the JSON that they were kept as; ServingError (bad_request) for anything else."""
    if not data:
        return ()
    try:
        return tuple(record for record in msgspec.json.decode(data, type=tuple[Record, ...]) if record.names)
    except msgspec.DecodeError as error:
        raise ServingError(
            "bad_request", f"the list of registered workers cannot be read ({error}); delete workers.json from the home"
        ) from None
