"""How the pauses grow, and that they end."""

from __future__ import annotations

import pytest
from backends.clock import Clock

from trunkcall.backends import patience as module
from trunkcall.backends.patience import Patience, next_pause
from trunkcall.core.errors import ServingError


@pytest.mark.parametrize(
    ("tried", "left", "pause"),
    [
        (0, 60, 0.05),
        (1, 60, 0.1),
        (4, 60, 0.8),
        (5, 60, 1.0),
        (100_000, 60, 1.0),
        (5, 0.3, 0.3),
        (0, 0.01, 0.01),
        (0, 0, None),
        (3, 1e-7, None),
        (3, -1, None),
    ],
)
def test_next_pause(tried: int, left: float, pause: float | None) -> None:
    assert next_pause(tried, 0.05, 1.0, left) == pause


@pytest.mark.anyio
async def test_patience_ends_with_a_time_to_come_back(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "asyncio", Clock())
    patience = Patience(0.01, 0.02, 0.05)
    pauses = 0
    with pytest.raises(ServingError, match=r"the executor was busy for 0\.05 s") as raised:
        while True:
            await patience.pause("the executor")
            pauses += 1
    assert raised.value.kind == "overloaded"
    assert raised.value.retry_after
    assert pauses == 3
