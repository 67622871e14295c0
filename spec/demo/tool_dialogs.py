"""Conversations with tools: one function call (or none, when the question needs none) and simple python."""
import json
from dataclasses import dataclass

from dialogs import CAPITALS, GROUPS, NAMES, WORDS, Turn, addition, fact, greeting, identity


@dataclass
class Call(Turn):
    tool: str = ""  # functions.NAME, or python
    arguments: str = ""  # JSON, or code
    result: str = ""
    thought_after: str = ""  # at high effort, between the result and the answer


def call(user, medium, high, tool, arguments, result, answer, **more):
    return Call(user, medium, high, answer, tool=tool, arguments=arguments, result=result, **more)


def function(name, description, **properties):
    """properties: name=(type, description) or (type, description, enum)"""
    schema = {}
    for key, (kind, text, *enum) in properties.items():
        schema[key] = {"type": kind, "description": text} if text else {"type": kind}
        if enum:
            schema[key]["enum"] = enum[0]
    return {"name": name, "description": description,
            "parameters": {"type": "object", "properties": schema, "required": list(schema)} if schema else None}


def cities(r):
    return r.choice(CAPITALS)[1].rstrip(".")


def weather(r):
    city = cities(r)
    name = r.choice(["get_weather", "get_current_weather", "weather"])
    key = r.choice(["location", "city"])
    degrees, sky = r.randrange(-5, 36), r.choice(["sunny", "cloudy", "rainy", "windy", "snowy"])
    return call(r.choice(["What is the weather in {}?", "How is the weather in {} today?", "What's the weather like in {}?", "Is it warm in {}?"]).format(city),
                f"I need the weather in {city}. I call {name}.", f"The user asks about the weather in {city}. I can't know it myself, but the function {name} can look it up. It takes a {key}, which is {city}.",
                name, json.dumps({key: city}), r.choice([json.dumps({"temperature": degrees, "sky": sky}), f"{sky}, {degrees} degrees"]),
                f"In {city} it is {sky} with {degrees} degrees.", functions=[function(name, r.choice(["Gets the current weather of a city.", "Get the weather", "Returns the weather in the provided location."]), **{key: ("string", r.choice(["", "The name of the city"]))})],
                thought_after=f"The weather in {city} is {sky}, {degrees} degrees.")


def time_in(r):
    city = cities(r)
    clock = f"{r.randrange(24):02}:{r.randrange(60):02}"
    return call(r.choice(["What time is it in {}?", "Tell me the time in {}."]).format(city), "I look up the time.", f"The user wants the current time in {city}. I have no clock, so I call get_time.",
                "get_time", json.dumps({"city": city}), r.choice([clock, json.dumps({"time": clock})]), f"It is {clock} in {city}.", functions=[function("get_time", "Gets the current time in a city.", city=("string", ""))],
                thought_after=f"The time is {clock}.")


def timer(r):
    n = r.randrange(1, 60)
    return call(r.choice(["Set a timer for {} minutes.", "Please start a timer of {} minutes.", "Remind me in {} minutes."]).format(n), "I set the timer.", f"The user wants a timer of {n} minutes. The function set_timer does that; its argument is minutes.",
                "set_timer", json.dumps({"minutes": n}), r.choice(["ok", '{"status": "ok"}', "timer set"]), f"The timer is set for {n} minutes.", functions=[function("set_timer", "Sets a timer.", minutes=("integer", "How long, in minutes"))])


def mail(r):
    name, text = r.choice(NAMES), r.choice(["The meeting is at ten", "I will be late", "Happy birthday", "Please call me back", "The report is ready", "See you tomorrow"])
    return call(r.choice(["Send {} a message: {}", "Write to {}: {}", "Tell {}: {}"]).format(name, text), f"I send the message to {name}.", f"The user wants me to send a message. The function send_message needs whom to send it to, {name}, and the text.",
                "send_message", json.dumps({"to": name, "text": text}), r.choice(["sent", '{"sent": true}']), f"I sent the message to {name}.",
                functions=[function("send_message", "Sends a message to a person.", to=("string", "Who receives it"), text=("string", "What it says"))])


def todo(r):
    thing = r.choice(["buy milk", "call the dentist", "water the plants", "pay the rent", "clean the kitchen", "book a flight", "feed the cat"])
    return call(r.choice(["Add {} to my list.", "Put {} on my to-do list."]).format(f'"{thing}"'), "I add it to the list.", f'The user wants "{thing}" on the list. add_task takes the task as text.',
                "add_task", json.dumps({"task": thing}), r.choice(["added", '{"ok": true}']), f'I added "{thing}" to your list.', functions=[function("add_task", "Adds a task to the to-do list.", task=("string", ""))])


def calculator(r):
    a, b = r.randrange(12, 9999), r.randrange(12, 9999)
    sign, word = r.choice([("+", "plus"), ("-", "minus"), ("*", "times")])
    value = {"+": a + b, "-": a - b, "*": a * b}[sign]
    return call(r.choice([f"What is {a} {word} {b}?", f"Calculate {a} {sign} {b}."]), "I use the calculator.", f"The numbers are large, so I let the calculator do it. The expression is {a} {sign} {b}.",
                "calculate", json.dumps({"expression": f"{a} {sign} {b}"}), str(value), f"{a} {sign} {b} = {value}.", functions=[function("calculate", "Evaluates an arithmetic expression.", expression=("string", "Such as 2 + 3"))],
                thought_after=f"The result is {value}.")


def light(r):
    room, state = r.choice(["kitchen", "bedroom", "bathroom", "office", "garden"]), r.choice(["on", "off"])
    return call(r.choice(["Turn {1} the light in the {0}.", "Switch the {0} light {1}, please."]).format(room, state), f"I turn the {room} light {state}.", f"The user wants the light in the {room} {state}. set_light takes the room and the state.",
                "set_light", json.dumps({"room": room, "state": state}), r.choice(["ok", '{"ok": true}']), f"The light in the {room} is now {state}.", functions=[function("set_light", "Turns a light on or off.", room=("string", ""), state=("string", "", ["on", "off"]))])


def search(r):
    what = r.choice(WORDS + GROUPS["animals"] + GROUPS["fruits"])
    result = f"The {what} was first described in {r.randrange(1500, 1990)}."
    name = r.choice(["search", "lookup", "search_wiki"])
    return call(r.choice(["Search for {}.", "Look up {} for me.", "Find something about {}."]).format(what), f"I search for {what}.", f"The user wants me to look up {what}. I call {name} with that word as the query.",
                name, json.dumps({"query": what}), result, result, functions=[function(name, "Searches an encyclopedia.", query=("string", ""))], thought_after="The result answers the question.")


def price(r):
    thing, value = r.choice(GROUPS["fruits"] + GROUPS["drinks"] + GROUPS["tools"]), r.randrange(1, 60)
    return call(r.choice(["How much does a {} cost?", "What is the price of a {}?"]).format(thing), f"I look up the price of {thing}.", f"The user asks for a price. get_price knows prices of products; the product is {thing}.",
                "get_price", json.dumps({"product": thing}), json.dumps({"price": value, "currency": "EUR"}), f"It costs {value} euros.", functions=[function("get_price", "Gets the price of a product.", product=("string", ""))],
                thought_after=f"The price is {value} euros.")


FUNCTIONS = [weather, weather, time_in, timer, mail, todo, calculator, light, search, price]


def function_call(r):
    """One call; often with other functions beside it that do not fit."""
    turn = r.choice(FUNCTIONS)(r)
    for other in r.sample(FUNCTIONS, r.choice([0, 0, 1, 2])):
        extra = other(r).functions[0]
        if all(f["name"] != extra["name"] for f in turn.functions):
            turn.functions.append(extra)
    r.shuffle(turn.functions)
    turn.tool = "functions." + turn.tool
    return turn


def tools_unused(r):
    """Functions are declared, but the question needs none."""
    turn = r.choice([addition, fact, fact, greeting, identity])(r)
    turn.functions = [f(r).functions[0] for f in r.sample(FUNCTIONS[1:], r.choice([1, 2]))]
    if any(f["name"] == "calculate" for f in turn.functions):
        turn.functions = [weather(r).functions[0]]
    return turn


def python_call(r):
    kind = r.randrange(6)
    a, b = r.randrange(100, 99999), r.randrange(100, 9999)
    if kind < 2:
        sign, word = r.choice([("+", "plus"), ("-", "minus"), ("*", "times")])
        value = {"+": a + b, "-": a - b, "*": a * b}[sign]
        ask, code, answer = f"What is {a} {word} {b}?", f"print({a} {sign} {b})", f"{a} {sign} {b} = {value}."
    elif kind == 2:
        n = r.randrange(3, 30)
        value = sum(range(1, n + 1))
        ask, code, answer = f"What is the sum of the numbers from 1 to {n}?", f"print(sum(range(1, {n + 1})))", f"The sum of the numbers from 1 to {n} is {value}."
    elif kind == 3:
        word = r.choice(WORDS)
        value = word[::-1]
        ask, code, answer = f'Reverse the word "{word}" with Python.', f'print("{word}"[::-1])', f'"{word}" reversed is "{value}".'
    elif kind == 4:
        n, k = r.randrange(2, 20), r.randrange(2, 7)
        value = n**k
        ask, code, answer = f"What is {n} to the power of {k}?", f"print({n} ** {k})", f"{n} to the power of {k} is {value}."
    else:
        n = r.randrange(10, 2000)
        value = n % 7
        ask, code, answer = f"What is the remainder of {n} divided by 7?", f"print({n} % 7)", f"The remainder of {n} divided by 7 is {value}."
    return call(ask, "I compute this with python.", f"This is easy to get wrong by hand, so I use the python tool. The code is {code}.", "python", code, str(value), answer, thought_after=f"The result is {value}.")
