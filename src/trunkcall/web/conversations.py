"""`/web/api/conversations` and `/web/api/votes`: what is said on the page, logged as FastChat's web servers did."""

from __future__ import annotations

import time
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Final

from trunkcall.control.services import Services
from trunkcall.core.errors import ServingError
from trunkcall.core.ports import Exchange, Response, Route
from trunkcall.protocols.fastchat_conversations import (
    Conversation,
    chat_line,
    read_conversation,
    read_vote,
    vote_line,
)
from trunkcall.protocols.own_json import json_body
from trunkcall.web.conversation_log import ConversationLog

MOST_BODY: Final = 16 << 20
"""Bytes of one request: a conversation with its images, or two."""

_LOGGED: Final = Response(200, b'{"logged":true}')


class Conversations:
    """Two routes of the page's own api; folder: where the logs are, empty for none."""

    def __init__(self, folder: str, services: Services) -> None:
        self._log = ConversationLog(Path(folder).expanduser()) if folder else None
        self._admission = services.serving.admission

    def routes(self) -> Sequence[Route]:
        """What is served."""
        return (
            Route("POST", "/web/api/conversations", self._chat),
            Route("POST", "/web/api/votes", self._vote),
        )

    async def _chat(self, exchange: Exchange) -> None:
        log = self._wanted()
        found = read_conversation(await _read(exchange))
        self._check(exchange, found)
        await log.append(partial(chat_line, found, exchange.client, time.time()))
        await exchange.respond(_LOGGED)

    async def _vote(self, exchange: Exchange) -> None:
        log = self._wanted()
        found = read_vote(await _read(exchange))
        self._check(exchange, *found.conversations)
        await log.append(partial(vote_line, found, exchange.client, time.time()))
        await exchange.respond(_LOGGED)

    def _wanted(self) -> ConversationLog:
        if self._log is None:
            raise ServingError(
                "no_route",
                "this server logs no conversations; its operator can give the api `web` the option "
                "`conversations: FOLDER`",
            )
        return self._log

    def _check(self, exchange: Exchange, *found: Conversation) -> None:
        """Raises ServingError (forbidden) for a model that the caller may not ask; one may have gone since."""
        for conversation in found:
            self._admission.check_model(exchange.principal, conversation.model)


async def _read(exchange: Exchange) -> bytes:
    body = await json_body(exchange)
    if len(body) > MOST_BODY:
        raise ServingError(
            "too_large", f"the body has {len(body)} bytes, over the limit of {MOST_BODY}; send fewer images"
        )
    return body
