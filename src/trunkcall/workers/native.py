"""llama.cpp inside this process: loading a model, and its generations as chunks on the event loop."""

from __future__ import annotations

import asyncio
import ctypes
import http.client
import importlib
import os
import re
import secrets
import sys
import time
from collections import deque
from collections.abc import Callable, Generator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any, Final
from urllib.parse import urlsplit

from trunkcall.core.errors import ServingError
from trunkcall.core.ports import Response
from trunkcall.protocols.llamacpp_host import HostSettings

_SPARE_THREADS: Final = 4
"""Calls that wait inside the engine, so that a slot that falls free is taken at once."""

_GATHER_SECONDS: Final = 0.001
"""What is said within it goes out in one write; a model of usual size needs 10 times as long for a token."""

_LOG_SECONDS: Final = 0.5

_ERROR_LINE: Final = re.compile(r"^(?:\S+ )?E\s+(.*)$", re.MULTILINE)

_CONSEQUENCES: Final = ("failed to load model", "failed to initialize chat template")

Chunk = tuple[int, bytes]
"""Which of a generation's answers, and the engine's JSON."""


class Native:
    """The loaded model.

    It is never unloaded in this process, because deleting a Server can hang for ever;
    its owner ends the process with os._exit.

    Raises ServingError (unsupported) when the engine cannot load the model, in its own words.
    """

    def __init__(self, settings: HostSettings) -> None:
        self._key = secrets.token_hex(16)
        with _native_log() as log:
            try:
                self._server: Any = _load(settings, self._key)
            except RuntimeError as error:
                # The engine's log is written by a thread of its own, which may still be at it.
                time.sleep(_LOG_SECONDS)
                raise ServingError("unsupported", load_error(log(), str(error))) from error
        # One reference that nobody gives back: see above.
        ctypes.pythonapi.Py_IncRef(ctypes.py_object(self._server))
        where = urlsplit(str(self._server.listening_address))
        self._host, self._port = where.hostname or "127.0.0.1", where.port
        self._loop = asyncio.get_running_loop()
        self._answers = ThreadPoolExecutor(settings.slots + _SPARE_THREADS, "answer")
        self._questions = ThreadPoolExecutor(2, "question")
        self._inbox: deque[tuple[Generation, int, bytes | BaseException | None]] = deque()
        self._woken = False
        self.chat: Callable[..., object] = self._server.handle_chat_completions
        self.complete: Callable[..., object] = self._server.handle_completions

    def start(self, method: Callable[..., object], bodies: Sequence[bytes]) -> Generation:
        """Begin an answer to each body (streamed ones, each with return_progress)."""
        generation = Generation(len(bodies))
        for index, body in enumerate(bodies):
            self._answers.submit(self._answer, generation, index, method, body)
        return generation

    async def embed(self, body: bytes) -> bytes:
        """The engine's answer to an embeddings request."""
        return await self._loop.run_in_executor(self._questions, self._server.handle_embeddings, body)

    async def ask(self, method: str, path: str, body: bytes | None = None) -> Response:
        """Ask the engine's own HTTP server, for what has no other way in."""
        return await self._loop.run_in_executor(self._questions, self._ask, method, path, body)

    def _ask(self, method: str, path: str, body: bytes | None) -> Response:
        connection = http.client.HTTPConnection(self._host, self._port, timeout=60)
        try:
            connection.request(
                method, path, body, {"Authorization": f"Bearer {self._key}", "Content-Type": "application/json"}
            )
            answer = connection.getresponse()
            kind = answer.getheader("content-type", "application/json").encode()
            return Response(answer.status, answer.read(), ((b"content-type", kind),))
        finally:
            connection.close()

    def _answer(self, generation: Generation, index: int, method: Callable[..., object], body: bytes) -> None:
        if generation.gone:
            return

        def on_chunk(chunk: bytes) -> bool:
            # True stops the engine. An exception here would be swallowed by it, so nothing is done but to pass on.
            if generation.gone:
                return True
            self._post(generation, index, chunk)
            return False

        try:
            method(body, on_chunk)
        except Exception as error:  # noqa: BLE001
            # Raised on by the request's own task; nobody sees this thread.
            self._post(generation, index, error)
        else:
            self._post(generation, index, None)

    def _post(self, generation: Generation, index: int, item: bytes | BaseException | None) -> None:
        self._inbox.append((generation, index, item))
        if not self._woken:
            self._woken = True
            self._loop.call_soon_threadsafe(self._deliver)

    def _deliver(self) -> None:
        """Hand out what all slots have said; while they go on speaking, look again soon instead of being woken."""
        inbox = self._inbox
        if not inbox:
            self._woken = False
            # An item that came just before the line above has woken nobody.
            if not inbox:
                return
            self._woken = True
        told: set[Generation] = set()
        while inbox:
            generation, index, item = inbox.popleft()
            generation.take(index, item)
            told.add(generation)
        for generation in told:
            generation.wake()
        self._loop.call_later(_GATHER_SECONDS, self._deliver)


class Generation:
    """One request's answers while they come; iterate over batches of chunks, `leave` when done with it.

    Raises ServingError (bad_request) when the engine refuses the request.
    """

    __slots__ = ("_failure", "_open", "_pending", "_waiter", "gone")

    def __init__(self, answers: int) -> None:
        self.gone = False
        """Read by the engine's threads at each chunk: stop."""
        self._open = answers
        self._pending: list[Chunk] = []
        self._failure: BaseException | None = None
        self._waiter: asyncio.Future[None] | None = None

    def leave(self) -> None:
        """Stop the engine's work at its next chunk."""
        self.gone = True

    def take(self, index: int, item: bytes | BaseException | None) -> None:
        """A chunk, a failure or (None) an answer's end has come."""
        if isinstance(item, bytes):
            self._pending.append((index, item))
            return
        self._open -= 1
        if item is not None:
            self._failure = item

    def wake(self) -> None:
        """Something was taken."""
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)

    def __aiter__(self) -> Generation:
        return self

    async def __anext__(self) -> list[Chunk]:
        while not self._pending:
            if self._failure is not None:
                # The engine raises these two for what it cannot read in a request.
                refused = isinstance(self._failure, ValueError | RuntimeError)
                raise ServingError("bad_request" if refused else "bug", str(self._failure)) from self._failure
            if not self._open:
                raise StopAsyncIteration
            self._waiter = asyncio.get_running_loop().create_future()
            await self._waiter
        pending, self._pending = self._pending, []
        return pending


def load_error(log: str, otherwise: str) -> str:
    """Why loading failed: the first two errors of the engine's log, for it names the cause before its consequences."""
    lines: list[str] = [line.strip() for line in _ERROR_LINE.findall(log)]
    causes = [line for line in lines[:2] if not line.endswith(_CONSEQUENCES)] or lines[:1]
    return "; ".join(causes) or otherwise


def _load(settings: HostSettings, key: str) -> Any:
    # Imported here, so that what needs only this module's nouns does not load 100 MB of native code.
    xllamacpp: Any = importlib.import_module("xllamacpp")
    params = xllamacpp.CommonParams()
    params.model.path = settings.path
    params.model_alias = {settings.name}
    params.mmproj.path = settings.mmproj
    params.n_parallel = settings.slots
    # Each slot gets an equal share of it.
    params.n_ctx = settings.context * settings.slots
    params.n_batch = params.n_ubatch = _batch(settings)
    # All cores is the default, and threads that spin for a core that is taken cost more than they bring.
    params.cpuparams.n_threads = params.cpuparams_batch.n_threads = settings.threads
    params.n_threads_http = 2
    params.n_gpu_layers = settings.gpu_layers
    # It would shrink the context silently when memory is short.
    params.fit_params = False
    cache_type = getattr(xllamacpp.ggml_type, f"GGML_TYPE_{settings.kv.upper()}")
    params.cache_type_k = params.cache_type_v = cache_type
    params.cache_ram_mib = settings.cache_ram_mib
    params.lora_adapters = [xllamacpp.CommonAdapterLoraInfo(one.path, one.scale) for one in settings.lora]
    if settings.draft:
        params.speculative.types = [xllamacpp.common_speculative_type.COMMON_SPECULATIVE_TYPE_DRAFT_SIMPLE]
        draft = params.speculative.draft
        draft.mparams.path = settings.draft
        draft.n_max = settings.draft_tokens
        draft.n_gpu_layers = settings.gpu_layers
        draft.cpuparams.n_threads = draft.cpuparams_batch.n_threads = settings.threads
        draft.cache_type_k = draft.cache_type_v = cache_type
    if settings.template:
        params.chat_template = settings.template
    if settings.embeddings:
        params.embedding = True
        params.pooling_type = getattr(xllamacpp.llama_pooling_type, f"LLAMA_POOLING_TYPE_{settings.pooling.upper()}")
    if settings.seed is not None:
        params.sampling.seed = settings.seed
    # Its listener cannot be turned off: loopback, a key that nobody else knows, no page.
    params.hostnames = ["127.0.0.1"]
    params.port = 0
    params.api_keys = [key]
    params.ui = False
    params.endpoint_slots = params.endpoint_props = params.endpoint_metrics = True
    # Errors only; they name the reason that the exception hides.
    params.verbosity = 1
    return xllamacpp.Server(params)


def _batch(settings: HostSettings) -> int:
    """Tokens of a step."""
    if not settings.embeddings:
        return settings.batch
    # A model whose attention looks both ways must see its whole input at once; and where the slots do not divide the
    # step, pooling ends the process: GGML_ASSERT(ggml_can_mul_mat(a, b)).
    return -(-max(settings.batch, settings.context) // settings.slots) * settings.slots


@contextmanager
def _native_log() -> Generator[Callable[[], str], None, None]:
    """Copy what native code writes to stderr meanwhile; the call gives the text and ends the copying.

    The copying is a process: the engine holds the interpreter's lock while it loads, and
    if it aborts its last words must still come out.
    """
    sys.stderr.flush()
    ours = os.dup(2)
    end, begin = os.pipe()
    told, tell = os.pipe()
    copier = os.fork()
    if not copier:
        _copy(end, begin, tell)
    os.close(end)
    os.close(tell)
    os.dup2(begin, 2)
    os.close(begin)
    text: list[str] = []

    def finish() -> str:
        if not text:
            os.dup2(ours, 2)
            os.close(ours)
            with os.fdopen(told, "rb") as log:
                text.append(log.read().decode("utf-8", "replace"))
            os.waitpid(copier, 0)
        return text[0]

    try:
        yield finish
    finally:
        finish()


def _copy(source: int, unused: int, tell: int) -> None:
    """The copying process: from the pipe to stderr, and at the end all of it to the teller."""
    try:
        os.close(unused)
        kept = b""
        while data := os.read(source, 65536):
            os.write(2, data)
            kept = (kept + data)[-65536:]
        while kept:
            kept = kept[os.write(tell, kept) :]
    finally:
        os._exit(0)
