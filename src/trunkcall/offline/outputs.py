"""What `LLM` gives back, under vLLM's names, and how a generation's events become it."""

from __future__ import annotations

import msgspec

from trunkcall.core.events import (
    Event,
    Finish,
    FinishReason,
    PromptIds,
    Refusal,
    Text,
    Thinking,
    TokenLogprob,
    ToolCall,
    Usage,
)


class ToolCalled(msgspec.Struct, frozen=True):
    """A function that the model wants to be called; arguments: JSON text as the model wrote it."""

    id: str
    name: str
    arguments: str


class CompletionOutput(msgspec.Struct, frozen=True, kw_only=True):
    """One answer.

    token_ids and logprobs: None where the engine does not tell them (llama.cpp has no ids of tool calls);
    logprobs: natural logarithms, one entry per token; stop_reason: the stop string that ended it.
    """

    index: int
    text: str
    token_ids: tuple[int, ...] | None = None
    logprobs: tuple[TokenLogprob, ...] | None = None
    finish_reason: FinishReason | None = None
    stop_reason: str | None = None
    thinking: str = ""
    tool_calls: tuple[ToolCalled, ...] = ()

    @property
    def cumulative_logprob(self) -> float | None:
        """Of the whole answer; None without logprobs."""
        return None if self.logprobs is None else sum(token.logprob for token in self.logprobs)


class RequestOutput(msgspec.Struct, frozen=True, kw_only=True):
    """The answers to one prompt.

    prompt: its text, None for token ids and conversations; prompt_token_ids: None where the engine does not
    tell them; dropped: names of parameters that the engine could not honour.
    """

    request_id: str
    prompt: str | None
    prompt_token_ids: tuple[int, ...] | None
    outputs: tuple[CompletionOutput, ...]
    usage: Usage | None = None
    dropped: tuple[str, ...] = ()
    finished: bool = True


class EmbeddingOutput(msgspec.Struct, frozen=True):
    """A vector of float32."""

    embedding: tuple[float, ...]


class EmbeddingRequestOutput(msgspec.Struct, frozen=True):
    """The vector of one text; prompt: None for token ids."""

    prompt: str | None
    outputs: EmbeddingOutput


class Collected:
    """The events of one generation, put together."""

    def __init__(self) -> None:
        self._choices: dict[int, _Choice] = {}
        self.usage: Usage | None = None
        self.prompt_ids: tuple[int, ...] | None = None

    def feed(self, event: Event) -> None:
        """Take in an event; a Fault is the caller's to raise."""
        match event:
            case Text(index=index, text=text, token_ids=ids, logprobs=logprobs):
                choice = self._choice(index)
                choice.text.append(text)
                if ids is not None:
                    choice.token_ids.extend(ids)
                    choice.has_ids = True
                if logprobs is not None:
                    choice.logprobs.extend(logprobs)
                    choice.has_logprobs = True
            case Refusal(index=index, text=text):
                self._choice(index).text.append(text)
            case Thinking(index=index, text=text):
                self._choice(index).thinking.append(text)
            case ToolCall(index=index, slot=slot):
                self._choice(index).calls.setdefault(slot, []).append(event)
            case Finish(index=index):
                self._choice(index).finish = event
            case Usage():
                self.usage = event
            case PromptIds():
                self.prompt_ids = event.ids
            case _:
                pass

    def outputs(self) -> tuple[CompletionOutput, ...]:
        """The answers, by index."""
        return tuple(self._choices[index].output(index) for index in sorted(self._choices))

    def _choice(self, index: int) -> _Choice:
        return self._choices.setdefault(index, _Choice())


class _Choice:
    def __init__(self) -> None:
        self.text: list[str] = []
        self.thinking: list[str] = []
        self.token_ids: list[int] = []
        self.has_ids = False
        self.logprobs: list[TokenLogprob] = []
        self.has_logprobs = False
        self.calls: dict[int, list[ToolCall]] = {}
        self.finish: Finish | None = None

    def output(self, index: int) -> CompletionOutput:
        return CompletionOutput(
            index=index,
            text="".join(self.text),
            token_ids=tuple(self.token_ids) if self.has_ids else None,
            logprobs=tuple(self.logprobs) if self.has_logprobs else None,
            finish_reason=self.finish.reason if self.finish else None,
            stop_reason=self.finish.matched_stop if self.finish else None,
            thinking="".join(self.thinking),
            tool_calls=tuple(_called(fragments) for fragments in self.calls.values()),
        )


def _called(fragments: list[ToolCall]) -> ToolCalled:
    return ToolCalled(
        next((one.id for one in fragments if one.id), ""),
        next((one.name for one in fragments if one.name), ""),
        "".join(one.arguments for one in fragments),
    )
