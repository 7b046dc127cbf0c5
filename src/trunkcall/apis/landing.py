"""What a browser or a load balancer asks first: `/`, `/health` and `/ready`; names are for those who may use them."""

from __future__ import annotations

import html
from collections.abc import Callable, Sequence
from functools import partial
from typing import Final, Literal

import msgspec

from trunkcall import __version__
from trunkcall.control.condition import Condition
from trunkcall.control.services import Services
from trunkcall.core.errors import ServingError
from trunkcall.core.models import ModelView
from trunkcall.core.ports import Exchange, Response, Route

_JSON: Final = ((b"content-type", b"application/json"),)
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


def curl_line(url: str, model: str, closed: bool = False) -> str:
    """A command to paste that asks a model something; closed: with a place for the key."""
    messages = '[{"role": "user", "content": "Who are you?"}]'
    key = " -H 'authorization: Bearer KEY'" if closed else ""
    body = f'{{"model": "{model}", "stream": true, "messages": {messages}}}'
    return f"curl -N {url}/v1/chat/completions -H 'content-type: application/json'{key} \\\n  -d '{body}'"


class Readiness(msgspec.Struct, frozen=True):
    """What /ready says; degraded: requests are answered, but an operator should look.

    reasons, failed_models: as far as the caller may be told.
    """

    status: Literal["ready", "degraded", "draining"]
    reasons: tuple[str, ...]
    failed_models: tuple[str, ...]


class Landing:
    """Fits core.ports.Api. /health: the process answers; /ready: it can take requests, and what is amiss."""

    name = "landing"
    plane: Literal["inference", "control", "worker"] = "control"

    def __init__(self, services: Services) -> None:
        self._dispatch = services.dispatch
        self._admission = services.serving.admission
        self._condition = services.condition

    def routes(self) -> Sequence[Route]:
        """What is served."""
        return (
            Route("GET", "/", self._page),
            Route("GET", "/health", self._health),
            Route("HEAD", "/health", self._health),
            Route("GET", "/ready", self._ready),
            Route("HEAD", "/ready", self._ready),
        )

    def failure(self, error: ServingError) -> Response:
        """The error as plain JSON."""
        return Response(error.status, msgspec.json.encode({"error": {"message": error.message}}))

    async def _page(self, exchange: Exchange) -> None:
        views = self._dispatch.views()
        seen = [view for view in views if self._admission.may_see(exchange.principal, view.name)]
        rows = "".join(map(_row, seen))
        if not views:
            rows = "<tr><td colspan=4>No model yet: trunkcall models add</td></tr>"
        elif len(seen) < len(views):
            rows += f"<tr><td colspan=4>{len(views) - len(seen)} that this caller&#x27;s key does not open</td></tr>"
        host = (exchange.header(b"host") or b"127.0.0.1:8000").decode("latin-1")
        curl = curl_line(f"http://{host}", seen[0].name if seen else "MODEL", self._admission.closed)
        page = _PAGE.format(version=__version__, rows=rows, curl=html.escape(curl))
        await exchange.respond(Response(200, page.encode(), _HTML))

    async def _health(self, exchange: Exchange) -> None:
        await exchange.respond(Response(200, b'{"status":"ok"}'))

    async def _ready(self, exchange: Exchange) -> None:
        may_see = partial(self._admission.may_see, exchange.principal)
        inside = self._admission.may_look_inside(exchange.principal)
        found = readiness(self._dispatch.ending, self._dispatch.views(), self._condition(), may_see, inside)
        headers = _JSON if found.status != "draining" else (*_JSON, (b"retry-after", b"5"))
        await exchange.respond(
            Response(503 if found.status == "draining" else 200, msgspec.json.encode(found), headers)
        )


def readiness(
    ending: bool,
    views: Sequence[ModelView],
    condition: Condition,
    may_see: Callable[[str], bool] = lambda model: True,
    inside: bool = True,
) -> Readiness:
    """What is amiss, by how much of it a balancer should heed: only a server that ends takes no requests.

    may_see: whether the caller may be told of a model; inside: whether it may be told of the server's own paths and
    addresses, which errors of a disk or a database quote.
    """
    failed = [
        view.name for view in views if view.replicas and all(replica.state == "failed" for replica in view.replicas)
    ]
    seen = tuple(filter(may_see, failed))
    reasons = [f"the model {name!r} has failed: `trunkcall models show {name}` says why" for name in seen]
    if len(seen) < len(failed):
        reasons.append(f"models that this caller may not ask for have failed: {len(failed) - len(seen)}")
    for health, what in (
        (condition.journal, "requests wait in memory to be noted"),
        (condition.ledger, "requests wait in the journal"),
    ):
        if not health.ok:
            reasons.append(f"{what}: {health.reason}" if inside else what)
    if condition.rows_lost:
        reasons.append(f"{condition.rows_lost} requests could not be noted")
    if ending:
        return Readiness("draining", ("the server is shutting down", *reasons), seen)
    return Readiness("degraded" if reasons else "ready", tuple(reasons), seen)


def _row(view: ModelView) -> str:
    states = sorted({replica.state for replica in view.replicas})
    running = sum(replica.in_flight for replica in view.replicas)
    name, state = html.escape(view.name), ", ".join(states).replace("off", "off (starts on first use)")
    return f"<tr><td>{name}</td><td>{state}</td><td>{running}</td><td>{view.waiting}</td></tr>"
