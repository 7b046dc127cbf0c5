"""The page at `/`: its files, which need no key, and the JSON that is its own."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from functools import cache
from pathlib import Path
from typing import Any, Final, Literal, TypeVar

import msgspec

from trunkcall.control.operations import KeyView
from trunkcall.control.services import Services
from trunkcall.core.errors import ServingError
from trunkcall.core.ports import Exchange, Header, Response, Route
from trunkcall.protocols import own_json
from trunkcall.web.asking import Asking
from trunkcall.web.conversations import Conversations
from trunkcall.web.files import File, read_files
from trunkcall.web.models import PageModels, page_models
from trunkcall.web.options import SiteOptions
from trunkcall.web.session import SESSION, Session, session
from trunkcall.web.templates import Prompt, Templates, Unrendered, rendered, templates

STATIC: Final = Path(__file__).parent / "static"

_JSON: Final[tuple[Header, ...]] = (
    (b"content-type", b"application/json"),
    (b"cache-control", b"no-store"),
    (b"x-content-type-options", b"nosniff"),
)


class Usage(msgspec.Struct, frozen=True):
    """What GET /web/api/usage tells: the caller's own key, null without one that is kept here."""

    key: KeyView | None


_Body = TypeVar("_Body", bound=msgspec.Struct)


class Site:
    """Fits core.ports.Api; paths are `/` and below /web."""

    name = "web"
    plane: Literal["inference", "control", "worker"] = "control"
    Options = SiteOptions

    def __init__(self, services: Services, options: SiteOptions | None = None) -> None:
        self._services = services
        self._options = options or SiteOptions()
        self._files = _files()
        self._asking = Asking(services)
        self._conversations = Conversations(self._options.conversations, services)
        self.open_paths = frozenset({SESSION, *(file.path for file in self._files)})

    def routes(self) -> Sequence[Route]:
        """What is served."""
        return (
            *(route for file in self._files for route in file.routes()),
            Route("GET", SESSION, _telling(self._session)),
            Route("GET", "/web/api/models", _telling(self._models)),
            Route("GET", "/web/api/usage", _telling(self._usage)),
            Route("GET", "/web/api/templates", _telling(self._templates)),
            Route("POST", "/web/api/render", _answering(Unrendered, self._render)),
            *self._asking.routes(),
            *self._conversations.routes(),
        )

    def failure(self, error: ServingError) -> Response:
        """The error with its kind, for programs, and its message, for people."""
        return own_json.failure(error)

    def _session(self, exchange: Exchange) -> Session:
        return session(self._services, self._options, exchange)

    def _models(self, exchange: Exchange) -> PageModels:
        return page_models(self._services, exchange.principal)

    def _usage(self, exchange: Exchange) -> Usage:
        keys = self._services.operations.keys
        try:
            return Usage(keys.view(exchange.principal) if exchange.principal else None)
        except ServingError:
            # This machine's own administrator, whose key is kept nowhere.
            return Usage(None)

    def _templates(self, exchange: Exchange) -> Templates:
        return templates()

    async def _render(self, exchange: Exchange, asked: Unrendered) -> Prompt:
        return rendered(asked)


@cache
def _files() -> tuple[File, ...]:
    return read_files(STATIC)


def _telling(tell: Callable[[Exchange], Any]) -> Callable[[Exchange], Awaitable[None]]:
    """A handler that answers with what `tell` gives."""

    async def handle(exchange: Exchange) -> None:
        await exchange.respond(Response(200, msgspec.json.encode(tell(exchange)), _JSON))

    return handle


def _answering(
    shape: type[_Body], answer: Callable[[Exchange, _Body], Awaitable[Any]]
) -> Callable[[Exchange], Awaitable[None]]:
    """A handler that reads a body of this shape and answers with what `answer` gives."""
    decoder = msgspec.json.Decoder(shape)

    async def handle(exchange: Exchange) -> None:
        asked = own_json.read_body(await own_json.json_body(exchange), decoder)
        await exchange.respond(Response(200, msgspec.json.encode(await answer(exchange, asked)), _JSON))

    return handle
