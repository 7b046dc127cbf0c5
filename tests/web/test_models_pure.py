"""What the models page reads and writes without a server: pasted texts, settings of a model, progress, states."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from playwright.sync_api import Browser, Page
from running import Server

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def page(browser: Browser, server: Server) -> Iterator[Page]:
    found = browser.new_page()
    found.goto(f"{server.url}/web/images/icon.svg")
    yield found
    found.close()


def call(page: Page, module: str, function: str, *arguments: Any) -> Any:
    script = "async ([path, name, given]) => (await import(path))[name](...given)"
    return page.evaluate(script, [f"/web/{module}.js", function, list(arguments)])


PASTED = [
    ("", "", ""),
    ("  pocket ", "source", "pocket"),
    ("/models/a.gguf", "path", "/models/a.gguf"),
    ("~/models/folder", "path", "~/models/folder"),
    ("chat.GGUF", "path", "chat.GGUF"),
    ("Qwen/Qwen3-0.6B-GGUF:Q4_K_M", "hub", "hf:Qwen/Qwen3-0.6B-GGUF:Q4_K_M"),
    ("hf:org/name@v1", "hub", "hf:org/name@v1"),
    ("https://huggingface.co/org/name", "hub", "hf:org/name"),
    ("https://huggingface.co/org/name/blob/main/a.gguf", "hub", "hf:org/name:a.gguf"),
    ("https://hf.co/org/name/tree/v2", "hub", "hf:org/name@v2"),
    ("http://host:8000/v1", "url", ""),
    ("localhost:8000", "url", ""),
    ("[::1]:8000/v1", "url", ""),
    ("10.0.0.1:7860/", "url", ""),
    ("openai:http://host/v1#m", "source", "openai:http://host/v1#m"),
    ("debug:0.05", "source", "debug:0.05"),
]


def test_what_was_pasted(page: Page) -> None:
    for text, kind, source in PASTED:
        assert call(page, "models/pasted", "readPasted", text) == {"kind": kind, "source": source}, text


@pytest.mark.parametrize(
    ("source", "taken", "name"),
    [
        ("hf:org/Some-7B-GGUF:Q4_K_M", [], "some-7b"),
        ("/models/My Chat.gguf", [], "my-chat"),
        ("/models/folder/", [], "folder"),
        ("openai:http://host/v1#org/m", [], "m"),
        ("pocket", ["pocket", "pocket-2"], "pocket-3"),
        ("debug:0.05", [], "debug"),
    ],
)
def test_a_name_for_a_source(page: Page, source: str, taken: list[str], name: str) -> None:
    assert call(page, "models/pasted", "nameFor", source, taken) == name


SHOWN = {
    "slots": 4,
    "ttl": 5400.0,
    "pinned": True,
    "policy": "weighted",
    "weights": [2.0, 2.0, 1.0, 1.0],
    "fallback": ["pocket"],
    "price": {"prompt": 0.5, "completion": 0, "cached": None},
    "options": {"context": 256, "template": "plain", "kind": "7", "lora": {"a": "/x"}},
    "env": {"A": "1"},
    "key": "env:K",
}
SOURCES = ["openai:http://a/v1", "openai:http://a/v1", "openai:http://b/v1", "openai:http://b/v1"]


def test_a_model_as_a_form_and_back(page: Page) -> None:
    form = call(page, "models/entry", "formOf", SOURCES, SHOWN)
    assert form["sources"] == "openai:http://a/v1\nopenai:http://b/v1"
    assert (form["replicas"], form["ttl"], form["weights"]) == ("2", "90m", "2, 1")
    assert form["options"] == 'context=256\ntemplate=plain\nkind="7"\nlora={"a":"/x"}'
    found = call(page, "models/entry", "entryOf", form)
    assert found["errors"] == {}
    assert found["entry"] == {
        "source": ["openai:http://a/v1", "openai:http://b/v1"],
        "replicas": 2,
        "slots": 4,
        "ttl": "90m",
        "key": "env:K",
        "policy": "weighted",
        "weights": [2, 1],
        "pinned": True,
        "fallback": ["pocket"],
        "price": {"prompt": 0.5},
        "options": SHOWN["options"],
        "env": {"A": "1"},
    }


@pytest.mark.parametrize(
    ("changed", "sent"),
    [
        ({}, {}),
        ({"ttl": ""}, {"ttl": None}),
        ({"slots": "8", "pinned": False}, {"slots": 8, "pinned": None}),
        ({"replicas": "3"}, {"replicas": 3, "source": SOURCES[::2]}),
        ({"sources": SOURCES[0]}, {"replicas": 2, "source": SOURCES[0]}),
        ({"options": "context=256"}, {"options": {"context": 256}}),
    ],
)
def test_only_what_differs_is_sent(page: Page, changed: dict[str, Any], sent: dict[str, Any]) -> None:
    form = call(page, "models/entry", "formOf", SOURCES, SHOWN)
    assert call(page, "models/entry", "changesOf", form, {**form, **changed}) == sent


def test_what_cannot_be_read(page: Page) -> None:
    empty = call(page, "models/entry", "formOf", [], {})
    wrong = {"replicas": "two", "prompt": "x", "weights": "1, b", "options": "context", "env": "A=1\nA=2"}
    found = call(page, "models/entry", "entryOf", {**empty, **wrong})["errors"]
    assert set(found) == set(wrong)
    assert "context" in found["options"]
    assert "A" in found["env"]


@pytest.mark.parametrize(
    ("param", "field"),
    [
        ("", ""),
        ("ttl", "ttl"),
        ("source", "sources"),
        ("price.cached", "cached"),
        ("name", "name"),
        ("context", "options"),
        ("slots", "slots"),
        ("aliases[0]", "aliases"),
    ],
)
def test_where_an_error_belongs(page: Page, param: str, field: str) -> None:
    form = call(page, "models/entry", "formOf", [], {"options": {"context": 1}})
    assert call(page, "models/entry", "fieldOf", param, form) == field


@pytest.mark.parametrize(
    ("words", "share"),
    [
        ("downloading org/name: 25 %, 1.2 GB of 4.7 GB, 10.0 MB/s, 350 s left", 0.25),
        ("500 MB of 2 GB", 0.25),
        ("loading for 3 of about 12 s", 0.25),
        ("loading for 30 of about 12 s", 0.99),
        ("loading for 3 s", None),
        ("org/name: 3 files, 4.7 GB, of which 1.2 GB are here", None),
        ("waits for 4.7 GB of memory", None),
        ("", None),
    ],
)
def test_progress(page: Page, words: str, share: float | None) -> None:
    assert call(page, "lib/progress", "portion", words) == share


def replica(state: str, breaker: str = "closed", **more: Any) -> dict[str, Any]:
    return {"state": state, "breaker": {"state": breaker}, "error": "", "engine": "x", "rss": 0, "memory": 7, **more}


@pytest.mark.parametrize(
    ("replicas", "state", "memory"),
    [
        ([replica("failed"), replica("ready", rss=5)], "ready", 5),
        ([replica("ready", "open")], "failed", 7),
        ([replica("off"), replica("starting")], "loading", 7),
        ([replica("off")], "off", 0),
        ([replica("off", error="why")], "failed", 0),
        ([], "failed", 0),
    ],
)
def test_how_a_model_does(page: Page, replicas: list[Any], state: str, memory: int) -> None:
    model = {"replicas": replicas}
    assert call(page, "models/shape", "modelState", model) == state
    assert call(page, "models/shape", "modelMemory", model) == memory


@pytest.mark.parametrize(
    ("place", "kind"),
    [
        (None, "added"),
        ("/home/models.json (trunkcall models add)", "added"),
        ("trunkcall.yaml:3: models.m", "file"),
        ("flag --model", "flag"),
        ("default", "built_in"),
    ],
)
def test_where_a_model_stands(page: Page, place: str | None, kind: str) -> None:
    origins = {} if place is None else {"models.m": [{"value": "pocket", "place": place}]}
    told = {"settings": {"models": {"m": {}}}, "origins": origins}
    assert call(page, "models/shape", "standsIn", told, "m")["kind"] == kind
    assert call(page, "models/shape", "standsIn", told, "other")["kind"] == "registered"
