"""`trunkcall models`: through the admin API of a running server, else in the home's own file."""

from __future__ import annotations

import os
from pathlib import Path
from urllib.parse import quote

import msgspec

from trunkcall import config, plugins
from trunkcall.cli.client import Server
from trunkcall.cli.output import print_json, print_table
from trunkcall.core.errors import ServingError
from trunkcall.core.models import Machine, ModelSettings, ModelView, ReplicaView
from trunkcall.core.text import did_you_mean
from trunkcall.home import Home, locate
from trunkcall.machine import look
from trunkcall.protocols.fetching import amount


class _Models(msgspec.Struct):
    models: list[ModelView]


def ls(home_flag: Path | None, file: Path | None, as_json: bool) -> None:
    """Print every model."""
    home, server = reach(home_flag)
    if server is not None:
        views = server.read("/admin/models", _Models).models
    else:
        views = [_view(found) for found in _load(home, file).settings.models.values()]
    if as_json:
        print_json({"models": views})
        return
    print_table(
        ("NAME", "STATE", "RUNNING", "WAITING", "SOURCE"),
        [(v.name, _state(v), str(sum(r.in_flight for r in v.replicas)), str(v.waiting), _sources(v)) for v in views],
    )


def add(home_flag: Path | None, file: Path | None, name: str, source: str) -> None:
    """Store a model, or have the running server take it in."""
    home, server = reach(home_flag)
    read = config.model(name, source, base=Path.cwd())
    for found in read.sources:
        plugins.check(found)
        if found.scheme == "llamacpp" and found.target and not Path(found.target).is_file():
            raise ServingError("bad_request", f"{found.target}: there is no such file")
        if found.scheme == "folder" and not Path(found.target).is_dir():
            raise ServingError("bad_request", f"{found.target}: there is no such folder")
    text = str(read.sources[0])
    if server is not None:
        server.call("POST", "/admin/models", {"name": name, "source": text})
        print(f"{name} is added and can be called at {server.url}")
        return
    loaded = _load(home, file)
    place = loaded.origins.get(f"models.{name}")
    if place and name != config.POCKET and name not in home.models():
        raise ServingError("conflict", f"the model {name!r} is defined already: {place[-1].place}")
    home.add_model(name, text)
    print(f"{name} is added; the next `trunkcall up` serves it")


def rm(home_flag: Path | None, file: Path | None, name: str) -> None:
    """Forget a model that was added."""
    home, server = reach(home_flag)
    if server is not None:
        server.call("DELETE", f"/admin/models/{quote(name, safe='')}")
    else:
        if name not in home.models():
            loaded = _load(home, file)
            place = loaded.origins.get(f"models.{name}")
            if place:
                raise ServingError("conflict", f"{name!r} was not added by command; it comes from {place[-1].place}")
        home.remove_model(name)
    print(f"{name} is removed")


def change(home_flag: Path | None, name: str, asleep: bool | None, lora: list[str], drop: list[str]) -> None:
    """Let a model of the running server sleep or wake, and load or drop its adapters."""
    _, server = reach(home_flag)
    if server is None:
        raise ServingError("unreachable", "no server runs on this home, so nothing can be changed in it: trunkcall up")
    adapters: dict[str, str | None] = dict.fromkeys(drop)
    for text in lora:
        adapter, equals, path = text.partition("=")
        if not (adapter and equals and path):
            raise ServingError("bad_request", f"--lora: {text!r} is not NAME=PATH")
        adapters[adapter] = path
    told = {} if asleep is None else {"asleep": asleep}
    if not told and not adapters:
        raise ServingError("bad_request", "nothing to change: give --sleep, --wake, --lora NAME=PATH or --no-lora NAME")
    server.call("PATCH", f"/admin/models/{quote(name, safe='')}", {**told, "lora": adapters})
    print(f"{name} is changed")


def show(home_flag: Path | None, file: Path | None, name: str, as_json: bool) -> None:
    """Print one model and its replicas."""
    home, server = reach(home_flag)
    if server is not None:
        view = server.read(f"/admin/models/{quote(name, safe='')}", ModelView)
    else:
        models = _load(home, file).settings.models
        if name not in models:
            raise ServingError("no_model", f"there is no model {name!r}. {did_you_mean(name, models)}")
        view = planned(models[name], look())
    if as_json:
        print_json(view)
        return
    print(f"{view.name}: {_state(view)}, {view.waiting} waiting")
    print_table(
        ("REPLICA", "STATE", "RUNNING", "PID", "ADDRESS", "SOURCE"),
        [
            (r.id, r.state, f"{r.in_flight}/{r.slots or '-'}", str(r.pid or "-"), r.address or "-", r.source)
            for r in view.replicas
        ],
    )
    started = [replica for replica in view.replicas if replica.engine]
    if started:
        print()
        print_table(
            ("REPLICA", "ENGINE", "MEMORY", "WHY", "FASTER WITH"),
            [(r.id, r.engine, amount(r.memory) if r.memory else "-", r.why or "-", r.faster or "-") for r in started],
        )
    for replica in view.replicas:
        if replica.error:
            print(f"{replica.id}: {replica.error}")


def planned(found: ModelSettings, machine: Machine) -> ModelView:
    """A model that does not run, with the engine that would be started for it, or why none would."""
    view = _view(found)
    replicas = tuple(
        _plan(replica, msgspec.structs.replace(found, sources=(source,)), machine)
        for replica, source in zip(view.replicas, found.sources, strict=True)
    )
    return msgspec.structs.replace(view, replicas=replicas)


def _plan(replica: ReplicaView, settings: ModelSettings, machine: Machine) -> ReplicaView:
    try:
        plugins.check(settings.sources[0])
        engine = plugins.find_engine(settings.sources[0].scheme)
        if engine is None:
            return replica
        spec = engine.plan(settings, machine)
        plugins.find_connect(spec.protocol)
    except ServingError as error:
        return msgspec.structs.replace(replica, error=error.message)
    return msgspec.structs.replace(
        replica, engine=spec.engine, why=spec.why, faster=spec.faster, memory=spec.memory, slots=spec.slots
    )


def reach(home_flag: Path | None) -> tuple[Home, Server | None]:
    """The home, and the server that runs on it.

    Raises ServingError (loading) while that server is still starting.
    """
    home = Home(locate(home_flag, os.environ))
    running = home.running()
    if running is None:
        return home, None
    if not running.url:
        raise ServingError(
            "loading", f"the server on {home.path} ({running}) does not listen yet; try again in a moment"
        )
    return home, Server(running.url)


def _load(home: Home, file: Path | None) -> config.Loaded:
    return config.load(config=file, home=home.path, environ=os.environ, flags=config.Flags())


def _view(found: ModelSettings) -> ModelView:
    """A model as a server that is not running would show it."""
    replicas = tuple(
        ReplicaView(
            id=f"{found.name}/{number}",
            model=found.name,
            source=str(source),
            state="off",
            in_flight=0,
            slots=found.slots,
        )
        for number, source in enumerate(found.sources)
    )
    return ModelView(name=found.name, sources=tuple(map(str, found.sources)), waiting=0, created=0, replicas=replicas)


def _state(view: ModelView) -> str:
    states = [replica.state for replica in view.replicas]
    return states[0] if len(states) == 1 else f"{states.count('ready')} of {len(states)} ready"


def _sources(view: ModelView) -> str:
    return ", ".join(dict.fromkeys(view.sources))
