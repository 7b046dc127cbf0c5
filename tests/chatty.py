"""An engine that writes a line every 50 ms, for tests of logs."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

PROGRAM = """
import http.server, itertools, os, sys, threading, time
http.server.SimpleHTTPRequestHandler.log_message = lambda *said: None
server = http.server.ThreadingHTTPServer(("127.0.0.1", int(sys.argv[1])), http.server.SimpleHTTPRequestHandler)
threading.Thread(target=server.serve_forever, daemon=True).start()
for number in itertools.count():
    print(f"\\033[31m{os.getpid()} says {number}", flush=True)
    time.sleep(0.05)
"""


def chatty(where: Path) -> dict[str, Any]:
    """A model that it is started for; its lines tell its process and their number, counted from 0."""
    (where / "chatty.py").write_text(PROGRAM)
    command = [sys.executable, str(where / "chatty.py"), "{port}"]
    return {"source": "command", "options": {"command": command, "health": "/"}, "preload": True}
