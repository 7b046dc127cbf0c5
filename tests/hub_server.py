"""A server on loopback that speaks as much of the Hub's API as a download needs, and can misbehave."""

from __future__ import annotations

import hashlib
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import unquote

COMMIT = "a" * 40
LARGE = 4096
"""Files from this size on are kept apart, behind a redirection, as the Hub does with LFS."""


class Hub(ThreadingHTTPServer):
    """`files` by repository and path; `asked` has method, path, range and authorization of each request."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.files: dict[str, dict[str, bytes]] = {}
        self.commit = COMMIT
        self.token = ""
        self.gated = False
        self.asked: list[tuple[str, str, str, str]] = []
        self.cut: list[int] = []
        """Each number ends one answer after so many bytes, without a word."""
        self.lies: dict[str, bytes] = {}
        """Other content than was listed, by path."""
        self.sizes: dict[str, int] = {}
        """Other sizes than the true ones, listed by path."""
        self.ranges = True
        self.failing = 0
        """So many downloads are answered with 503."""
        self.hold = threading.Event()
        self.hold.set()
        """While it is not set, downloads stop after their first half."""
        self.url = f"http://127.0.0.1:{self.server_port}"
        self.apart = self
        """Where large files are."""

    def environ(self, folder: Path) -> dict[str, str]:
        """What leads huggingface_hub here, with its home in the folder."""
        return {"HF_ENDPOINT": self.url, "HF_HOME": str(folder), "HF_HUB_DISABLE_XET": "1"}


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: Hub

    def log_message(self, format: str, *args: object) -> None:
        pass

    def do_HEAD(self) -> None:
        self.do_GET()

    def do_GET(self) -> None:
        hub = self.server
        path = unquote(self.path.partition("?")[0])
        hub.asked.append((self.command, path, self.headers["range"] or "", self.headers["authorization"] or ""))
        if path.startswith("/blob/"):
            self.content(*path.removeprefix("/blob/").split("//"))
            return
        api = path.startswith("/api/models/")
        repo, _, rest = path.removeprefix("/api/models" if api else "")[1:].partition(
            "/revision/" if api else "/resolve/"
        )
        if hub.token and self.headers["authorization"] != f"Bearer {hub.token}":
            wrong = {"x-error-message": "Invalid credentials in Authorization header"}
            self.answer(401, headers=wrong if self.headers["authorization"] else {"x-error-code": "RepoNotFound"})
        elif repo not in hub.files:
            self.answer(404, headers={"x-error-code": "RepoNotFound"})
        elif api:
            self.info(repo, rest)
        elif hub.gated:
            self.answer(403, headers={"x-error-code": "GatedRepo"})
        else:
            self.file(repo, rest.partition("/")[2])

    def info(self, repo: str, revision: str) -> None:
        if revision not in {"main", self.server.commit, "v1"}:
            self.answer(404, headers={"x-error-code": "RevisionNotFound"})
            return
        siblings: list[dict[str, Any]] = []
        for path, data in self.server.files[repo].items():
            lfs = {"sha256": hashlib.sha256(data).hexdigest(), "size": len(data), "pointerSize": 134}
            about = {"rfilename": path, "size": self.server.sizes.get(path, len(data)), "blobId": git(data)}
            siblings.append(about | ({"lfs": lfs} if len(data) >= LARGE else {}))
        self.answer(200, json.dumps({"id": repo, "sha": self.server.commit, "siblings": siblings}).encode())

    def file(self, repo: str, path: str) -> None:
        data = self.server.files[repo].get(path)
        if data is None:
            self.answer(404, headers={"x-error-code": "EntryNotFound", "x-repo-commit": self.server.commit})
        elif len(data) < LARGE:
            self.content(repo, path, {"etag": f'"{git(data)}"', "x-repo-commit": self.server.commit})
        else:
            headers = {
                "x-repo-commit": self.server.commit,
                "x-linked-size": str(len(data)),
                "x-linked-etag": f'"{hashlib.sha256(data).hexdigest()}"',
                "location": f"{self.server.apart.url}/blob/{repo}//{path}",
            }
            self.answer(302, headers=headers)

    def content(self, repo: str, path: str, headers: dict[str, str] | None = None) -> None:
        hub = self.server
        if hub.failing and self.command == "GET":
            hub.failing -= 1
            self.answer(503)
            return
        data = hub.lies.get(path) or hub.files[repo][path]
        asked = self.headers["range"] if hub.ranges else None
        start = int(asked.removeprefix("bytes=").rstrip("-")) if asked else 0
        self.send_response(206 if asked else 200)
        for name, value in (headers or {}).items():
            self.send_header(name, value)
        self.send_header("content-length", str(len(data) - start))
        self.end_headers()
        if self.command == "HEAD":
            return
        rest = data[start:]
        if hub.cut and len(data) >= LARGE:
            rest = rest[: hub.cut.pop(0)]
            self.close_connection = True
        half = len(rest) // 2 if not hub.hold.is_set() else 0
        self.wfile.write(rest[:half])
        hub.hold.wait(30)
        try:
            self.wfile.write(rest[half:])
        except OSError:
            self.close_connection = True

    def answer(self, status: int, body: bytes = b"", headers: dict[str, str] | None = None) -> None:
        self.send_response(status)
        for name, value in (headers or {}).items():
            self.send_header(name, value)
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)


def git(data: bytes) -> str:
    """The hash that git gives a file."""
    return hashlib.sha1(b"blob %d\0%s" % (len(data), data)).hexdigest()


@contextmanager
def running_hub() -> Iterator[Hub]:
    """A hub, and a second one on another port that has its large files."""
    with Hub() as hub, Hub() as apart:
        hub.apart = apart
        apart.files, apart.cut, apart.lies = hub.files, hub.cut, hub.lies
        threads = [threading.Thread(target=one.serve_forever, kwargs={"poll_interval": 0.02}) for one in (hub, apart)]
        for thread in threads:
            thread.start()
        try:
            yield hub
        finally:
            for one in (hub, apart):
                one.hold.set()
                one.shutdown()
            for thread in threads:
                thread.join(10)
