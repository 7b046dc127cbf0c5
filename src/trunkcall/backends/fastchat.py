"""How to call FastChat: one worker, or a controller that names a worker for each call."""

from __future__ import annotations

import time
import uuid
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Annotated, Final

import msgspec

from trunkcall.backends.fastchat_endpoint import Endpoint, refused
from trunkcall.backends.fastchat_known import Known
from trunkcall.backends.fastchat_places import Places
from trunkcall.backends.in_turn import in_turn
from trunkcall.backends.upstream import OF_A_KEY, Seconds, UpstreamOptions, joined
from trunkcall.core.errors import ServingError
from trunkcall.core.events import Event, Start
from trunkcall.core.meter import Meter
from trunkcall.core.models import Health, ModelSettings, read_options
from trunkcall.core.ports import Header
from trunkcall.core.requests import (
    Count,
    Embed,
    Generate,
    MessagesPrompt,
    TextPrompt,
    TokenPrompt,
    Tokens,
    Vectors,
    Wire,
)
from trunkcall.core.retained import Retained
from trunkcall.net.client import Incoming, Timeouts
from trunkcall.protocols import fastchat as codec
from trunkcall.protocols.fastchat_questions import ask_count, ask_vectors, read_count, read_vectors
from trunkcall.protocols.fastchat_tap import retold, until_failure
from trunkcall.protocols.fastchat_words import COUNT_TOKEN, EMBEDDINGS, END, GENERATE_STREAM, PROTOCOL
from trunkcall.protocols.headers import DROPPED, read_dropped
from trunkcall.protocols.openai import requested_fields

_TRIES: Final = 3
"""Workers that a controller is asked for, when those that it names are dead: it finds out late."""

_SPARE: Final = 8
"""Tokens that a worker adds to a prompt, at most; otherwise a text has no more tokens than bytes."""


class FastChatOptions(UpstreamOptions, frozen=True, forbid_unknown_fields=True):
    """A model's `options`.

    template: the name of a conversation template to use instead of the worker's own; stream_timeout: seconds to the
    first byte of a stream and between two, 0 for the limits of all calls; embedding_batch: most texts in one call.
    """

    template: str = ""
    stream_timeout: Seconds = 0.0
    embedding_batch: Annotated[int, msgspec.Meta(ge=1)] = 4

    @property
    def stream_timeouts(self) -> Timeouts:
        """The four limits of a stream."""
        seconds = self.stream_timeout
        if not seconds:
            return self.timeouts
        return msgspec.structs.replace(self, first_byte_timeout=seconds, idle_timeout=seconds).timeouts


class FastChat:
    """Fits core.ports.Backend, Generates, Forwards, Embeds and Counts.

    url: of a worker or of a controller, which is found out by asking; model: the name on the other side, empty for the
    one that was asked for.
    """

    protocols: frozenset[str] = frozenset({PROTOCOL})

    def __init__(self, url: str, model: str, options: FastChatOptions) -> None:
        """Raises ServingError (bad_request) when `url` cannot be one, or for a template that is not known."""
        self._places = Places(url, options.timeouts)
        self._known = Known(codec.named(options.template) if options.template else None)
        self._model = model
        self._usual = options.timeouts
        self._streamed = options.stream_timeouts
        self._batch = options.embedding_batch

    async def health(self) -> Health:
        """Whether the models are told, and which."""
        try:
            models = await self._places.names()
        except ServingError as error:
            wants_key = error.upstream is not None and error.upstream[0] in OF_A_KEY
            return Health(False, error.message, wants_key=wants_key)
        return Health(True, models=models, what=f"FastChat {'controller' if self._places.choosing else 'worker'}")

    async def aclose(self) -> None:
        """Close all connections."""
        await self._places.aclose()

    @asynccontextmanager
    async def forward(self, wire: Wire, meter: Meter) -> AsyncGenerator[Passed]:
        """Pass the bytes through; only the model's name may change, and is put in where it is missing.

        Raises ServingError: unsupported for a route that the worker lacks, upstream_error for its failures, which the
        protocol would tell with status 200.
        """
        name = self._model or meter.served
        body = codec.with_model(wire.body, name)
        route = wire.path.removeprefix("/")

        async def same(_: Endpoint) -> bytes:
            return body

        async with AsyncExitStack() as stack:
            answer = await self._begin(stack, name, route, same, stream=meter.stream)
            yield Passed(answer, meter, streamed=route == GENERATE_STREAM)

    @asynccontextmanager
    async def open(self, request: Generate, meter: Meter) -> AsyncGenerator[AsyncGenerator[Event]]:
        """Ask in FastChat's words; several prompts or choices one after the other, as its protocol has one answer.

        Raises ServingError: too_long for a prompt that leaves no room for an answer, unsupported for token ids.
        """
        name = self._model or meter.served

        async def begin(stack: AsyncExitStack, single: Generate) -> Incoming:
            async def body(worker: Endpoint) -> bytes:
                made, meter.dropped = await self._body(single, name, worker)
                return made

            return await self._begin(stack, name, GENERATE_STREAM, body, stream=meter.stream)

        singles = singled(request)
        async with AsyncExitStack() as stack:
            first = await begin(stack, singles[0])
            meter.dropped += _dropped(first)
            events = _events(request.model, singles, first, begin)
            stack.push_async_callback(events.aclose)
            yield events

    async def embed(self, request: Embed, meter: Meter) -> Vectors:
        """Vectors for texts, in as many calls as they need one after the other.

        Raises ServingError: unsupported for token ids and for workers that have no vectors.
        """
        texts = tuple(one for one in request.inputs if isinstance(one, str))
        if len(texts) < len(request.inputs):
            raise ServingError("unsupported", "FastChat takes texts, not token ids; send the text", param="input")
        meter.dropped = tuple(name for name in requested_fields(request) if name != "encoding_format")
        name = self._model or meter.served
        vectors: list[tuple[float, ...]] = []
        tokens = 0
        for start in range(0, len(texts), self._batch):
            batch = texts[start : start + self._batch]
            found = read_vectors(await self._ask(name, EMBEDDINGS, ask_vectors(name, batch)))
            if len(found.vectors) != len(batch):
                raise ServingError(
                    "upstream_error",
                    f"the FastChat worker answered {len(batch)} texts with {len(found.vectors)} vectors; its log may"
                    " say why",
                )
            vectors += found.vectors
            tokens += found.prompt_tokens
        return Vectors(tuple(vectors), tokens)

    async def count(self, request: Count) -> Tokens:
        """The tokens of a prompt, a conversation's by the worker's template, and the model's context."""
        name = self._model or request.model
        async with self._places.worker(name) as worker:
            if isinstance(request.prompt, MessagesPrompt):
                text = codec.render(await self._known.template(worker, name), request.prompt.messages)
            else:
                text = "".join(request.prompt.texts)
            context = await self._known.context(worker, name)
            return Tokens(count=await self._counted(text, name, worker), context=context)

    async def _body(self, request: Generate, name: str, worker: Endpoint) -> tuple[bytes, tuple[str, ...]]:
        template: codec.ConvTemplate | None = None
        if isinstance(request.prompt, MessagesPrompt):
            template = await self._known.template(worker, name)
        room = await self._room(request, codec.prompt_text(request, template), name, worker)
        return codec.emit_generate(request, name, template, room)

    async def _room(self, request: Generate, text: str, name: str, worker: Endpoint) -> int | None:
        """The tokens that an answer may have; None where nobody says, or where all that is asked for surely fits.

        A worker would make room by cutting the front of the prompt off, one token more than it needs to.
        """
        context = await self._known.context(worker, name)
        asked = request.sampling.max_tokens
        if context is None or (isinstance(asked, int) and len(text.encode()) + _SPARE + asked < context):
            return None
        try:
            count = await self._counted(text, name, worker)
        except ServingError as error:
            if error.kind != "unsupported":
                raise
            return None
        room = context - count - 1
        if room < 1:
            field = "messages" if isinstance(request.prompt, MessagesPrompt) else "prompt"
            raise ServingError("too_long", too_long(context, count), param=field)
        return room

    async def _counted(self, text: str, name: str, worker: Endpoint) -> int:
        status, body = await worker.ask(COUNT_TOKEN, ask_count(name, text))
        if status != 200:
            raise refused(worker.url, COUNT_TOKEN, status, body)
        return read_count(body)

    async def _ask(self, name: str, route: str, body: bytes) -> bytes:
        """A whole answer that may take its time."""

        async def same(_: Endpoint) -> bytes:
            return body

        async with AsyncExitStack() as stack:
            answer = await self._begin(stack, name, route, same, stream=False)
            return await answer.read()

    async def _begin(
        self,
        stack: AsyncExitStack,
        name: str,
        route: str,
        body: Callable[[Endpoint], Awaitable[bytes]],
        *,
        stream: bool,
    ) -> Incoming:
        """The head of a worker's answer; leaving the stack stops its work.

        A controller is asked again when the worker that it names is dead, which it finds out late itself.
        stream: the caller reads pieces as they come.
        """
        timeouts = self._streamed if stream else self._usual
        tries = 0
        while True:
            tries += 1
            async with AsyncExitStack() as attempt:
                worker = await attempt.enter_async_context(self._places.worker(name))
                try:
                    answer = await attempt.enter_async_context(worker.send(route, await body(worker), timeouts))
                except ServingError as error:
                    if error.kind != "unreachable":
                        raise
                    named = self._places.choosing
                    self._known.forget(worker.url)
                    self._places.doubt(worker.url)
                    if not named:
                        raise
                    if tries < _TRIES:
                        continue
                    # The controller itself answers, and may have workers of other models that do.
                    raise ServingError(
                        "no_capacity",
                        f"{error.message} The FastChat controller names this worker for {name!r} until it misses its"
                        " heart beats",
                        retry_after=5,
                    ) from error
                stack.push_async_callback(attempt.pop_all().aclose)
                return answer


class Passed:
    """Fits core.ports.Retains: a worker's bytes as they are, measured as they pass.

    Of a stream only whole objects pass, so that what is said after a break stands on its own.
    """

    __slots__ = ("_answer", "_ended", "_failure", "_held", "_kept", "_meter", "_tap", "headers", "status", "streamed")

    def __init__(self, answer: Incoming, meter: Meter, *, streamed: bool) -> None:
        self._answer = answer
        self._meter = meter
        self._kept: Retained | None = None
        self._failure: ServingError | None = None
        self._tap = codec.FrameTap(meter)
        meter.dropped += _dropped(answer)
        self.status = answer.status
        self.headers: list[Header] = answer.headers
        self.streamed = streamed
        self._held = b""
        self._ended = False

    def retain(self) -> None:
        """Keep what passes of a stream."""
        if self.streamed:
            self._kept = Retained()

    def retold(self, request: Generate) -> list[Event] | None:
        """The events of what was passed on."""
        kept = b"" if self._kept is None else self._kept.data
        return None if kept is None else retold(kept, request)

    def __aiter__(self) -> Passed:
        return self

    async def whole(self) -> bytes:
        """All that is still to come, as one."""
        return await joined(self)

    async def __anext__(self) -> bytes:
        if self._failure is not None:
            raise self._failure
        while not self._ended:
            try:
                data = await self._answer.__anext__()
            except StopAsyncIteration:
                self._ended = True
                self._tap.end()
                if self._kept is not None and not self._meter.finish:
                    raise ServingError("upstream_error", "the FastChat worker's answer ended early") from None
                if self._held:
                    return self._held
                break
            if not self.streamed:
                self._tap.feed(data)
                return data
            data = self._held + data
            end = data.rfind(END) + 1
            self._held = data[end:]
            if end:
                return self._pass(data[:end])
        raise StopAsyncIteration

    def _pass(self, whole: bytes) -> bytes:
        """What of whole objects passes: what the worker says of its own failure is raised where it is retained."""
        if self._kept is not None:
            whole, self._failure = until_failure(whole)
            if self._failure is not None and not whole:
                raise self._failure
            self._kept.add(whole)
        self._tap.feed(whole)
        return whole


def _events(
    model: str,
    singles: tuple[Generate, ...],
    first: Incoming,
    begin: Callable[[AsyncExitStack, Generate], Awaitable[Incoming]],
) -> AsyncGenerator[Event]:
    """The events of one call for each of the singles; first: the answer to the first of them."""

    async def ask(stack: AsyncExitStack, index: int) -> AsyncGenerator[Event]:
        single = singles[index]
        return _read(await begin(stack, single) if index else first, codec.FrameReader(single, index))

    kind = "chatcmpl" if isinstance(singles[0].prompt, MessagesPrompt) else "cmpl"
    return in_turn(Start(f"{kind}-{uuid.uuid4().hex}", model, int(time.time())), len(singles), ask)


async def _read(answer: Incoming, reader: codec.FrameReader) -> AsyncGenerator[Event]:
    try:
        async for data in answer:
            for event in reader.feed(data):
                yield event
    except ServingError:
        # A connection that breaks after the last word has lost nothing.
        if not reader.complete:
            raise
    for event in reader.end():
        yield event


def _dropped(answer: Incoming) -> tuple[str, ...]:
    """What a worker of ours says that it does not honour."""
    return next((read_dropped(value) for name, value in answer.headers if name == DROPPED), ())


def singled(request: Generate) -> tuple[Generate, ...]:
    """One request for each choice: those of the first prompt, then those of the next.

    Raises ServingError (unsupported) for token ids.
    """
    match request.prompt:
        case MessagesPrompt():
            prompts = (request,)
        case TextPrompt(texts):
            prompts = tuple(msgspec.structs.replace(request, prompt=TextPrompt((text,))) for text in texts)
        case TokenPrompt():
            raise ServingError("unsupported", "FastChat takes text, not token ids; send the text", param="prompt")
    choices = request.sampling.n or 1
    return tuple(single for single in prompts for _ in range(choices))


def too_long(context: int, count: int) -> str:
    """In the words by which clients know this error, which are about messages for texts too."""
    return (
        f"This model's maximum context length is {context} tokens. However, your messages resulted in {count} tokens."
        " Please reduce the length of the messages."
    )


def connect(target: str, settings: ModelSettings, model: str) -> FastChat:
    """`fastchat:http://host:21002#model` is a worker or a controller; without `#model` the asked name is sent on.

    Raises ServingError (bad_request) when the URL cannot be one, or for wrong options.
    """
    return FastChat(target, model, read_options(settings, FastChatOptions))
