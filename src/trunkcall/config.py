"""The settings tree, and where each of its values came from."""

from __future__ import annotations

import ipaddress
import math
import os
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, Final, cast

import msgspec

from trunkcall.config_file import (
    FILE_NAME,
    MOST_REPLICAS,
    Document,
    File,
    ListenerEntry,
    LogLevel,
    ModelEntry,
    Place,
    TelemetryEntry,
    convert,
    duration,
    scalar,
    size,
)
from trunkcall.config_names import check_names
from trunkcall.core.errors import ServingError
from trunkcall.core.models import ModelSettings, Source, is_path, parse_source
from trunkcall.core.text import did_you_mean
from trunkcall.home import MODELS_FILE, read_models

POCKET: Final = "pocket"
_FILES: Final = frozenset({"llamacpp", "kuwa-executor", "folder"})
"""Schemes whose target is a path."""
_FILES_OR_NAMES: Final = frozenset({"transformers", "vllm", "sglang", "tgi-server"})
"""Schemes whose target is a path when it begins like one, else a name elsewhere."""
_PREFIX: Final = "TRUNKCALL_"
_DEFAULT: Final = "default"


class Listener(msgspec.Struct, frozen=True, omit_defaults=True):
    """An address to listen on.

    apis: what is served there, empty for the main port's list; options: by api; allow_from:
    networks that may call, empty for all; workers_from: networks beside loopback whose workers
    may register; certificate and private_key: PEM files to speak TLS with, empty for none.
    """

    host: str = "127.0.0.1"
    port: int = 8000
    apis: tuple[str, ...] = ()
    options: dict[str, dict[str, Any]] = {}
    allow_from: tuple[str, ...] = ()
    workers_from: tuple[str, ...] = ()
    certificate: str = ""
    private_key: str = ""


class Telemetry(msgspec.Struct, frozen=True):
    """Where traces go.

    endpoint: an OTLP/HTTP collector's base URL; headers: sent to it, by name, as references (`env:NAME`, `file:PATH`);
    sample: the share of requests that is traced where the caller does not say, from 0 to 1.
    """

    endpoint: str
    headers: dict[str, str] = {}
    sample: float = 1.0


class Settings(msgspec.Struct, frozen=True, kw_only=True):
    """All that the operator decides; the first listener is the main port.

    store: `sqlite` or a database URL; cors: origins that browsers may call from; keys:
    references (`env:NAME`, `file:PATH`) whose secrets are accepted as API keys; hosts: names by which
    browsers may reach a server on loopback that asks for no key, beside the machine's own; max_body
    in bytes; queue: most requests that wait for one model; stall_timeout: seconds for
    which a client may read nothing; drain_delay: seconds for which a server that was told to end still takes requests
    while /ready says so already, for a balancer to notice; drain_timeout: seconds that streams are given after
    that; memory: bytes that engines may take together, None for what the machine has; retention:
    seconds for which single requests stay in the ledger; access_log: a line of log for each request;
    telemetry: where traces go, None for nowhere.
    """

    listen: tuple[Listener, ...] = (Listener(),)
    models: dict[str, ModelSettings] = {}
    pocket: bool = True
    store: str = "sqlite"
    log_level: LogLevel = "info"
    json_logs: bool = False
    cors: tuple[str, ...] = ()
    keys: tuple[str, ...] = ()
    hosts: tuple[str, ...] = ()
    max_body: int = 64 * 2**20
    queue: int = 1024
    stall_timeout: float = 60.0
    drain_delay: float = 0.0
    drain_timeout: float = 30.0
    memory: int | None = None
    retention: float = 90 * 86400.0
    access_log: bool = False
    telemetry: Telemetry | None = None


class Flags(msgspec.Struct, frozen=True, kw_only=True):
    """The command line's share; None and empty mean that the flag was not given."""

    host: str | None = None
    port: int | None = None
    listen: tuple[str, ...] = ()
    models: tuple[str, ...] = ()
    pocket: bool | None = None
    log_level: str | None = None
    json_logs: bool | None = None
    access_log: bool | None = None
    store: str | None = None


class Origin(msgspec.Struct, frozen=True):
    """A value and the place that set it, for people."""

    value: Any
    place: str


class Loaded(msgspec.Struct, frozen=True):
    """The settings in force; `origins` maps a dotted key to its values in rising precedence."""

    settings: Settings
    file: Path | None
    origins: dict[str, tuple[Origin, ...]]

    def explain(self, key: str) -> tuple[Origin, ...]:
        """Who set `key` (`log_level`, `models.chat.slots`), the one in force last.

        A key inside a value that was set whole is answered for that value, what a model was not told with its default.
        Raises ServingError (bad_request) for a key that is not there.
        """
        at = key
        while at and at not in self.origins:
            at = at.rpartition(".")[0]
        if not at:
            raise ServingError("bad_request", f"there is no setting {key!r}. {did_you_mean(key, self.origins)}")
        model = self.settings.models.get(at.removeprefix("models."))
        field = key[len(at) + 1 :].partition(".")[0]
        if model is None or not field:
            return self.origins[at]
        if field not in ModelEntry.__struct_fields__:
            near = did_you_mean(field, ModelEntry.__struct_fields__)
            raise ServingError("bad_request", f"a model has no setting {field!r}. {near}")
        if field == "queue":
            return self.origins["queue"]
        if field not in ModelSettings.__struct_fields__:
            return self.origins[at]
        return (Origin(_plain(getattr(model, field)), _DEFAULT),)


def load(*, config: Path | None, home: Path, environ: Mapping[str, str], flags: Flags) -> Loaded:
    """Merge defaults < models.json < the YAML file < the environment < flags.

    The file is `config`, else ./trunkcall.yaml, else HOME/trunkcall.yaml. Raises
    ServingError (bad_request) that names the place of the first mistake.
    """
    origins: dict[str, list[Origin]] = {}
    values: dict[str, Any] = {}

    def put(key: str, value: Any, place: str) -> None:
        values[key] = value
        origins.setdefault(key, []).append(Origin(_plain(value), place))

    for field in Settings.__struct_fields__:
        if field != "models":
            put(field, getattr(Settings(), field), _DEFAULT)

    file = find_file(config, home)
    lines = Document.read(file) if file is not None else None
    written = lines.file if lines is not None else {}
    for key, value in written.items():
        if key != "models" and lines is not None:
            put(
                key,
                _READ[key](value, lambda path, key=key: lines.place(f"{key}{path}"), lines.folder),
                lines.place(key),
            )

    for key in (field for field in File.__struct_fields__ if field != "models"):
        name = _PREFIX + key.upper()
        text = environ.get(name)
        if text:
            value = scalar(text)
            convert({key: value}, File, lambda _, name=name: name)
            put(key, _READ[key](value, lambda _, name=name: name, Path.cwd()), f"environment {name}")

    _apply_flags(flags, values, put)

    queue: int = values["queue"]
    models = _models(file, lines, home, flags, queue, origins)
    if values["pocket"] and POCKET not in models:
        models[POCKET] = ModelSettings(name=POCKET, sources=(Source(POCKET),), queue=queue)
        origins.setdefault(f"models.{POCKET}", []).append(Origin(POCKET, _DEFAULT))

    settings = Settings(**values, models=models)
    _check(settings, origins)
    check_names(models, lambda name, field: _where(origins, name, field))
    return Loaded(settings, file, {key: tuple(found) for key, found in origins.items()})


def find_file(config: Path | None, home: Path) -> Path | None:
    """The settings file in force, absolute; None where there is none.

    Raises ServingError (bad_request) when `config` names a file that is not there.
    """
    if config is not None:
        if not config.is_file():
            raise ServingError("bad_request", f"{config}: there is no such settings file")
        return config.absolute()
    for candidate in (Path(FILE_NAME).absolute(), home / FILE_NAME):
        if candidate.is_file():
            return candidate
    return None


def model(
    name: str, entry: Any, *, base: Path, queue: int = 1024, place: Place = lambda path: "model"
) -> ModelSettings:
    """One model from its entry: a SOURCE string or a mapping as in the file.

    Paths in it are relative to `base`. Raises ServingError (bad_request).
    """
    _check_name(name, place(""))
    if isinstance(entry, str):
        entry = {"source": entry}
    elif isinstance(entry, dict) and cast(dict[str, Any], entry).get("recover") is False:
        # So YAML reads `off`.
        entry = {**cast(dict[str, Any], entry), "recover": "off"}
    read = convert(entry, ModelEntry, place)
    texts = [read.source] if isinstance(read.source, str) else read.source
    if len(texts) * read.replicas > MOST_REPLICAS:
        raise ServingError(
            "bad_request",
            f"{place('.replicas')}: {len(texts)} sources and {read.replicas} replicas of each are more "
            f"than {MOST_REPLICAS}",
        )
    try:
        sources = [_absolute(parse_source(text), base) for text in texts]
    except ServingError as error:
        raise ServingError("bad_request", f"{place('.source')}: {error.message}") from None
    aliases = _words_of(read.aliases)
    for alias in aliases:
        _check_name(alias, place(".aliases"))
    for field, money in msgspec.structs.asdict(read.price).items():
        if money is not None and not math.isfinite(money):
            raise ServingError("bad_request", f"{place(f'.price.{field}')}: {money} is not a price")
    return ModelSettings(
        name=name,
        sources=tuple(source for source in sources for _ in range(read.replicas)),
        env=read.env,
        options=read.options,
        slots=read.slots,
        queue=queue if read.queue is None else read.queue,
        key=reference(read.key, place(".key"), base) if read.key else "",
        preload=read.preload,
        policy=read.policy,
        weights=_weights(read, texts, place),
        fallback=_words_of(read.fallback),
        aliases=aliases,
        ttl=None if read.ttl is None else duration(read.ttl, place(".ttl")),
        pinned=read.pinned,
        recover=read.recover,
        price=read.price,
    )


def stored(entry: Any, settings: ModelSettings) -> Any:
    """An entry that was read as `settings`, as it means the same from any folder; only the source where that is all."""
    written: dict[str, Any] = {"source": entry} if isinstance(entry, str) else dict(cast(dict[str, Any], entry))
    copies: int = written.get("replicas", 1)
    sources = [str(source) for source in settings.sources[::copies]]
    written["source"] = sources[0] if len(sources) == 1 else sources
    if settings.key:
        written["key"] = settings.key
    return written["source"] if len(written) == 1 and len(sources) == 1 else written


def _weights(read: ModelEntry, texts: Sequence[str], place: Place) -> tuple[float, ...]:
    """One weight for each replica, from one for each source."""
    if read.weights and len(read.weights) != len(texts):
        raise ServingError(
            "bad_request", f"{place('.weights')}: {len(read.weights)} weights for {len(texts)} sources; give one each"
        )
    return tuple(weight for weight in read.weights for _ in range(read.replicas))


def show(settings: Settings) -> dict[str, Any]:
    """The settings as plain values in the file's own shape; secrets appear as references or ***."""
    tree = cast(dict[str, Any], _plain(settings))
    tree["models"] = {name: _plain_model(found) for name, found in settings.models.items()}
    return tree


# From the file's words to values


def _read_as_is(value: Any, place: Place, base: Path) -> Any:
    return value


def _read_listen(value: Any, place: Place, base: Path) -> tuple[Listener, ...]:
    if isinstance(value, list):
        entries = cast(list[Any], value)
        if not entries:
            raise ServingError("bad_request", f"{place('')}: needs one address at least, such as 127.0.0.1:8000")
        return tuple(_read_listener(entry, place(f"[{number}]"), base) for number, entry in enumerate(entries))
    if isinstance(value, str):
        return tuple(_read_listener(word, place(""), base) for word in value.split()) or _read_listen([], place, base)
    return (_read_listener(value, place(""), base),)


def _read_listener(value: Any, at: str, base: Path) -> Listener:
    if isinstance(value, dict):
        entry = msgspec.convert(value, ListenerEntry)
        for name in entry.options:
            # Which are the main port's is not known here.
            if entry.apis and name not in entry.apis:
                raise ServingError("bad_request", f"{at}: options of {name!r}, which is not among the apis here")
        if bool(entry.certificate) != bool(entry.private_key):
            raise ServingError("bad_request", f"{at}: certificate and private_key go together: give both or neither")
        return Listener(
            entry.host,
            entry.port,
            tuple(entry.apis),
            entry.options,
            networks(entry.allow_from, at),
            networks(entry.workers_from, at),
            _file(entry.certificate, base),
            _file(entry.private_key, base),
        )
    return listener(str(value), at)


def listener(text: str, at: str) -> Listener:
    """Read `HOST:PORT`, `PORT` or `[V6]:PORT`, with `=api,…` after it; `at` names the place in errors."""
    address, _, apis = text.partition("=")
    host, colon, port = address.strip().rpartition(":")
    if not colon:
        host = "127.0.0.1"
    if not port.isascii() or not port.isdigit() or int(port) > 65535 or (":" in host and not host.startswith("[")):
        raise ServingError("bad_request", f"{at}: {text!r} is not an address; write HOST:PORT, such as 127.0.0.1:8000")
    return Listener(host.strip("[]") or "0.0.0.0", int(port), tuple(_words_of(apis)))


def networks(words: str | Iterable[str], at: str) -> tuple[str, ...]:
    """Networks as CIDR or single addresses; `at` names the place in errors."""
    found = _words_of(words if isinstance(words, str) else list(words))
    for word in found:
        try:
            ipaddress.ip_network(word, strict=False)
        except ValueError as error:
            raise ServingError(
                "bad_request", f"{at}: {error}; write an address or a network such as 10.0.0.0/8"
            ) from None
    return found


def _read_words(value: Any, place: Place, base: Path) -> tuple[str, ...]:
    return _words_of(value)


def _words_of(value: str | list[str]) -> tuple[str, ...]:
    return tuple(word for word in re.split(r"[,\s]+", value) if word) if isinstance(value, str) else tuple(value)


def _read_duration(value: Any, place: Place, base: Path) -> float:
    return duration(value, place(""))


def _read_size(value: Any, place: Place, base: Path) -> int:
    return size(value, place(""))


def _read_memory(value: Any, place: Place, base: Path) -> int | None:
    return None if value is None else size(value, place(""))


def _read_store(value: Any, place: Place, base: Path) -> str:
    if value == "sqlite" or re.match(r"(sqlite:///|postgresql(\+psycopg)?://).", value):
        return value
    # Not quoted: there may be a password in it.
    raise ServingError("bad_request", f"{place('')}: must be `sqlite` or a postgresql:// URL")


def _read_keys(value: Any, place: Place, base: Path) -> tuple[str, ...]:
    return tuple(reference(word, place(""), base) for word in _words_of(value))


def _read_telemetry(value: Any, place: Place, base: Path) -> Telemetry | None:
    if value is None:
        return None
    entry = TelemetryEntry(value) if isinstance(value, str) else convert(value, TelemetryEntry, place)
    if not re.match(r"https?://[^/]", entry.endpoint):
        at = place("" if isinstance(value, str) else ".endpoint")
        raise ServingError(
            "bad_request", f"{at}: {entry.endpoint!r} is not a collector's URL; write for example http://127.0.0.1:4318"
        )
    headers = {name: reference(text, place(f".headers.{name}"), base) for name, text in entry.headers.items()}
    return Telemetry(entry.endpoint, headers, entry.sample)


_READ: Final[dict[str, Callable[[Any, Place, Path], Any]]] = {
    "listen": _read_listen,
    "pocket": _read_as_is,
    "store": _read_store,
    "log_level": _read_as_is,
    "json_logs": _read_as_is,
    "cors": _read_words,
    "keys": _read_keys,
    "hosts": _read_words,
    "max_body": _read_size,
    "queue": _read_as_is,
    "stall_timeout": _read_duration,
    "drain_delay": _read_duration,
    "drain_timeout": _read_duration,
    "memory": _read_memory,
    "retention": _read_duration,
    "access_log": _read_as_is,
    "telemetry": _read_telemetry,
}


def reference(text: str, at: str, base: Path | None = None) -> str:
    """Check `env:NAME` or `file:PATH`; `at` names the place in errors, paths are relative to `base`."""
    scheme, _, target = text.partition(":")
    if scheme == "env" and target:
        return text
    if scheme == "file" and target:
        return f"file:{(base or Path.cwd()) / Path(target).expanduser()}"
    raise ServingError(
        "bad_request", f"{at}: a key is written as env:NAME or file:PATH, so that no secret stands in the settings"
    )


def _file(name: str, base: Path) -> str:
    return str(base / Path(name).expanduser()) if name else ""


def _absolute(source: Source, base: Path) -> Source:
    """A path in a source, made independent of the working directory."""
    path = source.scheme in _FILES or (source.scheme in _FILES_OR_NAMES and is_path(source.target))
    if not path or not source.target:
        return source
    return Source(source.scheme, os.path.normpath(base / os.path.expanduser(source.target)), source.model)


def _check_name(name: str, at: str) -> None:
    if not name or not name.isprintable() or any(character.isspace() for character in name):
        raise ServingError("bad_request", f"{at}: {name!r} cannot be a model's name: it is empty or has spaces in it")


# Merging


def _apply_flags(flags: Flags, values: dict[str, Any], put: Callable[[str, Any, str], None]) -> None:
    main: Listener = values["listen"][0]
    if flags.host is not None or flags.port is not None:
        if flags.port is not None and not 0 <= flags.port <= 65535:
            raise ServingError("bad_request", f"--port: {flags.port} is not a port; write a number from 0 to 65535")
        main = msgspec.structs.replace(
            main,
            host=main.host if flags.host is None else flags.host.strip("[]"),
            port=main.port if flags.port is None else flags.port,
        )
        given = " ".join(f"--{name}" for name in ("host", "port") if getattr(flags, name) is not None)
        put("listen", (main, *values["listen"][1:]), f"flag {given}")
    if flags.listen:
        more = tuple(listener(text, "--listen") for text in flags.listen)
        put("listen", (*values["listen"], *more), "flag --listen")
    if flags.pocket is not None:
        put("pocket", flags.pocket, "flag --pocket" if flags.pocket else "flag --no-pocket")
    if flags.log_level is not None:
        put("log_level", convert(flags.log_level, LogLevel, lambda _: "--log-level"), "flag --log-level")
    if flags.json_logs is not None:
        put("json_logs", flags.json_logs, "flag --json-logs")
    if flags.access_log is not None:
        put("access_log", flags.access_log, "flag --access-log" if flags.access_log else "flag --no-access-log")
    if flags.store is not None:
        put("store", _read_store(flags.store, lambda _: "--store", Path.cwd()), "flag --store")


def _models(
    file: Path | None, lines: Document | None, home: Path, flags: Flags, queue: int, origins: dict[str, list[Origin]]
) -> dict[str, ModelSettings]:
    written: dict[str, Any] = dict(lines.file.get("models") or {}) if lines is not None else {}
    added = read_models(home)
    stored = str(home / MODELS_FILE)
    found: dict[str, ModelSettings] = {}

    def put(name: str, entry: Any, base: Path, place: Place, origin: str) -> None:
        found[name] = model(name, entry, base=base, queue=queue, place=place)
        origins.setdefault(f"models.{name}", []).append(Origin(_plain_model(found[name]), origin))

    for name, entry in written.items():
        if lines is None or file is None:
            break
        at = lines.place(f"models.{name}")
        if name in added:
            raise ServingError(
                "bad_request",
                f"{at}: the model was also added by `trunkcall models add` ({stored}); "
                f"remove one of the two, for example with `trunkcall models rm {name}`",
            )
        put(name, entry, file.parent, lambda path, name=name: lines.place(f"models.{name}{path}"), at)
        fields = cast(dict[str, Any], entry) if isinstance(entry, dict) else {}
        for field, value in fields.items():
            key = f"models.{name}.{field}"
            origins[key] = [Origin(_plain_model(found[name]).get(field, value), lines.place(key))]
    for name, entry in added.items():
        put(name, entry, home, lambda path, name=name: f"{stored}: {name}{path}", f"{stored} (trunkcall models add)")
    for text in flags.models:
        name, equals, source = text.partition("=")
        if not equals:
            raise ServingError("bad_request", f"--model: {text!r} is not NAME=SOURCE, such as my=path/to/file.gguf")
        for key in [key for key in origins if key.startswith(f"models.{name}.")]:
            del origins[key]
        put(name, source, Path.cwd(), lambda path: "--model", "flag --model")
    return found


def _where(origins: Mapping[str, Sequence[Origin]], name: str, field: str) -> str:
    """Where a model's field was set."""
    at = origins.get(f"models.{name}.{field}")
    return at[-1].place if at else f"{origins[f'models.{name}'][-1].place}: {field}"


def _check(settings: Settings, origins: dict[str, list[Origin]]) -> None:
    seen: set[tuple[str, int]] = set()
    for found in settings.listen:
        if found.port and (found.host, found.port) in seen:
            raise ServingError(
                "bad_request", f"{origins['listen'][-1].place}: {found.host}:{found.port} is there twice; remove one"
            )
        seen.add((found.host, found.port))


def is_loopback(host: str) -> bool:
    """Whether only this machine can reach an address."""
    return host in ("localhost", "::1") or re.fullmatch(r"127(\.\d{1,3}){3}", host) is not None


# Showing

_SECRET_NAME: Final = re.compile(r"KEY|TOKEN|SECRET|PASSW|CREDENTIAL", re.IGNORECASE)
_USERINFO: Final = re.compile(r"(://[^:/@\s]*):[^/@\s]*@")


def _plain(value: Any) -> Any:
    """Plain values for people, in the file's own words, with passwords in URLs covered."""
    if isinstance(value, str):
        return _USERINFO.sub(r"\1:***@", value)
    if isinstance(value, Listener):
        shown: dict[str, Any] = {"host": value.host, "port": value.port}
        for field in ("apis", "options", "allow_from", "workers_from", "certificate", "private_key"):
            if getattr(value, field):
                shown[field] = _plain(getattr(value, field))
        return shown
    if isinstance(value, msgspec.Struct):
        return {field: _plain(getattr(value, field)) for field in value.__struct_fields__}
    if isinstance(value, dict):
        return {key: _plain(member) for key, member in cast(dict[str, Any], value).items()}
    if isinstance(value, (list, tuple)):
        return [_plain(member) for member in cast(Iterable[Any], value)]
    return value


def _plain_model(found: ModelSettings) -> dict[str, Any]:
    sources = [_plain(str(source)) for source in found.sources]
    default = ModelSettings(name="", sources=())
    shown: dict[str, Any] = {"source": sources[0] if len(sources) == 1 else sources}
    for field in ModelSettings.__struct_fields__:
        if field in ("name", "sources", "env"):
            continue
        if getattr(found, field) != getattr(default, field):
            shown[field] = _plain(getattr(found, field))
    if found.env:
        shown["env"] = {name: "***" if _SECRET_NAME.search(name) else text for name, text in found.env.items()}
    return shown
