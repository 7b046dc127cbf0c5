"""What a browser or a load balancer asks first: `/`, `/health` and `/ready`."""

from __future__ import annotations

import html
from collections.abc import Sequence
from typing import Literal

import msgspec

from trunkcall import __version__
from trunkcall.control.services import Services
from trunkcall.core.errors import ServingError
from trunkcall.core.models import ModelView
from trunkcall.core.ports import Exchange, Response, Route

_HTML = (
    (b"content-type", b"text/html; charset=utf-8"),
    (b"content-security-policy", b"default-src 'none'; style-src 'unsafe-inline'"),
)

_PAGE = """<!doctype html>
<html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width, initial-scale=1">
<title>Trunkcall</title>
<style>
:root {{ color-scheme: light dark; --line: color-mix(in srgb, CanvasText 18%, Canvas); }}
body {{ font: 16px/1.55 system-ui, sans-serif; max-width: 46rem; margin: 3rem auto; padding: 0 1.25rem; }}
h1 {{ font-size: 1.6rem; margin: 0 0 .25rem; }} p {{ margin: .5rem 0 1rem; }}
table {{ border-collapse: collapse; width: 100%; margin: 1rem 0; }}
th, td {{ text-align: left; padding: .45rem .6rem; border-bottom: 1px solid var(--line); }}
th {{ font-weight: 600; }} code, pre {{ font: 14px/1.5 ui-monospace, monospace; }}
pre {{ padding: .8rem 1rem; border: 1px solid var(--line); border-radius: .5rem; }}
pre {{ white-space: pre-wrap; overflow-wrap: anywhere; }}
small {{ opacity: .7; }} a {{ color: LinkText; }}
</style></head><body>
<h1>Trunkcall</h1>
<p>Version {version}. The OpenAI API answers under <code>/v1</code>.</p>
<table><thead><tr><th>Model</th><th>State</th><th>Running</th><th>Waiting</th></tr></thead><tbody>{rows}</tbody></table>
<p>Ask something:</p>
<pre>{curl}</pre>
<p><small><a href="/v1/models">models</a> · <a href="/metrics">metrics</a> · <a href="/health">health</a> ·
<a href="/ready">ready</a></small></p>
</body></html>
"""


def curl_line(url: str, model: str) -> str:
    """A command to paste that asks a model something."""
    messages = '[{"role": "user", "content": "Who are you?"}]'
    body = f'{{"model": "{model}", "stream": true, "messages": {messages}}}'
    return f"curl -N {url}/v1/chat/completions -H 'content-type: application/json' \\\n  -d '{body}'"


class Landing:
    """Fits core.ports.Api. /health: the process answers; /ready: it can take requests."""

    name = "landing"
    plane: Literal["inference", "control", "worker"] = "control"

    def __init__(self, services: Services) -> None:
        self._dispatch = services.dispatch

    def routes(self) -> Sequence[Route]:
        """What is served."""
        return (
            Route("GET", "/", self._page),
            Route("GET", "/health", self._health),
            Route("GET", "/ready", self._ready),
        )

    def failure(self, error: ServingError) -> Response:
        """The error as plain JSON."""
        return Response(error.status, msgspec.json.encode({"error": {"message": error.message}}))

    async def _page(self, exchange: Exchange) -> None:
        views = self._dispatch.views()
        rows = "".join(_row(view) for view in views) or "<tr><td colspan=4>No model yet: trunkcall models add</td></tr>"
        host = (exchange.header(b"host") or b"127.0.0.1:8000").decode("latin-1")
        curl = curl_line(f"http://{host}", views[0].name if views else "MODEL")
        page = _PAGE.format(version=__version__, rows=rows, curl=html.escape(curl))
        await exchange.respond(Response(200, page.encode(), _HTML))

    async def _health(self, exchange: Exchange) -> None:
        await exchange.respond(Response(200, b'{"status":"ok"}'))

    async def _ready(self, exchange: Exchange) -> None:
        if self._dispatch.draining:
            raise ServingError("draining", "the server is shutting down", retry_after=5)
        failed = [v.name for v in self._dispatch.views() if v.replicas and all(r.state == "failed" for r in v.replicas)]
        await exchange.respond(Response(200, msgspec.json.encode({"status": "ready", "failed_models": failed})))


def _row(view: ModelView) -> str:
    states = sorted({replica.state for replica in view.replicas})
    running = sum(replica.in_flight for replica in view.replicas)
    name, state = html.escape(view.name), ", ".join(states).replace("off", "off (starts on first use)")
    return f"<tr><td>{name}</td><td>{state}</td><td>{running}</td><td>{view.waiting}</td></tr>"
