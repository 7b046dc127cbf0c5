"""trunkcall.yaml: its shape, and the line of each of its values, so that a mistake is shown where it stands."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any, Final, Literal, cast, get_args

import msgspec
import yaml

from trunkcall.core.errors import ServingError
from trunkcall.core.models import Policy, Price, Recover
from trunkcall.core.text import did_you_mean

FILE_NAME: Final = "trunkcall.yaml"

LogLevel = Literal["debug", "info", "warning", "error"]

_Duration = Annotated[float | str, msgspec.Meta(description="seconds, or text such as 500ms, 10m, 1h30m")]
_Size = Annotated[int | str, msgspec.Meta(description="bytes, or text such as 64MiB")]
_Port = Annotated[int, msgspec.Meta(ge=0, le=65535)]
MOST_REPLICAS: Final = 10_000
"""Of one model, whatever its sources."""
_Amount = Annotated[int, msgspec.Meta(ge=1)]
_Words = Annotated[str | list[str], msgspec.Meta(description="a list, or its members in one string between commas")]


_Collector = Annotated[str, msgspec.Meta(description="an OTLP/HTTP collector's base URL")]


class ListenerEntry(msgspec.Struct, forbid_unknown_fields=True):
    host: str = "127.0.0.1"
    port: _Port = 8000
    apis: list[str] = []
    options: dict[str, dict[str, Any]] = {}
    allow_from: _Words = []
    workers_from: _Words = []
    certificate: str = ""
    private_key: str = ""


class ModelEntry(msgspec.Struct, forbid_unknown_fields=True):
    source: str | Annotated[list[str], msgspec.Meta(min_length=1)]
    env: dict[str, str] = {}
    options: dict[str, Any] = {}
    slots: _Amount | None = None
    queue: Annotated[int, msgspec.Meta(ge=0)] | None = None
    key: str = ""
    preload: bool = False
    replicas: Annotated[int, msgspec.Meta(ge=1, le=MOST_REPLICAS)] = 1
    policy: Policy = "least_loaded"
    weights: list[Annotated[float, msgspec.Meta(gt=0)]] = []
    fallback: _Words = []
    aliases: _Words = []
    ttl: _Duration | None = None
    pinned: bool = False
    recover: Recover = "auto"
    price: Price = Price()


class TelemetryEntry(msgspec.Struct, forbid_unknown_fields=True):
    endpoint: _Collector
    headers: Annotated[dict[str, str], msgspec.Meta(description="sent to it; values are env:NAME or file:PATH")] = {}
    sample: Annotated[float, msgspec.Meta(ge=0, le=1, description="the share of requests that is traced")] = 1.0


class File(msgspec.Struct, forbid_unknown_fields=True, omit_defaults=True):
    listen: int | str | ListenerEntry | list[int | str | ListenerEntry] = "127.0.0.1:8000"
    models: dict[str, str | ModelEntry] = {}
    pocket: bool = True
    store: str = "sqlite"
    log_level: LogLevel = "info"
    json_logs: bool = False
    cors: _Words = []
    keys: _Words = []
    hosts: _Words = []
    max_body: _Size = "64MiB"
    queue: Annotated[int, msgspec.Meta(ge=0)] = 1024
    stall_timeout: _Duration = 60
    drain_delay: _Duration = 0
    drain_timeout: _Duration = 30
    memory: _Size | None = None
    retention: _Duration = "90d"
    access_log: bool = False
    telemetry: _Collector | TelemetryEntry | None = None


Place = Callable[[str], str]
"""From the dotted path of a value to the words that say where it stands."""


def schema() -> dict[str, Any]:
    """The JSON schema of trunkcall.yaml, for editors."""
    _, definitions = msgspec.json.schema_components([File], ref_template="#/$defs/{name}")
    root = definitions.pop("File")
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        **root,
        "title": FILE_NAME,
        "$defs": definitions,
    }


class Document:
    """A YAML file as plain values, with the line of each."""

    def __init__(self, path: Path, file: dict[str, Any], lines: dict[str, int]) -> None:
        self.folder = path.parent
        self.name = _short(path)
        self.file = file
        self._lines = lines

    @staticmethod
    def read(path: Path) -> Document:
        """Parse, refuse double and unknown keys, and check every type."""
        name = _short(path)
        try:
            text = path.read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError) as error:
            raise ServingError("bad_request", f"{name}: cannot be read: {error}") from None
        lines: dict[str, int] = {}
        try:
            loader: Any = yaml.SafeLoader(text)
            node: yaml.Node | None = loader.get_single_node()
            if node is None:
                return Document(path, {}, {})
            _note_lines(node, "", name, lines, 0)
            value = loader.construct_document(node)
        except yaml.MarkedYAMLError as error:
            line = f"{error.problem_mark.line + 1}: " if error.problem_mark else " "
            raise ServingError("bad_request", f"{name}:{line}{error.problem or error.context}") from None
        except (yaml.YAMLError, ValueError) as error:
            raise ServingError("bad_request", f"{name}: not YAML: {error}") from None
        except RecursionError:
            raise ServingError("bad_request", f"{name}: nested too deep") from None
        found = Document(path, {}, lines)
        if not isinstance(value, dict):
            raise ServingError("bad_request", f"{name}:1: must be a mapping of settings, such as `log_level: info`")
        tree = cast(dict[str, Any], value)
        known = File.__struct_fields__
        for key in tree:
            if key not in known:
                raise ServingError("bad_request", f"{found.place(key)}: unknown setting. {did_you_mean(key, known)}")
        models: object = tree.get("models")
        if isinstance(models, dict):
            # One by one: msgspec does not say which key of a mapping is at fault.
            convert({**tree, "models": {}}, File, found.place_in)
        else:
            convert(tree, File, found.place_in)
        found.file = tree
        return found

    def place_in(self, path: str) -> str:
        """The place of a path that begins with a dot."""
        return self.place(path.removeprefix("."))

    def place(self, path: str) -> str:
        """`trunkcall.yaml:3: models.chat`; the line of the nearest value around it where it has none."""
        at = path
        while at and at not in self._lines:
            at = at[: max(at.rfind("."), at.rfind("["), 0)]
        return f"{self.name}:{self._lines.get(at, 1)}: {path}" if path else f"{self.name}:1"


def _short(path: Path) -> str:
    return path.name if path.parent == Path.cwd() else str(path)


_STRING: Final = "tag:yaml.org,2002:str"
_DEPTH: Final = 32


def _note_lines(node: yaml.Node, path: str, name: str, lines: dict[str, int], depth: int) -> None:
    """Note where each value's key stands, and keep keys and environment values as they are written.

    YAML 1.1 would read a model called `on` as true and CUDA_VISIBLE_DEVICES 0 as a number.
    """
    if depth > _DEPTH:
        raise ServingError("bad_request", f"{name}:{node.start_mark.line + 1}: nested more than {_DEPTH} levels deep")
    if isinstance(node, yaml.MappingNode):
        for key, value in node.value:
            line = key.start_mark.line + 1
            if not isinstance(key, yaml.ScalarNode):
                raise ServingError("bad_request", f"{name}:{line}: a key must be plain text")
            key.tag = _STRING
            at = f"{path}.{key.value}" if path else str(key.value)
            if at in lines:
                raise ServingError("bad_request", f"{name}:{line}: {at} is set twice, first on line {lines[at]}")
            lines[at] = line
            if isinstance(value, yaml.ScalarNode) and re.fullmatch(r"models\..+\.env", path):
                value.tag = _STRING
            _note_lines(value, at, name, lines, depth + 1)
    elif isinstance(node, yaml.SequenceNode):
        for number, value in enumerate(node.value):
            at = f"{path}[{number}]"
            lines[at] = value.start_mark.line + 1
            _note_lines(value, at, name, lines, depth + 1)


def scalar(text: str) -> Any:
    """A word of the environment, read as YAML would read it plain."""
    loader: Any = yaml.SafeLoader("")
    tag: str = loader.resolve(yaml.ScalarNode, text, (True, False))
    return loader.construct_object(yaml.ScalarNode(tag, text)) if tag in _SCALARS else text


_SCALARS: Final = frozenset({"tag:yaml.org,2002:int", "tag:yaml.org,2002:float", "tag:yaml.org,2002:bool"})

_SAID: Final = re.compile(r"(?P<what>.*?)(?: - at `\$?(?P<path>[^`]*)`)?")
_TYPES: Final = {
    "int": "a whole number",
    "float": "a number",
    "bool": "true or false",
    "str": "text",
    "null": "nothing",
}

_WORDS: Final[dict[str, Any]] = {"policy": Policy, "recover": Recover}
"""Settings that take one of several words, but for log_level."""


def convert(value: Any, type: Any, place: Place) -> Any:
    """msgspec.convert with the place of the mistake and words that a person understands."""
    try:
        return msgspec.convert(value, type)
    except msgspec.ValidationError as error:
        said = _SAID.fullmatch(str(error))
        what, path = (said["what"], said["path"] or "") if said else (str(error), "")
        unknown = re.search(r"unknown field `(.*)`", what)
        if unknown:
            entry = ListenerEntry if path.startswith(".listen") else Price if path.endswith(".price") else ModelEntry
            path, key = f"{path}.{unknown[1]}", unknown[1]
            raise ServingError(
                "bad_request", f"{place(path)}: unknown setting. {did_you_mean(key, entry.__struct_fields__)}"
            ) from None
        if what.startswith("Invalid enum value"):
            words = get_args(_WORDS.get(path.rpartition(".")[2], LogLevel))
            what = f"must be one of {', '.join(words)}"
        what = re.sub(r"`([^`]*)`", lambda found: _type_words(found[1]), what)
        raise ServingError("bad_request", f"{place(path)}: {what[:1].lower()}{what[1:]}") from None


def _type_words(types: str) -> str:
    return " or ".join(
        _TYPES.get(word, {"object": "a mapping", "array": "a list"}.get(word, word)) for word in types.split(" | ")
    )


_UNITS: Final = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0, "w": 604800.0}


def duration(value: float | str, at: str) -> float:
    """Seconds from a number or from text such as `500ms`, `10m`, `1h30m`; `at` names the place in errors."""
    if not isinstance(value, str):
        seconds = float(value)
    elif re.fullmatch(r"\s*(\d+(\.\d+)?\s*(ms|s|m|h|d|w)\s*)+", value):
        seconds = sum(float(number) * _UNITS[unit] for number, unit in re.findall(r"([\d.]+)\s*(ms|[smhdw])", value))
    elif re.fullmatch(r"\s*\d+(\.\d+)?\s*", value):
        seconds = float(value)
    else:
        seconds = -1.0
    if not 0 <= seconds < float("inf"):
        raise ServingError(
            "bad_request", f"{at}: {value!r} is not a duration; write seconds or for example 500ms, 10m, 1h30m"
        )
    return seconds


_SIZES: Final = {"": 1, "b": 1, "kb": 10**3, "mb": 10**6, "gb": 10**9, "kib": 2**10, "mib": 2**20, "gib": 2**30}


def size(value: int | str, at: str) -> int:
    """Bytes from a number or from text such as `64MiB`; `at` names the place in errors."""
    found = re.fullmatch(r"\s*(\d+(?:\.\d+)?)\s*([a-zA-Z]*)\s*", str(value))
    factor = _SIZES.get(found[2].lower()) if found else None
    if found is None or factor is None or float(found[1]) * factor < 1:
        raise ServingError("bad_request", f"{at}: {value!r} is not a size; write bytes or for example 64MiB")
    return int(float(found[1]) * factor)
