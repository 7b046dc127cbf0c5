"""A Trunkcall behind a Trunkcall over TGI's protocol: equal, token for token, to the direct answer."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest
from clients.tgi_launched import MOUNTED, Launched, ask
from running import Server, reserved_port

pytestmark = [pytest.mark.slow, pytest.mark.timeout(240), pytest.mark.xdist_group("tgi")]

ASKED = "<|im_start|>user\nWhat is the capital of France?<|im_end|>\n<|im_start|>assistant\n"
PARIS = "The capital of France is Paris."


SHAPE = {
    "type": "object",
    "properties": {"capital": {"type": "string", "maxLength": 8}},
    "required": ["capital"],
    "additionalProperties": False,
}


@pytest.fixture(scope="module")
def url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The launcher's server with the shipped model."""
    flags = ("--model-id", "pocket", "--enable-prefill-logprobs")
    launched = Launched(tmp_path_factory.mktemp("tgi"), reserved_port(), *flags)
    try:
        yield launched.url
    finally:
        launched.stop()


@pytest.fixture(scope="module")
def relayed(url: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A Trunkcall whose models are the launcher's server: its bytes passed on, and its events translated."""
    place = tmp_path_factory.mktemp("relayed")
    # An adapter's name has to be put into each request, so those are written anew.
    models = {"passed": f"tgi:{url}", "told": f"tgi:{url}#pocket"}
    settings = {"pocket": False, "listen": MOUNTED, "models": models}
    (place / "trunkcall.yaml").write_text(json.dumps(settings))
    with Server("--config", str(place / "trunkcall.yaml"), home=place / "home") as server:
        yield server


SAME: dict[str, dict[str, Any]] = {
    "greedy": {"max_new_tokens": 20},
    "length": {"max_new_tokens": 3, "top_n_tokens": 3},
    "stop": {"max_new_tokens": 20, "stop": ["France"]},
    "drawn": {"max_new_tokens": 40, "do_sample": True, "seed": 11, "temperature": 1.5, "top_k": 50, "top_p": 0.95},
    "penalties": {"max_new_tokens": 40, "repetition_penalty": 1.3, "frequency_penalty": 0.5},
    "truncated": {"max_new_tokens": 8, "truncate": 5},
    "grammar": {"max_new_tokens": 20, "grammar": {"type": "json", "value": SHAPE}},
}


def events(data: bytes) -> list[Any]:
    return [json.loads(line[5:]) for line in data.splitlines() if line.startswith(b"data:")]


@pytest.mark.parametrize("model", ["passed", "told"])
@pytest.mark.parametrize("name", SAME)
def test_token_for_token(url: str, relayed: Server, name: str, model: str) -> None:
    for prompt in (ASKED, "Once upon a time, 世界 👋 "):
        body = {"inputs": prompt, "parameters": {**SAME[name], "details": True}}
        for path, read in (("/generate", json.loads), ("/generate_stream", events), ("/", json.loads)):
            # The first of its kind brings the prompt into the engine's cache, which changes the last digits.
            ask(url, "POST", path, body)
            status, direct = ask(url, "POST", path, body)
            assert status == 200, direct
            status, through = ask(f"{relayed.url}/tgi/{model}", "POST", path, body)
            assert (status, read(through)) == (200, read(direct))


@pytest.mark.parametrize("model", ["passed", "told"])
def test_the_tokens_of_the_prompt(url: str, relayed: Server, model: str) -> None:
    body = {"inputs": ASKED, "parameters": {"max_new_tokens": 2, "details": True, "decoder_input_details": True}}
    direct, through = (ask(at, "POST", "/generate", body)[1] for at in (url, f"{relayed.url}/tgi/{model}"))
    assert json.loads(direct) == json.loads(through)
    assert "".join(token["text"] for token in json.loads(direct)["details"]["prefill"]) == ASKED


def test_the_openai_api_has_the_same_tokens(url: str, relayed: Server) -> None:
    asked = {"model": "told", "prompt": ASKED, "max_tokens": 20, "temperature": 0, "logprobs": 2}
    status, _, told = relayed.post("/v1/completions", asked)
    assert status == 200, told
    parameters = {"max_new_tokens": 20, "details": True}
    direct = json.loads(ask(url, "POST", "/generate", {"inputs": ASKED, "parameters": parameters})[1])
    (choice,) = told["choices"]
    assert choice["text"] == direct["generated_text"] == PARIS
    tokens = [token for token in direct["details"]["tokens"] if not token["special"]]
    assert choice["logprobs"]["tokens"] == [token["text"] for token in tokens]
    assert choice["logprobs"]["token_logprobs"] == [pytest.approx(token["logprob"], abs=1e-4) for token in tokens]
