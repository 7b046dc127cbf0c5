"""What stands at an address: each kind of server that is known here is asked for, all of them side by side."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Collection, Sequence
from typing import Final

import msgspec

from trunkcall.core.errors import ServingError
from trunkcall.core.models import Health, ModelSettings
from trunkcall.core.ports import Backend, Connect
from trunkcall.net.credentials import read_secret
from trunkcall.protocols.addresses import Place, places, read_address

PROBE_SECONDS: Final = 5.0
"""For each question, from the connection to the end of the answer."""

_LONGEST: Final = 300
"""Characters of a reason; a stranger may answer anything."""
_MOST: Final = 2000
"""Models of one server that are told."""


class Offered(msgspec.Struct, frozen=True):
    """A model that a server offers, and the source by which it is added here; name: empty where none is told."""

    name: str
    source: str


class Found(msgspec.Struct, frozen=True):
    """A kind of server that answers at the address; note: what should be known of it, for people."""

    kind: str
    models: tuple[Offered, ...]
    note: str = ""


class Tried(msgspec.Struct, frozen=True):
    """A kind that it is not, and why."""

    kind: str
    why: str


class Probed(msgspec.Struct, frozen=True):
    """What stands at an address, the best way to call it first; remedy: what to do when nothing was found."""

    found: tuple[Found, ...]
    tried: tuple[Tried, ...]
    remedy: str = ""


async def probe(url: str, key: str, find_connect: Callable[[str], Connect], schemes: Collection[str]) -> Probed:
    """Ask what stands at an address; takes PROBE_SECONDS at most.

    url: as people paste it; key: where the upstream's key stands, `env:NAME` or `file:PATH`, empty for none; schemes:
    of the backends that find_connect knows. Redirections are not followed.
    Raises ServingError (bad_request) for what is no address, and for a key that cannot be read.
    """
    if key:
        read_secret(key)
    asked = [
        (place, backend)
        for place in places(read_address(url), schemes)
        if (backend := _connected(place, key, find_connect)) is not None
    ]
    async with asyncio.TaskGroup() as tasks:
        asking = [(place, tasks.create_task(_ask(backend))) for place, backend in asked]
    return judge([(place, task.result()) for place, task in asking], key=bool(key))


def judge(answers: Sequence[tuple[Place, Health]], *, key: bool) -> Probed:
    """What the answers say together; key: they were asked with one."""
    found: dict[str, Found] = {}
    tried: dict[str, Tried] = {}
    # One kind may have been asked for at two places.
    for place, health in answers:
        if health.ok:
            found.setdefault(place.kind, _found(place, health, key))
        else:
            tried.setdefault(place.kind, Tried(place.kind, _why(health, key)[:_LONGEST]))
    others = tuple(one for kind, one in tried.items() if kind not in found)
    remedy = "" if found else _remedy([health for _, health in answers], others, key)
    return Probed(tuple(found.values()), others, remedy)


def _connected(place: Place, key: str, find_connect: Callable[[str], Connect]) -> Backend | None:
    """The backend for a place; None for one that takes no such address, or that lacks a package.

    Raises ServingError (bad_request) for a key that no header can carry.
    """
    try:
        return find_connect(place.scheme)(place.target, ModelSettings(name="probe", sources=(), key=key), "")
    except ServingError as error:
        if error.param == "key":
            raise
        return None


async def _ask(backend: Backend) -> Health:
    """What it says of itself, in time."""
    try:
        async with asyncio.timeout(PROBE_SECONDS):
            return await backend.health()
    except TimeoutError:
        return Health(False, f"no answer within {PROBE_SECONDS:g} s; check that a server of models has this port")
    finally:
        await backend.aclose()


def _found(place: Place, health: Health, key: bool) -> Found:
    notes: list[str] = []
    if place.whole:
        name = health.models[0] if health.models else ""
        models = (Offered(name, place.source()),)
    else:
        models = tuple(Offered(name, place.source(name)) for name in health.models[:_MOST])
    if not models:
        notes.append("it offers no model now")
    if len(health.models) > _MOST:
        notes.append(f"of its {len(health.models)} models the first {_MOST} are told")
    if key:
        notes.append("add it with the same `key`")
    return Found(health.what or place.kind, models, "; ".join(notes))


def _why(health: Health, key: bool) -> str:
    if not health.wants_key:
        return health.reason
    return f"{health.reason}: {'it does not accept this key' if key else 'give its key as env:NAME or file:PATH'}"


def _remedy(answers: Sequence[Health], tried: Sequence[Tried], key: bool) -> str:
    if any(health.wants_key for health in answers):
        return "It does not accept this key: check it." if key else "It wants a key: give it as env:NAME or file:PATH."
    reasons = {one.why for one in tried}
    if len(reasons) == 1:
        return f"Nothing answers there: {reasons.pop().rstrip('.')}."
    return (
        "It is none of the kinds that are known here. Check the port and the path: a page for people may have others "
        "than the API, and redirections are not followed. What speaks the OpenAI API without a list of models is added "
        "as openai:URL#MODEL."
    )
