"""One TGI server: connections to it, what is known of it, and its answers to questions."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from typing import Final
from urllib.parse import urlsplit

import msgspec

from trunkcall.backends.tgi_credentials import Credential
from trunkcall.backends.tgi_known import About, Known
from trunkcall.backends.upstream import PROBE, PROBED_BYTES, entered
from trunkcall.core.errors import Kind, ServingError
from trunkcall.core.requests import Count, Generate, MessagesPrompt, TextPrompt, Tokens
from trunkcall.net.client import Client, Incoming, Timeouts
from trunkcall.protocols import tgi as codec
from trunkcall.protocols.headers import read_retry_after
from trunkcall.protocols.tgi_chat import emit_chat_count, tokens_in
from trunkcall.protocols.tgi_tokenize import read_tokenized

ASK: Final = Timeouts(connect=5.0, first_byte=60.0, idle=60.0, whole=60.0)
"""The limits of a question for tokens."""

_JSON: Final = b"Content-Type: application/json\r\n"
_SPARE: Final = 8
"""Tokens that a server adds to a prompt, at most; otherwise a text has no more tokens than bytes."""
_OF_A_KEY: Final[dict[int, Kind]] = {401: "unauthenticated", 403: "forbidden"}
_NO_ROUTE: Final = frozenset({404, 405, 501})


class Server:
    """The server at `url`, with a path where it is behind one.

    credential: what it is shown; compat: its edition, instead of what its /info says.
    """

    def __init__(self, url: str, credential: Credential, timeouts: Timeouts, compat: codec.Compat | None) -> None:
        parts = urlsplit(url)
        self._client = Client(f"{parts.scheme}://{parts.netloc}", timeouts=timeouts, reuse_after_stream=True)
        self._prefix = parts.path.rstrip("/")
        self.credential = credential
        self.known = Known(self._info, compat)

    async def aclose(self) -> None:
        """Close all connections."""
        await self._client.aclose()

    async def count(self, request: Count, credential: Credential) -> Tokens:
        """The tokens of a prompt, and how many a request may have in all.

        Raises ServingError (unsupported) when the server does not tell them.
        """
        about = await self.known.about()
        prompt = request.prompt
        if not self.known.counts or (isinstance(prompt, MessagesPrompt) and not about.counts_chats):
            raise _uncounted()
        if isinstance(prompt, MessagesPrompt):
            path, body = "/chat_tokenize", emit_chat_count(request, prompt)
        else:
            if len(prompt.texts) != 1:
                raise ServingError(
                    "bad_request", "prompt: tokens are counted for one text at a time; send each on its own"
                )
            path, body = "/tokenize", msgspec.json.encode({"inputs": prompt.texts[0]})
        async with self.send(b"POST", path, body, credential, ASK) as answer:
            said = await answer.read()
        if answer.status in _NO_ROUTE:
            self.known.counts = isinstance(prompt, MessagesPrompt)
            raise _uncounted()
        if answer.status != 200:
            raise self.refusal(answer, said, credential)
        if isinstance(prompt, MessagesPrompt):
            tokens = read_tokenized(tokens_in(said))
        else:
            tokens = read_tokenized(said, prompt.texts[0])
        return msgspec.structs.replace(tokens, context=about.total_limit)

    async def room(self, request: Generate, about: About, credential: Credential) -> tuple[int | None, int | None]:
        """The tokens that an answer may have, None where the request or the server says; and those of the prompt.

        Servers before 3 give an answer 20 or 100 tokens where nothing is said, so all that fits must be asked for;
        before 2.4 they do not tell how many a prompt has.
        """
        if about.compat == codec.NEWEST:
            return None, None
        prompt: int | None = None
        if isinstance(request.prompt, TextPrompt | MessagesPrompt):
            try:
                prompt = (await self.count(Count(model=request.model, prompt=request.prompt), credential)).count
            except ServingError as error:
                if error.kind not in ("unsupported", "bad_request", "too_long"):
                    raise
        if isinstance(request.sampling.max_tokens, int) or about.total_limit is None:
            return None, prompt
        if prompt is not None:
            return max(1, about.total_limit - prompt), prompt
        longest = about.input_limit or 0
        if isinstance(request.prompt, TextPrompt):
            longest = min(longest, len(request.prompt.texts[0].encode()) + _SPARE)
        return max(1, about.total_limit - longest), None

    @asynccontextmanager
    async def ask(self, path: str, body: bytes, credential: Credential) -> AsyncGenerator[Incoming]:
        """The answer to a generation, whose status is 200; leaving before its end stops the work.

        Raises ServingError as TGI tells it.
        """
        async with self.send(b"POST", path, body, credential) as answer:
            if answer.status != 200:
                raise self.refusal(answer, await answer.read(), credential)
            yield answer

    @asynccontextmanager
    async def send(
        self,
        method: bytes,
        path: str,
        body: bytes,
        credential: Credential,
        timeouts: Timeouts | None = None,
        headers: bytes = b"",
    ) -> AsyncGenerator[Incoming]:
        """The answer to a request, whatever its status; headers: encoded lines beside the usual ones.

        Raises ServingError: unreachable, upstream_timeout, upstream_error.
        """
        lines = b"".join((_JSON, credential.header, headers))
        sent = self._client.request(method, (self._prefix + path).encode(), lines, body, timeouts=timeouts)
        try:
            answer = await entered(sent)
        except ServingError:
            self.known.forget()
            raise
        try:
            yield answer
        finally:
            await sent.__aexit__(None, None, None)

    def refusal(self, answer: Incoming, body: bytes, credential: Credential) -> ServingError:
        """An error in the server's words, without the key, which it may quote."""
        error = codec.read_error(answer.status, credential.key.hidden_in(body), read_retry_after(answer.headers))
        kind = _OF_A_KEY.get(answer.status)
        return error if kind is None else credential.key.refused(kind, error)

    async def _info(self) -> codec.Info:
        async with self.send(b"GET", "/info", b"", self.credential, PROBE) as answer:
            body = await answer.read(PROBED_BYTES)
        if answer.status != 200:
            raise self.refusal(answer, body, self.credential)
        return codec.read_info(body)


def _uncounted() -> ServingError:
    return ServingError(
        "unsupported", "this TGI server does not tell the tokens of a text; use another where they are needed"
    )
