"""`trunkcall config`: the settings in force and who set them."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from trunkcall import config, config_file
from trunkcall.cli.offline import load
from trunkcall.cli.output import print_json
from trunkcall.home import Home, locate


def show(home: Path | None, file: Path | None, as_json: bool) -> None:
    """Print all settings, as YAML that trunkcall.yaml can hold, or as JSON."""
    loaded = _load(home, file)
    tree = config.show(loaded.settings)
    if as_json:
        print_json(tree)
        return
    import yaml

    print(f"# from {loaded.file or 'defaults, environment and added models; there is no settings file'}")
    print(yaml.safe_dump(tree, sort_keys=False, allow_unicode=True), end="")


def explain(home: Path | None, file: Path | None, key: str, as_json: bool) -> None:
    """Print the value in force, its place, and what it overrides."""
    found = _load(home, file).explain(key)
    if as_json:
        print_json({"key": key, "value": found[-1].value, "place": found[-1].place, "overrides": found[-2::-1]})
        return
    print(f"{key} = {_text(found[-1].value)}  ({found[-1].place})")
    for origin in found[-2::-1]:
        print(f"  overrides {_text(origin.value)}  ({origin.place})")


def schema() -> None:
    """Print the JSON schema of the settings file."""
    print_json(config_file.schema())


def _load(home: Path | None, file: Path | None) -> config.Loaded:
    return load(Home(locate(home, os.environ)), file)


def _text(value: Any) -> str:
    import msgspec

    return msgspec.json.encode(value).decode()
