"""TGI's routes that tell the tokens of a prompt without answering it."""

from __future__ import annotations

from contextlib import closing

from trunkcall.apis.tgi_options import TgiOptions
from trunkcall.apis.tgi_served import Served
from trunkcall.control.counting import CONTEXT, count_by
from trunkcall.core.errors import ServingError
from trunkcall.core.ports import Exchange, Response
from trunkcall.core.requests import Count, MessagesPrompt, TextPrompt
from trunkcall.protocols.tgi_asked import read_body
from trunkcall.protocols.tgi_openai import read_chat
from trunkcall.protocols.tgi_tokenize import Tokenized, emit_chat_tokenized, emit_tokenized, tokenized


async def tokenize(exchange: Exchange, body: bytes, served: Served) -> None:
    """Answer /tokenize; raises ServingError: bad_request, unsupported for a model that does not tell its tokens."""
    text = read_body(body).inputs
    tokens = await _tokens(exchange, TextPrompt((text,)), served, text)
    await exchange.respond(Response(200, emit_tokenized(tokens)))


async def chat_tokenize(exchange: Exchange, body: bytes, served: Served, options: TgiOptions) -> None:
    """Answer /chat_tokenize; raises ServingError likewise."""
    limits = options.limits(CONTEXT)
    assert limits is not None
    prompt = read_chat(body, served.pool(exchange).settings.name, options.compat, limits).prompt
    assert isinstance(prompt, MessagesPrompt)
    await exchange.respond(Response(200, emit_chat_tokenized(await _tokens(exchange, prompt, served))))


async def _tokens(
    exchange: Exchange, prompt: TextPrompt | MessagesPrompt, served: Served, text: str | None = None
) -> list[Tokenized]:
    name = served.pool(exchange).settings.name
    with closing(exchange.when_gone(exchange.cancel)):
        backend = await served.backend(name)
        tokens = await count_by(backend, Count(model=name, prompt=prompt, pieces=True))
    if tokens.ids is None or tokens.pieces is None:
        raise ServingError("unsupported", f"the model {name!r} does not tell which tokens a text has; ask another")
    return tokenized(tokens.ids, tokens.pieces, text)
