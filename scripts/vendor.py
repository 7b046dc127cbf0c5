"""Writes the web page's libraries from npm into src/trunkcall/web/static/vendor, or checks that they are as written."""

from __future__ import annotations

import argparse
import hashlib
import json
import re
import subprocess
import sys
import tarfile
import tempfile
from dataclasses import dataclass
from pathlib import Path

VENDOR = Path(__file__).resolve().parent.parent / "src" / "trunkcall" / "web" / "static" / "vendor"
MANIFEST = VENDOR / "manifest.json"


@dataclass(frozen=True)
class Library:
    """One package of npm: which of its files are taken, under which names here, and what it is for."""

    name: str
    version: str
    why: str
    files: dict[str, str]
    export: str = ""
    """The name of what a script without modules makes, which then is the module's default."""


LIBRARIES = (
    Library(
        "preact", "11.2.0", "components",
        {"dist/preact.mjs": "preact.js", "hooks/dist/hooks.mjs": "preact_hooks.js"},
    ),
    Library("htm", "3.1.1", "components without a build step", {"dist/htm.mjs": "htm.js"}),
    Library("@preact/signals-core", "1.14.5", "state", {"dist/signals-core.mjs": "signals_core.js"}),
    Library("@preact/signals", "2.11.4", "state in components", {"dist/signals.mjs": "signals.js"}),
    Library("marked", "18.2.1", "markdown", {"lib/marked.esm.js": "marked.js"}),
    Library("@highlightjs/cdn-assets", "11.12.0", "code in colours", {"es/highlight.min.js": "highlight.js"}),
    Library(
        "temml", "0.13.5", "LaTeX as MathML",
        {"dist/temml.min.js": "temml.js", "dist/Temml-Local.css": "temml.css", "dist/Temml.woff2": "Temml.woff2"},
        export="temml",
    ),
)  # fmt: skip

_IMPORTS = {
    "preact": "./preact.js",
    "preact/hooks": "./preact_hooks.js",
    "@preact/signals-core": "./signals_core.js",
}
"""Browsers know no bare names without an import map, which would be an inline script."""


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--check", action="store_true", help="only compare the files with the manifest")
    if parser.parse_args().check:
        return check()
    VENDOR.mkdir(parents=True, exist_ok=True)
    manifest = [fetched(library) for library in LIBRARIES]
    MANIFEST.write_text(json.dumps(manifest, indent=2) + "\n")
    return 0


def check() -> int:
    """Whether every file is there, unchanged, and none beside."""
    known = {MANIFEST}
    for entry in json.loads(MANIFEST.read_text()):
        for name, digest in entry["files"].items():
            file = VENDOR / name
            known.add(file)
            if not file.is_file() or hashlib.sha256(file.read_bytes()).hexdigest() != digest:
                print(f"{name} is not as scripts/vendor.py wrote it; run it again", file=sys.stderr)
                return 1
    wanted = [(library.name, library.version) for library in LIBRARIES]
    if [(entry["name"], entry["version"]) for entry in json.loads(MANIFEST.read_text())] != wanted:
        print("other versions are wanted than were written; run scripts/vendor.py", file=sys.stderr)
        return 1
    stray = [file.name for file in VENDOR.rglob("*") if file.is_file() and file not in known]
    if stray:
        print(f"nobody asked for {', '.join(stray)}", file=sys.stderr)
    return 1 if stray else 0


def fetched(library: Library) -> dict[str, object]:
    """Write one library's files; gives its entry in the manifest."""
    with tempfile.TemporaryDirectory() as folder:
        subprocess.run(
            ["npm", "pack", "--silent", f"{library.name}@{library.version}"],
            cwd=folder, check=True, capture_output=True, timeout=120,
        )  # fmt: skip
        (archive,) = Path(folder).glob("*.tgz")
        with tarfile.open(archive) as packed:
            packed.extractall(folder, filter="data")
        package = Path(folder, "package")
        said = json.loads((package / "package.json").read_text())
        files: dict[str, str] = {}
        taken = {**library.files, "LICENSE": f"{stem(library.name)}.LICENSE"}
        for source, name in taken.items():
            data = (package / source).read_bytes()
            if name.endswith(".js"):
                data = adapted(data.decode(), library.export).encode()
            (VENDOR / name).write_bytes(data)
            files[name] = hashlib.sha256(data).hexdigest()
    return {
        "name": library.name,
        "version": library.version,
        "licence": said["license"],
        "why": library.why,
        "files": files,
    }


def stem(name: str) -> str:
    return name.strip("@").replace("/", "_").replace("-", "_")


def adapted(text: str, export: str) -> str:
    """Bare imports become those of the files beside; no map is looked for that is not there."""
    for name, file in _IMPORTS.items():
        text = text.replace(f'from"{name}"', f'from"{file}"')
    text = re.sub(r"\n?//# sourceMappingURL=.*\s*$", "\n", text)
    return f"{text.rstrip()}\nexport default {export};\n" if export else text


if __name__ == "__main__":
    sys.exit(main())
