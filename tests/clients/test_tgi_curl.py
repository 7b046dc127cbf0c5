"""The old page's curl line, as it is printed, to a server of the launcher's that asks for a key."""

from __future__ import annotations

import json
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from clients.tgi_launched import Launched, ask
from running import reserved_port

pytestmark = [pytest.mark.slow, pytest.mark.timeout(180)]

LIST = Path(__file__).parents[1] / "takeover" / "data" / "old-commands.md"
(LINE,) = re.findall(r"^H8 `(curl .*)`$", LIST.read_text(encoding="utf-8"), re.MULTILINE)
KEY = "bhx5xmu6UVX4"


@pytest.fixture(scope="module")
def url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The launcher's server with the shipped model and the key that stands in the line."""
    # The line cuts prompts to 1024 tokens, so the page's servers take that many and more.
    limits = ("--max-input-length", "2048", "--max-total-tokens", "4096")
    flags = ("--model-id", "pocket", "--api-key", KEY, *limits)
    launched = Launched(tmp_path_factory.mktemp("tgi"), reserved_port(), *flags)
    try:
        yield launched.url
    finally:
        launched.stop()


def typed(line: str, url: str) -> tuple[int, str]:
    """Status and body of what curl gets."""
    assert line.count("127.0.0.1:6112") == 1
    line = line.replace("127.0.0.1:6112", url.removeprefix("http://"))
    done = subprocess.run(
        ["bash", "-c", f"{line} --silent --show-error --write-out '\\n%{{http_code}}'"],
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == 0, done.stderr
    body, _, status = done.stdout.rpartition("\n")
    return int(status), body


def test_as_it_is_printed(url: str) -> None:
    status, body = typed(LINE, url)
    assert (status, list(json.loads(body))) == (200, ["generated_text"])


@pytest.mark.parametrize("credentials", ["", '--user "user:another"', f'--user "{KEY}:"'])
def test_without_the_key(url: str, credentials: str) -> None:
    status, body = typed(LINE.partition(" --user ")[0] + f" {credentials}", url)
    assert status == 401
    assert KEY not in body
    assert set(json.loads(body)) == {"error", "error_type"}


def test_the_same_key_as_bearer(url: str) -> None:
    asked = {"inputs": "hello", "parameters": {"max_new_tokens": 1}}
    for word in ("Bearer", "bearer"):
        status, body = ask(url, "POST", "/generate", asked, {"authorization": f"{word} {KEY}"})
        assert (status, list(json.loads(body))) == (200, ["generated_text"])
