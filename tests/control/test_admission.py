"""What a call may cost, held and settled; which models a key is for; and what its caller is told."""

from __future__ import annotations

import json
import time
from typing import Any, cast

import msgspec
import pytest
from control.test_access import keyring_of

from trunkcall.control.admission import Admission, most_tokens
from trunkcall.control.calls import EmbedCall, GenerateCall
from trunkcall.core.errors import ServingError
from trunkcall.core.events import Usage
from trunkcall.core.keys import KeyEntry
from trunkcall.core.meter import Meter
from trunkcall.core.models import ModelSettings, Price, Source
from trunkcall.core.requests import Wire
from trunkcall.protocols import openai as codec
from trunkcall.store.ledger import Spent

CHEAP = ModelSettings(name="cheap", sources=(Source("x"),), aliases=("also",), price=Price(1.0, 2.0))
DEAR = ModelSettings(name="dear", sources=(Source("x"),), price=Price(100.0, 200.0, 10.0))
MODELS = {"cheap": CHEAP, "also": CHEAP, "dear": DEAR}


class Exchange:
    def __init__(self) -> None:
        self.extra_headers: list[tuple[bytes, bytes]] = []

    @property
    def told(self) -> dict[str, str]:
        return {name.decode(): value.decode() for name, value in self.extra_headers}


class Desk:
    """An admission with one key, `k`, and what it did."""

    def __init__(self, **limits: Any) -> None:
        self.keyring = keyring_of(KeyEntry(name="k", **limits), KeyEntry(name="free"))
        self.admission = Admission(self.keyring, MODELS.get)
        account = self.keyring.find("k")
        assert account is not None
        self.credits = account.credits
        self.told: dict[str, str] = {}

    def admit(self, call: Any, model: str = "cheap", key: str = "k") -> Meter:
        meter = Meter("r", model=model, protocol="openai", stream=True, key=key)
        exchange = Exchange()
        try:
            self.admission.admit(cast(Any, exchange), meter, MODELS.get(model), call)
        finally:
            self.told = exchange.told
        return meter

    def refusal(self, call: Any, model: str = "cheap") -> ServingError:
        with pytest.raises(ServingError) as raised:
            self.admit(call, model)
        return raised.value

    def settle(self, meter: Meter, usage: Usage | None = None, chunks: int = 0, call: Any = None, **more: Any) -> Meter:
        meter.usage = usage
        if chunks:
            meter.progress(chunks)
        for name, value in more.items():
            setattr(meter, name, value)
        meter.ended = time.monotonic()
        self.admission.settle(meter, call or chat())
        return meter


def chat(text: Any = "x" * 360, path: str = "/chat/completions", head: bool = True, **fields: Any) -> GenerateCall:
    """A chat whose body is 400 bytes and some."""
    body = json.dumps({"model": "m", "messages": [{"role": "user", "content": text}], **fields}).encode()
    return GenerateCall(
        model="m", stream=True, wire=Wire("openai", path, [], body), read=lambda: codec.read_chat(body),
        emitter=cast(Any, None), failure=codec.failure, fault=codec.fault_frame,
        most=codec.read_head(body).most if head else None,
    )  # fmt: skip


def completion(**fields: Any) -> GenerateCall:
    body = json.dumps({"model": "m", **fields}).encode()
    return msgspec.structs.replace(chat(), read=lambda: codec.read_completion(body), most=None)


@pytest.mark.parametrize(
    ("fields", "most"),
    [
        ({}, None), ({"max_tokens": 5}, 5), ({"max_completion_tokens": 6}, 6), ({"max_tokens": None}, None),
        ({"max_tokens": 5, "max_completion_tokens": 9}, 9), ({"max_tokens": 9, "max_completion_tokens": 5}, 9),
        ({"max_tokens": 5, "n": 3}, 15), ({"max_tokens": 5, "n": 2, "best_of": 4}, 20), ({"max_tokens": 0}, 0),
        ({"max_tokens": 5, "n": 0}, 5), ({"max_tokens": 5, "n": None}, 5),
        ({"max_tokens": -1}, None), ({"max_tokens": 1.5}, None), ({"max_tokens": "7"}, None),
        ({"max_tokens": [[7]]}, None), ({"max_tokens": 10**30}, None), ({"max_tokens": True}, None),
    ],
)  # fmt: skip
def test_the_most_that_a_chat_asks_for_is_read_from_its_bytes(fields: dict[str, Any], most: int | None) -> None:
    body = json.dumps({"model": "m", "messages": [], **fields}).encode()
    assert codec.read_head(body).most() == most


@pytest.mark.parametrize(
    ("call", "most"),
    [
        (chat(max_tokens=5, n=2), 10),
        (chat(), None),
        (completion(prompt=["a", "b", "c"], max_tokens=5, n=2), 30),
        (completion(prompt=[[1, 2], [3]], max_tokens=5, best_of=3, n=2), 30),
        (completion(prompt="a", max_tokens=5), 5),
    ],
)
def test_the_most_that_a_decoded_request_asks_for(call: GenerateCall, most: int | None) -> None:
    assert most_tokens(call.read()) == most


@pytest.mark.parametrize("head", [True, False])
def test_tokens_are_held_and_settled(head: bool) -> None:
    desk = Desk(tokens_per_day=1000)
    meter = desk.admit(chat(max_tokens=400, n=2, head=head))
    error = desk.refusal(chat(max_tokens=100, head=head))
    assert (error.kind, error.retry_after) == ("quota", 1.0)
    desk.settle(meter, Usage(50, 60))
    assert desk.credits.tokens_today == 110
    desk.admit(chat(max_tokens=350, n=2, head=head))


def test_embeddings_hold_their_prompt() -> None:
    desk = Desk(tokens_per_day=100)
    call = EmbedCall(
        "m", Wire("openai", "/embeddings", [], b"x" * 380), cast(Any, None), cast(Any, None), codec.failure
    )
    desk.settle(desk.admit(call), Usage(90, 0))
    assert desk.refusal(call).kind == "quota"


def test_an_image_is_not_counted_by_its_bytes() -> None:
    image = {"type": "image_url", "image_url": {"url": "data:image/png;base64," + "A" * 400_000}}
    desk = Desk(tokens_per_day=2000)
    desk.admit(chat([image, {"type": "text", "text": "what?"}], max_tokens=100))
    assert desk.refusal(chat("y" * 400_000, max_tokens=100)).kind == "quota", "text of the same length is"


def test_what_was_not_answered_costs_nothing() -> None:
    desk = Desk(tokens_per_day=1000, money_per_day=1.0)
    for error in ("overloaded", "unreachable", "cancelled"):
        assert desk.settle(desk.admit(chat(max_tokens=500)), error=error).cost == 0
    assert (desk.credits.tokens_today, desk.credits.money_today) == (0, 0.0)


@pytest.mark.parametrize(
    ("error", "granted", "chunks", "prompt"),
    [
        ("cancelled", 1.0, 7, 101), ("upstream_error", 1.0, 7, 101), ("", 1.0, 7, 101),
        # Who leaves before the first piece has had the prompt read; whoever waited in the queue only has not.
        ("cancelled", 1.0, 0, 101), ("cancelled", None, 0, 0), ("upstream_error", 1.0, 0, 0),
    ],
)  # fmt: skip
@pytest.mark.parametrize("readable", [True, False])
def test_what_broke_off_costs_what_came_and_its_prompt(
    error: str, granted: float | None, chunks: int, prompt: int, readable: bool
) -> None:
    desk = Desk(tokens_per_day=1000, money_per_day=1.0)
    call = chat("x" * (400 - len(chat("").wire.body)), head=readable)
    meter = desk.admit(chat(max_tokens=500))
    if not readable:
        call = msgspec.structs.replace(call, read=refuse)
    desk.settle(meter, chunks=chunks, call=call, error=error, granted=granted)
    assert (meter.prompt, meter.cost) == (prompt, pytest.approx((prompt + 2 * chunks) / 1e6))
    assert desk.credits.tokens_today == prompt + chunks


def refuse() -> Any:
    raise ServingError("bad_request", "no such")


@pytest.mark.parametrize(
    ("asked", "served", "usage", "cost"),
    [
        ("cheap", "cheap", Usage(1_000_000, 1_000_000), 3.0),
        ("also", "cheap", Usage(1_000_000, 0), 1.0),
        ("cheap", "dear", Usage(1_000_000, 0, cached=500_000), 55.0),
        ("dear", "gone", Usage(1_000_000, 0), 100.0),
        ("unknown", "unknown", Usage(1_000_000, 0), 0.0),
        ("cheap", "cheap", Usage(-5, -5, cached=-1), 0.0),
    ],
)
@pytest.mark.parametrize("key", ["", "free"])
def test_the_price_is_that_of_the_model_that_answered(
    asked: str, served: str, usage: Usage, cost: float, key: str
) -> None:
    desk = Desk()
    assert desk.settle(desk.admit(chat(), asked, key), usage, served=served).cost == pytest.approx(cost)


def test_money_bounds_what_may_be_asked_for() -> None:
    desk = Desk(money_per_month=1.0)
    assert desk.refusal(chat(max_tokens=6000), "dear").kind == "quota"
    meter = desk.admit(chat(max_tokens=4000), "dear")
    assert desk.refusal(chat(max_tokens=4000), "dear").kind == "quota"
    desk.admit(chat(max_tokens=40_000), "cheap")
    desk.settle(meter, Usage(100, 5000))
    assert desk.refusal(chat(max_tokens=1), "dear").kind == "quota", "an engine that gave more is charged for it"


def test_settling_twice_counts_once() -> None:
    desk = Desk(tokens_per_day=1000)
    meter = desk.settle(desk.admit(chat(max_tokens=5)), Usage(5, 5))
    desk.admission.settle(meter, chat())
    assert desk.credits.tokens_today == 10


def test_a_race_on_a_budget_for_ten() -> None:
    """Each may need 100 + 100: ten at once, and no more in all however they end."""
    desk = Desk(tokens_per_day=2000)
    call = chat(max_tokens=100, text="x" * (400 - len(chat("", max_tokens=100).wire.body) - 1))
    running: list[Meter] = []
    refused = 0
    for _ in range(100):
        try:
            running.append(desk.admit(call))
        except ServingError as error:
            assert error.kind == "quota"
            refused += 1
    assert (len(running), refused) == (10, 90)
    for meter in running:
        desk.settle(meter, Usage(100, 100))
    assert desk.credits.tokens_today == 2000
    assert desk.refusal(call).kind == "quota"


def test_minutes_are_told_in_headers(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("trunkcall.control.admission.time.monotonic", lambda: 1000.0)
    desk = Desk(requests_per_minute=2, tokens_per_minute=1000)
    desk.admit(chat(max_tokens=400))
    assert desk.told["x-ratelimit-limit-requests"] == "2"
    assert desk.told["x-ratelimit-remaining-requests"] == "1"
    assert desk.told["x-ratelimit-reset-requests"] in ("1m0s", "1m1s")
    assert desk.told["x-ratelimit-limit-tokens"] == "1000"
    assert int(desk.told["x-ratelimit-remaining-tokens"]) == 1000 - 400 - len(chat(max_tokens=400).wire.body) // 4 - 1
    error = desk.refusal(chat(max_tokens=900))
    assert error.kind == "rate_limited"
    assert desk.told["x-ratelimit-remaining-requests"] == "1", "a refusal is told too, and costs none"
    desk.admit(chat(max_tokens=1))
    error = desk.refusal(chat(max_tokens=1))
    assert "2 requests per minute" in error.message
    assert error.retry_after is not None
    assert 59 < error.retry_after <= 61


def test_without_limits_there_are_no_headers() -> None:
    desk = Desk()
    desk.admit(chat(), key="free")
    assert desk.told == {}
    desk.admit(chat(), key="")
    assert desk.told == {}


@pytest.mark.parametrize(
    ("models", "asked", "allowed"),
    [
        ((), "dear", True), (("cheap",), "cheap", True), (("cheap",), "also", True), (("also",), "also", True),
        (("also",), "cheap", False), (("cheap",), "dear", False), (("cheap",), "unknown", False),
    ],
)  # fmt: skip
def test_models_of_a_key(models: tuple[str, ...], asked: str, allowed: bool) -> None:
    desk = Desk(models=models)
    assert desk.admission.may_ask("k", asked) is allowed
    assert desk.admission.may_ask("", asked)
    assert not desk.admission.may_ask("removed", asked)
    if allowed:
        desk.admit(chat(), asked)
    else:
        error = desk.refusal(chat(), asked)
        assert error.kind == "forbidden"
        assert repr(asked) in error.message


def test_a_key_that_was_removed_while_the_body_came() -> None:
    desk = Desk()
    desk.keyring.take([])
    assert desk.refusal(chat()).kind == "unauthenticated"


def test_budgets_go_on_from_the_ledger() -> None:
    desk = Desk(tokens_per_day=1000)
    now = time.time()
    desk.admission.reseed([Spent("k", 900, 5000, 0.5, 1.5), Spent("gone", 1, 1, 1.0, 1.0)], now)
    assert desk.refusal(chat(max_tokens=1)).kind == "quota"
    (view,) = [view for view in desk.keyring.views() if view.entry.name == "k"]
    assert (view.tokens_today, view.tokens_this_month, view.money_today, view.money_this_month) == (900, 5000, 0.5, 1.5)


@pytest.mark.parametrize(
    ("principal", "sees", "inside"), [("", [], False), ("root", ["a", "b"], True), ("ann", ["a"], False)]
)
def test_what_open_pages_tell(principal: str, sees: list[str], inside: bool) -> None:
    closed = Admission(keyring_of(KeyEntry(name="root", role="admin"), KeyEntry(name="ann", models=("a",))))
    assert [model for model in "ab" if closed.may_see(principal, model)] == sees
    assert closed.may_look_inside(principal) == inside
    assert Admission().may_see("", "a")
    assert Admission().may_look_inside("")


@pytest.mark.parametrize(
    ("role", "asked", "given"), [("user", 5, 0), ("user", -5, -5), ("user", 0, 0), ("admin", 5, 5)]
)
def test_users_cannot_push_in(role: str, asked: int, given: int) -> None:
    admission = Admission(keyring_of(KeyEntry(name="k", role=cast(Any, role))), MODELS.get)
    meter = Meter("r", model="cheap", protocol="openai", stream=True, key="k")
    meter.priority = asked
    admission.admit(cast(Any, Exchange()), meter, CHEAP, cast(Any, None))
    assert meter.priority == given
