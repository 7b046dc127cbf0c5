"""Events from tokens."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, cast

import msgspec
import pytest

from trunkcall.core.events import Event, Finish, PromptIds, Start, Text, ToolCall, Usage
from trunkcall.protocols.openai import read_chat, read_completion
from trunkcall.workers.transformers_answered import Answers
from trunkcall.workers.transformers_asked import Asked
from trunkcall.workers.transformers_wanted import Chosen, Reason, Rules, Said, Wanted
from trunkcall.workers.transformers_words import Words


class Bytes:
    """Words whose tokens are bytes."""

    def decoder(self, *, calls: bool) -> Any:
        return lambda ids: bytes(ids).decode(errors="replace")

    def raw(self, token: int) -> bytes:
        return bytes([token])

    def is_special(self, token: int) -> bool:
        return token == 0


WORDS = cast(Words, Bytes())
END = b"\0"
"""The token that ends an answer."""


def asked(
    *, answers: int = 1, calls: bool = False, chat: bool = True, logprobs: int | None = None, **fields: Any
) -> Asked:
    body = {"model": "m", **({"messages": [{"role": "user", "content": "a"}]} if chat else {"prompt": "a"}), **fields}
    request = (read_chat if chat else read_completion)(msgspec.json.encode(body))
    wanted = Wanted(prompt=(97, 98), rules=Rules(logprobs=logprobs), max_tokens=99, ends=frozenset())
    return Asked(
        request=request,
        wanted=(wanted,) * answers,
        prompts=((97, 98),),
        stops=cast("tuple[str, ...]", request.stops.strings or ()),
        calls=calls,
        shape=None,
        dropped=(),
    )


def said(text: str, over: Reason = "end", index: int = 0) -> list[Said]:
    """The text's bytes as tokens; one more ends it, or the last one does."""
    made = [Said(index, Chosen(byte, -0.5, ((byte, -0.5), (65, -2.0))), None) for byte in text.encode()]
    if over == "end":
        return [*made, Said(index, Chosen(0), "end")]
    return [*made[:-1], msgspec.structs.replace(made[-1], over=over)]


def events(question: Asked, tokens: Sequence[Said]) -> list[Event]:
    answers = Answers(question, WORDS)
    made: list[Event] = []
    for one in tokens:
        made += answers.feed(one)
        if answers.over(one.index) and answers.complete:
            break
    assert answers.complete
    return made


def text_of(made: list[Event]) -> str:
    return "".join(event.text for event in made if isinstance(event, Text))


def test_text_usage_and_finish_in_order() -> None:
    made = events(asked(), said("hé"))
    assert made == [Text(0, "h"), Text(0, "é"), Usage(2, 4), Finish(0, "stop")]
    assert events(asked(), said("hé"[:1], "length"))[-2:] == [Usage(2, 1), Finish(0, "length")]
    (start,) = Answers(asked(), WORDS).begin()
    assert isinstance(start, Start) and start.model == "m" and start.id


def test_stop_strings_end_an_answer_and_what_follows_is_not_counted() -> None:
    made = events(asked(stop=["b c"]), said("a b cd"))
    assert text_of(made) == "a "
    assert made[-2:] == [Usage(2, 5), Finish(0, "stop", "b c")]
    held = events(asked(stop=["b c"]), said("a b ", "length"))
    assert text_of(held) == "a b "
    assert held[-1] == Finish(0, "length")


def test_each_answer_finishes_once() -> None:
    first, second = said("ab", index=0), said("c", "length", index=1)
    made = events(asked(answers=2), [first[0], second[0], *first[1:]])
    assert [event for event in made if isinstance(event, Finish)] == [Finish(1, "length"), Finish(0, "stop")]
    assert [event for event in made if isinstance(event, Usage)] == [Usage(2, 4)]
    assert made.index(Finish(1, "length")) < made.index(Usage(2, 4)) < made.index(Finish(0, "stop"))


def test_logprobs_go_with_the_text_of_their_tokens() -> None:
    made = events(asked(logprobs=2, stop=["x!"]), said("axé"))
    texts = [event for event in made if isinstance(event, Text)]
    assert [(one.text, [t.token for t in one.logprobs or ()]) for one in texts] == [
        ("a", ["a"]),
        ("xé", ["x", "\ufffd", "\ufffd"]),
    ]
    told = (texts[0].logprobs or ())[0]
    assert (told.bytes_, told.logprob, [other.token for other in told.top]) == ((97,), -0.5, ["a", "A"])
    stopped = events(asked(logprobs=0, stop=["é"]), said("aé"))
    assert [t.token for event in stopped if isinstance(event, Text) for t in event.logprobs or ()] == ["a"]


def test_token_ids_are_whole_also_where_the_text_is_not() -> None:
    made = events(asked(return_token_ids=True), [*said("a")[:1], Said(0, Chosen(0xC3), "length")])
    assert [(event.text, event.token_ids) for event in made if isinstance(event, Text)] == [("a", (97,)), ("", (0xC3,))]
    assert Answers(asked(return_token_ids=True), WORDS).begin()[1:] == [PromptIds(0, (97, 98))]


@pytest.mark.parametrize("over", ["end", "length"])
def test_tool_calls(over: Reason) -> None:
    text = 'Well. <tool_call>{"name": "f", "arguments": {"a": 1}}</tool_call>'
    made = events(asked(calls=True), said(text, over))
    call = next(event for event in made if isinstance(event, ToolCall))
    assert (call.slot, call.name, call.arguments) == (0, "f", '{"a": 1}')
    assert (call.id or "").startswith("call_")
    assert text_of(made) == "Well. "
    assert made[-1] == Finish(0, "tool_calls" if over == "end" else "length")
    two = events(asked(calls=True), said(f"{text}\n{text[6:]}", "end"))
    assert [event.slot for event in two if isinstance(event, ToolCall)] == [0, 1]
    with_ids = events(asked(calls=True, return_token_ids=True), said(text))
    assert (
        bytes(i for event in with_ids if isinstance(event, Text) for i in event.token_ids or ()) == text.encode() + END
    )
    plain = events(asked(), said(text))
    assert text_of(plain) == text and plain[-1] == Finish(0, "stop")
