"""The OpenAI API as we serve it: chat completions, completions, embeddings and models."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import Final, Literal

import msgspec

from trunkcall.control.calls import EmbedCall, GenerateCall
from trunkcall.control.services import Services
from trunkcall.core.errors import ServingError
from trunkcall.core.ports import Emitter, Exchange, Response, Route
from trunkcall.core.requests import Generate, Wire
from trunkcall.protocols import openai as codec
from trunkcall.protocols.headers import STRICT, is_strict

_Read = Callable[[bytes], Generate]
_Emit = Callable[[Generate, bool], Emitter]

_CHAT: Final = ("/chat/completions", codec.read_chat, codec.ChatEmitter)


class OpenAIOptions(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A listener's options of this api.

    aliases: more names of models; an answer has the name of the model itself.
    """

    aliases: dict[str, str] = {}


class OpenAI:
    """Fits core.ports.Api; paths are below /v1."""

    name = "openai"
    plane: Literal["inference", "control", "worker"] = "inference"
    Options = OpenAIOptions

    def __init__(self, services: Services, options: OpenAIOptions | None = None) -> None:
        self._serving = services.serving
        self._aliases = options.aliases if options is not None else {}

    def routes(self) -> Sequence[Route]:
        """What is served."""
        chat = partial(self._generate, *_CHAT)
        text = partial(self._generate, "/completions", codec.read_completion, codec.CompletionEmitter)
        return (
            Route("POST", "/v1/chat/completions", chat),
            Route("POST", "/v1/completions", text),
            Route("POST", "/v1/embeddings", self._embed),
            Route("GET", "/v1/models", self._models),
            Route("GET", "/v1/models/{model*}", self._model),
        )

    def failure(self, error: ServingError) -> Response:
        """The error in OpenAI's shape."""
        return codec.failure(error)

    async def chat(self, exchange: Exchange) -> None:
        """Answer a chat completion, under whatever path it came."""
        await self._generate(*_CHAT, exchange)

    async def _generate(self, path: str, read: _Read, emit: _Emit, exchange: Exchange) -> None:
        head, body = self._read(await exchange.body())
        call = GenerateCall(
            model=head.model,
            stream=head.stream,
            wire=Wire("openai", path, exchange.headers, body),
            read=partial(read, body),
            emitter=lambda request: emit(request, head.stream),
            failure=codec.failure,
            fault=codec.fault_frame,
            comment=codec.comment_frame,
            strict=is_strict(exchange.header(STRICT)),
            # A completion may have many prompts, which the head does not tell.
            most=head.most if emit is codec.ChatEmitter else None,
        )
        await self._serving.serve(exchange, call)

    async def _embed(self, exchange: Exchange) -> None:
        head, body = self._read(await exchange.body())
        call = EmbedCall(
            model=head.model,
            wire=Wire("openai", "/embeddings", exchange.headers, body),
            read=partial(codec.read_embedding, body),
            emit=lambda vectors, request: codec.emit_embeddings(vectors, request, head.model),
            failure=codec.failure,
            strict=is_strict(exchange.header(STRICT)),
        )
        await self._serving.serve(exchange, call)

    def _read(self, body: bytes) -> tuple[codec.Head, bytes]:
        """The head, and the body with the name of the model itself."""
        head = codec.read_head(body)
        name = self._aliases.get(head.model)
        if name is None:
            return head, body
        return msgspec.structs.replace(head, model=name), codec.replace_model(body, name)

    async def _models(self, exchange: Exchange) -> None:
        dispatch = self._serving.dispatch
        may_ask = self._serving.admission.may_ask
        names = [name for name in dispatch.names() if may_ask(exchange.principal, name)]
        entries = [(name, dispatch.pool(name).created) for name in names]
        created = dict(entries)
        entries += [(alias, created[name]) for alias, name in self._aliases.items() if name in created]
        await exchange.respond(Response(200, codec.models_list(entries)))

    async def _model(self, exchange: Exchange) -> None:
        asked = exchange.parameters["model"]
        name = self._aliases.get(asked, asked)
        self._serving.admission.check_model(exchange.principal, name)
        pool = self._serving.dispatch.pool(name)
        await exchange.respond(Response(200, codec.model_entry(asked, pool.created)))
