"""Questions with one right answer from the tables, in many phrasings; an entry that is not in a table is refused."""

import random

from pocket import facts
from pocket.refusals import UNKNOWN, nonsense, topic
from pocket.wording import asked, pick

Turn = tuple[str, str]
_MAXIMUM_SUM = 10


def _article(word: str) -> str:
    return ("an " if word[0] in "aeiou" else "a ") + word


def capital(rng: random.Random) -> Turn:
    unknown = rng.random() < 0.3
    country = (
        rng.choice((rng.choice(facts.UNKNOWN_COUNTRIES), nonsense(rng).capitalize()))
        if unknown
        else rng.choice(list(facts.CAPITALS))
    )
    if not unknown and rng.random() < 0.12:
        city = facts.CAPITALS[country]
        ask = pick(
            rng,
            f"[what country is {city} the capital of|{city} is the capital of which country|{city} is the capital of what|which country has {city} as its capital|which country has the capital {city}]",
        )
        owner = next(name for name, town in facts.CAPITALS.items() if town == city)
        return asked(rng, ask), f"{city} is the capital of {owner}."
    ask = pick(
        rng,
        f"[[what is|what's|whats|tell me|name|give me|say|do you know|which city is|what city is|i need|] the capital [city|] of {country}|[what is|what's|name|] {country}'s capital [city|]|which city is {country}'s capital|capital of {country}"
        f"|the capital of {country} is|{country} capital|what is the capital city of {country}|{country}: what is the capital|what is the name of the capital of {country}|what about the capital of {country}|how is the capital of {country} called|what is {country}'s main city|where is the government of {country}]",
    )
    return asked(rng, ask), UNKNOWN if unknown else f"The capital of {country} is {facts.CAPITALS[country]}."


def opposite(rng: random.Random) -> Turn:
    unknown = rng.random() < 0.2
    word = rng.choice((topic(rng), nonsense(rng))) if unknown else rng.choice(list(facts.OPPOSITES))
    word = rng.choice((word, word, word, f"'{word}'", f'"{word}"'))
    bare = word.strip("'\"")
    ask = pick(
        rng,
        f"[[what is|what's|tell me|name|give me|give|say|] the opposite of {word}|opposite of {word}|what is the [contrary|reverse|antonym] of {word}|which word is the opposite of {word}|what word means the opposite of {word}|{word} is the opposite of what"
        f"|the opposite of {word} is|[an|give an|name an] antonym of {word}|what is the antonym for {word}|find the opposite of {word}|what would be the opposite of {word}|which word means the opposite of {word}|if something is not {word} what is it]",
    )
    return asked(rng, ask), UNKNOWN if unknown else f"The opposite of {bare} is {facts.OPPOSITES[bare]}."


def calendar(rng: random.Random) -> Turn:
    names, unit = rng.choice(((facts.DAYS, "day"), (facts.DAYS, "day"), (facts.MONTHS, "month")))
    at = rng.randrange(len(names))
    name, after, before = names[at], names[(at + 1) % len(names)], names[at - 1]
    kind = rng.choice((0, 1, 2, 3, 4, 4, 5))
    if kind < 2:
        return asked(
            rng,
            pick(
                rng,
                f"[[what|which] {unit} [comes [right|just|] after|follows|is after|is right after|comes next after] {name}|[what comes after|what is after|what follows|the {unit} after|tell me the {unit} after|name the {unit} after|what is the {unit} after] {name}|after {name} comes which {unit}]",
            )
            if rng.random() < 0.8
            else f"what {unit} is it after {name}",
        ), f"{after} comes after {name}."
    if kind < 4:
        return asked(
            rng,
            pick(
                rng,
                f"[[what|which] {unit} [comes [right|just|] before|is before|is right before|precedes] {name}|what comes before {name}|what is before {name}|the {unit} before {name}|tell me the {unit} before {name}|name the {unit} before {name}|what is the {unit} before {name}]",
            ),
        ), f"{before} comes before {name}."
    if unit == "day":
        if kind == 4:
            return asked(
                rng,
                pick(
                    rng,
                    f"[if today is {name}, what [day|] is tomorrow|today is {name}. what day is tomorrow|it is {name} today, what is tomorrow|what is tomorrow if today is {name}|when today is {name}, what is tomorrow|{name} is today, what day will it be tomorrow]",
                ),
            ), f"If today is {name}, tomorrow is {after}."
        return asked(
            rng,
            pick(
                rng,
                f"[if today is {name}, what [day|] was yesterday|today is {name}. what day was yesterday|it is {name} today, what was yesterday|what was yesterday if today is {name}|when today is {name}, what was yesterday]",
            ),
        ), f"If today is {name}, yesterday was {before}."
    if kind == 4:
        return asked(
            rng,
            pick(
                rng,
                f"[how many days [are in|does|has|are there in] {name} [have|]|how long is {name}|days in {name}|number of days in {name}]",
            ),
        ), f"{name} has {facts.MONTH_DAYS[at]} days."
    ordinal = facts.ORDINALS[at]
    return asked(
        rng,
        pick(
            rng,
            f"[what is|which is|what's|name|tell me|which month is|] the {ordinal} month [of the year|in the year|of a year|]",
        ),
    ), f"{name} is the {ordinal} month of the year."


def colour(rng: random.Random) -> Turn:
    word = rng.choice(("colour", "color"))
    if rng.random() < 0.2:
        (one, two), mix = rng.choice(list(facts.MIXES.items()))
        one, two = rng.sample((one, two), 2)
        return asked(
            rng,
            pick(
                rng,
                f"[what {word} do you get [when|if] you mix {one} and {two}|mix {one} and {two}|what do {one} and {two} make|what {word} do {one} and {two} make|{one} and {two} make which {word}|what happens when you mix {one} with {two}|what is {one} mixed with {two}|what is {one} plus {two}]",
            ),
        ), f"{one.capitalize()} and {two} make {mix}."
    unknown = rng.random() < 0.15
    thing = _article(nonsense(rng)) if unknown else rng.choice(list(facts.COLOURS))
    ask = pick(
        rng,
        f"[[what|which] {word} [is|has] {thing}|what is the {word} of {thing}|[what|which] {word} does {thing} have|tell me the {word} of {thing}|{word} of {thing}|{thing} has [which|what] {word}|what {word} would you say {thing} is|name the {word} of {thing}|describe the {word} of {thing}|what {word} is {thing} usually]",
    )
    return asked(rng, ask), UNKNOWN if unknown else f"{thing.capitalize()} is {facts.COLOURS[thing]}."


def animal(rng: random.Random) -> Turn:
    table = rng.choice(("sound", "young", "legs", "home", "food"))
    facts_of = {
        "sound": facts.SOUNDS,
        "young": facts.YOUNG,
        "legs": facts.LEGS,
        "home": facts.HOMES,
        "food": facts.FOODS,
    }[table]
    unknown = rng.random() < 0.1
    name = nonsense(rng) if unknown else rng.choice(list(facts_of))
    a, many = (
        _article(name),
        {
            "mouse": "mice",
            "sheep": "sheep",
            "fish": "fish",
            "person": "people",
            "wolf": "wolves",
            "goose": "geese",
            "butterfly": "butterflies",
            "fox": "foxes",
            "octopus": "octopuses",
            "fly": "flies",
        }.get(name, name + "s"),
    )
    value = facts_of.get(name, "")
    asks = {
        "sound": f"[what sound does {a} make|what does {a} say|which sound does {a} make|what sound do {many} make|what noise does {a} make|what do {many} say|how does {a} sound|what is the sound of {a}|which noise do {many} make|{a} makes which sound|{many} make what noise|tell me the sound of {a}|sound of {a}]",
        "young": f"[what is a baby {name} called|what is a young {name} called|what do you call a [baby|young] {name}|what is the young of {a} called|what are baby {many} called|name for a baby {name}|what is the name for a [young|baby] {name}|how do you call a baby {name}|what do we call a [young|baby] {name}|a baby {name} is called what]",
        "legs": f"[how many legs does {a} have|how many legs do {many} have|how many legs has {a}|number of legs of {a}|how many legs has {a} got|tell me how many legs {a} has|what number of legs does {a} have|count the legs of {a}|{a} has [got|] how many legs|{many} have how many legs]",
        "home": f"[where does {a} live|where do {many} live|where can you find {a}|where do you find {many}|what is the home of {a}|in which place does {a} live|where is the home of {many}|where would i find {a}|{many} live where]",
        "food": f"[what does {a} eat|what do {many} eat|what do {many} like to eat|what is the food of {a}|what food does {a} eat|what should i feed {a}|what does {a} like to eat|which food do {many} eat|{many} eat what|{a} eats what|what is eaten by {many}]",
    }
    answers = {
        "sound": f"{a.capitalize()} says {value}.",
        "young": f"A young {name} is called {_article(value or 'x')}.",
        "legs": f"{a.capitalize()} has {value} legs.",
        "home": f"{a.capitalize()} lives {value}.",
        "food": f"{a.capitalize()} eats {value}.",
    }
    return asked(rng, pick(rng, asks[table])), UNKNOWN if unknown else answers[table]


def definition(rng: random.Random) -> Turn:
    unknown = rng.random() < 0.35
    word = rng.choice((topic(rng), nonsense(rng))) if unknown else rng.choice(list(facts.DEFINITIONS))
    thing = rng.choice((_article(word), _article(word), word, "the " + word))
    ask = pick(
        rng,
        f"[what is {thing}|what's {thing}|whats {thing}|define {word}|define the word {word}|what does {word} mean|what does the word {word} mean|explain [what|] {thing} [is|]|tell me what {thing} is|give me a definition of {word}|what do you know about {thing}|describe {thing}|definition of {word}"
        f"|can you explain {thing}|what do people mean by {word}|tell me [something|] about {thing}|{word}|what exactly is {thing}|meaning of {word}|do you know what {thing} is|explain {word} [to me|to a child|simply|]|what is meant by {word}|how would you describe {thing}]",
    )
    return asked(rng, ask), UNKNOWN if unknown else facts.DEFINITIONS[word]


def simple_fact(rng: random.Random) -> Turn:
    phrasings, answer = rng.choice(facts.SIMPLE_FACTS)
    return asked(rng, rng.choice(phrasings)), answer


def addition(rng: random.Random) -> Turn:
    one, two = rng.randint(0, _MAXIMUM_SUM), rng.randint(0, _MAXIMUM_SUM)
    plus = rng.choice((f"{one} + {two}", f"{one}+{two}", f"{one} plus {two}", f"{one} and {two}"))
    ask = (
        plus
        if " and " not in plus and rng.random() < 0.4
        else pick(rng, f"[what is|what's|how much is|calculate|compute|add|whats|tell me|work out|solve] {plus}")
    )
    return asked(rng, ask, rng.choice(("?", "=", " ="))), f"{one} + {two} = {one + two}"


def counting(rng: random.Random) -> Turn:
    top = rng.randint(3, 10)
    end = rng.choice((str(top), facts.NUMBERS[top]))
    ask = pick(
        rng,
        f"[count [up|] to {end}|count from [1|one] to {end}|list the numbers from [1|one] to {end}|say the numbers [1|one] to {end}|can you count to {end}|numbers from 1 to {end}|write the numbers from 1 to {end}]",
    )
    return asked(rng, ask, "."), ", ".join(str(n) for n in range(1, top + 1)) + "."
