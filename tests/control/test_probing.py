"""What the answers of a server say together, and the limits of asking."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from trunkcall.control import probing
from trunkcall.control.probing import Found, Offered, Tried, judge, probe
from trunkcall.core.errors import ServingError
from trunkcall.core.models import Health, ModelSettings
from trunkcall.protocols.addresses import Place

pytestmark = pytest.mark.anyio

OPENAI = Place("OpenAI API", "openai", "http://h:1/v1")
TGI = Place("TGI", "tgi", "http://h:1", whole=True)
KERNEL = Place("Kuwa kernel", "kuwa", "http://h:1")
AWAY = Health(False, "h:1 refuses connections")


def test_what_is_found_is_told_with_its_sources() -> None:
    told = judge(
        [
            (TGI, Health(True, models=("org/m",), what="TGI")),
            (KERNEL, Health(False, "404")),
            (OPENAI, Health(False, "/models answered 404")),
            (OPENAI, Health(True, models=("a", "b"), what="vLLM")),
        ],
        key=False,
    )
    assert told.found == (
        Found("TGI", (Offered("org/m", "tgi:http://h:1"),)),
        Found("vLLM", (Offered("a", "openai:http://h:1/v1#a"), Offered("b", "openai:http://h:1/v1#b"))),
    )
    assert told.tried == (Tried("Kuwa kernel", "404"),), "of two places of one kind the one that answers counts"
    assert told.remedy == ""


@pytest.mark.parametrize(
    ("answers", "key", "notes"),
    [
        ([(KERNEL, Health(True))], False, ["it offers no model now"]),
        ([(OPENAI, Health(True, models=("m",)))], True, ["add it with the same `key`"]),
        ([(Place("Kuwa executor", "kuwa", "http://h:1/chat", whole=True), Health(True))], False, [""]),
        ([(OPENAI, Health(True, models=("m",) * 3000))], False, ["of its 3000 models the first 2000 are told"]),
    ],
)
def test_what_should_be_known_is_noted(answers: list[Any], key: bool, notes: list[str]) -> None:
    assert [found.note for found in judge(answers, key=key).found] == notes


@pytest.mark.parametrize(
    ("answers", "key", "says"),
    [
        ([(TGI, AWAY), (OPENAI, AWAY)], False, "Nothing answers there: h:1 refuses connections."),
        ([(TGI, AWAY), (OPENAI, Health(False, "401", wants_key=True))], False, "It wants a key: give it as env:NAME or file:PATH."),
        ([(OPENAI, Health(False, "401", wants_key=True))], True, "It does not accept this key: check it."),
        ([(TGI, Health(False, "a")), (OPENAI, Health(False, "b"))], False, "none of the kinds"),
    ],
)  # fmt: skip
def test_where_nothing_is_found_there_is_a_remedy(answers: list[Any], key: bool, says: str) -> None:
    told = judge(answers, key=key)
    assert told.found == () and says in told.remedy
    assert [one.kind for one in told.tried] == [place.kind for place, _ in answers]


class Silent:
    protocols: frozenset[str] = frozenset()

    def __init__(self) -> None:
        self.closed = False

    async def health(self) -> Health:
        await asyncio.sleep(60)
        return Health(True)

    async def aclose(self) -> None:
        self.closed = True


async def test_who_is_silent_is_given_up_and_let_go_of(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(probing, "PROBE_SECONDS", 0.05)
    made: list[Silent] = []

    def connect(target: str, settings: ModelSettings, model: str) -> Any:
        if target.endswith("/chat"):
            raise ServingError("bad_request", "no such address")
        made.append(Silent())
        return made[-1]

    told = await probe("h:1", "", lambda scheme: connect, ("kuwa", "openai"))
    assert [one.kind for one in told.tried] == ["Kuwa kernel", "OpenAI API"]
    assert all("no answer within" in one.why for one in told.tried)
    assert "no answer within" in told.remedy
    assert len(made) == 2 and all(one.closed for one in made)


async def test_a_key_that_cannot_be_read_is_refused_before_anybody_is_asked() -> None:
    def connect(target: str, settings: ModelSettings, model: str) -> Any:
        raise AssertionError("asked")

    with pytest.raises(ServingError, match="env:NOT_THERE") as refused:
        await probe("h:1", "env:NOT_THERE", lambda scheme: connect, ("openai",))
    assert (refused.value.kind, refused.value.param) == ("bad_request", "key")
