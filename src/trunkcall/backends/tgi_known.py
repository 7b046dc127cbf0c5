"""What is known of a TGI server: what it tells of itself, and whether it tells the tokens of a text."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Final

import msgspec

from trunkcall.protocols import tgi as codec

SECONDS: Final = 60.0
"""How long an answer holds: another model may be started at the same address."""

_CHAT: Final = (1, 4)
_CHAT_TOKENIZE: Final = (2, 1)


class About(msgspec.Struct, frozen=True):
    """A server's edition and limits, in tokens; None for those that it does not tell."""

    version: tuple[int, ...]
    compat: codec.Compat
    model: str
    input_limit: int | None
    total_limit: int | None

    @property
    def chats(self) -> bool:
        """Whether it answers conversations, by the model's own template."""
        return self.version >= _CHAT

    @property
    def counts_chats(self) -> bool:
        """Whether it tells the tokens of conversations."""
        return self.version >= _CHAT_TOKENIZE


class Known:
    """Remembers what `ask`, which gives the answer of /info, was told. compat: instead of what the server says."""

    def __init__(self, ask: Callable[[], Awaitable[codec.Info]], compat: codec.Compat | None) -> None:
        self._ask = ask
        self._compat: codec.Compat | None = compat
        self._about: About | None = None
        self._until = 0.0
        self.counts = True
        """It has a route that tells the tokens of a text, as far as is known."""

    async def about(self) -> About:
        """What holds now; raises as `ask` does when there is nothing fresh."""
        now = asyncio.get_running_loop().time()
        if self._about is None or now >= self._until:
            about = about_of(await self._ask(), self._compat)
            if about != self._about:
                self.counts = True
            self._about = about
            self._until = now + SECONDS
        return self._about

    def forget(self) -> None:
        """Ask anew: the server did not answer, so another may be there next."""
        self._until = 0.0


def about_of(info: codec.Info, compat: codec.Compat | None) -> About:
    """What of /info matters here; a server whose version cannot be read is taken for a new one."""
    version = compat or info.version or codec.VERSIONS[codec.NEWEST]
    numbers: list[int] = []
    for word in version.split("."):
        if not word.isdecimal():
            break
        numbers.append(int(word))
    if not numbers:
        version = codec.VERSIONS[codec.NEWEST]
        numbers = [int(word) for word in version.split(".")]
    elif compat is not None:
        # An edition stands for its last server.
        numbers = [int(word) for word in codec.VERSIONS[compat].split(".")]
    return About(
        version=tuple(numbers),
        compat=codec.compat_of(version),
        model=info.model_id,
        input_limit=info.input_limit,
        total_limit=info.max_total_tokens,
    )
