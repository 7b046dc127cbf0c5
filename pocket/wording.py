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
    "i am doing a crossword. ",
    "it is for school. ",
    "help me settle a bet: ",
    "trivia time: ",
    "quiz question: ",
    "sorry to bother you, but ",
    "if you don't mind, ",
    "out of curiosity, ",
    "remind me, ",
    "remind me ",
    "say, ",
    "alright, ",
    "ok pocket, ",
    "just wondering, ",
    "kindly tell me ",
    "be so kind and tell me ",
    "answer this: ",
    "answer me this: ",
    "here is a question: ",
    "can you answer this: ",
    "my son wants to know ",
    "my daughter asked me ",
    "my friend asked me ",
    "hello! ",
    "hi! ",
    "hey there! ",
    "good morning! ",
    "good evening, ",
    "yo, ",
    "i'm curious, ",
    "i'm not sure, ",
    "i keep forgetting, ",
    "any idea ",
    "could you please tell me ",
    "can you please tell me ",
    "would you mind telling me ",
    "i need to know ",
    "i'd like to know ",
    "please tell me ",
    "pls tell me ",
    "let me ask you something. ",
    "one question, ",
    "ok next one: ",
    "and one more thing, ",
    "what do you think, ",
    "think carefully. ",
    "i bet you know this. ",
    "you should know this: ",
    "test question: ",
    "riddle: ",
    "tell us ",
    "tell me quickly, ",
    "in short, ",
    "briefly, ",
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
    " thank you",
    ", thanks in advance",
    ", can you tell me",
    ", please tell me",
    ", pocket",
    ", i need to know",
    ", it is for school",
    " quickly",
    ", if you know",
    ", do you remember",
    ", tell me",
    " pls",
    " plz",
    " lol",
    " :-)",
    " 🙂",
    ", my daughter asked",
    ", i need it for a quiz",
    "? i forgot",
    "? please answer briefly",
    "? one word is enough",
    "? short answer please",
    "? i always forget",
    "? just curious",
    "? i need it for my homework",
    "? thanks",
    "? help me please",
    " btw",
    " bro",
    ", hm",
    " then",
    " actually",
    " by the way",
)
_CHAT_SPELLING = tuple(
    (re.compile(rf"\b{word}\b"), short)
    for word, short in (
        ("you", "u"),
        ("are", "r"),
        ("please", "pls"),
        ("what is", "whats"),
        ("what is", "wat is"),
        ("what's", "whats"),
        ("what", "wat"),
        ("who is", "whos"),
        ("your", "ur"),
        ("because", "cuz"),
        ("and", "n"),
        ("do not", "dont"),
        ("i am", "im"),
        ("tell me", "tel me"),
        ("the", "teh"),
        ("which", "wich"),
        ("the", ""),
        ("is the", "is"),
        ("does", "do"),
    )
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


def _chat_spelling(rng: random.Random, text: str) -> str:
    pattern, short = rng.choice(_CHAT_SPELLING)
    return re.sub(r" {2,}", " ", pattern.sub(short, text)).strip()


def indirect(rng: random.Random, text: str) -> str:
    """A question that begins with "what is", also as part of another: "do you know what ... is"."""
    if not text.startswith("what is ") or rng.random() < 0.6:
        return text
    rest = text.removeprefix("what is ")
    head = "[do you know|tell me|can you tell me|i want to know|i wonder|could you say|i forgot|please tell me|any idea|would you know|i'd like to know]"
    return (
        pick(rng, f"[what's|whats|{head}|{head}|{head}] ") + " " + rest
        if rng.random() < 0.25
        else pick(rng, head) + f" what {rest} is"
    )


def asked(rng: random.Random, text: str, end: str = "?", wrap: bool = True) -> str:
    """The text as somebody might type it: polite words around it, capitals, punctuation, a typing mistake."""
    if wrap:
        if rng.random() < 0.3:
            text = rng.choice(_PREFIX) + text
        else:
            text = indirect(rng, text)
        if rng.random() < 0.15:
            text += rng.choice(_SUFFIX)
    if rng.random() < 0.08:
        text = _chat_spelling(rng, text)
    if rng.random() < 0.1:
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
    if text.endswith("?"):
        return text
    return text + rng.choice((end, end, end, end, end, "", "", ".", " " + end, end + end))
