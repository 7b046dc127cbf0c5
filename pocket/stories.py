"""Short stories from a few plots; the names, the place and the thing stay the same through one story."""

import random
from dataclasses import dataclass

from pocket.wording import asked, pick

_HEROES = tuple(
    "cat,dog,mouse,rabbit,fox,bear,bird,duck,frog,horse,lion,owl,pig,sheep,goat,elephant,squirrel,hedgehog,turtle,penguin,monkey,bee,wolf,tiger,whale,snail,kitten,puppy,robot,dragon,girl,boy,king,queen,princess,prince,farmer,sailor,baker,teacher,wizard,pirate,gardener,clown,fisherman,giant,knight,star,cloud,train,boat,tree".split(
        ","
    )
)
# Two lists, so that a model that forgets who is who cannot give both the same name.
_NAMES = tuple("Tom,Anna,Max,Lily,Ben,Mia,Sam,Ella,Leo,Nora,Finn,Rosa,Jack,Lucy,Felix,Emma".split(","))
_FRIEND_NAMES = tuple("Otto,Ruby,Hugo,Daisy,Milo,Clara,Oscar,Ivy,Toby,Luna,Rufus,Bella,Casper,Poppy".split(","))
_FRIENDS = tuple(
    "cat,dog,mouse,rabbit,fox,bear,bird,duck,frog,horse,owl,goat,squirrel,turtle,old man,old woman,little girl,little boy,farmer,shepherd".split(
        ","
    )
)
_PLACES = tuple(
    "in a small house near the forest|on a farm by the river|in a quiet village|near a blue lake|at the edge of a big city|on a green hill|on an island in the warm sea|in an old castle|beside a tall mountain|in a garden full of flowers".split(
        "|"
    )
)
_THINGS = tuple(
    "red ball,golden key,blue hat,silver bell,little book,warm scarf,green kite,shiny stone,old map,wooden flute,yellow lamp,small basket".split(
        ","
    )
)
_WEATHER = tuple(
    "One sunny morning|One cold evening|One day|One rainy afternoon|One windy morning|Early one morning".split("|")
)


@dataclass(frozen=True)
class Cast:
    """Who and what a story is about."""

    hero: str
    name: str
    friend: str
    friend_name: str
    place: str
    thing: str
    when: str


_PLOTS = (
    "{when}, {name} lost the {thing}. {name} looked under the bed and behind the door, but could not find it. Then {friend_name} the {friend} came by and helped to look. Together they found the {thing} under a tree. {name} was very happy and thanked {friend_name}.",
    '{when}, {name} met {friend_name}, {a_friend} who looked sad. "I have no one to play with," said {friend_name}. "You can play with me," said {name}. They played with the {thing} until the sun went down. From that day on they were best friends.',
    '{when}, {name} found {a_thing} on the road. "Who has lost this?" asked {name}. {A_friend} called {friend_name} came running. "It is mine!" said {friend_name}. {name} gave the {thing} back, and {friend_name} shared a sweet cake with {name}.',
    "{when}, a great storm came. The wind was loud and {name} was afraid. {friend_name} the {friend} knocked at the door and asked to come in. They sat together by the lamp and told stories all night. In the morning the sky was blue again.",
    "{name} wanted to see the world. {when}, {name} took the {thing} and walked away. After a long time {name} was tired and wanted to go home. A kind {friend} called {friend_name} showed the way. {name} came home and slept very well.",
    "{name} had a dream of building something wonderful. {when}, {name} asked {friend_name} the {friend} for help. They worked hard for three days. When they were done, everybody came to see it. {name} gave {friend_name} the {thing} as a present.",
)
_ENDINGS = (
    "They lived happily ever after.",
    "And that was the best day of the year.",
    "The end.",
    "Everyone smiled and went to sleep.",
    "",
)
_ASKS = (
    "[tell|write|make up|read|give|create|invent|share] [me |us |]a [short|little|nice|bedtime|funny|happy|small|new|good|simple|] story [please|for children|for my child|for me|]",
    "[can|could|will|would] you [tell|write] [me|us] a [short|little|nice|bedtime|] story",
    "[i want|i would like|i'd like|let me hear|i need] [to hear |]a [short|nice|bedtime|] story",
    "story [please|time|]",
    "once upon a time",
    "do you know [a story|any stories|a good story|a nice story]",
    "tell a story",
    "another story",
    "one more story",
    "a story",
    "tell me another [one|story]",
    "begin a story",
    "[tell|write] me a [tale|fairy tale|fairytale]",
)
_ABOUT = (
    "[tell|write|make up|give|read|create|invent] [me |us |]a [short|little|nice|bedtime|funny|happy|small|] [story|story|tale] [about|with|of] {hero}",
    "[can|could|will|would] you [tell|write] [me|us] a [short|nice|] story about {hero}",
    "[i want|i would like|i'd like] [to hear |]a story about {hero}",
    "a [short|] story about {hero}",
    "story about {hero}",
    "do you know a story about {hero}",
    "[tell|write] a [short|] story about {hero} [please|for children|in a few sentences|]",
    "[tell|write] a story where {hero} finds a friend",
)


def _article(word: str) -> str:
    return ("an " if word[0] in "aeiou" else "a ") + word


def cast(rng: random.Random, hero: str | None = None, name: str | None = None) -> Cast:
    chosen = hero or rng.choice(_HEROES)
    return Cast(
        chosen,
        name or rng.choice(_NAMES),
        rng.choice([f for f in _FRIENDS if f != chosen]),
        rng.choice([friend for friend in _FRIEND_NAMES if friend != name]),
        rng.choice(_PLACES),
        rng.choice(_THINGS),
        rng.choice(_WEATHER),
    )


def _slots(who: Cast) -> dict[str, str]:
    friend = _article(who.friend)
    return {**vars(who), "a_thing": _article(who.thing), "a_friend": friend, "A_friend": friend.capitalize()}


def tell(rng: random.Random, who: Cast) -> str:
    opening = pick(
        rng,
        f"[Once upon a time there was {_article(who.hero)} called {who.name}, who lived {who.place}.|Once upon a time, {_article(who.hero)} named {who.name} lived {who.place}.|There was once {_article(who.hero)} called {who.name}, who lived {who.place}.]",
    )
    return " ".join((opening, rng.choice(_PLOTS).format_map(_slots(who)), rng.choice(_ENDINGS))).strip()


def story(rng: random.Random) -> tuple[str, str]:
    if rng.random() < 0.35:
        return asked(rng, pick(rng, rng.choice(_ASKS)), "."), tell(rng, cast(rng))
    who = cast(rng, name=rng.choice((*_NAMES, *_FRIEND_NAMES)) if rng.random() < 0.25 else None)
    if who.name in _FRIEND_NAMES or rng.random() < 0.1:
        return asked(
            rng,
            pick(rng, f"[tell|write] [me|] a [short|] story about {_article(who.hero)} [called|named] {who.name}"),
            ".",
        ), tell(rng, who)
    hero = rng.choice(
        (_article(who.hero),) * 3 + ("the " + who.hero, f"a [small|brave|happy|lonely|little|funny] {who.hero}")
    )
    return asked(rng, pick(rng, rng.choice(_ABOUT).replace("{hero}", hero)), "."), tell(rng, who)
