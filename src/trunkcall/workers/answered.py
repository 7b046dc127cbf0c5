"""What llama.cpp says, as OpenAI's answers: chunks in, server-sent events or one whole answer out."""

from __future__ import annotations

import codecs
from collections.abc import Iterable, Sequence
from typing import Any, Final

import msgspec

from trunkcall.core.errors import Kind, ServingError
from trunkcall.workers.asked import Asked
from trunkcall.workers.forced_calls import ForcedCall

DONE: Final = b"data: [DONE]\n\n"
_BRACE: Final = 0x7D
_ROLE: Final = b'"role":"assistant"'

_decode = msgspec.json.Decoder().decode
_encode = msgspec.json.Encoder().encode
_utf8: Final = codecs.getincrementaldecoder("utf-8")
_Object = dict[str, Any]

_KINDS: Final[dict[str, Kind]] = {
    "exceed_context_size_error": "too_long",
    "not_supported_error": "unsupported",
    "unavailable_error": "loading",
    "not_found_error": "no_route",
    "invalid_request_error": "bad_request",
}


def engine_error(error: _Object, *, param: str | None = None) -> ServingError:
    """One of the engine's error objects: {code: HTTP status, message, type, n_prompt_tokens?, n_ctx?}."""
    message = str(error.get("message", "the engine failed"))
    status = error.get("code", 500)
    kind = _KINDS.get(str(error.get("type")), "bad_request" if status == 400 else "upstream_error")
    if kind == "too_long":
        return ServingError(
            "too_long",
            f"the prompt has {error.get('n_prompt_tokens')} tokens, but the context is {error.get('n_ctx')} tokens;"
            " send less, or start the model with a larger option context",
            param=param,
        )
    if "too large to process" in message:
        # What an embedding's input over the context is called, with status 500.
        return ServingError("too_long", message.partition(". ")[0], param=param)
    return ServingError(kind, message)


class Strip:
    """One engine answer's chunks without what only the engine's own clients want.

    Progress is swallowed, timings are cut, the first chunk of a chat names the role (the
    engine forgets it when its first token shows no text), usage is kept apart.
    """

    __slots__ = ("_chat", "_frame", "_role", "_timings", "begun", "timings", "usage")

    def __init__(self, *, chat: bool, timings: bool) -> None:
        self._chat = chat
        self._timings = timings
        self._role: bytes | None = None
        self._frame: _Object = {}
        self.begun = False
        """The first chunk has passed."""
        self.usage: _Object | None = None
        """The engine's count; it comes last, so the answer is complete."""
        self.timings: _Object | None = None

    def feed(self, chunk: bytes) -> tuple[bytes, ...]:
        """What of a chunk goes on; raises ServingError when it is an error."""
        # Only an object at the end of the chunk makes it end in two braces: progress, timings, usage or an error.
        if chunk[-2] == _BRACE:
            cleaned = self._clean(_decode(chunk))
            if cleaned is None:
                return ()
            chunk = cleaned
        if self.begun:
            return (chunk,)
        self.begun = True
        role, self._role = self._role, None
        return (chunk,) if role is None or not self._chat or _ROLE in chunk else (role, chunk)

    def usage_frame(self, usage: _Object, shared_id: str | None) -> bytes:
        """The chunk that only tells usage."""
        frame: _Object = {**self._frame, "choices": [], "usage": usage}
        if shared_id is not None:
            frame["id"] = shared_id
        if self.timings is not None:
            frame["timings"] = self.timings
        return _encode(frame)

    def _clean(self, chunk: _Object) -> bytes | None:
        if "error" in chunk:
            raise engine_error(chunk["error"], param="messages" if self._chat else "prompt")
        if chunk.pop("prompt_progress", None) is not None:
            if self._role is None:
                self._role = _encode(chunk)
            return None
        timings = chunk.pop("timings", None)
        usage = chunk.pop("usage", None)
        if usage is not None:
            self.usage = usage
            self._frame = chunk
            self.timings = timings if self._timings else None
            if not chunk["choices"]:
                return None
        elif timings is not None and self._timings:
            chunk["timings"] = timings
        return _encode(chunk)


class Known(msgspec.Struct, frozen=True):
    """What is told of a prompt: its tokens; scored: their probabilities, as those of an answer are told."""

    ids: Sequence[int]
    scored: Sequence[_Object] = ()


class Editor:
    """Rewrites the chunks of one request where the engine's differ in meaning from OpenAI's.

    known: what is told of each prompt.
    """

    def __init__(self, asked: Asked, known: Sequence[Known] = ()) -> None:
        self._asked = asked
        self._known = known
        self._told = [not asked.ids] * (1 if asked.chat else len(asked.bodies))
        self.id: str | None = None
        """The first chunk's; all answers share it."""
        self._echo = list(asked.echo)
        self._offsets = [0] * len(asked.bodies)
        self._echoed = [not asked.echo] * len(asked.bodies)
        self._calls = [ForcedCall() for _ in asked.bodies] if asked.forced else []

    def edit(self, index: int, chunk: bytes) -> _Object:
        """The chunk as one of answer `index`."""
        said: _Object = _decode(chunk)
        if self.id is None:
            self.id = said["id"]
        said["id"] = self.id
        if self._asked.chat and not self._told[0]:
            self._told[0] = True
            said["prompt_token_ids"] = self._known[0].ids
        for choice in said["choices"]:
            choice["index"] = index
            if self._calls:
                self._calls[index].edit(choice)
            logprobs = choice.get("logprobs")
            if not self._asked.chat:
                if not self._told[index]:
                    self._told[index] = True
                    choice["prompt_token_ids"] = self._known[index // self._asked.n].ids
                tokens: list[_Object] = [] if logprobs is None else logprobs["content"]
                first = not self._echoed[index]
                if first:
                    self._echoed[index] = True
                    choice["text"] = self._echo[index // self._asked.n] + choice["text"]
                    if self._asked.scored:
                        tokens = [*self._known[index // self._asked.n].scored, *tokens]
                if tokens:
                    choice["logprobs"] = self._legacy_logprobs(index, tokens, first=first)
                if logprobs is not None or self._asked.scored:
                    self._offsets[index] += len(choice["text"])
            elif logprobs is not None and self._asked.logprobs == 0:
                for token in logprobs["content"]:
                    token["top_logprobs"] = []
        return said

    def _legacy_logprobs(self, index: int, tokens: list[_Object], *, first: bool) -> _Object:
        """OpenAI's older shape, which completions use: four lists side by side; ids have a place in the newer one.

        first: they begin with a prompt's first token, which nothing precedes and so has no alternatives.
        """
        offset = self._offsets[index]
        offsets: list[int] = []
        decoder = _utf8("replace")
        for token in tokens:
            offsets.append(offset)
            offset += 0 if token.get("special") else len(decoder.decode(bytes(token["bytes"])))
        wanted = self._asked.logprobs or 0
        tops: list[_Object | None] = [
            {top["token"]: top["logprob"] for top in token["top_logprobs"][:wanted]} for token in tokens
        ]
        if first:
            tops[0] = None
        made: _Object = {
            "tokens": [token["token"] for token in tokens],
            "token_logprobs": [token["logprob"] for token in tokens],
            "top_logprobs": tops,
            "text_offset": offsets,
        }
        if self._asked.ids:
            made["content"] = tokens
        return made


class Answers:
    """What all answers of one request have in common: cleaning, and one usage at the end."""

    def __init__(self, asked: Asked) -> None:
        self.asked = asked
        self.strips = [Strip(chat=asked.chat, timings=asked.timings) for _ in asked.bodies]

    @property
    def complete(self) -> bool:
        """Every answer has come to its end."""
        return all(strip.usage is not None for strip in self.strips)

    def usage(self) -> _Object:
        """Tokens of the whole request: each prompt counts once, whatever `n` is."""
        counts = [strip.usage or {} for strip in self.strips]
        firsts = counts[:: self.asked.n]
        prompt = sum(count.get("prompt_tokens", 0) for count in firsts)
        completion = sum(count.get("completion_tokens", 0) for count in counts)
        cached = sum(count.get("prompt_tokens_details", {}).get("cached_tokens", 0) for count in firsts)
        return {
            "prompt_tokens": prompt,
            "completion_tokens": completion,
            "total_tokens": prompt + completion,
            "prompt_tokens_details": {"cached_tokens": cached},
        }


class Streamed:
    """The answer as server-sent events; engine chunks that need no edit pass as they are. known: see Editor."""

    def __init__(self, asked: Asked, known: Sequence[Known] = ()) -> None:
        self._answers = Answers(asked)
        plain = len(asked.bodies) == 1 and not asked.echo and not known and not asked.forced
        if asked.logprobs is not None:
            plain = plain and asked.chat and asked.logprobs > 0
        self._editor = None if plain else Editor(asked, known)
        self.complete = False
        """All has been said; the last bytes held the terminator."""

    def feed(self, batch: Iterable[tuple[int, bytes]]) -> bytes:
        """Events to send now; raises ServingError when the engine fails."""
        strips = self._answers.strips
        editor = self._editor
        out: list[bytes] = []
        if editor is None:
            strip = strips[0]
            for _, chunk in batch:
                if strip.begun and chunk[-2] != _BRACE:
                    out.append(chunk)
                else:
                    out += strip.feed(chunk)
        else:
            for index, chunk in batch:
                out += [_encode(editor.edit(index, piece)) for piece in strips[index].feed(chunk)]
        if self._answers.complete:
            self.complete = True
            if self._answers.asked.usage:
                out.append(strips[0].usage_frame(self._answers.usage(), editor.id if editor is not None else None))
        data = b"data: " + b"\n\ndata: ".join(out) + b"\n\n" if out else b""
        return data + DONE if self.complete else data


class Whole:
    """The answer in one piece, put together from the same chunks. known: see Editor."""

    def __init__(self, asked: Asked, known: Sequence[Known] = ()) -> None:
        self._answers = Answers(asked)
        self._editor = Editor(asked, known)
        self._head: _Object = {}
        self._choices = [_Choice(asked.chat) for _ in asked.bodies]

    def feed(self, batch: Iterable[tuple[int, bytes]]) -> None:
        """Take in chunks; raises ServingError when the engine fails."""
        for index, chunk in batch:
            for piece in self._answers.strips[index].feed(chunk):
                said = self._editor.edit(index, piece)
                if not self._head:
                    self._head = said
                for choice in said["choices"]:
                    self._choices[index].add(choice)

    @property
    def complete(self) -> bool:
        """All has been said."""
        return self._answers.complete

    def body(self) -> bytes:
        """The whole answer."""
        chat = self._answers.asked.chat
        answer = {
            "id": self._head.get("id"),
            "object": "chat.completion" if chat else "text_completion",
            "created": self._head.get("created"),
            "model": self._head.get("model"),
            "system_fingerprint": self._head.get("system_fingerprint"),
            "choices": [choice.whole(index) for index, choice in enumerate(self._choices)],
            "usage": self._answers.usage(),
        }
        if "prompt_token_ids" in self._head:
            answer["prompt_token_ids"] = self._head["prompt_token_ids"]
        timings = self._answers.strips[0].timings
        if timings is not None:
            answer["timings"] = timings
        return _encode(answer)


class _Choice:
    def __init__(self, chat: bool) -> None:
        self._chat = chat
        self._text: list[str] = []
        self._thinking: list[str] = []
        self._calls: dict[int, _Object] = {}
        self._logprobs: dict[str, list[Any]] | None = None
        self._finish: str | None = None
        self._stop: str | None = None
        self._ids: list[int] = []
        self._prompt: Sequence[int] | None = None

    def add(self, choice: _Object) -> None:
        said = choice["delta"] if self._chat else choice
        text = said.get("content" if self._chat else "text")
        if text:
            self._text.append(text)
        if said.get("reasoning_content"):
            self._thinking.append(said["reasoning_content"])
        for fragment in said.get("tool_calls") or ():
            self._add_call(fragment)
        logprobs = choice.get("logprobs")
        if logprobs is not None:
            if self._logprobs is None:
                self._logprobs = {name: [] for name in logprobs}
            for name, values in logprobs.items():
                self._logprobs[name] += values
        self._ids += choice.get("token_ids", ())
        self._prompt = choice.get("prompt_token_ids", self._prompt)
        self._finish = choice.get("finish_reason") or self._finish
        self._stop = choice.get("stop_reason", self._stop)

    def _add_call(self, fragment: _Object) -> None:
        call = self._calls.setdefault(
            fragment["index"], {"type": "function", "function": {"name": "", "arguments": ""}}
        )
        if fragment.get("id"):
            call["id"] = fragment["id"]
        function = fragment.get("function", {})
        call["function"]["name"] += function.get("name") or ""
        call["function"]["arguments"] += function.get("arguments") or ""

    def whole(self, index: int) -> _Object:
        text = "".join(self._text)
        end: _Object = {"logprobs": self._logprobs, "finish_reason": self._finish}
        if self._stop is not None:
            end["stop_reason"] = self._stop
        if self._ids:
            end["token_ids"] = self._ids
        if self._prompt is not None:
            end["prompt_token_ids"] = self._prompt
        if not self._chat:
            return {"index": index, "text": text, **end}
        message: _Object = {"role": "assistant", "content": text if text or not self._calls else None, "refusal": None}
        if self._thinking:
            message["reasoning_content"] = "".join(self._thinking)
        if self._calls:
            message["tool_calls"] = [call for _, call in sorted(self._calls.items())]
        return {"index": index, "message": message, **end}
