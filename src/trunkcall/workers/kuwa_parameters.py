"""Parameters of a function as flags of an executor, and generation configurations from files."""

from __future__ import annotations

import argparse
import inspect
import json
import types
import typing
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Final, Protocol, cast

import yaml

_YAML: Final = (".yaml", ".yml")


class Describes(Protocol):
    """Finds what a docstring says of a parameter."""

    def __call__(self, doc: str, name: str) -> str: ...


class DescriptionParser:
    """To derive from: a callable that finds what a docstring says of a parameter; this one finds nothing."""

    def __call__(self, doc: str, name: str) -> str:
        """One line for the help of the parameter's flag."""
        return ""


def expose_function_parameter(
    function: Callable[..., Any],
    parser: argparse.ArgumentParser | None = None,
    accepted_types: tuple[type, ...] = (int, float),
    defaults: Mapping[str, Any] | None = None,
    desc_parser: Describes | None = None,
) -> dict[str, Any]:
    """The parameters of a function that have one of these types, with their defaults; None for those without.

    parser: is given a flag for each; defaults: win over the function's own; of a union the first
    accepted member is the flag's type.
    """
    found: dict[str, Any] = dict(defaults or {})
    for name, parameter in inspect.signature(function).parameters.items():
        kind = _kind(_annotation(function, parameter), accepted_types)
        if kind is None:
            continue
        own = None if parameter.default is parameter.empty else parameter.default
        default = found.setdefault(name, own)
        if parser is not None:
            said = desc_parser(doc=function.__doc__ or "", name=name) if desc_parser is not None else ""
            # argparse reads % as the beginning of a format.
            parser.add_argument(f"--{name}", type=kind, default=default, help=said.replace("%", "%%") or "-")
    return found


def read_config(path: str | Path) -> Any:
    """What a .yaml, .yml or .json file holds.

    Raises RuntimeError for another suffix, OSError and ValueError for a file that cannot be read.
    """
    file = Path(path)
    suffix = file.suffix.lower()
    if suffix in _YAML:
        try:
            return yaml.safe_load(file.read_bytes())
        except yaml.YAMLError as error:
            raise ValueError(f"{file}: {error}") from error
    if suffix == ".json":
        return json.loads(file.read_bytes())
    raise RuntimeError(f"{file}: a generation configuration ends in .yaml, .yml or .json")


def merge_config(base: Mapping[str, Any], top: Mapping[str, Any]) -> dict[str, Any]:
    """Both configurations in one; `top` wins where it says something."""
    return {**base, **{name: value for name, value in top.items() if value is not None}}


def _annotation(function: Callable[..., Any], parameter: inspect.Parameter) -> Any:
    try:
        return typing.get_type_hints(function).get(parameter.name)
    except Exception:  # noqa: BLE001
        # A name in some annotation that is not there at run time: what is written counts.
        return parameter.annotation


def _kind(annotation: Any, accepted: tuple[type, ...]) -> type | None:
    """The accepted type that an annotation names."""
    if isinstance(annotation, str):
        names = [word.strip() for word in annotation.removeprefix("Optional[").removesuffix("]").split("|")]
        return next((kind for name in names for kind in accepted if kind.__name__ == name), None)
    if annotation in accepted:
        return cast(type, annotation)
    if typing.get_origin(annotation) in (typing.Union, types.UnionType):
        return next((member for member in typing.get_args(annotation) if member in accepted), None)
    return None
