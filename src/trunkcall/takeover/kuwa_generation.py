"""Generation parameters of Kuwa's executors: flags over a configuration file over what is built in."""

from __future__ import annotations

import argparse
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final, cast

import msgspec
import yaml

from trunkcall.config_file import scalar
from trunkcall.core.errors import ServingError

_SUFFIXES: Final = (".yaml", ".yml", ".json")


class Number(msgspec.Struct, frozen=True):
    """A parameter with a flag of its own.

    type: int or float; default: what holds without it; sent: the default is not what engines do
    anyway, so that they must be told.
    """

    type: type[int] | type[float]
    help: str
    default: float | None = None
    sent: bool = False


def add_generation(parser: argparse.ArgumentParser, numbers: Mapping[str, Number]) -> None:
    """Add `-c FILE` and a flag for each parameter; `read_generation` gives what they said."""
    parser.set_defaults(generation={}, numbers=numbers)
    parser.add_argument(
        "-c", "--generation_config", help="YAML or JSON file of generation parameters; flags win over it"
    )
    for name, number in numbers.items():
        parser.add_argument(f"--{name}", action=_Given, type=number.type, default=number.default, help=number.help)


def add_stop(parser: argparse.ArgumentParser) -> None:
    """Add `--stop WORD ...`, to a parser that has `add_generation`."""
    parser.add_argument("--stop", action=_Given, nargs="+", help="words that end an answer")


def add_pairs(parser: argparse.ArgumentParser) -> None:
    """Add `--generation_kwargs NAME=VALUE ...`, to a parser that has `add_generation`."""
    parser.add_argument(
        "--generation_kwargs", action=_GivenPairs, nargs="+", type=_pair, help="more parameters, as NAME=VALUE"
    )


def read_generation(asked: argparse.Namespace) -> dict[str, Any]:
    """What holds for requests that say nothing: built in < file < flags; a null overrides nothing.

    Raises ServingError (bad_request) for a file that cannot be read, and for a number that is none.
    """
    numbers: Mapping[str, Number] = asked.numbers
    merged: dict[str, Any] = {name: number.default for name, number in numbers.items() if number.sent}
    if asked.generation_config is not None:
        path = Path(asked.generation_config).expanduser()
        merged |= _checked(_read_file(path), numbers, f"{path}: ")
    return merged | _checked(asked.generation, numbers, "--")


def _read_file(path: Path) -> dict[Any, Any]:
    if path.suffix.lower() not in _SUFFIXES:
        raise ServingError(
            "bad_request", f"--generation_config: {path} is not a file of a known kind; name it {', '.join(_SUFFIXES)}"
        )
    try:
        text = path.read_text(encoding="utf-8")
        tree = msgspec.json.decode(text) if path.suffix.lower() == ".json" else yaml.safe_load(text)
    except (OSError, UnicodeDecodeError) as error:
        raise ServingError("bad_request", f"--generation_config: {path} cannot be read: {error}") from None
    except (msgspec.DecodeError, yaml.YAMLError, ValueError, RecursionError) as error:
        reason = " ".join(str(error).split())
        raise ServingError("bad_request", f"--generation_config: {path} is damaged: {reason}") from None
    if tree is None:
        return {}
    if not isinstance(tree, dict):
        raise ServingError(
            "bad_request", f"--generation_config: {path} must be a mapping of parameters, such as `temperature: 0.9`"
        )
    return cast(dict[Any, Any], tree)


def _checked(layer: Mapping[Any, Any], numbers: Mapping[str, Number], at: str) -> dict[str, Any]:
    """The layer without its nulls; `at` stands before a name in errors."""
    checked: dict[str, Any] = {}
    for name, value in layer.items():
        if not isinstance(name, str):
            raise ServingError("bad_request", f"{at}{name}: the name of a parameter must be text; put it in quotes")
        if value is None:
            continue
        wanted = numbers[name].type if name in numbers else None
        if wanted is not None and (isinstance(value, bool) or not isinstance(value, (int, wanted))):
            what = "a whole number" if wanted is int else "a number"
            raise ServingError("bad_request", f"{at}{name}: {value!r} is not {what}", param=name)
        if not _plain(value):
            raise ServingError(
                "bad_request",
                f"{at}{name}: {value!r} cannot be sent to a model; give a finite number, a text, true, false, or a"
                " list or mapping of such",
                param=name,
            )
        checked[name] = _with_text_keys(cast(dict[Any, Any], value)) if isinstance(value, dict) else value
    return checked


def _plain(value: object) -> bool:
    """Whether JSON can carry it, one level deep: what parameters need, and no text in knots of aliases."""
    if isinstance(value, dict):
        members = cast(dict[Any, Any], value)
        return all(isinstance(name, (str, int)) and _scalar(member) for name, member in members.items())
    if isinstance(value, list):
        return all(map(_scalar, cast(list[Any], value)))
    return _scalar(value)


def _with_text_keys(value: dict[Any, Any]) -> dict[str, Any]:
    """As JSON has them; YAML reads the token ids of a logit_bias as numbers."""
    return {str(name): member for name, member in value.items()}


def _scalar(value: object) -> bool:
    return value is None or (isinstance(value, (str, int, float)) and (isinstance(value, str) or math.isfinite(value)))


def _pair(text: str) -> tuple[str, Any]:
    name, equals, value = text.partition("=")
    if not (name and equals):
        raise argparse.ArgumentTypeError(f"{text!r} is not NAME=VALUE")
    return name, scalar(value)


class _Given(argparse.Action):
    """Notes that a flag was given; its default alone must not win over a file."""

    def __call__(
        self, parser: argparse.ArgumentParser, namespace: argparse.Namespace, values: Any, option: str | None = None
    ) -> None:
        namespace.generation = {**namespace.generation, self.dest: values}


class _GivenPairs(argparse.Action):
    def __call__(
        self,
        parser: argparse.ArgumentParser,
        namespace: argparse.Namespace,
        values: Sequence[tuple[str, Any]] | Any,
        option: str | None = None,
    ) -> None:
        namespace.generation = {**namespace.generation, **dict(values)}
