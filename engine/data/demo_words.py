"""The words the demo's generators draw from: people, things, places, trades, pastimes. Data only."""


def _split(words: str) -> tuple[str, ...]:
    return tuple(words.split())


NAMES = _split(
    "Mia Tom Lena Omar Ana Ben Clara David Ella Felix Grace Hugo Ida Jonas Kira Leo Maya Nora Oscar Paula Rosa Sam "
    "Tara Uma Victor Wendy Yara Zoe Adam Bella Carl Dora Emil Fiona George Hana Ivan Julia Karim Lucy Marco Nina "
    "Peter Ruth Simon Tina Vera Walter"
)

HIM = frozenset(
    _split(
        "Tom Omar Ben David Felix Hugo Jonas Leo Oscar Sam Victor Adam Carl Emil George Ivan Karim Marco "
        "Peter Simon Walter"
    )
)

ITEMS = (
    ("apple", "apples"), ("pencil", "pencils"), ("marble", "marbles"), ("sticker", "stickers"), ("book", "books"),
    ("shell", "shells"), ("coin", "coins"), ("button", "buttons"), ("stamp", "stamps"), ("orange", "oranges"),
    ("cookie", "cookies"), ("balloon", "balloons"), ("bead", "beads"), ("candle", "candles"), ("egg", "eggs"),
    ("flower", "flowers"), ("lemon", "lemons"), ("muffin", "muffins"), ("notebook", "notebooks"), ("plum", "plums"),
    ("postcard", "postcards"), ("ribbon", "ribbons"), ("spoon", "spoons"), ("ticket", "tickets"), ("toy", "toys"),
    ("tulip", "tulips"), ("walnut", "walnuts"), ("badge", "badges"), ("brush", "brushes"), ("card", "cards"),
)  # fmt: skip

HOLDERS = (
    ("box", "boxes"), ("bag", "bags"), ("basket", "baskets"), ("tray", "trays"), ("jar", "jars"), ("drawer", "drawers"),
    ("crate", "crates"), ("shelf", "shelves"), ("bowl", "bowls"), ("case", "cases"),
)  # fmt: skip

PLACES = (
    "the market", "the library", "the station", "the museum", "the park", "the bakery", "the school", "the harbour",
    "the garden", "the office", "the gym", "the theatre",
)  # fmt: skip

CITIES = _split(
    "Oslo Rome Paris Lisbon Vienna Prague Dublin Athens Berlin Madrid Cairo Delhi Tokyo Seoul Lima Quito Toronto "
    "Boston Nairobi Accra Riga Helsinki Warsaw Zurich"
)

JOBS = _split(
    "baker pilot nurse teacher painter farmer lawyer singer driver gardener carpenter doctor writer chef dentist "
    "tailor sailor plumber librarian engineer"
)

COLOURS = _split("red blue green yellow black white brown grey orange purple")

ANIMALS = (
    ("dog", "dogs"), ("cat", "cats"), ("horse", "horses"), ("rabbit", "rabbits"), ("goat", "goats"),
    ("parrot", "parrots"), ("hen", "hens"), ("sheep", "sheep"),
    ("duck", "ducks"), ("pony", "ponies"), ("cow", "cows"), ("turtle", "turtles"),
)  # fmt: skip

PASTIMES = (
    "chess", "gardening", "hiking", "painting", "knitting", "swimming", "cooking", "photography", "running", "reading",
    "baking", "cycling", "fishing", "drawing", "dancing", "pottery", "singing", "sailing", "juggling", "birdwatching",
)  # fmt: skip

DISHES = (
    "soup", "pasta", "curry", "salad", "pancakes", "rice", "stew", "pizza", "bread", "noodles", "porridge", "risotto",
    "omelette", "dumplings",
)  # fmt: skip

WEEKDAYS = _split("Monday Tuesday Wednesday Thursday Friday Saturday Sunday")

MONTHS = (
    ("January", 31), ("February", 28), ("March", 31), ("April", 30), ("May", 31), ("June", 30), ("July", 31),
    ("August", 31), ("September", 30), ("October", 31), ("November", 30), ("December", 31),
)  # fmt: skip

PLAIN_WORDS = _split(
    "river table cloud stone lamp bridge forest window paper silver music winter summer kitchen candle mirror pocket "
    "ladder garden basket island castle button carpet engine feather guitar hammer jacket kettle letter market needle "
    "orange pepper rocket saddle ticket valley whistle yellow zebra anchor bottle camera desert eagle finger glove "
    "honey insect jungle kite lemon magnet nest ocean pencil queen rabbit shadow tiger violin wagon"
)


def subject(name: str) -> str:
    """The pronoun of a person as a subject: "he" or "she"."""
    return "he" if name in HIM else "she"


def owner(name: str) -> str:
    """The possessive of a person: "his" or "her"."""
    return "his" if name in HIM else "her"
