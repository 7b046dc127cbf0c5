"""The HTTP side of a transformers host: OpenAI's protocol in front of the batch."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from functools import partial
from typing import Annotated, Any, Final, Literal

import msgspec

from trunkcall.core.errors import ServingError
from trunkcall.core.ports import Emitter, Exchange, Header, Response, Route
from trunkcall.core.requests import Embed, Generate, MessagesPrompt, Vectors
from trunkcall.net.relay import Relay, Reply
from trunkcall.protocols import openai as codec
from trunkcall.protocols.openai_decode import check_text, decode
from trunkcall.protocols.openai_tokenize import emit_tokens
from trunkcall.workers.dropped import note_dropped
from trunkcall.workers.transformers_answered import Answers
from trunkcall.workers.transformers_asked import Asked, Defaults, ask, conversation
from trunkcall.workers.transformers_batching import Batch
from trunkcall.workers.transformers_embeddings import Embedder, groups
from trunkcall.workers.transformers_guides import Guide, Guides
from trunkcall.workers.transformers_scoring import Scorer
from trunkcall.workers.transformers_wanted import Chosen
from trunkcall.workers.transformers_words import Words

_LONG_BODY: Final = 64 * 1024
"""Bytes; tokens of longer texts are made in another thread, because 1 MB of text takes half a second."""
_JSON: Final[Header] = (b"content-type", b"application/json")

_Read = Callable[[bytes], Generate]
_Emit = Callable[[Generate, bool], Emitter]


class _Tokenize(msgspec.Struct):
    prompt: str | None = None
    messages: list[msgspec.Raw] | None = None
    add_special_tokens: bool | None = None
    return_pieces: bool | None = None


class _Detokenize(msgspec.Struct):
    tokens: list[Annotated[int, msgspec.Meta(ge=0)]]


_tokenize = msgspec.json.Decoder(_Tokenize)
_detokenize = msgspec.json.Decoder(_Detokenize)


class HostApi:
    """Fits core.ports.Api; answers for the one loaded model.

    embedder: None when the model was not started for vectors; generates: it answers prompts; context in tokens.
    """

    name = "transformers"
    plane: Literal["inference", "control", "worker"] = "worker"

    def __init__(
        self,
        name: str,
        created: int,
        batch: Batch,
        words: Words,
        defaults: Defaults,
        relay: Relay,
        *,
        context: int,
        generates: bool,
        embedder: Embedder | None,
        scorer: Scorer,
    ) -> None:
        self._models = codec.models_list(((name, created),))
        self._batch = batch
        self._words = words
        self._defaults = defaults
        self._guides = Guides(words.fast, words.size, defaults.ends)
        self._relay = relay
        self._context = context
        self._generates = generates
        self._embedder = embedder
        self._scorer = scorer
        self.draining = False

    def routes(self) -> Sequence[Route]:
        """What is served; /tokenize and /detokenize are vLLM's, /slots is llama.cpp's."""
        chat = partial(self._generate, codec.read_chat, codec.ChatEmitter)
        text = partial(self._generate, codec.read_completion, codec.CompletionEmitter)
        return (
            Route("POST", "/v1/chat/completions", chat),
            Route("POST", "/v1/completions", text),
            Route("POST", "/v1/embeddings", self._embed),
            Route("GET", "/v1/models", self._list),
            Route("GET", "/health", self._health),
            Route("GET", "/slots", self._slots),
            Route("POST", "/tokenize", self._tokenize),
            Route("POST", "/detokenize", self._detokenize),
        )

    def failure(self, error: ServingError) -> Response:
        """The error in OpenAI's shape."""
        return codec.failure(error)

    async def _generate(self, read: _Read, emit: _Emit, exchange: Exchange) -> None:
        self._refuse_when_draining()
        if not self._generates:
            raise ServingError("unsupported", "this model gives vectors, not text; send it to /v1/embeddings")
        body = await exchange.body()
        make = partial(ask, read(body), self._words, self._defaults, self._context)
        asked = make() if len(body) < _LONG_BODY else await asyncio.to_thread(make)
        note_dropped("transformers", exchange, asked.dropped)
        guides: Sequence[Guide] = ()
        if asked.shape is not None:
            guides = await asyncio.to_thread(self._guides.make, asked.shape, len(asked.wanted))
        emitter = emit(asked.request, asked.request.reporting.stream)
        work = partial(_answer, self._batch, self._words, self._scorer, asked, guides, emitter)
        await self._relay.run(exchange, work)

    async def _embed(self, exchange: Exchange) -> None:
        self._refuse_when_draining()
        if self._embedder is None:
            raise ServingError(
                "unsupported", "this model was not started for vectors; start it with the option embeddings: true"
            )
        request = codec.read_embedding(await exchange.body())
        note_dropped(
            "transformers", exchange, tuple(name for name in codec.requested_fields(request) if name != "user")
        )
        inputs = await asyncio.to_thread(self._embedder.tokens, request)
        await self._relay.run(exchange, partial(_give_vectors, self._batch, self._embedder, inputs, request))

    async def _tokenize(self, exchange: Exchange) -> None:
        body = await exchange.body()
        check_text(body)
        fields = decode(_tokenize, body)
        if fields.messages is not None:
            request = codec.read_chat(_as_chat(body))
            assert isinstance(request.prompt, MessagesPrompt)
            text = self._words.render(conversation(request.prompt), None, {}, unfinished=False)
            tokens = self._words.tokens(text, special=False)
        elif fields.prompt is not None:
            tokens = self._words.tokens(fields.prompt, special=fields.add_special_tokens is not False)
        else:
            raise ServingError("bad_request", "prompt: this field is required, or messages", param="prompt")
        pieces = [self._words.raw(token) for token in tokens] if fields.return_pieces else None
        await exchange.respond(Response(200, emit_tokens(tokens, self._context, pieces)))

    async def _detokenize(self, exchange: Exchange) -> None:
        body = await exchange.body()
        tokens = decode(_detokenize, body).tokens
        text = self._words.decoder(calls=True)(tokens)
        await exchange.respond(Response(200, msgspec.json.encode({"prompt": text})))

    async def _list(self, exchange: Exchange) -> None:
        await exchange.respond(Response(200, self._models))

    async def _health(self, exchange: Exchange) -> None:
        self._refuse_when_draining()
        await exchange.respond(Response(200, b'{"status":"ok"}'))

    async def _slots(self, exchange: Exchange) -> None:
        busy = self._batch.busy
        slots = [{"id": place, "is_processing": place < busy} for place in range(self._batch.slots)]
        await exchange.respond(Response(200, msgspec.json.encode(slots)))

    def _refuse_when_draining(self) -> None:
        if self.draining:
            raise ServingError("draining", "this replica is ending; ask another", retry_after=1.0)


def _as_chat(body: bytes) -> bytes:
    """A question for the tokens of a conversation needs no model's name, a chat does."""
    fields: dict[str, Any] = msgspec.json.decode(body)
    return msgspec.json.encode({"model": fields.get("model") or "", "messages": fields["messages"]})


async def _answer(
    batch: Batch,
    words: Words,
    scorer: Scorer,
    asked: Asked,
    guides: Sequence[Guide],
    emitter: Emitter,
    reply: Reply,
) -> None:
    tops = asked.request.reporting.logprobs
    scored: list[Sequence[Chosen]] = []
    if asked.request.reporting.echo and isinstance(tops, int):
        for ids in asked.prompts:
            scored.append(await batch.call(partial(scorer.score, ids, tops)))
    answers = Answers(asked, words, scored)
    generation = batch.start(asked.wanted, guides)
    data = b"".join(emitter.feed(event) for event in answers.begin())
    try:
        async for said in generation:
            for one in said:
                for event in answers.feed(one):
                    data += emitter.feed(event)
                if answers.over(one.index):
                    generation.stop(one.index)
            if answers.complete:
                break
            if data:
                if not reply.started:
                    head = [(b"content-type", emitter.content_type), (b"cache-control", b"no-cache")]
                    await reply.exchange.begin(200, head)
                await reply.exchange.write(data)
                data = b""
    except ServingError as error:
        if not reply.started:
            raise
        await reply.exchange.finish(emitter.fault(error))
        return
    finally:
        generation.leave()
    data += emitter.end()
    if reply.started:
        await reply.exchange.finish(data)
    else:
        await reply.whole(200, [(b"content-type", emitter.content_type)], data)


async def _give_vectors(
    batch: Batch, embedder: Embedder, inputs: Sequence[Sequence[int]], request: Embed, reply: Reply
) -> None:
    found: dict[int, tuple[float, ...]] = {}
    for places in groups(inputs):
        # One group at a time: answers go on between them, and a client who leaves stops the rest.
        made: list[tuple[float, ...]] = await batch.call(partial(embedder.vectors, [inputs[place] for place in places]))
        found.update(zip(places, made, strict=True))
    in_order = tuple(found[place] for place in range(len(inputs)))
    vectors = Vectors(in_order, sum(len(one) for one in inputs))
    body = codec.emit_embeddings(vectors, request, request.model)
    await reply.whole(200, [_JSON], body)
