"""Take docs/pictures/*.webp: every page of the web interface, of a server that really runs, in a real Chromium."""

from __future__ import annotations

import base64
import http.client
import json
import math
import re
import shutil
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Generator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlsplit

from playwright.sync_api import Browser, Page, ViewportSize, expect, sync_playwright

from bench.chromium import ARGUMENTS, PROGRAM
from trunkcall.pocket import gguf_path

FOLDER: Final = Path(__file__).resolve().parent.parent / "docs" / "pictures"
DESKTOP: Final[ViewportSize] = {"width": 1280, "height": 800}
PHONE: Final[ViewportSize] = {"width": 390, "height": 844}
HISTORY: Final = 420.0
"""Seconds that the server has been asked things before its figures are taken."""
MOST: Final = 200_000
"""Bytes of one picture."""

ANSWER: Final = """\
A **trunk call** was a call between two exchanges, over a *trunk line* that the callers of a town shared.

How many lines are enough? With an offered load of $A$ erlangs and $N$ lines, Erlang's formula tells the share of calls that find all lines busy:

$$B(N, A) = \\frac{A^N / N!}{\\sum_{k=0}^{N} A^k / k!}$$

```python
def blocking(lines: int, load: float) -> float:
    lost = 1.0
    for line in range(1, lines + 1):
        lost = load * lost / (line + load * lost)
    return lost
```

| lines | lost at 10 erlangs |
|---|---|
| 10 | 21.5 % |
| 15 | 3.6 % |
| 20 | 0.2 % |
"""  # noqa: E501
SHORT: Final = "A call between exchanges, set up over a **trunk line** by an operator, and paid by the minute."
SETTINGS: Final[dict[str, Any]] = {
    "pocket": False,
    "models": {
        "pocket": {"source": "pocket", "price": {"prompt": 40, "completion": 120}},
        "scribe": {"source": "dummy:0.01", "options": {"text": ANSWER}, "price": {"prompt": 80, "completion": 320}},
        "brief": {"source": "dummy:0.03", "options": {"text": SHORT}},
        "echo": "debug:0.02",
        "large": {"source": "openai:http://127.0.0.1:9/v1#large", "fallback": "brief"},
    },
}
QUESTIONS: Final = (
    "What is a trunk call?",
    "Who are you?",
    "How do I add a model?",
    "Tell me a story.",
    "Count to ten.",
)


class Server:
    """A `trunkcall up` with a home of its own and a key that administers it."""

    def __init__(self, home: Path) -> None:
        settings = home / "trunkcall.yaml"
        settings.write_text(json.dumps(SETTINGS))
        (home / "models").mkdir()
        shutil.copy(gguf_path(), home / "models" / "chat.gguf")
        command = [
            sys.executable,
            "-m",
            "trunkcall",
            "up",
            "--port",
            "0",
            "--config",
            str(settings),
            "--home",
            str(home),
        ]
        self.process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=home)
        assert self.process.stdout is not None
        self.began = time.monotonic()
        self.url = next(found[1] for line in self.process.stdout if (found := re.search(r"Open\s+(http\S+)", line)))
        threading.Thread(target=self.process.stdout.read, daemon=True).start()
        self.secret = ""
        self.secret = self.call("/admin/keys", {"name": "ada", "role": "admin"})["secret"]

    def call(self, path: str, body: dict[str, Any] | None = None, secret: str = "") -> Any:
        """The JSON of an answer, also of a refusal."""
        split = urlsplit(self.url)
        connection = http.client.HTTPConnection(split.hostname or "", split.port, timeout=60)
        try:
            headers = {"authorization": f"Bearer {secret or self.secret}", "content-type": "application/json"}
            data = None if body is None else json.dumps(body)
            connection.request("GET" if body is None else "POST", path, data, headers)
            return json.loads(connection.getresponse().read())
        finally:
            connection.close()

    def stop(self) -> None:
        """End it and wait."""
        self.process.terminate()
        self.process.wait(20)


@contextmanager
def traffic(server: Server) -> Generator[None]:
    """Some callers with keys and limits of their own, as long as the block."""
    limits: dict[str, dict[str, Any]] = {
        "search": {"tokens_per_day": 20_000, "requests_per_minute": 600},
        "support": {"tokens_per_day": 8_000, "models": ["pocket", "brief"]},
        "nightly": {"money_per_month": 2},
    }
    secrets = {name: server.call("/admin/keys", {"name": name, **more})["secret"] for name, more in limits.items()}
    over = threading.Event()

    def caller(name: str, turn: int) -> None:
        models = limits[name].get("models", ("pocket", "brief", "pocket", "large", "scribe"))
        while not over.is_set():
            model = "nosuch" if turn % 47 == 46 else models[turn % len(models)]
            asked = [{"role": "user", "content": QUESTIONS[turn % len(QUESTIONS)]}]
            server.call("/v1/chat/completions", {"model": model, "messages": asked, "max_tokens": 60}, secrets[name])
            turn += 1
            # Sometimes more of them come than at other times.
            over.wait(0.6 + 1.6 * (1 + math.sin(time.monotonic() / 25)))

    callers = [threading.Thread(target=caller, args=(name, number)) for number, name in enumerate(limits)]
    for one in callers:
        one.start()
    try:
        yield
    finally:
        over.set()
        for one in callers:
            one.join(60)


class Studio:
    """Opens pages as somebody who is signed in, and takes pictures of them."""

    def __init__(self, browser: Browser, server: Server) -> None:
        self._browser = browser
        self._server = server

    @contextmanager
    def page(
        self, at: str, *, size: ViewportSize = DESKTOP, dark: bool = False, signed_in: bool = True
    ) -> Generator[Page]:
        """A page of its own browser's storage. at: behind the server's address."""
        context = self._browser.new_context(
            viewport=size,
            color_scheme="dark" if dark else "light",
            device_scale_factor=2 if size is PHONE else 1.5,
            has_touch=size is PHONE,
        )
        try:
            context.set_default_timeout(30_000)
            if signed_in:
                keep = f"sessionStorage.setItem('trunkcall.key', 'Bearer {self._server.secret}')"
                context.add_init_script(f"if (location.protocol !== 'about:') {keep}")
            page = context.new_page()
            page.goto(f"{self._server.url}/{at}")
            expect(page.locator("h1").first).to_be_attached()
            yield page
        finally:
            context.close()

    def wait_for_history(self) -> None:
        """Until there is something to be drawn."""
        time.sleep(max(0.0, self._server.began + HISTORY - time.monotonic()))

    def request_of(self, model: str) -> str:
        """The id of the last request that asked a model."""
        return self._server.call(f"/admin/requests?model={model}&limit=1")["requests"][0]["id"]

    @staticmethod
    def take(page: Page, name: str) -> None:
        """A picture of what is in sight; the pointer is put aside."""
        page.mouse.move(0, 0)
        page.wait_for_timeout(600)
        session = page.context.new_cdp_session(page)
        for quality in (82, 70, 55):
            shot = session.send("Page.captureScreenshot", {"format": "webp", "quality": quality})
            picture = base64.b64decode(shot["data"])
            if len(picture) < MOST:
                (FOLDER / f"{name}.webp").write_bytes(picture)
                return
        raise SystemExit(f"{name} has {len(picture)} bytes")


def ask(page: Page, text: str) -> None:
    """Ask what the page asks, and wait for the answers' ends."""
    composer = page.get_by_role("main").get_by_role("textbox").last
    composer.fill(text)
    composer.press("Enter")
    expect(page.get_by_role("button", name=re.compile("^stop", re.IGNORECASE))).to_have_count(0)


def chat(studio: Studio) -> None:
    for name, size, dark in (("chat", DESKTOP, False), ("chat-dark", DESKTOP, True), ("chat-phone", PHONE, True)):
        with studio.page("?model=pocket#/chat/new", size=size, dark=dark) as page:
            for text in ("Who are you?", "What is the opposite of big?") if size is DESKTOP else ():
                ask(page, text)
                page.keyboard.press("Escape")
                page.goto(f"{page.url.split('#')[0]}#/chat/new")
            page.goto(f"{page.url.split('?')[0].split('#')[0]}?model=scribe#/chat/new")
            ask(page, "What was a trunk call?")
            expect(page.locator("main table")).to_be_visible()
            studio.take(page, name)
            if name != "chat":
                continue
            page.get_by_role("main").get_by_role("button", name=re.compile("developers", re.IGNORECASE)).last.click()
            page.get_by_role("tab", name="Python").click()
            studio.take(page, "developers")
            page.keyboard.press("Escape")
            page.keyboard.press("Control+k")
            page.get_by_role("combobox").fill("ch")
            studio.take(page, "palette")


def sign_in(studio: Studio) -> None:
    with studio.page("", signed_in=False) as page:
        studio.take(page, "sign-in")


def compare(studio: Studio) -> None:
    for name, size, dark in (
        ("compare", DESKTOP, False),
        ("compare-dark", DESKTOP, True),
        ("compare-phone", PHONE, False),
    ):
        with studio.page("#/compare/scribe,brief,pocket", size=size, dark=dark) as page:
            ask(page, "What was a trunk call?")
            studio.take(page, name)


def battle(studio: Studio) -> None:
    with studio.page("#/battle") as page:
        shown = False
        for _ in range(18):
            ask(page, "What was a trunk call?")
            # Who says more is better, for the sake of a leaderboard.
            left, right = (len(text) for text in page.locator("main .answer").all_inner_texts())
            vote = "A is better" if left > right else "B is better" if right > left else "Tie"
            telling = not shown and left != right and min(left, right) > 60
            if telling:
                studio.take(page, "battle")
            page.get_by_role("button", name=vote).click()
            if telling:
                studio.take(page, "battle-voted")
                shown = True
            page.get_by_role("button", name="New round").click()
        page.get_by_text("Leaderboard", exact=True).first.click()
        studio.take(page, "leaderboard")


def models(studio: Studio) -> None:
    for name, size, dark in (
        ("models", DESKTOP, False),
        ("models-dark", DESKTOP, True),
        ("models-phone", PHONE, False),
    ):
        with studio.page("#/models", size=size, dark=dark) as page:
            studio.take(page, name)
            if name != "models":
                continue
            page.get_by_role("button", name="Add a model").click()
            page.get_by_label("What to add").fill("./models/chat.gguf")
            page.get_by_label("What to add").press("Tab")
            page.wait_for_timeout(2500)
            studio.take(page, "models-add")
    with studio.page("#/models/pocket") as page:
        studio.take(page, "model")


def operate(studio: Studio) -> None:
    studio.wait_for_history()
    for name, size, dark in (
        ("operate", DESKTOP, False),
        ("operate-dark", DESKTOP, True),
        ("operate-phone", PHONE, False),
    ):
        with studio.page("#/operate", size=size, dark=dark) as page:
            # The figures are those of the last moments.
            page.wait_for_timeout(5000)
            studio.take(page, name)
    with studio.page(f"#/operate/{studio.request_of('large')}") as page:
        studio.take(page, "request")
    # Their bars are fuller by then.
    keys(studio)


def keys(studio: Studio) -> None:
    for name, dark in (("keys", False), ("keys-dark", True)):
        with studio.page("#/keys", dark=dark) as page:
            expect(page.get_by_text("support").first).to_be_visible()
            studio.take(page, name)
    with studio.page("#/keys") as page:
        page.get_by_text("What was used").click()
        page.wait_for_timeout(1500)
        studio.take(page, "usage")


def main() -> None:
    """Run a server with some life in it and take all pictures, or those that are named."""
    expect.set_options(timeout=30_000)
    FOLDER.mkdir(exist_ok=True)
    wanted = sys.argv[1:]
    with tempfile.TemporaryDirectory() as folder, sync_playwright() as playwright:
        server = Server(Path(folder))
        browser = playwright.chromium.launch(executable_path=PROGRAM, args=ARGUMENTS)
        try:
            with traffic(server):
                for scene in SCENES:
                    if not wanted or scene.__name__ in wanted:
                        scene(Studio(browser, server))
        finally:
            browser.close()
            server.stop()


SCENES: Final[tuple[Callable[[Studio], None], ...]] = (sign_in, chat, compare, battle, models, operate)

if __name__ == "__main__":
    main()
