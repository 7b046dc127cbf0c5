"""The page's files: what is sent for which headers, and what is in a folder."""

from __future__ import annotations

import gzip
from pathlib import Path
from typing import Any

import pytest

from trunkcall.core.ports import Response
from trunkcall.web.files import File, accepts_gzip, is_known, read_files

pytestmark = pytest.mark.anyio


@pytest.mark.parametrize(
    ("header", "takes"),
    [
        (b"", False),
        (b"gzip", True),
        (b"GZIP, deflate, br, zstd", True),
        (b"br, *", True),
        (b"gzip;q=0", False),
        (b"gzip; q=0.000, *", False),
        (b"*;q=0, gzip;q=0.5", True),
        (b"identity", False),
        (b"not-gzip", False),
    ],
)
async def test_who_takes_gzip(header: bytes, takes: bool) -> None:
    assert accepts_gzip(header) is takes


@pytest.mark.parametrize(
    ("header", "known"),
    [
        (b"", False),
        (b'"a"', True),
        (b'W/"a"', True),
        (b'"b", "a"', True),
        (b"*", True),
        (b'"a-gzip"', False),
        (b"a", False),
    ],
)
async def test_which_tags_are_known(header: bytes, known: bool) -> None:
    assert is_known(b'"a"', header) is known


class Asked:
    """Takes the answer to these headers."""

    response: Response

    def __init__(self, **headers: bytes) -> None:
        self._headers = {name.replace("_", "-").encode(): value for name, value in headers.items()}

    def header(self, name: bytes) -> bytes | None:
        return self._headers.get(name)

    async def respond(self, response: Response) -> None:
        self.response = response


async def answer(file: File, **headers: bytes) -> tuple[int, dict[bytes, bytes], bytes]:
    asked: Any = Asked(**headers)
    await file.routes()[0].handler(asked)
    return asked.response.status, dict(asked.response.headers), asked.response.body


async def test_a_file_is_sent_once_and_compressed_for_who_takes_it() -> None:
    body = b"const answer = 42;\n" * 100
    file = File("lib/x.js", body)
    assert [(route.method, route.path) for route in file.routes()] == [
        ("GET", "/web/lib/x.js"),
        ("HEAD", "/web/lib/x.js"),
    ]
    tags: set[bytes] = set()
    for takes in (b"gzip", b"identity"):
        for _ in range(2):
            status, headers, sent = await answer(file, accept_encoding=takes)
            assert (status, headers[b"content-type"]) == (200, b"text/javascript; charset=utf-8")
            assert headers.get(b"content-encoding") == (b"gzip" if takes == b"gzip" else None)
            assert (gzip.decompress(sent) if takes == b"gzip" else sent) == body
            assert (headers[b"vary"], headers[b"cache-control"]) == (b"accept-encoding", b"no-cache")
        tags.add(headers[b"etag"])
        again = await answer(file, accept_encoding=takes, if_none_match=headers[b"etag"])
        assert (again[0], again[2], again[1][b"etag"]) == (304, b"", headers[b"etag"])
        assert b"content-type" not in again[1]
    assert len(tags) == 2, "each form has a tag of its own"
    other = File("lib/x.js", body + b"\n")
    assert (await answer(other, if_none_match=b", ".join(tags)))[0] == 200


@pytest.mark.parametrize(
    ("name", "path", "kind", "packed"),
    [
        ("index.html", "/", b"text/html; charset=utf-8", True),
        ("styles/a.css", "/web/styles/a.css", b"text/css; charset=utf-8", True),
        ("images/a.svg", "/web/images/a.svg", b"image/svg+xml", True),
        ("vendor/a.woff2", "/web/vendor/a.woff2", b"font/woff2", False),
        ("images/a.png", "/web/images/a.png", b"image/png", False),
        ("vendor/a.LICENSE", "/web/vendor/a.LICENSE", b"text/plain; charset=utf-8", True),
    ],
)
async def test_types(name: str, path: str, kind: bytes, packed: bool) -> None:
    file = File(name, b"body")
    assert file.path == path
    _, headers, _ = await answer(file, accept_encoding=b"gzip")
    assert (headers[b"content-type"], b"content-encoding" in headers) == (kind, packed)


async def test_a_folder_without_links(tmp_path: Path) -> None:
    folder = tmp_path / "static"
    (folder / "deep" / "er").mkdir(parents=True)
    (tmp_path / "secret").write_text("s")
    (tmp_path / "outside").mkdir()
    (tmp_path / "outside" / "file.js").write_text("s")
    for name in ("index.html", "a.js", "deep/er/b.js"):
        (folder / name).write_text(name)
    (folder / "link.js").symlink_to(tmp_path / "secret")
    (folder / "linked").symlink_to(tmp_path / "outside")
    assert {file.path for file in read_files(folder)} == {"/", "/web/a.js", "/web/deep/er/b.js"}
