"""What holds for all files of the page: their texts, their size, their libraries, and what they must not contain."""

from __future__ import annotations

import gzip
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
STATIC = ROOT / "src" / "trunkcall" / "web" / "static"
OURS = sorted(file for file in STATIC.rglob("*.js") if "vendor" not in file.parts)
MODULES = [file for file in OURS if file.name != "strings_en.js"]
TEXTS = (STATIC / "strings_en.js").read_text()
KEYS = re.findall(r'^  (?:"([^"]+)"|(\w+)):\s', TEXTS, re.MULTILINE)
DEFINED = [quoted or plain for quoted, plain in KEYS]


def named(file: Path) -> str:
    return str(file.relative_to(STATIC))


def test_no_text_has_two_names() -> None:
    assert sorted(DEFINED) == sorted(set(DEFINED))


def test_every_text_that_is_asked_for_is_there() -> None:
    asked = {(named(file), key) for file in MODULES for key in re.findall(r'\bt\(\s*"([^"]+)"', file.read_text())}
    assert not {(file, key) for file, key in asked if key not in DEFINED}


def test_every_text_is_asked_for() -> None:
    code = "\n".join(file.read_text() for file in MODULES)
    stems = [re.escape(stem) for stem in re.findall(r"`([a-z_]+\.[a-z_.]*)\$\{", code)]
    made = re.compile("|".join(stems) or r"(?!)")
    assert not [key for key in DEFINED if f'"{key}"' not in code and not made.match(key)]


@pytest.mark.parametrize("file", OURS, ids=named)
def test_a_file_says_its_idea_first(file: Path) -> None:
    assert re.match(r"/\*\*\s+(\* )?\S", file.read_text())


@pytest.mark.parametrize("file", OURS, ids=named)
def test_what_no_file_may_contain(file: Path) -> None:
    text = file.read_text()
    for forbidden in ("eval(", "new Function", "document.write", "debugger", "document.cookie", "TODO"):
        assert forbidden not in text
    # The developer's corner shows code that prints.
    assert "console." not in text or named(file) == "lib/code_samples.js"
    # What models write becomes elements one by one; no text is ever read as HTML.
    assert not re.search(r"innerHTML|outerHTML|dangerouslySetInnerHTML|insertAdjacentHTML", text)


def test_libraries_are_as_they_were_fetched() -> None:
    done = subprocess.run(
        [sys.executable, ROOT / "scripts" / "vendor.py", "--check"], capture_output=True, text=True, timeout=50
    )
    assert done.returncode == 0, done.stderr


def test_all_of_it_is_small() -> None:
    size = sum(
        len(gzip.compress(f.read_bytes())) for f in STATIC.rglob("*") if f.suffix in {".js", ".css", ".html", ".svg"}
    )
    assert size < 400_000
