"""The llama.cpp host: a child process that loads one model and serves OpenAI's HTTP protocol on loopback.

`python -m trunkcall.workers.llamacpp JSON`, JSON being protocols.llamacpp_host.HostSettings.
"""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Callable, Sequence
from functools import partial
from typing import Final, Literal

import msgspec
import uvloop

from trunkcall.core.errors import ServingError
from trunkcall.core.ports import Exchange, Header, Response, Route
from trunkcall.net.link import ChildLink
from trunkcall.net.relay import Relay, Reply
from trunkcall.protocols.headers import TRACED
from trunkcall.protocols.llamacpp_host import HostSettings
from trunkcall.protocols.openai_errors import failure, fault_frame
from trunkcall.protocols.openai_tokenize import emit_tokens
from trunkcall.workers.adapters import Adapters
from trunkcall.workers.answered import Known, Streamed, Whole, engine_error
from trunkcall.workers.asked import (
    Abilities,
    Asked,
    read_chat,
    read_completion,
    read_embedding,
    read_tokenize,
)
from trunkcall.workers.begun import going_on
from trunkcall.workers.dropped import note_dropped
from trunkcall.workers.llamacpp_about import about
from trunkcall.workers.native import Native
from trunkcall.workers.program import run
from trunkcall.workers.scoring import score
from trunkcall.workers.serving import serve
from trunkcall.workers.spelling import Speller, Spelling
from trunkcall.workers.traced import Tracer

_SWITCH_SECONDS: Final = 0.0005
"""Engine threads call back at each token; at the default of 5 ms they wait for the event loop's thread."""

_SSE: Final[Header] = (b"content-type", b"text/event-stream; charset=utf-8")
_UNCACHED: Final[Header] = (b"cache-control", b"no-cache")
_JSON: Final[Header] = (b"content-type", b"application/json")


class _ContextSize(msgspec.Struct):
    n_ctx: int


class _Props(msgspec.Struct):
    default_generation_settings: _ContextSize
    total_slots: int
    chat_template_caps: Abilities = Abilities()


class _Rendered(msgspec.Struct):
    prompt: str


class _Tokenized(msgspec.Struct):
    tokens: list[int]


class _Written(msgspec.Struct):
    id: int
    piece: str | list[int]


class _Pieces(msgspec.Struct):
    tokens: list[_Written]


class _Detokenized(msgspec.Struct):
    content: str


class _EngineFailure(msgspec.Struct):
    error: dict[str, int | str]


class HostApi:
    """Fits core.ports.Api; answers for the one loaded model.

    props and models are the engine's own descriptions, read once.
    """

    name = "llamacpp"
    plane: Literal["inference", "control", "worker"] = "worker"

    def __init__(
        self, native: Native, relay: Relay, settings: HostSettings, *, props: Response, models: Response
    ) -> None:
        self._native = native
        self._relay = relay
        self._embeddings = settings.embeddings
        self._drafted = bool(settings.draft)
        self._adapters = Adapters(len(settings.lora))
        self._spelling = Spelling(self._pieces, self._written)
        self._props = props
        self._models = models
        described = msgspec.json.decode(props.body, type=_Props)
        self._able = described.chat_template_caps
        self._context = described.default_generation_settings.n_ctx
        self.draining = False

    def routes(self) -> Sequence[Route]:
        """What is served; names below / are llama.cpp's, and /tokenize is vLLM's too."""
        engine = self._engine
        return (
            Route("POST", "/v1/chat/completions", self._chat),
            Route("POST", "/v1/completions", self._completion),
            Route("POST", "/v1/embeddings", self._embed),
            Route("GET", "/v1/models", partial(self._respond, self._models)),
            Route("GET", "/health", self._health),
            Route("GET", "/props", partial(self._respond, self._props)),
            Route("GET", "/slots", engine),
            Route("GET", "/metrics", engine),
            Route("POST", "/tokenize", self._tokenize),
            Route("POST", "/detokenize", engine),
            Route("POST", "/apply-template", engine),
            Route("GET", "/lora-adapters", engine),
            Route("POST", "/lora-adapters", self._scale_adapters),
        )

    def failure(self, error: ServingError) -> Response:
        """The error in OpenAI's shape."""
        return failure(error)

    async def _chat(self, exchange: Exchange) -> None:
        traced = exchange.header(TRACED) is not None
        asked = read_chat(await exchange.body(), self._able, self._drafted, traced=traced)
        await self._generate(exchange, asked, self._native.chat)

    async def _completion(self, exchange: Exchange) -> None:
        traced = exchange.header(TRACED) is not None
        asked = read_completion(await exchange.body(), self._drafted, traced=traced)
        await self._generate(exchange, asked, self._native.complete)

    async def _generate(self, exchange: Exchange, asked: Asked, method: Callable[..., object]) -> None:
        self._refuse_when_draining()
        note_dropped("llama.cpp", exchange, asked.dropped)
        asked = msgspec.structs.replace(asked, bodies=self._adapters.apart(asked.bodies))
        await self._relay.run(exchange, partial(self._answer, asked, method))

    async def _answer(self, asked: Asked, method: Callable[..., object], reply: Reply) -> None:
        if asked.begun:
            (prompt,) = await self._known(asked)
            asked, method = going_on(asked, prompt.ids), self._native.complete
        known = await self._known(asked) if asked.ids or asked.scored else ()
        speller: Speller | Tracer | None = None
        if asked.traced:
            speller = Tracer(self._spelling)
        elif asked.ids or asked.include:
            speller = Speller(
                self._spelling, stops=asked.stops, include=asked.include, logprobs=asked.logprobs, ids=asked.ids
            )
        answer = _stream if asked.stream else _whole
        await answer(self._native, asked, method, known, speller, reply)

    async def _known(self, asked: Asked) -> list[Known]:
        """The tokens of each prompt, and their probabilities where they are asked for."""
        if asked.chat:
            return [Known(await self._tokens(await self._render(asked.bodies[0]), special=True))]
        known: list[Known] = []
        for prompt in asked.prompts:
            if not isinstance(prompt, str):
                known.append(Known(prompt))
                continue
            tokens = await self._pieces(prompt, True, around=True)
            scored = await score(self._complete, self._spelling, tokens, asked.logprobs or 0) if asked.scored else ()
            known.append(Known([id for id, _ in tokens], scored))
        return known

    async def _embed(self, exchange: Exchange) -> None:
        self._refuse_when_draining()
        if not self._embeddings:
            raise ServingError(
                "unsupported", "this model was not started for embeddings; start it with the option embeddings: true"
            )
        body, dropped = read_embedding(await exchange.body())
        note_dropped("llama.cpp", exchange, dropped)
        try:
            answer = await self._native.embed(body)
        except (ValueError, RuntimeError) as error:
            raise ServingError("bad_request", str(error), param="input") from error
        if answer.startswith(b'{"error"'):
            raise engine_error(msgspec.json.decode(answer, type=_EngineFailure).error, param="input")
        await exchange.respond(Response(200, answer))

    async def _tokenize(self, exchange: Exchange) -> None:
        asked = read_tokenize(await exchange.body(), self._able)
        if asked is None:
            await self._engine(exchange)
            return
        note_dropped("llama.cpp", exchange, asked.dropped)
        text = await self._render(asked.conversation) if asked.conversation else asked.text
        if asked.pieces:
            told = await self._pieces(text, True, around=asked.special)
            body = emit_tokens([id for id, _ in told], self._context, [raw for _, raw in told])
        else:
            body = emit_tokens(await self._tokens(text, special=asked.special), self._context)
        await exchange.respond(Response(200, body))

    async def _tokens(self, text: str, *, special: bool) -> list[int]:
        """special: with the tokens that the model has around a prompt."""
        question = {"content": text, "add_special": special, "parse_special": True}
        answer = await self._ask("POST", "/tokenize", msgspec.json.encode(question))
        return msgspec.json.decode(answer.body, type=_Tokenized).tokens

    async def _complete(self, body: bytes) -> bytes:
        return (await self._ask("POST", "/completion", body)).body

    async def _pieces(self, text: str, special: bool, around: bool = False) -> list[tuple[int, bytes]]:
        """special: marks in the text are meant; around: with the tokens that the model has around a prompt."""
        question = {"content": text, "add_special": around, "parse_special": special, "with_pieces": True}
        answer = await self._ask("POST", "/tokenize", msgspec.json.encode(question))
        found = msgspec.json.decode(answer.body, type=_Pieces).tokens
        return [(one.id, one.piece.encode() if isinstance(one.piece, str) else bytes(one.piece)) for one in found]

    async def _written(self, token: int) -> str:
        answer = await self._ask("POST", "/detokenize", msgspec.json.encode({"tokens": [token]}))
        return msgspec.json.decode(answer.body, type=_Detokenized).content

    async def _scale_adapters(self, exchange: Exchange) -> None:
        body = await exchange.body()
        self._adapters.scaled(body)
        await exchange.respond(await self._ask("POST", exchange.path, body))

    async def _render(self, conversation: bytes) -> str:
        try:
            rendered = await self._ask("POST", "/apply-template", conversation)
        except ServingError as error:
            # The engine calls it its own failure when a template refuses a conversation.
            raise ServingError("bad_request", error.message, param="messages") from error
        return msgspec.json.decode(rendered.body, type=_Rendered).prompt

    async def _engine(self, exchange: Exchange) -> None:
        await exchange.respond(await self._ask(exchange.method, exchange.path, await exchange.body() or None))

    async def _ask(self, method: str, path: str, body: bytes | None) -> Response:
        answer = await self._native.ask(method, path, body)
        if answer.status >= 400:
            raise engine_error(msgspec.json.decode(answer.body, type=_EngineFailure).error)
        return answer

    async def _health(self, exchange: Exchange) -> None:
        self._refuse_when_draining()
        await exchange.respond(Response(200, b'{"status":"ok"}'))

    async def _respond(self, response: Response, exchange: Exchange) -> None:
        await exchange.respond(response)

    def _refuse_when_draining(self) -> None:
        if self.draining:
            raise ServingError("draining", "this replica is ending; ask another", retry_after=1.0)


async def _stream(
    native: Native,
    asked: Asked,
    method: Callable[..., object],
    known: Sequence[Known],
    speller: Speller | Tracer | None,
    reply: Reply,
) -> None:
    streamed = Streamed(asked, known)
    generation = native.start(method, asked.bodies)
    try:
        async for batch in generation:
            if speller is not None:
                batch = await speller.tell(batch)
            data = streamed.feed(batch)
            if not data:
                continue
            if not reply.started:
                head = [_SSE, _UNCACHED, (TRACED, b"1")] if asked.traced else [_SSE, _UNCACHED]
                await reply.exchange.begin(200, head)
            if streamed.complete:
                await reply.exchange.finish(data)
                return
            await reply.exchange.write(data)
        raise ServingError("upstream_error", "the engine ended the answer before it was complete")
    except ServingError as error:
        if not reply.started:
            raise
        await reply.exchange.finish(fault_frame(error))
    finally:
        generation.leave()


async def _whole(
    native: Native,
    asked: Asked,
    method: Callable[..., object],
    known: Sequence[Known],
    speller: Speller | Tracer | None,
    reply: Reply,
) -> None:
    whole = Whole(asked, known)
    generation = native.start(method, asked.bodies)
    try:
        async for batch in generation:
            if speller is not None:
                batch = await speller.tell(batch)
            whole.feed(batch)
            if whole.complete:
                break
        else:
            raise ServingError("upstream_error", "the engine ended the answer before it was complete")
    finally:
        generation.leave()
    await reply.whole(200, [_JSON], whole.body())


async def host(settings: HostSettings, link: ChildLink) -> None:
    """Load, report, serve until SIGTERM, and finish what is running.

    Raises ServingError when the engine cannot load the model, or not as it was told to.
    """
    with link.fatal():
        native = Native(settings)
    link.watch()
    props = await native.ask("GET", "/props")
    _check_context(settings, props)
    if settings.draft:
        _check_draft(settings, await native.ask("GET", "/slots"))
    models = await native.ask("GET", "/v1/models")
    relay = Relay()
    api = HostApi(native, relay, settings, props=props, models=_listed(models))
    await serve(api, relay, link, settings.grace, msgspec.to_builtins(about(props.body, models.body)))


def _check_context(settings: HostSettings, props: Response) -> None:
    """The engine divides and caps the context in silence."""
    sizes = msgspec.json.decode(props.body, type=_Props)
    got = sizes.default_generation_settings.n_ctx
    if got < settings.context or sizes.total_slots != settings.slots:
        raise ServingError(
            "unsupported",
            f"the engine gives {sizes.total_slots} slots of {got} tokens where {settings.slots} of {settings.context}"
            " were asked for; lower the option context or slots",
        )


class _Slot(msgspec.Struct):
    speculative: bool


def _check_draft(settings: HostSettings, slots: Response) -> None:
    """The engine does without a draft model that it cannot use, and says so in its log alone."""
    if not all(slot.speculative for slot in msgspec.json.decode(slots.body, type=list[_Slot])):
        raise ServingError(
            "unsupported",
            f"the draft model {settings.draft} cannot propose for this one, whose vocabulary is another; "
            "take a small model of the same family, or leave out the option draft",
        )


class _Listed(msgspec.Struct):
    data: list[msgspec.Raw]
    object: str = "list"


def _listed(models: Response) -> Response:
    """OpenAI's list alone, without the part for another protocol."""
    return Response(200, msgspec.json.encode(msgspec.json.decode(models.body, type=_Listed)))


def _run(settings: HostSettings, link: ChildLink) -> None:
    sys.setswitchinterval(_SWITCH_SECONDS)
    try:
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            runner.run(host(settings, link))
    except ImportError as error:
        raise ServingError(
            "unsupported", f"xllamacpp cannot be imported ({error}); install it with: pip install xllamacpp"
        ) from error


if __name__ == "__main__":
    run("trunkcall.workers.llamacpp", HostSettings, _run)
