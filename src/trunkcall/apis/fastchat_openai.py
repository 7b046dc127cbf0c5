"""FastChat's OpenAI server on our own OpenAI API: its routes, defaults, errors and model cards."""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Sequence
from contextlib import closing
from typing import Annotated, Final, Literal, cast

import msgspec

from trunkcall.apis.fastchat_following import SCHEME, Following
from trunkcall.apis.fastchat_token_ids import texts_of
from trunkcall.control.calls import EmbedCall, GenerateCall
from trunkcall.control.counting import CONTEXT, count
from trunkcall.control.services import Services
from trunkcall.core.errors import ServingError
from trunkcall.core.ports import Exchange, Response, Route
from trunkcall.core.requests import Count, Generate, TextPrompt, TokenPrompt, Wire
from trunkcall.protocols import fastchat_openai as codec
from trunkcall.protocols.fastchat import named, templated
from trunkcall.protocols.fastchat_words import PROTOCOL as TEXT_ONLY
from trunkcall.protocols.headers import STRICT, is_strict
from trunkcall.protocols.openai import comment_frame, emit_embeddings, read_head

_PROTOCOL: Final = "fastchat-openai"
"""No replica speaks it, so that every answer gets this server's ids, defaults and errors."""
_OPEN_PATHS: Final = frozenset({"/api/v1/token_check", "/api/v1/chat/completions"})
_ALPHABET: Final = "23456789ABCDEFGHJKLMNPQRSTUVWXYZabcdefghijkmnopqrstuvwxyz"
_ID_LENGTH: Final = 22

_Read = Callable[[bytes, codec.Defaults], Generate]
_Emit = type[codec.ChatAnswer | codec.CompletionAnswer]


class FastChatOpenAIOptions(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A listener's options of this api.

    controller: URL of a FastChat controller whose models are served beside those of this process; once: those that it
    lists at first, and none that it gets later; errors: in whose shape they are told; open: the routes below /api/v1
    ask for no key, as in FastChat; defaults: by model, instead of FastChat's temperature of 0.7, which some models
    refuse; templates: names of FastChat's conversation templates for models without a chat template; stream_timeout:
    seconds that the controller's workers may be silent in a stream; embedding_batch: most texts that they are sent in
    one call.
    """

    controller: str = ""
    once: bool = False
    errors: Literal["fastchat", "openai"] = "fastchat"
    open: bool = False
    defaults: dict[str, codec.Defaults] = {}
    templates: dict[str, str] = {}
    stream_timeout: Annotated[float, msgspec.Meta(gt=0)] | None = None
    embedding_batch: Annotated[int, msgspec.Meta(ge=1)] | None = None


class FastChatOpenAI:
    """Fits core.ports.Api and Resident.

    Tools, response formats and usage in streams work as in our own OpenAI API. Token ids are the model's own, as
    there; a FastChat worker is asked in text, and for it they are read with tiktoken, as FastChat did for all.
    """

    name = "fastchat_openai"
    plane: Literal["inference", "control", "worker"] = "inference"
    Options = FastChatOpenAIOptions

    def __init__(self, services: Services, options: FastChatOpenAIOptions) -> None:
        self._serving = services.serving
        self._dispatch = services.dispatch
        self._words = codec.FASTCHAT if options.errors == "fastchat" else codec.OPENAI
        self._defaults = options.defaults
        self._templates = {model: named(name) for model, name in options.templates.items()}
        self._following = (
            Following(services.registry, options.controller, once=options.once) if options.controller else None
        )
        calls = {"stream_timeout": options.stream_timeout, "embedding_batch": options.embedding_batch}
        services.registry.call_with(SCHEME, {name: value for name, value in calls.items() if value is not None})
        self.open_paths = _OPEN_PATHS if options.open else frozenset[str]()

    def routes(self) -> Sequence[Route]:
        """What is served."""
        return (
            Route("GET", "/v1/models", self._models),
            Route("GET", "/v1/models/{model*}", self._model),
            Route("POST", "/v1/chat/completions", self._chat),
            Route("POST", "/v1/completions", self._complete),
            Route("POST", "/v1/embeddings", self._embed),
            Route("POST", "/v1/engines/{model*}/embeddings", self._embed),
            Route("POST", "/api/v1/token_check", self._check),
            Route("POST", "/api/v1/chat/completions", self._chat),
        )

    def failure(self, error: ServingError) -> Response:
        """The error in the shape that the options choose."""
        return self._words.unrouted(error) or self._words.failure(error)

    async def live(self, url: str) -> None:
        """Follow the controller, where there is one, until cancelled."""
        if self._following is not None:
            await self._following.live()

    async def _chat(self, exchange: Exchange) -> None:
        await self._generate(exchange, codec.read_chat, codec.ChatAnswer)

    async def _complete(self, exchange: Exchange) -> None:
        await self._generate(exchange, codec.read_completion, codec.CompletionAnswer)

    async def _generate(self, exchange: Exchange, read: _Read, emit: _Emit) -> None:
        body = await exchange.body()
        head = read_head(body)
        await self._find(exchange, head.model)
        request = read(body, self._defaults.get(head.model, codec.USUAL))
        if isinstance(request.prompt, TokenPrompt) and self._asked_in_text(head.model):
            texts = await texts_of(request.prompt.prompts, head.model, "prompt")
            request = msgspec.structs.replace(request, prompt=TextPrompt(texts, request.prompt.batched))
        template = self._templates.get(head.model)
        if template is not None:
            request = templated(request, template)
        call = GenerateCall(
            model=head.model,
            stream=head.stream,
            wire=Wire(_PROTOCOL, exchange.path, exchange.headers, body),
            read=lambda: request,
            emitter=lambda request: emit(request, head.stream, self._words, _fresh_id(), int(time.time())),
            failure=self._words.failure,
            fault=self._words.fault,
            comment=comment_frame,
            strict=is_strict(exchange.header(STRICT)),
        )
        await self._serving.serve(exchange, call)

    async def _embed(self, exchange: Exchange) -> None:
        body = await exchange.body()
        request = codec.read_embedding(body, exchange.parameters.get("model", ""))
        await self._find(exchange, request.model)
        if not isinstance(request.inputs[0], str) and self._asked_in_text(request.model):
            ids = cast("tuple[tuple[int, ...], ...]", request.inputs)
            request = msgspec.structs.replace(request, inputs=await texts_of(ids, request.model, "input"))
        call = EmbedCall(
            model=request.model,
            wire=Wire(_PROTOCOL, exchange.path, exchange.headers, body),
            read=lambda: request,
            emit=lambda vectors, request: emit_embeddings(vectors, request, request.model),
            failure=self._words.failure,
            strict=is_strict(exchange.header(STRICT)),
        )
        await self._serving.serve(exchange, call)

    async def _check(self, exchange: Exchange) -> None:
        """Whether prompts fit; their tokens are estimated where the model's replica cannot count."""
        checked: list[codec.Checked] = []
        for asked in codec.read_token_check(await exchange.body()):
            await self._find(exchange, asked.model)
            with closing(exchange.when_gone(exchange.cancel)):
                prompt = TextPrompt((asked.prompt,))
                tokens = await count(self._dispatch, Count(model=asked.model, prompt=prompt))
            context = tokens.context or CONTEXT
            checked.append(codec.Checked(tokens.count + asked.max_tokens <= context, tokens.count, context))
        await exchange.respond(Response(200, codec.emit_checked(checked)))

    async def _models(self, exchange: Exchange) -> None:
        if self._following is not None:
            with closing(exchange.when_gone(exchange.cancel)):
                try:
                    await self._following.look(refresh=True)
                except ServingError:
                    # What this process has of its own is served all the same.
                    if not self._dispatch.pools:
                        raise
        may_ask = self._serving.admission.may_ask
        dispatch = self._dispatch
        names = [name for name in dispatch.names() if may_ask(exchange.principal, name)]
        models = [(name, dispatch.pool(name).created) for name in names]
        await exchange.respond(Response(200, codec.model_cards(models, _fresh_id)))

    async def _model(self, exchange: Exchange) -> None:
        name = exchange.parameters["model"]
        await self._find(exchange, name)
        card = codec.model_card(name, self._dispatch.pool(name).created, _fresh_id())
        await exchange.respond(Response(200, card))

    async def _find(self, exchange: Exchange, model: str) -> None:
        """Be sure that a model is there, also one that the controller has only just got.

        Raises ServingError: no_model naming those that are there, no_capacity when the controller cannot be asked,
        forbidden where the caller's key is not for it.
        """
        self._serving.admission.check_model(exchange.principal, model)
        if self._dispatch.find(model) is not None:
            return
        if self._following is not None:
            with closing(exchange.when_gone(exchange.cancel)):
                await self._following.look()
        if self._dispatch.find(model) is None:
            raise ServingError("no_model", codec.only_allowed(self._dispatch.names(), model), param="model")

    def _asked_in_text(self, model: str) -> bool:
        replicas = self._dispatch.pool(model).replicas
        return any(replica.backend is not None and TEXT_ONLY in replica.backend.protocols for replica in replicas)


def _fresh_id() -> str:
    """22 letters and digits, none of which looks like another."""
    return "".join(random.choices(_ALPHABET, k=_ID_LENGTH))
