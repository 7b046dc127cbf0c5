"""Phrases with choices in brackets, and the small mistakes that people make when they type."""

import random
import re

_CHOICE = re.compile(r"\[([^\[\]]*)\]")
_PREFIX = (
    "please ",
    "can you tell me ",
    "could you tell me ",
    "tell me, ",
    "hey, ",
    "hi, ",
    "ok, ",
    "so, ",
    "quick question: ",
    "i want to know ",
    "do you know ",
    "um, ",
    "pocket, ",
    "hello pocket, ",
    "excuse me, ",
    "and ",
    "now ",
    "well, ",
    "one more: ",
    "next question: ",
    "question: ",
    "my teacher asked me, ",
    "for my homework: ",
    "i am bored. ",
    "i forgot. ",
    "i always forget. ",
    "let us see. ",
    "serious question, ",
    "i wonder, ",
    "would you tell me ",
    "let me know ",
    "i have a question. ",
    "help me, ",
    "my child asks: ",
    "i am curious, ",
    "just one thing: ",
    "a simple question: ",
    "thanks. ",
    "great. ",
    "i cannot sleep, ",
    "would you please tell me ",
    "i would like to know ",
    "dear pocket, ",
    "do you happen to know ",
)
_SUFFIX = (
    " please",
    ", please",
    " thanks",
    " now",
    " pocket",
    " again",
    " in one sentence",
    " for me",
    ", do you know",
    " my friend",
    " if you can",
    " :)",
    " in simple words",
    ", i mean",
    " exactly",
    ", any idea",
    " today",
    " would you say",
    ", i forgot",
    " really",
    ", my dear",
)


# The templates are in small letters; many people write these with their capitals.
_PROPER = {
    word.lower(): word
    for word in (
        "Trunkcall Pocket I ChatGPT GPT Claude Gemini Siri Alexa Llama Mistral Qwen Einstein Newton Darwin Mozart Shakespeare Picasso Napoleon Google Amazon Microsoft Netflix Wikipedia YouTube Python "
        "Java Rust JavaScript SQL HTML CSS JSON XML YAML Linux Windows Docker Kubernetes GitHub Bitcoin English French German Spanish Chinese Japanese Italian Russian Arabic Korean Latin Dutch Christmas "
        "Halloween Easter Boston Chicago Sydney Shanghai Toronto Singapore Minecraft Batman Superman Hamlet DNA NASA Earth AI Madonna Elvis Gandhi Lincoln Churchill Tesla"
    ).split()
}
_PROPER_WORD = re.compile(r"\b(" + "|".join(_PROPER) + r")\b")


def pick(rng: random.Random, template: str) -> str:
    """Replace each ``[a|b|]``, innermost first, by one of its choices."""
    while "[" in template:
        template = _CHOICE.sub(lambda found: rng.choice(found[1].split("|")), template)
    return re.sub(r" {2,}", " ", template).strip()


def typo(rng: random.Random, text: str) -> str:
    """Swap, drop or double one letter."""
    if len(text) < 6:
        return text
    at = rng.randrange(1, len(text) - 2)
    return rng.choice(
        (
            text[:at] + text[at + 1] + text[at] + text[at + 2 :],
            text[:at] + text[at + 1 :],
            text[:at] + text[at] + text[at:],
        )
    )


def asked(rng: random.Random, text: str, end: str = "?", wrap: bool = True) -> str:
    """The text as somebody might type it: polite words around it, capitals, punctuation, a typing mistake."""
    if wrap and rng.random() < 0.2:
        text = rng.choice(_PREFIX) + text
    if wrap and rng.random() < 0.1:
        text += rng.choice(_SUFFIX)
    if rng.random() < 0.07:
        text = typo(rng, text)
    if rng.random() < 0.6:
        text = _PROPER_WORD.sub(lambda found: _PROPER[found[1]], text)
    style = rng.random()
    if style < 0.3:
        text = text.lower()
    elif style < 0.34:
        text = text.upper()
    elif style < 0.85:
        text = text[:1].upper() + text[1:]
    return text + rng.choice((end, end, end, end, end, "", "", ".", " " + end, end + end))
