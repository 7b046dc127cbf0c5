"""Which engine is chosen, why, and what would be faster."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import msgspec
import pytest
from engines.model_folders import put_embedder, put_model

from trunkcall.core.errors import ServingError
from trunkcall.core.models import LaunchSpec, Machine, ModelSettings, parse_source, read_options
from trunkcall.engines import choice
from trunkcall.engines.choice import Folder, Hub, choose
from trunkcall.engines.installed import lacking
from trunkcall.engines.llamacpp import LlamaCpp
from trunkcall.pocket import gguf_path

BARE = Machine(8, 16 * 2**30)
GPU = Machine(8, 64 * 2**30, ("H200",), (140 * 2**30,), (139 * 2**30,))
ALL = frozenset({"llamacpp", "transformers", "vllm"})
COMMIT = "a" * 40


@pytest.mark.parametrize(
    ("forms", "machine", "installed", "forced", "engine", "why", "faster"),
    [
        ("gguf", BARE, ALL, "", "llamacpp", "GGUF is the format of llama.cpp", ""),
        ("gguf", GPU, ALL, "", "llamacpp", "GGUF is the format of llama.cpp", "`gpu_layers: -1`"),
        ("checkpoint", BARE, ALL, "", "transformers", "a transformers checkpoint, and no GPU", "GGUF file"),
        ("checkpoint", GPU, ALL, "", "vllm", "a GPU (H200), and vLLM is installed", ""),
        ("checkpoint", GPU, ALL - {"vllm"}, "", "transformers", "vLLM is not installed", "pip install 'trunkcall[vllm]'"),
        ("embedder", GPU, ALL, "", "transformers", "sentence-transformers folder", ""),
        ("embedder", BARE, ALL, "", "transformers", "sentence-transformers folder", ""),
        ("gguf checkpoint", BARE, ALL, "", "llamacpp", "this one needs no GPU", ""),
        ("gguf checkpoint", GPU, ALL, "", "vllm", "vLLM is installed", ""),
        ("gguf checkpoint", GPU, ALL - {"vllm"}, "", "llamacpp", "GGUF", "vLLM, which would use the H200"),
        ("gguf checkpoint", BARE, ALL, "transformers", "transformers", "the option `engine` names it", ""),
        ("checkpoint", BARE, ALL, "sglang", "sglang", "the option `engine` names it", ""),
    ],
)  # fmt: skip
def test_choice(
    forms: str, machine: Machine, installed: frozenset[str], forced: str, engine: str, why: str, faster: str
) -> None:
    found = choose(set(forms.split()), machine, installed, forced)  # type: ignore[arg-type]
    assert found.engine == engine
    assert why in found.why
    assert faster in found.faster
    assert bool(faster) == bool(found.faster)


def test_a_build_without_a_gpu_is_not_chosen_for_one() -> None:
    found = choose({"checkpoint"}, GPU, ALL, cpu_only={"vllm"})
    assert (found.engine, found.why) == ("transformers", "a transformers checkpoint, and vLLM is built for CPUs")
    assert "vLLM, which would use the H200: pip install" in found.faster
    assert choose({"checkpoint"}, GPU, ALL, "vllm", {"vllm"}).engine == "vllm"


@pytest.mark.parametrize(
    ("package", "machine", "engine"),
    [("vllm-0.32.0", GPU, "vllm"), ("vllm-0.32.0+cpu", GPU, "transformers"), ("vllm-0.32.0", BARE, "transformers")],
)
def test_what_the_installed_vllm_was_built_for_counts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, package: str, machine: Machine, engine: str
) -> None:
    program = tmp_path / "venv" / "bin" / "vllm"
    program.parent.mkdir(parents=True)
    program.touch(0o755)
    (tmp_path / "venv" / "lib" / "python3.11" / "site-packages" / f"{package}.dist-info").mkdir(parents=True)
    monkeypatch.setenv("TRUNKCALL_VLLM", str(program))
    monkeypatch.setattr(choice, "installed", lambda: ALL)
    source = parse_source(f"folder:{put_model(tmp_path / 'model')}")
    assert Folder().plan(ModelSettings(name="m", sources=(source,)), machine).engine == engine


@pytest.mark.parametrize(
    ("forms", "machine", "forced", "kind", "words"),
    [
        ("checkpoint", BARE, "", "unsupported", "pip install 'trunkcall[transformers]'"),
        ("checkpoint", GPU, "", "unsupported", "pip install 'trunkcall[vllm]'"),
        ("embedder", GPU, "", "unsupported", "pip install 'trunkcall[transformers]'"),
        ("gguf", BARE, "vllm", "bad_request", "'vllm' cannot serve it. These read the model: llamacpp"),
        ("checkpoint", BARE, "llamacpp", "bad_request", "These read the model: transformers, vllm"),
        ("checkpoint", BARE, "transformer", "bad_request", "Did you mean 'transformers'?"),
    ],
)
def test_no_choice(forms: str, machine: Machine, forced: str, kind: str, words: str) -> None:
    with pytest.raises(ServingError) as caught:
        choose({forms}, machine, {"llamacpp"}, forced)  # type: ignore[arg-type]
    assert caught.value.kind == kind
    assert words in caught.value.message


class Options(msgspec.Struct, frozen=True):
    """Of the engine below."""

    dtype: str = "auto"


class Noted:
    """An engine that tells what it was asked to plan; the real ones need packages that not everybody has."""

    def __init__(self, name: str) -> None:
        self.name = name

    def plan(self, model: ModelSettings, machine: Machine) -> LaunchSpec:
        options = read_options(model, Options)
        return LaunchSpec(command=(self.name, str(model.sources[0]), options.dtype), protocol="openai", slots=1)


@pytest.fixture(autouse=True)
def known(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """What is installed does not depend on who runs the tests, nor does the Hub's cache."""
    monkeypatch.setattr(choice, "installed", lambda: frozenset({"llamacpp", "transformers"}))
    monkeypatch.setattr(choice, "_engine", lambda name: LlamaCpp() if name == "llamacpp" else Noted(name))
    for name in ("HF_HUB_OFFLINE", "TRANSFORMERS_OFFLINE", "HUGGINGFACE_HUB_CACHE", "TRANSFORMERS_CACHE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path / "cache"))


def plan(source: str, **options: Any) -> LaunchSpec:
    found = parse_source(source)
    engine = {"folder": Folder, "hf": Hub}[found.scheme]()
    return engine.plan(ModelSettings(name="m", sources=(found,), options=options), BARE)


def refused(source: str, **options: Any) -> ServingError:
    with pytest.raises(ServingError) as caught:
        plan(source, **options)
    return caught.value


def put_gguf(path: Path, size: int = 0) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    shutil.copy(gguf_path(), path)
    if size:
        with path.open("r+b") as file:
            file.truncate(size)
    return path


def loaded(spec: LaunchSpec) -> str:
    """The path that the host process is told."""
    return json.loads(spec.command[-1])["path"]


def test_a_folder_of_gguf(tmp_path: Path) -> None:
    path = put_gguf(tmp_path / "some.gguf")
    spec = plan(str(tmp_path), context=64)
    assert (spec.engine, spec.why, spec.faster) == ("llamacpp", "GGUF is the format of llama.cpp", "")
    assert (loaded(spec), json.loads(spec.command[-1])["context"]) == (str(path), 64)
    put_gguf(tmp_path / "some-Q8_0.gguf")
    put_gguf(tmp_path / "some-Q4_K_M.gguf")
    assert loaded(plan(str(tmp_path))).endswith("some-Q4_K_M.gguf")


def test_nothing_in_the_folder_fits(tmp_path: Path) -> None:
    for name in ("b", "a"):
        put_gguf(tmp_path / f"{name}.gguf", 9 * 2**30)
    error = refused(str(tmp_path))
    assert "none of its 2 .gguf files takes less than half" in error.message
    assert str(tmp_path / "a.gguf") in error.message


@pytest.mark.parametrize("put", [put_model, put_embedder])
def test_a_folder_of_transformers(tmp_path: Path, put: Any) -> None:
    spec = plan(str(put(tmp_path / "model")), dtype="float32")
    assert spec.engine == "transformers"
    assert spec.command == ("transformers", f"transformers:{tmp_path / 'model'}", "float32")
    named = plan(f"folder:{tmp_path / 'model'}#inner", dtype="float32")
    assert named.command[1] == f"transformers:{tmp_path / 'model'}#inner"


def test_options_are_those_of_the_chosen_engine(tmp_path: Path) -> None:
    put_model(tmp_path)
    error = refused(str(tmp_path), gpu_layers=3)
    assert (error.kind, error.param) == ("bad_request", "gpu_layers")
    assert error.message.startswith(
        "transformers was chosen (a transformers checkpoint, and no GPU): model 'm': unknown"
    )
    put_gguf(tmp_path / "also.gguf")
    spec = plan(str(tmp_path), gpu_layers=3)
    assert (spec.engine, spec.faster) == ("llamacpp", "")
    assert plan(str(tmp_path), engine="transformers").engine == "transformers"
    assert refused(str(tmp_path), engine="pocket").param == "engine"
    assert "expected a name, got 3" in refused(str(tmp_path), engine=3).message


def test_folders_that_hold_no_model(tmp_path: Path) -> None:
    (tmp_path / "file.bin").write_bytes(b"")
    for target, words in (
        ("folder:", "folder needs a path"),
        (str(tmp_path / "missing"), "does not exist"),
        (str(tmp_path), "it has no config.json"),
        (str(tmp_path / "file.bin"), "is a file"),
    ):
        error = refused(target)
        assert error.kind == "bad_request"
        assert words in error.message


def cache(tmp_path: Path, repo: str) -> Path:
    """Where the cache keeps the files of a repository."""
    folder = tmp_path / "cache" / f"models--{repo.replace('/', '--')}"
    (folder / "refs").mkdir(parents=True)
    (folder / "refs" / "main").write_text(COMMIT)
    return folder / "snapshots" / COMMIT


def test_a_name_whose_files_are_here(tmp_path: Path) -> None:
    place = put_model(cache(tmp_path, "org/name"))
    spec = plan("hf:org/name")
    assert (spec.engine, spec.fetch) == ("transformers", ())
    assert spec.command[1] == f"transformers:{place}"
    path = put_gguf(cache(tmp_path, "org/plain") / "m-Q8_0.gguf")
    for source in ("hf:org/plain", "hf:org/plain:Q8_0", "hf:org/plain:m-Q8_0.gguf"):
        spec = plan(source)
        assert (spec.engine, loaded(spec)) == ("llamacpp", str(path))


@pytest.mark.parametrize(
    ("source", "options", "engine", "kind", "file"),
    [
        ("hf:org/name", {}, "transformers", "any", ""),
        ("hf:org/name@v1", {"engine": "sglang"}, "sglang", "folder", ""),
        ("hf:org/name-GGUF", {}, "llamacpp", "gguf", ""),
        ("hf:org/name:Q4_K_M", {}, "llamacpp", "gguf", "Q4_K_M"),
        ("hf:org/name:sub/m.gguf", {}, "llamacpp", "gguf", "sub/m.gguf"),
    ],
)
def test_a_name_that_has_to_be_fetched(source: str, options: dict[str, Any], engine: str, kind: str, file: str) -> None:
    spec = plan(source, **options)
    assert spec.engine == engine
    assert "it is not fetched yet" in spec.why
    told = json.loads(spec.fetch[-1])
    assert (told["kind"], told["file"]) == (kind, file)
    assert spec.command == ()


def test_names_that_cannot_be_served(monkeypatch: pytest.MonkeyPatch) -> None:
    assert "name no file; write hf:org/name" in refused("hf:org/name:model.safetensors").message
    assert refused("hf:org/name-GGUF:Q8_0", engine="vllm").param == "engine"
    assert "hf:ORG/NAME" in refused("hf:a b").message
    monkeypatch.setattr(choice, "installed", lambda: frozenset({"llamacpp"}))
    error = refused("hf:org/name")
    assert error.kind == "unsupported"
    assert "pip install 'trunkcall[transformers]'" in error.message
    assert "name a quantisation: hf:org/name:Q4_K_M" in error.message
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    assert "HF_HUB_OFFLINE forbids" in refused("hf:org/name-GGUF").message


@pytest.mark.slow
@pytest.mark.timeout(180)
def test_a_folder_is_served_by_the_engine_that_is_shown(serve: Any, tmp_path: Path) -> None:
    if lacking("transformers"):
        pytest.skip(f"transformers cannot be started: without {lacking('transformers')}")
    shutil.copytree(Path(__file__).parents[2] / "pocket" / "hf", tmp_path / "model")
    server = serve("--model", "m=./model", "--no-pocket", cwd=tmp_path)
    status, _, answer = server.chat("m", "What colour is the sky?", max_tokens=8)
    assert (status, bool(answer.get("choices"))) == (200, True), answer
    replica = server.get("/admin/models/m")["replicas"][0]
    assert replica["engine"] == "transformers"
    assert replica["why"].startswith("a transformers checkpoint")
    assert replica["faster"]
    assert replica["memory"] > 2**20
