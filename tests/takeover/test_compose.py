"""The container files: what they name exists, and the commands of the compose file run as they stand there."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from apis.fastchat_openai_started import Api
from openai import OpenAI
from running import eventually, reserved_port

ROOT = Path(__file__).parents[2]
CONTROLLER = "fastchat-controller"


def compose() -> dict[str, Any]:
    return yaml.safe_load((ROOT / "docker-compose-controll.yml").read_text(encoding="utf-8"))


def instructions(name: str) -> list[tuple[str, str]]:
    """A Dockerfile's instructions in order, each with its arguments; without comments."""
    lines = [line for line in (ROOT / name).read_text(encoding="utf-8").splitlines() if not line.startswith("#")]
    found = [line.split(maxsplit=1) for line in "\n".join(lines).replace("\\\n", " ").splitlines() if line]
    assert all(len(line) == 2 for line in found)
    return [(word, rest) for word, rest in found]


def image() -> list[tuple[str, str]]:
    """The Dockerfile's instructions that make the image which is built when none of its stages is named."""
    stages: dict[str, list[tuple[str, str]]] = {}
    made: list[tuple[str, str]] = []
    for word, rest in instructions("Dockerfile"):
        if word == "FROM":
            base, _, name = rest.partition(" AS ")
            made = stages[name] = [*stages.get(base, [])]
        made.append((word, rest))
    return made


def environment() -> dict[str, str]:
    """What the image sets."""
    return dict(pair.split("=", 1) for word, rest in image() if word == "ENV" for pair in rest.split())


def test_the_services_and_ports_of_the_old_file() -> None:
    found = compose()
    ports = {name: service["ports"] for name, service in found["services"].items()}
    assert ports == {
        CONTROLLER: ["21001:21001"],
        "fastchat-api-server": ["8000:8000"],
        "fastchat-web-server": ["7860:7860"],
    }
    volumes = {volume.split(":")[0] for service in found["services"].values() for volume in service["volumes"]}
    assert volumes == set(found["volumes"])
    assert {service["image"] for service in found["services"].values()} == {"trunkcall:latest"}
    assert [name for name, service in found["services"].items() if service.get("build") == "."] == [CONTROLLER]
    for name, service in found["services"].items():
        port = ports[name][0].split(":")[0]
        command = service["command"]
        assert command[-1] == port if "--port" in command else port == "7860"


@pytest.mark.parametrize("name", ["Dockerfile", "Dockerfile.dev"])
def test_a_dockerfile_names_what_there_is(name: str) -> None:
    found = instructions(name)
    assert found[0][0] == "FROM"
    known = {
        "ARG",
        "FROM",
        "RUN",
        "WORKDIR",
        "COPY",
        "USER",
        "ENV",
        "VOLUME",
        "EXPOSE",
        "HEALTHCHECK",
        "ENTRYPOINT",
        "CMD",
    }
    assert {word for word, _ in found} <= known
    for word, rest in found:
        if word == "COPY":
            assert all((ROOT / source).exists() for source in rest.split()[:-1]), rest
        if word in ("ENTRYPOINT", "CMD"):
            assert all(isinstance(part, str) for part in json.loads(rest))


def test_the_image_runs_trunkcall_as_nobody_special() -> None:
    found = image()
    words = dict(found)
    assert json.loads(words["ENTRYPOINT"]) == ["trunkcall"]
    assert words["USER"] == "trunkcall"
    assert found.index(("USER", "trunkcall")) > max(at for at, (word, _) in enumerate(found) if word == "RUN")
    assert environment()["TRUNKCALL_HOME"] == words["VOLUME"]
    made = [rest for word, rest in instructions("Dockerfile.dev") if word == "RUN" and rest.startswith("make ")]
    target = made[0].split()[1]
    assert re.search(rf"(?m)^[a-z -]*\b{target}\b[a-z -]*:", (ROOT / "Makefile").read_text(encoding="utf-8"))


class Containers:
    """What `docker compose up` would start, as processes; host names are loopback's, ports are free ones."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._children: list[subprocess.Popen[bytes]] = []
        services: dict[str, Any] = compose()["services"]
        self._services = services
        self._free = {service["ports"][0].split(":")[1]: reserved_port() for service in services.values()}
        self.urls = {
            name: f"http://127.0.0.1:{self._free[service['ports'][0].split(':')[1]]}"
            for name, service in services.items()
        }

    def up(self) -> None:
        """Start all services, each after those that the file names before it."""
        for name, service in self._services.items():
            command = [self._here(word) for word in service["command"]]
            # The web server's port is its default.
            if "--port" not in command:
                command += ["--port", str(self._free["7860"])]
            self.start(name, command, service.get("environment"))

    def _here(self, word: str) -> str:
        word = word.replace(f"//{CONTROLLER}:", "//127.0.0.1:")
        return re.sub(r"\d{4,5}$", lambda port: str(self._free[port[0]]), word)

    def start(self, name: str, command: list[str], more: dict[str, str] | None = None) -> None:
        """The image's entry point with its environment, and more of it."""
        home = self._folder / name
        home.mkdir()
        variables = {key: value.replace("/data", str(home)) for key, value in {**environment(), **(more or {})}.items()}
        log = home / "log"
        with log.open("w") as out:
            child = subprocess.Popen(
                [sys.executable, "-m", "trunkcall", *command],
                stdout=out,
                stderr=subprocess.STDOUT,
                env={**os.environ, **variables},
                cwd=home,
            )
        self._children.append(child)
        eventually(lambda: self._ready(child, log), 90)

    @staticmethod
    def _ready(child: subprocess.Popen[bytes], log: Path) -> bool:
        assert child.poll() is None, log.read_text()
        return " is ready" in log.read_text()

    def data(self, name: str) -> Path:
        """What a service has in place of /data."""
        return self._folder / name

    def end(self) -> None:
        """All have to end when they are told to."""
        for child in self._children:
            child.terminate()
        late: list[Any] = []
        for child in self._children:
            try:
                child.wait(40)
            except subprocess.TimeoutExpired:
                child.kill()
                child.wait(15)
                late.append(child.args)
        assert not late


@pytest.fixture
def containers(tmp_path: Path) -> Iterator[Containers]:
    made = Containers(tmp_path)
    try:
        made.up()
        yield made
    finally:
        made.end()


@pytest.mark.timeout(300)
def test_the_commands_of_the_compose_file_serve(containers: Containers) -> None:
    port = str(reserved_port())
    worker = ["as", "fastchat.serve.model_worker", "--model-path", "pocket", "--port", port]
    containers.start("worker", [*worker, "--controller-address", containers.urls[CONTROLLER]])
    for name in ("fastchat-api-server", "fastchat-web-server"):
        with OpenAI(base_url=f"{containers.urls[name]}/v1", api_key="EMPTY", timeout=60, max_retries=0) as client:
            eventually(lambda: [model.id for model in client.models.list()] == ["pocket"], 90, 0.1)
            answer = client.chat.completions.create(
                model="pocket", messages=[{"role": "user", "content": "What is the capital of France?"}], temperature=0
            )
            assert answer.choices[0].message.content == "The capital of France is Paris."
    web = Api(containers.urls["fastchat-web-server"])
    assert web.raw("GET", "/")[0] == 200
    _, session = web.get("/web/api/session")
    assert (session["pages"], session["conversations"]) == (["battle", "compare", "chat"], True)
    said = {"conversation_id": "c", "model": "pocket", "messages": [{"role": "user", "content": "Hello"}]}
    json_body = {"content-type": "application/json"}
    status, told = web.post("/web/api/conversations", {**said, "start": 1, "finish": 2}, **json_body)
    assert (status, told) == (200, {"logged": True})
    (log,) = containers.data("fastchat-web-server").glob("conversations/*-conv.json")
    assert '"type": "chat"' in log.read_text()
