"""Adapters are models by their own names: served by the replicas of their base, loaded and taken out as these run."""

from __future__ import annotations

import contextlib
from collections.abc import Awaitable, Iterable, Mapping, Sequence
from pathlib import PurePosixPath
from typing import Final, cast

import msgspec

from trunkcall.control.dispatch import Dispatch
from trunkcall.control.pool import Pool, Replica
from trunkcall.core.errors import ServingError
from trunkcall.core.log import log
from trunkcall.core.models import ModelSettings, ModelView, is_path
from trunkcall.core.ports import Controlled, Controls

OPTION: Final = "lora"
"""Of a model that we start: its adapters, by name."""


def offer(dispatch: Dispatch, pool: Pool, offered: Mapping[str, Sequence[Replica]]) -> None:
    """From now on these replicas of a model take calls for the adapters under whose names they stand.

    Raises ServingError (conflict) when a model has one of the names; then none is offered.
    """
    for name in offered:
        _check_free(dispatch, name)
    for name, replicas in offered.items():
        about = ModelSettings(name=name, sources=tuple(r.source for r in replicas), queue=pool.settings.queue)
        own = Pool(about, list(replicas))
        # Who needs the adapter needs its base.
        own.wanted = pool.wanted
        dispatch.pools[name] = pool.adapters[name] = own


def withdraw(dispatch: Dispatch, pool: Pool, name: str) -> None:
    """A model's replicas take no more calls for an adapter; what has begun goes on."""
    own = pool.adapters.pop(name)
    dispatch.remove(name)
    for replica in tuple(own.replicas):
        dispatch.leave(own, replica)
        if isinstance(replica.backend, Controlled):
            replica.backend.controls.adapters.discard(name)


async def load(dispatch: Dispatch, model: str, name: str, path: str) -> ModelView:
    """Have all replicas of a model that run load an adapter; those that are started later load it too.

    path: of a PEFT folder, absolute, or a name of the Hub. Raises ServingError: no_model; conflict for a name that is
    taken and a model that does not run; bad_request for a path that cannot be and what the engine refuses; unsupported
    with the remedy.
    """
    pool = dispatch.pool(model)
    if not name or (is_path(path) and not PurePosixPath(path).is_absolute()) or not path:
        raise ServingError("bad_request", "lora: give a name, and the absolute path of its folder", param=OPTION)
    async with pool.changing:
        _check_free(dispatch, name)
        loaded: list[Controls] = []
        try:
            for controls in _running(pool, pool.replicas):
                await controls.load_adapter(name, path)
                loaded.append(controls)
                controls.adapters.add(name)
            offer(dispatch, pool, {name: pool.replicas})
        except BaseException:
            for controls in loaded:
                controls.adapters.discard(name)
                with contextlib.suppress(ServingError):
                    await controls.unload_adapter(name)
            raise
        _remember(pool, {**_known(pool), name: path})
        return pool.view()


async def unload(dispatch: Dispatch, model: str, name: str) -> ModelView:
    """Have all replicas of a model drop an adapter.

    Raises ServingError: no_model for a model or an adapter that is none, conflict for a model that does not run,
    unsupported with the remedy.
    """
    pool = dispatch.pool(model)
    async with pool.changing:
        if name not in pool.adapters:
            raise ServingError("no_model", f"{model!r} has no adapter {name!r} that can be taken out", param=OPTION)
        for controls in _running(pool, pool.adapters[name].replicas):
            await controls.unload_adapter(name)
        withdraw(dispatch, pool, name)
        _remember(pool, {one: path for one, path in _known(pool).items() if one != name})
        return pool.view()


async def settle(
    dispatch: Dispatch, pool: Pool, replica: Replica, controls: Controls, started_with: Iterable[str]
) -> None:
    """Bring a replica that was started with some adapters to those that its model has by now."""
    before = frozenset(started_with)
    for name in before.difference(pool.adapters):
        await _tried(replica, controls.unload_adapter(name))
    for name, own in tuple(pool.adapters.items()):
        controls.adapters.add(name)
        has = name in before
        if not has and replica in own.replicas:
            has = await _tried(replica, controls.load_adapter(name, _known(pool)[name]))
        if has and replica not in own.replicas:
            dispatch.join(own, replica)
        elif not has and replica in own.replicas:
            dispatch.leave(own, replica)


def planned(replica: Replica) -> tuple[str, ...]:
    """The adapters that a replica is started with."""
    return replica.spec.adapters if replica.spec is not None else ()


def by_name(replicas: Sequence[Replica]) -> dict[str, list[Replica]]:
    """The replicas that are started with each adapter."""
    return {
        name: [one for one in replicas if name in planned(one)] for replica in replicas for name in planned(replica)
    }


def loaded_meanwhile(given: ModelSettings, now: ModelSettings) -> dict[str, str]:
    """The adapters that a model which we start got as it ran, by name, with their paths."""
    named = _paths(given)
    return {name: path for name, path in _paths(now).items() if name not in named}


def remembering(settings: ModelSettings, loaded: dict[str, str]) -> ModelSettings:
    """Settings with these adapters beside those that they name."""
    if not loaded:
        return settings
    return msgspec.structs.replace(settings, options={**settings.options, OPTION: {**_paths(settings), **loaded}})


def _paths(settings: ModelSettings) -> dict[str, str]:
    found = settings.options.get(OPTION)
    # llama.cpp's have no names.
    return cast(dict[str, str], found) if isinstance(found, dict) else {}


async def _tried(replica: Replica, order: Awaitable[None]) -> bool:
    try:
        await order
    except ServingError as error:
        log.warning("replica %s: %s", replica.id, error.message)
        return False
    return True


def _running(pool: Pool, replicas: Sequence[Replica]) -> list[Controls]:
    """The controls of those that run. Raises ServingError when some cannot be told, or none runs."""
    name = pool.settings.name
    found: list[Controls] = []
    for replica in replicas:
        if replica.state == "asleep":
            raise ServingError("conflict", f"{name!r} sleeps; wake it first")
        if replica.backend is not None:
            if not isinstance(replica.backend, Controlled):
                raise ServingError("unsupported", f"{name!r} is served by something that takes no adapters as it runs")
            found.append(replica.backend.controls)
    if not found:
        raise ServingError("conflict", f"{name!r} does not run yet; ask it something, or set `preload: true`")
    return found


def _check_free(dispatch: Dispatch, name: str) -> None:
    if dispatch.find(name) is not None:
        raise ServingError("conflict", f"there is a model {name!r}; give the adapter another name", param=OPTION)


def _known(pool: Pool) -> dict[str, str]:
    """The paths of the adapters of a model that we start."""
    return dict(pool.settings.options.get(OPTION) or {})


def _remember(pool: Pool, adapters: dict[str, str]) -> None:
    """For the replicas that are started from now on."""
    if any(replica.managed for replica in pool.replicas):
        options = {**pool.settings.options, OPTION: adapters}
        pool.settings = msgspec.structs.replace(pool.settings, options=options)
