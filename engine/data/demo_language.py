"""Grammar and translation: the demo's `grammar` and `translation` sources."""

from random import Random

from engine.data.demo_samples import Draft, capital, other, pick
from engine.data.demo_words import NAMES, PASTIMES, PLACES, WEEKDAYS

GRAMMAR = "grammar"
TRANSLATION = "translation"

# base, third person, past, participle, object
_VERBS = (
    ("walk", "walks", "walked", "walking", "the dog"), ("clean", "cleans", "cleaned", "cleaning", "the kitchen"),
    ("paint", "paints", "painted", "painting", "the fence"), ("wash", "washes", "washed", "washing", "the car"),
    ("write", "writes", "wrote", "writing", "a letter"), ("read", "reads", "read", "reading", "the news"),
    ("sing", "sings", "sang", "singing", "an old song"), ("bake", "bakes", "baked", "baking", "a cake"),
    ("buy", "buys", "bought", "buying", "fresh bread"), ("carry", "carries", "carried", "carrying", "the bags"),
    ("draw", "draws", "drew", "drawing", "a map"), ("drive", "drives", "drove", "driving", "the bus"),
    ("eat", "eats", "ate", "eating", "an apple"), ("fix", "fixes", "fixed", "fixing", "the radio"),
    ("give", "gives", "gave", "giving", "a lesson"), ("watch", "watches", "watched", "watching", "a film"),
    ("take", "takes", "took", "taking", "the train"), ("teach", "teaches", "taught", "teaching", "the class"),
    ("wear", "wears", "wore", "wearing", "a warm coat"), ("water", "waters", "watered", "watering", "the plants"),
)  # fmt: skip
_WHEN = (
    "every morning", "every evening", "after work", "before lunch", "at the weekend", "in the afternoon",
    "after school", "in winter", "in summer", "on time", "with great care", "for fun",
)  # fmt: skip


def grammar(rng: Random) -> Draft:
    """One correction or rewriting of a sentence."""
    name = rng.choice(NAMES)
    base, third, past, doing, thing = rng.choice(_VERBS)
    when = rng.choice((*_WHEN, f"on {rng.choice(WEEKDAYS)}", f"near {rng.choice(PLACES)}"))
    now, then = f"{name} {third} {thing} {when}.", f"{name} {past} {thing} {when}."
    asks, right, wrongs = rng.choice(
        (
            (
                (
                    f"Correct the sentence: {name} {base} {thing} {when}.",
                    f"Fix the mistake. {name} {base} {thing} {when}.",
                ),
                now,
                (f"{name} {doing} {thing} {when}.", f"{name} {base} {thing} {when}."),
            ),
            (
                (f"Put this into the past tense: {now}", f"Rewrite in the past: {now}"),
                then,
                (now, f"{name} will {base} {thing} {when}."),
            ),
            (
                (f"Put this into the future tense: {now}", f"Rewrite with will: {now}"),
                f"{name} will {base} {thing} {when}.",
                (then, f"{name} will {third} {thing} {when}."),
            ),
            (
                (f"Turn this into a question: {now}", f"Make a question out of it. {now}"),
                f"Does {name} {base} {thing} {when}?",
                (f"Did {name} {base} {thing} {when}?", f"Does {name} {third} {thing} {when}?"),
            ),
            (
                (f"Make this sentence negative: {now}", f"Say the opposite with not: {now}"),
                f"{name} does not {base} {thing} {when}.",
                (f"{name} not {third} {thing} {when}.", f"{name} did not {past} {thing} {when}."),
            ),
            (
                (f"Use the form with -ing: {now}", f"Say that it is happening now: {now}"),
                f"{name} is {doing} {thing} {when}.",
                (f"{name} is {base} {thing} {when}.", f"{name} was {third} {thing} {when}."),
            ),
        )
    )
    polite = rng.choice(("", "", "", f"I am {other(rng, NAMES, name)} and I practise {rng.choice(PASTIMES)}. "))
    return Draft(GRAMMAR, polite + rng.choice(asks), right, rng.choice(wrongs))


# English, Spanish (gender), French (gender), German (gender)
_NOUNS = (
    ("house", "casa", "f", "maison", "f", "Haus", "n"), ("table", "mesa", "f", "table", "f", "Tisch", "m"),
    ("book", "libro", "m", "livre", "m", "Buch", "n"), ("car", "coche", "m", "voiture", "f", "Auto", "n"),
    ("dog", "perro", "m", "chien", "m", "Hund", "m"), ("cat", "gato", "m", "chat", "m", "Katze", "f"),
    ("door", "puerta", "f", "porte", "f", "Tür", "f"), ("flower", "flor", "f", "fleur", "f", "Blume", "f"),
    ("hat", "sombrero", "m", "chapeau", "m", "Hut", "m"), ("boat", "barco", "m", "bateau", "m", "Boot", "n"),
    ("chair", "silla", "f", "chaise", "f", "Stuhl", "m"), ("lamp", "lámpara", "f", "lampe", "f", "Lampe", "f"),
    ("horse", "caballo", "m", "cheval", "m", "Pferd", "n"), ("shirt", "camisa", "f", "chemise", "f", "Hemd", "n"),
    ("bag", "bolsa", "f", "sac", "m", "Tasche", "f"), ("window", "ventana", "f", "fenêtre", "f", "Fenster", "n"),
)  # fmt: skip
# English, Spanish m f, French m f, German (after a definite article, nominative)
_ADJECTIVES = (
    ("red", "rojo", "roja", "rouge", "rouge", "rote"), ("white", "blanco", "blanca", "blanc", "blanche", "weiße"),
    ("black", "negro", "negra", "noir", "noire", "schwarze"), ("green", "verde", "verde", "vert", "verte", "grüne"),
    ("blue", "azul", "azul", "bleu", "bleue", "blaue"), ("yellow", "amarillo", "amarilla", "jaune", "jaune", "gelbe"),
    ("grey", "gris", "gris", "gris", "grise", "graue"), ("brown", "marrón", "marrón", "brun", "brune", "braune"),
)  # fmt: skip
_ARTICLES = {
    "Spanish": {"m": "el", "f": "la"},
    "French": {"m": "le", "f": "la"},
    "German": {"m": "der", "f": "die", "n": "das"},
}
_AND = {"Spanish": "y", "French": "et", "German": "und"}
_IS = {"Spanish": "está aquí", "French": "est ici", "German": "ist hier"}


def translation(rng: Random) -> Draft:
    """One phrase or sentence to translate into Spanish, French or German."""
    language = rng.choice(("Spanish", "French", "German"))
    nouns, adjectives = pick(rng, _NOUNS, 3), pick(rng, _ADJECTIVES, 3)
    pairs = list(zip(nouns, adjectives))
    if rng.random() < 0.4:
        english, parts, end = f"the {adjectives[0][0]} {nouns[0][0]} is here", pairs[:1], f" {_IS[language]}"
    else:
        english = " and ".join(f"the {adjective[0]} {noun[0]}" for noun, adjective in pairs[:2])
        parts, end = pairs[:2], ""
    shown = [_phrase(language, noun, adjective) for noun, adjective in parts]
    joint = f" {_AND[language]} "
    right = capital(f"{joint.join(shown)}{end}.")
    twisted = [*shown[:-1], _twisted(rng, language, parts[-1], pairs[2])]
    prompt = rng.choice(
        (
            f"Translate into {language}: {english}",
            f'How do you say "{english}" in {language}?',
            f"{capital(english)}. Give the {language} translation.",
            f'{rng.choice(NAMES)} wants to write "{english}" on a card in {language}. What should it say?',
        )
    )
    return Draft(TRANSLATION, prompt, right, capital(f"{joint.join(twisted)}{end}."))


def _phrase(language: str, noun: tuple[str, ...], adjective: tuple[str, ...]) -> str:
    word, gender = {"Spanish": noun[1:3], "French": noun[3:5], "German": noun[5:7]}[language]
    article = _ARTICLES[language][gender]
    if language == "German":
        return f"{article} {adjective[5]} {word}"
    at = {"Spanish": 1, "French": 3}[language] + (gender == "f")
    return f"{article} {word} {adjective[at]}"


_Pair = tuple[tuple[str, ...], tuple[str, ...]]


def _twisted(rng: Random, language: str, pair: _Pair, stray: _Pair) -> str:
    noun, adjective = rng.choice(((pair[0], stray[1]), (stray[0], pair[1])))
    return _phrase(language, noun, adjective)
