"""The models that a caller may ask, as the page shows them: what is known of each, and nothing of where it runs."""

from __future__ import annotations

import time
from collections.abc import Iterable, Sequence
from functools import partial
from typing import Final, Literal, TypeVar

import msgspec

from trunkcall.control.pool import Pool, Replica
from trunkcall.control.services import Services
from trunkcall.core.about import About
from trunkcall.core.models import Price
from trunkcall.protocols.fastchat_named import NAMES

PageState = Literal["ready", "busy_elsewhere", "asleep", "loading", "off", "draining", "failed"]

_BEST_FIRST: Final[tuple[PageState, ...]] = (
    "ready",
    "busy_elsewhere",
    "asleep",
    "loading",
    "off",
    "draining",
    "failed",
)
_HIDDEN: Final = "it cannot be asked now; who administers this server can see why"

_T = TypeVar("_T")


class PageModel(msgspec.Struct, frozen=True, kw_only=True):
    """One model; what is not known of all its replicas, or not the same of them, is null. As in About, and:

    state: of its best replica; busy_elsewhere: an upstream works for others and said when to come again; progress: how
    far a start is, in words; template: a conversation template that its settings name; description: what serves it, in
    words.
    """

    name: str
    aliases: tuple[str, ...]
    state: PageState
    progress: str
    error: str
    waiting: int
    running: int
    replicas: int
    context: int | None
    images: bool | None
    tools: bool | None
    reasoning: bool | None
    adapters: tuple[str, ...]
    price: Price | None
    template: str
    description: str
    defaults: dict[str, int | float]


class PageModels(msgspec.Struct, frozen=True):
    """What GET /web/api/models tells."""

    models: list[PageModel]


def page_models(services: Services, principal: str) -> PageModels:
    """The models that a caller may ask, in the order of the server."""
    admission = services.serving.admission
    inside = admission.may_look_inside(principal)
    may_see = partial(admission.may_see, principal)
    seen = [pool for name, pool in services.dispatch.pools.items() if may_see(name)]
    return PageModels([_model(pool, tuple(filter(may_see, pool.adapters)), inside) for pool in seen])


def _model(pool: Pool, adapters: tuple[str, ...], inside: bool) -> PageModel:
    """inside: whether the caller may be told of paths and addresses, which errors quote."""
    settings = pool.settings
    states: list[PageState] = [_state(replica) for replica in pool.replicas]
    # One without replicas has failed.
    state = min((*states, _BEST_FIRST[-1]), key=_BEST_FIRST.index)
    errors = "; ".join(dict.fromkeys(_error(replica) for replica in pool.replicas if _error(replica)))
    starts = [replica.progress() for replica in pool.replicas if replica.state == "starting"]
    known = [_about(replica) for replica in pool.replicas]
    contexts = [about.context for about in known if about.context is not None]
    template: object = settings.options.get("template")
    return PageModel(
        name=settings.name,
        aliases=settings.aliases,
        state=state,
        progress=next(filter(None, starts), ""),
        error="" if state == "ready" or not errors else errors if inside else _HIDDEN,
        waiting=len(pool.queue),
        running=sum(replica.in_flight for replica in pool.replicas),
        replicas=len(pool.replicas),
        context=min(contexts) if contexts and len(contexts) == len(known) else None,
        images=_agreed(about.images for about in known),
        tools=_agreed(about.tools for about in known),
        reasoning=_agreed(about.reasoning for about in known),
        adapters=adapters,
        price=settings.price if settings.price != Price() else None,
        template=template if isinstance(template, str) and template in NAMES else "",
        description=_description(pool.replicas, known),
        defaults=_agreed(about.defaults for about in known) or {},
    )


def _state(replica: Replica) -> PageState:
    match replica.state:
        case "ready" if replica.breaker.shut(time.monotonic()):
            return "busy_elsewhere" if replica.breaker.busy else "failed"
        case "starting":
            return "loading"
        case state:
            return state


def _error(replica: Replica) -> str:
    return replica.error or (replica.breaker.why if replica.breaker.shut(time.monotonic()) else "")


def _about(replica: Replica) -> About:
    """What it told when it was ready last, on top of what its plan says."""
    planned = replica.spec.about if replica.spec else About()
    try:
        return msgspec.convert({**msgspec.to_builtins(planned), **replica.about}, About)
    except msgspec.ValidationError:
        # A program of others may tell what it likes.
        return planned


def _agreed(values: Iterable[_T | None]) -> _T | None:
    """What all replicas say; None where they differ."""
    found = list(values)
    return found[0] if found and all(value == found[0] for value in found) else None


def _description(replicas: Sequence[Replica], known: Sequence[About]) -> str:
    """Such as `llamacpp, 3.1 M parameters`."""
    served = dict.fromkeys((r.spec.engine if r.spec else "") or r.source.scheme for r in replicas)
    parameters = _agreed(about.parameters for about in known)
    size = [f"{_short(parameters)} parameters"] if parameters else []
    return ", ".join([*served, *size])


def _short(number: int) -> str:
    for unit, size in (("B", 10**9), ("M", 10**6)):
        if number >= size:
            return f"{number / size:.3g} {unit}"
    return str(number)
