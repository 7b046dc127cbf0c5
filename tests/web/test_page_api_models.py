"""The models as the page shows them: their state, what is known of them, and what a caller may not be told."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any, cast

import pytest
from running import Server

from trunkcall.control.admission import Admission
from trunkcall.control.breaker import Breaker
from trunkcall.control.dispatch import Dispatch
from trunkcall.control.keyring import Keyring
from trunkcall.control.pool import Pool, Replica
from trunkcall.core.about import About
from trunkcall.core.keys import KeyEntry
from trunkcall.core.models import LaunchSpec, ModelSettings, Price, Source, State
from trunkcall.store.keys import StoredKey, digest_of
from trunkcall.web.models import PageModel, page_models

Serve = Callable[..., Server]


def replica(state: State = "ready", scheme: str = "debug", about: Any = None, **attributes: Any) -> Replica:
    made = Replica("m/0", Source(scheme), None)
    made.state = state
    made.about = about or {}
    for name, value in attributes.items():
        setattr(made, name, value)
    return made


def told(*replicas: Replica, principal: str = "", keyring: Keyring | None = None, **settings: Any) -> list[PageModel]:
    dispatch = Dispatch()
    dispatch.pools["m"] = Pool(ModelSettings(name="m", sources=(Source("debug"),), **settings), list(replicas))
    serving = SimpleNamespace(admission=Admission(keyring))
    services: Any = SimpleNamespace(dispatch=dispatch, serving=serving)
    return page_models(services, principal).models


def planned(**known: Any) -> LaunchSpec:
    return LaunchSpec(command=(), protocol="openai", slots=1, engine="llamacpp", about=About(**known))


SHUT = Breaker(until=time.monotonic() + 1e6, why="it answered 500")
BUSY = Breaker(until=time.monotonic() + 1e6, why="it answered 429", busy=True)
OVER = Breaker(until=1e-9)


@pytest.mark.parametrize(
    ("replicas", "state"),
    [
        ([replica("ready")], "ready"),
        ([replica("ready", breaker=SHUT)], "failed"),
        ([replica("ready", breaker=BUSY)], "busy_elsewhere"),
        ([replica("ready", breaker=OVER)], "ready"),
        ([replica("failed"), replica("ready", breaker=BUSY), replica("ready")], "ready"),
        ([replica("failed"), replica("starting"), replica("off")], "loading"),
        ([replica("off"), replica("failed")], "off"),
        ([replica("asleep"), replica("starting")], "asleep"),
        ([replica("draining"), replica("failed")], "draining"),
        ([], "failed"),
    ],
)
def test_state_of_the_best_replica(replicas: list[Replica], state: str) -> None:
    (model,) = told(*replicas)
    assert (model.state, model.replicas) == (state, len(replicas))


def test_progress_and_errors() -> None:
    (model,) = told(replica("starting", progress=lambda: "downloading 40 %"), replica("off"))
    assert (model.progress, model.error) == ("downloading 40 %", "")
    (model,) = told(replica("failed", error="no /models/a.gguf"), replica("failed", error="no /models/a.gguf"))
    assert model.error == "no /models/a.gguf"
    (model,) = told(replica("ready", breaker=SHUT))
    assert model.error == "it answered 500"
    (model,) = told(replica("ready"), replica("failed", error="no /models/a.gguf"))
    assert model.error == ""


def test_paths_and_addresses_are_for_administrators() -> None:
    keyring = Keyring(configured={"root": "s"})
    keyring.take([StoredKey(entry=KeyEntry(name="ann"), digest=digest_of("a"), created_at=0.0)])
    broken = replica("failed", error="no /models/a.gguf", address="http://10.0.0.5:1", pid=77)
    (model,) = told(broken, principal="root", keyring=keyring)
    assert model.error == "no /models/a.gguf"
    (model,) = told(broken, principal="ann", keyring=keyring)
    assert model.error and not {"/models", "10.0.0.5", "77"} & set(model.error.split())
    assert "administers" in model.error
    assert told(broken, principal="", keyring=keyring) == []


@pytest.mark.parametrize(
    ("replicas", "known"),
    [
        ([replica()], (None, None, None, None, {})),
        ([replica("off", spec=planned(context=512, images=False))], (512, False, None, None, {})),
        (
            [replica(spec=planned(context=512, images=False), about={"context": 256, "tools": True, "defaults": {"top_k": 40}})],
            (256, False, True, None, {"top_k": 40}),
        ),
        (
            [replica(about={"context": 512, "tools": True}), replica(about={"context": 256, "tools": False})],
            (256, None, None, None, {}),
        ),
        ([replica(about={"context": 512, "reasoning": True}), replica()], (None, None, None, None, {})),
        ([replica(about={"context": "wide", "word": 1})], (None, None, None, None, {})),
    ],
)  # fmt: skip
def test_what_is_known_is_what_all_replicas_say(replicas: list[Replica], known: tuple[Any, ...]) -> None:
    (model,) = told(*replicas)
    assert (model.context, model.images, model.tools, model.reasoning, model.defaults) == known


def test_price_template_and_description() -> None:
    (model,) = told(replica(), aliases=("n",))
    assert (model.price, model.template, model.description, model.aliases) == (None, "", "debug", ("n",))
    price = Price(prompt=0.5, completion=1.5)
    (model,) = told(
        replica(spec=planned(), about={"parameters": 6_740_000_000}), price=price, options={"template": "vicuna_v1.1"}
    )
    assert (model.price, model.template) == (price, "vicuna_v1.1")
    assert model.description == "llamacpp, 6.74 B parameters"
    (model,) = told(replica(), options={"template": "/etc/secret.jinja"})
    assert model.template == ""


@pytest.mark.timeout(180)
def test_the_pocket_model_before_and_after_it_is_loaded(serve: Serve) -> None:
    server = serve()
    (model,) = server.get("/web/api/models")["models"]
    assert (model["name"], model["state"], model["context"], model["images"]) == ("pocket", "off", 1024, False)
    assert (model["tools"], model["defaults"]) == (None, {})
    assert server.chat("pocket", "hi", max_tokens=3)[0] == 200
    (model,) = server.get("/web/api/models")["models"]
    assert (model["state"], model["context"], model["tools"]) == ("ready", 1024, True)
    assert model["defaults"]["temperature"] == 0.8
    assert {"top_p", "top_k", "min_p", "repetition_penalty"} <= set(model["defaults"])
    assert model["description"].startswith("llamacpp, 3.")
    assert "127.0.0.1" not in json.dumps(model) and ".gguf" not in json.dumps(model)


def test_an_adapter_is_a_model_and_named_with_its_base() -> None:
    dispatch = Dispatch()
    base = Pool(ModelSettings(name="m", sources=(Source("debug"),)), [replica()])
    adapter = Pool(ModelSettings(name="m-tuned", sources=(Source("debug"),)), base.replicas)
    base.adapters["m-tuned"] = adapter
    dispatch.pools.update({"m": base, "m-tuned": adapter})
    services = SimpleNamespace(dispatch=dispatch, serving=SimpleNamespace(admission=Admission()))
    found = page_models(cast(Any, services), "").models
    assert [(model.name, model.adapters) for model in found] == [("m", ("m-tuned",)), ("m-tuned", ())]
