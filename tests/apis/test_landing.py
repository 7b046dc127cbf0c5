"""/health and /ready: what a load balancer is told, and whom names are for."""

from __future__ import annotations

import json
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any, Literal, cast

import pytest
from running import Server, eventually

from trunkcall.apis.landing import Landing, readiness
from trunkcall.control.admission import Admission
from trunkcall.control.condition import Condition
from trunkcall.control.dispatch import Dispatch
from trunkcall.core.models import Health, ModelView, ReplicaView
from trunkcall.core.ports import Response

Serve = Callable[..., Server]


def model(name: str, *states: Any) -> ModelView:
    replicas = tuple(
        ReplicaView(id=f"{name}-{n}", model=name, source="x", state=state, in_flight=0, slots=None)
        for n, state in enumerate(states)
    )
    return ModelView(name=name, sources=(), waiting=0, created=0, replicas=replicas)


WELL, BAD = Health(True), Health(False, "no space left")


@pytest.mark.parametrize(
    ("draining", "views", "condition", "status", "words"),
    [
        (False, (), Condition(), "ready", []),
        (False, (model("a", "off", "failed"), model("none")), Condition(), "ready", []),
        (False, (model("a", "failed", "failed"),), Condition(), "degraded", ["models show a"]),
        (False, (), Condition(journal=BAD), "degraded", ["no space left"]),
        (False, (), Condition(ledger=BAD), "degraded", ["no space left"]),
        (False, (), Condition(rows_lost=3), "degraded", ["3 requests"]),
        (True, (model("a", "ready"),), Condition(ledger=BAD), "draining", ["shutting down", "no space left"]),
    ],
)
def test_readiness(
    draining: bool, views: Any, condition: Condition, status: Literal["ready"], words: list[str]
) -> None:
    found = readiness(draining, views, condition)
    assert found.status == status
    assert len(found.reasons) == len(words)
    assert all(word in reason for word, reason in zip(words, found.reasons, strict=True))
    assert found.failed_models == (("a",) if status == "degraded" and views else ())


@pytest.mark.parametrize(
    ("may_see", "inside", "words", "names"),
    [
        (lambda name: True, True, ["models show a", "models show b", "at 10.0.0.5"], ("a", "b")),
        (lambda name: name == "b", True, ["models show b", "have failed: 1", "at 10.0.0.5"], ("b",)),
        (lambda name: False, False, ["have failed: 2", "requests wait in the journal"], ()),
    ],
)
def test_who_may_not_use_it_is_told_how_much_is_amiss_and_not_what(
    may_see: Callable[[str], bool], inside: bool, words: list[str], names: tuple[str, ...]
) -> None:
    views = (model("a", "failed"), model("b", "failed"), model("c", "ready"))
    found = readiness(False, views, Condition(ledger=Health(False, "no answer at 10.0.0.5")), may_see, inside)
    assert (found.status, found.failed_models, len(found.reasons)) == ("degraded", names, len(words))
    assert all(word in reason for word, reason in zip(words, found.reasons, strict=True))
    assert inside or "10.0.0.5" not in str(found)


@pytest.mark.slow
@pytest.mark.timeout(240)
def test_names_are_for_those_who_may_use_them(serve: Serve) -> None:
    server = serve("--model", "d=debug", "--model", "secret=command:false {port}", "--no-pocket")
    root = server.post("/admin/keys", {"name": "root", "role": "admin"})[2]["secret"]
    bearer = {"authorization": f"Bearer {root}"}
    user = server.post("/admin/keys", {"name": "ann", "models": ["d"]}, **bearer)[2]["secret"]
    for key, failed in ((root, ["secret"]), (user, []), ("", []), ("wrong", [])):
        shown = {"authorization": f"Bearer {key}"} if key else {}

        def ready(shown: dict[str, str] = shown) -> Any:
            told = json.loads(server.request("GET", "/ready", headers=shown)[2])
            return told["status"] == "degraded" and told

        # After a while it is no longer `failed` but `off`.
        asked = {"model": "secret", "messages": [{"role": "user", "content": "hi"}]}
        assert server.post("/v1/chat/completions", asked, **bearer)[0] >= 500
        told = eventually(ready)
        assert told["failed_models"] == failed
        assert ("secret" in str(told)) == bool(failed)


@pytest.mark.timeout(180)
def test_health_and_readiness_of_a_server(serve: Serve) -> None:
    server = serve("--model", "d=debug", "--model", "broken=command:false {port}", "--no-pocket")
    assert server.get("/health") == {"status": "ok"}
    assert server.get("/ready")["status"] == "ready"
    assert server.chat("broken", "hi")[0] >= 400
    told = eventually(lambda: (found := server.get("/ready"))["failed_models"] and found)
    assert (told["status"], told["failed_models"]) == ("degraded", ["broken"])
    for path in ("/health", "/ready"):
        status, headers, body = server.request("HEAD", path)
        assert (status, body) == (200, b"")
        assert int(headers["content-length"]) > 0


class Asked:
    """Takes the answer that a handler gives."""

    principal = ""
    response: Response

    async def respond(self, response: Response) -> None:
        self.response = response


@pytest.mark.anyio
async def test_a_server_that_ends_tells_balancers_to_go_elsewhere() -> None:
    dispatch = Dispatch()
    dispatch.ending = True
    serving = SimpleNamespace(admission=Admission())
    landing = Landing(cast(Any, SimpleNamespace(dispatch=dispatch, condition=Condition, serving=serving)))
    asked: Any = Asked()
    handlers = {(route.method, route.path): route.handler for route in landing.routes()}
    await handlers["GET", "/ready"](asked)
    assert asked.response.status == 503
    assert dict(asked.response.headers)[b"retry-after"] == b"5"
    assert json.loads(asked.response.body)["status"] == "draining"
    await handlers["GET", "/health"](asked)
    assert asked.response.status == 200
