"""Downloads by the real program, from a server on loopback that speaks the Hub's API."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hub_server import COMMIT, Hub, running_hub
from running import Server

from trunkcall.core.models import Machine
from trunkcall.engines import hub as names
from trunkcall.net.link import VARIABLE
from trunkcall.pocket import gguf_path
from trunkcall.protocols.fetching import FetchSettings
from trunkcall.workers.fetch import progress

MACHINE = Machine(2, 16 * 10**9)
MODEL = os.urandom(300_000)
Q4 = "m-Q4_K_M.gguf"


@pytest.fixture
def hub() -> Iterator[Hub]:
    with running_hub() as running:
        running.files["org/m"] = {"README.md": b"hello", Q4: MODEL, "m-Q8_0.gguf": os.urandom(500_000)}
        yield running


class Fetching:
    """The program with a link; `report` is what it said on it, None for nothing."""

    def __init__(self, hub: Hub, home: Path, settings: dict[str, Any], **more: str) -> None:
        self.cache = home / "hub"
        about = {"repo": "org/m", "memory": MACHINE.memory, "cache": str(self.cache), **settings}
        text = msgspec.json.encode(msgspec.convert(about, FetchSettings)).decode()
        self.link, theirs = socket.socketpair()
        kept = {name: value for name, value in os.environ.items() if not name.startswith(("HF_", "HUGGING"))}
        self.process = subprocess.Popen(
            [sys.executable, "-P", "-m", "trunkcall.workers.fetch", text],
            env={**kept, **hub.environ(home), VARIABLE: str(theirs.fileno()), **more},
            pass_fds=(theirs.fileno(),),
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        theirs.close()
        self.output = ""
        self.report: dict[str, str] | None = None

    def end(self, limit: float = 30) -> int:
        """Wait for its end; gives the exit code."""
        self.output, _ = self.process.communicate(timeout=limit)
        self.link.settimeout(5)
        with self.link.makefile("rb") as reports:
            line = reports.readline()
        self.report = json.loads(line) if line else None
        assert "Traceback" not in self.output, self.output
        return self.process.returncode

    def stop(self) -> None:
        self.process.kill()
        self.process.wait()
        if self.process.stdout is not None:
            self.process.stdout.close()
        self.link.close()


@pytest.fixture
def fetch(hub: Hub, tmp_path: Path) -> Iterator[Callable[..., Fetching]]:
    """Starts the program; environment by `env`, settings by name."""
    running: list[Fetching] = []

    def start(env: dict[str, str] | None = None, **settings: Any) -> Fetching:
        running.append(Fetching(hub, tmp_path, settings, **(env or {})))
        return running[-1]

    yield start
    for one in running:
        one.stop()


def here(cache: Path, target: str = "org/m") -> Path | None:
    """Where the rest of us finds the model now."""
    place = names.locate(target, MACHINE, env={"HF_HUB_CACHE": str(cache)})
    return place if isinstance(place, Path) else None


def partial(cache: Path) -> Path:
    """The one file that is not complete."""
    (found,) = cache.glob("models--*/blobs/*.incomplete")
    return found


def test_a_model_is_fetched_where_all_look_for_it(hub: Hub, fetch: Callable[..., Fetching]) -> None:
    done = fetch()
    assert (done.end(), done.report) == (0, None)
    found = here(done.cache)
    assert found is not None and found.read_bytes() == MODEL
    assert [path for method, path, *_ in hub.asked if "m-Q8_0" in path] == []
    assert "org/m: 1 files, 300.0 kB\n" in done.output
    assert f"org/m: it is at {found}" in done.output
    from huggingface_hub import try_to_load_from_cache

    assert try_to_load_from_cache("org/m", Q4, cache_dir=done.cache) == str(found)
    # A second time there is nothing to do, and nothing is done.
    hub.apart.asked.clear()
    assert fetch().end() == 0
    assert hub.apart.asked == []


def test_a_folder_is_whole_or_not_there(hub: Hub, fetch: Callable[..., Fetching]) -> None:
    weights = {f"model-0000{n}-of-00002.safetensors": os.urandom(50_000 * n) for n in (1, 2)}
    index = json.dumps({"weight_map": dict.fromkeys(weights, next(iter(weights)))}).encode()
    small = {"config.json": b"{}", "1_Pooling/config.json": b"{}", "model.safetensors.index.json": index}
    hub.files["org/f"] = {**weights, **small, "pytorch_model.bin": b"x" * 9000, "README.md": b""}
    hub.lies["model-00002-of-00002.safetensors"] = os.urandom(100_000)
    failed = fetch(repo="org/f", kind="folder")
    assert failed.end() == 1
    assert here(failed.cache, "org/f") is None
    hub.lies.clear()
    done = fetch(repo="org/f", kind="folder")
    assert done.end() == 0
    folder = here(done.cache, "org/f")
    assert folder is not None
    there = {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}
    assert there == {**weights, **small}


def test_a_revision_and_an_empty_file(hub: Hub, fetch: Callable[..., Fetching]) -> None:
    hub.files["org/m"]["empty.txt"] = b""
    for revision in ("v1", COMMIT):
        done = fetch(file="empty.txt", revision=revision)
        assert done.end() == 0, done.output
        found = here(done.cache, f"org/m:empty.txt@{revision}")
        assert found is not None and found.read_bytes() == b""
    assert here(done.cache) is None, "main was not asked for"


def test_what_was_interrupted_goes_on(hub: Hub, fetch: Callable[..., Fetching]) -> None:
    hub.apart.hold.clear()
    first = fetch()
    end = time.monotonic() + 30
    while not list(first.cache.glob("models--*/blobs/*.incomplete")) or partial(first.cache).stat().st_size < 150_000:
        assert time.monotonic() < end
        time.sleep(0.01)
    first.process.send_signal(signal.SIGKILL)
    first.process.wait()
    assert here(first.cache) is None
    hub.apart.hold.set()
    hub.apart.asked.clear()
    done = fetch()
    assert done.end() == 0
    assert "300.0 kB, of which 150.0 kB are here" in done.output
    assert [asked[2] for asked in hub.apart.asked if asked[0] == "GET"] == ["bytes=150000-"]
    found = here(done.cache)
    assert found is not None and found.read_bytes() == MODEL


def test_a_connection_that_breaks_is_taken_up_again(hub: Hub, fetch: Callable[..., Fetching]) -> None:
    hub.cut += [100_000, 0, 50_000]
    done = fetch()
    assert done.end() == 0
    ranges = [asked[2] for asked in hub.apart.asked if asked[0] == "GET"]
    assert ranges == ["", "bytes=100000-", "bytes=100000-", "bytes=150000-"]
    found = here(done.cache)
    assert found is not None and found.read_bytes() == MODEL


def test_a_server_without_ranges_is_read_from_the_start(hub: Hub, fetch: Callable[..., Fetching]) -> None:
    hub.apart.ranges = False
    hub.cut += [100_000]
    done = fetch()
    assert done.end() == 0
    found = here(done.cache)
    assert found is not None and found.read_bytes() == MODEL


def test_a_busy_server_is_asked_again(hub: Hub, fetch: Callable[..., Fetching]) -> None:
    hub.apart.failing = 2
    assert fetch().end() == 0
    assert hub.apart.failing == 0


@pytest.mark.slow
def test_a_server_that_only_breaks_is_given_up_and_what_came_is_kept(hub: Hub, fetch: Callable[..., Fetching]) -> None:
    hub.cut += [100_000] + [0] * 20
    failed = fetch()
    assert failed.end() == 1
    assert failed.report is not None
    assert "what has been fetched is kept" in failed.report["error"]
    assert partial(failed.cache).stat().st_size == 100_000


@pytest.mark.parametrize("lie", [MODEL[:-1] + b"!", MODEL + b"more"])
def test_what_came_damaged_is_not_kept(hub: Hub, fetch: Callable[..., Fetching], lie: bytes) -> None:
    hub.lies[Q4] = lie
    failed = fetch()
    assert failed.end() == 1
    assert failed.report is not None
    assert f"{Q4} came damaged" in failed.report["error"]
    assert here(failed.cache) is None
    assert list(failed.cache.glob("models--*/blobs/*")) == []


def test_a_partial_file_of_other_content_is_noticed(hub: Hub, fetch: Callable[..., Fetching]) -> None:
    hub.cut += [100_000] + [0] * 20
    first = fetch()
    end = time.monotonic() + 30
    while not hub.apart.asked[1:]:
        assert time.monotonic() < end
        time.sleep(0.01)
    first.stop()
    hub.cut.clear()
    partial(first.cache).write_bytes(b"?" * 100_000)
    failed = fetch()
    assert failed.end() == 1
    done = fetch()
    assert done.end() == 0
    found = here(done.cache)
    assert found is not None and found.read_bytes() == MODEL


def test_two_at_once_fetch_it_once(hub: Hub, fetch: Callable[..., Fetching]) -> None:
    hub.apart.hold.clear()
    both = fetch(), fetch()
    end = time.monotonic() + 30
    # Each asks for the file's size before it waits for the other.
    while sum(asked[0] == "HEAD" for asked in hub.asked) < 2:
        assert time.monotonic() < end
        time.sleep(0.01)
    hub.apart.hold.set()
    assert [one.end() for one in both] == [0, 0]
    assert [asked[0] for asked in hub.apart.asked] == ["GET"]


@pytest.mark.parametrize("variable", ["HF_TOKEN", "HUGGING_FACE_HUB_TOKEN"])
def test_the_token_goes_to_the_hub_and_nowhere_else(hub: Hub, fetch: Callable[..., Fetching], variable: str) -> None:
    hub.token = "hf_secret"
    done = fetch({variable: "hf_secret"})
    assert done.end() == 0
    assert {asked[3] for asked in hub.asked} == {"Bearer hf_secret"}
    assert {asked[3] for asked in hub.apart.asked} == {""}
    assert "hf_secret" not in done.output


@pytest.mark.parametrize(
    ("settings", "says"),
    [
        ({"repo": "org/none"}, "has no model org/none, or it is private: check the name, or set HF_TOKEN"),
        ({"revision": "v9"}, "org/m has no revision v9; leave out @ for its newest"),
        ({"file": "m-Q4_KM.gguf"}, "org/m has no file m-Q4_KM.gguf. Did you mean 'm-Q4_K_M.gguf'?"),
        ({"file": "Q2_K"}, "org/m has no .gguf file of the quantisation Q2_K"),
        ({"kind": "folder"}, "org/m has only .gguf files: serve it with llama.cpp"),
        ({"memory": 500_000}, "nothing in org/m fits: its smallest model, m-Q4_K_M.gguf, has 300.0 kB"),
    ],
)
def test_what_cannot_be_had(hub: Hub, fetch: Callable[..., Fetching], settings: dict[str, Any], says: str) -> None:
    failed = fetch(**settings)
    assert failed.end() == 1
    assert failed.report is not None and says in failed.report["error"]
    assert says in failed.output


@pytest.mark.timeout(180)
def test_doors_that_are_closed(hub: Hub, fetch: Callable[..., Fetching], tmp_path: Path) -> None:
    hub.token = "right"
    failed = fetch({"HF_TOKEN": "wrong"})
    failed.end()
    assert failed.report is not None and "does not accept the token for org/m; set HF_TOKEN" in failed.report["error"]
    failed = fetch()
    failed.end()
    assert failed.report is not None and "or it is private: check the name, or set HF_TOKEN" in failed.report["error"]
    hub.token, hub.gated = "", True
    failed = fetch()
    failed.end()
    assert failed.report is not None
    assert f"org/m is for those who agreed to its terms: do so at {hub.url}/org/m" in failed.report["error"]
    with socket.socket() as nobody:
        nobody.bind(("127.0.0.1", 0))
        failed = fetch({"HF_ENDPOINT": f"http://127.0.0.1:{nobody.getsockname()[1]}"})
        failed.end()
    assert failed.report is not None and "cannot be reached for org/m" in failed.report["error"]
    (tmp_path / "file").write_text("")
    failed = fetch(cache=str(tmp_path / "file" / "hub"))
    failed.end()
    assert failed.report is not None and "org/m cannot be kept in the cache" in failed.report["error"]


def test_too_little_room_is_refused_with_the_numbers_before_anything_is_fetched(
    hub: Hub, fetch: Callable[..., Fetching], tmp_path: Path
) -> None:
    # As huge as no disk is; of what is listed nothing is sent.
    hub.sizes[Q4] = 10**18
    failed = fetch(file=Q4)
    assert failed.end() == 1
    assert failed.report is not None
    for says in (
        "org/m needs 1000000.0 TB more in",
        str(tmp_path / "hub"),
        "are free. Make room there, or set HF_HOME",
    ):
        assert says in failed.report["error"]
    assert hub.apart.asked == []


def test_it_ends_with_its_parent(hub: Hub, fetch: Callable[..., Fetching]) -> None:
    hub.apart.hold.clear()
    one = fetch()
    end = time.monotonic() + 30
    while not hub.apart.asked:
        assert time.monotonic() < end
        time.sleep(0.01)
    one.link.close()
    assert one.process.wait(15) == 0


def test_settings_that_are_none() -> None:
    found = subprocess.run(
        [sys.executable, "-m", "trunkcall.workers.fetch", "{"], capture_output=True, text=True, timeout=30
    )
    assert found.returncode == 1
    assert "needs its settings as JSON" in found.stdout


def ask(url: str, model: str) -> tuple[int, Any]:
    fields = {"messages": [{"role": "user", "content": "Hello"}], "max_tokens": 5, "ignore_eos": True}
    body = json.dumps({"model": model, **fields}).encode()
    request = urllib.request.Request(f"{url}/v1/chat/completions", body, {"content-type": "application/json"})
    try:
        with urllib.request.urlopen(request, timeout=40) as answer:
            return answer.status, json.load(answer)
    except urllib.error.HTTPError as error:
        with error:
            return error.code, json.load(error)


def test_a_server_fetches_on_first_use_and_serves(hub: Hub, serve: Callable[..., Server], tmp_path: Path) -> None:
    hub.files["org/pocket-GGUF"] = {"pocket-Q8_0.gguf": gguf_path().read_bytes()}
    models = ("--model", "x=hf:org/pocket-GGUF", "--model", "y=hf:org/none-GGUF", "--no-pocket")
    server = serve(*models, env=hub.environ(tmp_path / "hf"))
    assert hub.asked == []
    status, answer = ask(server.url, "x")
    assert (status, answer["model"], answer["usage"]["completion_tokens"]) == (200, "x", 5)
    assert len([asked for asked in hub.apart.asked if asked[0] == "GET"]) == 1
    status, answer = ask(server.url, "y")
    assert status == 503
    assert "has no model org/none-GGUF, or it is private" in answer["error"]["message"]


def test_a_supervisor_fetches_what_a_plan_lacks(hub: Hub, tmp_path: Path) -> None:
    # The plan itself asks no network.
    place = names.locate("org/m", MACHINE, env=hub.environ(tmp_path))
    assert isinstance(place, names.Fetch)
    assert hub.asked == []
    done = subprocess.run(place.command, env={**os.environ, **hub.environ(tmp_path)}, capture_output=True, timeout=30)
    assert done.returncode == 0, done.stderr
    assert names.locate("org/m", MACHINE, env=hub.environ(tmp_path)) == (
        tmp_path / "hub" / "models--org--m" / "snapshots" / COMMIT / Q4
    )


@pytest.mark.parametrize(
    ("here", "total", "speed", "line"),
    [
        (0, 4 * 10**9, 0.0, "0 %, 0 bytes of 4.0 GB, 0 bytes/s"),
        (10**9, 4 * 10**9, 5e7, "25 %, 1.0 GB of 4.0 GB, 50.0 MB/s, 60 s left"),
        (10**9, 4 * 10**9, 5e6, "25 %, 1.0 GB of 4.0 GB, 5.0 MB/s, 10 min left"),
        (0, 4 * 10**9, 1e5, "0 %, 0 bytes of 4.0 GB, 100.0 kB/s, 11 h 7 min left"),
        (5, 5, 1.0, "100 %, 5 bytes of 5 bytes, 1 bytes/s, 0 s left"),
        (0, 0, 0.0, "100 %, 0 bytes of 0 bytes, 0 bytes/s"),
    ],
)
def test_how_far_it_is(here: int, total: int, speed: float, line: str) -> None:
    assert progress(here, total, speed) == line
