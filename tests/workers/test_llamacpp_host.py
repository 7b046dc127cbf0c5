"""What a llama.cpp host answers, asked over HTTP."""

from __future__ import annotations

import base64
import json
import signal
import struct
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from trunkcall.backends.openai import OpenAI
from trunkcall.core.requests import Count, Message, MessagesPrompt, TextPart, TextPrompt
from trunkcall.pocket import gguf_path

CHAT = "/v1/chat/completions"
MESSAGES = [{"role": "user", "content": "What is the capital of France?"}]
TOOL = {"type": "function", "function": {"name": "weather", "parameters": {"type": "object", "properties": {}}}}
PLAIN_TEMPLATE = (
    "{% for m in messages %}<|im_start|>{{ m.role }}\n{{ m.content or '' }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
END = 2
"""<|im_end|>"""
EMOJI = 'root ::= "é😀" "é"'


def said(chunks: list[dict[str, Any]]) -> str:
    return "".join(c["delta"].get("content") or "" for chunk in chunks for c in chunk["choices"])


def test_streamed_and_whole_say_the_same(pocket: Any) -> None:
    chunks = pocket.stream_chat(temperature=0, max_tokens=20)
    whole = pocket.chat(temperature=0, max_tokens=20)
    assert chunks[0]["choices"][0]["delta"]["role"] == "assistant"
    assert said(chunks) == whole["choices"][0]["message"]["content"] != ""
    assert [c["choices"][0]["finish_reason"] for c in chunks].count(None) == len(chunks) - 1
    assert whole["object"] == "chat.completion"
    assert {chunk["object"] for chunk in chunks} == {"chat.completion.chunk"}
    assert {chunk["model"] for chunk in chunks} == {whole["model"]} == {"tiny"}
    assert not any({"usage", "timings", "prompt_progress"} & chunk.keys() for chunk in chunks)


def test_usage_in_a_stream_comes_once_and_only_when_asked_for(pocket: Any) -> None:
    chunks = pocket.stream_chat(max_tokens=5, ignore_eos=True, stream_options={"include_usage": True})
    assert [chunk for chunk in chunks if "usage" in chunk] == chunks[-1:]
    assert chunks[-1]["choices"] == []
    assert chunks[-1]["usage"]["completion_tokens"] == 5
    for path in ("/v1/completions",):
        plain = pocket.stream(path, prompt="a", max_tokens=2, ignore_eos=True)
        assert not any("usage" in chunk for chunk in plain)
        asked = {"prompt": "a", "max_tokens": 2, "ignore_eos": True, "stream_options": {"include_usage": True}}
        counted = pocket.stream(path, **asked)
        assert counted[-1]["choices"] == []
        assert counted[-1]["usage"]["completion_tokens"] == 2


def test_a_repeated_prompt_is_counted_as_cached(pocket: Any) -> None:
    for _ in range(2):
        usage = pocket.chat("one two three four five", max_tokens=1)["usage"]
    assert usage["prompt_tokens_details"]["cached_tokens"] == usage["prompt_tokens"] - 1


def test_timings_only_when_asked_for(pocket: Any) -> None:
    assert "timings" not in pocket.chat(max_tokens=2)
    assert pocket.chat(max_tokens=2, ignore_eos=True, timings_per_token=True)["timings"]["predicted_n"] == 2
    chunks = pocket.stream_chat(max_tokens=2, ignore_eos=True, timings_per_token=True)
    assert sum("timings" in chunk for chunk in chunks) >= 2


def test_characters_that_span_tokens_stay_whole(pocket: Any) -> None:
    chunks = pocket.stream_chat(grammar=EMOJI, max_tokens=30)
    assert [c["delta"].get("content") for chunk in chunks for c in chunk["choices"]][:4] == [None, "é", "😀", "é"]
    assert chunks[0]["choices"][0]["delta"]["role"] == "assistant"
    for count in range(1, 6):
        cut = pocket.chat(grammar=EMOJI, max_tokens=count)["choices"][0]["message"]["content"]
        assert "\ufffd" not in cut
        assert "é😀é".startswith(cut)


def test_logprobs_of_chat(pocket: Any) -> None:
    asked = {"logprobs": True, "max_tokens": 3, "temperature": 0, "ignore_eos": True}
    tokens = pocket.chat(**asked, top_logprobs=2)["choices"][0]["logprobs"]["content"]
    assert [len(token["top_logprobs"]) for token in tokens] == [2, 2, 2]
    chunks = pocket.stream_chat(**asked)
    listed = [t for c in chunks for choice in c["choices"] for t in (choice.get("logprobs") or {}).get("content", [])]
    assert len(listed) == 3
    assert all(token["top_logprobs"] == [] and token["logprob"] <= 0 for token in listed)


def test_logprobs_of_completions_have_the_older_shape(pocket: Any) -> None:
    choice = pocket.ask("/v1/completions", prompt="The capital", logprobs=2, max_tokens=3, temperature=0)["choices"][0]
    logprobs = choice["logprobs"]
    assert "".join(logprobs["tokens"]) == choice["text"]
    assert len(logprobs["token_logprobs"]) == 3
    assert [len(top) for top in logprobs["top_logprobs"]] == [2, 2, 2]
    assert logprobs["text_offset"] == [0, len(logprobs["tokens"][0]), len("".join(logprobs["tokens"][:2]))]


def test_a_batch_of_prompts_with_echo(pocket: Any) -> None:
    answer = pocket.ask("/v1/completions", prompt=["The dog", "A cat"], n=2, echo=True, max_tokens=2, ignore_eos=True)
    texts = [choice["text"] for choice in answer["choices"]]
    assert [choice["index"] for choice in answer["choices"]] == [0, 1, 2, 3]
    assert [text.startswith(start) for text, start in zip(texts, ("The dog",) * 2 + ("A cat",) * 2, strict=True)]
    assert answer["usage"]["completion_tokens"] == 8
    chunks = pocket.stream("/v1/completions", prompt=["The dog", "A cat"], echo=True, max_tokens=2, ignore_eos=True)
    first = {c["index"]: c["text"] for chunk in reversed(chunks) for c in chunk["choices"]}
    assert first[0].startswith("The dog")
    assert first[1].startswith("A cat")


def test_a_prompt_of_token_ids(pocket: Any) -> None:
    ids = pocket.ask("/tokenize", content="The capital of")["tokens"]
    by_text = pocket.ask("/v1/completions", prompt="The capital of", max_tokens=4, temperature=0)
    by_ids = pocket.ask("/v1/completions", prompt=ids, max_tokens=4, temperature=0)
    assert by_ids["choices"][0]["text"] == by_text["choices"][0]["text"]
    assert by_ids["usage"]["prompt_tokens"] == len(ids)


def ids_of(chunks: list[dict[str, Any]]) -> list[int]:
    return [token for chunk in chunks for choice in chunk["choices"] for token in choice.get("token_ids", ())]


@pytest.mark.parametrize("fields", [{}, {"logprobs": True, "top_logprobs": 2}, {"stop": ["<tdx"], "seed": 3}])
def test_an_answer_as_tokens_goes_on_where_it_ended(pocket: Any, fields: dict[str, Any]) -> None:
    asked = {"messages": MESSAGES, "temperature": 0, "max_tokens": 40, "return_token_ids": True, **fields}
    status, headers, body = pocket.call(CHAT, asked)
    assert status == 200 and "x-trunkcall-dropped" not in headers
    whole = json.loads(body)
    (choice,) = whole["choices"]
    prompt, said = whole["prompt_token_ids"], choice["token_ids"]
    assert len(prompt) == whole["usage"]["prompt_tokens"]
    # The token that ends an answer has no text and is left out.
    assert len(said) == whole["usage"]["completion_tokens"] - 1
    assert (choice["logprobs"] is None) == ("logprobs" not in fields)
    assert pocket.ask("/detokenize", tokens=said)["content"] == choice["message"]["content"]
    rest = pocket.ask("/v1/completions", prompt=prompt + said[:4], temperature=0, return_token_ids=True)["choices"][0]
    assert rest["token_ids"] in (said[4:], [*said[4:], END]), "a completion tells its end too"
    assert rest["prompt_token_ids"] == prompt + said[:4]
    chunks = pocket.stream(CHAT, **asked)
    assert chunks[0]["prompt_token_ids"] == prompt
    assert ids_of(chunks) == said
    assert sum("prompt_token_ids" in chunk for chunk in chunks) == 1


def test_tokens_of_characters_that_span_them_and_of_text_that_was_held_back(pocket: Any) -> None:
    fields = {"grammar": 'root ::= "a<td>🐉é" "b"', "stop": ["<tdx"], "return_token_ids": True}
    for answer in (pocket.chat(**fields), pocket.ask("/v1/completions", prompt="x", **fields)):
        choice = answer["choices"][0]
        ids = [id for id in choice["token_ids"] if id != END]
        assert pocket.ask("/detokenize", tokens=ids)["content"] == "a<td>🐉éb"
        # The numbers of a piece of several tokens are the tokenizer's: the grammar may have forced others.
        assert len(choice["token_ids"]) > 5


def test_tokens_of_several_prompts_and_answers(pocket: Any) -> None:
    fields = {"n": 2, "max_tokens": 3, "seed": 1, "temperature": 1.5, "return_token_ids": True, "ignore_eos": True}
    whole = pocket.ask("/v1/completions", prompt=["The dog", [5, 6]], **fields)["choices"]
    first = pocket.ask("/tokenize", content="The dog")["tokens"]
    assert [choice["prompt_token_ids"] for choice in whole] == [first, first, [5, 6], [5, 6]]
    chunks = pocket.stream("/v1/completions", prompt=["The dog", [5, 6]], **fields)
    told = {c["index"]: c["prompt_token_ids"] for chunk in chunks for c in chunk["choices"] if "prompt_token_ids" in c}
    assert told == {0: first, 1: first, 2: [5, 6], 3: [5, 6]}


def test_tokens_are_not_told_of_tool_calls(pocket: Any) -> None:
    body = {"messages": MESSAGES, "max_tokens": 2, "tools": [TOOL], "return_token_ids": True}
    status, headers, answer = pocket.call(CHAT, body)
    assert (status, headers["x-trunkcall-dropped"]) == (200, "return_token_ids")
    assert "token_ids" not in json.loads(answer)["choices"][0]
    assert pocket.refusal(CHAT, body, {"x-trunkcall-strict": "1"})["status"] == 400


HOT = {"temperature": 8.0, "top_k": 0, "top_p": 1.0, "min_p": 0.0, "max_tokens": 8, "ignore_eos": True}
"""So hot that no two answers are the same, whatever the model knows."""


@pytest.mark.parametrize(
    "fields",
    [{"seed": 4}, {"top_k": 1}, {"top_p": 0.0}, {"temperature": 0}, {"logit_bias": {"70": 1000}}],
)
def test_sampling_is_honoured(pocket: Any, fields: dict[str, Any]) -> None:
    def answers(**fields: Any) -> set[str]:
        return {pocket.chat(**{**HOT, **fields})["choices"][0]["message"]["content"] for _ in range(3)}

    assert len(answers()) == 3
    assert len(answers(**fields)) == 1


def test_stop_and_limits(pocket: Any) -> None:
    whole = pocket.chat(temperature=0)["choices"][0]["message"]["content"]
    word = whole.split()[1]
    stopped = pocket.chat(temperature=0, stop=word)["choices"][0]
    assert stopped["message"]["content"] == whole[: whole.index(word)]
    assert stopped["finish_reason"] == "stop"
    limited = pocket.chat(temperature=0, max_completion_tokens=2)
    assert limited["choices"][0]["finish_reason"] == "length"
    assert limited["usage"]["completion_tokens"] == 2


def test_a_begun_answer_is_continued(pocket: Any) -> None:
    begun = "The capital of Fr"
    messages = [*MESSAGES, {"role": "assistant", "content": begun}]
    content = pocket.ask(CHAT, messages=messages, temperature=0, max_tokens=5)["choices"][0]["message"]["content"]
    prompt = pocket.ask("/apply-template", messages=MESSAGES)["prompt"] + begun
    expected = pocket.ask("/v1/completions", prompt=prompt, temperature=0, max_tokens=5)["choices"][0]["text"]
    assert content.removeprefix(begun) == expected != ""


def test_an_answer_follows_a_schema(pocket: Any) -> None:
    schema = {"type": "object", "properties": {"a": {"enum": [1, 2]}}, "required": ["a"], "additionalProperties": False}
    shape = {"type": "json_schema", "json_schema": {"name": "x", "schema": schema}}
    answer = pocket.chat(max_tokens=60, temperature=0, response_format=shape)
    assert json.loads(answer["choices"][0]["message"]["content"])["a"] in (1, 2)
    fields = {"max_tokens": 40, "temperature": 0, "response_format": {"type": "json_object"}}
    assert pocket.chat(**fields)["choices"][0]["message"]["content"].lstrip().startswith("{")


def test_fields_without_effect_are_named_or_refused(pocket: Any) -> None:
    body = {"messages": MESSAGES, "max_tokens": 1, "store": True, "min_tokens": 3, "service_tier": "auto", "user": "u"}
    status, headers, _ = pocket.call(CHAT, body)
    assert (status, headers["x-trunkcall-dropped"]) == (200, "store, min_tokens")
    error = pocket.refusal(CHAT, body, {"x-trunkcall-strict": "1"})
    assert error["status"] == 400
    assert "store, min_tokens" in error["message"]
    status, headers, _ = pocket.call(CHAT, {"messages": MESSAGES, "max_tokens": 1}, {"x-trunkcall-strict": "1"})
    assert status == 200
    assert "x-trunkcall-dropped" not in headers


def test_tools_need_a_template_that_shows_them(pocket: Any, hosts: Callable[..., Any]) -> None:
    body = {"messages": MESSAGES, "max_tokens": 1, "tools": [TOOL], "tool_choice": "required"}
    _, headers, _ = hosts(slots=2, template=PLAIN_TEMPLATE).call(CHAT, body)
    assert headers["x-trunkcall-dropped"] == "tools, tool_choice"
    _, headers, _ = pocket.call(CHAT, body)
    assert "x-trunkcall-dropped" not in headers
    assert "weather" in pocket.ask("/apply-template", messages=MESSAGES, tools=[TOOL])["prompt"]


ADD = {
    "type": "function",
    "function": {"name": "add", "parameters": {"properties": {"a": {"type": "integer"}}, "required": ["a"]}},
}


@pytest.mark.parametrize("choice", ["required", {"type": "function", "function": {"name": "add"}}])
def test_a_call_that_must_be_made_is_made_without_need(pocket: Any, choice: Any) -> None:
    fields = {"tools": [TOOL, ADD], "tool_choice": choice, "max_tokens": 80, "temperature": 0}
    (said,) = pocket.chat("What is the capital of France?", **fields)["choices"]
    (call,) = said["message"]["tool_calls"]
    assert (said["finish_reason"], said["message"]["content"]) == ("tool_calls", None)
    assert call["function"]["name"] in (("add",) if isinstance(choice, dict) else ("add", TOOL["function"]["name"]))
    assert isinstance(json.loads(call["function"]["arguments"]), dict)
    streamed = pocket.stream_chat("What is the capital of France?", **fields)
    deltas = [choice["delta"] for event in streamed for choice in event["choices"]]
    fragments = [one["function"] for delta in deltas for one in delta.get("tool_calls", ())]
    assert "".join(one.get("name", "") for one in fragments) == call["function"]["name"]
    assert "".join(one["arguments"] for one in fragments) == call["function"]["arguments"]
    assert not any(delta.get("content") for delta in deltas)
    assert streamed[-1]["choices"][0]["finish_reason"] == "tool_calls"


@pytest.mark.parametrize(
    ("path", "fields", "param"),
    [
        (CHAT, {"messages": MESSAGES, "temperature": "hot"}, "temperature"),
        (CHAT, {"messages": "hello"}, "messages"),
        (CHAT, {"messages": []}, "messages"),
        (CHAT, {"messages": [{"role": "wizard", "content": "x"}]}, "messages[0].role"),
        (CHAT, {}, "messages"),
        (CHAT, {"messages": MESSAGES, "n": 0}, "n"),
        (CHAT, {"messages": MESSAGES, "stop": [1]}, "stop[0]"),
        (CHAT, {"messages": MESSAGES, "top_logprobs": 3}, "top_logprobs"),
        (CHAT, {"messages": MESSAGES, "response_format": {"type": "xml"}}, "response_format.type"),
        ("/v1/completions", {}, "prompt"),
        ("/v1/completions", {"prompt": []}, "prompt"),
        ("/v1/completions", {"prompt": [1, "a"]}, "prompt"),
    ],
)
@pytest.mark.parametrize("stream", [False, True])
def test_a_wrong_field_is_named(pocket: Any, path: str, fields: dict[str, Any], param: str, stream: bool) -> None:
    error = pocket.refusal(path, {**fields, "stream": stream})
    assert (error["status"], error["type"], error["param"]) == (400, "invalid_request_error", param)


@pytest.mark.parametrize(
    ("fields", "says"),
    [
        ({"grammar": "root ::= ("}, "grammar"),
        ({"lora": 5}, "lora"),
        ({"messages": [{"role": "user", "content": [{"type": "image_url", "image_url": {"url": "x"}}]}]}, "image"),
        ({"messages": [{"role": "user", "content": [{"type": "hologram"}]}]}, "type"),
    ],
)
@pytest.mark.parametrize("stream", [False, True])
def test_what_the_engine_refuses_is_a_bad_request(pocket: Any, fields: dict[str, Any], says: str, stream: bool) -> None:
    error = pocket.refusal(CHAT, {"messages": MESSAGES, **fields, "stream": stream})
    assert (error["status"], error["type"]) == (400, "invalid_request_error")
    assert says in error["message"]


@pytest.mark.parametrize("stream", [False, True])
def test_a_prompt_over_the_context(pocket: Any, stream: bool) -> None:
    error = pocket.refusal(CHAT, {"messages": [{"role": "user", "content": "z " * 5000}], "stream": stream})
    assert (error["status"], error["code"], error["param"]) == (400, "context_length_exceeded", "messages")
    assert "1024 tokens" in error["message"]
    error = pocket.refusal("/v1/completions", {"prompt": "z " * 5000, "stream": stream})
    assert (error["code"], error["param"]) == ("context_length_exceeded", "prompt")


def test_what_is_not_json(pocket: Any) -> None:
    assert pocket.refusal(CHAT, b"{")["status"] == 400
    assert pocket.refusal(CHAT, b"[]")["status"] == 400
    assert pocket.refusal(CHAT, b'{"messages":[{"role":"user","content":"\xff"}]}')["status"] == 400
    parts = b'{"messages":[{"role":"user","content":[{"type":"text","text":"\xff"}]}]}'
    assert pocket.refusal(CHAT, parts)["status"] == 400
    assert pocket.refusal(CHAT, b'{"messages":' + b"[" * 100_000)["status"] == 400


def test_the_engine_describes_itself(pocket: Any) -> None:
    assert json.loads(pocket.call("/health")[2]) == {"status": "ok"}
    models = json.loads(pocket.call("/v1/models")[2])
    assert [model["id"] for model in models["data"]] == ["tiny"]
    props = json.loads(pocket.call("/props")[2])
    assert (props["model_alias"], props["total_slots"]) == ("tiny", 4)
    assert "im_start" in props["chat_template"]
    assert b"llamacpp:" in pocket.call("/metrics")[2]


def test_tokens_there_and_back(pocket: Any) -> None:
    ids = pocket.ask("/tokenize", content="good day 😀")["tokens"]
    assert pocket.ask("/detokenize", tokens=ids)["content"] == "good day 😀"
    assert "good day" in pocket.ask("/apply-template", messages=[{"role": "user", "content": "good day"}])["prompt"]
    assert pocket.refusal("/tokenize", {"content": 5})["status"] == 400


@pytest.fixture(scope="session")
def bos_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The pocket model, told to begin each prompt with a token of its own."""
    data = bytearray(gguf_path().read_bytes())
    key = b"tokenizer.ggml.add_bos_token"
    at = data.index(key) + len(key) + 4
    assert data[at] == 0
    data[at] = 1
    path = tmp_path_factory.mktemp("bos") / "bos.gguf"
    path.write_bytes(data)
    return path


TURNS = [{"role": "system", "content": "Be brief."}, *MESSAGES]


@pytest.mark.parametrize("own_first_token", [False, True])
def test_tokens_are_counted_as_a_prompt_has_them(
    hosts: Callable[..., Any], bos_model: Path, own_first_token: bool
) -> None:
    host = hosts(bos_model) if own_first_token else hosts(slots=4)
    counted = host.ask("/tokenize", model="tiny", messages=TURNS)
    used = host.ask(CHAT, messages=TURNS, max_tokens=1)["usage"]["prompt_tokens"]
    assert (counted["count"], counted["max_model_len"]) == (
        used,
        json.loads(host.call("/props")[2])["default_generation_settings"]["n_ctx"],
    )
    assert len(counted["tokens"]) == used
    text = "The capital <|im_end|> of 😀"
    whole = host.ask("/tokenize", model="tiny", prompt=text)
    used = host.ask("/v1/completions", prompt=text, max_tokens=1)["usage"]["prompt_tokens"]
    assert whole["count"] == len(whole["tokens"]) == used
    bare = host.ask("/tokenize", model="tiny", prompt=text, add_special_tokens=False)["tokens"]
    assert whole["tokens"][own_first_token:] == bare


def test_what_shapes_a_rendered_prompt_shapes_the_count(pocket: Any, hosts: Callable[..., Any]) -> None:
    bare = pocket.ask("/tokenize", messages=MESSAGES)["count"]
    assert pocket.ask("/tokenize", messages=MESSAGES, tools=[TOOL])["count"] > bare
    assert pocket.ask("/tokenize", messages=MESSAGES, add_generation_prompt=False)["count"] < bare
    toolless = hosts(slots=2, template=PLAIN_TEMPLATE)
    for fields, dropped in (
        ({"tools": [TOOL], "chat_template": "x"}, "chat_template, tools"),
        ({"add_special_tokens": True, "return_token_strs": True}, "add_special_tokens, return_token_strs"),
        ({"add_special_tokens": False, "return_token_strs": False}, None),
    ):
        status, headers, _ = toolless.call("/tokenize", {"messages": MESSAGES, **fields})
        assert (status, headers.get("x-trunkcall-dropped")) == (200, dropped)
    assert (
        pocket.call("/tokenize", {"prompt": "a", "return_token_strs": True})[1]["x-trunkcall-dropped"]
        == "return_token_strs"
    )


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({"messages": "hello"}, "messages"),
        ({"messages": []}, "messages"),
        ({"messages": [*MESSAGES, {"role": "user", "content": [{"type": "image_url"}]}]}, "messages[1].content[0]"),
        ({"prompt": ["a"]}, "prompt"),
        ({"prompt": "a", "add_special_tokens": "yes"}, "add_special_tokens"),
    ],
)
def test_what_cannot_be_counted_is_named(pocket: Any, fields: dict[str, Any], param: str) -> None:
    error = pocket.refusal("/tokenize", fields)
    assert (error["status"], error["param"]) == (400, param)


def test_a_conversation_that_the_template_refuses(hosts: Callable[..., Any]) -> None:
    picky = hosts(
        slots=1,
        template="{% for m in messages %}{{ raise_exception('no wizards') if m.content == 'abra' else m.content }}{% endfor %}",
    )
    messages = [{"role": "user", "content": "abra"}]
    for path in ("/tokenize", CHAT):
        error = picky.refusal(path, {"messages": messages})
        assert (error["status"], "no wizards" in error["message"]) == (400, True)


@pytest.mark.anyio
async def test_a_backend_counts_the_tokens_of_this_host(pocket: Any) -> None:
    backend = OpenAI(f"{pocket.report['address']}/v1", "tiny")
    turns = MessagesPrompt(tuple(Message("user", (TextPart(turn["content"]),)) for turn in MESSAGES))
    text = TextPrompt(("good day 😀",))
    try:
        counted = await backend.count(Count(model="m", prompt=turns))
        plain = await backend.count(Count(model="m", prompt=text))
    finally:
        await backend.aclose()
    assert len(counted.ids) == pocket.chat(max_tokens=1)["usage"]["prompt_tokens"]
    assert list(plain.ids) == pocket.ask("/tokenize", content="good day 😀")["tokens"]


@pytest.mark.parametrize("slots", [3, 5])
def test_vectors_where_the_slots_do_not_divide_the_context(new_host: Callable[..., Any], slots: int) -> None:
    host = new_host(slots=slots, embeddings=True)
    assert "address" in host.report
    # As many tokens as it holds, and one more.
    assert len(host.ask("/v1/embeddings", input=[[100] * 1024, [7]])["data"]) == 2
    assert host.refusal("/v1/embeddings", {"input": [[100] * 1025]})["code"] == "context_length_exceeded"


def test_embeddings(pocket: Any, hosts: Callable[..., Any]) -> None:
    assert "embeddings: true" in pocket.refusal("/v1/embeddings", {"input": "a"})["message"]
    host = hosts(slots=2, embeddings=True)
    listed = host.ask("/v1/embeddings", input=["cat", "dog"])
    assert [entry["index"] for entry in listed["data"]] == [0, 1]
    assert listed["usage"]["prompt_tokens"] >= 2
    vector = listed["data"][0]["embedding"]
    assert sum(x * x for x in vector) == pytest.approx(1, abs=1e-3)
    packed = host.ask("/v1/embeddings", input="cat", encoding_format="base64")["data"][0]["embedding"]
    assert struct.unpack(f"<{len(vector)}f", base64.b64decode(packed)) == pytest.approx(vector, abs=1e-2)
    assert host.call("/v1/embeddings", {"input": "cat", "dimensions": 8})[1]["x-trunkcall-dropped"] == "dimensions"
    for wrong in ([], "", 5, None):
        assert host.refusal("/v1/embeddings", {"input": wrong})["status"] == 400
    error = host.refusal("/v1/embeddings", {"input": "z " * 5000})
    assert (error["status"], error["code"], error["param"]) == (400, "context_length_exceeded", "input")


def test_more_requests_than_slots_are_all_answered(pocket: Any) -> None:
    lengths: list[int] = []
    threads = [
        threading.Thread(
            target=lambda: lengths.append(pocket.chat(max_tokens=9, ignore_eos=True)["usage"]["completion_tokens"])
        )
        for _ in range(20)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(45)
    assert lengths == [9] * 20


def test_one_who_waits_and_leaves_takes_no_slot(new_host: Callable[..., Any], long_model: Path) -> None:
    host = new_host(long_model, slots=1, context=8192)
    fields = {"messages": MESSAGES, "max_tokens": 8000, "ignore_eos": True, "stream": True}
    running = host.send(CHAT, **fields)
    host.wait_busy(1)
    waiting = [host.send(CHAT, **fields) for _ in range(8)]
    time.sleep(0.1)
    for sock in waiting:
        sock.close()
    time.sleep(0.05)
    running.close()
    # One of them alone would take longer.
    host.wait_busy(0)
    assert host.chat(max_tokens=2, ignore_eos=True)["usage"]["completion_tokens"] == 2


def test_running_answers_are_finished_at_the_end(new_host: Callable[..., Any]) -> None:
    host = new_host(slots=1)
    sock = host.send(CHAT, messages=MESSAGES, max_tokens=400, ignore_eos=True, stream=True)
    data = sock.recv(65536)
    host.process.send_signal(signal.SIGTERM)
    while piece := sock.recv(65536):
        data += piece
    sock.close()
    assert b'"finish_reason":"length"' in data
    assert b"data: [DONE]" in data
    assert host.process.wait(15) == 0


@pytest.mark.slow
def test_a_long_answer_is_cut_after_the_grace(new_host: Callable[..., Any], long_model: Path) -> None:
    host = new_host(long_model, slots=1, context=16384)
    sock = host.send(CHAT, messages=MESSAGES, max_tokens=16000, ignore_eos=True, stream=True)
    data = sock.recv(65536)
    host.process.send_signal(signal.SIGTERM)
    while piece := sock.recv(65536):
        data += piece
    sock.close()
    assert b'"finish_reason":null' in data
    assert b'"finish_reason":"length"' not in data
    assert b"[DONE]" not in data
    assert host.process.wait(15) == 0


def test_the_reason_of_a_failed_load_is_reported(new_host: Callable[..., Any], tmp_path: Path) -> None:
    short = tmp_path / "short.gguf"
    short.write_bytes(gguf_path().read_bytes()[:1_000_000])
    host = new_host(short)
    assert "data is not within the file bounds" in host.report["error"]
    assert host.process.wait(15) == 1
    host = new_host(template="{% for m in %}")
    assert "Unexpected token" in host.report["error"]
    assert host.process.wait(15) == 1


def test_the_host_ends_with_its_parent(new_host: Callable[..., Any]) -> None:
    host = new_host()
    host.link.close()
    host.process.wait(15)
