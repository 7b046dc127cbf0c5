"""The Chromium that looks at the page: one that TRUNKCALL_CHROMIUM names, else the first that this machine has."""

from __future__ import annotations

import os
import shutil
from typing import Final

_NAMES: Final = (
    "chromium",
    "google-chrome",
    "chromium-browser",
    "/Applications/Google Chrome.app/Contents/MacOS/Google Chrome",
)
PROGRAM: Final = os.environ.get("TRUNKCALL_CHROMIUM") or next(filter(None, map(shutil.which, _NAMES)), None)
"""None where there is none."""
ARGUMENTS: Final = ("--no-sandbox", "--disable-dev-shm-usage")
"""Containers, in which tests run, have neither."""
