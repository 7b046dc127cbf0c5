"""The plugin table, over the entry points that are really installed."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from trunkcall import plugins
from trunkcall.core.errors import ServingError
from trunkcall.core.models import parse_source


def test_built_ins_are_registered() -> None:
    assert {"debug", "dummy", "openai"} <= set(plugins.names("backends"))
    assert {"llamacpp", "pocket"} <= set(plugins.names("engines"))
    assert {"debug", "openai", "llamacpp", "pocket"} <= set(plugins.schemes())
    assert plugins.names("backends") == tuple(sorted(plugins.names("backends")))


def test_every_built_in_can_be_imported() -> None:
    for group in ("backends", "engines", "placements", "apis"):
        for name in plugins.names(group):
            assert callable(plugins.find(group, name)), name


def test_an_unknown_name_gets_the_nearest() -> None:
    with pytest.raises(ServingError, match=r"there is no backend 'opnai'\. Did you mean 'openai'") as caught:
        plugins.find("backends", "opnai")
    assert caught.value.kind == "bad_request"


@pytest.mark.parametrize(
    ("source", "words"),
    [
        ("opnai:http://h", ["'opnai:http://h'", "Did you mean 'openai'?", "Known: ", "llamacpp"]),
        ("zzz", ["Known: anthropic"]),
        ("models/x", ["./models/x", "hf:models/x"]),
    ],
)
def test_an_unknown_scheme_is_explained(source: str, words: list[str]) -> None:
    with pytest.raises(ServingError) as caught:
        plugins.check(parse_source(source))
    assert all(word in caught.value.message for word in words), caught.value.message


@pytest.mark.parametrize("source", ["pocket", "debug", "x.gguf", "./models/x", "hf:org/repo", "openai:http://h:1/v1#m"])
def test_known_schemes_pass(source: str) -> None:
    plugins.check(parse_source(source))


def test_a_plugin_of_another_package_is_found_and_a_missing_extra_named(tmp_path: Path) -> None:
    dist = tmp_path / "acme_serving-1.0.dist-info"
    dist.mkdir()
    (dist / "METADATA").write_text("Metadata-Version: 2.1\nName: acme-serving\nVersion: 1.0\nProvides-Extra: gpu\n")
    (dist / "entry_points.txt").write_text(
        "[trunkcall.backends]\nacme = acme:connect\nacme-gpu = acme_gpu:connect [gpu]\nacme-bare = acme_gpu:connect\n"
    )
    (tmp_path / "acme.py").write_text("def connect(): return 'connected'\n")
    (tmp_path / "acme_gpu.py").write_text("import a_gpu_library\n")
    code = """
from trunkcall import plugins
from trunkcall.core.errors import ServingError
print(plugins.find("backends", "acme")())
for name in ("acme-gpu", "acme-bare"):
    try:
        plugins.find("backends", name)
    except ServingError as error:
        print(error.kind, error.message)
"""
    found = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=30, env={"PYTHONPATH": str(tmp_path)}
    )
    assert found.stdout.splitlines() == [
        "connected",
        "unsupported 'acme-gpu' needs the Python package 'a_gpu_library'; install it: pip install 'acme-serving[gpu]'",
        "unsupported 'acme-bare' needs the Python package 'a_gpu_library'; reinstall acme-serving",
    ], found.stderr


def test_names_import_nothing() -> None:
    code = "import sys; from trunkcall import plugins; plugins.schemes(); print([m for m in sys.modules if m.startswith('trunkcall.back')])"
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=30, check=True)
    assert found.stdout == "[]\n"
