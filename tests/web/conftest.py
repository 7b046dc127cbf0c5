"""What tests of the web page share: a real Chromium, real servers, and pages that must raise nothing unexpected."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, Literal
from urllib.parse import urlsplit

import pytest
from playwright.sync_api import Browser, BrowserContext, Page, ViewportSize, expect
from running import Server
from web.thinking_upstream import Upstream, thinking_upstream
from web_browser import DESKTOP, PHONE, chromium

Visit = Callable[..., Page]

expect.set_options(timeout=30_000)


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    """One browser for the tests of a module."""
    with chromium() as found:
        yield found


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A server on loopback that needs no key, with the models pocket, echo (repeats at once), slow (a word each
    0.05 s) and crawl (a word each second).
    """
    models = ("--model", "echo=debug", "--model", "slow=debug:0.05", "--model", "crawl=debug:1", "--pocket")
    with Server(*models, home=tmp_path_factory.mktemp("home")) as running:
        yield running


@dataclass(frozen=True)
class Thinking:
    """A server with the models echo, crawl, pocket, and thinker, which is of the upstream."""

    server: Server
    upstream: Upstream


@pytest.fixture(scope="module")
def thinking(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Thinking]:
    """For modules whose own fixture `server` is its server."""
    with thinking_upstream() as upstream:
        models = ("echo=debug", "crawl=debug:1", f"thinker=openai:{upstream.url}#thinker")
        words = [word for model in models for word in ("--model", model)]
        with Server(*words, "--pocket", home=tmp_path_factory.mktemp("home")) as running:
            yield Thinking(running, upstream)


@pytest.fixture
def upstream(thinking: Thinking) -> Upstream:
    """Of the model thinker, with its gate shut."""
    thinking.upstream.begin_anew()
    return thinking.upstream


@dataclass(frozen=True)
class Closed:
    """A server that needs keys, and the secrets of its keys by their names."""

    server: Server
    secrets: dict[str, str]


@pytest.fixture(scope="module")
def closed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Closed]:
    """A server that needs a key: boss administers, anna may ask the model echo."""
    home = tmp_path_factory.mktemp("closed")
    with Server("--model", "echo=debug", "--model", "slow=debug:0.05", home=home) as running:
        secrets = {"boss": running.post("/admin/keys", {"name": "boss", "role": "admin"})[2]["secret"]}
        authorization = f"Bearer {secrets['boss']}"
        wanted = {"name": "anna", "role": "user", "models": ["echo"]}
        secrets["anna"] = running.post("/admin/keys", wanted, authorization=authorization)[2]["secret"]
        yield Closed(running, secrets)


@dataclass(frozen=True)
class Look:
    """How a page is looked at."""

    size: ViewportSize
    scheme: Literal["light", "dark"]


LOOKS = {
    "desktop-light": Look(DESKTOP, "light"),
    "desktop-dark": Look(DESKTOP, "dark"),
    "phone-light": Look(PHONE, "light"),
    "phone-dark": Look(PHONE, "dark"),
}


@pytest.fixture(params=LOOKS.values(), ids=LOOKS)
def look(request: pytest.FixtureRequest) -> Look:
    """Each of: desktop and phone, light and dark."""
    return request.param


@pytest.fixture
def visit(browser: Browser, request: pytest.FixtureRequest) -> Iterator[Visit]:
    """Opens the page: `visit("chat", look=…, size=PHONE, scheme="dark", secret="", at=URL, query="model=x")`.

    at: of the fixture `server` unless given; secret: a key to be signed in with; allow: parts of complaints that are
    meant. At the end nothing else may have gone wrong in any page: no error of a script or of the console, and no
    request to another host. Every visit has its own storage; another tab is `page.context.new_page()`.
    """
    contexts: list[BrowserContext] = []
    wrong: list[str] = []
    allowed: list[str] = []

    def open_page(
        page_name: str = "",
        *,
        look: Look | None = None,
        size: ViewportSize = DESKTOP,
        scheme: Literal["light", "dark"] = "light",
        secret: str = "",
        at: str = "",
        query: str = "",
        allow: tuple[str, ...] = (),
        **more: Any,
    ) -> Page:
        chosen = look or Look(size, scheme)
        url = at or request.getfixturevalue("server").url
        base = f"{urlsplit(url).scheme}://{urlsplit(url).netloc}"
        context = browser.new_context(
            viewport=chosen.size,
            color_scheme=chosen.scheme,
            has_touch=chosen.size["width"] < 640,
            permissions=["clipboard-read", "clipboard-write"],
            **more,
        )
        contexts.append(context)
        context.set_default_timeout(30_000)
        allowed.extend(allow)
        context.on("weberror", lambda error: wrong.append(f"script: {error.error}"))
        context.on("console", lambda told: wrong.append(f"console: {told.text}") if told.type == "error" else None)
        context.on(
            "request", lambda asked: wrong.append(f"request: {asked.url}") if _is_foreign(asked.url, base) else None
        )
        if secret:
            # A tab's own store, as after signing in.
            keep = f"sessionStorage.setItem('trunkcall.key', 'Bearer {secret}')"
            context.add_init_script(f"if (location.protocol !== 'about:') {keep}")
        page = context.new_page()
        page.goto(f"{base}/{f'?{query}' if query else ''}{f'#/{page_name}' if page_name else ''}")
        return page

    yield open_page
    for context in contexts:
        context.close()
    unexpected = [line for line in wrong if not any(part in line for part in allowed)]
    assert not unexpected, unexpected


def _is_foreign(url: str, base: str) -> bool:
    return url.startswith("http") and not url.startswith(f"{base}/")
