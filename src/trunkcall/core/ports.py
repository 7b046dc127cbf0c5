"""The seams: what a backend, an engine, an api and a placement are to the rest."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import AbstractAsyncContextManager
from typing import Any, Literal, Protocol, runtime_checkable

import msgspec

from trunkcall.core.errors import ServingError
from trunkcall.core.events import Event
from trunkcall.core.meter import Meter
from trunkcall.core.models import Health, LaunchSpec, Machine, ModelSettings
from trunkcall.core.requests import Count, Embed, Generate, Tokens, Vectors, Wire
from trunkcall.core.trace import Operation, Trace

API_VERSION = 1
"""Of the plugin interfaces in this file; experimental until 1.0."""

Header = tuple[bytes, bytes]


class Response(msgspec.Struct, frozen=True):
    """A whole HTTP answer; content-length is added when it is sent."""

    status: int
    body: bytes
    headers: tuple[Header, ...] = ((b"content-type", b"application/json"),)


class Watch(Protocol):
    """A look-out for something; `close` ends it."""

    def close(self) -> None: ...


class Exchange(Protocol):
    """One HTTP request and the way to answer it; header names are lower-case on both ways."""

    method: str
    path: str
    query: bytes
    headers: list[Header]
    parameters: dict[str, str]
    """What the route's pattern captured."""
    client: str
    id: str
    """Unique per request; sent back as x-trunkcall-request-id."""
    principal: str
    """The name of the caller's key; empty without one."""
    started: bool
    """A head has been sent, so that no other answer can be given."""
    complete: bool
    """The last byte of the answer has been handed on."""

    @property
    def extra_headers(self) -> list[Header]:
        """Added to whatever answer is given."""
        ...

    @extra_headers.setter
    def extra_headers(self, headers: list[Header]) -> None: ...

    @property
    def meter(self) -> Meter | None:
        """What the call comes to; None for what is no call of a model."""
        ...

    @meter.setter
    def meter(self, meter: Meter | None) -> None: ...

    @property
    def unread(self) -> int:
        """Bytes of the answer that the client is too slow to take; 0 while it keeps up."""
        ...

    def header(self, name: bytes) -> bytes | None:
        """The value of the first header of this lower-case name."""
        ...

    async def body(self) -> bytes:
        """The whole request body; raises ServingError (too_large) over the listener's limit."""
        ...

    async def respond(self, response: Response) -> None:
        """Send a whole answer; does nothing when one has begun."""
        ...

    async def begin(self, status: int, headers: Sequence[Header]) -> None:
        """Decide on the head of an answer that comes in pieces."""
        ...

    async def write(self, data: bytes) -> None:
        """Send a piece; waits while the client does not read; raises ServingError (cancelled) when it has left."""
        ...

    def push(self, data: bytes) -> bool:
        """Send a piece at once; gives whether there is room for another, else `write` goes on, which waits."""
        ...

    async def finish(self, data: bytes = b"") -> None:
        """Send the last piece."""
        ...

    def cancel(self) -> None:
        """Cancel the task that handles this exchange."""
        ...

    def when_gone(self, callback: Callable[[], None]) -> Watch:
        """Call back once when the client leaves before the answer is complete."""
        ...


class Answer(Protocol):
    """An upstream's HTTP answer: its head is in, its body comes piece by piece as read."""

    status: int
    headers: list[Header]
    streamed: bool
    """The body comes over time, as server-sent events do; else it is one whole."""

    def __aiter__(self) -> AsyncIterator[bytes]: ...

    async def whole(self) -> bytes:
        """The body at once, of what is not streamed; instead of the pieces."""
        ...


@runtime_checkable
class Pours(Protocol):
    """An Answer that can hand over its pieces as they come, without a turn of the task that reads it for each."""

    async def pour(self, push: Callable[[bytes], bool]) -> None:
        """Give pieces to `push` while that gives True; reading goes on after it, for the rest or the end."""
        ...


@runtime_checkable
class Retains(Protocol):
    """An Answer that can tell again, as events, what it has passed on.

    While it retains, only whole frames pass, so that what follows after a break stands on its own, and what the
    upstream says of its own failure, or an end in the middle, is raised as ServingError instead of passed on.
    """

    def retain(self) -> None:
        """Keep what passes; to be called before the first piece is taken."""
        ...

    def retold(self, request: Generate) -> list[Event] | None:
        """The events of what was passed on, without Fault; None when it was more than is kept.

        request: what was asked, as the api reads it.
        """
        ...


class Backend(Protocol):
    """How to talk to one replica."""

    protocols: frozenset[str]
    """What it can forward byte for byte."""

    async def health(self) -> Health:
        """Probe the replica; never raises."""
        ...

    async def aclose(self) -> None:
        """Give back connections."""
        ...


@runtime_checkable
class Generates(Protocol):
    """A backend that answers Generate; leaving the context stops the work."""

    def open(self, request: Generate, meter: Meter) -> AbstractAsyncContextManager[AsyncIterator[Event]]: ...


@runtime_checkable
class Forwards(Protocol):
    """A backend that passes its protocol's bytes through; leaving the context stops the work.

    It notes usage, finish and progress of what passes in the meter.
    """

    def forward(self, wire: Wire, meter: Meter) -> AbstractAsyncContextManager[Answer]: ...


@runtime_checkable
class Embeds(Protocol):
    """A backend that gives vectors; it notes in the meter what of a request it had to drop."""

    async def embed(self, request: Embed, meter: Meter) -> Vectors: ...


@runtime_checkable
class Counts(Protocol):
    """A backend that counts tokens."""

    async def count(self, request: Count) -> Tokens: ...


class Told(msgspec.Struct, frozen=True):
    """What a replica tells of itself: whether it sleeps, and what it works at, for whomever.

    running and waiting count requests; full: the part of the memory for them that is taken, from 0 to 1.
    """

    asleep: bool = False
    running: int = 0
    waiting: int = 0
    full: float = 0.0


class Controls(Protocol):
    """What a replica can be asked and told beside its work; each raises ServingError, `unsupported` with the remedy."""

    adapters: set[str]
    """Names of adapters, which are asked for as they are; written by who offers them."""

    async def look(self) -> Told | None:
        """What it tells of itself now; None when it tells nothing."""
        ...

    async def sleep(self) -> None:
        """Have it give its memory back; from then on calls hang until it is woken."""
        ...

    async def wake(self) -> None:
        """Returns when it can work again."""
        ...

    async def load_adapter(self, name: str, path: str) -> None:
        """Have it answer for `name` too, by the adapter at `path`."""
        ...

    async def unload_adapter(self, name: str) -> None:
        """Have it answer for `name` no longer."""
        ...


@runtime_checkable
class Controlled(Protocol):
    """A backend whose replica can be looked at and told things while it serves."""

    controls: Controls


Connect = Callable[[str, ModelSettings, str], Backend]
"""(URL, settings, model's name on the other side) -> backend; the type of an entry in trunkcall.backends."""


class Engine(Protocol):
    """What to start for a model; pure, starts nothing.

    `plan` raises ServingError with the remedy when the source or the options cannot work.
    """

    def plan(self, model: ModelSettings, machine: Machine) -> LaunchSpec: ...


class Handle(Protocol):
    """A started child."""

    pid: int
    address: str
    """Base URL, once `Ready` was seen."""

    def log(self) -> tuple[str, ...]:
        """The last lines it wrote to stdout and stderr."""
        ...

    def tail(self, number: int) -> tuple[int, tuple[str, ...]]:
        """The whole lines from this number on that are still there, and the number of the next; the first is 0."""
        ...


class Ready(msgspec.Struct, frozen=True):
    """The child answers at `address`; `about` is what it told of itself."""

    address: str
    about: dict[str, Any] = {}


class Exited(msgspec.Struct, frozen=True):
    """The child has ended; `reason` is its own error where it told one."""

    code: int
    reason: str


PlacementEvent = Ready | Exited


class Placement(Protocol):
    """Where a replica runs."""

    async def start(self, spec: LaunchSpec) -> Handle: ...

    async def stop(self, handle: Handle, grace: float) -> None:
        """Ask the child to end, and make it after `grace` seconds; returns when it is gone."""
        ...

    def memory(self, handles: Sequence[Handle]) -> list[int]:
        """Bytes that each child takes with what it started, 0 where that is not known; may take some milliseconds."""
        ...

    def watch(self, handle: Handle) -> AsyncIterator[PlacementEvent]:
        """Ready at most once, then Exited once, then the iterator ends."""
        ...


class Route(msgspec.Struct, frozen=True):
    """A method and a path; `{name}` captures a segment, `{name*}` the rest of the path."""

    method: str
    path: str
    handler: Callable[[Exchange], Awaitable[None]]


class Api(Protocol):
    """One client protocol served by us."""

    name: str
    plane: Literal["inference", "control", "worker"]

    def routes(self) -> Sequence[Route]: ...

    def failure(self, error: ServingError) -> Response:
        """The error in this protocol's own words, before the first byte."""
        ...


@runtime_checkable
class Resident(Protocol):
    """An api with work of its own while it is served: it registers elsewhere, or looks after who registered here."""

    async def live(self, url: str) -> None:
        """Do that work until cancelled; `url` is where the api's listener answers.

        Raises ServingError when the server has no purpose without it, which ends the server.
        """
        ...


class Emitter(Protocol):
    """Turns events into one answer of a protocol, streamed or whole."""

    content_type: bytes

    def feed(self, event: Event) -> bytes:
        """Bytes to send now; empty for a whole answer that is still growing."""
        ...

    def end(self) -> bytes:
        """What remains after the last event: a terminator, or the whole answer."""
        ...

    def fault(self, error: ServingError) -> bytes:
        """The error as the stream tells it after its first byte."""
        ...


class Traces(Protocol):
    """Where requests are traced; calls return at once and never raise."""

    def began(self, exchange: Exchange, operation: Operation) -> Trace: ...

    def ended(self, meter: Meter) -> None: ...


class Journal(Protocol):
    """Where requests are noted; calls return at once and never raise."""

    def open(self, meter: Meter) -> None: ...

    def close(self, meter: Meter) -> None: ...
