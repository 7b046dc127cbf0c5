"""A key as an administrator gives it: its role, the models it may ask for, and its limits."""

from __future__ import annotations

from typing import Annotated, Final, Literal, get_args

import msgspec
from msgspec import Meta

Role = Literal["admin", "user"]
"""admin may do everything; user may ask models, and nothing else."""
ROLES: Final[tuple[str, ...]] = get_args(Role)
Count = Annotated[int, Meta(ge=0, le=2**63 - 1)]
Money = Annotated[float, Meta(ge=0)]
Moment = Annotated[float, Meta(ge=0, le=253402300799)]
"""Unix seconds, up to the year 9999."""


class KeyEntry(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A key without its secret; limits that are None do not hold.

    models: names that it may ask for, empty for all; requests and tokens per minute; tokens and money per day and
    month (UTC), money as the models' prices count it; expires_at: unix seconds.
    """

    name: str
    role: Role = "user"
    models: tuple[str, ...] = ()
    requests_per_minute: Count | None = None
    tokens_per_minute: Count | None = None
    tokens_per_day: Count | None = None
    tokens_per_month: Count | None = None
    money_per_day: Money | None = None
    money_per_month: Money | None = None
    expires_at: Moment | None = None
