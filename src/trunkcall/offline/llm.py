"""`LLM`: one model, started here, that answers many prompts at a time."""

from __future__ import annotations

import re
import warnings
from collections.abc import Generator, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Final, cast

import msgspec

from trunkcall import config, vllm_words
from trunkcall.core.errors import ServingError
from trunkcall.core.requests import Generate
from trunkcall.machine import look
from trunkcall.offline import sampling as asking
from trunkcall.offline.batch import embed_all, generate_all, ready
from trunkcall.offline.embedded import Embedded
from trunkcall.offline.outputs import EmbeddingOutput, EmbeddingRequestOutput, RequestOutput
from trunkcall.offline.progress import bar, starting
from trunkcall.offline.sampling import Conversation, Prompt, Sampling, SamplingParams, read_sampling
from trunkcall.offline.stream import pieces
from trunkcall.takeover import shims

_EMBEDDED_AT_ONCE: Final = 32
"""Texts of one request for vectors."""


class LLM:
    """A model and the engine that serves it, for as long as this object is open.

    model: a SOURCE, a .gguf file, a model folder or a name on the Hugging Face hub; tokenizer and
    tensor_parallel_size: as in vLLM, where the engine can; slots: requests answered at once; env: for the
    engine; key: `env:NAME` or `file:PATH`, of an upstream; options: the engine's, or vLLM's for it.

    Returns when the model can be asked. Use it with `with`, or `close` it: its engine ends then, and with the
    program at the latest. Raises ServingError, from every method, with what went wrong and the remedy.
    """

    def __init__(
        self,
        model: str,
        tokenizer: str | None = None,
        tensor_parallel_size: int = 1,
        *,
        slots: int | None = None,
        env: Mapping[str, str] | None = None,
        key: str = "",
        **options: Any,
    ) -> None:
        words = {name: value for name, value in options.items() if name in vllm_words.WORDS}
        words |= {"tokenizer": tokenizer, "tensor_parallel_size": tensor_parallel_size}
        own = {name: value for name, value in options.items() if name not in words and name != "revision"}
        entry: dict[str, Any] = {
            "options": own,
            "source": vllm_words.source_of(model, options.get("revision") or ""),
            "slots": slots,
            "env": {**vllm_words.env_of(words), **(env or {})},
            "key": key or None,
            "preload": True,
        }
        entry = {name: value for name, value in entry.items() if value is not None}
        settings = config.model(re.sub(r"\s", "_", model), entry, base=Path.cwd())
        shims.hide_from_children()
        spec = vllm_words.plan_of(settings, look())
        translated = vllm_words.translate(words, spec.engine if spec is not None else "")
        if translated.idle:
            by = spec.engine if spec is not None else settings.sources[0]
            warnings.warn(f"{by} has no use for {', '.join(translated.idle)}", stacklevel=2)
        self._model = settings.name
        chosen = {**translated.options, **settings.options}
        if "args" in chosen:
            chosen["args"] = [*translated.options.get("args", ()), *settings.options.get("args", ())]
        self._embedded = Embedded(msgspec.structs.replace(settings, options=chosen))
        try:
            with starting(model) as told:
                self._embedded.run(ready(self._embedded.dispatch, self._embedded.pool, told))
        except BaseException:
            self.close()
            raise

    def generate(
        self,
        prompts: Prompt | Sequence[Prompt] | None = None,
        sampling_params: Sampling | Sequence[Sampling] | None = None,
        *,
        prompt_token_ids: Sequence[Sequence[int]] | None = None,
        use_tqdm: bool = True,
    ) -> list[RequestOutput]:
        """What goes on after each prompt, in their order.

        prompts: one or more texts or lists of token ids; sampling_params: for all, or one for each;
        prompt_token_ids: instead of prompts, as older vLLMs had it; use_tqdm: show a bar on stderr.
        """
        asked = _prompts(prompts if prompts is not None else prompt_token_ids)
        chosen = _one_each(sampling_params, len(asked))
        requests = [asking.completion(self._model, *pair) for pair in zip(asked, chosen, strict=True)]
        return self._answer(requests, use_tqdm)

    def chat(
        self,
        messages: Conversation | Sequence[Conversation],
        sampling_params: Sampling | Sequence[Sampling] | None = None,
        *,
        use_tqdm: bool = True,
        **more: Any,
    ) -> list[RequestOutput]:
        """The answer to each conversation, in their order.

        messages: one conversation in OpenAI's shape, or more; sampling_params: for all, or one for each; more:
        of OpenAI's request, such as tools, response_format, chat_template.
        """
        many = bool(messages) and not isinstance(messages[0], Mapping)
        conversations = cast(Sequence[Conversation], messages if many else [messages])
        chosen = _one_each(sampling_params, len(conversations))
        requests = [asking.chat(self._model, *pair, more) for pair in zip(conversations, chosen, strict=True)]
        return self._answer(requests, use_tqdm)

    def stream(self, messages: Conversation, sampling_params: Sampling | None = None, **more: Any) -> Generator[str]:
        """The answer to one conversation, piece by piece; closing the iterator stops the work. Like `chat` else."""
        request = asking.chat(self._model, messages, read_sampling(sampling_params), more)
        return pieces(self._embedded, request)

    def embed(self, texts: Prompt | Sequence[Prompt], *, use_tqdm: bool = True) -> list[EmbeddingRequestOutput]:
        """The vector of each text, in their order; for models that were started for it."""
        asked = _prompts(texts)
        starts = range(0, len(asked), _EMBEDDED_AT_ONCE)
        requests = [asking.embedding(self._model, asked[at : at + _EMBEDDED_AT_ONCE]) for at in starts]
        with bar("Embedding", len(requests), use_tqdm) as told:
            work = embed_all(self._embedded.dispatch, self._embedded.pool, requests, lambda _: told(None))
            found = self._embedded.run(work)
        vectors = [vector for some in found for vector in some.vectors]
        return [
            EmbeddingRequestOutput(text if isinstance(text, str) else None, EmbeddingOutput(vector))
            for text, vector in zip(asked, vectors, strict=True)
        ]

    def close(self) -> None:
        """End the engine; once is enough."""
        self._embedded.close()

    def __enter__(self) -> LLM:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _answer(self, requests: Sequence[Generate], shown: bool) -> list[RequestOutput]:
        with bar("Generating", len(requests), shown) as told:
            work = generate_all(
                self._embedded.dispatch, self._embedded.pool, requests, lambda output: told(output.usage)
            )
            return self._embedded.run(work)


def _prompts(given: Prompt | Sequence[Prompt] | None) -> list[Prompt]:
    """One prompt or many, as many."""
    if given is None:
        raise ServingError("bad_request", "there is nothing to answer; give prompts", param="prompts")
    if isinstance(given, str | Mapping):
        return [given]
    if given and all(isinstance(item, int) for item in given):
        return [cast(Sequence[int], given)]
    return list(cast(Sequence[Prompt], given))


def _one_each(given: Sampling | Sequence[Sampling] | None, count: int) -> list[SamplingParams]:
    if given is None or isinstance(given, SamplingParams | Mapping):
        return [read_sampling(given)] * count
    if len(given) != count:
        raise ServingError(
            "bad_request",
            f"sampling_params: there are {len(given)} for {count} prompts; give one for all, or one for each",
            param="sampling_params",
        )
    return [read_sampling(one) for one in given]
