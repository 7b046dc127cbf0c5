"""The page's files: in memory, compressed once, each under its exact path."""

from __future__ import annotations

import asyncio
import gzip
import hashlib
from functools import partial
from pathlib import Path
from typing import Final

from trunkcall.core.ports import Exchange, Header, Response, Route

PAGE: Final = "index.html"
"""The file that is served as `/`."""
PREFIX: Final = "/web/"

_TYPES: Final = {
    ".css": b"text/css; charset=utf-8",
    ".html": b"text/html; charset=utf-8",
    ".ico": b"image/x-icon",
    ".js": b"text/javascript; charset=utf-8",
    ".json": b"application/json",
    ".png": b"image/png",
    ".svg": b"image/svg+xml",
    ".webmanifest": b"application/manifest+json",
    ".webp": b"image/webp",
    ".woff2": b"font/woff2",
}
_OTHERWISE: Final = b"text/plain; charset=utf-8"
"""Licences."""
_PACKED: Final = frozenset({".ico", ".png", ".webp", ".woff2"})
"""What is compressed already."""

_POLICY: Final = b"; ".join(
    (
        b"default-src 'none'",
        b"script-src 'self'",
        b"style-src 'self'",
        b"img-src 'self' data: blob:",
        b"font-src 'self'",
        b"connect-src 'self'",
        b"manifest-src 'self'",
        b"base-uri 'none'",
        b"form-action 'none'",
        b"frame-ancestors 'none'",
        # No text becomes HTML or a script's address but through lib/trusted.js.
        b"require-trusted-types-for 'script'",
        b"trusted-types trunkcall",
    )
)
_HEADERS: Final[tuple[Header, ...]] = (
    # Looked at again each time, which an unchanged file answers with 304.
    (b"cache-control", b"no-cache"),
    (b"vary", b"accept-encoding"),
    (b"content-security-policy", _POLICY),
    (b"x-content-type-options", b"nosniff"),
    (b"referrer-policy", b"no-referrer"),
    (b"cross-origin-opener-policy", b"same-origin"),
    (b"cross-origin-resource-policy", b"same-origin"),
)


class File:
    """One file as it was at the start."""

    def __init__(self, name: str, body: bytes) -> None:
        """name: its path below the folder."""
        suffix = Path(name).suffix
        self.path = "/" if name == PAGE else PREFIX + name
        self._type = _TYPES.get(suffix, _OTHERWISE)
        self._body = body
        self._digest = hashlib.sha256(body).hexdigest()[:32].encode()
        self._packs = suffix not in _PACKED
        self._compressed = b""

    def routes(self) -> tuple[Route, Route]:
        """How it is had."""
        return Route("GET", self.path, self._answer), Route("HEAD", self.path, self._answer)

    async def _answer(self, exchange: Exchange) -> None:
        packed = self._packs and accepts_gzip(exchange.header(b"accept-encoding") or b"")
        tag = b'"%b-gzip"' % self._digest if packed else b'"%b"' % self._digest
        headers = (*_HEADERS, (b"etag", tag))
        if is_known(tag, exchange.header(b"if-none-match") or b""):
            await exchange.respond(Response(304, b"", headers))
            return
        headers = ((b"content-type", self._type), *headers)
        if not packed:
            await exchange.respond(Response(200, self._body, headers))
            return
        if not self._compressed:
            self._compressed = await asyncio.to_thread(partial(gzip.compress, self._body, mtime=0))
        await exchange.respond(Response(200, self._compressed, ((b"content-encoding", b"gzip"), *headers)))


def read_files(folder: Path) -> tuple[File, ...]:
    """All files of a folder and those below it; no links, which could lead out of it."""
    found = sorted(path for path in folder.rglob("*") if path.is_file() and not path.is_symlink())
    return tuple(File(path.relative_to(folder).as_posix(), path.read_bytes()) for path in found)


def accepts_gzip(header: bytes) -> bool:
    """Whether the value of an Accept-Encoding header takes gzip."""
    wanted: dict[bytes, bool] = {}
    for word in header.lower().split(b","):
        coding, _, parameters = word.partition(b";")
        name, _, weight = parameters.partition(b"=")
        wanted[coding.strip()] = name.strip() != b"q" or weight.strip().strip(b"0.") != b""
    return wanted.get(b"gzip", wanted.get(b"*", False))


def is_known(tag: bytes, header: bytes) -> bool:
    """Whether the value of an If-None-Match header names this tag."""
    known = {word.strip().removeprefix(b"W/") for word in header.split(b",")}
    return tag in known or b"*" in known
