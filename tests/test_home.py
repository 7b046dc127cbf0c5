"""The state directory: its lock, its server and its models, over real files and processes."""

from __future__ import annotations

import fcntl
import os
import subprocess
import sys
import threading
from pathlib import Path

import platformdirs
import pytest
from running import eventually

from trunkcall.core.errors import ServingError
from trunkcall.home import Home, ServerInfo, born, locate

HOLD = """
import sys
from pathlib import Path
from trunkcall.home import Home
home = Home(Path(sys.argv[1]))
with home.lock():
    home.write_server({pid}, "http://127.0.0.1:4321")
    print("held", flush=True)
    sys.stdin.read()
"""


class Holder:
    """A child that holds a home until its stdin closes."""

    def __init__(self, home: Path) -> None:
        code = HOLD.format(pid="__import__('os').getpid()")
        self.child = subprocess.Popen(
            [sys.executable, "-c", code, str(home)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        assert self.child.stdout is not None
        assert self.child.stdout.readline() == "held\n"

    def __enter__(self) -> Holder:
        return self

    def __exit__(self, *_: object) -> None:
        with self.child:
            self.child.kill()
            self.child.wait(10)


def test_where_the_home_is(tmp_path: Path) -> None:
    assert locate(Path("rel"), {"TRUNKCALL_HOME": "/elsewhere"}) == Path.cwd() / "rel"
    assert locate(None, {"TRUNKCALL_HOME": "~/t"}) == Path.home() / "t"
    assert locate(None, {}) == platformdirs.user_state_path("trunkcall", appauthor=False)


def test_reading_makes_nothing_and_writing_makes_it_private(tmp_path: Path) -> None:
    home = Home(tmp_path / "a" / "b")
    assert home.models() == {}
    assert home.running() is None
    assert not (tmp_path / "a").exists()
    home.ensure()
    for path in (home.path, home.journal, home.logs):
        assert path.stat().st_mode & 0o777 == 0o700
    assert home.ledger_url == f"sqlite:///{home.path}/ledger.db"


def test_a_home_that_cannot_be_is_refused_with_the_remedy(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(ServingError, match="--home DIR or TRUNKCALL_HOME") as caught:
        Home(tmp_path / "file" / "home").ensure()
    assert caught.value.kind == "forbidden"


def test_an_unwritable_home_is_refused(tmp_path: Path) -> None:
    home = tmp_path / "home"
    for path in (home, home / "journal", home / "logs"):
        path.mkdir()
    home.chmod(0o555)
    code = """
import os, sys
from pathlib import Path
from trunkcall.core.errors import ServingError
from trunkcall.home import Home
if os.geteuid() == 0:  # whom no mode stops
    os.setuid(65534)
try:
    with Home(Path(sys.argv[1])).lock():
        pass
except ServingError as error:
    print(error.kind, error.message)
"""
    for path in (tmp_path, *tmp_path.parents):
        if (path.owner() != "root" and os.geteuid() == 0) or path == Path("/tmp"):
            break
        if os.geteuid() == 0:
            path.chmod(path.stat().st_mode | 0o055)
    found = subprocess.run([sys.executable, "-c", code, str(home)], capture_output=True, text=True, timeout=30)
    assert found.stdout.startswith(f"forbidden the state directory {home} cannot be used: Permission denied."), found


def holds(home: Home) -> tuple[int, str] | None:
    info = home.running()
    return None if info is None else (info.pid, info.url)


def test_a_second_server_is_refused_and_told_who_is_first(tmp_path: Path) -> None:
    home = Home(tmp_path)
    with Holder(tmp_path) as holder:
        assert holds(home) == (holder.child.pid, "http://127.0.0.1:4321")
        with pytest.raises(ServingError) as caught, home.lock():
            pass
        assert caught.value.kind == "conflict"
        assert f"process {holder.child.pid} at http://127.0.0.1:4321" in caught.value.message
    assert home.running() is None
    assert (tmp_path / "server.json").exists(), "kill -9 leaves the file, which must not be believed"
    with home.lock():
        assert holds(home) == (os.getpid(), "")
        home.write_server(os.getpid(), "http://x")
        assert holds(home) == (os.getpid(), "http://x")
    assert home.running() is None
    assert not (tmp_path / "server.json").exists()


def test_a_number_that_another_process_has_got_is_not_the_server(tmp_path: Path) -> None:
    with Holder(tmp_path) as holder:
        info = Home(tmp_path).running()
        assert info is not None
        assert info.alive
        assert info.since > 0
        other = ServerInfo(os.getpid(), info.url, since=info.since, born=info.born)
        assert born(os.getpid()) == 0 or not other.alive
    assert holder.child.returncode is not None
    assert born(holder.child.pid) == 0
    assert not info.alive or born(os.getpid()) == 0


def test_a_probe_does_not_keep_a_server_from_starting(tmp_path: Path) -> None:
    home = Home(tmp_path)
    home.ensure()
    (tmp_path / "lock").touch()
    stop = threading.Event()

    def probe() -> None:
        while not stop.is_set():
            home.running()

    prober = threading.Thread(target=probe)
    prober.start()
    try:
        for _ in range(50):
            with home.lock():
                pass
    finally:
        stop.set()
        prober.join(10)


def test_a_probe_that_stands_still_does_not_either(tmp_path: Path) -> None:
    home = Home(tmp_path)
    home.ensure()
    with (tmp_path / "lock").open("w") as probe:
        fcntl.flock(probe, fcntl.LOCK_SH)
        goes_on = threading.Timer(0.6, fcntl.flock, (probe, fcntl.LOCK_UN))
        goes_on.start()
        with home.lock():
            goes_on.join()


def test_children_do_not_inherit_the_lock(tmp_path: Path) -> None:
    home = Home(tmp_path)
    with home.lock():
        child = subprocess.Popen(
            [sys.executable, "-c", "import sys; sys.stdin.read()"], stdin=subprocess.PIPE, close_fds=False
        )
    with child:
        try:
            # A child that is being started closes what it must not have a moment after its parent goes on.
            eventually(lambda: home.running() is None)
        finally:
            child.kill()


def test_models_are_kept(tmp_path: Path) -> None:
    home = Home(tmp_path / "home")
    home.add_model("a", "debug")
    home.add_model("b", {"source": "dummy", "slots": 2})
    assert Home(home.path).models() == {"a": "debug", "b": {"source": "dummy", "slots": 2}}
    with pytest.raises(ServingError, match="trunkcall models rm a"):
        home.add_model("a", "dummy")
    home.remove_model("a")
    with pytest.raises(ServingError, match="Known: b") as caught:
        home.remove_model("zzz")
    assert caught.value.kind == "no_model"
    assert home.models() == {"b": {"source": "dummy", "slots": 2}}
    assert home.models_file.stat().st_mode & 0o777 == 0o600


def test_many_at_once_lose_no_model(tmp_path: Path) -> None:
    code = "import sys; from pathlib import Path; from trunkcall.home import Home\nfor n in range(10): Home(Path(sys.argv[1])).add_model(f'{sys.argv[2]}-{n}', 'debug')"
    children = [subprocess.Popen([sys.executable, "-c", code, str(tmp_path), str(n)]) for n in range(4)]
    for child in children:
        assert child.wait(30) == 0
    assert len(Home(tmp_path).models()) == 40
    assert not [path for path in tmp_path.iterdir() if path.name.startswith(".")]


@pytest.mark.parametrize("data", [b"{", b"[]", b"\xff"])
def test_a_broken_models_file_is_named(tmp_path: Path, data: bytes) -> None:
    (tmp_path / "models.json").write_bytes(data)
    with pytest.raises(ServingError, match=r"models\.json: not a list of models"):
        Home(tmp_path).models()
