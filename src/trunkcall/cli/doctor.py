"""`trunkcall doctor`: what works on this machine, what does not, and what to do about it."""

from __future__ import annotations

import asyncio
import os
import platform
import re
import shutil
import time
from collections.abc import Iterator, Mapping
from importlib import metadata
from pathlib import Path
from typing import Final
from urllib.parse import urlsplit

import msgspec

from trunkcall import config, plugins
from trunkcall.cli.client import Server
from trunkcall.cli.doctor_service import service
from trunkcall.cli.finding import Finding
from trunkcall.cli.models import planned
from trunkcall.cli.output import print_json, print_table
from trunkcall.core.errors import ServingError
from trunkcall.core.models import LaunchSpec, Machine, ModelSettings, ModelView, Source
from trunkcall.core.ports import Exited, Ready
from trunkcall.engines import hub
from trunkcall.engines.installed import REMEDIES, lacking
from trunkcall.engines.llamacpp import Pocket
from trunkcall.home import Home, locate
from trunkcall.machine import cpu_features, look
from trunkcall.placement.local import LocalPlacement
from trunkcall.protocols.fetching import amount

POCKET_SECONDS: Final = 60.0
"""The shipped model answers in half a second on a machine with nothing else to do."""
LEAST_DISK: Final = 10**9
"""Free bytes below which a journal and a ledger are at risk."""
_CHOICES: Final = frozenset({"folder", "hf"})
"""Engines that stand for others."""
_DEVELOPERS: Final = "dev"
_REQUIREMENT: Final = re.compile(r"([A-Za-z0-9._-]+).*;.*extra == '([a-z0-9-]+)'")


class Report(msgspec.Struct, frozen=True, kw_only=True):
    """All findings; usable: a server can be started with these settings, and answers."""

    usable: bool
    findings: tuple[Finding, ...]
    models: tuple[ModelView, ...]


def doctor(home_flag: Path | None, file: Path | None, as_json: bool) -> int:
    """Print what was found; gives 0 when nothing has to be put right, else 1."""
    report = examine(Home(locate(home_flag, os.environ)), file)
    if as_json:
        print_json(report)
    else:
        _print(report)
    return 0 if report.usable else 1


def examine(home: Home, file: Path | None) -> Report:
    """Look at everything; starts the shipped model for a moment, changes nothing, needs no network."""
    machine = look()
    pocket = _pocket(machine)
    settings, mistakes = _settings(home, file)
    models = tuple(planned(model, machine) for model in settings.models.values())
    findings = (
        pocket,
        *_host(machine),
        *_places(home),
        *_network(os.environ),
        *_engines(machine),
        *_extras(),
        *mistakes,
        *service(settings, home),
        *_room(models, machine),
    )
    return Report(usable=all(one.state != "wrong" for one in findings), findings=findings, models=models)


def _print(report: Report) -> None:
    print_table(
        ("CHECK", "STATE", "FOUND", "TO DO"),
        [(one.what, one.state, one.found, one.remedy or "-") for one in report.findings],
    )
    print()
    print_table(
        ("MODEL", "ENGINE", "MEMORY", "WHY, OR WHY NOT", "FASTER WITH"),
        [
            (
                view.name,
                replica.engine or replica.source.partition(":")[0],
                amount(replica.memory) if replica.memory else "-",
                replica.error or replica.why or "-",
                replica.faster or "-",
            )
            for view in report.models
            for replica in view.replicas
        ],
    )


def _pocket(machine: Machine) -> Finding:
    what = "the shipped model"
    try:
        spec = Pocket().plan(ModelSettings(name="pocket", sources=(Source("pocket"),)), machine)
        seconds = asyncio.run(_asked(spec))
    except ServingError as error:
        return Finding(what, "wrong", error.message, REMEDIES["llamacpp"])
    return Finding(what, "fine", f"started, asked and ended in {seconds:.1f} s")


async def _asked(spec: LaunchSpec) -> float:
    """Seconds from the start of the child to the end of its answer; raises ServingError when it gives none."""
    placement = LocalPlacement()
    began = time.monotonic()
    try:
        handle = await placement.start(spec)
    except OSError as error:
        raise ServingError("unreachable", f"{spec.command[0]} cannot be started: {error.strerror}") from error
    try:
        async with asyncio.timeout(POCKET_SECONDS):
            async for event in placement.watch(handle):
                match event:
                    case Ready(address=address):
                        await asyncio.to_thread(_ask, address)
                        return time.monotonic() - began
                    case Exited(reason=reason):
                        raise ServingError("unreachable", f"it ended in its start: {reason}")
    except TimeoutError:
        raise ServingError("unreachable", f"it did not answer within {POCKET_SECONDS:g} s") from None
    finally:
        await placement.stop(handle, spec.grace)
    raise AssertionError("a placement's watch ends with Exited")


def _ask(address: str) -> None:
    question = {"model": "pocket", "messages": [{"role": "user", "content": "Hello"}], "max_tokens": 4}
    Server(address).call("POST", "/v1/chat/completions", question)


def _settings(home: Home, file: Path | None) -> tuple[config.Settings, tuple[Finding, ...]]:
    """The settings in force, or the defaults with what is wrong about them."""
    flags = config.Flags()
    try:
        loaded = config.load(config=file, home=home.path, environ=os.environ, flags=flags)
    except ServingError as error:
        return config.Settings(), (Finding("settings", "wrong", error.message, "correct the settings"),)
    return loaded.settings, (Finding("settings", "fine", str(loaded.file or "no file, defaults")),)


def _host(machine: Machine) -> Iterator[Finding]:
    yield Finding("Python", "fine", f"{platform.python_version()} on {platform.system()} {platform.machine()}")
    features = cpu_features()
    cpu = f"{machine.cores} cores"
    if platform.machine() == "x86_64" and features:
        has = {name: "yes" if flag in features else "no" for name, flag in (("AVX2", "avx2"), ("AVX-512", "avx512f"))}
        cpu += "".join(f", {name} {answer}" for name, answer in has.items())
        if has["AVX2"] == "no":
            yield Finding("CPU", "wrong", cpu, "the wheel of llama.cpp needs AVX2: build xllamacpp from its sources")
            return
    yield Finding("CPU", "fine", cpu)
    yield Finding("memory", "fine", amount(machine.memory))
    if not machine.gpus:
        yield Finding("GPU", "lacks", "no NVIDIA GPU, or no driver for it")
    for number, name in enumerate(machine.gpus):
        free = machine.gpu_free[number : number + 1]
        room = f", {amount(free[0])} free of {amount(machine.gpu_memory[number])}" if free else ""
        yield Finding("GPU", "fine", f"{name}{room}")


def _places(home: Home) -> Iterator[Finding]:
    for what, path, remedy in (
        ("state directory", home.path, "choose another with --home or TRUNKCALL_HOME"),
        ("Hub's cache", hub.cache_folder(os.environ), "choose another with HF_HOME"),
    ):
        there = next(parent for parent in (path, *path.parents) if parent.exists())
        free = shutil.disk_usage(there).free
        if not there.is_dir() or not os.access(there, os.W_OK | os.X_OK):
            yield Finding(what, "wrong", f"{path} cannot be written", remedy)
        elif free < LEAST_DISK:
            yield Finding(what, "wrong", f"{path}: only {amount(free)} free", f"make room, or {remedy}")
        else:
            yield Finding(what, "fine", f"{path}: {amount(free)} free")


def _network(environ: Mapping[str, str]) -> Iterator[Finding]:
    forbids = hub.offline(environ)
    token = next((name for name in ("HF_TOKEN", "HUGGING_FACE_HUB_TOKEN") if environ.get(name)), "")
    place = urlsplit(environ.get("HF_ENDPOINT", "https://huggingface.co")).hostname
    if forbids:
        yield Finding("downloads", "lacks", f"{forbids} forbids them", f"unset {forbids}")
    else:
        yield Finding("downloads", "fine", f"from {place}{f', with {token}' if token else ''}")


def _engines(machine: Machine) -> Iterator[Finding]:
    for name in plugins.names("engines"):
        if name in _CHOICES or name == "pocket":
            continue
        what = f"engine {name}"
        try:
            plugins.find("engines", name)
        except ServingError as error:
            yield Finding(what, "lacks", "cannot be loaded", error.message)
            continue
        missing, _, remedy = lacking(name).partition("; ")
        if missing:
            yield Finding(what, "lacks", f"without {missing}", remedy)
        elif name == "transformers":
            yield _torch(what, machine)
        elif name == "vllm" and not machine.gpus:
            yield Finding(what, "fine", "installed; without a GPU it has to be a build for CPUs")
        else:
            yield Finding(what, "fine", "can be started")


def _torch(what: str, machine: Machine) -> Finding:
    torch = metadata.version("torch")
    found = f"transformers {metadata.version('transformers')}, torch {torch}"
    if machine.gpus and "+cpu" in torch:
        return Finding(
            what, "lacks", f"{found}, which does not use the GPU", "pip install torch with CUDA: pytorch.org"
        )
    return Finding(what, "fine", found)


def _extras() -> Iterator[Finding]:
    """Optional packages by the extra that they belong to."""
    needs: dict[str, list[str]] = {}
    for line in metadata.requires("trunkcall") or ():
        found = _REQUIREMENT.match(line)
        if found is not None and found[2] != _DEVELOPERS:
            needs.setdefault(found[2], []).append(found[1])
    for extra, packages in sorted(needs.items()):
        missing = [package for package in packages if not _has(package)]
        if missing:
            yield Finding(
                f"extra {extra}", "lacks", f"without {', '.join(missing)}", f"pip install 'trunkcall[{extra}]'"
            )
        else:
            yield Finding(f"extra {extra}", "fine", "installed")


def _has(package: str) -> bool:
    try:
        metadata.version(package)
    except metadata.PackageNotFoundError:
        return False
    return True


def _room(models: tuple[ModelView, ...], machine: Machine) -> Iterator[Finding]:
    """Whether all models that are started here fit at once."""
    need = sum(replica.memory for view in models for replica in view.replicas)
    found = f"{amount(need)} of {amount(machine.memory)}"
    if need > machine.memory and not machine.gpus:
        yield Finding("all models at once", "lacks", found, "call not all of them, or take smaller ones")
    elif need:
        yield Finding("all models at once", "fine", found)
