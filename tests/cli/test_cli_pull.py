"""`trunkcall pull`, from a server on loopback that speaks the Hub's API."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from hub_server import Hub, running_hub

Run = Callable[..., "subprocess.CompletedProcess[str]"]
MODEL = os.urandom(200_000)


@pytest.fixture
def hub() -> Iterator[Hub]:
    with running_hub() as running:
        running.files["Org/M-GGUF"] = {"m-Q4_K_M.gguf": MODEL, "m-Q8_0.gguf": os.urandom(300_000)}
        yield running


@pytest.fixture
def environ(environ: dict[str, str], hub: Hub, tmp_path: Path) -> dict[str, str]:
    kept = {name: value for name, value in environ.items() if not name.startswith(("HF_", "TRANSFORMERS_"))}
    return {**kept, **hub.environ(tmp_path / "hf")}


@pytest.mark.parametrize("source", ["hf:Org/M-GGUF", "Org/M-GGUF:Q4_K_M"])
def test_a_model_is_fetched_and_how_to_serve_it_is_said(cli: Run, tmp_path: Path, source: str) -> None:
    done = cli("pull", source)
    assert done.returncode == 0, done.stderr
    name = "hf:" + source.removeprefix("hf:")
    first, second = done.stdout.splitlines()
    path = Path(first.removeprefix(f"{name} is at "))
    assert path.is_relative_to(tmp_path / "hf" / "hub")
    assert path.read_bytes() == MODEL
    assert second == f"Serve it: trunkcall up --model m-gguf={name}"
    assert "m-Q4_K_M.gguf" in done.stderr
    assert "200.0/200.0 kB" in done.stderr


def test_the_printed_line_is_a_model_that_can_be_added(cli: Run) -> None:
    serve = cli("pull", "Org/M-GGUF").stdout.splitlines()[1]
    name, _, source = serve.rpartition(" ")[2].partition("=")
    added = cli("models", "add", name, source)
    assert added.returncode == 0, added.stderr


def test_without_a_network_what_is_here_is_found(cli: Run, hub: Hub) -> None:
    fetched = cli("pull", "Org/M-GGUF").stdout
    hub.asked.clear()
    done = cli("pull", "Org/M-GGUF", HF_HUB_OFFLINE="1")
    assert (done.returncode, done.stdout) == (0, fetched), done.stderr
    assert not hub.asked


@pytest.mark.slow
def test_what_was_interrupted_goes_on(cli: Run, hub: Hub) -> None:
    hub.cut += [50_000, 0, 0, 0, 0, 0]
    failed = cli("pull", "Org/M-GGUF")
    assert failed.returncode == 1
    assert "start again: what has been fetched is kept" in failed.stderr
    hub.apart.asked.clear()
    assert cli("pull", "Org/M-GGUF").returncode == 0
    assert [asked[2] for asked in hub.apart.asked] == ["bytes=50000-"]


@pytest.mark.parametrize(
    ("source", "environ_more", "code", "says"),
    [
        ("a/b/c", {}, 2, "is not the name of a model on the Hub; write hf:ORG/NAME[:FILE][@REVISION]"),
        ("./model.gguf", {}, 2, "is not the name of a model on the Hub"),
        ("Org/None", {}, 1, "has no model Org/None, or it is private"),
        ("Org/M-GGUF:Q2_K", {}, 2, "no .gguf file of the quantisation Q2_K"),
        ("Org/M-GGUF", {"HF_HUB_OFFLINE": "1"}, 2, "HF_HUB_OFFLINE forbids to fetch it. Unset HF_HUB_OFFLINE"),
        ("Org/M-GGUF", {"HF_ENDPOINT": "http://127.0.0.1:1"}, 1, "http://127.0.0.1:1 cannot be reached"),
    ],
)
def test_what_cannot_be_had(cli: Run, source: str, environ_more: dict[str, str], code: int, says: str) -> None:
    failed = cli("pull", source, **environ_more)
    assert failed.returncode == code
    assert says in failed.stderr
    assert failed.stdout == ""
