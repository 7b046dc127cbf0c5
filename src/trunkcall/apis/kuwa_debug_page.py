"""Kuwa's debug page: one form with the kernel's records as JSON; and the pages that tell an error."""

from __future__ import annotations

import base64
import hashlib
import html
from http import HTTPStatus
from typing import Final

import msgspec

from trunkcall.apis.kuwa_http import HTML
from trunkcall.apis.kuwa_records import State
from trunkcall.core.ports import Response

PATH: Final = "/v1.0/worker/debug"

_SCRIPT: Final = """
const area = document.querySelector("textarea");
const fit = () => { area.style.height = "auto"; area.style.height = area.scrollHeight + 2 + "px"; };
area.addEventListener("input", fit);
addEventListener("resize", fit);
fit();
"""
_HASH: Final = base64.b64encode(hashlib.sha256(_SCRIPT.encode()).digest())
_POLICY: Final = (
    b"content-security-policy",
    b"default-src 'none'; style-src 'unsafe-inline'; form-action 'self'; frame-ancestors 'none'; "
    b"script-src 'sha256-%b'" % _HASH,
)
_STYLE: Final = """
:root { color-scheme: light dark; --line: color-mix(in srgb, CanvasText 22%, Canvas); }
* { box-sizing: border-box; }
body { font: 16px/1.55 system-ui, sans-serif; max-width: 56rem; margin: 2.5rem auto; padding: 0 1.25rem; }
h1 { font-size: 1.6rem; margin: 0 0 .25rem; } p { margin: .5rem 0 1rem; }
code, textarea { font: 14px/1.5 ui-monospace, monospace; }
code { overflow-wrap: anywhere; }
textarea { display: block; width: 100%; min-height: 6rem; margin-top: .25rem; padding: .8rem 1rem; resize: vertical;
  color: inherit; background: transparent; border: 1px solid var(--line); border-radius: .5rem; }
input[type=submit] { font: inherit; font-weight: 600; margin: 1rem 0; padding: .5rem 1.5rem; cursor: pointer;
  color: Canvas; background: CanvasText; border: 0; border-radius: .5rem; }
input[type=submit]:hover { opacity: .85; }
:focus-visible { outline: 2px solid Highlight; outline-offset: 2px; }
"""
_HEAD: Final = """<!doctype html>
<html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width, initial-scale=1">
<title>{title}</title>
<style>{style}</style></head><body>
"""
_BODY: Final = """<h1>Executors</h1>
<p>Who serves which name, as <code>[endpoint, state, history_id, user_id]</code>.</p>
<form method="POST" action="{path}">
<input type="hidden" name="seen" value="{seen}">
<label>Records as JSON
<textarea name="data" rows="4" cols="50">{records}</textarea></label>
<input type="submit" value="Submit">
</form>
<p>To reset a stuck executor, make its record <code>[endpoint, "READY", -1, -1]</code> and submit: what runs there is
ended. A record that is removed is forgotten; one that is added counts if it answers at <code>/health</code>.</p>
<script>{script}</script>
</body></html>
"""
_PHRASES: Final = {status.value: status.phrase for status in HTTPStatus}
_ERROR: Final = """<h1>{phrase}</h1>
<p>{message}</p>
</body></html>
"""
# Names come from whoever registers; so written they are the same JSON, and no markup.
_MARKUP: Final = str.maketrans({"<": "\\u003c", ">": "\\u003e", "&": "\\u0026"})


def page(state: State) -> Response:
    """The form with the records; the JSON stands in the textarea as it is, without HTML's escapes."""
    shown = msgspec.json.encode(state, order="deterministic")
    records = msgspec.json.format(shown, indent=2).decode().translate(_MARKUP)
    body = _BODY.format(path=PATH, seen=html.escape(shown.decode()), records=records, script=_SCRIPT)
    return _html(200, "Kuwa executors", body, (b"cache-control", b"no-store"), _POLICY)


def back() -> Response:
    """To the page after its form was taken."""
    link = f'<p>The records are at <a href="{PATH}">{PATH}</a>.</p>\n</body></html>\n'
    return _html(302, "Found", link, (b"location", PATH.encode()), _POLICY)


def error_page(status: int, message: str) -> Response:
    """An error as a page."""
    phrase = _PHRASES.get(status, "Error")
    body = _ERROR.format(phrase=phrase, message=html.escape(message))
    return _html(status, f"{status} {phrase}", body, _POLICY)


def _html(status: int, title: str, body: str, *headers: tuple[bytes, bytes]) -> Response:
    head = _HEAD.format(title=html.escape(title), style=_STYLE)
    return Response(status, (head + body).encode(), (HTML, *headers))
