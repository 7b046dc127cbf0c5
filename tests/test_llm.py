"""`trunkcall.LLM`: prompts in, answers out, with the engines that a server has."""

from __future__ import annotations

import contextlib
import importlib.util
import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from running import alive, eventually

import trunkcall
from trunkcall import LLM, SamplingParams
from trunkcall.core.errors import ServingError
from trunkcall.offline import RequestOutput
from trunkcall.pocket import gguf_path

GREEDY = SamplingParams(temperature=0)
CAPITAL = [{"role": "user", "content": "What is the capital of France?"}]


@pytest.fixture(scope="module")
def pocket() -> Iterator[LLM]:
    with LLM("pocket") as llm:
        yield llm


def text(output: RequestOutput) -> str:
    return output.outputs[0].text


def children() -> set[int]:
    """The processes that this one has started and that live."""
    me = os.getpid()
    found: set[int] = set()
    for file in Path(f"/proc/{me}/task").glob("*/children"):
        # A thread that has just ended has none.
        with contextlib.suppress(FileNotFoundError, ProcessLookupError):
            found |= {int(pid) for pid in file.read_text().split() if alive(int(pid))}
    return found


# What is asked, and what comes back


@pytest.mark.parametrize(
    ("prompts", "shown"),
    [
        ("The capital of France is", ["The capital of France is"]),
        (["The capital of France is", "One and"], ["The capital of France is", "One and"]),
        ({"prompt": "One and"}, ["One and"]),
        ([5, 6, 7], [None]),
        ([[5, 6, 7], [8]], [None, None]),
        ([{"prompt_token_ids": [5, 6]}, "One and"], [None, "One and"]),
        ([], []),
    ],
)
def test_prompts_of_every_form_are_answered_in_order(pocket: LLM, prompts: Any, shown: list[Any]) -> None:
    outputs = pocket.generate(prompts, GREEDY, use_tqdm=False)
    assert [output.prompt for output in outputs] == shown
    assert all(output.finished and output.prompt_token_ids for output in outputs)


def test_an_answer_tells_its_tokens(pocket: LLM) -> None:
    (output,) = pocket.generate("The capital of France is", {"temperature": 0, "logprobs": 2, "max_tokens": 3})
    assert output.prompt_token_ids is not None
    (said,) = output.outputs
    assert (said.text, said.finish_reason) == (" Paris", "length")
    assert said.logprobs is not None
    assert "".join(token.token for token in said.logprobs) == " Paris"
    assert all(len(token.top) == 2 for token in said.logprobs)
    assert said.cumulative_logprob == pytest.approx(sum(token.logprob for token in said.logprobs))
    (again,) = pocket.generate(prompt_token_ids=[output.prompt_token_ids], sampling_params={"temperature": 0})
    assert text(again) == " Paris.", "the ids are those of the prompt"
    assert said.token_ids is not None and again.outputs[0].token_ids is not None
    assert again.outputs[0].token_ids[: len(said.token_ids)] == said.token_ids
    assert output.usage is not None
    assert (output.usage.prompt, output.usage.completion) == (len(output.prompt_token_ids), 3)


def test_without_a_word_16_tokens_of_a_prompt_and_a_whole_answer(pocket: LLM) -> None:
    (output,) = pocket.generate("Once", {"temperature": 0, "ignore_eos": True}, use_tqdm=False)
    assert output.usage is not None
    assert output.usage.completion == 16
    story = [{"role": "user", "content": "Tell me a story about a cat."}]
    (output,) = pocket.chat(story, {"seed": 1}, use_tqdm=False)
    assert output.usage is not None
    assert output.usage.completion > 16


def test_one_conversation_or_many(pocket: LLM) -> None:
    assert "Paris" in text(pocket.chat(CAPITAL, GREEDY)[0])
    countries = {"France": "Paris", "Spain": "Madrid", "Italy": "Rome", "Japan": "Tokyo"}
    asked = [[{"role": "user", "content": f"What is the capital of {name}?"}] for name in [*countries] * 10]
    outputs = pocket.chat(asked, GREEDY, use_tqdm=False)
    assert [name in text(output) for name, output in zip([*countries.values()] * 10, outputs, strict=True)] == [
        True
    ] * 40
    assert all(output.prompt_token_ids and output.prompt is None for output in outputs)


def test_parameters_for_each_and_answers_by_number(pocket: LLM) -> None:
    short, stopped = pocket.generate(
        ["The capital of France is"] * 2,
        [{"temperature": 0, "max_tokens": 1}, SamplingParams(temperature=0, stop="ri")],
    )
    assert (text(short), text(stopped)) == (" P", " Pa")
    assert stopped.outputs[0].finish_reason == "stop"
    (several,) = pocket.chat(CAPITAL, {"n": 3, "seed": 1}, use_tqdm=False)
    assert [output.index for output in several.outputs] == [0, 1, 2]
    assert all(output.text for output in several.outputs)


def test_what_an_engine_cannot_is_told(pocket: LLM) -> None:
    (output,) = pocket.generate("One", {"temperature": 0, "min_tokens": 3}, use_tqdm=False)
    assert output.dropped == ("min_tokens",)


@pytest.mark.parametrize(
    ("ask", "kind", "said"),
    [
        (lambda llm: llm.generate(), "bad_request", "give prompts"),
        (lambda llm: llm.generate("x", {"temprature": 1}), "bad_request", "Did you mean 'temperature'?"),
        (lambda llm: llm.generate("x", {"temperature": -1}), "bad_request", "temperature"),
        (lambda llm: llm.generate("x", {"temperature": "hot"}), "bad_request", "temperature"),
        (lambda llm: llm.generate(["x", "y"], [GREEDY]), "bad_request", "there are 1 for 2 prompts"),
        (lambda llm: llm.generate({"text": "x"}), "bad_request", "prompt_token_ids"),
        (lambda llm: llm.generate(["x", {}]), "bad_request", "prompt_token_ids"),
        (lambda llm: llm.generate(["x", "y " * 4000]), "too_long", "tokens"),
        (lambda llm: llm.chat([]), "bad_request", "messages"),
        (lambda llm: llm.chat([{"content": "x"}]), "bad_request", "role"),
        (lambda llm: llm.chat([{"role": "user", "content": object()}]), "bad_request", "JSON"),
        (lambda llm: llm.embed("x"), "bad_request", "embeddings: true"),
    ],
)
def test_bad_input_is_one_error_and_the_model_goes_on(
    pocket: LLM, ask: Callable[[LLM], Any], kind: str, said: str
) -> None:
    with pytest.raises(ServingError) as caught:
        ask(pocket)
    assert (caught.value.kind, said in caught.value.message) == (kind, True), caught.value.message
    assert "Paris" in text(pocket.chat(CAPITAL, GREEDY, use_tqdm=False)[0])


def test_a_bar_is_drawn_unless_it_is_not_wanted(pocket: LLM, capsys: pytest.CaptureFixture[str]) -> None:
    pocket.chat([CAPITAL] * 3, GREEDY)
    assert "3/3" in capsys.readouterr().err
    pocket.chat([CAPITAL] * 3, GREEDY, use_tqdm=False)
    assert capsys.readouterr() == ("", "")


# Sources


def test_vectors_of_a_file() -> None:
    with LLM(str(gguf_path()), embeddings=True, slots=2) as llm:
        outputs = llm.embed([f"text {number}" for number in range(40)] + ["text 0"], use_tqdm=False)
        (single,) = llm.embed([7, 8])
    assert [output.prompt for output in outputs[:2]] == ["text 0", "text 1"]
    first, *_, last = (output.outputs.embedding for output in outputs)
    assert len(first) == len(single.outputs.embedding) > 100
    assert last == pytest.approx(first, abs=1e-3)


def test_a_backend_without_an_engine() -> None:
    with LLM("debug") as llm:
        assert text(llm.chat([{"role": "user", "content": "hello"}], use_tqdm=False)[0]) == "hello"
        with pytest.raises(ServingError, match="does not give embeddings"):
            llm.embed("x", use_tqdm=False)


class Upstream:
    """An OpenAI server that says each prompt backwards, the later the earlier; notes how many it answers at once."""

    def __init__(self) -> None:
        self.busy = self.most = self.asked = 0
        self.expected = 1
        """Nobody is answered before so many were there at once."""
        self.lock = threading.Condition()
        self.keys: set[str] = set()

    def answer(self, body: dict[str, Any]) -> tuple[int, list[dict[str, Any]]]:
        with self.lock:
            self.asked += 1
            self.busy += 1
            self.most = max(self.most, self.busy)
            self.lock.notify_all()
            assert self.lock.wait_for(lambda: self.most >= self.expected, 30)
        time.sleep(0.02 + 0.03 * (self.asked % 2))
        with self.lock:
            self.busy -= 1
        if "tools" in body:
            call = {"index": 0, "id": "c1", "type": "function", "function": {"name": "now", "arguments": '{"a"'}}
            rest = {"index": 0, "function": {"arguments": ":1}"}}
            return 200, [{"delta": {"tool_calls": [call]}}, {"delta": {"tool_calls": [rest]}}, {"delta": {}, "finish_reason": "tool_calls"}]  # fmt: skip
        if body["prompt"] == "bad":
            return 400, []
        ids = [len(body["prompt"])] if body["return_token_ids"] else []
        return 200, [{"text": body["prompt"][::-1], "token_ids": ids}, {"text": "", "finish_reason": "stop"}]


@contextmanager
def upstream() -> Iterator[tuple[Upstream, str]]:
    state = Upstream()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            state.keys.add(self.headers["authorization"])
            status, choices = state.answer(json.loads(self.rfile.read(int(self.headers["content-length"]))))
            chunks = [{"id": "1", "created": 1, "model": "m", "choices": [{"index": 0, **one}]} for one in choices]
            data = b"".join(b"data: %b\n\n" % json.dumps(chunk).encode() for chunk in chunks) + b"data: [DONE]\n\n"
            data = data if status == 200 else b'{"error":{"message":"no such prompt","param":"prompt"}}'
            self.send_response(status)
            self.send_header("content-type", "text/event-stream" if status == 200 else "application/json")
            self.send_header("content-length", str(len(data)))
            with contextlib.suppress(BrokenPipeError):
                self.end_headers()
                self.wfile.write(data)

        def log_message(self, format: str, *args: Any) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    serving = threading.Thread(target=server.serve_forever)
    serving.start()
    try:
        yield state, f"openai:http://127.0.0.1:{server.server_port}/v1#m"
    finally:
        server.shutdown()
        serving.join(5)
        server.server_close()


def test_an_upstream_is_asked_for_so_many_at_once_and_order_is_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("UP_KEY", "sk-up")
    with upstream() as (state, source), LLM(source, slots=5, key="env:UP_KEY") as llm:
        state.expected = 5
        prompts = [f"prompt {number}" for number in range(30)]
        outputs = llm.generate(prompts, use_tqdm=False)
        assert [text(output) for output in outputs] == [one[::-1] for one in prompts]
        assert [output.outputs[0].token_ids for output in outputs] == [(len(one),) for one in prompts]
        assert (state.most, state.keys) == (5, {"Bearer sk-up"})
        (called,) = llm.chat(CAPITAL, tools=[{"type": "function", "function": {"name": "now"}}], use_tqdm=False)
        (call,) = called.outputs[0].tool_calls
        assert (call.id, call.name, call.arguments) == ("c1", "now", '{"a":1}')


def test_the_error_of_one_prompt_ends_the_batch() -> None:
    with upstream() as (state, source), LLM(source, slots=2) as llm:
        with pytest.raises(ServingError, match="no such prompt"):
            llm.generate(["bad", *("prompt",) * 200], use_tqdm=False)

        def still() -> bool:
            before = state.asked
            time.sleep(0.3)
            return not state.busy and state.asked == before

        eventually(still)
        asked = state.asked
        assert asked < 20
        assert text(llm.generate("abc", use_tqdm=False)[0]) == "cba", "and the model goes on"
        assert state.asked == asked + 1, "nothing of the batch went on"


@pytest.mark.parametrize(
    ("model", "options", "said"),
    [
        ("/nowhere/m.gguf", {}, "does not exist"),
        ("", {}, "empty"),
        ("pocket", {"contxt": 3}, "Did you mean 'context'?"),
        ("pocket", {"revision": "v1"}, "only a name on the hub"),
        ("openai:nothing", {}, "not the URL"),
        ("pocket", {"key": "sk-secret"}, "env:NAME"),
    ],
)
def test_a_model_that_cannot_be_is_refused_at_once(model: str, options: dict[str, Any], said: str) -> None:
    before = {*threading.enumerate()}, children()
    with pytest.raises(ServingError) as caught:
        LLM(model, **options)
    assert said in caught.value.message
    # Those of tests before may end meanwhile.
    assert ({*threading.enumerate()} - before[0], children() - before[1]) == (set(), set())


def test_words_of_vllm_that_an_engine_has_no_use_for_are_named_once() -> None:
    with pytest.warns(UserWarning, match="llamacpp has no use for dtype, tokenizer, tensor_parallel_size") as warned:
        llm = LLM("pocket", tokenizer="some/tokenizer", tensor_parallel_size=2, dtype="half", max_model_len=128)
    llm.close()
    assert len(warned) == 1
    assert warned[0].filename == __file__


# Life


def test_close_ends_the_engine() -> None:
    before = children()
    with LLM("pocket") as llm:
        (started,) = children() - before
        assert "Paris" in text(llm.chat(CAPITAL, GREEDY, use_tqdm=False)[0])
    assert not alive(started)
    llm.close()
    with pytest.raises(ServingError, match="was closed"):
        llm.generate("x")


def test_an_engine_that_was_killed_is_started_again() -> None:
    before = children()
    with LLM("pocket") as llm:
        (started,) = children() - before
        os.kill(started, signal.SIGKILL)
        eventually(lambda: not alive(started))
        assert "Paris" in text(llm.chat(CAPITAL, GREEDY, use_tqdm=False)[0])


def run(script: str, **more: Any) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=55, **more)


def test_a_program_that_does_not_close_ends_all_the_same() -> None:
    script = "import os\nfrom trunkcall import LLM\nllm = LLM('pocket')\n"
    show = "print(open(f'/proc/{os.getpid()}/task/{t}/children').read())"
    listing = f"for t in os.listdir('/proc/self/task'): {show}"
    done = run(f"{script}\nprint(llm.generate('One', use_tqdm=False)[0].prompt)\n{listing}")
    assert done.returncode == 0, done.stderr
    prompt, *pids = done.stdout.split()
    assert prompt == "One"
    assert pids
    assert not any(alive(int(pid)) for pid in pids)


def test_an_interrupt_stops_the_work() -> None:
    script = (
        "import threading, os, signal, time\nfrom trunkcall import LLM\n"
        "with LLM('pocket', slots=1) as llm:\n"
        "    try:\n"
        "        threading.Timer(0.5, os.kill, (os.getpid(), signal.SIGINT)).start()\n"
        "        llm.generate(['x'] * 1000, {'max_tokens': 900, 'ignore_eos': True}, use_tqdm=False)\n"
        "    except KeyboardInterrupt:\n"
        "        print(sum(replica.in_flight for replica in llm._embedded.pool.replicas))\n"
        "        print(len(llm.generate('x', use_tqdm=False)))\n"
    )
    done = run(script)
    assert (done.returncode, done.stdout.split()) == (0, ["0", "1"]), done.stderr


def test_importing_costs_nothing_that_is_not_used() -> None:
    heavy = {"torch", "openai", "rich", "typer", "asyncio", "msgspec", "sqlalchemy", "transformers"}
    done = run(f"import sys, trunkcall; print(trunkcall.__version__, sorted({heavy!r} & set(sys.modules)))")
    assert done.stdout.split(maxsplit=1) == [trunkcall.__version__, "[]\n"], done.stderr
    done = run(
        "import sys; from trunkcall import LLM, SamplingParams; print('torch' in sys.modules, 'openai' in sys.modules)"
    )
    assert done.stdout == "False False\n", done.stderr
    with pytest.raises(AttributeError, match="no attribute 'Nothing'"):
        _ = trunkcall.Nothing


@pytest.mark.slow
@pytest.mark.timeout(300)
@pytest.mark.skipif(
    importlib.util.find_spec("torch") is None, reason="torch is not installed: `make test-all` installs it"
)
def test_a_folder_for_transformers(tmp_path: Path) -> None:
    folder = Path(__file__).parents[1] / "pocket" / "hf"
    with LLM(str(folder)) as llm:
        outputs = llm.chat([CAPITAL] * 5, GREEDY, use_tqdm=False)
        assert all("Paris" in text(output) for output in outputs)
        (output,) = llm.generate("The capital of France is", {"temperature": 0, "logprobs": 1, "max_tokens": 3})
        assert output.outputs[0].logprobs
        assert output.outputs[0].token_ids
