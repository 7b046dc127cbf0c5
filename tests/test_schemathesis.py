"""Requests made from OpenAPI documents, OpenAI's and administration's: no error of ours, no hang, no traceback.

SCHEMATHESIS_SEED chooses the requests; a failure prints the seed of its run.
"""

from __future__ import annotations

import json
import os
import random
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import requests
import schemathesis
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import seed as seeded
from hypothesis.errors import Unsatisfiable
from running import Server
from schemathesis import GenerationMode

pytestmark = [
    pytest.mark.slow,
    pytest.mark.timeout(240),
    # Of what jsonschema deprecates and OpenAI's document still does.
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),
    pytest.mark.filterwarnings("ignore::hypothesis.errors.HypothesisWarning"),
]

OPENAI = Path(__file__).parent / "protocols" / "data" / "openai" / "openapi-pruned.json"
SEED = int(os.environ.get("SCHEMATHESIS_SEED", "0")) or random.randrange(1, 2**32)
SECONDS = 7.0
"""For each operation and mode."""
PATIENCE = 60.0
"""Seconds without an answer that are a hang."""
KEY = "tk-administrator"
BEARER = {"authorization": f"Bearer {KEY}"}
SERVED = {"/chat/completions", "/completions", "/embeddings", "/models", "/models/{model}"}


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    home = tmp_path_factory.mktemp("home")
    with Server("--model", "d=debug", home=home, env={"ADMIN_KEY": KEY, "TRUNKCALL_KEYS": "env:ADMIN_KEY"}) as running:
        assert running.request("GET", "/v1/models", headers=BEARER)[0] == 200
        yield running
    assert "Traceback" not in running.output
    print(f"seed {SEED}")


def fuzz(
    operation: Any,
    mode: GenerationMode,
    url: str,
    change: Callable[[Any], None] = lambda case: None,
    examples: int = 60,
) -> int:
    """Send what the strategy makes until the time is up, but ten of it; gives how many were sent."""
    end = time.monotonic() + SECONDS
    sent = [0]

    @seeded(SEED)
    @settings(
        max_examples=examples,
        deadline=None,
        database=None,
        phases=[Phase.explicit, Phase.generate],
        suppress_health_check=list(HealthCheck),
        print_blob=True,
    )
    @given(case=operation.as_strategy(generation_mode=mode))
    def one(case: Any) -> None:
        if sent[0] >= 10 and time.monotonic() > end:
            return
        change(case)
        try:
            answer = case.call(base_url=url, timeout=PATIENCE, headers=BEARER)
        except requests.exceptions.Timeout:
            pytest.fail(f"seed {SEED}: no answer within {PATIENCE} s to {case.as_curl_command()}")
        except (requests.exceptions.InvalidHeader, UnicodeError, ValueError):
            # What the client itself refuses to send.
            return
        sent[0] += 1
        said = f"seed {SEED}: {answer.status_code} {answer.content[:400]!r} for {case.as_curl_command()}"
        assert answer.status_code < 500, said
        if answer.status_code >= 400 and case.method != "HEAD":
            assert answer.content, said

    one()
    return sent[0]


def operations(document: dict[str, Any]) -> dict[str, Any]:
    schema = schemathesis.openapi.from_dict(document)
    return {found.ok().label: found.ok() for found in schema.get_all_operations()}


def openai() -> dict[str, Any]:
    document = json.loads(OPENAI.read_bytes())
    document["paths"] = {path: found for path, found in document["paths"].items() if path in SERVED}
    document["paths"]["/chat/completions"].pop("get")
    return operations(document)


def ask_for(model: str) -> Callable[[Any], None]:
    def change(case: Any) -> None:
        if isinstance(case.body, dict):
            case.body["model"] = model
            asked, answers = case.body.get("max_tokens"), case.body.get("n")
            if isinstance(asked, int):
                case.body["max_tokens"] = min(asked, 16)
            elif isinstance(answers, int) and answers > 4:
                # A hundred answers of all the tokens that the model has room for are no hang.
                case.body["max_tokens"] = 16

    return change


POSTS = [label for label in sorted(openai()) if label.startswith("POST ")]


@pytest.mark.parametrize("mode", list(GenerationMode), ids=lambda mode: mode.value)
@pytest.mark.parametrize("label", POSTS)
def test_openai(server: Server, label: str, mode: GenerationMode) -> None:
    assert fuzz(openai()[label], mode, f"{server.url}/v1", ask_for("d")) > 5
    assert server.get("/health")


@pytest.mark.parametrize("label", ["GET /models", "GET /models/{model}"])
def test_openai_lists(server: Server, label: str) -> None:
    assert fuzz(openai()[label], GenerationMode.POSITIVE, f"{server.url}/v1") > 0


@pytest.mark.parametrize("label", ["POST /chat/completions", "POST /completions"])
def test_openai_with_an_engine(server: Server, label: str) -> None:
    assert fuzz(openai()[label], GenerationMode.POSITIVE, f"{server.url}/v1", ask_for("pocket")) > 5
    assert server.get("/health")


ENDLESS = "GET /admin/events"


def test_administration(server: Server) -> None:
    document = json.loads(server.request("GET", "/admin/openapi.json", headers=BEARER)[2])
    found = operations(document)
    assert ENDLESS in found

    def change(case: Any) -> None:
        case.query.pop("follow", None)
        # Half of the names are there, and no made-up source is started.
        if "name" in (case.path_parameters or {}) and len(str(case.path_parameters["name"])) % 2:
            case.path_parameters["name"] = "d"
        if isinstance(case.body, dict) and isinstance(case.body.get("source"), str | list):
            case.body["source"] = "debug"
        # Nor is anybody asked beyond this machine.
        if isinstance(case.body, dict) and isinstance(case.body.get("url"), str):
            case.body["url"] = server.url

    for label, operation in found.items():
        if label != ENDLESS:
            for mode in GenerationMode:
                try:
                    fuzz(operation, mode, server.url, change, 15)
                except Unsatisfiable:
                    # Nothing of it can be wrong.
                    assert mode is GenerationMode.NEGATIVE
    assert server.get("/health")
