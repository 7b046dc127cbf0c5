"""`trunkcall models`: through the admin API of a running server, else in the home's own file."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal
from urllib.parse import quote

import msgspec

from trunkcall import config, plugins
from trunkcall.cli.client import Server
from trunkcall.cli.offline import load
from trunkcall.cli.output import print_json, print_table
from trunkcall.core.errors import ServingError
from trunkcall.core.models import Machine, ModelSettings, ModelView, ReplicaView
from trunkcall.core.text import did_you_mean
from trunkcall.home import Home
from trunkcall.machine import look
from trunkcall.protocols.fetching import amount


class Models(msgspec.Struct):
    """What /admin/models answers."""

    models: list[ModelView]


Reached = tuple[Home, Server | None]
"""What cli.reached.reach gives."""


def ls(reached: Reached, file: Path | None, as_json: bool) -> None:
    """Print every model."""
    home, server = reached
    if server is not None:
        views = server.read("/admin/models", Models).models
    else:
        views = [_view(found) for found in load(home, file).settings.models.values()]
    if as_json:
        print_json({"models": views})
        return
    print_table(
        ("NAME", "STATE", "RUNNING", "WAITING", "SOURCE"),
        [(v.name, state(v), str(sum(r.in_flight for r in v.replicas)), str(v.waiting), _sources(v)) for v in views],
    )


def add(reached: Reached, file: Path | None, name: str, sources: Sequence[str], given: Sequence[str]) -> None:
    """Store a model, or have the running server take it in; given: more of its settings, `NAME=VALUE`."""
    home, server = reached
    entry = {**settings_of(given), "source": sources[0] if len(sources) == 1 else list(sources)}
    read = config.model(name, entry, base=Path.cwd(), place=lambda path: f"model {name!r}: {path[1:] or 'name'}")
    for found in read.sources:
        plugins.check(found)
        if found.scheme == "llamacpp" and found.target and not Path(found.target).is_file():
            raise ServingError("bad_request", f"{found.target}: there is no such file")
        if found.scheme == "folder" and not Path(found.target).is_dir():
            raise ServingError("bad_request", f"{found.target}: there is no such folder")
    kept = config.stored(entry, read)
    if server is not None:
        server.call("POST", "/admin/models", {"name": name, **({"source": kept} if isinstance(kept, str) else kept)})
        print(f"{name} is added and can be called at {server.url}")
        return
    loaded = load(home, file)
    place = loaded.origins.get(f"models.{name}")
    if place and name != config.POCKET and name not in home.models():
        raise ServingError("conflict", f"the model {name!r} is defined already: {place[-1].place}")
    home.add_model(name, kept)
    print(f"{name} is added; the next `trunkcall up` serves it")


def settings_of(given: Sequence[str]) -> dict[str, Any]:
    """Settings as `NAME=VALUE`, the value as trunkcall.yaml has it; `null` is the default.

    Raises ServingError (bad_request).
    """
    import yaml

    found: dict[str, Any] = {}
    for text in given:
        name, equals, value = text.partition("=")
        if not (name and equals):
            raise ServingError("bad_request", f"--set: {text!r} is not NAME=VALUE, such as ttl=10m")
        try:
            found[name] = yaml.safe_load(value)
        except yaml.YAMLError:
            raise ServingError("bad_request", f"--set: the value of {name} is not YAML: {value!r}") from None
    return found


def rm(reached: Reached, file: Path | None, name: str) -> None:
    """Forget a model that was added."""
    home, server = reached
    if server is not None:
        server.call("DELETE", path_of(name))
    else:
        if name not in home.models():
            loaded = load(home, file)
            place = loaded.origins.get(f"models.{name}")
            if place:
                raise ServingError("conflict", f"{name!r} was not added by command; it comes from {place[-1].place}")
        home.remove_model(name)
    print(f"{name} is removed")


def change(
    server: Server, name: str, asleep: bool | None, lora: Sequence[str], drop: Sequence[str], given: Sequence[str]
) -> None:
    """Let a model sleep or wake, load or drop its adapters, and give an added one other settings."""
    adapters: dict[str, str | None] = dict.fromkeys(drop)
    for text in lora:
        adapter, equals, path = text.partition("=")
        if not (adapter and equals and path):
            raise ServingError("bad_request", f"--lora: {text!r} is not NAME=PATH")
        adapters[adapter] = path
    told: dict[str, Any] = {} if asleep is None else {"asleep": asleep}
    if adapters:
        told["lora"] = adapters
    if given:
        told["settings"] = settings_of(given)
    if not told:
        raise ServingError(
            "bad_request",
            "nothing to change: give --set NAME=VALUE, --sleep, --wake, --lora NAME=PATH or --no-lora NAME",
        )
    server.call("PATCH", path_of(name), told)
    print(f"{name} is changed")


def act(server: Server, verb: Literal["load", "unload", "drain", "restart"], name: str, replica: str) -> None:
    """Have a model's engines run, end, take no more, or start anew; replica: only this one, by its id or number."""
    body = {"replica": f"{name}/{replica}" if replica.isdecimal() else replica} if replica else {}
    view = server.ask("POST", f"{path_of(name)}/{verb}", ModelView, body)
    found = state(view)
    if verb == "load" and found != "ready":
        print(f"{view.name}: its engines are started now; `trunkcall models show {view.name}` tells how far they are")
    else:
        print(f"{view.name}: {found}")


def path_of(name: str) -> str:
    """Where administration has a model."""
    return f"/admin/models/{quote(name, safe='')}"


def show(reached: Reached, file: Path | None, name: str, as_json: bool) -> None:
    """Print one model and its replicas."""
    home, server = reached
    if server is not None:
        view = server.read(path_of(name), ModelView)
    else:
        models = load(home, file).settings.models
        found = models.get(name) or next((one for one in models.values() if name in one.aliases), None)
        if found is None:
            raise ServingError("no_model", f"there is no model {name!r}. {did_you_mean(name, models)}")
        view = planned(found, look())
    if as_json:
        print_json(view)
        return
    print(f"{view.name}: {state(view)}, {view.waiting} waiting")
    if len(view.replicas) > 1:
        print(f"policy: {view.policy}")
    for word, names in (("aliases", view.aliases), ("adapters", view.adapters), ("fallback", view.fallback)):
        if names:
            print(f"{word}: {', '.join(names)}")
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
            [
                (r.id, r.engine, amount(r.rss or r.memory) if r.rss or r.memory else "-", r.why or "-", r.faster or "-")
                for r in started
            ],
        )
    for replica in view.replicas:
        if told := trouble(replica):
            print(f"{replica.id}: {told}")


def trouble(replica: ReplicaView) -> str:
    """What people should know of a replica, empty when all is well."""
    breaker = replica.breaker
    if breaker.state != "closed":
        left = f" for {breaker.seconds:.0f} s" if breaker.state == "open" else ", tried by one request at a time"
        return f"left alone{left}: {breaker.why}"
    failed = f"{breaker.failures} of its last answers failed: {breaker.why}" if breaker.failures else ""
    return replica.error or replica.progress or failed


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
        replica,
        engine=spec.engine,
        why=spec.why,
        faster=spec.faster,
        memory=spec.memory,
        gpus=spec.gpus,
        slots=spec.slots,
    )


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
    return ModelView(
        name=found.name,
        sources=tuple(map(str, found.sources)),
        waiting=0,
        created=0,
        replicas=replicas,
        aliases=found.aliases,
        policy=found.policy,
        fallback=found.fallback,
    )


def state(view: ModelView) -> str:
    """A model's replicas' states in a word or two."""
    states = ["left alone" if replica.breaker.state == "open" else replica.state for replica in view.replicas]
    if not states:
        return "no replica"
    return states[0] if len(states) == 1 else f"{states.count('ready')} of {len(states)} ready"


def _sources(view: ModelView) -> str:
    return ", ".join(dict.fromkeys(view.sources))
