"""The models of a FastChat controller in the registry: they come, go, come back, and nobody waits without end."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
from apis.fastchat_openai_peers import Peer, peer

from trunkcall.apis import fastchat_following as module
from trunkcall.apis.fastchat_following import Following
from trunkcall.control.dispatch import Dispatch
from trunkcall.control.pool import Pool
from trunkcall.control.registry import Registry
from trunkcall.core.errors import ServingError
from trunkcall.core.models import Health, ModelSettings

pytestmark = pytest.mark.anyio


class Backend:
    protocols: frozenset[str] = frozenset()

    async def health(self) -> Health:
        return Health(True)

    async def aclose(self) -> None:
        pass


class Room:
    """A controller, and a registry that follows it."""

    def __init__(self, controller: Peer, url: str = "", *, once: bool = False) -> None:
        self.controller = controller
        self.dispatch = Dispatch()
        connect: Any = lambda *_: Backend()  # noqa: E731
        self.registry = Registry(self.dispatch, lambda scheme: connect)
        self.following = Following(self.registry, url or controller.url, once=once)

    @property
    def names(self) -> list[str]:
        return list(self.dispatch.pools)

    @asynccontextmanager
    async def living(self) -> AsyncIterator[None]:
        task = asyncio.create_task(self.following.live())
        try:
            yield
        finally:
            task.cancel()
            await asyncio.wait({task}, timeout=20)
            assert task.cancelled()
            await self.registry.aclose()


@asynccontextmanager
async def room(url: str = "", *, once: bool = False) -> AsyncIterator[Room]:
    with peer() as controller:
        made = Room(controller, url, once=once)
        try:
            yield made
        finally:
            await made.following._client.aclose()  # pyright: ignore[reportPrivateUsage]
            await made.registry.aclose()


async def eventually(check: Any) -> None:
    async with asyncio.timeout(20):
        while not check():
            await asyncio.sleep(0.01)


async def test_the_registry_has_what_the_controller_lists() -> None:
    async with room() as it:
        await it.following.look()
        assert it.names == ["tinyrand"]
        it.controller.models = ["a", "b", "a", ""]
        await it.following.look()
        assert it.names == ["a", "b"]
        it.controller.models = []
        await it.following.look()
        assert it.names == []
        it.controller.models = ["tinyrand"]
        await it.following.look()
        assert it.names == ["tinyrand"]
        assert "refresh_all_workers" not in dict(it.controller.asked)


async def test_once_the_list_is_that_of_the_start() -> None:
    async with room(once=True) as it:
        listings = ([], []), (["a", "b"], ["a", "b"]), (["b", "c"], ["b"]), (["c"], []), (["c", "a", "b"], ["b", "a"])
        for listed, names in listings:
            it.controller.models = listed
            await it.following.look()
            assert sorted(it.names) == sorted(names)


async def test_a_look_is_repeated_while_it_lives(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "LOOK_SECONDS", 0.02)
    async with room() as it, it.living():
        await eventually(lambda: it.names == ["tinyrand"])
        it.controller.models = ["new"]
        await eventually(lambda: it.names == ["new"])


async def test_callers_at_one_time_share_a_question() -> None:
    async with room() as it:
        await asyncio.gather(*(it.following.look() for _ in range(50)))
        assert len(it.controller.asked) <= 2, "the first may have begun before the others came"
        it.controller.asked.clear()
        await asyncio.gather(*(it.following.look(refresh=True) for _ in range(50)))
        assert len(it.controller.of("refresh_all_workers")) <= 2


async def test_who_leaves_does_not_take_the_answer_along() -> None:
    async with room() as it:
        first = asyncio.create_task(it.following.look())
        await asyncio.sleep(0)
        second = asyncio.create_task(it.following.look())
        await asyncio.sleep(0)
        first.cancel()
        await asyncio.wait_for(second, 20)
        assert it.names == ["tinyrand"]


async def test_a_model_of_the_settings_is_not_replaced() -> None:
    async with room() as it:
        own = it.dispatch.pools["tinyrand"] = Pool(ModelSettings(name="tinyrand", sources=()), [])
        it.controller.models = ["tinyrand", "other"]
        await it.following.look()
        assert it.names == ["tinyrand", "other"]
        assert it.dispatch.pools["tinyrand"] is own
        it.controller.models = []
        await it.following.look()
        assert it.names == ["tinyrand"]


async def test_a_slow_refresh_is_not_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "REFRESH_SECONDS", 0.1)
    async with room() as it:
        say = it.controller.say

        def slow(route: str, body: Any) -> Any:
            if route == "refresh_all_workers":
                time.sleep(0.5)
            return say(route, body)

        it.controller.say = slow  # type: ignore[method-assign]
        await it.following.look(refresh=True)
        assert it.names == ["tinyrand"]


async def test_one_that_is_away_keeps_no_models_and_one_that_babbles_does() -> None:
    async with room() as it:
        await it.following.look()
        it.controller.models = 5  # type: ignore[assignment]
        with pytest.raises(ServingError, match="its list of models is not one") as caught:
            await it.following.look()
        assert caught.value.kind == "no_capacity"
        assert it.names == ["tinyrand"], "it is there, and may be itself again soon"
        it.controller.close()
        with pytest.raises(ServingError, match="refuses connections"):
            await it.following.look()
        assert it.names == []
        with pytest.raises(ServingError, match="does not answer"):
            await it.following.look(refresh=True)


async def test_what_has_no_such_route_is_no_controller() -> None:
    async with room() as it:
        it.controller.say = lambda route, body: ...  # type: ignore[method-assign]
        with pytest.raises(ServingError, match="answered with 404, as no controller does"):
            await it.following.look()


async def test_a_path_before_the_routes_is_kept() -> None:
    with peer() as controller:
        it = Room(controller, controller.url + "/prefix/")
        await it.following.look()
        assert it.names == ["tinyrand"]
        assert it.registry.find("fastchat", controller.url + "/prefix") is not None
        async with it.living():
            pass


@pytest.mark.parametrize("url", ["", "c:21001", "ftp://c", "http://u:secret@c", "http://c?x"])
async def test_what_is_no_url_is_refused(url: str) -> None:
    with pytest.raises(ServingError, match="http://HOST:21001") as caught:
        Following(Registry(Dispatch(), lambda scheme: lambda *_: Backend()), url)
    assert "secret" not in caught.value.message
