"""One answer of a TGI server: its request, and what it says as events."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import AsyncExitStack
from typing import Final

import msgspec

from trunkcall.backends.tgi_credentials import Credential
from trunkcall.backends.tgi_known import About
from trunkcall.backends.tgi_server import Server
from trunkcall.core.errors import ServingError
from trunkcall.core.events import Event, Fault, Start
from trunkcall.core.meter import Meter
from trunkcall.core.requests import Generate, MessagesPrompt
from trunkcall.net.client import Incoming
from trunkcall.protocols import tgi as codec
from trunkcall.protocols.frames import SseReader
from trunkcall.protocols.headers import DROPPED, read_dropped
from trunkcall.protocols.openai import ChatStreamReader
from trunkcall.protocols.tgi_chat import Cut, emit_chat

GENERATE: Final = "/generate"
GENERATE_STREAM: Final = "/generate_stream"
CHAT: Final = "/v1/chat/completions"


class Call:
    """One answer to one prompt, which is choice `index` of the request; adapter: the LoRA that gives it."""

    def __init__(
        self, server: Server, request: Generate, index: int, about: About, credential: Credential, adapter: str
    ) -> None:
        self._server = server
        self._request = request
        self._index = index
        self._about = about
        self._credential = credential
        self._adapter = adapter
        self._prompt_tokens: int | None = None

    async def begin(self, stack: AsyncExitStack, meter: Meter) -> Incoming:
        """The head of the answer; leaving the stack stops the work."""
        request = self._request
        room, self._prompt_tokens = await self._server.room(request, self._about, self._credential)
        if isinstance(request.prompt, MessagesPrompt):
            path = CHAT
            body, dropped = emit_chat(request, adapter=self._adapter, room=room)
        else:
            path = GENERATE if self._whole else GENERATE_STREAM
            if self._adapter:
                own = {"adapter_id": msgspec.Raw(msgspec.json.encode(self._adapter))}
                own = {**request.extra.get(codec.PROTOCOL, {}), **own}
                request = msgspec.structs.replace(request, extra={**request.extra, codec.PROTOCOL: own})
            body, dropped = codec.emit_generate(request, compat=self._about.compat, stream=not self._whole, room=room)
        answer = await stack.enter_async_context(self._server.ask(path, body, self._credential))
        if not self._index:
            told = next((read_dropped(value) for name, value in answer.headers if name == DROPPED), ())
            meter.dropped += tuple(dict.fromkeys((*dropped, *told)))
        return answer

    async def events(self, answer: Incoming) -> AsyncGenerator[Event]:
        """What the answer says, but for its Start."""
        stops = tuple(self._request.stops.strings or ())
        kept = self._request.stops.include
        reporting = self._request.reporting
        detailed = reporting.token_ids or isinstance(reporting.logprobs, int)
        if isinstance(self._request.prompt, MessagesPrompt):
            cut = Cut(() if kept else stops, self._index)
            async for event in _chat_events(answer):
                for told in cut.feed(event):
                    yield told
            return
        if self._whole:
            start = Start("", self._request.model, 0)
            read = codec.read_whole(
                await answer.read(), start, stops=stops, kept=kept, input_tokens=self._prompt_tokens
            )
            for event in read[1:]:
                yield msgspec.structs.replace(event, index=self._index) if hasattr(event, "index") else event
            return
        reader = codec.StreamReader(
            None,
            index=self._index,
            stops=stops,
            kept=kept,
            input_tokens=self._prompt_tokens,
            detailed=detailed,
        )
        frames = SseReader()
        try:
            async for data in answer:
                for payload in frames.feed(data):
                    for event in reader.feed(payload):
                        yield event
        except ServingError:
            # A connection that breaks after the last word has lost nothing.
            if not reader.finished:
                raise
        for payload in frames.end():
            for event in reader.feed(payload):
                yield event
        for event in reader.end():
            yield event

    @property
    def _whole(self) -> bool:
        return self._request.reporting.prompt_logprobs and self._about.compat != "0.8"


async def _chat_events(answer: Incoming) -> AsyncGenerator[Event]:
    reader = ChatStreamReader()
    frames = SseReader()
    async for data in answer:
        for payload in frames.feed(data):
            for event in reader.feed(payload):
                if isinstance(event, Fault):
                    raise event.error
                if not isinstance(event, Start):
                    yield event
    for event in reader.end():
        if isinstance(event, Fault):
            raise event.error
        yield event
