"""The clouds' own packages: they send what was recorded, and read in our golden streams what we read."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from protocols.cloud_cases import DATA

from trunkcall.core.events import Text, Thinking, ToolCall, Usage
from trunkcall.protocols.anthropic import MessageReader
from trunkcall.protocols.frames import SseReader
from trunkcall.protocols.gemini import GenerateReader

SESSION = Path(__file__).with_name("cloud_session.py")
PACKAGES = Path(sys.prefix) / "clouds"

pytestmark = [pytest.mark.slow, pytest.mark.timeout(240)]


@pytest.fixture(scope="module")
def seen() -> Any:
    if not PACKAGES.is_dir():
        pytest.skip("google-genai and anthropic are not installed: make env-all puts them into the environment")
    done = subprocess.run(
        [sys.executable, str(SESSION)],
        capture_output=True,
        text=True,
        timeout=200,
        env={**os.environ, "PYTHONPATH": str(PACKAGES)},
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


@pytest.mark.parametrize("protocol", ["gemini", "anthropic"])
def test_they_send_what_was_recorded(seen: Any, protocol: str) -> None:
    assert seen[protocol] == json.loads((DATA / protocol / "requests.json").read_text(encoding="utf-8"))


def _keep(id: str, value: bytes) -> None:
    """Keeps nothing."""


@pytest.mark.parametrize("name", sorted(f"{path.parent.name}/{path.name}" for path in DATA.glob("[ag]*/*.sse")))
def test_they_read_what_we_read(seen: Any, name: str) -> None:
    made = MessageReader(7, _keep) if name.startswith("anthropic") else GenerateReader(7, 1, _keep)
    frames = SseReader()
    data = (DATA / name).read_bytes()
    events = [event for payload in frames.feed(data) for event in made.feed(payload)]
    if isinstance(made, GenerateReader) and made.continuation:
        made.go_on()
        later = (DATA / "gemini" / "text.sse").read_bytes()
        events += [event for payload in SseReader().feed(later) for event in made.feed(payload)]
    events += made.end()
    if name == "anthropic/overloaded.sse":
        assert seen["read"][name] == "APIStatusError"
        return
    calls: dict[int, tuple[str, str]] = {}
    for event in events:
        if isinstance(event, ToolCall):
            named, arguments = calls.get(event.slot, ("", ""))
            calls[event.slot] = (event.name or named, arguments + event.arguments)
    assert seen["read"][name] == {
        "text": "".join(event.text for event in events if isinstance(event, Text)),
        "thinking": "".join(event.text for event in events if isinstance(event, Thinking)),
        "calls": [[named, json.loads(arguments)] for named, arguments in calls.values()],
        "prompt": next(event.prompt for event in events if isinstance(event, Usage)),
    }
