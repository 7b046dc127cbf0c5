"""What an answer has said, what is asked of the replica that goes on with it, and what of its words is told."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from trunkcall.control.recovery_plan import Going, endings, go_on, needs
from trunkcall.control.recovery_rest import Rest
from trunkcall.control.recovery_so_far import so_far
from trunkcall.core.errors import ServingError
from trunkcall.core.events import Event, Finish, PromptIds, Start, Text, Thinking, ToolCall, Usage
from trunkcall.core.requests import (
    Format,
    Generate,
    ImagePart,
    Message,
    MessagesPrompt,
    Reporting,
    Sampling,
    Shape,
    Stops,
    Templating,
    TextPart,
    TextPrompt,
    TokenPrompt,
    Tool,
    ToolChoice,
)

HI = Message("user", (TextPart("Hi"),))
BEGUN = Message("assistant", (TextPart("Well"),))
PICTURE = Message("user", (ImagePart("data:,"),))
START = Start("one", "m", 7)
TOLD = (START, Text(0, "The ", (1,)), Text(0, "sky ", (2, 3)))
UNTOLD = (START, Text(0, "The "), Text(0, "sky "))
OURS = frozenset(("greedy", "penalties"))


def asked(prompt: Any = None, **fields: Any) -> Generate:
    sampling = Sampling(**{"temperature": 0, "max_tokens": 50, **fields.pop("sampling", {})})
    return Generate(model="m", prompt=prompt or MessagesPrompt((HI,)), sampling=sampling, **fields)


SCHEMA = Shape(format=Format("schema", {}))
TOOLS = Shape(tools=(Tool("add"),))


@pytest.mark.parametrize(
    ("request_", "found"),
    [
        (asked(), {"greedy"}),
        (asked(sampling={"temperature": 0.7}), {"seeded"}),
        (asked(sampling={"presence_penalty": 0.5}), {"greedy", "penalties"}),
        (asked(sampling={"presence_penalty": 0}), {"greedy"}),
        (asked(sampling={"n": 2}), {"greedy", "n"}),
        (asked(TextPrompt(("a", "b"), True)), {"greedy", "n"}),
        (asked(shape=SCHEMA), {"greedy", "grammar"}),
        (asked(shape=Shape(format=Format("text"))), {"greedy"}),
        (asked(shape=TOOLS), {"greedy", "tools"}),
        (asked(shape=msgspec.structs.replace(TOOLS, tool_choice=ToolChoice("none"))), {"greedy"}),
        (asked(reporting=Reporting(logprobs=0)), {"greedy", "logprobs"}),
    ],
)
def test_what_a_request_needs(request_: Generate, found: set[str]) -> None:
    assert needs(request_) == found


@pytest.mark.parametrize(
    ("request_", "events", "resumes", "how"),
    [
        (asked(), TOLD, OURS, "exact"),
        (asked(), TOLD, frozenset(), "text"),
        (asked(), UNTOLD, OURS, "text"),
        (asked(sampling={"temperature": 1}), TOLD, OURS, "text"),
        (asked(sampling={"repetition_penalty": 1.2}), TOLD, OURS, "exact"),
        (asked(reporting=Reporting(logprobs=2)), TOLD, OURS, "text"),
        (asked(shape=TOOLS), TOLD, OURS, "text"),
        (asked(extra={"openai": {"mirostat": msgspec.Raw(b"2")}}), TOLD, OURS, "text"),
        (asked(extra={"openai": {"store": msgspec.Raw(b"true")}}), TOLD, OURS, "exact"),
        (asked(shape=SCHEMA, sampling={"n": 3}), (START,), OURS, ""),
    ],
)
def test_how_it_goes_on(request_: Generate, events: tuple[Event, ...], resumes: Any, how: str) -> None:
    going = go_on(request_, so_far(events), resumes, "auto")
    assert isinstance(going, Going)
    assert going.how == how
    strict = go_on(request_, so_far(events), resumes, "exact")
    assert isinstance(strict, str) == (how == "text")


@pytest.mark.parametrize(
    ("request_", "events", "words"),
    [
        (asked(shape=SCHEMA), TOLD, "format"),
        (asked(sampling={"n": 2}), TOLD, "several"),
        (asked(), (START, Thinking(0, "Hm")), "thoughts"),
        (asked(shape=TOOLS), (START, Text(0, "a"), ToolCall(0, 0, "{", "c", "add")), "tool calls"),
        (asked(TokenPrompt(((1, 2),))), UNTOLD, "tokens"),
    ],
)
def test_what_cannot_go_on(request_: Generate, events: tuple[Event, ...], words: str) -> None:
    reason = go_on(request_, so_far(events), OURS, "auto")
    assert isinstance(reason, str)
    assert words in reason


def test_by_tokens_only_the_limits_change() -> None:
    request = asked(sampling={"min_tokens": 9}, reporting=Reporting(stream=True, echo=True))
    going = go_on(request, so_far(TOLD), OURS, "auto")
    assert isinstance(going, Going)
    assert (going.said, going.added, going.again) == (3, 3, "")
    made = going.request
    assert made.begun == (1, 2, 3)
    assert (made.sampling.max_tokens, made.sampling.min_tokens, made.reporting.echo) == (47, 6, False)
    assert made.prompt == request.prompt


@pytest.mark.parametrize(
    ("request_", "prompt"),
    [
        (asked(), MessagesPrompt((HI, Message("assistant", (TextPart("The sky "),))))),
        (
            asked(MessagesPrompt((HI, BEGUN)), templating=Templating(continue_final_message=True)),
            MessagesPrompt((HI, Message("assistant", (TextPart("WellThe sky "),)))),
        ),
        (asked(MessagesPrompt((PICTURE,))), MessagesPrompt((PICTURE, Message("assistant", (TextPart("The sky "),))))),
        (asked(TextPrompt(("Hi",))), TextPrompt(("HiThe sky ",))),
        (asked(TokenPrompt(((8, 9),))), TokenPrompt(((8, 9, 1, 2, 3),))),
    ],
)
def test_by_text_it_stands_behind_the_prompt(request_: Generate, prompt: Any) -> None:
    going = go_on(request_, so_far(TOLD), frozenset(), "auto")
    assert isinstance(going, Going)
    assert going.request.prompt == prompt
    assert going.request.templating.continue_final_message == isinstance(prompt, MessagesPrompt)


@pytest.mark.parametrize(
    ("stops", "begun", "again"),
    [
        (("sky is",), (1,), "sky "),
        (("ky ",), (1, 2, 3), ""),
        ((" skyx",), (1,), "sky "),
        (("The sky is",), (), "The sky "),
        (("x",), (1, 2, 3), ""),
    ],
)
def test_what_may_begin_a_stop_string_is_said_once_more(
    stops: tuple[str, ...], begun: tuple[int, ...], again: str
) -> None:
    going = go_on(asked(stops=Stops(stops)), so_far(TOLD), OURS, "auto")
    assert isinstance(going, Going)
    assert (going.request.begun, going.again) == (begun, again)
    assert going.said == len(begun)


def test_tokens_at_the_end_that_write_nothing_are_said_once_more() -> None:
    going = go_on(asked(), so_far((*TOLD, Text(0, "", (99,)))), OURS, "auto")
    assert isinstance(going, Going)
    assert (going.request.begun, going.again_ids) == ((1, 2, 3), 1)


@pytest.mark.parametrize(
    ("events", "left"),
    [
        (TOLD, None),
        ((*TOLD, Finish(0, "stop")), ()),
        ((START, *(Text(0, "x", (n,)) for n in range(50))), (Finish(0, "length"),)),
        ((), None),
    ],
)
def test_what_only_has_to_end(events: tuple[Event, ...], left: Any) -> None:
    assert endings(asked(), so_far(events)) == left


def rest(going: Going, **known: Any) -> Rest:
    return Rest(going, **{"started": True, "prompted": True, "prompt": None, **known})


def test_the_rest_is_told_as_one_answer() -> None:
    going = Going(how="exact", request=asked(), said=3, added=3)
    told = rest(going)
    events = (Start("two", "m", 8), PromptIds(0, (1,)), Text(0, "is"), Usage(13, 4, 12), Finish(0, "stop"))
    assert [told.take(event) for event in events] == [None, None, Text(0, "is"), Usage(10, 7, 10), Finish(0, "stop")]
    by_text = Going(how="text", request=asked(), said=3, added=None)
    assert rest(by_text).take(Usage(13, 4)) == Usage(10, 7)
    assert rest(by_text, prompt=9).take(Usage(13, 4)) == Usage(9, 7)
    nothing = Going(how="", request=asked())
    assert rest(nothing, started=False, prompted=False).take(START) == START


def test_what_is_said_once_more_is_left_out() -> None:
    going = Going(how="exact", request=asked(), again="sky ", again_ids=2)
    told = rest(going)
    assert told.take(Text(0, "sk", (2,))) is None
    assert told.take(Text(0, "y is", (3, 4))) == Text(0, "is", (4,))
    assert told.take(Text(0, " x", (5,))) == Text(0, " x", (5,))
    with pytest.raises(ServingError, match="something else"):
        rest(going).take(Text(0, "sea", (2,)))
    with pytest.raises(ServingError, match="something else"):
        rest(going).take(Finish(0, "stop"))
