"""The code that the developer's corner shows is run as it stands, and what it shows of long requests and answers."""

from __future__ import annotations

import json
import subprocess
import sys
from typing import Any

import pytest
from playwright.sync_api import expect
from running import eventually

pytestmark = [pytest.mark.slow, pytest.mark.timeout(180)]

HARD = 'It\'s "quoted" \\ $HOME `x` ${y} é 🦜 \n  </script> \u2028 end'
BODIES: dict[str, tuple[str, dict[str, Any]]] = {
    "stream": ("/v1/chat/completions", {"model": "echo", "messages": [{"role": "user", "content": HARD}], "stream": True, "stream_options": {"include_usage": True}}),
    "whole": ("/v1/chat/completions", {"model": "echo", "messages": [{"role": "user", "content": HARD}], "temperature": 0.5, "stop": ["###"], "seed": None}),
    "extra": ("/v1/chat/completions", {"model": "echo", "messages": [{"role": "user", "content": HARD}], "min_p": 0.1, "repetition_penalty": 1.1, "stream": True}),
    "prompt": ("/v1/completions", {"model": "echo", "prompt": HARD, "stream": True, "max_tokens": 50}),
}  # fmt: skip


def sample(page, kind: str, body: str, *, closed: bool) -> str:
    path, asked = BODIES[body]
    return page.evaluate(
        "async ([kind, request, closed]) => (await import('/web/lib/code_samples.js'))[kind](request, { origin: location.origin, closed })",
        [kind, {"path": path, "body": asked}, closed],
    )


def run(*command: str) -> str:
    return subprocess.run(
        command,
        capture_output=True,
        text=True,
        timeout=50,
        check=True,
        env={"TRUNKCALL_API_KEY": "any", "PATH": "/usr/bin:/bin"},
    ).stdout


@pytest.mark.parametrize("closed", [False, True])
@pytest.mark.parametrize("body", BODIES)
def test_curl(visit, body, closed):
    said = run("bash", "-c", sample(visit(), "curl", body, closed=closed))
    found = [json.loads(line[6:]) for line in said.split("\n") if line.startswith("data: {")] or [json.loads(said)]
    choices = [choice for one in found for choice in one["choices"]]
    text = "".join((c.get("delta") or c.get("message") or {}).get("content") or c.get("text") or "" for c in choices)
    assert text.strip() == HARD.strip()


@pytest.mark.parametrize("closed", [False, True])
@pytest.mark.parametrize("body", BODIES)
def test_python(visit, body, closed):
    assert run(sys.executable, "-c", sample(visit(), "python", body, closed=closed)).strip() == HARD.strip()


@pytest.mark.parametrize("closed", [False, True])
@pytest.mark.parametrize("body", BODIES)
def test_javascript(visit, body, closed):
    page = visit()
    code = sample(page, "javascript", body, closed=closed)
    around = f"async (process) => {{ const told = []; const console = {{ log: (text) => told.push(text) }}; {code} return told; }}"
    told = page.evaluate(around, {"env": {"TRUNKCALL_API_KEY": "any"}})
    assert [text.strip() for text in told] == [HARD.strip()]


def corner(page, request: object, frames: list[str]) -> None:
    page.evaluate(
        """async ([request, frames]) => {
          const { html, render } = await import("/web/lib/html.js");
          const { DeveloperCorner } = await import("/web/components/developer_corner.js");
          const place = document.createElement("div");
          place.id = "corner";
          document.querySelector("main").replaceChildren(place);
          render(html`<${DeveloperCorner} request=${request ?? undefined} frames=${frames} model="echo" />`, place);
        }""",
        [request, frames],
    )


def test_without_a_request_it_shows_one(visit):
    page = visit("operate")
    expect(page.locator("main h1").first).to_be_visible()
    corner(page, None, [])
    expect(page.get_by_role("tabpanel", name="curl")).to_contain_text('"model": "echo"')
    page.get_by_role("tab", name="curl").press("ArrowRight")
    expect(page.get_by_role("tab", name="Python")).to_be_focused()
    expect(page.get_by_role("tabpanel")).to_contain_text("from openai import OpenAI")
    page.get_by_role("tab", name="Python").press("End")
    expect(page.get_by_role("tabpanel")).to_contain_text('"role": "user"')
    expect(page.get_by_role("tab", name="Events")).to_have_count(0)
    page.get_by_role("tab", name="JSON").press("ArrowRight")
    page.get_by_role("button", name="Copy").click()
    eventually(lambda: page.evaluate("navigator.clipboard.readText()").startswith("curl -N http://127.0.0.1:"))


def test_without_events_it_says_so(visit):
    page = visit("operate")
    expect(page.locator("main h1").first).to_be_visible()
    corner(page, {"path": "/v1/completions", "body": {"model": "echo", "prompt": "x"}}, [])
    page.get_by_role("tab", name="Events").click()
    expect(page.get_by_role("tabpanel")).to_contain_text("No events yet")


def test_each_model_has_one(visit):
    page = visit("models/slow")
    expect(page.get_by_role("heading", name="Developer's corner")).to_be_visible()
    expect(page.get_by_role("tabpanel", name="curl")).to_contain_text('"model": "slow"')


def test_long_requests_are_cut_and_copied_whole(visit):
    page = visit("operate")
    expect(page.locator("main h1").first).to_be_visible()
    image = "data:image/png;base64," + "A" * 3_000_000
    corner(
        page,
        {
            "path": "/v1/chat/completions",
            "body": {
                "model": "echo",
                "messages": [{"role": "user", "content": [{"type": "image_url", "image_url": {"url": image}}]}],
            },
        },
        [],
    )
    expect(page.get_by_role("tabpanel")).to_contain_text("more characters")
    assert page.get_by_role("tabpanel").evaluate("(e) => e.textContent.length") < 10_000
    page.get_by_role("tab", name="JSON").click()
    page.get_by_role("button", name="Copy").click()
    eventually(lambda: len(page.evaluate("navigator.clipboard.readText()")) > 3_000_000)


def test_many_events_are_shown_in_spans(visit):
    page = visit("operate")
    expect(page.locator("main h1").first).to_be_visible()
    corner(
        page,
        {"path": "/v1/completions", "body": {"model": "echo", "prompt": "x"}},
        [f'{{"n": {n}}}' for n in range(1, 5001)] + ["x" * 1_000_000],
    )
    page.get_by_role("tab", name="Events").click()
    events = page.get_by_role("tabpanel").get_by_role("listitem")
    expect(page.get_by_text("1–100 of 5,001 events")).to_be_visible()
    expect(events).to_have_count(100)
    page.get_by_role("button", name="Later events").click()
    expect(events.first).to_have_text('{"n": 101}')
    for _ in range(49):
        page.get_by_role("button", name="Later events").click()
    expect(events).to_have_count(1)
    expect(events).to_contain_text("996,000 more characters")
    expect(page.get_by_role("button", name="Later events")).to_be_disabled()
