"""The address of a server as people paste it, and where each kind of server would answer if it stood there."""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Collection
from typing import Final
from urllib.parse import urlsplit

import msgspec

from trunkcall.core.errors import ServingError

_SCHEME: Final = re.compile(r"[a-zA-Z][a-zA-Z0-9+.-]*://")
_ROUTES: Final = re.compile(
    r"/(chat/completions|completions|embeddings|models|responses|messages|docs|openapi\.json|health|info|metrics"
    r"|generate|generate_stream|list_models|worker_\w+|v1\.0/worker/\w+)/?$"
)
"""Ends of what is pasted from a call instead of an address."""
_CLOUDS: Final = {
    "api.anthropic.com": ("anthropic", "Anthropic"),
    "generativelanguage.googleapis.com": ("gemini", "Gemini"),
}
"""Makers' own servers: elsewhere their lists of models look like those of the OpenAI API."""
_EXECUTOR: Final = "/chat"
"""Where a Kuwa executor answers unless it was told another path."""


class Address(msgspec.Struct, frozen=True):
    """origin: `http://host:port`; path: empty, or `/` and what stands before all routes of the server."""

    origin: str
    path: str = ""

    @property
    def host(self) -> str:
        """The host's name or number."""
        return urlsplit(self.origin).hostname or ""

    def __str__(self) -> str:
        return self.origin + self.path


class Place(msgspec.Struct, frozen=True):
    """Where one kind of server would answer.

    kind: for people; scheme and target: of the source, without a model; whole: it is one model, which its source does
    not name.
    """

    kind: str
    scheme: str
    target: str
    whole: bool = False

    def source(self, model: str = "") -> str:
        """The SOURCE string of one of its models."""
        return f"{self.scheme}:{self.target}" + (f"#{model}" if model and not self.whole else "")


def read_address(text: str) -> Address:
    """Read a URL, with or without its scheme, a path, a query; or `host:port`.

    Without a scheme it is http, but https for a name of the internet without a port.
    Raises ServingError (bad_request) for what cannot be the address of a server.
    """
    text = text.strip()
    try:
        parts = urlsplit(text if _SCHEME.match(text) else f"{_guessed(text)}://{text}")
        host, port = parts.hostname or "", parts.port
    except ValueError:
        host, port, parts = "", None, urlsplit("")
    if parts.scheme not in ("http", "https") or not host or not re.fullmatch(r"[!-~]+", text):
        raise ServingError(
            "bad_request",
            f"{text[:200]!r} is not the address of a server; write http://HOST:PORT, https://HOST/PATH or HOST:PORT",
            param="url",
        )
    if parts.username is not None:
        raise ServingError(
            "bad_request", "leave out the user and password before the @; a key is given as env:NAME", param="url"
        )
    named = f"[{host}]" if ":" in host else host
    path = _ROUTES.sub("", parts.path.rstrip("/")).rstrip("/")
    return Address(f"{parts.scheme}://{named}" + (f":{port}" if port is not None else ""), path)


def places(address: Address, schemes: Collection[str]) -> tuple[Place, ...]:
    """What may stand at an address, the more special kinds first.

    schemes: of the backends that there are; one that is not known here is asked at the address itself.
    """
    root = Address(address.origin, re.sub(r"/v1$", "", address.path))
    found = [Place("TGI", "tgi", str(root), whole=True), Place("FastChat", "fastchat", str(root))]
    if not root.path:
        found.append(Place("Kuwa kernel", "kuwa", root.origin))
    found.append(Place("Kuwa executor", "kuwa", f"{root.origin}{root.path or _EXECUTOR}", whole=True))
    cloud = _CLOUDS.get(address.host)
    if cloud is not None:
        found.append(Place(cloud[1], cloud[0], str(address)))
    known = {"openai", *(one.scheme for one in found), *(scheme for scheme, _ in _CLOUDS.values())}
    found += [Place(scheme, scheme, str(address)) for scheme in sorted(set(schemes) - known)]
    # As it is pasted first: not everybody's API is below /v1.
    targets = [str(address)] if address.path else []
    if not address.path.endswith("/v1"):
        targets.append(f"{address}/v1")
    found += [Place("OpenAI API", "openai", target) for target in targets]
    return tuple(one for one in found if one.scheme in schemes)


def _guessed(text: str) -> str:
    """The scheme of an address without one."""
    host = re.split(r"[/?#]", text, maxsplit=1)[0]
    if ":" in host or "." not in host:
        return "http"
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return "https"
    return "http"
