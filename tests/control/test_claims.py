"""What loading replicas will take of the GPUs."""

from __future__ import annotations

from trunkcall.control.claims import Claims, after
from trunkcall.core.models import Machine


def test_claims_are_taken_of_the_roomiest() -> None:
    machine = Machine(1, 1, ("a", "b"), (100, 100), (50, 90))
    assert after(machine, ()).gpu_free == (50, 90)
    assert after(machine, (60,)).gpu_free == (50, 30)
    assert after(machine, (60, 30)).gpu_free == (20, 30)
    assert after(machine, (100,)).gpu_free == (40, 0)
    assert after(machine, (500,)).gpu_free == (0, 0)
    assert after(Machine(1, 1), (60,)) == Machine(1, 1)


def test_each_claim_is_given_back_once() -> None:
    claims = Claims()
    machine = Machine(1, 1, ("a",), (100,), (100,))
    claims.claim("m/0", 60)
    claims.claim("n/0", 30)
    assert claims.left(machine).gpu_free == (10,)
    for settled in (1, 2):
        claims.settle("m/0")
        assert (claims.left(machine).gpu_free, claims.settled) == ((70,), settled)
    assert claims.settled_at > 0
