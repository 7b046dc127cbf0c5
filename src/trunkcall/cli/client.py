"""The command line's own HTTP calls to a server, on the standard library."""

from __future__ import annotations

import os
from collections.abc import Generator
from contextlib import closing, contextmanager
from http.client import HTTPConnection, HTTPException, HTTPResponse, HTTPSConnection
from typing import Any, NoReturn, TypeVar
from urllib.parse import urlsplit

import msgspec

from trunkcall.core.errors import STATUS, Kind, ServingError

T = TypeVar("T")

CONNECT_SECONDS = 5.0
ANSWER_SECONDS = 600.0
"""A model that is loaded on first use answers late."""


class Server:
    """A server by its base URL, with the key that opens it; patience: seconds for each part of an answer."""

    def __init__(self, url: str, key: str | None = None, patience: float = ANSWER_SECONDS) -> None:
        parts = urlsplit(url if "://" in url else f"http://{url}")
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise ServingError(
                "bad_request", f"--url: {url!r} is not a server's address, such as http://127.0.0.1:8000"
            )
        self.url = f"{parts.scheme}://{parts.netloc}{parts.path.rstrip('/').removesuffix('/v1')}"
        self._kind = HTTPSConnection if parts.scheme == "https" else HTTPConnection
        self._netloc = parts.netloc.rpartition("@")[2]
        self._prefix = parts.path.rstrip("/").removesuffix("/v1")
        self._key = key or os.environ.get("TRUNKCALL_API_KEY")
        self._patience = patience

    def read(self, path: str, shape: type[T]) -> T:
        """GET a value; raises ServingError with the server's own message, or when it has another shape."""
        return self.ask("GET", path, shape)

    def ask(self, method: str, path: str, shape: type[T], body: Any = None) -> T:
        """One call and its answer; raises ServingError as `read` does."""
        with self.open(method, path, body) as response:
            data = response.read()
        try:
            return msgspec.json.decode(data, type=shape)
        except msgspec.DecodeError:
            raise self._stranger(path) from None

    def call(self, method: str, path: str, body: Any = None) -> None:
        """One call whose answer is its success; raises ServingError with the server's own message."""
        with self.open(method, path, body) as response:
            response.read()

    def events(self, path: str) -> Generator[tuple[str, bytes]]:
        """The server-sent events of an answer, each with its kind, until the server ends it; raises ServingError."""
        with self.open("GET", path) as response:
            if not (response.getheader("content-type") or "").startswith("text/event-stream"):
                raise self._stranger(path)
            kind = ""
            for line in response:
                name, _, value = line.rstrip(b"\r\n").partition(b": ")
                if name == b"event":
                    kind = value.decode("utf-8", "replace")
                elif name == b"data":
                    yield kind, value

    @contextmanager
    def open(self, method: str, path: str, body: Any = None) -> Generator[HTTPResponse]:
        """Send a request and give its answer once the status is good; leaving closes the connection."""
        headers = {"accept": "application/json"}
        if body is not None:
            headers["content-type"] = "application/json"
        if self._key:
            headers["authorization"] = f"Bearer {self._key}"
        try:
            with closing(self._kind(self._netloc, timeout=CONNECT_SECONDS)) as connection:
                connection.connect()
                connection.sock.settimeout(self._patience)
                data = None if body is None else msgspec.json.encode(body)
                connection.request(method, self._prefix + path, data, headers)
                response = connection.getresponse()
                if response.status >= 400:
                    _refused(response.status, response.read(), f"{self.url}{path}")
                yield response
        except (OSError, HTTPException) as error:
            raise ServingError(
                "unreachable", f"no answer from {self.url}: {error}. Start it with: trunkcall up"
            ) from None

    def _stranger(self, path: str) -> ServingError:
        return ServingError("upstream_error", f"{self.url}{path} did not answer as Trunkcall does")


def message_of(body: Any) -> str | None:
    """The words of an error body, `{"error": {"message": …}}`."""
    match body:
        case {"error": {"message": str(message)}} | {"error": str(message)} | {"message": str(message)}:
            return message
        case _:
            return None


def _refused(status: int, data: bytes, where: str) -> NoReturn:
    try:
        message = message_of(msgspec.json.decode(data))
    except msgspec.DecodeError:
        message = None
    kinds: dict[int, Kind] = {code: kind for kind, code in reversed(STATUS.items())}
    said = message or f"{where} answered {status}"
    if status == 401:
        said = f"{said.rstrip('.')}. Give a key with --key or TRUNKCALL_API_KEY"
    raise ServingError(kinds.get(status, "upstream_error"), said)
