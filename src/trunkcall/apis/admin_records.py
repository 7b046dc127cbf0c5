"""What administration reads of the past: sums of use, and single requests with their stories."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Annotated, Any, Final

import msgspec

from trunkcall.apis.admin_operation import Ask, Nothing, Operation, operation
from trunkcall.control.services import Services
from trunkcall.control.stories import Stories, Story, Wanted, recorded
from trunkcall.core.errors import ServingError
from trunkcall.store.ledger import moment

MOST_REQUESTS: Final = 1000


class UsageQuery(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """by: what to group by, between commas; since and until: unix seconds or an ISO 8601 time, empty for no limit."""

    by: str = "model"
    since: str = ""
    until: str = ""


class Usage(msgspec.Struct, frozen=True):
    """One row for each group, with the columns that were grouped by and its sums; total: over all of them.

    since, until: what the sums are of, unix seconds: more than was asked for where only whole hours or days are kept
    of that time, less where the groups need single requests that are no longer kept.
    """

    rows: list[dict[str, Any]]
    total: dict[str, Any]
    since: float | None
    until: float | None


class RequestsQuery(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """model: as asked for or as served; key: its name; error: a kind, or `any`; before: `next` of the last answer."""

    limit: Annotated[int, msgspec.Meta(ge=1, le=MOST_REQUESTS)] = 100
    before: str = ""
    model: str = ""
    key: str = ""
    error: str = ""


class Requests(msgspec.Struct, frozen=True):
    """Requests, newest first; next: what `before` must be for those that are older, null at the end."""

    requests: list[Story]
    next: str | None


class RecordOperations:
    """What administration reads of requests."""

    def __init__(self, services: Services) -> None:
        self._stories: Stories = services.serving.stories
        self._records = services.operations.records

    def operations(self) -> Sequence[Operation]:
        """All of them."""
        return (
            operation(
                "GET",
                "/admin/usage",
                "Requests, tokens and cost from the ledger, in groups",
                self._usage,
                query=UsageQuery,
                gives=Usage,
                errors=("unreachable",),
            ),
            operation(
                "GET",
                "/admin/requests",
                "Single requests with their stories, newest first, running ones among them",
                self._requests,
                query=RequestsQuery,
                gives=Requests,
                errors=("unreachable",),
            ),
            operation(
                "GET",
                "/admin/requests/{name*}",
                "One request by its id, which every answer has as x-trunkcall-request-id",
                self._request,
                gives=Story,
                errors=("no_route", "unreachable"),
            ),
        )

    async def _usage(self, ask: Ask[UsageQuery, Nothing]) -> Usage:
        query = ask.query
        by = tuple(word for word in query.by.split(",") if word)
        since, until = _moment(query.since, "since"), _moment(query.until, "until")
        return Usage(**await self._records.usage(by, since, until))

    async def _requests(self, ask: Ask[RequestsQuery, Nothing]) -> Requests:
        query = ask.query
        before = _moment(query.before, "before")
        wanted = Wanted(query.model, query.key, query.error, before)
        found = self._stories.latest(query.limit, wanted)
        if len(found) < query.limit or found[-1].opened_at <= self._stories.complete_since:
            rows = await self._records.requests(
                limit=query.limit, before=before, model=query.model, key=query.key, error=query.error
            )
            found = merged([recorded(row) for row in rows], found)[: query.limit]
        more = len(found) == query.limit
        return Requests(found, repr(found[-1].opened_at) if more else None)

    async def _request(self, ask: Ask[Nothing, Nothing]) -> Story:
        found = self._stories.find(ask.name)
        if found is not None:
            return found
        rows = await self._records.requests(limit=1, id=ask.name)
        if not rows:
            raise ServingError(
                "no_route",
                f"there is no request {ask.name!r}; `trunkcall requests` and GET /admin/requests tell the latest",
                param="name",
            )
        return recorded(rows[0])


def merged(stored: Sequence[Story], kept: Sequence[Story]) -> list[Story]:
    """Both without doubles, newest first; what is kept in memory knows more."""
    found = {story.id: story for story in (*stored, *kept)}
    return sorted(found.values(), key=lambda story: -story.opened_at)


def _moment(text: str, name: str) -> float | None:
    if not text:
        return None
    try:
        return moment(text)
    except ServingError as error:
        raise ServingError("bad_request", f"{name}: {error.message}", param=name) from None
    except OverflowError:
        raise ServingError(
            "bad_request", f"{name}: {text!r} is too far from now ({time.time():.0f})", param=name
        ) from None
