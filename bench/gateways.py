"""The peers: how each gateway is installed, started in front of the mock, and found ready."""

from __future__ import annotations

import contextlib
import http.client
import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Generator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from bench.processes import Child, free_port, rss_mb, wait_for_rest
from trunkcall.core.keys import KeyEntry
from trunkcall.home import Home
from trunkcall.store.keys import KeyStore, StoredKey, digest_of

HERE = Path(__file__).parent
CACHE = HERE / ".cache"
# sent to every gateway, so that all read the same head; ours looks it up, with limits that do not bind
SECRET = "tk-" + "b" * 43
AUTHORIZATION = f"Bearer {SECRET}"
QUESTION = json.dumps({"model": "m", "messages": [{"role": "user", "content": "Say something."}]}).encode()


class Unavailable(Exception):
    """A peer that cannot take part; the message is the reason that its row shows."""


@dataclass(frozen=True)
class Site:
    """Where one gateway is to run: its port, the mock's, a directory of its own, its executables."""

    port: int
    mock: int
    scratch: Path
    executables: Path

    @property
    def upstream(self) -> str:
        return f"http://127.0.0.1:{self.mock}"


@dataclass(frozen=True)
class Gateway:
    """One peer; `command` writes what configuration it needs into the site and returns the command line.

    `requirement` is installed by pip into a virtual environment of its own; without one the program is ours or the
    system's. `skips` names workloads that say nothing about this peer or would only cost time; `alone` is for a peer
    whose idle work would disturb the others.
    """

    name: str
    command: Callable[[Site], list[str]]
    requirement: str | None = None
    package: str | None = None
    env: Callable[[Site], Mapping[str, str]] = lambda site: {}
    skips: frozenset[str] = frozenset()
    ready_within: float = 30.0
    alone: bool = False


@dataclass(frozen=True)
class Running:
    """A gateway that has answered: `first_200` in seconds from the start of its process."""

    gateway: Gateway
    child: Child
    port: int
    first_200: float
    idle_rss_mb: float


# one worker and keep-alive to the upstream, no logging: the practical limit of a gateway on one core
NGINX_CONF = """
daemon off;
worker_processes 1;
pid {scratch}/nginx.pid;
error_log {scratch}/error.log crit;
events {{ worker_connections 4096; }}
http {{
    access_log off;
    client_body_temp_path {scratch}/body;
    proxy_temp_path {scratch}/proxy;
    fastcgi_temp_path {scratch}/fastcgi;
    uwsgi_temp_path {scratch}/uwsgi;
    scgi_temp_path {scratch}/scgi;
    keepalive_requests 1000000000;
    client_body_buffer_size 64k;
    upstream mock {{ server 127.0.0.1:{mock}; keepalive 256; keepalive_requests 1000000000; }}
    server {{
        listen 127.0.0.1:{port};
        location / {{
            proxy_pass http://mock;
            proxy_http_version 1.1;
            proxy_set_header Connection "";
            proxy_buffering off;
            proxy_read_timeout 60s;
        }}
    }}
}}
"""


def _nginx(site: Site) -> list[str]:
    conf = site.scratch / "nginx.conf"
    conf.write_text(NGINX_CONF.format(scratch=site.scratch, mock=site.mock, port=site.port))
    return [system_program("nginx"), "-p", str(site.scratch), "-c", str(conf), "-e", str(site.scratch / "error.log")]


def _trunkcall(site: Site) -> list[str]:
    # model t is the same upstream through the neutral model: decoded into events and encoded again
    source = f"openai:{site.upstream}/v1#m"
    plain = {"source": source, "price": {"prompt": 1.0, "completion": 2.0}}
    config = site.scratch / "trunkcall.yaml"
    config.write_text(json.dumps({"models": {"m": plain, "t": {**plain, "options": {"normalise": True}}}}))
    home = Home(site.scratch / "home")
    entry = KeyEntry(
        name="bench", models=("m", "t"), requests_per_minute=10**9, tokens_per_minute=10**12,
        tokens_per_day=10**15, tokens_per_month=10**15, money_per_day=1e12, money_per_month=1e12,
    )  # fmt: skip
    KeyStore(home.ledger_url).add(StoredKey(entry=entry, digest=digest_of(SECRET), created_at=time.time()))
    return [
        sys.executable, "-m", "trunkcall", "up", "--host", "127.0.0.1", "--port", str(site.port),
        "--home", str(site.scratch / "home"), "--no-pocket", "--config", str(config),
    ]  # fmt: skip


# round robin is the cheapest of the routers' policies, and with one worker all choose alike
def _sglang_router(site: Site) -> list[str]:
    return [
        str(site.executables / "sglang-router"), "launch", "--host", "127.0.0.1", "--port", str(site.port),
        "--worker-urls", site.upstream, "--policy", "round_robin", "--log-level", "warn",
        "--max-concurrent-requests", "1024", "--prometheus-host", "127.0.0.1", "--prometheus-port", str(free_port()),
    ]  # fmt: skip


def _vllm_router(site: Site) -> list[str]:
    return [
        str(site.executables / "vllm-router"), "--host", "127.0.0.1", "--port", str(site.port),
        "--worker-urls", site.upstream, "--policy", "round_robin", "--log-level", "warning",
        "--max-concurrent-requests", "1024", "--prometheus-host", "127.0.0.1", "--prometheus-port", str(free_port()),
    ]  # fmt: skip


def _litellm(site: Site) -> list[str]:
    # JSON is YAML
    model = {
        "model_name": "m",
        "litellm_params": {"model": "openai/m", "api_base": f"{site.upstream}/v1", "api_key": "none"},
    }
    conf = site.scratch / "litellm.yaml"
    conf.write_text(json.dumps({"model_list": [model], "litellm_settings": {"telemetry": False}}))
    return [
        str(site.executables / "litellm"),
        "--config",
        str(conf),
        "--host",
        "127.0.0.1",
        "--port",
        str(site.port),
        "--num_workers",
        "1",
    ]


_LITELLM_ENV = {
    "LITELLM_LOG": "ERROR",
    # the price list comes from the package instead of the network
    "LITELLM_LOCAL_MODEL_COST_MAP": "True",
    # no peer checks a key here; LiteLLM alone refuses to start so unless told
    "LITELLM_DANGEROUSLY_PERMIT_WEAK_OR_UNSET_MASTER_KEY": "true",
}

TRANSLATED = "paced-translated"
GATEWAYS = (
    Gateway("nginx", _nginx, skips=frozenset({TRANSLATED})),
    Gateway("trunkcall", _trunkcall),
    Gateway(
        "sglang-router",
        _sglang_router,
        requirement="sglang-router==0.3.2",
        package="sglang_router",
        # it asks the hub for a tokenizer of the model; the mock says 404 sooner and without a network
        env=lambda site: {"HF_ENDPOINT": site.upstream},
        skips=frozenset({TRANSLATED}),
    ),
    Gateway(
        "vllm-router",
        _vllm_router,
        requirement="vllm-router==0.1.17",
        package="vllm_router",
        skips=frozenset({TRANSLATED}),
    ),
    Gateway(
        "litellm",
        _litellm,
        # the newest that pip could resolve: 1.109 wants a certifi that its index lacked, a range costs minutes
        requirement="litellm[proxy]==1.106.2",
        package="litellm",
        env=lambda site: _LITELLM_ENV,
        skips=frozenset({TRANSLATED}),
        ready_within=90.0,
        alone=True,
    ),
)


def system_program(name: str) -> str:
    """The path of an installed program; /usr/sbin is looked at too, where users' PATH does not lead."""
    found = shutil.which(name, path=f"{os.environ.get('PATH', '')}:/usr/sbin:/usr/local/sbin")
    if found is None:
        raise Unavailable(f"{name} is not installed; as root: apt-get install {name}")
    return found


def install_system(names: list[str]) -> None:
    """Installs by apt-get what is missing, when root; otherwise leaves it to `system_program` to say so."""
    missing: list[str] = []
    for name in names:
        try:
            system_program(name)
        except Unavailable:
            missing.append(name)
    if not missing or os.geteuid() != 0 or shutil.which("apt-get") is None:
        return
    env = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
    with (CACHE / "apt.log").open("wb") as log, contextlib.suppress(subprocess.TimeoutExpired):
        for command in (["update"], ["install", "-y", "--no-install-recommends", *missing]):
            subprocess.run(["apt-get", *command], stdout=log, stderr=log, env=env, timeout=180, check=False)


def compile_mock() -> Path:
    """The mock upstream's executable, compiled when its source is newer."""
    source, target = HERE / "mock_upstream.c", CACHE / "mock_upstream"
    CACHE.mkdir(exist_ok=True)
    if not target.exists() or target.stat().st_mtime < source.stat().st_mtime:
        compiler = system_program("gcc")
        done = subprocess.run(
            [compiler, "-O2", "-o", str(target), str(source)], capture_output=True, text=True, timeout=60, check=False
        )
        if done.returncode:
            raise Unavailable(f"the mock upstream does not compile: {done.stderr[-400:]}")
    return target


def _home(gateway: Gateway) -> Path:
    return CACHE / gateway.name


def install(gateways: Sequence[Gateway], limit: float = 240.0) -> dict[str, str]:
    """Puts each peer into its virtual environment, side by side; gives the reason for each that failed."""
    reasons: dict[str, str] = {}
    with contextlib.ExitStack() as stack:
        deadline = time.monotonic() + limit
        running = {
            gateway.name: stack.enter_context(
                Child([sys.executable, "-m", "bench.peer", gateway.requirement, str(_home(gateway))], log=_log(gateway))
            )
            for gateway in gateways
            if gateway.requirement is not None
        }
        for name, child in running.items():
            while child.running and time.monotonic() < deadline:
                time.sleep(0.05)
            if child.running:
                reasons[name] = f"its installation took more than {limit:.0f} s"
            elif child.exit_code:
                reasons[name] = f"its installation failed: {child.last_words()}"
    return reasons


def _log(gateway: Gateway) -> Path:
    return CACHE / f"{gateway.name}.log"


def version(gateway: Gateway) -> str:
    """What was installed, for the reader of the table."""
    if gateway.name == "nginx":
        said = subprocess.run(
            [system_program("nginx"), "-v"], capture_output=True, text=True, timeout=10, check=False
        ).stderr
        return said.strip().rpartition("/")[2]
    if gateway.package is None:
        said = subprocess.run(
            [sys.executable, "-m", "trunkcall", "version"], capture_output=True, text=True, timeout=10, check=False
        ).stdout
        # "trunkcall 0.1.0 (Python ...)"
        return next(iter(said.split()[1:]), "?")
    found = sorted(_home(gateway).glob(f"lib/*/site-packages/{gateway.package}-*.dist-info"))
    return found[0].name.removesuffix(".dist-info").rpartition("-")[2] if found else "?"


@contextlib.contextmanager
def upstream(scratch: Path) -> Generator[int]:
    """The mock on a free port of loopback; yields the port."""
    executable = compile_mock()
    with Child([str(executable), "--port", "0"], log=scratch / "mock.log") as child:
        deadline = time.monotonic() + 5
        while not (said := child.log.read_text()).startswith("PORT "):
            if time.monotonic() > deadline or not child.running:
                raise Unavailable(f"the mock upstream did not start: {child.last_words()}")
            time.sleep(0.005)
        yield int(said.split()[1])


@contextlib.contextmanager
def started(gateway: Gateway, mock: int, scratch: Path) -> Generator[Running]:
    """The gateway, ready and once measured at rest. Raises Unavailable with the reason."""
    home = scratch / gateway.name
    home.mkdir()
    home.chmod(0o755)
    site = Site(free_port(), mock, home, _home(gateway) / "bin")
    with Child(gateway.command(site), log=home / "log", env=gateway.env(site)) as child:
        first_200 = _first_200(child, site.port, gateway.ready_within)
        # a migration, a registration or an import in the background would be measured as memory and as load
        wait_for_rest(child.pid)
        yield Running(gateway, child, site.port, first_200, rss_mb(child.pid))


def _first_200(child: Child, port: int, limit: float) -> float:
    """Seconds from the process's start to the first chat answer with status 200; one request per attempt."""
    status: int | str = "no answer"
    while (now := time.monotonic() - child.born) < limit:
        if not child.running:
            raise Unavailable(f"it ended at the start: {child.last_words()}")
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=limit - now)
        try:
            headers = {"content-type": "application/json", "authorization": AUTHORIZATION}
            connection.request("POST", "/v1/chat/completions", QUESTION, headers)
            status = connection.getresponse().status
            if status == 200:
                return time.monotonic() - child.born
        except (OSError, http.client.HTTPException):
            pass
        finally:
            connection.close()
        time.sleep(0.01)
    raise Unavailable(f"not ready within {limit:.0f} s ({status}): {child.last_words()}")
