"""Make .venv hold exactly what a lock file says; does nothing when it does already.

    python3 scripts/bootstrap.py up|dev|all

Standard library only, and in the words of an old Python: its first task is to find one that is new enough.
"""

import hashlib
import os
import re
import shutil
import subprocess
import sys
import time
from pathlib import Path
from typing import NoReturn

ROOT = Path(__file__).resolve().parent.parent
VENV = ROOT / ".venv"
PYTHON = VENV / "bin" / "python"
OLDEST = (3, 11)
NAMES = ("python3.13", "python3.12", "python3.11", "python3.14", "python3", "python")
LOCKS = {"up": "requirements.lock", "dev": "requirements-dev.lock", "all": "requirements-dev.lock"}
PEERS = {
    "openai1": "openai 1.x",
    "kuwa": "the Kuwa executor 0.1.0",
    "clouds": "the SDKs of Gemini and Anthropic",
    "fastchat": "FastChat 0.2.36",
    "fastchat-web": "what its web server needs instead",
    "textgen": "the TGI client 0.7.0",
}
"""What tests compare with, each in a folder of its own in .venv for the PYTHONPATH of a child."""


def main() -> None:
    """Bring .venv up to the wanted set."""
    wanted = sys.argv[1] if len(sys.argv) == 2 and sys.argv[1] in LOCKS else "up"
    lock = ROOT / LOCKS[wanted]
    # The larger set holds the smaller one: `make up` after `make test` has nothing to do.
    sets = [LOCKS[wanted]] if wanted != "up" else [LOCKS["up"], LOCKS["dev"]]
    held = stamp("lock")
    if not PYTHON.exists() or held not in [digest(ROOT / name, ROOT / "pyproject.toml") for name in sets]:
        started = time.monotonic()
        if not works():
            say("creating .venv")
            shutil.rmtree(VENV, ignore_errors=True)
            create()
        pip("installing", "--require-hashes", "-r", str(lock))
        pip("installing trunkcall", "--no-deps", "--no-build-isolation", "-e", str(ROOT))
        openmp()
        write_stamp("lock", digest(lock, ROOT / "pyproject.toml"))
        say(f"the environment is ready after {time.monotonic() - started:.0f} s")
    if wanted == "all":
        extras()


def extras() -> None:
    """What only `make test-all` needs: peers of other versions and systems, and torch for the parity tests."""
    for name, what in PEERS.items():
        lock = ROOT / ("requirements-" + name + ".lock")
        if stamp(name) != digest(lock):
            shutil.rmtree(VENV / name, ignore_errors=True)
            # A lock names all there is, and FastChat's leaves out torch, which is the environment's own.
            pip("installing " + what, "--target", str(VENV / name), "--no-deps", "--require-hashes", "-r", str(lock))
            write_stamp(name, digest(lock))
    parity = ROOT / "requirements-parity.txt"
    if stamp("parity") != digest(parity):
        try:
            pip("installing torch and transformers", "-r", str(parity))
        except SystemExit:
            say("WITHOUT torch and transformers: the parity tests of the pocket model will be SKIPPED")
        else:
            write_stamp("parity", digest(parity))


def works() -> bool:
    """Whether .venv has a Python that is new enough and its own pip."""
    return PYTHON.exists() and version(str(PYTHON)) >= OLDEST and runs(str(PYTHON), "-m", "pip", "--version")


def create() -> None:
    """Make an empty environment with pip in it, also where Debian's python3 comes without ensurepip."""
    python = find_python()
    if runs(python, "-c", "import ensurepip, venv") and runs(python, "-m", "venv", str(VENV)):
        return
    say(f"{python} has no ensurepip; trying other ways")
    if runs(python, "-m", "virtualenv", "-q", str(VENV)):
        return
    for tool in ("virtualenv", "uv"):
        path = shutil.which(tool)
        if path and runs(path, *(["venv", "-q", "--seed", "-p"] if tool == "uv" else ["-q", "-p"]), python, str(VENV)):
            return
    if runs(python, "-m", "venv", "--without-pip", str(VENV)):
        for other in (python, *found_pythons(oldest=(3, 7))):
            if runs(other, "-m", "pip", "--python", str(PYTHON), "install", "-q", "pip"):
                return
        for wheel in sorted(Path("/usr/share/python-wheels").glob("pip-*.whl")):
            if runs(str(PYTHON), str(wheel / "pip"), "install", "-q", "--no-index", str(wheel)):
                return
    package = "python{}.{}-venv".format(*version(python))
    if apt_install(package):
        shutil.rmtree(VENV, ignore_errors=True)
        if runs(python, "-m", "venv", str(VENV)):
            return
    fail(f"this Python cannot make environments. Install {package} (apt-get install {package}) and try again")


def openmp() -> None:
    """llama.cpp's wheel needs the system's OpenMP library, which the smallest Linux images lack."""
    loads = (str(PYTHON), "-c", "import ctypes; ctypes.CDLL('libgomp.so.1')")
    if sys.platform.startswith("linux") and not runs(*loads) and not (apt_install("libgomp1") and runs(*loads)):
        say("WITHOUT libgomp.so.1 llama.cpp cannot start: install it (apt-get install libgomp1, dnf install libgomp)")


def apt_install(package: str) -> bool:
    """Whether apt could install it, as root or by a sudo that asks for no password."""
    apt = [] if os.geteuid() == 0 else ["sudo", "-n"]
    if not shutil.which("apt-get") or (apt and not shutil.which("sudo")):
        return False
    say(f"installing {package} with apt-get")
    install = [*apt, "env", "DEBIAN_FRONTEND=noninteractive", "apt-get", "install", "-y", "-qq", package]
    return runs(*install) or (runs(*apt, "apt-get", "update", "-qq") and runs(*install))


def find_python() -> str:
    """The Python that runs this if it is new enough, else the first such on PATH."""
    if sys.version_info[:2] >= OLDEST and sys.prefix == sys.base_prefix:
        return sys.executable
    for path in found_pythons(OLDEST):
        return path
    return fail("Python 3.11 or newer is needed; this is {}.{} and there is no newer on PATH".format(*sys.version_info))


def found_pythons(oldest: "tuple[int, int]") -> "list[str]":
    """The Pythons on PATH that are as new as `oldest` and run; a version manager's shims may not."""
    paths = [shutil.which(name) for name in NAMES]
    return [path for path in paths if path and version(path) >= oldest]


def version(python: str) -> "tuple[int, int]":
    """(major, minor) of an interpreter, (0, 0) when it does not run."""
    try:
        text = subprocess.check_output(
            [python, "-c", "import sys; print(*sys.version_info[:2])"], stderr=subprocess.DEVNULL, timeout=30
        )
        major, minor = text.split()
        return int(major), int(minor)
    except (OSError, subprocess.SubprocessError, ValueError):
        return (0, 0)


def runs(*command: str) -> bool:
    """Run a command quietly; whether it could be run and succeeded."""
    try:
        return subprocess.call(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) == 0
    except OSError:
        return False


def pip(doing: str, *arguments: str) -> None:
    """pip install, shown as one line that moves; the whole of what pip said when it fails."""
    command = [str(PYTHON), "-m", "pip", "install", "--no-input", "--disable-pip-version-check", *arguments]
    child = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, cwd=ROOT)
    said = []
    total = count_pins(arguments)
    seen = 0
    with child:
        for line in child.stdout or ():
            said.append(line)
            found = re.match(r"Collecting ([\w.-]+)", line)
            if found:
                seen += 1
                say(f"{doing} {seen}/{max(total, seen)}: {found[1]}", moving=True)
            elif line.startswith("Installing collected packages"):
                say(f"{doing}: unpacking", moving=True)
    if child.returncode:
        sys.stderr.write("\n" + "".join(said[-30:]))
        fail(f"{doing} failed; see above")
    say(f"{doing}: done")


def count_pins(arguments: "tuple[str, ...]") -> int:
    """How many packages the named lock file pins, without those of other systems."""
    for argument in arguments:
        if argument.endswith((".lock", ".txt")):
            lines = re.findall(r"(?m)^[\w.\[\]-]+==[^\n]*", Path(argument).read_text(encoding="utf-8"))
            return sum("win32" not in line or "!=" in line for line in lines)
    return 0


def digest(*paths: Path) -> str:
    """One hash over files and the interpreter's version."""
    total = hashlib.sha256(b"%d.%d" % sys.version_info[:2])
    for path in paths:
        total.update(path.read_bytes())
    return total.hexdigest()


def stamp(name: str) -> str:
    """What was installed last time."""
    path = VENV / (".trunkcall-" + name)
    return path.read_text(encoding="utf-8") if path.exists() else ""


def write_stamp(name: str, text: str) -> None:
    """Note what is installed now."""
    (VENV / (".trunkcall-" + name)).write_text(text, encoding="utf-8")


def say(text: str, moving: bool = False) -> None:
    """Progress on stderr: in place on a terminal, whole lines elsewhere."""
    if sys.stderr.isatty():
        sys.stderr.write("\r\033[K" + text + ("" if moving else "\n"))
        sys.stderr.flush()
    elif not moving:
        sys.stderr.write(text + "\n")


def fail(text: str) -> "NoReturn":
    """End with a message."""
    say("trunkcall: " + text)
    raise SystemExit(1)


if __name__ == "__main__":
    try:
        main()
    except KeyboardInterrupt:
        sys.exit(130)
