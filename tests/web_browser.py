"""A real Chromium for tests of the web page, and what they do with it."""

from __future__ import annotations

import os
import shutil
from collections.abc import Generator
from contextlib import contextmanager

import pytest
from playwright.sync_api import Browser, Page, sync_playwright

_NAMES = (
    "chromium",
    "google-chrome",
    "chromium-browser",
    "/Applications/Google Chrome.app/Contents/MacOS/Google Chrome",
)
CHROMIUM = os.environ.get("TRUNKCALL_CHROMIUM") or next(filter(None, map(shutil.which, _NAMES)), None)
DESKTOP = {"width": 1440, "height": 900}
PHONE = {"width": 390, "height": 844}
WIDE = {"width": 3840, "height": 2160}


@contextmanager
def chromium() -> Generator[Browser]:
    """A browser of its own process; ended at the end. Skips loudly where there is none."""
    if CHROMIUM is None:
        pytest.skip("NO BROWSER: install chromium, or name one in TRUNKCALL_CHROMIUM")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=CHROMIUM, args=["--no-sandbox", "--disable-dev-shm-usage"], timeout=30_000
        )
        try:
            yield browser
        finally:
            browser.close()


def watched(page: Page) -> list[str]:
    """What goes wrong in a page from now on: errors of scripts and of the console, and requests to other hosts."""
    wrong: list[str] = []
    host = page.url.split("/")[2] if "://" in page.url else ""
    page.on("pageerror", lambda error: wrong.append(f"script: {error}"))
    page.on("console", lambda message: wrong.append(f"console: {message.text}") if message.type == "error" else None)
    page.on(
        "request",
        lambda request: (
            wrong.append(f"request: {request.url}")
            if request.url.startswith("http") and host and request.url.split("/")[2] != host
            else None
        ),
    )
    return wrong
