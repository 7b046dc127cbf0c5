"""Whole OpenAI answers: events are collected and become one JSON object."""

from __future__ import annotations

import base64
import codecs
import struct
from collections.abc import Iterable, Sequence
from typing import Any, Final

import msgspec

from trunkcall.core.events import (
    Event,
    Fault,
    Finish,
    Notice,
    PromptIds,
    PromptTokens,
    Queue,
    Refusal,
    Start,
    Text,
    Thinking,
    TokenLogprob,
    ToolCall,
    Usage,
)
from trunkcall.core.requests import Embed, Generate, TextPrompt, Vectors

_encode = msgspec.json.Encoder().encode

_OWNER: Final = "trunkcall"
_utf8: Final = codecs.getincrementaldecoder("utf-8")


class _Choice:
    """One choice of a whole answer while it grows."""

    __slots__ = ("calls", "finish", "logprobs", "refusal", "stop", "text", "thinking", "token_ids")

    def __init__(self) -> None:
        self.text: list[str] = []
        self.thinking: list[str] = []
        self.refusal: list[str] = []
        self.calls: dict[int, tuple[str, str, list[str]]] = {}
        self.logprobs: list[TokenLogprob] = []
        self.token_ids: list[int] = []
        self.finish = "stop"
        self.stop: str | None = None


class Collected:
    """A whole answer while it grows."""

    def __init__(self) -> None:
        self.start = Start("", "", 0)
        self.choices: dict[int, _Choice] = {}
        self.prompts: list[tuple[TokenLogprob, ...]] = []
        self.prompt_ids: dict[int, tuple[int, ...]] = {}
        self.usage: Usage | None = None
        self.notices: list[Notice] = []

    def add(self, event: Event) -> None:
        """Take one event in; raises the error of a Fault, which a whole answer can still be replaced by."""
        match event:
            case Text():
                choice = self._choice(event.index)
                choice.text.append(event.text)
                if event.logprobs:
                    choice.logprobs.extend(event.logprobs)
                if event.token_ids:
                    choice.token_ids.extend(event.token_ids)
            case Thinking():
                self._choice(event.index).thinking.append(event.text)
            case Refusal():
                self._choice(event.index).refusal.append(event.text)
            case ToolCall():
                calls = self._choice(event.index).calls
                if event.slot not in calls:
                    calls[event.slot] = (event.id or "", event.name or "", [])
                calls[event.slot][2].append(event.arguments)
            case Finish():
                choice = self._choice(event.index)
                choice.finish = event.reason
                choice.stop = event.matched_stop
            case Usage():
                self.usage = event
            case Start():
                self.start = event
            case PromptTokens():
                self.prompts.append(event.tokens)
            case PromptIds():
                self.prompt_ids[event.place] = event.ids
            case Fault():
                raise event.error
            case Notice():
                self.notices.append(event)
            case Queue():
                pass

    def _choice(self, index: int) -> _Choice:
        found = self.choices.get(index)
        if found is None:
            found = self.choices[index] = _Choice()
        return found


def _answer_head(id: str, object: str, model: str, whole: Collected) -> dict[str, Any]:
    fields: dict[str, Any] = {"id": id, "object": object, "created": whole.start.created, "model": model}
    if whole.start.fingerprint is not None:
        fields["system_fingerprint"] = whole.start.fingerprint
    return fields


def chat_answer(whole: Collected, request: Generate) -> dict[str, Any]:
    """The body of a chat answer."""
    made = _answer_head(named("chatcmpl-", whole.start.id), "chat.completion", request.model, whole)
    choices: list[dict[str, Any]] = []
    for index, choice in sorted(whole.choices.items()):
        text = "".join(choice.text)
        content = None if not text and (choice.calls or choice.refusal) else text
        message: dict[str, Any] = {
            "role": "assistant",
            "content": content,
            "refusal": "".join(choice.refusal) if choice.refusal else None,
        }
        if choice.thinking:
            message["reasoning_content"] = "".join(choice.thinking)
        if choice.calls:
            message["tool_calls"] = [
                {"id": id, "type": "function", "function": {"name": name, "arguments": "".join(pieces)}}
                for _, (id, name, pieces) in sorted(choice.calls.items())
            ]
        entry: dict[str, Any] = {
            "index": index,
            "message": message,
            "logprobs": chat_logprobs(tuple(choice.logprobs) or None, request.reporting.token_ids),
            "finish_reason": chat_finish(choice.finish),
        }
        if request.reporting.token_ids:
            _add_detail(entry, choice)
        choices.append(entry)
    made["choices"] = choices
    if 0 in whole.prompt_ids and request.reporting.token_ids:
        made["prompt_token_ids"] = whole.prompt_ids[0]
    _add_end(made, whole)
    return made


def completion_answer(whole: Collected, request: Generate) -> dict[str, Any]:
    """The body of a completion answer, the prompts before the texts where an echo was asked for."""
    made = _answer_head(named("cmpl-", whole.start.id), "text_completion", request.model, whole)
    choices: list[dict[str, Any]] = []
    for index, choice in sorted(whole.choices.items()):
        echoed, tokens = echo_of(request, whole.prompts, index)
        all_tokens = (*tokens, *choice.logprobs)
        entry: dict[str, Any] = {
            "index": index,
            "text": echoed + "".join(choice.text),
            "logprobs": completion_logprobs(all_tokens or None, 0, bool(tokens), request.reporting.token_ids),
            "finish_reason": completion_finish(choice.finish),
        }
        if request.reporting.token_ids:
            _add_detail(entry, choice)
        prompt_ids = whole.prompt_ids.get(index // (request.sampling.n or 1))
        if prompt_ids is not None and request.reporting.token_ids:
            entry["prompt_token_ids"] = prompt_ids
        choices.append(entry)
    made["choices"] = choices
    _add_end(made, whole)
    return made


def _add_detail(entry: dict[str, Any], choice: _Choice) -> None:
    """vLLM's members, which the public API does not have."""
    if choice.token_ids:
        entry["token_ids"] = choice.token_ids
    if choice.stop is not None:
        entry["stop_reason"] = choice.stop


def _add_end(made: dict[str, Any], whole: Collected) -> None:
    if whole.usage is not None:
        made["usage"] = usage_of(whole.usage)
    if whole.notices:
        made["notices"] = notices_of(whole.notices)


def notices_of(notices: Iterable[Notice]) -> list[dict[str, str]]:
    """Our own member `notices`, which SDKs keep among a model's extra fields."""
    return [{"level": notice.level, "text": notice.text} for notice in notices]


def echo_of(
    request: Generate, prompts: Sequence[tuple[TokenLogprob, ...]], index: int
) -> tuple[str, tuple[TokenLogprob, ...]]:
    """What stands before choice `index`: the prompt's text and its tokens, where they are known."""
    if not request.reporting.echo:
        return "", ()
    place = index // (request.sampling.n or 1)
    tokens = prompts[place] if place < len(prompts) else ()
    if isinstance(request.prompt, TextPrompt):
        texts = request.prompt.texts
        return texts[place] if place < len(texts) else "", tokens
    return "".join(token.token for token in tokens), tokens


def usage_of(usage: Usage) -> dict[str, Any]:
    """The usage object; details only where the engine told them."""
    made: dict[str, Any] = {
        "prompt_tokens": usage.prompt,
        "completion_tokens": usage.completion,
        "total_tokens": usage.prompt + usage.completion,
    }
    if usage.cached is not None:
        made["prompt_tokens_details"] = {"cached_tokens": usage.cached}
    if usage.reasoning is not None:
        made["completion_tokens_details"] = {"reasoning_tokens": usage.reasoning}
    return made


def emit_embeddings(vectors: Vectors, request: Embed, model: str) -> bytes:
    """A whole embeddings answer, as number lists or as base64 of little-endian float32."""
    data = [
        {
            "object": "embedding",
            "index": index,
            "embedding": base64.b64encode(struct.pack(f"<{len(vector)}f", *vector)).decode()
            if request.encoding == "base64"
            else vector,
        }
        for index, vector in enumerate(vectors.vectors)
    ]
    tokens = vectors.prompt_tokens
    usage = {"prompt_tokens": tokens, "total_tokens": tokens}
    return _encode({"object": "list", "data": data, "model": model, "usage": usage})


def models_list(models: Iterable[tuple[str, int]]) -> bytes:
    """The answer of GET /v1/models; a model is its name and its creation in unix seconds."""
    return _encode({"object": "list", "data": [_model(name, created) for name, created in models]})


def model_entry(name: str, created: int) -> bytes:
    """The answer of GET /v1/models/NAME."""
    return _encode(_model(name, created))


def _model(name: str, created: int) -> dict[str, Any]:
    return {"id": name, "object": "model", "created": created, "owned_by": _OWNER}


def named(prefix: str, id: str) -> str:
    """The answer's id with the protocol's prefix, added when it is not there."""
    return id if id.startswith(prefix) else prefix + id


def chat_finish(reason: str) -> str:
    """The finish reason in chat's words; there is none for a cancelled answer."""
    return "stop" if reason == "cancelled" else reason


def completion_finish(reason: str) -> str:
    """Legacy completions know only these three reasons."""
    return reason if reason in ("length", "content_filter") else "stop"


def chat_logprobs(tokens: tuple[TokenLogprob, ...] | None, ids: bool = False) -> dict[str, Any] | None:
    """The logprobs object of chat; bytes are the token's UTF-8 when the engine did not tell them.

    ids: with each token's id and whether it is special, which the public API does not have; special ones, which are
    no part of the text, are left out without.
    """
    shown = _shown(tokens, ids)
    return None if shown is None else {"content": _entries(shown, ids), "refusal": None}


def completion_logprobs(
    tokens: tuple[TokenLogprob, ...] | None, offset: int, first: bool, ids: bool = False
) -> dict[str, Any] | None:
    """The logprobs object of legacy completions; offsets are in characters and begin at `offset`.

    first: the tokens begin with a prompt's first one, which nothing precedes and so has no probability; ids: with
    `content` as chat has it, because this shape has no place for ids, bytes and texts that are the same.
    """
    shown = _shown(tokens, ids)
    if shown is None:
        return None
    values: list[float | None] = [token.logprob for token in shown]
    tops: list[dict[str, float] | None] = [{other.token: other.logprob for other in token.top} for token in shown]
    if first:
        values[0] = None
        tops[0] = None
    made: dict[str, Any] = {
        "tokens": [token.token for token in shown],
        "token_logprobs": values,
        "top_logprobs": tops,
        "text_offset": _offsets(shown, offset),
    }
    if ids:
        content = made["content"] = _entries(shown, ids)
        if first:
            content[0]["logprob"] = None
    return made


def _shown(tokens: tuple[TokenLogprob, ...] | None, ids: bool) -> tuple[TokenLogprob, ...] | None:
    return tokens if tokens is None or ids else tuple(token for token in tokens if not token.special) or None


def _entries(tokens: tuple[TokenLogprob, ...], ids: bool) -> list[dict[str, Any]]:
    return [{**_token(token, ids), "top_logprobs": [_token(other, ids) for other in token.top]} for token in tokens]


def _token(token: TokenLogprob, ids: bool) -> dict[str, Any]:
    raw = token.bytes_ if token.bytes_ is not None else tuple(token.token.encode())
    made: dict[str, Any] = {"token": token.token, "logprob": token.logprob, "bytes": raw}
    if ids and token.id is not None:
        made["id"] = token.id
    if ids and token.special:
        made["special"] = True
    return made


def _offsets(tokens: tuple[TokenLogprob, ...], offset: int) -> list[int]:
    """Where each token's first character begins; of one that is spread over tokens, all begin where it does."""
    made: list[int] = []
    decoder = _utf8("replace")
    for token in tokens:
        made.append(offset)
        if token.special:
            continue
        text = token.token if token.bytes_ is None else decoder.decode(bytes(token.bytes_))
        offset += len(text)
    return made
