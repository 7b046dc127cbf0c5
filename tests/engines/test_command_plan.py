"""The plan of any other server."""

from __future__ import annotations

import sys
from typing import Any

import msgspec
import pytest

from trunkcall.core.errors import ServingError
from trunkcall.core.models import LaunchSpec, Machine, ModelSettings, parse_source
from trunkcall.engines.command import Command
from trunkcall.protocols.outside_host import OutsideSettings


def plan(source: str, **options: Any) -> LaunchSpec:
    model = ModelSettings(name="m", sources=(parse_source(source),), options=options)
    return Command().plan(model, Machine(2, 2**30))


def settings(spec: LaunchSpec) -> OutsideSettings:
    return msgspec.json.decode(spec.command[-1], type=OutsideSettings)


@pytest.mark.parametrize(
    ("source", "options"),
    [
        (f"command:{sys.executable} -c 'a b' {{port}}", {}),
        ("command", {"command": f"{sys.executable} -c 'a b' {{port}}"}),
        ("command", {"command": [sys.executable, "-c", "a b", "{port}"]}),
    ],
)
def test_three_ways_to_give_it(source: str, options: dict[str, Any]) -> None:
    assert settings(plan(source, **options)).command == (sys.executable, "-c", "a b", "{port}")


def test_the_rest() -> None:
    spec = plan(f"command:{sys.executable} {{port}}")
    assert (spec.protocol, spec.slots, spec.engine) == ("openai", 16, "command")
    more = {"protocol": "kuwa", "slots": 3, "health": "", "ready": 204, "path": "/chat", "patience": 5, "grace": 1}
    spec = plan(f"command:{sys.executable} {{port}}", start_seconds=9, **more)
    assert (spec.protocol, spec.slots, spec.start_timeout, spec.grace) == ("kuwa", 3, 20, 3)
    found = settings(spec)
    assert (found.health, found.ready, found.base, found.patience, found.grace) == ("", 204, "/chat", 5, 1)
    assert (spec.model, plan(f"command:{sys.executable} {{port}}#its-own").model) == ("", "its-own")


@pytest.mark.parametrize(
    ("source", "options", "says"),
    [
        ("command", {}, "there is none; write"),
        ("command:sleep 1", {}, r"sleep 1 has no \{port\}, where we put a free port"),
        ("command:nowhere-x {port}", {}, "nowhere-x is no program"),
        ("command:sleep '{port}", {}, "cannot be read: No closing quotation"),
        ("command:sleep {port}", {"command": ["x"]}, "in the source or as the option"),
        ("command:sleep {port}", {"health": "health"}, "option health"),
        ("command:sleep {port}", {"helth": "/"}, "Did you mean 'health'"),
    ],
)
def test_what_cannot_work(source: str, options: dict[str, Any], says: str) -> None:
    with pytest.raises(ServingError, match=says) as caught:
        plan(source, **options)
    assert caught.value.kind == "bad_request"
