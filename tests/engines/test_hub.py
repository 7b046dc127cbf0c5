"""Names of the Hub, and models that are or are not in its cache: no network."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from trunkcall.core.errors import ServingError
from trunkcall.core.models import Machine
from trunkcall.engines.hub import Fetch, HubName, cache_folder, cached, locate, offline, parse, snapshot
from trunkcall.protocols.fetching import FetchSettings, Kind

MACHINE = Machine(2, 16 * 10**9)
COMMIT = "c0ffee" * 6 + "0000"
VARIABLES = (
    "HF_HUB_CACHE", "HUGGINGFACE_HUB_CACHE", "TRANSFORMERS_CACHE", "HF_HOME", "XDG_CACHE_HOME",
    "HF_HUB_OFFLINE", "TRANSFORMERS_OFFLINE",
)  # fmt: skip


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The only cache that is known."""
    for name in VARIABLES:
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HF_HOME", str(tmp_path))
    return tmp_path / "hub"


def keep(cache: Path, repo: str, *files: str, revision: str = "main", commit: str = COMMIT) -> Path:
    """Have a repository in the cache; gives its snapshot."""
    folder = cache / f"models--{repo.replace('/', '--')}"
    (folder / "refs").mkdir(parents=True, exist_ok=True)
    (folder / "refs" / revision).write_text(commit)
    found = folder / "snapshots" / commit
    for name in files:
        (found / name).parent.mkdir(parents=True, exist_ok=True)
        (found / name).write_bytes(b"x" * 100)
    return found


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("org/repo", HubName("org/repo")),
        ("gpt2", HubName("gpt2")),
        ("org/repo-1.5_b:m-Q4_K_M.gguf", HubName("org/repo-1.5_b", "m-Q4_K_M.gguf")),
        ("org/repo:Q4_K_M", HubName("org/repo", "Q4_K_M")),
        ("org/repo:sub dir/m.gguf@v1.0", HubName("org/repo", "sub dir/m.gguf", "v1.0")),
        ("org/repo@refs/pr/3", HubName("org/repo", "", "refs/pr/3")),
    ],
)
def test_names(text: str, name: HubName) -> None:
    assert parse(text) == name
    assert parse(str(name).removeprefix("hf:")) == name


@pytest.mark.parametrize(
    "text",
    [
        *("", "/", "a/b/c", "../x", "a/..", "a//b", "a b/c", ".a/b", "a\n/b", "https://huggingface.co/a/b"),
        *("a/b:", "a/b:../x.gguf", "a/b:x//y.gguf", "a/b:x\\y", "a/b:c:d", "a/b@", "a/b@x@y", "a/b@../x", "a/b@main:f"),
    ],
)
def test_what_is_no_name_is_told_the_form(text: str) -> None:
    with pytest.raises(ServingError) as caught:
        parse(text)
    assert caught.value.kind == "bad_request"
    assert "hf:ORG/NAME[:FILE][@REVISION]" in caught.value.message


@given(st.text(alphabet="ab/.:@-_\\~ \n0", max_size=24))
def test_no_name_leads_out_of_the_cache(text: str) -> None:
    try:
        name = parse(text)
    except ServingError:
        return
    for part in (name.repo, name.file, name.revision):
        assert ".." not in part.split("/") and not part.startswith("/")


@pytest.mark.parametrize(
    ("environ", "folder"),
    [
        ({}, "~/.cache/huggingface/hub"),
        ({"XDG_CACHE_HOME": "/x"}, "/x/huggingface/hub"),
        ({"XDG_CACHE_HOME": "/x", "HF_HOME": "/h"}, "/h/hub"),
        ({"HF_HOME": "~/h"}, "~/h/hub"),
        ({"HF_HOME": "/h", "TRANSFORMERS_CACHE": "/t"}, "/t"),
        ({"TRANSFORMERS_CACHE": "/t", "HUGGINGFACE_HUB_CACHE": "/o"}, "/o"),
        ({"HUGGINGFACE_HUB_CACHE": "/o", "HF_HUB_CACHE": "/n"}, "/n"),
        ({"HF_HUB_CACHE": ""}, "~/.cache/huggingface/hub"),
    ],
)
def test_where_the_cache_is(environ: dict[str, str], folder: str) -> None:
    assert cache_folder(environ) == Path(folder).expanduser()


def test_the_cache_is_where_huggingface_hub_has_it(cache: Path) -> None:
    from huggingface_hub import try_to_load_from_cache

    found = keep(cache, "org/m", "config.json")
    assert try_to_load_from_cache("org/m", "config.json", cache_dir=cache) == str(found / "config.json")
    assert snapshot(HubName("org/m"), cache) == found


@pytest.mark.parametrize(
    ("environ", "variable"),
    [
        ({}, ""),
        ({"HF_HUB_OFFLINE": "0"}, ""),
        ({"HF_HUB_OFFLINE": "1"}, "HF_HUB_OFFLINE"),
        ({"TRANSFORMERS_OFFLINE": "yes"}, "TRANSFORMERS_OFFLINE"),
    ],
)
def test_offline(environ: dict[str, str], variable: str) -> None:
    assert offline(environ) == variable


def test_what_is_not_here_is_fetched(cache: Path) -> None:
    found = locate("org/m:Q8_0@v1", MACHINE, "gguf")
    assert isinstance(found, Fetch)
    assert found.command[:4] == (sys.executable, "-P", "-m", "trunkcall.workers.fetch")
    told = msgspec.json.decode(found.command[4], type=FetchSettings)
    assert told == FetchSettings(
        repo="org/m", revision="v1", file="Q8_0", kind="gguf", memory=MACHINE.memory, cache=str(cache)
    )
    assert cached("org/m") is None


def test_the_models_own_environment_counts(cache: Path, tmp_path: Path) -> None:
    other = tmp_path / "other"
    found = keep(other, "org/m", "m.gguf")
    assert locate("org/m", MACHINE, env={"HF_HUB_CACHE": str(other)}) == found / "m.gguf"
    assert isinstance(locate("org/m", MACHINE), Fetch)
    with pytest.raises(ServingError, match="HF_HUB_OFFLINE forbids"):
        locate("org/m", MACHINE, env={"HF_HUB_OFFLINE": "1"})


def test_offline_is_explained(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    keep(cache, "org/here", "m.gguf")
    monkeypatch.setenv("TRANSFORMERS_OFFLINE", "1")
    assert isinstance(locate("org/here", MACHINE), Path)
    with pytest.raises(ServingError) as caught:
        locate("org/m:Q8_0@v1", MACHINE)
    for says in ("hf:org/m:Q8_0@v1 is not in the cache", str(cache), "Unset TRANSFORMERS_OFFLINE", "trunkcall pull"):
        assert says in caught.value.message
    assert caught.value.kind == "bad_request"


PARTS = ("model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors")


@pytest.mark.parametrize(
    ("files", "target", "kind", "found"),
    [
        (("a-Q8_0.gguf", "a-Q4_K_M.gguf"), "org/m", "any", "a-Q4_K_M.gguf"),
        (("a-Q8_0.gguf", "a-Q4_K_M.gguf"), "org/m:Q8_0", "any", "a-Q8_0.gguf"),
        (("q/a-Q8_0.gguf",), "org/m:q/a-Q8_0.gguf", "gguf", "q/a-Q8_0.gguf"),
        (("a-Q8_0.gguf",), "org/m:Q4_K_M", "any", None),
        (("a-Q8_0.gguf",), "org/m", "folder", None),
        (("a-00001-of-00002.gguf", "a-00002-of-00002.gguf"), "org/m", "any", "a-00001-of-00002.gguf"),
        (("a-00001-of-00002.gguf",), "org/m", "any", None),
        (("config.json", "model.safetensors", "a-Q8_0.gguf"), "org/m", "any", "."),
        (("config.json", "model.safetensors", "a-Q8_0.gguf"), "org/m", "gguf", "a-Q8_0.gguf"),
        (("config.json",), "org/m", "any", None),
        (("config.json", *PARTS), "org/m", "any", "."),
        (("config.json", PARTS[0]), "org/m", "any", None),
        (("config.json", "pytorch_model.bin", "model.safetensors.index.json"), "org/m", "folder", "."),
        (("config.json", "pytorch_model.bin"), "org/m:config.json", "any", "config.json"),
        (("config.json", "model.safetensors"), f"org/m@{COMMIT}", "any", "."),
        (("config.json", "model.safetensors"), "org/m@v1", "any", None),
    ],
)
def test_what_is_here(cache: Path, files: tuple[str, ...], target: str, kind: Kind, found: str | None) -> None:
    folder = keep(cache, "org/m", *files)
    place = locate(target, MACHINE, kind)
    assert (place if isinstance(place, Path) else None) == (folder / found if found else None)


@pytest.mark.parametrize(
    ("index", "whole"),
    [
        ({"weight_map": {"a": "one.safetensors", "b": "two.safetensors"}}, False),
        ({"weight_map": {"a": "one.safetensors"}}, True),
        ({}, False),
    ],
)
def test_a_folder_is_here_when_all_is_that_its_index_names(cache: Path, index: Any, whole: bool) -> None:
    folder = keep(cache, "org/m", "config.json", "one.safetensors")
    (folder / "model.safetensors.index.json").write_text(json.dumps(index))
    assert cached("org/m") == (folder if whole else None)


def test_a_note_that_is_no_commit_leads_nowhere(cache: Path) -> None:
    keep(cache, "org/m", "m.gguf", commit="../../etc")
    assert snapshot(HubName("org/m"), cache) is None


def test_a_link_to_what_was_removed_is_not_here(cache: Path) -> None:
    folder = keep(cache, "org/m", "m-Q8_0.gguf")
    (folder / "m-Q4_K_M.gguf").symlink_to("../../blobs/gone")
    assert cached("org/m") == folder / "m-Q8_0.gguf"
