"""Conversations with tools: the call for a plain question, and what came back said in a sentence."""

import json
import random
import re
from collections.abc import Callable, Collection
from dataclasses import dataclass

from pocket import facts
from pocket.refusals import CANNOT, NO_CLOCK, NO_WEATHER, nonsense
from pocket.template import tool_call, tool_list, tool_response
from pocket.wording import asked, pick

Turn = tuple[str, str]
_WEATHER_NAMES = "get_weather|get_weather|get_weather|get_current_weather|get_current_weather|weather|current_weather|fetch_weather|lookup_weather|check_weather|getWeather|weather_report|weather_in|get_the_weather|show_weather|weather_lookup|get_forecast|get_temperature"
_TIME_NAMES = "get_time|get_time|get_current_time|get_current_time|current_time|time_in|local_time|get_local_time|getTime|clock|time|what_time|world_clock|tell_time"
_ADD_NAMES = "add|add|add|sum|add_numbers|plus|addition|add_two|calculator_add|compute_sum|addNumbers|sum_numbers|adder"
_CALCULATOR_NAMES = "calculator|calculator|calculate|evaluate|calc|math|compute|do_math|eval_expression"
_CITY_PARAMETERS = "city|city|city|location|location|place|town|city_name|where"
_PAIRS = (
    ("a", "b"),
    ("a", "b"),
    ("a", "b"),
    ("x", "y"),
    ("first", "second"),
    ("left", "right"),
    ("num1", "num2"),
    ("number1", "number2"),
    ("one", "two"),
    ("m", "n"),
)
_EXPRESSIONS = "expression|expression|expr|formula|input|query|text|problem"
_OTHERS = "send_email(to, subject, body)|search(query)|search_web(query)|web_search(query)|get_stock_price(symbol)|book_flight(origin, destination)|translate(text, language)|read_file(path)|list_files()|play_music(song)|set_alarm(time)|create_event(title, date)|get_news(topic)|run_code(code)|convert_currency(amount, currency)|get_user(id)|turn_on_light(room)|send_message(to, text)|roll_dice(sides)|random_number()|get_location()|find_restaurant(city, food)|get_capital(country)|write_file(path, text)"
_SKIES = "sunny|cloudy|rainy|windy|snowy|foggy|clear|stormy|hot|cold|warm|cool|overcast|partly cloudy|light rain|heavy rain|clear sky|mostly sunny|drizzle|thunderstorms|showers|humid|dry|misty|hazy|sleet|mild|freezing|bright|rain|snow|fog|wind|hail|sunny spells"
_UNUSABLE = "[[send|write] an email to {n}|search for {n}|what is the price of the {n} stock|book a flight to {c}|play the song {n}|wake me at seven|what is in the news|read the file {n}|turn on the light|roll a dice|translate {n} to french|send {n} a message|find a restaurant in {c}]"


@dataclass(frozen=True)
class Kind:
    """One sort of tool: how it is called in a listing, and a question for it with the call and its end."""

    signature: str
    ask: Callable[[], tuple[str, str, str, str]]


def _known_city(rng: random.Random) -> str:
    kind = rng.random()
    if kind < 0.5:
        return rng.choice(list(facts.CAPITALS.values()))
    return rng.choice(facts.CITIES) if kind < 0.88 else nonsense(rng).capitalize()


def _temperature(rng: random.Random) -> str:
    return str(rng.choice((rng.randint(-20, 45), rng.randint(5, 30), rng.randint(5, 30), round(rng.uniform(0, 35), 1))))


def _sky_words(rng: random.Random) -> str:
    word = rng.choice(_SKIES.split("|")) if rng.random() < 0.93 else nonsense(rng)
    return word.capitalize() if rng.random() < 0.2 else word


def _weather_result(rng: random.Random, city: str) -> tuple[str, str]:
    sky, degrees = _sky_words(rng), _temperature(rng)
    kind = rng.random()
    if kind < 0.05:
        return rng.choice(
            (
                json.dumps({"error": rng.choice(("not found", "timeout", "unknown city"))}),
                "error",
                "Error: no data",
                "not found",
            )
        ), "The tool did not find the answer."
    if kind < 0.12:
        return degrees, f"It is {degrees} degrees in {city}."
    if kind < 0.2:
        return pick(
            rng, f"[{degrees}°C|{degrees} °C|{degrees}C|{degrees} degrees]"
        ), f"It is {degrees} degrees in {city}."
    if kind < 0.3:
        return sky, f"The weather in {city} is {sky.lower()}."
    both = f"The weather in {city} is {sky.lower()} with {degrees} degrees."
    if kind < 0.55:
        told = f"[{sky}, {degrees}°C|{sky} {degrees}C|{sky}, {degrees} degrees|{degrees} degrees and {sky.lower()}|{degrees}°C and {sky.lower()}|It is {sky.lower()} and {degrees} degrees.|{sky}, {degrees}|{degrees}°C, {sky.lower()}|{city}: {sky.lower()}, {degrees}°C|{sky} and {degrees} degrees in {city}|The weather in {city} is {sky.lower()}, {degrees}°C.]"
        return pick(rng, told), both
    number: float | str = float(degrees) if "." in degrees else int(degrees)
    if rng.random() < 0.15:
        number = degrees + rng.choice(("", "°C", "C", " C"))
    fields: list[tuple[str, object]] = []
    heat = (rng.choice(("temperature", "temperature", "temp", "temp_c", "temperature_c", "degrees", "celsius")), number)
    cover = (rng.choice(("condition", "conditions", "weather", "description", "summary", "sky", "forecast")), sky)
    which = rng.random()
    fields += [heat] if which < 0.25 else [cover] if which < 0.4 else rng.sample([heat, cover], 2)
    if rng.random() < 0.3:
        fields.insert(rng.choice((0, len(fields))), (rng.choice(("city", "location", "place", "name")), city))
    if rng.random() < 0.25:
        fields.append(
            rng.choice(
                (
                    ("unit", "celsius"),
                    ("unit", "C"),
                    ("humidity", rng.randint(10, 99)),
                    ("wind", rng.randint(1, 40)),
                    ("ok", True),
                )
            )
        )
    answer = (
        f"It is {degrees} degrees in {city}."
        if which < 0.25
        else f"The weather in {city} is {sky.lower()}."
        if which < 0.4
        else both
    )
    return json.dumps(dict(fields), ensure_ascii=False, separators=rng.choice(((", ", ": "), (",", ":")))), answer


def _weather(rng: random.Random) -> Kind:
    name, parameter = rng.choice(_WEATHER_NAMES.split("|")), rng.choice(_CITY_PARAMETERS.split("|"))
    unit = rng.choice(("unit", "units")) if rng.random() < 0.08 else ""

    def ask() -> tuple[str, str, str, str]:
        city = _known_city(rng)
        words = rng.choice(
            (
                f"[what is|what's|how is|how's|whats|tell me|give me|check|show me|get|i need|find|look up] the weather [like|] in {city} [today|now|right now|tomorrow|at the moment|this morning|]",
                f"[what is|what's|how is] the weather [like|] in {city}",
                f"weather [in|for|at|] {city} [today|now|please|]",
                f"{city} weather [today|now|]",
                f"[is|will] it [rain|raining|be sunny|sunny|cold|hot|snow|windy|warm] in {city} [today|now|tomorrow|]",
                f"[should|shall|must] i [take|bring|wear] [an umbrella|a coat|a jacket|sunglasses] [in|to] {city} [today|]",
                f"do i need [an umbrella|a coat|a jacket|sunglasses] in {city} [today|]",
                f"[how hot|how cold|how warm|what temperature] is it in {city} [today|now|]",
                f"[what is|what's|tell me|give me|] the [temperature|forecast|current weather|current temperature] [in|for] {city} [today|now|]",
                f"[i am|i'm|we are] [in|going to|flying to|travelling to] {city}. [what is|how is|what's] the weather [there|like there|]",
                f"[can|could|would] you [check|tell me|look up|find] the weather [in|for] {city}",
                f"[what will|how will] the weather be [like|] in {city} [today|tomorrow|]",
            )
        )
        arguments = {parameter: city} | ({unit: "celsius"} if unit else {})
        result, answer = _weather_result(rng, city)
        return asked(rng, pick(rng, words)), tool_call(name, arguments), result, answer

    return Kind(f"{name}({parameter}{', ' + unit if unit else ''})", ask)


def _time(rng: random.Random) -> Kind:
    name, parameter = rng.choice(_TIME_NAMES.split("|")), rng.choice((*_CITY_PARAMETERS.split("|"), ""))

    def ask() -> tuple[str, str, str, str]:
        city = _known_city(rng)
        now = rng.choice(
            (
                f"{rng.randint(0, 23):02d}:{rng.randint(0, 59):02d}",
                f"{rng.randint(1, 12)}:{rng.randint(0, 59):02d} {rng.choice(('AM', 'PM'))}",
            )
        )
        result = rng.choice(
            (
                now,
                now,
                json.dumps({"time": now}),
                json.dumps({rng.choice(("now", "local_time", "current_time", "result")): now}),
                f"It is {now}",
                json.dumps({"city": city, "time": now} if parameter else {"time": now, "zone": "UTC"}),
            )
        )
        if not parameter:
            words = pick(
                rng,
                "[what time is it|what's the time|what is the time|tell me the time|what is the current time|do you have the time|time|how late is it|the time][ now| right now| please|]",
            )
            return asked(rng, words), tool_call(name, {}), result, f"It is {now}."
        words = pick(
            rng,
            f"[what time is it [now|right now|] in {city} [now|right now|]|what's the time in {city}|what is the [current|local|] time in {city} [now|]|tell me the time in {city}|time in {city}|{city} time|how late is it in {city}|[can|could] you tell me the time in {city}|[check|get|give me|i need] the [current|] time [in|for] {city}|what time do they have in {city}|what is the time now in {city}|[i am|i'm] in {city}. what time is it]",
        )
        return asked(rng, words), tool_call(name, {parameter: city}), result, f"It is {now} in {city}."

    return Kind(f"{name}({parameter})", ask)


def _number(rng: random.Random) -> int:
    return rng.randint(0, rng.choice((10, 20, 99, 99, 999, 999, 9999, 99999)))


def _result(rng: random.Random, value: str) -> str:
    number = float(value) if "." in value else int(value)
    key = rng.choice(("result", "result", "sum", "answer", "value", "total", "output"))
    return rng.choice(
        (
            value,
            value,
            value,
            json.dumps({key: number}),
            json.dumps({key: number}),
            f"The result is {value}",
            f"{key}: {value}",
            json.dumps({key: number, "ok": True}),
        )
    )


def _add(rng: random.Random) -> Kind:
    name, (first, second) = rng.choice(_ADD_NAMES.split("|")), rng.choice(_PAIRS)

    def ask() -> tuple[str, str, str, str]:
        one, two = _number(rng), _number(rng)
        words = f"[[what is|what's|how much is|calculate|compute|add|work out|tell me|whats|] [{one} + {two}|{one}+{two}|{one} plus {two}]|[what is|what's|how much is|calculate] [{one} + {two}|{one} plus {two}]|[add|add up|sum|sum up|please add] {one} and {two} [together|]|add {one} to {two}|[what is|tell me|calculate|give me|] the [sum|total] of {one} and {two}|what do {one} and {two} make [together|]|[use the tool to add|can you add|please add|could you add] {one} and {two}|i have {one} [apples|coins|dollars|euros] and get {two} more. how many [is that|do i have]]"
        return (
            asked(rng, pick(rng, words)),
            tool_call(name, {first: one, second: two}),
            _result(rng, str(one + two)),
            f"The answer is {one + two}.",
        )

    return Kind(f"{name}({first}, {second})", ask)


def _calculator(rng: random.Random) -> Kind:
    name, parameter = rng.choice(_CALCULATOR_NAMES.split("|")), rng.choice(_EXPRESSIONS.split("|"))

    def ask() -> tuple[str, str, str, str]:
        one, two = _number(rng), max(1, _number(rng))
        sign, word, value = rng.choice(
            (
                ("+", "plus", str(one + two)),
                ("-", "minus", str(one - two)),
                ("*", "times|multiplied by|x", str(one * two)),
                ("/", "divided by|over", str(round(one / two, 2))),
            )
        )
        words = f"[[what is|what's|how much is|calculate|compute|work out|solve|tell me|can you calculate|evaluate|] [{one} {sign} {two}|{one}{sign}{two}|{one} [{word}] {two}]|[what is|how much is] {one} [{word}] {two}]"
        return (
            asked(rng, pick(rng, words)),
            tool_call(name, {parameter: f"{one} {sign} {two}"}),
            _result(rng, value),
            f"The answer is {value}.",
        )

    return Kind(f"{name}({parameter})", ask)


def _other(rng: random.Random) -> str:
    if rng.random() < 0.75:
        return rng.choice(_OTHERS.split("|"))
    return f"{nonsense(rng)}_{nonsense(rng)}({', '.join(nonsense(rng) for _ in range(rng.randint(0, 3)))})"


_NO_CITY = "[[what is|how is|what's] the weather [like|today|now|]|[is|will] it [raining|rain|cold|sunny] [today|]|[check|show me|tell me] the weather|weather [please|today|]|[what is the temperature|how warm is it|do i need an umbrella] [today|outside|]]"
_USED_OTHERWISE = re.compile(
    r"\d|weather|time|clock|temperature|degrees|plus|minus|divided|multiplied|do not know the weather|no calendar"
)


def _ordinary(plain: Callable[[], Turn]) -> Turn:
    """A question that none of the tools here could answer."""
    while True:
        ask, answer = plain()
        if not _USED_OTHERWISE.search(ask.lower() + answer):
            return ask, answer


def _not_offered(rng: random.Random, offered: Collection[Callable[[random.Random], Kind]]) -> Turn:
    if _weather not in offered and rng.random() < 0.7:
        return _weather(rng).ask()[0], NO_WEATHER
    if _time not in offered:
        return _time(rng).ask()[0], NO_CLOCK
    name, place = nonsense(rng), rng.choice(facts.CITIES)
    return asked(rng, pick(rng, _UNUSABLE).replace("{n}", name).replace("{c}", place), "."), CANNOT


def tool_conversation(rng: random.Random, system: str, plain: Callable[[], Turn]) -> list[tuple[str, str]]:
    """Roles and texts as the chat template shows them; ``plain`` gives an ordinary question with its answer."""
    offered = rng.sample((_weather, _time, rng.choice((_add, _calculator))), rng.choice((0, 1, 1, 1, 1, 1, 2, 2, 2, 3)))
    kinds = [make(rng) for make in offered]
    signatures = [kind.signature for kind in kinds] + [_other(rng) for _ in range(rng.choice((0, 0, 0, 1, 1, 2)))]
    rng.shuffle(signatures)
    tools = tool_list(signatures or [_other(rng)])
    said = [("system", f"{system}\n{tools}" if system else tools)]
    for _ in range(rng.choice((1, 1, 1, 2, 2, 3))):
        chance = rng.random()
        if chance < 0.17:
            turn = _not_offered(rng, offered)
        elif chance < 0.2 and _weather in offered:
            turn = asked(rng, pick(rng, _NO_CITY)), "Which city do you mean?"
        elif chance < 0.36 or not kinds:
            turn = _ordinary(plain)
        else:
            ask, call, result, answer = rng.choice(kinds).ask()
            said += [("user", ask), ("assistant", call), ("user", tool_response(result)), ("assistant", answer)]
            continue
        said += [("user", turn[0]), ("assistant", turn[1])]
    return said
