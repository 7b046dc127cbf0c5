"""Models, where they come from and what it takes to start one."""

from __future__ import annotations

import re
from typing import Annotated, Any, Final, Literal, TypeVar, get_args, get_origin, get_type_hints

import msgspec

from trunkcall.core.about import About
from trunkcall.core.errors import ServingError
from trunkcall.core.text import did_you_mean

_SCHEME: Final = re.compile(r"[a-z][a-z0-9_-]+")
_PATH: Final = re.compile(r"[/~]|\.\.?(/|$)")
"""How a path begins that can be nothing else."""


class Source(msgspec.Struct, frozen=True):
    """Where a replica comes from: `scheme:target#model`, a bare scheme, or a path to a file or a folder.

    scheme: the entry point that handles it; target: a URL or a path, empty for a bare
    scheme; model: the name the other side knows, empty for the name that was asked for.
    """

    scheme: str
    target: str = ""
    model: str = ""

    def __str__(self) -> str:
        text = f"{self.scheme}:{self.target}" if self.target else self.scheme
        return f"{text}#{self.model}" if self.model else text


def parse_source(text: str) -> Source:
    """Read a SOURCE string.

    Text that begins like `scheme:` is read as one, what follows its `#` being the other
    side's model name; other text that ends in `.gguf` is a path to a model file, and other
    text that begins like a path (`/`, `./`, `../`, `~`) one to a model folder.

    Raises ServingError (bad_request) for an empty string.
    """
    text = text.strip()
    if not text:
        raise ServingError("bad_request", "a model source is empty; write for example `pocket` or a .gguf file")
    scheme, colon, rest = text.partition(":")
    if not (colon and _SCHEME.fullmatch(scheme)):
        if text.lower().endswith(".gguf"):
            return Source("llamacpp", text)
        return Source("folder", text) if is_path(text) else Source(text)
    target, _, model = rest.partition("#")
    return Source(scheme, target, model)


def is_path(text: str) -> bool:
    """Whether text can be nothing but a path; `org/repo` can be a name elsewhere."""
    return _PATH.match(text) is not None


_Money = Annotated[float, msgspec.Meta(ge=0)]


class Price(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What a million tokens cost, in the operator's money; cached: of a prompt, None for its price."""

    prompt: _Money = 0.0
    completion: _Money = 0.0
    cached: _Money | None = None


Policy = Literal["least_loaded", "shortest_queue", "lottery", "weighted", "session_affinity", "prefix_affinity"]
"""How one of a model's replicas is chosen."""
Recover = Literal["auto", "exact", "off"]
"""Whether a stream whose replica has died goes on: as well as can be, only where that is exact, or never."""


class ModelSettings(msgspec.Struct, frozen=True, kw_only=True):
    """One model as the operator wants it.

    sources: one replica each; options: the engine's own settings, checked by the engine;
    env: added to the environment of engine processes; slots: most requests a replica
    serves at once (None: what the engine says, or no limit for an upstream); queue: most
    requests that wait; key: where the upstream's key stands, `env:NAME` or `file:PATH`.
    policy: how a replica is chosen; weights: the sources' shares for `weighted`, one each; fallback: models that
    are asked when this one cannot answer, in order; aliases: more names of it; ttl: seconds without a request
    after which its engines end, None for never; pinned: its engines are not ended to make room for others.
    """

    name: str
    sources: tuple[Source, ...]
    env: dict[str, str] = {}
    options: dict[str, Any] = {}
    slots: int | None = None
    queue: int = 1024
    key: str = ""
    preload: bool = False
    policy: Policy = "least_loaded"
    weights: tuple[float, ...] = ()
    fallback: tuple[str, ...] = ()
    aliases: tuple[str, ...] = ()
    ttl: float | None = None
    pinned: bool = False
    recover: Recover = "auto"
    price: Price = Price()


_Options = TypeVar("_Options", bound=msgspec.Struct)


def read_options(settings: ModelSettings, shape: type[_Options]) -> _Options:
    """A model's `options` in the shape that its engine or backend takes.

    Raises ServingError (bad_request) naming an unknown or wrong option.
    """
    return convert_options(settings.options, shape, f"model {settings.name!r}")


def convert_options(options: dict[str, Any], shape: type[_Options], of: str) -> _Options:
    """Options in their shape; `of` says in errors whose they are.

    Raises ServingError (bad_request) naming an unknown or wrong option.
    """
    for name in options:
        if name not in shape.__struct_fields__:
            hint = did_you_mean(name, shape.__struct_fields__) if shape.__struct_fields__ else "It has none."
            raise ServingError("bad_request", f"{of}: unknown option {name!r}. {hint}", param=name)
    try:
        return msgspec.convert(options, shape)
    except msgspec.ValidationError as error:
        reason, _, path = str(error).partition(" - at `$.")
        name = path.rstrip("`")
        if reason.startswith("Invalid enum value"):
            words = _words(get_type_hints(shape).get(name.partition("[")[0]))
            reason += f"; it is one of {', '.join(words)}" if words else ""
        raise ServingError("bad_request", f"{of}: option {name}: {reason}", param=name) from error


def _words(hint: Any) -> list[str]:
    """What the literals in a type are, in its order."""
    if get_origin(hint) is Literal:
        return [str(word) for word in get_args(hint)]
    return [word for inner in get_args(hint) for word in _words(inner)]


class Machine(msgspec.Struct, frozen=True):
    """What the host has: physical cores, memory in bytes, GPUs by name.

    gpu_memory and gpu_free: bytes of each GPU, in all and free when it was looked at; empty where that is not known.
    free: bytes of memory that nobody used when it was looked at, 0 where that is not known.
    """

    cores: int
    memory: int
    gpus: tuple[str, ...] = ()
    gpu_memory: tuple[int, ...] = ()
    gpu_free: tuple[int, ...] = ()
    free: int = 0


class LaunchSpec(msgspec.Struct, frozen=True, kw_only=True):
    """A child process to start: what to run, and what it will speak when ready.

    command: argv; env: added to the parent's environment; protocol: what the replica
    speaks over HTTP on loopback; slots: requests it serves at once; memory: bytes it is
    expected to need, 0 where that is not known; gpus: how many GPUs that memory is spread over, 0 for the machine's
    own; start_timeout and grace in seconds; shown: what
    it prints is for the server's own stderr too; fetch: a command that must have succeeded
    first, after which the plan is made anew (a download); weigh: a command that only prints what that would bring, as a
    line of JSON that is a protocols.fetching.Weighed; engine: which one was chosen; why: the reason, for people;
    faster: what would serve the model faster here, empty for nothing; model: what the replica calls the model, empty
    for the name that was asked for; about: what is known of it before it can tell (core.ports.Ready); adapters: names
    that it answers for beside, as they are; resumes: for what a generation that goes on in another such child is exact.
    """

    command: tuple[str, ...]
    protocol: str
    slots: int
    env: dict[str, str] = {}
    memory: int = 0
    gpus: int = 0
    start_timeout: float = 600.0
    grace: float = 5.0
    shown: bool = False
    fetch: tuple[str, ...] = ()
    weigh: tuple[str, ...] = ()
    engine: str = ""
    why: str = ""
    faster: str = ""
    model: str = ""
    about: About = About()
    adapters: tuple[str, ...] = ()
    resumes: frozenset[Resumable] = frozenset()


Resumable = Literal["greedy", "seeded", "penalties", "grammar", "tools", "logprobs", "n"]

State = Literal["off", "starting", "ready", "asleep", "draining", "failed"]
"""asleep: there, and woken by the first who asks."""


class BreakerView(msgspec.Struct, frozen=True, kw_only=True):
    """Whether a replica is left alone for its failures.

    open: no request goes there for so many `seconds`; half_open: one at a time shows whether it works again; failures:
    among its last answers; why: the last of them, for people.
    """

    state: Literal["closed", "open", "half_open"] = "closed"
    seconds: float = 0.0
    failures: int = 0
    why: str = ""


class ReplicaView(msgspec.Struct, frozen=True, kw_only=True):
    """A snapshot of one replica, for policies and for people.

    memory: bytes that it is expected to need, also before it is started; gpus: over how many GPUs they are spread, 0
    for the machine's own memory; rss: that its processes were last seen to take; progress: how far its start is, in
    words; loaded_at and last_used: unix seconds, 0 for never; loads: how often it became ready; unloads and
    evictions: how often it ended for want of requests, and because others needed its memory.
    """

    id: str
    model: str
    source: str
    state: State
    in_flight: int
    slots: int | None
    address: str = ""
    pid: int | None = None
    error: str = ""
    restarts: int = 0
    generation: int = 0
    log: tuple[str, ...] = ()
    engine: str = ""
    why: str = ""
    faster: str = ""
    memory: int = 0
    gpus: int = 0
    rss: int = 0
    loads: int = 0
    unloads: int = 0
    evictions: int = 0
    progress: str = ""
    loaded_at: float = 0.0
    last_used: float = 0.0
    breaker: BreakerView = BreakerView()


class ModelView(msgspec.Struct, frozen=True, kw_only=True):
    """A snapshot of one model and its replicas.

    adapters: the names that they answer for beside; policy: how one is chosen; fallback: the models that are asked
    when this one cannot answer.
    """

    name: str
    sources: tuple[str, ...]
    waiting: int
    created: int
    replicas: tuple[ReplicaView, ...]
    adapters: tuple[str, ...] = ()
    aliases: tuple[str, ...] = ()
    policy: Policy = "least_loaded"
    fallback: tuple[str, ...] = ()


class Health(msgspec.Struct, frozen=True):
    """What a probe found.

    models: the names the other side offers; what: the kind of server that it says it is, for people, empty where it
    does not; wants_key: it refused, for want of a key that it accepts.
    """

    ok: bool
    reason: str = ""
    models: tuple[str, ...] = ()
    what: str = ""
    wants_key: bool = False
