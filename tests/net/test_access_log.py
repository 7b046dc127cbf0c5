"""The access log's line for each kind of end."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any, cast

import pytest

from trunkcall.core.events import Usage
from trunkcall.core.meter import Meter
from trunkcall.net.access_log import told


def exchange(status: int, meter: Meter | None) -> Any:
    return SimpleNamespace(
        id="r1", client="10.0.0.7", principal="team", method="POST", path="/v1/x", query=b"key=s3cret", status=status,
        meter=meter, headers=[(b"authorization", b"Bearer s3cret")],
    )  # fmt: skip


def meter(usage: Usage | None, error: str) -> Meter:
    found = Meter("r1", model="m" * 1000, protocol="openai", stream=True, key="team")
    found.served, found.replica, found.chunks, found.usage, found.error = "m", "m/0", 7, usage, error
    return found


PLAIN = {"request": "r1", "client": "10.0.0.7", "key": "team", "method": "POST", "path": "/v1/x", "ms": 1234.6}
CALL = {"protocol": "openai", "model": "m", "replica": "m/0"}


@pytest.mark.parametrize(
    ("status", "found", "line"),
    [
        (200, None, {**PLAIN, "status": 200}),
        (0, None, {**PLAIN, "status": 499}),
        (200, meter(Usage(prompt=3, completion=5), ""), {**PLAIN, **CALL, "status": 200, "prompt": 3, "completion": 5, "error": ""}),
        (200, meter(None, "cancelled"), {**PLAIN, **CALL, "status": 200, "prompt": 0, "completion": 7, "error": "cancelled"}),
    ],
)  # fmt: skip
def test_a_line(status: int, found: Meter | None, line: dict[str, Any]) -> None:
    assert told(cast(Any, exchange(status, found)), 1.23456) == line
