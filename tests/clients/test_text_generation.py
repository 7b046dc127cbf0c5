"""text_generation 0.7.0 and the Hub's InferenceClient against what `text-generation-launcher` starts here."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest
from clients.tgi_launched import MOUNTED, Launched, ask
from running import Server, reserved_port

SESSION = Path(__file__).with_name("textgen_session.py")
PACKAGES = Path(sys.prefix) / "textgen"
WITHOUT = "text_generation is not installed: `make env-all` puts it into the environment"

pytestmark = [
    pytest.mark.slow,
    pytest.mark.timeout(240),
    pytest.mark.skipif(not PACKAGES.is_dir(), reason=WITHOUT),
    pytest.mark.xdist_group("textgen"),
]

ASKED = "<|im_start|>user\nWhat is the capital of France?<|im_end|>\n<|im_start|>assistant\n"
PARIS = "The capital of France is Paris."
MESSAGES = [{"role": "user", "content": "What is the capital of France?"}]

SHAPE = {
    "type": "object",
    "properties": {"capital": {"type": "string", "maxLength": 8}},
    "required": ["capital"],
    "additionalProperties": False,
}

Call = tuple[str, str | None, dict[str, Any], str, dict[str, Any]]
"""Class, URL, the client's options, method, arguments."""


def seen(*calls: Call, packages: Path | None = PACKAGES) -> list[dict[str, Any]]:
    """What came of each; packages: the folder with the clients, None for this environment's own."""
    path = {} if packages is None else {"PYTHONPATH": str(packages)}
    done = subprocess.run(
        [sys.executable, "-P", str(SESSION)],
        input=json.dumps(calls),
        capture_output=True,
        text=True,
        timeout=150,
        env={**os.environ, "NO_PROXY": "127.0.0.1", **path},
    )
    assert done.returncode == 0, done.stderr
    told: dict[str, Any] = json.loads(done.stdout)
    assert told["versions"].get("text_generation", "0.7.0") == "0.7.0"
    return told["told"]


def answers(*calls: Call, packages: Path | None = PACKAGES) -> list[Any]:
    told = seen(*calls, packages=packages)
    assert not [one for one in told if "raised" in one], told
    return [one["answer"] for one in told]


@pytest.fixture(scope="module")
def url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The launcher's server with the shipped model."""
    flags = ("--model-id", "pocket", "--max-stop-sequences=6", "--enable-prefill-logprobs")
    launched = Launched(tmp_path_factory.mktemp("tgi"), reserved_port(), *flags)
    try:
        yield launched.url
    finally:
        launched.stop()


def whole(details: dict[str, Any]) -> str:
    """The text that the tokens of an answer make."""
    return "".join(token["text"] for token in details["tokens"] if not token["special"])


# text_generation


@pytest.mark.parametrize("cls", ["Client", "AsyncClient"])
def test_generate(url: str, cls: str) -> None:
    greedy, short, full, stopped, best, drawn, again, prefilled, grammar = answers(
        (cls, url, {}, "generate", {"prompt": ASKED}),
        (cls, url, {}, "generate", {"prompt": ASKED, "max_new_tokens": 3, "top_n_tokens": 2}),
        (cls, url, {}, "generate", {"prompt": ASKED, "max_new_tokens": 3, "return_full_text": True}),
        (cls, url, {}, "generate", {"prompt": ASKED, "stop_sequences": ["no such", "France"]}),
        (cls, url, {}, "generate", {"prompt": ASKED, "best_of": 2, "do_sample": True}),
        (cls, url, {}, "generate", {"prompt": "Once", "do_sample": True, "seed": 5, "temperature": 0.9, "top_p": 0.9}),
        (cls, url, {}, "generate", {"prompt": "Once", "do_sample": True, "seed": 5, "temperature": 0.9, "top_p": 0.9}),
        (cls, url, {}, "generate", {"prompt": ASKED, "decoder_input_details": True, "max_new_tokens": 2}),
        (
            cls,
            url,
            {},
            "generate",
            {"prompt": ASKED, "grammar": {"type": "json", "value": SHAPE}, "max_new_tokens": 60},
        ),
    )
    assert greedy["generated_text"] == PARIS
    details = greedy["details"]
    assert (details["finish_reason"], details["seed"], details["prefill"]) == ("eos_token", None, [])
    assert details["generated_tokens"] == len(details["tokens"])
    assert whole(details) == PARIS
    assert [token["special"] for token in details["tokens"]] == [False] * (len(details["tokens"]) - 1) + [True]
    assert all(token["logprob"] <= 0 for token in details["tokens"])
    assert short["details"]["tokens"] == details["tokens"][:3]
    assert (short["details"]["finish_reason"], short["details"]["generated_tokens"]) == ("length", 3)
    for token, (first, second) in zip(short["details"]["tokens"], short["details"]["top_tokens"], strict=True):
        assert first["id"] == token["id"]
        assert first["logprob"] >= second["logprob"]
    assert full["generated_text"] == ASKED + short["generated_text"]
    assert stopped["generated_text"] == "The capital of France"
    assert stopped["details"]["finish_reason"] == "stop_sequence"
    assert len(best["details"]["best_of_sequences"]) == 1
    assert drawn["details"]["seed"] == 5
    assert drawn == again
    assert "".join(token["text"] for token in prefilled["details"]["prefill"]) == ASKED
    assert [token["logprob"] is None for token in prefilled["details"]["prefill"]].count(True) == 1
    assert list(json.loads(grammar["generated_text"])) == ["capital"]


@pytest.mark.parametrize("cls", ["Client", "AsyncClient"])
def test_generate_stream(url: str, cls: str) -> None:
    said, cut, once = answers(
        (cls, url, {}, "generate_stream", {"prompt": ASKED}),
        (cls, url, {}, "generate_stream", {"prompt": ASKED, "max_new_tokens": 4}),
        (cls, url, {}, "generate", {"prompt": ASKED}),
    )
    assert [event["token"] for event in said] == once["details"]["tokens"]
    assert [event["generated_text"] for event in said] == [None] * (len(said) - 1) + [PARIS]
    assert [event["details"] for event in said[:-1]] == [None] * (len(said) - 1)
    assert said[-1]["details"]["finish_reason"] == "eos_token"
    assert [event["token"] for event in cut] == [event["token"] for event in said[:4]]
    assert cut[-1]["details"] == {"finish_reason": "length", "generated_tokens": 4, "seed": None}


@pytest.mark.parametrize("cls", ["Client", "AsyncClient"])
def test_chat(url: str, cls: str) -> None:
    (told,) = answers((cls, url, {}, "chat", {"messages": MESSAGES, "max_tokens": 20, "seed": 1, "temperature": 0.1}))
    (choice,) = told["choices"]
    assert (choice["message"]["role"], choice["message"]["content"]) == ("assistant", PARIS)
    assert told["usage"]["total_tokens"] == told["usage"]["prompt_tokens"] + told["usage"]["completion_tokens"]


# Its exceptions


class Upstream(ThreadingHTTPServer):
    """Speaks OpenAI's protocol as badly as the model's name says, and TGI's without an end."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Answering)
        self.asked = threading.Event()
        self.over = threading.Event()
        self._thread = threading.Thread(target=self.serve_forever)
        self._thread.start()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"

    def end(self) -> None:
        self.over.set()
        self.shutdown()
        self._thread.join(5)
        self.server_close()


class Answering(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        """What a TGI server tells of itself."""
        self._whole(200, {"model_id": "unfinished", "version": "3.3.7", "max_total_tokens": 4096})

    def do_POST(self) -> None:
        asked = json.loads(self.rfile.read(int(self.headers["content-length"])))
        if self.path == "/generate_stream":
            self._begin()
            self._piece({"index": 1, "token": {"id": 5, "text": "and", "logprob": -1.0, "special": False}})
            return
        # Tokens it does not count.
        model = asked.get("model")
        status = {"broken": 500, "busy": 429}.get(model) if self.path == "/v1/completions" else 404
        if status is not None:
            self._whole(status, {"error": {"message": f"it is {model}", "type": "x", "code": status}})
            return
        self._begin()
        said = {"id": "x", "object": "text_completion", "created": 1, "model": model}
        self._piece({**said, "choices": [{"index": 0, "text": "and"}]})
        if model == "slow":
            assert isinstance(self.server, Upstream)
            self.server.asked.set()
            self.server.over.wait(300)

    def _whole(self, status: int, answer: dict[str, Any]) -> None:
        data = json.dumps(answer).encode()
        self.send_response(status)
        self.send_header("content-length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def _begin(self) -> None:
        self.send_response(200)
        self.send_header("content-type", "text/event-stream")
        self.send_header("connection", "close")
        self.end_headers()

    def _piece(self, said: dict[str, Any]) -> None:
        self.wfile.write(b"data: %b\n\n" % json.dumps(said).encode())
        self.wfile.flush()

    def log_message(self, format: str, *args: Any) -> None:
        """Nothing to say."""


@pytest.fixture(scope="module")
def failing(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[str, Upstream]]:
    """A Trunkcall that asks for a key, in front of a server that fails; and that server."""
    upstream = Upstream()
    place = tmp_path_factory.mktemp("failing")
    models: dict[str, Any] = {
        name: {"source": f"openai:{upstream.url}/v1#{name}", "slots": 1, "queue": 0}
        for name in ("broken", "busy", "slow")
    }
    settings: dict[str, Any] = {
        "pocket": False,
        "listen": MOUNTED,
        "keys": ["env:THE_KEY"],
        "models": {**models, "unfinished": f"tgi:{upstream.url}#unfinished"},
    }
    file = place / "trunkcall.yaml"
    file.write_text(json.dumps(settings))
    server = Server("--config", str(file), home=place / "home", env={"THE_KEY": "sesame"})
    try:
        server.wait_ready()
        yield server.url, upstream
    finally:
        upstream.end()
        server.stop()


KEY = {"headers": {"Authorization": "Bearer sesame"}}
NEVER = {
    "BadRequestError": "of status 400, which TGI does not say: what is wrong with a request is 422",
    "NotSupportedError": "of models on the Hub, raised before anything is sent",
    "ShardNotReadyError": "of status 424 with a type that TGI does not have; and 403, for other networks than this one",
    "ShardTimeoutError": "of status 504, which TGI does not say",
}
"""Exceptions of the package that a TGI server does not cause here."""


BOTH = ("generate", "generate_stream")
ONCE = ("generate",)
"""Of a stream the status is 200, and the package knows by its own words only what TGI itself may say there."""


def test_exceptions(url: str, failing: tuple[str, Upstream]) -> None:
    badly, upstream = failing
    prompt = {"prompt": "a"}
    cases: dict[str, tuple[str, dict[str, Any], dict[str, Any], tuple[str, ...], str]] = {
        "ValidationError": (url, {}, {**prompt, "stop_sequences": list("1234567")}, BOTH, "`stop` supports up to 6"),
        "GenerationError": (f"{badly}/tgi/broken", KEY, prompt, BOTH, "Request failed during generation: "),
        "IncompleteGenerationError": (f"{badly}/tgi/unfinished", KEY, prompt, ONCE, "Incomplete generation"),
        "OverloadedError": (f"{badly}/tgi/slow", KEY, prompt, BOTH, "Model is overloaded"),
        "NotFoundError": (f"{badly}/tgi/nobody", KEY, prompt, ONCE, "nobody"),
        "RateLimitExceededError": (f"{badly}/tgi/busy", KEY, prompt, ONCE, "it is busy"),
        "UnknownError": (f"{badly}/tgi/broken", {}, prompt, BOTH, "key"),
    }
    calls: list[tuple[str, str, Call]] = [
        (name, text, (cls, at, options, method, arguments))
        for name, (at, options, arguments, methods, text) in cases.items()
        for cls in ("Client", "AsyncClient")
        for method in methods
    ]
    with ThreadPoolExecutor(1) as pool:
        hold = pool.submit(ask, f"{badly}/tgi/slow", "POST", "/generate_stream", {"inputs": "a"}, KEY["headers"])
        try:
            assert upstream.asked.wait(60)
            told = seen(*[call for _, _, call in calls])
        finally:
            upstream.over.set()
        assert b'"text":"and"' in hold.result(60)[1]
    for (name, text, call), one in zip(calls, told, strict=True):
        assert one.get("raised") == f"text_generation.errors.{name}", (call, one)
        assert text in one["text"]
    listing = "import text_generation.errors as e; print(*[n for n, c in vars(e).items() if isinstance(c, type)])"
    env = {**os.environ, "PYTHONPATH": str(PACKAGES)}
    done = subprocess.run([sys.executable, "-P", "-c", listing], env=env, capture_output=True, text=True, timeout=60)
    assert {*done.stdout.split()} == {*cases, *NEVER}


# The Hub's client, of the old and of the new edition


@pytest.mark.parametrize("cls", ["InferenceClient", "AsyncInferenceClient"])
@pytest.mark.parametrize(
    "packages",
    [
        PACKAGES,
        pytest.param(None, marks=pytest.mark.skipif(find_spec("huggingface_hub") is None, reason="not installed here")),
    ],
    ids=["0.x", "new"],
)
def test_inference_client(url: str, cls: str, packages: Path | None) -> None:
    def generation(**arguments: Any) -> Call:
        return (
            cls,
            url,
            {},
            "text_generation",
            {"prompt": ASKED, "max_new_tokens": 20, "return_full_text": False, **arguments},
        )

    def chat(**arguments: Any) -> Call:
        asked = {"messages": MESSAGES, "max_tokens": 20, "temperature": 0.0, **arguments}
        return cls, None, {"base_url": url}, "chat_completion", asked

    text, full, detailed, pieces, events, said, streamed = answers(
        generation(),
        generation(return_full_text=None),
        generation(details=True, decoder_input_details=True, top_n_tokens=1),
        generation(stream=True),
        generation(stream=True, details=True),
        chat(),
        chat(stream=True),
        packages=packages,
    )
    assert text == detailed["generated_text"] == PARIS
    assert full == ASKED + PARIS, "what / does for a model of text-generation"
    assert detailed["details"]["finish_reason"] == "eos_token"
    assert whole(detailed["details"]) == PARIS
    assert "".join(token["text"] for token in detailed["details"]["prefill"]) == ASKED
    assert "".join(pieces) == PARIS + events[-1]["token"]["text"], "this client shows special tokens too"
    assert [event["token"] for event in events] == detailed["details"]["tokens"]
    assert events[-1]["generated_text"] == PARIS
    assert said["choices"][0]["message"]["content"] == PARIS
    deltas = [choice["delta"].get("content") for chunk in streamed for choice in chunk["choices"]]
    assert "".join(delta for delta in deltas if delta) == PARIS
