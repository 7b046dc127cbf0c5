"""FastChat 0.2.36 itself around Trunkcall and Trunkcall around FastChat, in real processes."""

from __future__ import annotations

import contextlib
import http.client
import json
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import pairwise
from pathlib import Path

import pytest
from clients.fastchat_real import WITHOUT, Child, Site, Stream, ask, env, installed, models
from openai import OpenAI
from running import Server, eventually, reserved_port

pytestmark = [
    pytest.mark.slow,
    pytest.mark.timeout(600),
    pytest.mark.skipif(not installed(), reason=WITHOUT),
    pytest.mark.xdist_group("fastchat"),
]

CAPITAL = "What is the capital of France?"
PARIS = "The capital of France is Paris."


class Up:
    """A `trunkcall up` with the shipped model and a controller, on ports that stay; and real workers with it."""

    def __init__(self, site: Site) -> None:
        self.site = site
        self.port, self.controller_port = reserved_port(), reserved_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self.controller = f"http://127.0.0.1:{self.controller_port}"
        self.server = self._start()
        self.model = str(site.model())
        self.worker = site.worker(
            self.controller,
            "--model-path",
            self.model,
            "--model-names",
            "tinyrand,shared",
            "--conv-template",
            "zero_shot",
        )
        several = [
            "--model-path",
            self.model,
            "--model-names",
            "left",
            "--model-path",
            self.model,
            "--model-names",
            "right",
        ]
        self.workers = site.worker(
            self.controller, *several, "--conv-template", "zero_shot", program="multi_model_worker"
        )

    def _start(self) -> Server:
        listen = f"127.0.0.1:{self.controller_port}=fastchat_controller"
        server = Server("--port", str(self.port), "--listen", listen, home=self.site.folder / "up")
        server.wait_ready()
        return server

    def killed_and_started(self) -> None:
        self.server.stop(signal.SIGKILL)
        self.server = self._start()

    def has(self, *names: str) -> None:
        """Wait until the controller has models, and their workers, which register before, listen."""
        workers = (self.worker, self.workers)
        try:
            eventually(lambda: set(names) <= models(self.controller), 240, 0.1)
            for worker in workers:
                worker.listens()
        except AssertionError as error:
            logs = [f"{worker.log}:\n{worker.log.read_text()[-3000:]}" for worker in workers]
            said = [f"the controller has {models(self.controller)}", self.server.output[-3000:], *logs]
            raise AssertionError("\n".join(said)) from error


@pytest.fixture(scope="module")
def up(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Up]:
    site = Site(tmp_path_factory.mktemp("up"))
    made = Up(site)
    try:
        yield made
    finally:
        site.end()
        made.server.stop()


@pytest.fixture(scope="module")
def real_server(up: Up) -> Child:
    """The real OpenAI server on our controller."""
    server = up.site.real("openai_api_server", "--controller-address", up.controller)
    server.listens()
    return server


@contextmanager
def sdk(url: str) -> Iterator[OpenAI]:
    with OpenAI(base_url=f"{url}/v1", api_key="EMPTY", timeout=120, max_retries=0) as client:
        yield client


def said(client: OpenAI, model: str) -> str:
    """A chat's answer, which must be the same when it is streamed."""
    asked = {"model": model, "messages": [{"role": "user", "content": CAPITAL}], "temperature": 0, "max_tokens": 24}
    whole = client.chat.completions.create(**asked)
    assert whole.usage is not None
    assert whole.usage.prompt_tokens > 0 < whole.usage.completion_tokens <= 24
    text = whole.choices[0].message.content
    assert text
    with client.chat.completions.create(**asked, stream=True) as chunks:
        choices = [choice for chunk in chunks for choice in chunk.choices]
    assert "".join(choice.delta.content or "" for choice in choices) == text
    assert [choice.finish_reason for choice in choices if choice.finish_reason] == [whole.choices[0].finish_reason]
    return text


def completed(client: OpenAI, model: str, prompt: str) -> str:
    text = client.completions.create(model=model, prompt=prompt, max_tokens=8, temperature=0).choices[0].text
    assert text
    return text


def test_a_real_worker_behind_our_controller(up: Up, real_server: Child) -> None:
    up.has("tinyrand")
    with sdk(up.url) as ours, sdk(real_server.url) as theirs:
        assert {"pocket", "tinyrand"} <= {model.id for model in ours.models.list()}
        assert said(ours, "tinyrand") == said(theirs, "tinyrand"), "one hop says what three say"
        assert completed(ours, "tinyrand", "hello") == completed(theirs, "tinyrand", "hello")
        vectors = [
            client.embeddings.create(model="tinyrand", input=["hello", "fox"], encoding_format="float").data
            for client in (ours, theirs)
        ]
    first, second = ([vector.embedding for vector in answer] for answer in vectors)
    assert [len(vector) for vector in first] == [256, 256]
    assert first == [pytest.approx(vector, abs=1e-5) for vector in second]


def test_a_real_worker_of_several_models(up: Up) -> None:
    up.has("left", "right")
    with sdk(up.url) as client:
        assert said(client, "left") == said(client, "right")


def test_our_worker_behind_the_real_controller_and_openai_server(tmp_path: Path) -> None:
    site = Site(tmp_path)
    try:
        controller = site.real("controller")
        server = site.real("openai_api_server", "--controller-address", controller.url)
        controller.listens()
        site.ours("model_worker", "--model-path", "pocket", "--controller-address", controller.url)
        eventually(lambda: models(controller.url) == {"pocket"}, 120, 0.1)
        server.listens()
        with sdk(server.url) as client:
            assert [model.id for model in client.models.list()] == ["pocket"]
            assert said(client, "pocket") == PARIS
            assert "Paris" in completed(client, "pocket", "The capital of France is")
    finally:
        site.end()


def test_the_real_openai_server_with_a_model_of_llama_cpp(up: Up, real_server: Child) -> None:
    with sdk(real_server.url) as client:
        assert "pocket" in {model.id for model in client.models.list()}
        assert said(client, "pocket") == PARIS
        assert "Paris" in completed(client, "pocket", "The capital of France is")
    asked = {"model": "pocket", "prompt": "hello there", "max_tokens": 8}
    (checked,) = ask(real_server.url, "api/v1/token_check", {"prompts": [asked]})["prompts"]
    assert checked["fits"]
    assert (checked["tokenCount"] > 0, checked["contextLength"]) == (True, 1024)


def test_the_real_web_server_with_a_model_of_llama_cpp(up: Up) -> None:
    up.has("tinyrand")
    page = up.site.real("gradio_web_server", "--controller-url", up.controller, "--model-list-mode", "reload", web=True)
    page.listens()
    try:
        done = subprocess.run(
            [sys.executable, Path(__file__).with_name("gradio_session.py"), page.url, "pocket"],
            env=env(web=True), cwd=up.site.folder, text=True, capture_output=True, timeout=300,
        )  # fmt: skip
    finally:
        page.stop()
    assert done.returncode == 0, done.stderr
    seen = json.loads(done.stdout.splitlines()[-1])
    assert {"pocket", "tinyrand"} <= set(seen["listed"])
    assert seen["turns"] == [[CAPITAL, PARIS], ["What is the capital of Italy?", "The capital of Italy is Rome."]]
    assert min(seen["pieces"]) > 2
    assert f"worker_addr: {up.controller}/w/pocket" in page.log.read_text()


def test_the_real_test_message(up: Up) -> None:
    up.has("tinyrand")
    asked = ("--controller-address", up.controller, "--message", CAPITAL, "--model-name")
    done = up.site.run("test_message", *asked, "pocket")
    assert f"worker_addr: {up.controller}/w/pocket" in done.stdout, done
    assert f"Assistant: {PARIS}" in done.stdout, done
    assert f"worker_addr: {up.worker.url}" in up.site.run("test_message", *asked, "tinyrand").stdout
    assert "No available workers for nobody" in up.site.run("test_message", *asked, "nobody").stdout


def test_a_controller_killed_under_load(up: Up) -> None:
    up.has("tinyrand", "left", "right")
    names = ("tinyrand", "left", "right")
    ended, whole, found = threading.Event(), [0], [0]
    broken: list[Exception] = []

    def load(model: str) -> None:
        """As clients do: ask for the worker each time, keep to the last one while nobody is told, and talk to it."""
        address = ""
        try:
            while not ended.is_set():
                with contextlib.suppress(OSError, http.client.HTTPException):
                    if told := ask(up.controller, "get_worker_address", {"model": model}, 20)["address"]:
                        address = told
                        found[0] += 1
                if not address:
                    # Nobody has told it yet.
                    continue
                frames = Stream(address, model, 24).end()
                assert frames[-1]["finish_reason"] == "length", frames
                whole[0] += 1
        except (AssertionError, OSError, http.client.HTTPException) as error:
            broken.append(error)

    threads = [threading.Thread(target=load, args=(name,)) for name in names]
    for thread in threads:
        thread.start()
    try:
        eventually(lambda: whole[0] > 5 or broken, 120)
        up.killed_and_started()
        up.has(*names)
        before = found[0]
        eventually(lambda: found[0] > before + 3 or broken, 120)
    finally:
        ended.set()
        for thread in threads:
            thread.join(120)
    assert not broken
    with sdk(up.url) as client:
        for name in names:
            assert said(client, name)


def test_a_worker_killed_in_the_middle_of_an_answer(up: Up) -> None:
    up.has("shared")
    with sdk(up.url) as client:
        expected = said(client, "shared")
    other = up.site.worker(
        up.controller, "--model-path", up.model, "--model-names", "shared", "--conv-template", "zero_shot"
    )
    other.listens()
    eventually(lambda: ask(up.controller, "get_worker_address", {"model": "shared"})["address"] == other.url, 120)
    streams: list[Stream] = []
    try:
        while ask(other.url, "worker_get_status")["queue_length"] == 0:
            assert len(streams) < 4, "the controller leaves one worker idle"
            streams.append(Stream(up.controller, "shared", 1000))
            streams[-1].begun()
    finally:
        other.stop(signal.SIGKILL)
        for stream in streams[:-1]:
            stream.leave()
    frames = streams[-1].end(240)
    # The answer went on from the worker that is left.
    assert {frame["error_code"] for frame in frames} == {0}
    texts = [frame["text"] for frame in frames]
    assert all(later.startswith(earlier) for earlier, later in pairwise(texts))
    assert frames[-1]["finish_reason"] == "length"
    # FastChat tells the index of the last token, not their number.
    assert frames[-1]["usage"]["completion_tokens"] == 999
    with sdk(up.url) as client:
        for _ in range(4):
            assert said(client, "shared") == expected
    assert Stream(up.controller, "shared", 8).end()[-1]["error_code"] == 0
