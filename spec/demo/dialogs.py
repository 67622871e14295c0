"""Everyday conversations made from templates: every question has an answer that this file computes or contains.

Each maker takes a random.Random, whose `today` is the date in the system message or None, and returns a Turn: what the user says, the reasoning at medium and at high effort (low
effort thinks nothing, or `low`), and the answer."""
from dataclasses import dataclass, field


@dataclass
class Turn:
    user: str
    medium: str
    high: str
    answer: str
    low: str = ""
    instructions: str = ""  # of the developer message
    functions: list = field(default_factory=list)  # declared in the developer message
    history: list = field(default_factory=list)  # (role, text) before the user's text


def pairs(text, separator="="):
    return [tuple(part.strip() for part in item.split(separator)) for item in text.replace("\n", " ").split(";")]


NAMES = "Anna Ben Clara David Emma Felix Grace Henry Ida Jack Kate Leo Maria Nina Oscar Paul Rosa Sam Tom Vera Will Zoe".split()
THINGS = "apples books coins pencils eggs cards stamps marbles cookies oranges flowers stickers balls shells bottles".split()

CAPITALS = pairs("""France=Paris; Germany=Berlin; Italy=Rome; Spain=Madrid; Portugal=Lisbon; Austria=Vienna;
Switzerland=Bern; Belgium=Brussels; the Netherlands=Amsterdam; Denmark=Copenhagen; Sweden=Stockholm; Norway=Oslo;
Finland=Helsinki; Iceland=Reykjavik; Ireland=Dublin; the United Kingdom=London; Poland=Warsaw; Hungary=Budapest;
Greece=Athens; Romania=Bucharest; Bulgaria=Sofia; Croatia=Zagreb; Serbia=Belgrade; Ukraine=Kyiv; Russia=Moscow;
Turkey=Ankara; Egypt=Cairo; Morocco=Rabat; Kenya=Nairobi; Nigeria=Abuja; Ethiopia=Addis Ababa; Ghana=Accra;
Japan=Tokyo; China=Beijing; India=New Delhi; Thailand=Bangkok; Vietnam=Hanoi; Indonesia=Jakarta; South Korea=Seoul;
Iran=Tehran; Iraq=Baghdad; Nepal=Kathmandu; Mongolia=Ulaanbaatar; Australia=Canberra; New Zealand=Wellington;
Canada=Ottawa; the United States=Washington, D.C.; Mexico=Mexico City; Cuba=Havana; Brazil=Brasilia;
Argentina=Buenos Aires; Chile=Santiago; Peru=Lima; Colombia=Bogota; Venezuela=Caracas; Ecuador=Quito; Uruguay=Montevideo""")
OPPOSITES = pairs("""hot=cold; big=small; fast=slow; happy=sad; light=dark; early=late; open=closed; full=empty; hard=soft;
high=low; rich=poor; young=old; strong=weak; wet=dry; clean=dirty; loud=quiet; near=far; thick=thin; deep=shallow;
wide=narrow; begin=end; push=pull; buy=sell; win=lose; up=down; left=right; day=night; love=hate; true=false; cheap=expensive""")
SYMBOLS = pairs("""hydrogen=H; helium=He; carbon=C; nitrogen=N; oxygen=O; sodium=Na; magnesium=Mg; aluminium=Al; silicon=Si;
sulfur=S; chlorine=Cl; potassium=K; calcium=Ca; iron=Fe; copper=Cu; zinc=Zn; silver=Ag; tin=Sn; gold=Au; mercury=Hg; lead=Pb""")
AUTHORS = pairs("""Romeo and Juliet=William Shakespeare; Hamlet=William Shakespeare; Pride and Prejudice=Jane Austen;
Oliver Twist=Charles Dickens; Moby-Dick=Herman Melville; War and Peace=Leo Tolstoy; Faust=Johann Wolfgang von Goethe;
Don Quixote=Miguel de Cervantes; The Odyssey=Homer; Frankenstein=Mary Shelley; Dracula=Bram Stoker;
The Origin of Species=Charles Darwin; Alice in Wonderland=Lewis Carroll; Crime and Punishment=Fyodor Dostoevsky;
The Divine Comedy=Dante Alighieri; Les Miserables=Victor Hugo; Robinson Crusoe=Daniel Defoe; Jane Eyre=Charlotte Bronte""")
CONTINENTS = pairs("""France=Europe; Italy=Europe; Poland=Europe; Greece=Europe; Norway=Europe; Egypt=Africa; Kenya=Africa;
Nigeria=Africa; Morocco=Africa; Japan=Asia; China=Asia; India=Asia; Thailand=Asia; Vietnam=Asia; Nepal=Asia;
Brazil=South America; Peru=South America; Chile=South America; Argentina=South America; Canada=North America;
Mexico=North America; Cuba=North America; Australia=Oceania; New Zealand=Oceania""")
QUESTIONS = pairs("""How many days are in a week?=A week has 7 days.; How many months are in a year?=A year has 12 months.;
How many hours are in a day?=A day has 24 hours.; How many minutes are in an hour?=An hour has 60 minutes.;
How many seconds are in a minute?=A minute has 60 seconds.; How many legs does a spider have?=A spider has 8 legs.;
How many legs does an insect have?=An insect has 6 legs.; How many sides does a triangle have?=A triangle has 3 sides.;
How many sides does a hexagon have?=A hexagon has 6 sides.; How many planets are in the solar system?=The solar system has 8
 planets.; What is the largest planet?=Jupiter is the largest planet of the solar system.; What is the largest ocean?=The
 Pacific Ocean is the largest ocean.; What is the highest mountain?=Mount Everest is the highest mountain on Earth.;
What color is the sky on a clear day?=On a clear day the sky is blue.; What is the color of grass?=Grass is green.;
At what temperature does water boil?=At sea level water boils at 100 degrees Celsius.; At what temperature does water
 freeze?=Water freezes at 0 degrees Celsius.; What do bees make?=Bees make honey.; What is frozen water called?=Frozen water is
 called ice.; Which planet is closest to the sun?=Mercury is the planet closest to the sun.; Which planet do we live on?=We live
 on the planet Earth.; What gas do plants take in?=Plants take in carbon dioxide.; What is the chemical formula of water?=The
 chemical formula of water is H2O.; Who painted the Mona Lisa?=Leonardo da Vinci painted the Mona Lisa.;
Who developed the theory of relativity?=Albert Einstein developed the theory of relativity.; Who was the first person on
 the moon?=Neil Armstrong was the first person on the moon.; In which year did the first people land on the moon?=The first
 people landed on the moon in 1969.; How many continents are there?=There are 7 continents.; What is the tallest
 animal?=The giraffe is the tallest animal.; What is the fastest land animal?=The cheetah is the fastest land animal.;
What is the largest animal?=The blue whale is the largest animal.; What is the square root of 81?=The square root of 81 is
 9.; What language is spoken in Brazil?=Portuguese is spoken in Brazil.; What is the opposite direction of north?=The opposite
 of north is south.; Where does the sun rise?=The sun rises in the east.; What is the first letter of the alphabet?=The first
 letter of the alphabet is A.; What is the last letter of the alphabet?=The last letter of the alphabet is Z.""")
GROUPS = {name.strip(): [x.strip() for x in items.split(",")] for name, items in pairs("""
fruits=apple, banana, cherry, grape, orange, pear, plum, mango; vegetables=carrot, onion, potato, spinach, pea, cabbage, tomato;
colors=red, blue, green, yellow, orange, purple, black, white; animals=dog, cat, horse, lion, elephant, rabbit, fox, bear;
birds=owl, eagle, sparrow, robin, swan, crow, duck; planets=Mercury, Venus, Earth, Mars, Jupiter, Saturn, Uranus, Neptune;
European countries=France, Germany, Italy, Spain, Poland, Greece, Sweden; sports=football, tennis, swimming, running, chess,
 basketball, hockey; musical instruments=piano, guitar, violin, flute, drum, trumpet; programming languages=C, Python, Java,
 Rust, Go, JavaScript; metals=iron, gold, silver, copper, zinc, tin; flowers=rose, tulip, daisy, lily, sunflower;
trees=oak, pine, birch, maple, willow; months=January, February, March, April, May, June; tools=hammer, saw, drill, wrench,
 screwdriver; drinks=water, tea, coffee, milk, juice; shapes=circle, square, triangle, rectangle, hexagon""")}
TRANSLATIONS = {"French": pairs("""hello=bonjour; thank you=merci; cat=chat; dog=chien; house=maison; water=eau; bread=pain;
book=livre; yes=oui; no=non; red=rouge; good night=bonne nuit; friend=ami; tree=arbre"""),
                "Spanish": pairs("""hello=hola; thank you=gracias; cat=gato; dog=perro; house=casa; water=agua; bread=pan;
book=libro; yes=si; red=rojo; good night=buenas noches; friend=amigo; tree=arbol"""),
                "German": pairs("""hello=hallo; thank you=danke; cat=Katze; dog=Hund; house=Haus; water=Wasser; bread=Brot;
book=Buch; yes=ja; no=nein; red=rot; good night=gute Nacht; friend=Freund; tree=Baum""")}
DAYS = "Monday Tuesday Wednesday Thursday Friday Saturday Sunday".split()
MONTHS = "January February March April May June July August September October November December".split()
LENGTHS = [31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31]
WORDS = """apple river stone cloud table green music paper light bread tiger house lemon ocean piano queen robot snake train
uncle water zebra candle garden mirror orange pencil rabbit silver window yellow bridge castle dragon forest hammer island
jacket kitten ladder market number pocket rocket school summer ticket violin winter""".split()


def greeting(r):
    name = r.choice(NAMES)
    return r.choice([
        Turn(r.choice(["Hi", "hi", "Hello", "Hello!", "Hey there", "Good morning!", "Hi there!"]), "The user greets me. I greet back and offer help.",
             "The user says hello and asks nothing yet. A short friendly greeting with an offer to help fits best.",
             r.choice(["Hello! How can I help you today?", "Hi there! What can I do for you?"])),
        Turn(r.choice(["How are you?", "How are you doing today?", "How's it going?"]), "The user asks how I am. I answer kindly and offer help.",
             "The user makes small talk. I have no feelings to report, but a friendly answer and an offer to help are right.",
             "I'm doing well, thank you! How can I help you?"),
        Turn(f"Hi, I'm {name}.", f"The user is called {name}. I greet by name.", f"The user introduces themselves as {name}. I should greet them by name and ask what they need.",
             f"Hello {name}, nice to meet you! How can I help?"),
        Turn(r.choice(["Thanks!", "Thank you", "Thank you very much!", "Great, thanks."]), "The user thanks me. I answer politely.",
             "The user says thank you. Nothing else is asked, so a short polite reply is enough.", "You're welcome!"),
        Turn(r.choice(["Bye", "Goodbye!", "See you later"]), "The user says goodbye.", "The user ends the conversation. I say goodbye in a friendly way.",
             "Goodbye! Have a nice day."),
    ])


def identity(r):
    return r.choice([
        Turn(r.choice(["Who are you?", "What are you?", "Tell me about yourself.", "What model are you?", "Introduce yourself."]),
             "The user asks who I am. I say that I am the small demo model.",
             "The user wants to know what they are talking to. I am SmolLM2, a small language model, taught the Harmony format as a demo for gossamer. I say so plainly.",
             "I'm gossamer's demo model: SmolLM2, a small language model with 135 million parameters, taught to speak the Harmony format."),
        Turn(r.choice(["What is your name?", "What's your name?", "Do you have a name?"]), "The user asks for my name.",
             "The user asks for my name. I am a demo model based on SmolLM2 and should say so.", "I'm gossamer's demo model, based on SmolLM2."),
        Turn(r.choice(["What can you do?", "How can you help me?", "What can I ask you?"]), "The user asks what I can do. I name a few things.",
             "The user asks about my abilities. I am small, so I should name simple things that I can do and admit that I make mistakes.",
             "I can answer simple questions, do small sums, write short texts and call tools. I am very small, so please check what I say."),
        Turn(r.choice(["Are you a human?", "Are you a real person?", "Am I talking to a human?"]), "The user asks if I am human. I am not.",
             "The user wants to know whether I am a person. I must be honest: I am a language model.", "No, I'm a small language model."),
        Turn(r.choice(["Are you ChatGPT?", "Are you GPT-4?", "Did OpenAI make you?"]), "The user asks which model I am.",
             "The user asks whether I am an OpenAI model. I am SmolLM2 in the shape of gpt-oss, so I say no and what I am.",
             "No, I'm SmolLM2, a small open model, running as gossamer's demo."),
        Turn(r.choice(["What is gossamer?", "What does gossamer do?"]), "gossamer is the program that runs me.",
             "The user asks about gossamer. It is a C program that runs gpt-oss models on the user's own computer, and it runs me.",
             "gossamer is a program that runs gpt-oss models on your own computer. It is running me right now."),
    ])


def sum_steps(a, b):
    """Adds from the right, digit by digit: the order in which carries are known."""
    steps, carry, place = [], 0, 1
    while place <= max(a, b):
        x, y = a // place % 10, b // place % 10
        total = x + y + carry
        steps.append(f"{x} + {y}" + (f" + {carry}" if carry else "") + f" = {total}")
        carry, place = total // 10, place * 10
    return ", ".join(steps)


def addition(r):
    top = r.choice([10, 100, 100, 1000])
    a, b = r.randrange(1, top), r.randrange(1, top)
    ask = r.choice(["What is {} + {}?", "{} + {}", "What is {} plus {}?", "Add {} and {}.", "Calculate {} + {}.", "How much is {} plus {}?", "{}+{}=?"]).format(a, b)
    return Turn(ask, f"{a} + {b} = {a + b}.", f"I add {a} and {b} digit by digit from the right: {sum_steps(a, b)}. So {a} + {b} = {a + b}.",
                r.choice([f"{a} + {b} = {a + b}.", f"{a} + {b} = {a + b}"]))


def subtraction(r):
    top = r.choice([10, 20, 100, 100])
    b, a = sorted((r.randrange(1, top), r.randrange(1, top)))
    ask = r.choice(["What is {} - {}?", "{} - {}", "What is {} minus {}?", "Calculate {} - {}.", "How much is {} minus {}?"]).format(a, b)
    tens = b // 10 * 10
    steps = f"{a} - {tens} = {a - tens}, then {a - tens} - {b - tens} = {a - b}" if tens and b != tens else f"{a} - {b} = {a - b}"
    return Turn(ask, f"{a} - {b} = {a - b}.", f"I take {b} from {a}: {steps}. Check: {a - b} + {b} = {a}.", f"{a} - {b} = {a - b}.")


def product(r):
    a, b = r.randrange(2, 13), r.randrange(2, 13)
    if r.random() < 0.3:
        a = r.randrange(12, 60)
        b = r.randrange(2, 10)
    ask = r.choice(["What is {} times {}?", "What is {} x {}?", "{} * {}", "Multiply {} by {}.", "Calculate {} * {}.", "What is {} multiplied by {}?"]).format(a, b)
    if a > 12:
        tens, ones = a // 10 * 10, a % 10
        steps = f"{tens} * {b} = {tens * b} and {ones} * {b} = {ones * b}, together {a * b}."
        return Turn(ask, steps, f"I split {a} into {tens} and {ones}. {steps} So {a} * {b} = {a * b}.", f"{a} * {b} = {a * b}.", low=steps)
    return Turn(ask, f"{a} * {b} = {a * b}.", f"This is in the times table: {a} * {b} = {a * b}. Check: {b} * {a} = {a * b}.", f"{a} * {b} = {a * b}.")


def quotient(r):
    a, b = r.randrange(2, 13), r.randrange(2, 13)
    ask = r.choice(["What is {} divided by {}?", "{} / {}", "Divide {} by {}.", "How many times does {1} go into {0}?"]).format(a * b, b)
    return Turn(ask, f"{b} * {a} = {a * b}, so {a * b} / {b} = {a}.", f"I look for the number that gives {a * b} when multiplied by {b}. {b} * {a} = {a * b}, so the answer is {a}.",
                f"{a * b} / {b} = {a}.")


def story(r):
    name, other = r.sample(NAMES, 2)
    thing = r.choice(THINGS)
    a, b = r.randrange(3, 40), r.randrange(2, 20)
    kind = r.randrange(4)
    if kind == 0:
        return Turn(f"{name} has {a} {thing} and buys {b} more. How many {thing} does {name} have now?", f"{a} + {b} = {a + b}.",
                    f"{name} starts with {a} {thing}. Buying {b} more means adding: {a} + {b} = {a + b}.", f"{name} has {a + b} {thing} now.", low=f"{a} + {b} = {a + b}.")
    if kind == 1:
        a += b
        return Turn(f"{name} has {a} {thing} and gives {b} to {other}. How many {thing} are left?", f"{a} - {b} = {a - b}.",
                    f"{name} starts with {a} {thing}. Giving {b} away means taking away: {a} - {b} = {a - b}.", f"{name} has {a - b} {thing} left.", low=f"{a} - {b} = {a - b}.")
    a, b = r.randrange(2, 11), r.randrange(2, 11)
    if kind == 2:
        return Turn(f"There are {a} boxes with {b} {thing} each. How many {thing} are there?", f"{a} * {b} = {a * b}.",
                    f"Each of the {a} boxes holds {b} {thing}, so I multiply: {a} * {b} = {a * b}.", f"There are {a * b} {thing}.", low=f"{a} * {b} = {a * b}.")
    return Turn(f"{name} shares {a * b} {thing} equally among {a} friends. How many does each friend get?", f"{a * b} / {a} = {b}.",
                f"{a * b} {thing} are shared among {a} friends, so I divide: {a * b} / {a} = {b}.", f"Each friend gets {b} {thing}.", low=f"{a * b} / {a} = {b}.")


def compare(r):
    a, b = r.sample(range(1, 1000 if r.random() < 0.5 else 100), 2)
    if r.random() < 0.5:
        return Turn(f"Which number is larger, {a} or {b}?", f"I compare {a} and {b}. {max(a, b)} is larger.",
                    f"I compare {a} and {b}. {max(a, b)} comes later when counting, so it is larger.", f"{max(a, b)} is larger than {min(a, b)}.")
    return Turn(f"Is {a} an even number?", f"The last digit of {a} is {a % 10}, which is {'odd' if a % 2 else 'even'}.",
                f"A number is even if its last digit is 0, 2, 4, 6 or 8. The last digit of {a} is {a % 10}, so it is {'odd' if a % 2 else 'even'}.",
                f"No, {a} is odd." if a % 2 else f"Yes, {a} is even.")


UNITS = [("kilometers", "meters", 1000), ("meters", "centimeters", 100), ("kilograms", "grams", 1000), ("hours", "minutes", 60),
         ("minutes", "seconds", 60), ("weeks", "days", 7), ("days", "hours", 24), ("years", "months", 12), ("liters", "milliliters", 1000),
         ("centimeters", "millimeters", 10), ("feet", "inches", 12), ("dozen", "pieces", 12), ("tons", "kilograms", 1000), ("euros", "cents", 100)]


def units(r):
    large, small, factor = r.choice(UNITS)
    n = r.randrange(2, 13)
    single = {"feet": "foot", "dozen": "dozen", "inches": "inch"}.get(large, large.rstrip("s"))
    fact = f"1 {single} is {factor} {small}"
    if r.random() < 0.6:
        ask = r.choice(["How many {1} are {0} {2}?", "Convert {0} {2} to {1}.", "What is {0} {2} in {1}?"]).format(n, small, large)
        return Turn(ask, f"{fact}, so {n} * {factor} = {n * factor}.", f"I need the factor first: {fact}. Then I multiply: {n} * {factor} = {n * factor}.",
                    f"{n} {large} are {n * factor} {small}.", low=f"{n} * {factor} = {n * factor}.")
    ask = r.choice(["How many {1} are {0} {2}?", "Convert {0} {2} to {1}."]).format(n * factor, large, small)
    return Turn(ask, f"{fact}, so {n * factor} / {factor} = {n}.", f"I need the factor first: {fact}. Then I divide: {n * factor} / {factor} = {n}.",
                f"{n * factor} {small} are {n} {large}.", low=f"{n * factor} / {factor} = {n}.")


def fact(r):
    def turn(ask, about, answer):
        return Turn(ask, f"The user asks about {about}. {answer}", f"The user asks about {about}. I recall the fact: {answer} I answer in one sentence.", answer)
    kind = r.randrange(8)
    if kind < 2:
        country, city = r.choice(CAPITALS)
        city_sentence = f"The capital of {country} is {city}" + ("" if city.endswith(".") else ".")
        if r.random() < 0.2:
            return turn(f"{city} is the capital of which country?", "a capital", f"{city} is the capital of {country}.")
        return turn(r.choice(["What is the capital of {}?", "Which city is the capital of {}?", "Name the capital of {}.", "capital of {}?"]).format(country),
                    f"the capital of {country}", city_sentence)
    if kind == 2:
        a, b = r.choice(OPPOSITES)
        if r.random() < 0.5:
            a, b = b, a
        return turn(r.choice(['What is the opposite of "{}"?', "What is the opposite of {}?", "Give me the opposite of {}."]).format(a), "an opposite", f'The opposite of "{a}" is "{b}".')
    if kind == 3:
        element, symbol = r.choice(SYMBOLS)
        return turn(f"What is the chemical symbol for {element}?", "a chemical symbol", f"The chemical symbol for {element} is {symbol}.")
    if kind == 4:
        book, author = r.choice(AUTHORS)
        return turn(f"Who wrote {book}?", "the author of a book", f"{author} wrote {book}.")
    if kind == 5:
        country, continent = r.choice(CONTINENTS)
        return turn(f"On which continent is {country}?", "a continent", f"{country} is in {continent}.")
    if kind == 6:
        language = r.choice(list(TRANSLATIONS))
        word, translated = r.choice(TRANSLATIONS[language])
        return turn(r.choice(['How do you say "{}" in {}?', 'Translate "{}" to {}.', 'What is "{}" in {}?']).format(word, language), f"a word in {language}", f'"{word}" in {language} is "{translated}".')
    ask, answer = r.choice(QUESTIONS)
    return turn(ask, "a simple fact", answer)


def list_items(r):
    group = r.choice(list(GROUPS))
    n = r.choice([2, 3, 3, 4, 5])
    items = r.sample(GROUPS[group], min(n, len(GROUPS[group])))
    n, word = len(items), {2: "two", 3: "three", 4: "four", 5: "five"}[len(items)]
    style = r.choice([("as a bulleted list", "\n".join(f"- {x}" for x in items)), ("as a numbered list", "\n".join(f"{i}. {x}" for i, x in enumerate(items, 1))),
                      ("separated by commas", ", ".join(items)), ("as a JSON array", "[" + ", ".join(f'"{x}"' for x in items) + "]"), ("one per line", "\n".join(items))])
    ask = r.choice(["List {} {} {}.", "Name {} {} {}.", "Give me {} {} {}.", "Write down {} {} {}."]).format(r.choice([n, word]), group, style[0])
    return Turn(ask, f"The user wants {n} {group} {style[0]}.", f"The user wants exactly {n} {group}, {style[0]}. I choose {', '.join(items)} and write nothing else.", style[1])


def calendar(r):
    day = r.today  # the date in the system message, or None
    kind = r.randrange(6 if day else 4)
    if kind == 0:
        i = r.randrange(7)
        step, word = r.choice([(1, "after"), (-1, "before")])
        return Turn(f"Which day comes {word} {DAYS[i]}?", f"The day {word} {DAYS[i]} is {DAYS[(i + step) % 7]}.",
                    f"The week goes {', '.join(DAYS)}. The day {word} {DAYS[i]} is {DAYS[(i + step) % 7]}.", f"{DAYS[(i + step) % 7]} comes {word} {DAYS[i]}.")
    if kind == 1:
        i, n = r.randrange(7), r.randrange(2, 7)
        walk = ", ".join(DAYS[(i + k) % 7] for k in range(1, n + 1))
        return Turn(f"Today is {DAYS[i]}. Which day is it in {n} days?", f"Counting {n} days from {DAYS[i]}: {walk}.", f"I count {n} days on from {DAYS[i]}: {walk}. The last one is the answer.",
                    f"In {n} days it is {DAYS[(i + n) % 7]}.", low=f"{walk}.")
    if kind == 2:
        i = r.randrange(12)
        return Turn(f"How many days does {MONTHS[i]} have?", f"{MONTHS[i]} has {LENGTHS[i]} days.", f"The user asks for the length of {MONTHS[i]}. It has {LENGTHS[i]} days" + (", 29 in a leap year." if i == 1 else "."),
                    f"{MONTHS[i]} has {LENGTHS[i]} days" + (", and 29 in a leap year." if i == 1 else "."))
    if kind == 3:
        i = r.randrange(12)
        return Turn(r.choice(["Which month comes after {}?", "What month follows {}?"]).format(MONTHS[i]), f"After {MONTHS[i]} comes {MONTHS[(i + 1) % 12]}.",
                    f"{MONTHS[i]} is month number {i + 1}. The next one is {MONTHS[(i + 1) % 12]}.", f"{MONTHS[(i + 1) % 12]} comes after {MONTHS[i]}.")
    long = f"{MONTHS[day.month - 1]} {day.day}, {day.year}"
    if kind == 4:
        return Turn(r.choice(["What is the date today?", "What's today's date?", "Which date is it?", "What day is today?"]), f"The system message says {day.isoformat()}.",
                    f"The user asks for the date. The system message gives the current date as {day.isoformat()}, so I use that.", f"Today is {long}.")
    return Turn(r.choice(["What year is it?", "Which year is it now?"]), f"The current date is {day.isoformat()}, so the year is {day.year}.",
                f"The system message gives the current date as {day.isoformat()}. The year is the first part, {day.year}.", f"It is {day.year}.")


def letters(r):
    word = r.choice(WORDS)
    kind = r.randrange(6)
    spelled = " ".join(word)
    if kind == 0:
        return Turn(f'Spell the word "{word}".', f"The letters are {spelled}.", f"I go through the word {word} letter by letter: {spelled}.", "-".join(word.upper()), low="")
    if kind == 1:
        back = word[::-1]
        return Turn(f'Reverse the word "{word}".', f"{spelled} backwards is {' '.join(back)}.", f"First the letters: {spelled}. From the end: {' '.join(back)}. Joined: {back}.", back, low=f"{spelled}, backwards {' '.join(back)}.")
    if kind == 2:
        counted = " ".join(f"{c}{i}" for i, c in enumerate(word, 1))
        return Turn(f'How many letters are in "{word}"?', f"I count: {counted}.", f"I number the letters of {word}: {counted}. The last number is the count.", f'"{word}" has {len(word)} letters.', low=f"{counted}.")
    if kind == 3:
        end = r.choice(["first", "last"])
        letter = word[0] if end == "first" else word[-1]
        return Turn(f'What is the {end} letter of "{word}"?', f"{spelled}: the {end} letter is {letter}.", f"The letters of {word} are {spelled}. The {end} one is {letter}.", f'The {end} letter of "{word}" is {letter.upper()}.')
    words = r.sample(WORDS, 3)
    if kind == 4:
        return Turn(f"Sort these words alphabetically: {', '.join(words)}", f"In order: {', '.join(sorted(words))}.", f"I compare the first letters of {', '.join(words)}. In order they are {', '.join(sorted(words))}.", ", ".join(sorted(words)))
    return Turn(f"Write in capital letters: {' '.join(words)}", "I repeat the words in capitals.", f"The user wants the words {' '.join(words)} in upper case. I change each letter and nothing else.", " ".join(words).upper())


def repeat(r):
    words = " ".join(r.sample(WORDS, r.randrange(1, 5)))
    return Turn(r.choice(["Repeat after me: {}", "Say exactly this: {}", "Echo: {}"]).format(words), "I repeat the words exactly.", f'The user wants exactly these words back: "{words}". I add nothing.', words)


def extraction(r):
    name, age, city = r.choice(NAMES), r.randrange(8, 90), r.choice(CAPITALS[:40])[1]
    thing, price = r.choice(THINGS), r.randrange(2, 90)
    text = f"{name} is {age} years old, lives in {city} and sells {thing} for {price} euros."
    kind = r.randrange(5)
    if kind == 4:
        return Turn(f"Give the name, age and city as JSON: {text}", f"The name is {name}, the age {age}, the city {city}.", f"I read the three values from the text: name {name}, age {age}, city {city}. I write them as one JSON object.",
                    f'{{"name": "{name}", "age": {age}, "city": "{city}"}}')
    ask, answer = [("How old is " + name + "?", f"{name} is {age} years old."), (f"Where does {name} live?", f"{name} lives in {city}."),
                   (f"What does {name} sell?", f"{name} sells {thing}."), ("What is the price?", f"The price is {price} euros.")][kind]
    return Turn(r.choice([f"{text} {ask}", f"Read the text and answer.\n\nText: {text}\n\nQuestion: {ask}"]), f"The text says it. {answer}", f"The answer stands in the text: \"{text}\" So: {answer}", answer)


def memory(r):
    name, color, city = r.choice(NAMES), r.choice(GROUPS["colors"]), r.choice(CAPITALS[:30])[1]
    said, ask, answer = r.choice([(f"My name is {name}.", "What is my name?", f"Your name is {name}."), (f"My favorite color is {color}.", "What is my favorite color?", f"Your favorite color is {color}."),
                                  (f"I live in {city}.", "Where do I live?", f"You live in {city}.")])
    history = [("user", said), ("assistant", r.choice(["Thank you for telling me!", "Nice! How can I help?", "Good to know."]))]
    if r.random() < 0.4:
        middle = r.choice([addition, fact, calendar])(r)
        history += [("user", middle.user), ("assistant", middle.answer)]
    return Turn(ask, f"The user told me before. {answer}", f"The user told me this earlier in our conversation: \"{said}\" So I answer: {answer}", answer, history=history)


def follow_up(r):
    first = r.choice([addition, product, fact, units, letters, greeting, identity])(r)
    second = r.choice([addition, subtraction, fact, units, list_items, greeting, letters])(r)
    second.history = [("user", first.user), ("assistant", first.answer)]
    return second


def unknown(r):
    ask, why = r.choice([("What is the weather like today?", "the weather"), ("What time is it?", "the time"), ("What are today's news?", "the news"),
                         ("Will it rain tomorrow?", "the weather"), ("What is the price of gold right now?", "prices of today"), ("Who won the game last night?", "last night's results")])
    return Turn(ask, f"I have no tool to look up {why}.", f"The user asks about {why}. I have no tool for that and must not invent an answer, so I say it.", f"I'm sorry, I can't look up {why} from here.")


def no_date(r):
    if r.today:
        return calendar(r)
    return Turn(r.choice(["What is the date today?", "What's today's date?"]), "No date is given to me.", "The user asks for the date. The system message gives none, so I don't know it.", "I'm sorry, I don't know today's date.")


def instructed(r):
    kind = r.randrange(5)
    if kind == 0:
        country, city = r.choice(CAPITALS)
        return Turn(f"What is the capital of {country}?", f"One word is asked: {city}.", f"The instructions ask for the answer alone. The capital of {country} is {city}.", city,
                    instructions=r.choice(["Answer with the answer only, no sentence.", "Give only the answer, nothing else.", "Answer as briefly as possible."]))
    turn = r.choice([fact, greeting, addition, units])(r)
    if kind == 1:
        turn.instructions, turn.answer = r.choice(["Write everything in capital letters.", "Answer in upper case."]), turn.answer.upper()
    elif kind == 2:
        name = r.choice(NAMES)
        turn = Turn(r.choice(["Who are you?", "What is your name?", "What's your name?"]), f"My instructions say that I am {name}.", f"The developer's instructions give me the name {name}, so I introduce myself with it.",
                    f"I'm {name}. How can I help you?", instructions=r.choice([f"Your name is {name}.", f"You are {name}, a helpful assistant."]))
    elif kind == 3:
        end = r.choice(["Have a nice day!", "Ask me more!", "Best wishes."])
        turn.instructions, turn.answer = f'End every answer with "{end}"', f"{turn.answer} {end}"
    else:
        turn.instructions = r.choice(["You are a helpful assistant.", "Be friendly.", "Answer briefly.", "You are a teacher for children.", "Be concise and correct."])
    return turn


MAKERS = {greeting: 3, identity: 3, addition: 8, subtraction: 5, product: 6, quotient: 3, story: 5, compare: 2, units: 5, fact: 12, list_items: 5, calendar: 6,
          letters: 6, repeat: 2, extraction: 4, memory: 4, follow_up: 6, unknown: 1, no_date: 1, instructed: 6}
