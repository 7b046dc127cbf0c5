"""TGI's own routes that generate: /, /generate and /generate_stream."""

from __future__ import annotations

import random
from collections.abc import Callable

import msgspec

from trunkcall.apis.tgi_intake import Intake, Order, Words
from trunkcall.apis.tgi_options import TgiOptions
from trunkcall.apis.tgi_served import SPECIAL_TOKENS, Served, counted, size
from trunkcall.control.pool import Pool
from trunkcall.core.errors import ServingError
from trunkcall.core.ports import Backend, Exchange
from trunkcall.core.requests import Generate, TextPrompt, TokenPrompt, Tokens, Wire
from trunkcall.protocols import tgi as codec
from trunkcall.protocols.tgi_asked import Body, check_asked, read_body

ROOT = "/"
GENERATE = "/generate"
GENERATE_STREAM = "/generate_stream"

_NEWEST_SEED = 2**31 - 1
_TRUE = msgspec.Raw(b"true")
_WHOLE = Words(codec.failure, codec.fault_event)
_STREAMED = Words(codec.stream_failure, codec.fault_event)


class Generating:
    """Answers what is asked in TGI's own words."""

    def __init__(self, options: TgiOptions, served: Served, intake: Intake) -> None:
        self._options = options
        self._served = served
        self._intake = intake
        self._full_text = options.pipeline_tag == "text-generation"

    async def answer(self, exchange: Exchange, body: bytes, path: str) -> None:
        """Answer one of the three routes.

        Raises ServingError: bad_request for a body of a wrong shape, cancelled when the client left.
        """
        read = read_body(body)
        stream = bool(read.stream) if path == ROOT else path == GENERATE_STREAM

        async def prepare(pool: Pool, backend: Backend, limits: codec.Limits) -> Order:
            return await self._prepare(read, Wire(codec.PROTOCOL, path, exchange.headers, body), pool, backend, limits)

        await self._intake.take(exchange, _STREAMED if stream else _WHOLE, stream=stream, prepare=prepare)

    async def _prepare(self, read: Body, wire: Wire, pool: Pool, backend: Backend, limits: codec.Limits) -> Order:
        compat = self._options.compat
        root = wire.path == ROOT
        asked = check_asked(
            read,
            compat,
            limits,
            streaming=None if root else wire.path == GENERATE_STREAM,
            full_text=root and self._full_text,
        )
        name = pool.settings.name
        tokens: Tokens | None = None
        most = size(asked.inputs) + SPECIAL_TOKENS
        cut = asked.truncate is not None and most > asked.truncate
        if cut or not self._served.surely_fits(name, limits, most, asked.max_new_tokens):
            tokens = await counted(backend, name, TextPrompt((asked.inputs,)))
        grammar = asked.grammar
        asked = codec.check_tokens(asked, None if tokens is None else tokens.count, limits, compat)
        if grammar is not None and not self._options.grammar:
            raise ServingError("unsupported", "grammar is not supported", param="grammar")
        # The adapters of a TGI behind are its own.
        strict = codec.PROTOCOL not in backend.protocols
        model = self._served.adapted(pool, asked.adapter_id, strict=strict)
        asked = self._as_here(asked)
        request = _truncated(codec.to_generate(asked, model), asked, tokens)
        return Order(request, wire, self._emitter(asked, listed=root), len(asked.inputs), asked.input_tokens)

    def _as_here(self, asked: codec.Asked) -> codec.Asked:
        """With a seed that can be told, and without a prefill that is not."""
        if asked.samples and asked.details and asked.seed is None and asked.best_of == 1:
            asked = msgspec.structs.replace(asked, seed=random.randrange(_NEWEST_SEED))
        if asked.decoder_input_details and self._options.compat == codec.NEWEST and not self._options.prefill:
            extra = {**asked.extra, "decoder_input_details": _TRUE}
            asked = msgspec.structs.replace(asked, decoder_input_details=False, extra=extra)
        return asked

    def _emitter(
        self, asked: codec.Asked, *, listed: bool
    ) -> Callable[[Generate], codec.StreamEmitter | codec.WholeEmitter]:
        compat = self._options.compat
        if asked.stream:
            return lambda _: codec.StreamEmitter(asked, compat=compat)
        return lambda _: codec.WholeEmitter(asked, listed=listed, compat=compat)


def _truncated(request: Generate, asked: codec.Asked, tokens: Tokens | None) -> Generate:
    """The prompt's last tokens, where it has more than it may have; who does not tell them cannot cut it."""
    most = asked.truncate
    if most is None or (tokens is not None and tokens.count <= most):
        return request
    if tokens is not None and tokens.ids is not None:
        return msgspec.structs.replace(request, prompt=TokenPrompt((tokens.ids[-most:],)))
    if tokens is None and size(asked.inputs) + SPECIAL_TOKENS <= most:
        return request
    own = {**request.extra.get(codec.PROTOCOL, {}), "truncate": msgspec.Raw(b"%d" % most)}
    return msgspec.structs.replace(request, extra={**request.extra, codec.PROTOCOL: own})
