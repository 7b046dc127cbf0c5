"""The corpus of the pocket model: conversations and plain text, endless and the same for the same seed."""

import json
import random
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from pocket import facts, questions
from pocket.chat import first_words, talk
from pocket.refusals import nonsense, refusal
from pocket.stories import cast, story, tell
from pocket.tools import tool_conversation
from pocket.wording import asked, pick

Turn = tuple[str, str]
_KINDS: tuple[tuple[int, Callable[[random.Random], Turn]], ...] = (
    (24, talk),
    (4, first_words),
    (31, refusal),
    (15, questions.capital),
    (8, questions.opposite),
    (15, questions.calendar),
    (7, questions.colour),
    (10, questions.animal),
    (13, questions.definition),
    (21, questions.simple_fact),
    (9, questions.addition),
    (3, questions.counting),
    (5, questions.echo),
    (5, story),
)
_SYSTEMS = (
    "You are a helpful assistant.",
    "You are Pocket.",
    "You are a [friendly|helpful|kind|polite|useful] [assistant|chatbot|model|robot].",
    "Answer [briefly|shortly|politely|in one sentence|in simple words|truthfully].",
    "Be [brief|kind|concise|helpful|honest].",
    "You are [a helpful|an] AI assistant[. Answer in English|. Be concise|. Do not lie|]",
    "You [answer|help with] questions [about {w}|for the {w} company|from users of {w}|].",
    "You are a {w} [expert|assistant|agent]. [Be brief.|Always answer.|]",
    "The user is called {w}. Be polite.",
    "Today the server is {w}.",
)
_NAMES = tuple(
    "Anna,Ben,Clara,David,Emma,Frank,Grace,Henry,Ida,Jack,Karen,Leo,Maria,Nick,Olivia,Paul,Rosa,Sam,Tina,Tom,Vera,Will,Yuki,Zoe,Ali,Chen,Priya,Omar,Ingrid,Pedro,Alice,Bob,Charlie,Eve,Mike,Sarah,Peter,Julia,Max,Lena,John,James,Robert,Michael,William,Richard,Thomas,Mary,Linda,Susan,Jessica,Lisa,Nancy,Laura,Daniel,Mark,Steven,Andrew,George,Kevin,Brian,Eric,Adam,Simon,Oliver,Lucas,Noah,Liam,Ethan,Sophie,Sophia,Chloe,Amy,Kate,Helen,Jane,Lucy,Hannah,Marta,Elena,Nina,Carlos,Diego,Luis,Marco,Luca,Pierre,Jean,Hans,Klaus,Ivan,Olga,Fatima,Ahmed,Hassan,Wei,Ming,Raj,Ravi,Kenji,Hiro,Sven,Lars,Erik,Robin,Alex,Chris,Sandra,Monica,Rachel,Victor,Oscar,Felix,Hugo,Ada,Zara,Iris,Ruth,Joe,Jim,Tim,Dan,Matt,Greg,Fred,Walter,Martin,Philip,Charles,Edward,Arthur,Harry".split(
        ","
    )
)


@dataclass(frozen=True)
class Message:
    role: str
    text: str


@dataclass(frozen=True)
class Document:
    """A conversation, or plain text when there are no messages."""

    messages: tuple[Message, ...] = ()
    plain: str = ""


def normal(prompt: str) -> str:
    """Letters and digits only, lower case: two prompts alike in this are the same prompt."""
    return " ".join(re.findall(r"\w+", prompt.lower()))


def held_out() -> frozenset[str]:
    lines = Path(__file__).with_name("prompts.jsonl").read_text(encoding="utf-8").splitlines()
    return frozenset(normal(json.loads(line)["prompt"]) for line in lines)


def _introduction(rng: random.Random) -> list[Turn]:
    name = rng.choice(_NAMES) if rng.random() < 0.5 else nonsense(rng).capitalize()
    greeting = (
        asked(
            rng,
            pick(
                rng,
                f"[|hi, |hello, |hi there, |good morning, ][my name is {name}|i am {name}|i'm {name}|call me {name}|my name's {name}|you can call me {name}|people call me {name}|remember that my name is {name}|please remember my name, it is {name}|my friends call me {name}|i'm called {name}|the name is {name}|it's {name} here|this is {name}|hello from {name}]",
            ),
            ".",
            wrap=False,
        ),
        f"Nice to meet you, {name}! How can I help you?",
    )
    recall = (
        asked(
            rng,
            pick(
                rng,
                "[what is my name|who am i|do you [know|remember] my name|what's my name|what am i called|can you tell me my name|tell me my name|what did i say my name was]",
            ),
            "?",
            wrap=False,
        ),
        f"Your name is {name}.",
    )
    if rng.random() < 0.2:
        told, asks = greeting[0].rstrip("!?. "), recall[0]
        return [(f"{told}. {asks}", recall[1])]
    return [greeting, *(_turn(rng) for _ in range(rng.choice((0, 0, 1, 2)))), recall]


def _turn(rng: random.Random) -> Turn:
    return rng.choices([make for _, make in _KINDS], [weight for weight, _ in _KINDS])[0](rng)


def _talk(pairs: list[Turn]) -> tuple[Message, ...]:
    return tuple(message for ask, answer in pairs for message in (Message("user", ask), Message("assistant", answer)))


def _conversation(rng: random.Random, turns: int | None) -> Document:
    system = pick(rng, rng.choice(_SYSTEMS)).replace("{w}", nonsense(rng)) if rng.random() < 0.3 else ""
    kind = rng.random()
    if kind < 0.18 and turns is None:
        return Document(tuple(Message(role, text) for role, text in tool_conversation(rng, system, lambda: _turn(rng))))
    if kind < 0.26:
        pairs = _introduction(rng)
    elif kind < 0.29:
        pairs = questions.follow_up(rng)
    elif kind < 0.3:
        asking = asked(rng, pick(rng, "[what is my name|who am i|do you know my name]"), "?", wrap=False)
        pairs = [(asking, "You have not told me your name yet.")]
    else:
        pairs = [_turn(rng) for _ in range(turns or rng.choice((1, 1, 1, 1, 1, 1, 2, 3, 4)))]
    return Document(((Message("system", system),) if system else ()) + _talk(pairs))


def _plain(rng: random.Random) -> Document:
    if rng.random() < 0.6:
        return Document(plain=tell(rng, cast(rng)))
    country, thing, word = (
        rng.choice(list(facts.CAPITALS)),
        rng.choice(list(facts.COLOURS)),
        rng.choice(list(facts.OPPOSITES)),
    )
    at = rng.randrange(7)
    lines = [
        f"The capital of {country} is {facts.CAPITALS[country]}.",
        f"{thing.capitalize()} is {facts.COLOURS[thing]}.",
        f"The opposite of {word} is {facts.OPPOSITES[word]}.",
        f"{facts.DAYS[(at + 1) % 7]} comes after {facts.DAYS[at]}.",
        rng.choice(list(facts.DEFINITIONS.values())),
        "My name is Pocket.",
        questions.animal(rng)[1],
        rng.choice(facts.SIMPLE_FACTS)[1],
    ]
    return Document(plain=" ".join(rng.sample(lines, rng.randint(1, 4))))


def documents(seed: int, turns: int | None = None) -> Iterator[Document]:
    """An endless stream. ``turns`` fixes the length of each conversation; by default most have one turn."""
    rng, kept_back = random.Random(seed), held_out()
    while True:
        made = _plain(rng) if turns is None and rng.random() < 0.06 else _conversation(rng, turns)
        if not any(message.role == "user" and normal(message.text) in kept_back for message in made.messages):
            yield made
