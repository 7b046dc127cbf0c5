"""A worker's parameters read: defaults, what does nothing, stops of templates, images, bad fields."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from msgspec import UNSET, UnsetType

from trunkcall.core.errors import ServingError
from trunkcall.core.requests import (
    Generate,
    ImagePart,
    Message,
    MessagesPrompt,
    Reporting,
    Sampling,
    Stops,
    TextPart,
    TextPrompt,
)
from trunkcall.protocols.fastchat import NEUTRAL, echoed, read_generate, render

CAPTURED = (Path(__file__).parent / "data" / "fastchat" / "chat_call.json").read_bytes()
"""What the real OpenAI server sent to a worker."""


def read(raw: bool = False, **fields: Any) -> Generate:
    return read_generate(json.dumps({"prompt": "p", **fields}).encode(), "m", raw)


def test_reads_a_captured_call() -> None:
    request = read_generate(CAPTURED, "mine")
    assert request == Generate(
        model="mine",
        prompt=TextPrompt(("SYS<be kind>Uhi|S|A",)),
        sampling=Sampling(max_tokens=2045, temperature=0.7, top_p=1.0),
        stops=Stops(strings=("###",), token_ids=(7, 8)),
        reporting=Reporting(stream=True, usage_in_stream=True),
    )
    assert echoed(CAPTURED) == ""


def test_reads_the_least_there_can_be() -> None:
    request = read()
    assert request.sampling == Sampling(max_tokens=256, temperature=1.0)
    assert (request.stops, request.extra) == (Stops(), {})
    assert echoed(b'{"prompt":"p"}') == "p"


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ({"temperature": 1e-6}, {"temperature": 0.0}),
        ({"temperature": 0.5, "top_p": 0}, {"temperature": 0.0, "top_p": UNSET}),
        ({"top_k": -1, "repetition_penalty": 1.0, "presence_penalty": 0, "frequency_penalty": 0.0}, {}),
        ({"repetition_penalty": 0.5, "best_of": 1}, {}),
        ({"top_k": 40, "repetition_penalty": 1.2}, {"top_k": 40, "repetition_penalty": 1.2}),
        ({"presence_penalty": -1, "frequency_penalty": 2}, {"presence_penalty": -1.0, "frequency_penalty": 2.0}),
        ({"seed": 5}, {"seed": 5}),
        ({"best_of": 3, "max_new_tokens": 7}, {"best_of": 3, "max_tokens": 7}),
        (dict.fromkeys(("temperature", "top_p", "top_k", "max_new_tokens", "best_of", "use_beam_search")), {}),
    ],
)
def test_sets_only_what_does_something(fields: dict[str, Any], expected: dict[str, Any]) -> None:
    assert read(**fields).sampling == Sampling(**{"max_tokens": 256, "temperature": 1.0, **expected})


@pytest.mark.parametrize(
    ("fields", "stops"),
    [
        ({"stop": "x"}, ("x",)),
        ({"stop": ["x", "", "y"]}, ("x", "y")),
        ({"stop": []}, UNSET),
        ({"stop": ""}, UNSET),
        ({"stop": "###"}, ("###",)),
        ({"stop": ["###", "x"], "prompt": "s\n### Human: hi\n### Assistant:"}, ("x",)),
        ({"stop": ["<|im_end|>"], "prompt": "<|im_start|>user\nhi<|im_end|>\n<|im_start|>assistant\n"}, UNSET),
    ],
)
def test_a_templates_own_stop_goes_with_it(fields: dict[str, Any], stops: Any) -> None:
    assert read(**fields).stops.strings == stops


def test_raw_prompts_stay_texts() -> None:
    prompt = "<|im_start|>user\nhi<|im_end|>\n<|im_start|>assistant\n"
    assert isinstance(read(prompt=prompt).prompt, MessagesPrompt)
    assert read(raw=True, prompt=prompt, stop="<|im_end|>").prompt == TextPrompt((prompt,))


@pytest.mark.parametrize(
    ("fields", "echo", "logprobs"),
    [
        ({"logprobs": 3}, True, 3),
        ({"logprobs": True, "echo": False}, False, 0),
        ({"logprobs": 0}, False, UNSET),
        ({"logprobs": None, "echo": True}, False, UNSET),
    ],
)
def test_log_probabilities_and_echo(fields: dict[str, Any], echo: bool, logprobs: int | UnsetType) -> None:
    reporting = read(**fields).reporting
    assert (reporting.echo, reporting.logprobs) == (echo, logprobs)


def test_images_go_where_their_marks_are() -> None:
    prompt = render(
        NEUTRAL,
        (Message("user", (TextPart("a <image>\nb"),)), Message("assistant", ()), Message("user", (TextPart("c"),))),
    )
    read_back = read(prompt=prompt, images=["http://x/1.png", "/9j/abc", "data:image/gif;base64,AA"]).prompt
    assert isinstance(read_back, MessagesPrompt)
    jpeg, gif = ImagePart("data:image/jpeg;base64,/9j/abc"), ImagePart("data:image/gif;base64,AA")
    assert read_back.messages[0].parts == (TextPart("a "), ImagePart("http://x/1.png"), TextPart("b"))
    assert read_back.messages[2].parts == (jpeg, gif, TextPart("c"))
    alone = read(prompt="<image> <image> what?", images=["http://x/1.png"]).prompt
    assert isinstance(alone, MessagesPrompt)
    assert alone.messages[0].parts == (ImagePart("http://x/1.png"), TextPart(" <image> what?"))


@pytest.mark.parametrize(
    ("body", "field"),
    [
        (b'{"model":"m"}', "prompt"),
        (b'{"prompt":null}', "prompt"),
        (b'{"prompt":["a"]}', "prompt"),
        (b'{"prompt":"p","temperature":"warm"}', "temperature"),
        (b'{"prompt":"p","temperature":-1}', "temperature"),
        (b'{"prompt":"p","top_p":1.5}', "top_p"),
        (b'{"prompt":"p","max_new_tokens":0}', "max_new_tokens"),
        (b'{"prompt":"p","max_new_tokens":1.5}', "max_new_tokens"),
        (b'{"prompt":"p","stop":[1]}', "stop[0]"),
        (b'{"prompt":"p","stop_token_ids":["a"]}', "stop_token_ids[0]"),
        (b'{"prompt":"p","images":"x"}', "images"),
        (b"[]", None),
        (b"{", None),
        (b"", None),
        (b'{"prompt":"\xff"}', None),
        (b'{"odd":' + b"[" * 5000, None),
    ],
)
def test_names_the_field_at_fault(body: bytes, field: str | None) -> None:
    with pytest.raises(ServingError) as caught:
        read_generate(body, "m")
    assert (caught.value.kind, caught.value.param) == ("bad_request", field)
