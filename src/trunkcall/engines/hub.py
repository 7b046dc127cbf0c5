"""Models of the Hugging Face Hub: what a name means, whether it is in the cache, and what would fetch it.

No network here. The cache's layout is that of huggingface_hub: `models--ORG--NAME/refs/REVISION` holds a commit,
`snapshots/COMMIT/` its files.
"""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Final, NoReturn

import msgspec

from trunkcall.core.errors import ServingError
from trunkcall.core.models import Machine
from trunkcall.protocols.fetching import FetchSettings, Kind
from trunkcall.protocols.hub_files import File, needed, part_names

_FORM: Final = "hf:ORG/NAME[:FILE][@REVISION]"
_NAME: Final = re.compile(
    r"(?P<repo>[A-Za-z0-9][\w.-]*(?:/[A-Za-z0-9][\w.-]*)?)(?::(?P<file>[^:@\\]+))?(?:@(?P<revision>[\w./-]+))?"
)
_OFFLINE: Final = ("HF_HUB_OFFLINE", "TRANSFORMERS_OFFLINE")
_TRUE: Final = frozenset({"1", "ON", "YES", "TRUE"})
_COMMIT: Final = re.compile(r"[0-9a-f]{40}")


class HubName(msgspec.Struct, frozen=True):
    """A model of the Hub; file: its path in the repository, or the name of a quantisation, empty for what fits."""

    repo: str
    file: str = ""
    revision: str = "main"

    def __str__(self) -> str:
        file = f":{self.file}" if self.file else ""
        return f"hf:{self.repo}{file}{'' if self.revision == 'main' else f'@{self.revision}'}"


class Fetch(msgspec.Struct, frozen=True):
    """A model that is not here yet."""

    settings: FetchSettings

    @property
    def command(self) -> tuple[str, ...]:
        """What fetches it, for LaunchSpec.fetch."""
        return self._program("fetch")

    @property
    def weigh(self) -> tuple[str, ...]:
        """What tells its size, for LaunchSpec.weigh."""
        return self._program("weigh")

    def _program(self, name: str) -> tuple[str, ...]:
        text = msgspec.json.encode(self.settings).decode()
        return (sys.executable, "-P", "-m", f"trunkcall.workers.{name}", text)


def parse(target: str) -> HubName:
    """Read `ORG/NAME[:FILE][@REVISION]`.

    Raises ServingError (bad_request) that names the form.
    """
    found = _NAME.fullmatch(target)
    if found is None or any(part in {".", ".."} for part in re.split(r"[/:@]", target)) or "//" in target:
        raise ServingError("bad_request", f"{target!r} is not the name of a model on the Hub; write {_FORM}")
    return HubName(found["repo"], (found["file"] or "").strip("/"), (found["revision"] or "main").strip("/"))


def cache_folder(environ: Mapping[str, str]) -> Path:
    """Where the Hub's files are kept: the places that huggingface_hub knows, and transformers' old one."""
    for name in ("HF_HUB_CACHE", "HUGGINGFACE_HUB_CACHE", "TRANSFORMERS_CACHE"):
        if environ.get(name):
            return _expanded(environ[name])
    if environ.get("HF_HOME"):
        return _expanded(environ["HF_HOME"]) / "hub"
    return _expanded(environ.get("XDG_CACHE_HOME") or "~/.cache") / "huggingface" / "hub"


def offline(environ: Mapping[str, str]) -> str:
    """The variable that forbids the network; empty when none does."""
    return next((name for name in _OFFLINE if environ.get(name, "").upper() in _TRUE), "")


def snapshot(name: HubName, cache: Path) -> Path | None:
    """The folder of a revision's files that are here, which need not be all; None when there is none."""
    folder = cache / f"models--{name.repo.replace('/', '--')}"
    commit = name.revision
    if not _COMMIT.fullmatch(commit):
        try:
            commit = (folder / "refs" / name.revision).read_text(encoding="ascii").strip()
        except (OSError, UnicodeDecodeError):
            return None
    found = folder / "snapshots" / commit
    return found if _COMMIT.fullmatch(commit) and found.is_dir() else None


def cached(
    repo: str, file: str = "", revision: str = "main", *, kind: Kind = "any", memory: int = sys.maxsize
) -> Path | None:
    """The model's .gguf file (of several parts the first) or its folder, when all of it is in the cache."""
    return _cached(HubName(repo, file, revision), kind, memory, cache_folder(os.environ))


def locate(target: str, machine: Machine, kind: Kind = "any", env: Mapping[str, str] | None = None) -> Path | Fetch:
    """Where a model is, or what would fetch it; kind: what the engine can load; env: added to our environment.

    Raises ServingError (bad_request) for what is no name, and for a model that is neither here nor may be fetched.
    """
    name = parse(target)
    environ = {**os.environ, **(env or {})}
    cache = cache_folder(environ)
    found = _cached(name, kind, machine.memory, cache)
    if found is not None:
        return found
    forbids = offline(environ)
    if forbids:
        _refuse_offline(name, cache, forbids)
    return Fetch(wanted(name, machine, cache, kind))


def wanted(name: HubName, machine: Machine, cache: Path, kind: Kind = "any") -> FetchSettings:
    """What the download of a model is told."""
    return FetchSettings(
        repo=name.repo, revision=name.revision, file=name.file, kind=kind, memory=machine.memory, cache=str(cache)
    )


def _refuse_offline(name: HubName, cache: Path, variable: str) -> NoReturn:
    raise ServingError(
        "bad_request",
        f"{name} is not in the cache, {cache}, and {variable} forbids to fetch it. Unset {variable}; or run "
        f"`trunkcall pull {name}` where there is a network, and copy that machine's cache to this one",
    )


def _cached(name: HubName, kind: Kind, memory: int, cache: Path) -> Path | None:
    folder = snapshot(name, cache)
    if folder is None:
        return None
    files = [
        File(path.relative_to(folder).as_posix(), path.stat().st_size)
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    ]
    try:
        found = needed(files, file=name.file, kind=kind, memory=memory, repo=name.repo)
    except ServingError:
        # Another file of the repository may be what is wanted.
        return None
    first = found[0].path
    if first.lower().endswith(".gguf") or name.file:
        return folder / first
    return folder if _whole(folder) else None


def _whole(folder: Path) -> bool:
    """Whether all weight files are here that their index, or their own names, speak of."""
    ending = ".safetensors" if any(folder.glob("*.safetensors")) else ".bin"
    names = {name for path in folder.glob(f"*{ending}") for name in part_names(path.name)}
    for index in ("model.safetensors.index.json", "pytorch_model.bin.index.json"):
        if f"{ending}." in index and (folder / index).is_file():
            try:
                names.update(msgspec.json.decode((folder / index).read_bytes(), type=_Index).weight_map.values())
            except (OSError, msgspec.DecodeError):
                return False
    return all((folder / name).is_file() for name in names)


class _Index(msgspec.Struct):
    weight_map: dict[str, str]


def _expanded(path: str) -> Path:
    return Path(os.path.expandvars(path)).expanduser().absolute()
