"""What a transformers host answers, asked over HTTP, with the shipped model's folder."""

from __future__ import annotations

import http.client
import json
import shutil
import signal
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from running import alive, eventually
from transformers_child import CHAT, POCKET, TEXT, Child

from trunkcall.backends.openai import OpenAI
from trunkcall.core.requests import Count, Message, MessagesPrompt, TextPart, TextPrompt

pytest.importorskip("torch", reason="HOST NOT CHECKED: install trunkcall[transformers]")
pytest.importorskip("transformers", reason="HOST NOT CHECKED: install trunkcall[transformers]")

pytestmark = [pytest.mark.slow, pytest.mark.timeout(180), pytest.mark.filterwarnings("default")]

MESSAGES = [{"role": "user", "content": "What is the capital of France?"}]
LONG: dict[str, Any] = {"prompt": "Once upon a time", "ignore_eos": True, "max_tokens": 900, "temperature": 1}
HOT: dict[str, Any] = {"temperature": 2.0, "max_tokens": 24, "ignore_eos": True}
"""So hot that no two answers are the same, whatever the model knows."""
TOOL = {"type": "function", "function": {"name": "weather", "parameters": {"type": "object", "properties": {}}}}


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy: the folder itself may be trained anew while tests run."""
    folder = tmp_path_factory.mktemp("pocket") / "hf"
    shutil.copytree(POCKET, folder)
    return folder


@pytest.fixture(scope="module")
def host(model: Path) -> Iterator[Child]:
    child = Child(model, slots=8, threads=1, embeddings=True)
    assert child.report.get("address"), child.report
    yield child
    child.stop()


def text_of(chunks: list[dict[str, Any]], index: int = 0) -> str:
    choices = [choice for chunk in chunks for choice in chunk["choices"] if choice["index"] == index]
    return "".join(choice.get("text") or choice.get("delta", {}).get("content") or "" for choice in choices)


def test_it_tells_of_itself(host: Child) -> None:
    about = host.report["about"]
    assert {name: about[name] for name in ("device", "dtype", "batched")} == {
        "device": "cpu",
        "dtype": "torch.float32",
        "batched": True,
    }
    assert (about["images"], about["tools"], about["context"] > 0) == (False, True, True)
    assert set(about["defaults"]) >= {"temperature", "top_p", "top_k", "repetition_penalty"}
    assert json.loads(host.call("/v1/models")[2])["data"][0]["id"] == "tiny"
    assert host.call("/health")[0] == 200


def test_streamed_and_whole_say_the_same(host: Child) -> None:
    whole = host.chat(temperature=0)
    chunks = host.stream(CHAT, messages=MESSAGES, temperature=0, stream_options={"include_usage": True})
    choice = whole["choices"][0]
    assert text_of(chunks) == choice["message"]["content"] != ""
    assert choice["finish_reason"] == chunks[-2]["choices"][0]["finish_reason"] == "stop"
    assert chunks[-1]["usage"] == whole["usage"]
    tokens = host.ask("/tokenize", messages=MESSAGES)
    assert whole["usage"]["prompt_tokens"] == tokens["count"]
    assert tokens["max_model_len"] == 1024


def test_callers_are_not_served_in_turn(host: Child) -> None:
    """All slots speak before any is done; those who wait for one are served too, and nobody's answer changes."""
    streams = [host.send(TEXT, stream=True, **LONG) for _ in range(8)]
    heads = [stream.recv(65536) for stream in streams]
    assert host.busy() == 8
    assert all(head.startswith(b"HTTP/1.1 200") for head in heads)
    for stream in streams:
        stream.close()
    host.wait_busy(0)
    prompts = [f"Tell me a story about the number {number}." for number in range(16)]
    alone = [host.said(prompt, temperature=0, max_tokens=40) for prompt in prompts]
    with ThreadPoolExecutor(16) as pool:
        assert list(pool.map(lambda prompt: host.said(prompt, temperature=0, max_tokens=40), prompts)) == alone


def test_the_same_greedy_text_as_llama_cpp(host: Child, pocket: Any) -> None:
    """Batched here, one after the other there."""
    lines = (POCKET.parent / "prompts.jsonl").read_text(encoding="utf-8").splitlines()
    prompts = [json.loads(line)["prompt"] for line in lines][:60]
    fields: dict[str, Any] = {"temperature": 0, "max_tokens": 80}
    with ThreadPoolExecutor(8) as pool:
        ours = list(pool.map(lambda prompt: host.said(prompt, **fields), prompts))
    theirs = [pocket.chat(prompt, **fields)["choices"][0]["message"]["content"] for prompt in prompts]
    assert ours == theirs


def test_a_long_prompt_does_not_keep_others_waiting(host: Child) -> None:
    """The budget of a step is smaller than the prompt, so a short answer goes on meanwhile and is the same."""
    expected = host.said(temperature=0)
    ids = host.ask("/tokenize", prompt="one two three four five six seven " * 150)["tokens"][:900]
    with ThreadPoolExecutor(2) as pool:
        long = pool.submit(host.ask, TEXT, prompt=ids, max_tokens=1)
        assert host.said(temperature=0) == expected
        assert long.result()["usage"] == {"prompt_tokens": 900, "completion_tokens": 1, "total_tokens": 901}


@pytest.mark.parametrize("stop", ["France", "ance is", " Par", "."])
@pytest.mark.parametrize("include", [False, True])
def test_stop_strings(host: Child, stop: str, include: bool) -> None:
    whole = host.said(temperature=0)
    at = whole.index(stop)
    fields = {"temperature": 0, "stop": ["never", stop], "include_stop_str_in_output": include}
    chunks = host.stream(CHAT, messages=MESSAGES, **fields)
    expected = whole[: at + len(stop)] if include else whole[:at]
    assert text_of(chunks) == expected == host.said(**fields)
    assert chunks[-1]["choices"][0]["finish_reason"] == "stop"


def test_stop_tokens(host: Child) -> None:
    answer = host.ask(TEXT, prompt="The capital of France", temperature=0, max_tokens=4, return_token_ids=True)
    ids = answer["choices"][0]["token_ids"]
    assert len(ids) == 4
    stopped = host.ask(
        TEXT, prompt="The capital of France", temperature=0, stop_token_ids=[ids[2]], return_token_ids=True
    )
    assert stopped["choices"][0]["token_ids"] == ids[:3], "the one that ended it too"
    assert stopped["choices"][0]["finish_reason"] == "stop"
    assert stopped["usage"]["completion_tokens"] == 3


@pytest.mark.parametrize(
    "fields", [{"seed": 4}, {"top_k": 1}, {"top_p": 0.0}, {"temperature": 0}, {"logit_bias": {"70": 100}}]
)
def test_sampling_is_honoured(host: Child, fields: dict[str, Any]) -> None:
    def answers(**fields: Any) -> set[str]:
        return {host.said(**{**HOT, **fields}) for _ in range(3)}

    assert len(answers()) == 3
    assert len(answers(**fields)) == 1


def test_a_seed_gives_the_same_among_others(host: Child) -> None:
    fields = {**HOT, "seed": 11, "max_tokens": 30}
    alone = host.said(**fields)
    with ThreadPoolExecutor(8) as pool:
        noise = [pool.submit(host.said, **{**HOT, "max_tokens": 60}) for _ in range(6)]
        assert pool.submit(host.said, **fields).result() == alone
        assert len({one.result() for one in noise}) == 6


def test_n_answers_to_several_prompts(host: Child) -> None:
    fields = {"prompt": ["The dog", "A cat"], "n": 2, "echo": True, "seed": 3, **HOT}
    answer = host.ask(TEXT, **fields)
    texts = [choice["text"] for choice in answer["choices"]]
    assert [choice["index"] for choice in answer["choices"]] == [0, 1, 2, 3]
    assert [text.startswith(start) for text, start in zip(texts, ["The dog"] * 2 + ["A cat"] * 2, strict=True)]
    assert len(set(texts)) == 4
    assert answer["usage"]["completion_tokens"] == 96
    chunks = host.stream(TEXT, **fields)
    assert [text_of(chunks, index) for index in range(4)] == texts


def test_logprobs(host: Child) -> None:
    answer = host.chat(logprobs=True, top_logprobs=3, max_tokens=4, temperature=0)["choices"][0]
    tokens = answer["logprobs"]["content"]
    assert "".join(token["token"] for token in tokens) == answer["message"]["content"]
    for token in tokens:
        assert token["top_logprobs"][0]["token"] == token["token"]
        assert len(token["top_logprobs"]) == 3
        assert 0 >= token["logprob"] == token["top_logprobs"][0]["logprob"] >= token["top_logprobs"][1]["logprob"]
    older = host.ask(TEXT, prompt="The capital", logprobs=2, max_tokens=3, temperature=0)["choices"][0]
    assert "".join(older["logprobs"]["tokens"]) == older["text"]
    assert [len(top) for top in older["logprobs"]["top_logprobs"]] == [2, 2, 2]
    streamed = host.stream(CHAT, messages=MESSAGES, logprobs=True, max_tokens=4, temperature=0, stop="never")
    listed = [
        t for c in streamed for choice in c["choices"] for t in (choice["logprobs"] or {"content": []})["content"]
    ]
    assert [token["token"] for token in listed] == [token["token"] for token in tokens]


def test_characters_that_span_tokens_stay_whole(host: Child) -> None:
    ids = host.ask("/tokenize", prompt="é😀é", add_special_tokens=False)["tokens"]
    assert len(ids) > 3
    bias: dict[str, Any] = {"logprobs": 1, "temperature": 0, "max_tokens": 1}
    said = ""
    for count in range(len(ids)):
        answer = host.ask(TEXT, prompt=[5, *ids[:count]], logit_bias={str(ids[count]): 100}, **bias)["choices"][0]
        assert "\ufffd" not in answer["text"]
        said += answer["text"]
    assert host.ask("/detokenize", tokens=ids)["prompt"] == "é😀é"


def test_lengths(host: Child) -> None:
    answer = host.chat(max_tokens=3, temperature=0)["choices"][0]
    assert answer["finish_reason"] == "length"
    full = host.ask(TEXT, prompt="a", ignore_eos=True, temperature=1)
    assert full["usage"]["total_tokens"] == 1024
    assert full["choices"][0]["finish_reason"] == "length"
    assert host.chat(min_tokens=30, temperature=0)["usage"]["completion_tokens"] >= 30
    error = host.refusal(CHAT, messages=[{"role": "user", "content": "a b c " * 600}])
    assert (error["status"], error["param"]) == (400, "messages")
    assert "1024" in error["message"]


def test_a_message_is_continued(host: Child) -> None:
    messages = [*MESSAGES, {"role": "assistant", "content": "The capital of"}]
    fields = {"continue_final_message": True, "temperature": 0}
    assert host.ask(CHAT, messages=messages, **fields)["choices"][0]["message"]["content"] == " France is Paris."


def test_what_cannot_be_honoured_is_told_or_refused(host: Child) -> None:
    body = {"model": "tiny", "messages": MESSAGES, "max_tokens": 1, "grammar": 'root ::= "a"'}
    status, headers, _ = host.call(CHAT, body)
    assert (status, headers["x-trunkcall-dropped"]) == (200, "grammar")
    error = host.refusal(CHAT, headers={"x-trunkcall-strict": "1"}, **body)
    assert (error["status"], error["param"]) == (400, "grammar")


COLOURS = {"type": "object", "properties": {"colour": {"enum": ["red", "blue"]}}, "required": ["colour"]}
COLOURS |= {"additionalProperties": False}


def schema(of: dict[str, Any]) -> dict[str, Any]:
    return {"type": "json_schema", "json_schema": {"name": "c", "schema": of, "strict": True}}


def test_answers_are_held_to_a_schema(host: Child) -> None:
    answer = host.chat(response_format=schema(COLOURS), temperature=2, n=3, min_tokens=40)
    assert len(answer["choices"]) == 3
    for choice in answer["choices"]:
        assert json.loads(choice["message"]["content"])["colour"] in ("red", "blue")
        assert choice["finish_reason"] == "stop"
    chunks = host.stream(CHAT, messages=MESSAGES, response_format=schema(COLOURS), temperature=0)
    assert json.loads(text_of(chunks))["colour"] in ("red", "blue")
    cut = host.chat(response_format=schema(COLOURS), max_tokens=2)["choices"][0]
    assert (cut["finish_reason"], cut["message"]["content"][:1]) == ("length", "{")
    free = {"response_format": {"type": "json_object"}, "temperature": 2, "max_tokens": 300, "seed": 4}
    text = host.chat(**free)["choices"][0]["message"]["content"]
    assert text.startswith("{")


@pytest.mark.parametrize(
    ("of", "says"),
    [
        ({"type": "objct"}, "objct"),
        ({"type": "array", "uniqueItems": True}, "uniqueItems"),
        ({"$ref": "http://127.0.0.1:1/x"}, "127.0.0.1"),
        ({"type": "object", "properties": {f"p{number}": {} for number in range(3000)}}, "too much work"),
    ],
)
@pytest.mark.parametrize("stream", [False, True])
def test_schemas_that_nobody_can_hold_an_answer_to(host: Child, of: Any, says: str, stream: bool) -> None:
    error = host.refusal(CHAT, messages=MESSAGES, response_format=schema(of), stream=stream)
    assert error["status"] == 400
    assert says in error["message"]
    assert host.said(temperature=0) == "The capital of France is Paris."


WEATHER = {"name": "get_weather", "parameters": {"type": "object", "properties": {"city": {"type": "string"}}}}
WEATHER["parameters"] |= {"required": ["city"], "additionalProperties": False}
ODD = {"name": 'add "x"\n/\u00e9', "parameters": {"$defs": {"n": {"type": "integer"}}, "type": "object"}}
ODD["parameters"] |= {"properties": {"a": {"$ref": "#/$defs/n"}}, "required": ["a"], "additionalProperties": False}
TOOLS = [{"type": "function", "function": one} for one in (WEATHER, ODD)]
NAMED = {"type": "function", "function": {"name": ODD["name"]}}


@pytest.mark.parametrize(("choice", "names"), [("required", {WEATHER["name"], ODD["name"]}), (NAMED, {ODD["name"]})])
def test_a_forced_tool_is_called_with_the_arguments_that_it_takes(host: Child, choice: Any, names: set[str]) -> None:
    fields = {"tools": TOOLS, "tool_choice": choice, "temperature": 1, "seed": 3, "max_tokens": 400}
    for stream in (False, True):
        if stream:
            chunks = host.stream(CHAT, messages=MESSAGES, **fields)
            deltas = [chunk["choices"][0] for chunk in chunks]
            (call,) = [call for one in deltas for call in one["delta"].get("tool_calls", ())]
            text, reason = text_of(chunks), deltas[-1]["finish_reason"]
        else:
            answer = host.chat(**fields)["choices"][0]
            (call,) = answer["message"]["tool_calls"]
            text, reason = answer["message"]["content"] or "", answer["finish_reason"]
        arguments = json.loads(call["function"]["arguments"])
        assert call["function"]["name"] in names
        assert set(arguments) == ({"city"} if call["function"]["name"] == "get_weather" else {"a"})
        assert (text, reason, call["type"]) == ("", "tool_calls", "function")


def test_tools_by_choice_of_the_model_and_none(host: Child) -> None:
    asked = {"text": "What is the weather in Paris?", "tools": TOOLS[:1], "temperature": 0}
    called = host.chat(**asked)["choices"][0]
    assert json.loads(called["message"]["tool_calls"][0]["function"]["arguments"]) == {"city": "Paris"}
    assert called["finish_reason"] == "tool_calls"
    for fields in ({"tool_choice": "none"}, {"tools": None}):
        plain = host.chat(**{**asked, **fields})["choices"][0]
        assert plain["finish_reason"] == "stop"
        assert "tool_calls" not in plain["message"]
        assert plain["message"]["content"]
    strict = [{"type": "function", "function": {**WEATHER, "strict": True}}]
    held = host.chat(**{**asked, "tools": strict})["choices"][0]
    assert held["message"]["tool_calls"][0]["function"] == called["message"]["tool_calls"][0]["function"]
    talk = host.chat("What is the capital of France?", tools=strict, temperature=0)["choices"][0]
    assert talk["finish_reason"] == "stop" and "Paris" in talk["message"]["content"]
    either = host.chat(**asked, response_format={"type": "json_object"})["choices"][0]
    assert either["message"].get("tool_calls") or json.loads(either["message"]["content"]) is not None
    cut = host.chat(**asked, max_tokens=5)["choices"][0]
    assert (cut["finish_reason"], "tool_calls" in cut["message"]) == ("length", False)
    error = host.refusal(
        CHAT, messages=MESSAGES, tools=TOOLS, tool_choice={"type": "function", "function": {"name": "x"}}
    )
    assert (error["status"], error["param"]) == (400, "tool_choice")


def test_prompts_and_answers_as_tokens_go_on_where_they_ended(host: Child) -> None:
    fields = {"temperature": 0, "return_token_ids": True}
    whole = host.chat(**fields)
    said = whole["choices"][0]["token_ids"]
    assert len(whole["prompt_token_ids"]) == whole["usage"]["prompt_tokens"]
    begun = host.ask(TEXT, prompt=whole["prompt_token_ids"] + said[:4], **fields)["choices"][0]
    assert begun["token_ids"] == said[4:]
    chunks = host.stream(CHAT, messages=MESSAGES, **fields)
    assert chunks[0]["prompt_token_ids"] == whole["prompt_token_ids"]
    assert [token for chunk in chunks for token in chunk["choices"][0].get("token_ids", ())] == said
    many = host.ask(TEXT, prompt=["a", "b c"], n=2, max_tokens=2, **fields)["choices"]
    assert [choice["prompt_token_ids"] for choice in many] == [
        host.ask("/tokenize", prompt=prompt)["tokens"] for prompt in ("a", "a", "b c", "b c")
    ]


def test_wrong_requests_name_the_field(host: Child) -> None:
    assert host.refusal(CHAT, messages=MESSAGES, temperature=9)["param"] == "temperature"
    assert host.refusal(CHAT, messages=MESSAGES, chat_template_kwargs={"tokenize": True})["param"] == (
        "chat_template_kwargs.tokenize"
    )
    assert host.refusal(TEXT, prompt=[99999])["param"] == "prompt"
    assert host.call(CHAT, b"{")[0] == 400
    assert host.call("/tokenize", {"nothing": 1})[0] == 400
    assert host.call("/nowhere")[0] == 404


@pytest.mark.parametrize("stream", [True, False])
def test_a_client_that_leaves_frees_its_slots(host: Child, stream: bool) -> None:
    host.wait_busy(0)
    sock = host.send(TEXT, stream=stream, n=8, **LONG)
    host.wait_busy(8)
    sock.close()
    # All of the eight would take longer.
    host.wait_busy(0, 5)


def test_vectors(host: Child) -> None:
    import torch
    import transformers

    answer = host.ask("/v1/embeddings", input=["A dog barks.", "A dog", "Seven"])
    vectors = [torch.tensor(one["embedding"]) for one in answer["data"]]
    assert [float(one.norm()) for one in vectors] == pytest.approx([1.0] * 3, abs=1e-4)
    tokenizer = transformers.AutoTokenizer.from_pretrained(POCKET)
    assert answer["usage"]["prompt_tokens"] == sum(
        len(tokenizer(t).input_ids) for t in ("A dog barks.", "A dog", "Seven")
    )
    one = host.ask("/v1/embeddings", input="A dog", encoding_format="base64")["data"][0]["embedding"]
    assert isinstance(one, str)
    many = [f"The number {number} " * (number % 5 + 1) for number in range(70)]
    together = host.ask("/v1/embeddings", input=many)["data"]
    for place in (0, 33, 69):
        alone = host.ask("/v1/embeddings", input=many[place])["data"][0]["embedding"]
        assert together[place]["embedding"] == pytest.approx(alone, abs=1e-5)
    # Generation goes on with its own attention afterwards.
    assert "Paris" in host.said(temperature=0)
    assert host.refusal("/v1/embeddings", input=["a", ""])["param"] == "input[1]"


@pytest.mark.anyio
async def test_our_own_backend_counts_tokens(host: Child) -> None:
    backend = OpenAI(host.report["address"], "tiny")
    try:
        assert (await backend.health()).ok
        text = await backend.count(Count(model="tiny", prompt=TextPrompt(("The capital of",))))
        talk = await backend.count(Count(model="tiny", prompt=MessagesPrompt((Message("user", (TextPart("hi"),)),))))
    finally:
        await backend.aclose()
    assert len(text.ids) < len(talk.ids)


def test_sigterm_lets_answers_end(model: Path) -> None:
    child = Child(model, slots=2, threads=1)
    try:
        fields = {**LONG, "max_tokens": 60, "stream": True, "stream_options": {"include_usage": True}}
        sock = child.send(TEXT, **fields)
        with sock, http.client.HTTPResponse(sock) as answer:
            answer.begin()
            child.process.send_signal(signal.SIGTERM)
            *_, usage, done = answer.read().decode().strip().split("\n\n")
        assert json.loads(usage.removeprefix("data: "))["usage"]["completion_tokens"] == 60
        assert done == "data: [DONE]"
        assert child.process.wait(20) == 0
    finally:
        child.stop()


def test_it_ends_with_its_parent(model: Path) -> None:
    child = Child(model, slots=2, threads=1)
    try:
        child.link.close()
        eventually(lambda: not alive(child.process.pid), 15)
    finally:
        child.stop(signal.SIGKILL)


def test_the_folders_temperature_holds_and_tools_need_a_template(model: Path, tmp_path: Path) -> None:
    folder = tmp_path / "hf"
    shutil.copytree(model, folder)
    defaults = json.loads((folder / "generation_config.json").read_text())
    (folder / "generation_config.json").write_text(json.dumps({**defaults, "do_sample": True, "temperature": 2.0}))
    template = (
        "{% for m in messages %}<|im_start|>{{ m.role }}\n{{ m.content }}<|im_end|>\n{% endfor %}"
        "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
    )
    child = Child(folder, slots=2, threads=1, template=template)
    try:
        assert len({child.said(max_tokens=24, ignore_eos=True) for _ in range(3)}) == 3
        body = {"model": "tiny", "messages": MESSAGES, "max_tokens": 1, "tools": [TOOL]}
        assert child.call(CHAT, body)[1]["x-trunkcall-dropped"] == "tools"
        assert child.refusal("/v1/embeddings", input="a")["status"] == 400
    finally:
        child.stop()
