"""A real Chromium for tests of the web page, and the windows it is looked at in."""

from __future__ import annotations

from collections.abc import Generator
from contextlib import contextmanager

import pytest
from playwright.sync_api import Browser, sync_playwright

from bench.chromium import ARGUMENTS, PROGRAM

DESKTOP = {"width": 1440, "height": 900}
PHONE = {"width": 390, "height": 844}
WIDE = {"width": 3840, "height": 2160}


@contextmanager
def chromium() -> Generator[Browser]:
    """A browser of its own process; ended at the end. Skips loudly where there is none."""
    if PROGRAM is None:
        pytest.skip("NO BROWSER: install chromium, or name one in TRUNKCALL_CHROMIUM")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=PROGRAM, args=ARGUMENTS, timeout=50_000)
        try:
            yield browser
        finally:
            browser.close()
