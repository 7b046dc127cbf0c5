"""Write the lock files from pyproject.toml, or check without a network that they are of its making."""

from __future__ import annotations

import hashlib
import json
import subprocess
import sys
import tomllib
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
UV = Path(sys.executable).with_name("uv")
PREFIX = "# inputs: "

PROJECT = ("pyproject.toml", "--group", "pyproject.toml:build")
LOCKS = {
    "requirements.lock": PROJECT,
    "requirements-dev.lock": (*PROJECT, "--extra", "dev"),
    "requirements-openai1.lock": ("scripts/openai1.in",),
    "requirements-kuwa.lock": ("scripts/kuwa.in",),
    "requirements-clouds.lock": ("scripts/clouds.in",),
    "requirements-fastchat.lock": ("scripts/fastchat.in", "--override", "scripts/fastchat-overrides.in"),
    "requirements-fastchat-web.lock": ("scripts/fastchat-web.in",),
    "requirements-textgen.lock": ("scripts/textgen.in",),
}


def digest(inputs: tuple[str, ...]) -> str:
    """A hash of what a lock file follows from: the dependencies only, not the rest of pyproject.toml."""
    if "pyproject.toml" not in inputs:
        texts = [(ROOT / name).read_bytes() for name in inputs if not name.startswith("-")]
        return hashlib.sha256(b"".join(texts)).hexdigest()
    tree = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    project = tree["project"]
    parts = [project["requires-python"], project["dependencies"], tree["dependency-groups"]["build"]]
    if "--extra" in inputs:
        parts.append(project["optional-dependencies"]["dev"])
    return hashlib.sha256(json.dumps(parts).encode()).hexdigest()


def write(name: str, inputs: tuple[str, ...]) -> None:
    """Resolve for every platform and Python that we support, with hashes and without addresses."""
    command = [
        str(UV),
        "pip",
        "compile",
        "-q",
        "--universal",
        "--generate-hashes",
        "--no-header",
        "--no-emit-index-url",
    ]
    command += ["--no-emit-find-links", "--no-annotate", "--python-version", "3.11", "--upgrade"]
    found = subprocess.run([*command, *inputs], cwd=ROOT, check=True, stdout=subprocess.PIPE, text=True).stdout
    (ROOT / name).write_text(f"# Written by `make lock`.\n{PREFIX}{digest(inputs)}\n{found}", encoding="utf-8")
    print(f"{name}: {found.count('==')} packages")


def check(name: str, inputs: tuple[str, ...]) -> str | None:
    """What is wrong with a lock file, if something is."""
    text = (ROOT / name).read_text(encoding="utf-8")
    if f"{PREFIX}{digest(inputs)}\n" not in text:
        return f"{name} is older than the dependencies it was made from; run `make lock`"
    return f"{name} names an address" if "://" in text else None


def main() -> int:
    """Write, or with --check only look."""
    if "--check" not in sys.argv:
        for name, inputs in LOCKS.items():
            write(name, inputs)
    wrong = [found for name, inputs in LOCKS.items() if (found := check(name, inputs))]
    for line in wrong:
        print(line, file=sys.stderr)
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
