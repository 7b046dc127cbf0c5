"""Questions with one right answer from the tables, in many phrasings; an entry that is not in a table is refused."""

import random

from pocket import facts
from pocket.refusals import UNKNOWN, nonsense, topic
from pocket.wording import asked, pick

Turn = tuple[str, str]
_MAXIMUM_SUM = 10


def _article(word: str) -> str:
    return ("an " if word[0] in "aeiou" else "a ") + word


def _city(rng: random.Random, country: str) -> str:
    town = facts.CAPITALS[country]
    return pick(
        rng,
        f"[what country is {town} the capital of|{town} is the capital of [which|what] [country|land|nation|state]|{town} is the capital [city|] of [what|where]|[which|what] [country|land|nation] has {town} [as its capital|for a capital|as capital|as its capital city]"
        f"|[which|what] [country|land|nation] has the capital {town}|of [which|what] [country|land|nation] is {town} the capital|whose capital is {town}|{town} is [which|what] country's capital|name the country [whose capital is|with the capital] {town}|the country with the capital {town}"
        f"|[which|what] [country's|nation's|land's] capital is [called|named|] {town}|the capital of [which|what] [country|land] is [called|named|] {town}|tell me [which|what] country {town} is the capital of|if {town} is the capital, what is the country|{town} is the main city of [which|what] country"
        f"|[which|what] country do i visit if i go to its capital {town}|in [which|what] country is {town} the capital]",
    )


def _capital_words(rng: random.Random, country: str) -> str:
    return pick(
        rng,
        rng.choice(
            (
                f"[what is|what's|whats|tell me|name|give me|say|do you know|which city is|what city is|i need|find|look up|which is|state|which town is|what town is|] the capital [city|] of {country}",
                f"[what is|what's|name|tell me|do you know|which is|give me|] {country}'s capital [city|]",
                f"[what is|whats|name|tell me|] {country}s capital [city|]",
                f"[what is|whats|name|tell me|] the {country} capital",
                f"[which|what] [city|town|place] is {country}'s [capital|capital city]",
                f"[which|what] [city|town|place] [is|serves as|acts as|works as|forms|functions as|is known as|is called|is considered] the capital [city|] [of|for|in] {country}",
                f"[capital|capital city] [of|for|in] {country}",
                f"the capital [city|] of {country} is [called|named|]",
                f"{country} [has|uses] [which|what] [city|town] as [its|a|the] capital",
                f"{country} [capital|capital city]",
                f"{country}, [capital|capital city]",
                f"{country}: [what is|name|] [the capital|its capital]",
                f"[what is|tell me|do you know|say] the name of the capital [city|] of {country}",
                f"what about the capital of {country}",
                f"[which|what] [european|asian|african|american|big|famous|old|beautiful|large|well-known] [city|town] is the capital of {country}",
                f"[how|what] is the capital of {country} [called|named]",
                f"[what is|name] {country}'s main city",
                f"[where|in which city] is the [government|parliament] of {country}",
                f"[which|what] [city|town] is the [seat of government|seat of the government] [of|in] {country}",
                f"[which|what] [city|town] does {country} have [as|for] [its|a] capital",
                f"what does {country} call its capital",
                f"[what|which] [city|town] would i [visit|go to|find|see] [as|if i want to see] the capital of {country}",
                f"[i am going to|i am travelling to|i want to visit|we are flying to|i live in|my friend lives in|i come from|i was born in|next week i fly to] {country}[.|,|. so] [what is|what's|tell me|name|which city is|do you know] [the capital|its capital|the capital there|its capital city]",
                f"[what|which] capital [does|has] {country} [have|got|]",
                f"[in|for] {country}, [what is the capital|which city is the capital|what city is the capital]",
                f"[can you|could you|would you|please|will you] [name|tell me|give me|say] the capital [city|] of {country}",
                f"[do you|you] [happen to|] know {country}'s capital",
                f"if i am in the capital of {country}, [where|in which city] am i",
                f"people say the capital of {country} is beautiful. [what is it called|which city is it|what is its name]",
                f"[the|] country: {country}. [the|] capital",
            )
        ),
    )


def capital(rng: random.Random) -> Turn:
    unknown = rng.random() < 0.33
    country = (
        rng.choice(
            (rng.choice(facts.UNKNOWN_COUNTRIES), nonsense(rng).capitalize(), rng.choice(facts.UNKNOWN_COUNTRIES))
        )
        if unknown
        else rng.choice(list(facts.CAPITALS))
    )
    kind = rng.random()
    if kind < 0.18 and not unknown:
        city = facts.CAPITALS[country]
        owner = next(name for name, town in facts.CAPITALS.items() if town == city)
        return asked(rng, _city(rng, country)), f"{city} is the capital of {owner}."
    if kind < 0.03:
        return asked(
            rng,
            pick(
                rng,
                f"[which country has|{nonsense(rng).capitalize()} or] {country} [as its capital|is the capital of what]",
            ),
        ), UNKNOWN
    if kind < 0.27 and not unknown:
        real = facts.CAPITALS[country]
        town = real if rng.random() < 0.5 else rng.choice(list(facts.CAPITALS.values()))
        ask = pick(
            rng,
            f"[is {town} the capital [city|] of {country}|is the capital [city|] of {country} [called|] {town}|is it true that {town} is the capital of {country}|{town} is the capital of {country}, [right|yes|correct|true|is it]|is {country}'s capital {town}|is it {real} or {town} that is the capital of {country}|is {town} or {real} the capital of {country}|true or false: {town} is the capital of {country}]",
        )
        return asked(rng, ask), f"The capital of {country} is {real}."
    return asked(rng, _capital_words(rng, country)), (
        UNKNOWN if unknown else f"The capital of {country} is {facts.CAPITALS[country]}."
    )


def _opposite_words(rng: random.Random, word: str) -> str:
    return pick(
        rng,
        rng.choice(
            (
                f"[what is|what's|tell me|name|give me|give|say|which is|find|state|i need|do you know|] the [opposite|contrary|reverse|antonym|exact opposite] [word|] [of|to|for] [the word|] {word}",
                f"[what is|what's|tell me|name|give me|say|] the opposite of {word}",
                f"[opposite|antonym|contrary] [of|to|for] {word}",
                f"[which|what] word [is|means|would be|has] the [opposite|contrary|opposite meaning] [of|to] {word}",
                f"{word} is the opposite of [what|which word]",
                f"the opposite of {word} is",
                f"[an|give an|name an|give me an|i need an|tell me an|find an] [antonym|opposite] [of|for|to] {word}",
                f"if something is not {word} what is it",
                f"if it is not {word}, it is",
                f"[not {word} but|instead of {word}, i can say|the other side of {word} is|{word} and its opposite]",
                f"[{word}, opposite|opposite: {word}|{word}: opposite|antonym: {word}|{word} - opposite]",
                f"[something|a thing|a road|a box|a house|an animal|a person|it] that [is not|isn't] {word} is [what|]",
                f"if [it|something|a thing|a house|a road|someone] [is not|isn't] {word}, [it is|it's|then it is|they are] [what|]",
                f"{word} [versus|vs|vs.] [what|which word]",
                f"[what|which word] [do you call|describes|would you use for|is used for] [something that is not {word}|the opposite of {word}]",
                f"[how do you say|how would you say|what is another way to say] the opposite of {word}",
                f"[what|which word] is opposite [to|of] {word}",
                f"[which word|what] [contrasts with|goes against|is contrary to|is the counterpart of] {word}",
                f"i say {word}, you say the opposite",
                f"[turn|change|flip|reverse] {word} [into|to] its opposite",
                f"[can you|could you|please|will you] [name|give me|tell me|find] the opposite of {word}",
            )
        ),
    )


def opposite(rng: random.Random) -> Turn:
    unknown = rng.random() < 0.2
    bare = rng.choice((topic(rng), nonsense(rng))) if unknown else rng.choice(list(facts.OPPOSITES))
    if not unknown and rng.random() < 0.06:
        other = facts.OPPOSITES[bare] if rng.random() < 0.5 else rng.choice(list(facts.OPPOSITES))
        answer = f"The opposite of {bare} is {facts.OPPOSITES[bare]}."
        return asked(rng, pick(rng, f"[is {other} the opposite of {bare}|is the opposite of {bare} {other}]")), answer
    word = rng.choice((bare, bare, bare, f"'{bare}'", f'"{bare}"'))
    return asked(rng, _opposite_words(rng, word)), (
        UNKNOWN if unknown else f"The opposite of {bare} is {facts.OPPOSITES[bare]}."
    )


def _neighbour_words(rng: random.Random, unit: str, name: str, after: bool) -> str:
    if after:
        way = "[comes [right|just|directly|immediately|] after|follows|is after|is right after|comes next after|is next after|is the day after|is the one after|succeeds|we have after]"
        side, word = "[after|following]", "after"
    else:
        way = "[comes [right|just|directly|immediately|] before|is before|is right before|precedes|is the one before|we have before|is just before]"
        side, word = "[before|preceding]", "before"
    way = way.replace("the day after", f"the {unit} after")
    return pick(
        rng,
        rng.choice(
            (
                f"[what|which] {unit} {way} {name}",
                f"[what|which] {unit} of the [week|year] {way} {name}"
                if unit == "day"
                else f"[what|which] month of the year {way} {name}",
                f"[what|which {unit}|which one] {way} {name}",
                f"what [comes|is|goes] {word} {name}",
                f"[tell me|name|what is|give me|say|what's|which is|] the {unit} [that comes|that is|] {side} {name}",
                f"{word} {name} [comes|is|we have|there is] [which|what] {unit}",
                f"{word} {name} [comes|is] [what|which|]",
                f"[what|which] {unit} is it {word} {name}",
                f"[which|what] is the {'next' if after else 'previous'} {unit} {'after' if after else 'before'} {name}",
                f"[which|what] {unit} do we [have|get] {word} {name}",
                f"{name} [comes|is] {'before' if after else 'after'} [which|what] {unit}",
                f"{name} is {'followed' if after else 'preceded'} by [which|what] [{unit}|]",
                f"[can you|could you|please] [tell me|name|say] the {unit} {side} {name}",
                (
                    f"[when|once|as soon as] {name} [ends|is over], [what|which] {unit} [begins|comes|starts|is it]"
                    if after
                    else f"[what|which] {unit} [ends|is over] when {name} [begins|starts]"
                ),
                (
                    f"{name} is over. [what|which] {unit} [is next|comes next|comes now]"
                    if after
                    else f"it is {name}. [what|which] {unit} was [before|just before|the one before]"
                ),
                f"the {unit} {side} {name} is",
            )
        ),
    )


def calendar(rng: random.Random) -> Turn:
    names, unit = rng.choice(((facts.DAYS, "day"), (facts.DAYS, "day"), (facts.MONTHS, "month")))
    at = rng.randrange(len(names))
    name, after, before = names[at], names[(at + 1) % len(names)], names[at - 1]
    kind = rng.choice((0, 0, 1, 2, 2, 3, 4, 4, 5, 6, 7))
    if kind == 7:
        ask = f"[does {after} come [right|directly|] after {name}|is {after} [the {unit} |]after {name}|{before}, {name}, [and then|and next|what comes next|what is next|which {unit} is next|then what|and]|{before}, {name} and then|does {name} come before {after}|is {after} next after {name}|is it {after} or {before} that comes after {name}]"
        return asked(rng, pick(rng, ask)), f"{after} comes after {name}."
    if kind < 2:
        return asked(rng, _neighbour_words(rng, unit, name, after=True)), f"{after} comes after {name}."
    if kind < 4:
        return asked(rng, _neighbour_words(rng, unit, name, after=False)), f"{before} comes before {name}."
    if kind == 6:
        ask = f"[[what|which] {unit} [is|comes|lies|falls|sits] between {before} and {after}|what is between {before} and {after}|between {before} and {after} [is|comes] [which|what] {unit}|the {unit} between {before} and {after}]"
        return asked(rng, pick(rng, ask)), f"{name} is between {before} and {after}."
    if unit == "day":
        if kind == 4:
            return asked(
                rng,
                pick(
                    rng,
                    f"[[if|suppose|say|assume|let us say|imagine|] [today is|it is|today's|it's|we have] {name} [today|][, |. |, then ][what|which] [day|day of the week|] [is|will be|will it be|do we have|is it] tomorrow|[what|which day] [is|will be] tomorrow [if|when|given that] [today is|it is] {name} [today|]|{name} is today, [what|which] day [will it be|is it] tomorrow|[what|which] day [comes|is] tomorrow if today is {name}|today is {name} and tomorrow is [what|which day|]]",
                ),
            ), f"If today is {name}, tomorrow is {after}."
        return asked(
            rng,
            pick(
                rng,
                f"[[if|suppose|say|assume|let us say|imagine|] [today is|it is|today's|it's|we have] {name} [today|][, |. |, then ][what|which] [day|day of the week|] [was|was it|did we have] yesterday|[what|which day] was yesterday [if|when|given that] [today is|it is] {name} [today|]|[what|which] day was [it|] yesterday if today is {name}|today is {name} and yesterday was [what|which day|]]",
            ),
        ), f"If today is {name}, yesterday was {before}."
    if kind == 4:
        return asked(
            rng,
            pick(
                rng,
                f"[how many days [are in|does|has|are there in] {name} [have|]|how long is [the month of|] {name} [in days|]|[how many|] days in {name}|[what is|tell me|] the number of days in {name}|{name} has how many days|how many days are [in|there in] the month of {name}|tell me how many days {name} has|how many days long is {name}|length of {name}]",
            ),
        ), f"{name} has {facts.MONTH_DAYS[at]} days."
    ordinal = facts.ORDINALS[at]
    return asked(
        rng,
        pick(
            rng,
            f"[[what is|which is|what's|name|tell me|which month is|what month is|give me|say|] the [{ordinal}|{ordinal}|{at + 1}{'st' if at == 0 else 'nd' if at == 1 else 'rd' if at == 2 else 'th'}] month [of the year|in the year|of a year|of the calendar|]|[which|what] month [comes {ordinal}|is number {at + 1}|is number {facts.NUMBERS[at + 1]}|has number {at + 1}] [in the year|]|month number {at + 1}|the {ordinal} month is [called|]]",
        ),
    ), f"{name} is the {ordinal} month of the year."


def _colour_words(rng: random.Random, word: str, thing: str) -> str:
    return pick(
        rng,
        rng.choice(
            (
                f"[what|which] {word} [is|has] {thing}",
                f"[what is|what's|name|tell me|say|give me|do you know] the {word} of {thing}",
                f"[what|which] {word} does {thing} have",
                f"{word} of {thing}",
                f"{thing} [has|is] [which|what] {word}",
                f"[what|which] {word} would you [say|think] {thing} is",
                f"describe the {word} of {thing}",
                f"[what|which] {word} is {thing} [usually|normally|mostly|most often|in general]",
                f"[in|of] [what|which] {word} is {thing}",
                f"[what|which] {word} do you [see|get] when you look at {thing}",
                f"{thing} is [usually|] [what|which] {word}",
                f"{thing}, [what|which] {word}",
                f"[tell me|say|do you know|i forgot] [what|which] {word} {thing} [is|has]",
                f"what does {thing} look like, [which|what] {word}",
                f"if i paint {thing}, [which|what] {word} do i [use|need|take]",
                f"[what|which] {word} [should|would|do] i [use|take|need] to [paint|draw] {thing}",
                f"the {word} of {thing} is",
                f"how would you describe the {word} of {thing}",
            )
        ),
    )


def colour(rng: random.Random) -> Turn:
    word = rng.choice(("colour", "color"))
    if rng.random() < 0.25:
        (one, two), mix = rng.choice(list(facts.MIXES.items()))
        one, two = rng.sample((one, two), 2)
        ask = (
            f"[[what|which] {word} do [you|i|we] get [when|if|by] [you|i|we] [mix|combine|blend] {one} [and|with] {two}|[mix|combine|blend] {one} [and|with] {two}|[what|which {word}] do {one} and {two} [make|give] [together|when mixed|]|[what|which] {word} do {one} and {two} make|{one} and {two} make [which|what] {word}"
            f"|what happens [when|if] [you|i] [mix|add|combine] {one} [with|and|to] {two}|what [is|do you get from|comes from] {one} mixed with {two}|what is {one} plus {two}|{one} plus {two} is [what|which|] {word}|{one} and {two} mixed|[mixing|combining] {one} and {two} [gives|makes] [what|which {word}]|which {word} is made [of|from] {one} and {two}|if i mix {one} and {two} paint, what {word} do i get]"
        )
        return asked(rng, pick(rng, ask)), f"{one.capitalize()} and {two} make {mix}."
    unknown = rng.random() < 0.15
    thing = _article(nonsense(rng)) if unknown else rng.choice(list(facts.COLOURS))
    if not unknown and rng.random() < 0.08:
        shade = facts.COLOURS[thing] if rng.random() < 0.5 else rng.choice(list(facts.COLOURS.values()))
        other = rng.choice(list(facts.COLOURS.values()))
        ask = f"[is {thing} {shade}|is {thing} {shade} in colour|is {thing} {facts.COLOURS[thing]} or {other}|is {thing} {other} or {facts.COLOURS[thing]}|is the {word} of {thing} {shade}]"
        return asked(rng, pick(rng, ask)), f"{thing.capitalize()} is {facts.COLOURS[thing]}."
    told = thing
    if thing[:2] == "a " and rng.random() < 0.3:
        told = {
            "a leaf": "leaves",
            "a mouse": "mice",
            "a cherry": "cherries",
            "a strawberry": "strawberries",
            "a tomato": "tomatoes",
        }.get(thing, thing[2:] + "s")
        return asked(
            rng,
            pick(
                rng,
                f"[[what|which] {word} are {told}|what is the {word} of {told}|{told} are [what|which] {word}|{word} of {told}|[what|which] {word} do {told} have]",
            ),
        ), (UNKNOWN if unknown else f"{thing.capitalize()} is {facts.COLOURS[thing]}.")
    return asked(rng, _colour_words(rng, word, thing)), (
        UNKNOWN if unknown else f"{thing.capitalize()} is {facts.COLOURS[thing]}."
    )


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
        "sound": f"[[what|which] [sound|noise] does {a} make|what does {a} say|[what|which] [sound|noise] do {many} make|what do {many} say|how does {a} sound|what is the [sound|noise|voice|cry|call] of {a}|{a} makes [which|what] [sound|noise]|{many} make what noise|tell me the sound of {a}|sound of {a}|how do {many} [sound|talk|speak]|{a} [goes|says] [what|]|[make|imitate|do] [a|the sound of a] {name} [sound|noise]"
        f"|[what|which] [sound|noise] [can you hear|do you hear|comes] from {a}|how does {a} go|which word does {a} say|what would {a} say|what do you hear when {a} [makes a noise|talks]|the sound [that|] {a} makes]",
        "young": f"[what is a [baby|young|little] {name} called|what do you call [a baby|a young|the baby of a|the young of a|the child of a] {name}|what is the [young|baby|child|name for the baby|word for the young] of {a} [called|]|what are [baby|young] {many} called|[the|] name [for|of] a baby {name}|what is the [name|word] for a [young|baby] {name}|how do you call a baby {name}|what do [we|people] call a [young|baby] {name}"
        f"|a [baby|young] {name} is [called|known as|named|a] [what|]|[tell me|say] the name of a baby {name}|{many} have babies called [what|]|how is a [baby|young] {name} called|what [name|word] do we use for a [baby|young] {name}|when {a} has a baby, what is it called|baby {name}|what are the young of {many} called|the baby of {a} is [called|]]",
        "legs": f"[how many [legs|feet] does {a} have|how many [legs|feet] do {many} have|how many [legs|feet] has {a} [got|]|[the|] number of legs [of|on|that] {a}|tell me how many legs {a} has|what number of legs does {a} have|count the legs of {a}|{a} has [got|] [how many|what number of] legs|{many} have how many legs|on how many legs does {a} [walk|stand|run|go]|how many legs are on {a}|how many legs would you count on {a}|legs of {a}|do you know how many legs {a} has|how many legs do you see on {a}]",
        "home": f"[where does {a} live|where do {many} live|where [can|do|could|would|will] [you|i|we] [find|see|meet] {a}|where do you find {many}|what is the home of {a}|in [which|what] place does {a} live|where is the home of {many}|where would i find {a}|{many} live where|{a} lives [where|in which place|]|[what|which] is the [home|house|natural home|place] of {many}|where [is|are] {many} at home|tell me where {a} lives|where do {many} make their home|where [should|must] i look for {a}]",
        "food": f"[what does {a} eat|what do {many} eat|what do {many} [like|love|want|need] to eat|what is the [food|meal|favourite food|favorite food|diet] of {a}|[what|which] food does {a} [eat|need|like]|what should i [feed|give to|give] {a}|what does {a} [like|love|want|need] to eat|which food do {many} [eat|like]|{many} eat what|{a} eats [what|]|what is eaten by {many}|what do {many} [feed on|live on|live off]|what can i feed [to|] {a}|what do you feed [to|] {a}|tell me what {a} eats|food of {a}|{a} feeds on [what|]|what is on the menu of {a}]",
    }
    if not unknown and rng.random() < 0.08:
        yes_or_no = {
            "sound": f"[does {a} say {value}|do {many} say {value}|is {value} what {a} says]",
            "young": f"[is a {value} a [baby|young] {name}|is a [baby|young] {name} called a {value}]",
            "legs": f"[does {a} have {value} legs|do {many} have {value} legs|has {a} {value} legs|do {many} have [two|four|six|eight] legs]",
            "home": f"[does {a} live {value}|do {many} live {value}]",
            "food": f"[does {a} eat {value}|do {many} eat {value}|do {many} like {value}]",
        }
        asks = yes_or_no
    answers = {
        "sound": f"{a.capitalize()} says {value}.",
        "young": f"A young {name} is called {_article(value or 'x')}.",
        "legs": f"{a.capitalize()} has {value} legs.",
        "home": f"{a.capitalize()} lives {value}.",
        "food": f"{a.capitalize()} eats {value}.",
    }
    if not unknown and rng.random() < 0.15:
        return _animal_backwards(rng)
    return asked(rng, pick(rng, asks[table])), UNKNOWN if unknown else answers[table]


def _animal_backwards(rng: random.Random) -> Turn:
    if rng.random() < 0.5:
        name, value = rng.choice(list(facts.SOUNDS.items()))
        ask = f"[[which|what] animal [says|goes|makes the sound|makes|sounds like] {value}|who [says|goes] {value}|{value} is the sound of [which|what] animal|{value} says [which|what] animal|[what|which animal] makes a {value} [sound|noise]|what goes {value}]"
        return asked(rng, pick(rng, ask)), f"{_article(name).capitalize()} says {value}."
    value = rng.choice([word for word in facts.YOUNG.values() if list(facts.YOUNG.values()).count(word) == 1])
    name = next(animal for animal, word in facts.YOUNG.items() if word == value)
    a = _article(value)
    ask = f"[what is {a}|what's {a}|{a} is [the baby of|the young of] [which|what] animal|[what|which] animal [is|was] {a}|what does {a} [become|grow into|turn into] [when it grows up|]|[which|what] animal has babies called {value}s|define {value}|{a} grows up to be [what|a what]|{a} is a baby what|what kind of animal is {a}]"
    return asked(rng, pick(rng, ask)), f"A young {name} is called {a}."


def definition(rng: random.Random) -> Turn:
    unknown = rng.random() < 0.35
    word = rng.choice((topic(rng), nonsense(rng))) if unknown else rng.choice(list(facts.DEFINITIONS))
    thing = rng.choice((_article(word), _article(word), word, "the " + word))
    quoted = rng.choice((word, word, f"'{word}'", f'"{word}"'))
    if not unknown and rng.random() < 0.12 and " is " in facts.DEFINITIONS[word]:
        told = facts.DEFINITIONS[word].split(" is ", 1)[1].removesuffix(".")
        ask = f"[what do [you|we|people] call {told}|what is {told} called|[which|what] [word|thing] means {told}|what is the [word|name] for {told}|{told} is called what|{told}: what is it|what is it: {told}|i mean {told}. what is it called|give me the word for {told}|how do you call {told}]"
        return asked(rng, pick(rng, ask)), facts.DEFINITIONS[word]
    ask = rng.choice(
        (
            f"[what is|what's|whats|what exactly is|so what is|and what is|what actually is|what kind of thing is] {thing}",
            f"[what is|what's|what exactly is] {thing}",
            f"[define|define the word|define the term|explain|explain the word|describe|definition of|meaning of|the meaning of|explain to me] {quoted}",
            f"[what does|what does the word|what does the term] {quoted} mean",
            f"[explain|describe] [what|] {thing} [is|]",
            f"[tell me|explain to me|do you know|can you tell me|can you explain|i want to know|i wonder|could you explain|please explain|say] what {thing} is",
            f"[tell me|explain|do you know] what {word} means",
            f"[give me|give|i need|i want|write|do you have] [a|a short|the] [definition|explanation|description] [of|for] [the word|] {rng.choice((word, thing))}",
            f"[what do you know about|tell me about|tell me something about|what can you tell me about|explain|describe|can you explain|can you describe] {thing}",
            f"{word}",
            f"what [do people mean by|is meant by the word|is meant by the term|is meant by|do we mean by|do you mean by|do people understand by] {word}",
            f"explain {word} [to me|to a child|simply|in simple words|]",
            f"how would you [describe|explain|define] {thing} [to a child|]",
            f"[what is|what's] the [meaning|definition] of [the word|] {word}",
            f"what is {thing} [in simple words|exactly|actually|please|for a child]",
            f"i [do not|don't] know what {thing} is",
            f"i do not understand the word {word}. what does it mean",
            f"[teach me|help me understand|help me to understand] what {thing} is",
        )
    )
    return asked(rng, pick(rng, ask)), UNKNOWN if unknown else facts.DEFINITIONS[word]


def simple_fact(rng: random.Random) -> Turn:
    phrasings, answer = rng.choice(facts.SIMPLE_FACTS)
    place = rng.choice((*facts.CAPITALS, *facts.CAPITALS.values(), *facts.CITIES))
    # Each semicolon part counts as often as it has choices, up to a bound.
    ask = rng.choices(phrasings, weights=[min(6, 1 + part.count("|")) for part in phrasings])[0]
    return asked(rng, pick(rng, ask).replace("{c}", place)), answer


def addition(rng: random.Random) -> Turn:
    one, two = rng.randint(0, _MAXIMUM_SUM), rng.randint(0, _MAXIMUM_SUM)
    first, second = str(one), str(two)
    if rng.random() < 0.3:
        first, second = facts.NUMBERS[one], facts.NUMBERS[two]
    answer = f"{one} + {two} = {one + two}"
    ask = pick(
        rng,
        rng.choice(
            (
                f"[{first} + {second}|{first}+{second}|{first} plus {second}]",
                f"[{first} + {second}|{first}+{second}|{first} plus {second}]",
                f"[what is|what's|how much is|calculate|compute|whats|tell me|work out|solve|what does|how much makes|can you calculate|what do you get for] [{first} + {second}|{first}+{second}|{first} plus {second}|{first} and {second}]",
                f"[what is|what's|how much is|calculate|compute] [{first} + {second}|{first}+{second}|{first} plus {second}]",
                f"{first} plus {second} [is|equals|makes|gives] [what|how much|]",
                f"[add|add up|add together|sum|sum up] {first} and {second} [together|]",
                f"add {first} to {second}",
                f"[what is|tell me|give me|calculate|find|] the [sum|total] of {first} and {second}",
                f"what do {first} and {second} [make|give|add up to|sum to] [together|]",
                f"[what|how much] do you get [when|if] you add {first} [and|to] {second}",
                f"[i have|tom has|anna has|there are] {first} [apples|books|dogs|coins|balls] and [i get|he gets|she gets|we add|buy|find|somebody gives me|i am given|i buy|another|my friend brings] {second} more[. |, ]how many [are there|do i have|in total|is that|are there now]",
                f"if [i|you] have {first} [apples|cats|pens|cookies] and [get|buy|find] {second} more, how many [do i have|are there|is that]",
            )
        ),
    )
    return asked(rng, ask, rng.choice(("?", "?", "=", " ="))), answer


def counting(rng: random.Random) -> Turn:
    top = rng.randint(3, 10)
    end = rng.choice((str(top), facts.NUMBERS[top]))
    ask = pick(
        rng,
        f"[[count|please count|can you count|count for me|let us count|i want you to count|could you count|count out loud|start counting|count slowly] [up|] [to|until|till] {end}|[count|can you count|please count] from [1|one] [up|] [to|until|till] {end}|[list|say|write|name|give me|write down|recite|tell me|show me] [all|] the numbers [from [1|one] to|up to|until|between 1 and] {end}"
        f"|numbers [from|] 1 to {end}|[list|write|say] the first {end} numbers|the numbers up to {end}|count [1|one] to {end}]",
    )
    return asked(rng, ask, "."), ", ".join(str(n) for n in range(1, top + 1)) + "."


def echo(rng: random.Random) -> Turn:
    """Words to be said again exactly: of all tasks this one teaches most about copying, which tools and names need."""
    kind = rng.random()
    if kind < 0.25:
        said = " ".join(
            rng.choice((nonsense(rng), topic(rng), rng.choice(list(facts.OPPOSITES)))) for _ in range(rng.randint(1, 5))
        )
    elif kind < 0.45:
        said = " ".join(
            rng.choice((*facts.CITIES, *facts.CAPITALS, *facts.CAPITALS.values())) for _ in range(rng.randint(1, 4))
        )
    elif kind < 0.7:
        said = rng.choice((" ", "", ", ", " ")).join(
            str(rng.randint(0, rng.choice((9, 99, 9999)))) for _ in range(rng.randint(1, 6))
        )
    elif kind < 0.85:
        said = rng.choice((*(answer for _, answer in facts.SIMPLE_FACTS), *facts.DEFINITIONS.values()))
    else:
        said = " ".join(
            rng.sample([*facts.LEGS, *facts.NUMBERS, *facts.DAYS, *facts.MONTHS, *facts.DEFINITIONS], rng.randint(1, 6))
        )
    if rng.random() < 0.3:
        said = said[:1].upper() + said[1:]
    head = pick(
        rng,
        "[repeat|please repeat|repeat after me|say after me|say exactly|repeat this|repeat exactly|echo|copy|copy this|write exactly|type|say this|can you repeat|repeat the words|repeat these words]",
    )
    head = head[:1].upper() + head[1:] if rng.random() < 0.5 else head
    left, right = rng.choice(((": ", ""), (": ", ""), (' "', '"'), (" '", "'"), (": '", "'"), (', "', '"')))
    return f"{head}{left}{said}{right}", said


def follow_up(rng: random.Random) -> list[Turn]:
    """A question and a short one after it that makes sense only with the first."""
    short = "[and|and what about|what about|how about|and for|and of|ok and|now]"
    if rng.random() < 0.5:
        first, second = rng.sample(list(facts.CAPITALS), 2)
        asks = [_capital_words(rng, first), pick(rng, f"[{short}|{short}|and the capital of] {second}")]
        answers = [f"The capital of {country} is {facts.CAPITALS[country]}." for country in (first, second)]
    elif rng.random() < 0.5:
        first, second = rng.sample(list(facts.OPPOSITES), 2)
        asks = [_opposite_words(rng, first), pick(rng, f"[{short}|{short}|and the opposite of] {second}")]
        answers = [f"The opposite of {word} is {facts.OPPOSITES[word]}." for word in (first, second)]
    else:
        first, second = rng.sample(list(facts.COLOURS), 2)
        asks = [_colour_words(rng, "colour", first), pick(rng, f"{short} {second}")]
        answers = [f"{thing.capitalize()} is {facts.COLOURS[thing]}." for thing in (first, second)]
    return [(asked(rng, ask, wrap=False), answer) for ask, answer in zip(asks, answers, strict=True)]
