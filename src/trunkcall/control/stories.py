"""The last requests and those that run: what happened to each, for people."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Iterator, Mapping
from typing import Any, Final, Literal

import msgspec

from trunkcall.control.news import News
from trunkcall.core.errors import STATUS
from trunkcall.core.meter import Meter
from trunkcall.store.ledger import ANY_ERROR

KEPT: Final = 250
"""Few enough for the processor's cache: with 1000 each request cost 1 to 4 us more. The ledger has the others."""
_NAME_LENGTH: Final = 256
"""Characters that are kept of a name, as in the ledger."""


class Story(msgspec.Struct, frozen=True, kw_only=True):
    """What happened to one request.

    model: the one that answers; asked: the name that was asked for where that is another; opened_at: unix seconds;
    queue_ms, first_token_ms, total_ms: since it came, so far while it waits or runs, None for what has not been;
    why: what chose its replica; attempts: tries before the first byte; resumes: how often it went on from another
    replica, resumed: how; estimated: its tokens are
    pieces of the answer and the prompt's as guessed at the end, as the engine said no usage (yet).
    """

    id: str
    state: Literal["waiting", "running", "ended"]
    model: str
    asked: str = ""
    key: str = ""
    protocol: str = ""
    stream: bool = False
    opened_at: float
    replica: str = ""
    why: str = ""
    queue_ms: float | None = None
    first_token_ms: float | None = None
    total_ms: float | None = None
    prompt_tokens: int = 0
    completion_tokens: int = 0
    cached_tokens: int | None = None
    estimated: bool = True
    cost: float = 0.0
    finish: str = ""
    error: str = ""
    status: int = 0
    dropped: tuple[str, ...] = ()
    attempts: int = 0
    resumes: int = 0
    resumed: str = ""


class Wanted(msgspec.Struct, frozen=True):
    """Which requests are asked for; an empty word stands for all.

    model: as asked for or as served; key: its name; error: a kind, or `any`; before: opened earlier, unix seconds.
    """

    model: str = ""
    key: str = ""
    error: str = ""
    before: float | None = None

    def has(self, meter: Meter) -> bool:
        """Whether a request is among them."""
        return (
            (not self.model or self.model in (meter.served, meter.model))
            and (not self.key or self.key == meter.key)
            and (not self.error or self.error == meter.error or (self.error == ANY_ERROR and bool(meter.error)))
            and (self.before is None or meter.opened_at < self.before)
        )


class Stories:
    """Keeps the meters of running requests and of the last that ended; a story is told when somebody asks."""

    def __init__(self, news: News | None = None) -> None:
        self._news = news or News()
        self._running: dict[int, Meter] = {}
        self._ended: deque[Meter] = deque(maxlen=KEPT)
        self._began_at = time.time()

    @property
    def complete_since(self) -> float:
        """All requests that were opened after this moment (unix seconds) are kept."""
        if len(self._ended) < KEPT:
            return self._began_at
        # Those that are no longer kept ended before this one did.
        first = self._ended[0]
        return first.opened_at + (first.ended or first.started) - first.started

    def began(self, meter: Meter) -> None:
        """A request has arrived."""
        self._running[id(meter)] = meter
        if self._news.wanted:
            self._news.tell("request", told(meter))

    def ended(self, meter: Meter) -> None:
        """A request has ended."""
        self._running.pop(id(meter), None)
        if len(meter.model) > _NAME_LENGTH:
            # A caller can make it as long as a body may be, and it is kept for long.
            meter.model, meter.served = meter.model[:_NAME_LENGTH], meter.served[:_NAME_LENGTH]
        self._ended.append(meter)
        if self._news.wanted:
            self._news.tell("request", told(meter))

    def running(self) -> Iterator[Meter]:
        """Those that wait or are answered now."""
        return iter(self._running.values())

    def over(self) -> Iterator[Meter]:
        """Those that ended, the last one first."""
        return reversed(self._ended)

    def latest(self, limit: int, wanted: Wanted) -> list[Story]:
        """The newest that are wanted, newest first."""
        found = [meter for meter in (*self._running.values(), *self._ended) if wanted.has(meter)]
        found.sort(key=lambda meter: -meter.opened_at)
        return [told(meter) for meter in found[:limit]]

    def find(self, id: str) -> Story | None:
        """The request of this id, None when it is not kept."""
        found = next((meter for meter in (*self._running.values(), *self._ended) if meter.id == id), None)
        return None if found is None else told(found)


def told(meter: Meter) -> Story:
    """A request's story by now."""
    now = time.monotonic()
    usage = meter.usage
    granted = meter.granted
    end = now if meter.ended is None else meter.ended
    # As in the ledger: what callers make up is no model.
    model = "" if granted is None and meter.error == "no_model" else meter.served
    return Story(
        id=meter.id,
        state="ended" if meter.ended is not None else "waiting" if granted is None else "running",
        model=_text(model[:_NAME_LENGTH]),
        asked=_text(meter.model[:_NAME_LENGTH]) if meter.model != model else "",
        key=meter.key,
        protocol=meter.protocol,
        stream=meter.stream,
        opened_at=meter.opened_at,
        replica=meter.replica,
        why=_text(meter.why),
        queue_ms=_ms(meter.started, end if granted is None else granted),
        first_token_ms=_ms(meter.started, meter.first),
        total_ms=_ms(meter.started, end),
        prompt_tokens=usage.prompt if usage is not None else meter.prompt,
        completion_tokens=usage.completion if usage is not None else meter.chunks,
        cached_tokens=usage.cached if usage is not None else None,
        estimated=usage is None,
        cost=meter.cost,
        finish=_text(meter.finish),
        error=meter.error,
        status=meter.status,
        dropped=tuple(_text(name) for name in meter.dropped),
        attempts=meter.attempts,
        resumes=meter.resumes,
        resumed=meter.resumed,
    )


def recorded(row: Mapping[str, Any]) -> Story:
    """A request's story as a row of the ledger tells it."""
    fields = {name: row[name] for name in Story.__struct_fields__ if row.get(name) is not None}
    dropped = str(row.get("dropped") or "")
    fields["dropped"] = tuple(word for word in dropped.split(",") if word)
    fields["state"] = "ended" if row.get("closed", True) else "running"
    return msgspec.convert(fields, Story)


def failed(error: str) -> bool:
    """Whether a request's error is a failure; a client that left is none."""
    return error in STATUS and error != "cancelled"


def _text(text: str) -> str:
    """What somebody else wrote, as JSON can say it: without lone surrogates."""
    return text if text.isascii() else text.encode("utf-8", "replace").decode()


def _ms(start: float, end: float | None) -> float | None:
    return None if end is None else round((end - start) * 1000, 3)
