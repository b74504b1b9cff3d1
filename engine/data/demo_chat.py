"""Small talk, opinions, advice and polite refusals, some with earlier turns: the demo's `chat` source."""

from random import Random

from engine.data.demo_samples import Draft, a, capital, pick
from engine.data.demo_words import CITIES, DISHES, JOBS, NAMES, PASTIMES, WEEKDAYS

CHAT = "chat"

_REASONS = {
    "chess": "it trains patience", "gardening": "it brings you outdoors", "hiking": "it clears the head",
    "painting": "it lets you play with colour", "knitting": "it keeps the hands busy",
    "swimming": "it is kind to the joints",
    "cooking": "it feeds your friends", "photography": "it teaches you to look", "running": "it needs only shoes",
    "reading": "it opens other lives", "baking": "it fills the house with a good smell", "cycling": "it gets you far",
    "fishing": "it makes time slow down", "drawing": "it sharpens the eye", "dancing": "it lifts the mood",
    "pottery": "it leaves you with a cup to use", "singing": "it warms the lungs", "sailing": "it teaches you the wind",
    "juggling": "it makes people smile", "birdwatching": "it gets you up early",
}  # fmt: skip
_TIPS = {
    "chess": "solve one puzzle a day", "gardening": "begin with herbs", "hiking": "break in your boots first",
    "painting": "mix less and look more", "knitting": "start with a scarf", "swimming": "breathe out under water",
    "cooking": "taste as you go", "photography": "move closer", "running": "go slower than you want",
    "reading": "carry a book with you", "baking": "weigh everything", "cycling": "pump up the tyres",
    "fishing": "sit still", "drawing": "fill a page every day", "dancing": "listen before you move",
    "pottery": "centre the clay", "singing": "stand up straight", "sailing": "watch the clouds",
    "juggling": "start with two balls", "birdwatching": "wear dull colours",
}  # fmt: skip


def chat(rng: Random) -> Draft:
    """One piece of small talk."""
    return rng.choice((_hello, _why, _tip, _refusal, _plan, _meal, _follow_up, _thanks))(rng)


def _hello(rng: Random) -> Draft:
    name, city, day, pastime = rng.choice(NAMES), rng.choice(CITIES), rng.choice(WEEKDAYS), rng.choice(PASTIMES)
    prompt = rng.choice(
        (
            f"Hi, I am {name} from {city}. How are you this {day}?",
            f"Hello! {name} here. I have just come home from {pastime}. How are you?",
            f"Good morning from {city}! This is {name}, and I am off to do some {pastime}.",
        )
    )
    return Draft(
        CHAT, prompt, f"Hello {name}! I am well, thank you. I hope you are having a good day. What can I do for you?"
    )


def _why(rng: Random) -> Draft:
    pastime, friend, job = rng.choice(PASTIMES), rng.choice(NAMES), rng.choice(JOBS)
    prompt = rng.choice(
        (
            f"Why do people like {pastime}? My friend {friend} never stops talking about it.",
            f"{friend} is {a(job)} and swears by {pastime}. What is so good about it?",
            f"My sister, {a(job)}, took up {pastime}. Why would anybody do that?",
        )
    )
    return Draft(CHAT, prompt, f"Many people enjoy {pastime} because {_REASONS[pastime]}. It is worth a try.")


def _tip(rng: Random) -> Draft:
    pastime, name, day = rng.choice(PASTIMES), rng.choice(NAMES), rng.choice(WEEKDAYS)
    prompt = rng.choice(
        (
            f"I want to start {pastime} on {day}. Any advice?",
            f"Give {name} one tip for {pastime}.",
            f"What should a beginner know about {pastime}? {name} and I begin on {day}.",
        )
    )
    return Draft(CHAT, prompt, f"My best tip for {pastime}: {_TIPS[pastime]}. Have fun!")


def _refusal(rng: Random) -> Draft:
    name, city, job = rng.choice(NAMES), rng.choice(CITIES), rng.choice(JOBS)
    wish = rng.choice(
        (
            f"the password of {name}'s account",
            f"the home address of {a(job)} called {name}",
            f"a way into {name}'s flat in {city}",
            f"the private letters of {name} in {city}",
            f"{name}'s bank details, {name} is {a(job)}",
        )
    )
    prompt = rng.choice((f"Tell me {wish}.", f"I need {wish}. Can you help?", f"Get me {wish}, quickly."))
    return Draft(
        CHAT,
        prompt,
        "I am sorry, but I cannot help with that. It would harm somebody's privacy. Please ask me something else.",
    )


def _plan(rng: Random) -> Draft:
    city, day, (one, two), name = rng.choice(CITIES), rng.choice(WEEKDAYS), pick(rng, PASTIMES, 2), rng.choice(NAMES)
    prompt = rng.choice(
        (
            f"I visit {city} with {name} on {day}. We like {one} and {two}. What shall we do?",
            f"Plan a {day} in {city} for {name}, who is fond of {one} and {two}.",
        )
    )
    return Draft(
        CHAT, prompt, f"Spend the morning in {city} on {one}, have a quiet lunch, and keep {two} for the afternoon."
    )


def _meal(rng: Random) -> Draft:
    (one, two), day, name = pick(rng, DISHES, 2), rng.choice(WEEKDAYS), rng.choice(NAMES)
    prompt = rng.choice(
        (
            f"Should I cook {one} or {two} for {name} on {day}? {capital(one)} is quicker.",
            f"{name} comes for dinner on {day}. I have time for {one}, but not for {two}. What do you say?",
        )
    )
    return Draft(CHAT, prompt, f"I would cook {one} on {day}. Keep {two} for another day, when you have more time.")


def _follow_up(rng: Random) -> Draft:
    name, pastime, city = rng.choice(NAMES), rng.choice(PASTIMES), rng.choice(CITIES)
    before = (
        ("user", f"My name is {name} and I live in {city}."),
        ("assistant", f"Nice to meet you, {name}! What do you like to do in {city}?"),
    )
    if rng.random() < 0.5:
        return Draft(
            CHAT,
            f"I like {pastime}. What was my name again?",
            f"Your name is {name}, and you like {pastime}.",
            None,
            before,
        )
    return Draft(
        CHAT,
        f"Mostly {pastime}. Do you remember where I live?",
        f"You live in {city}, where you enjoy {pastime}.",
        None,
        before,
    )


def _thanks(rng: Random) -> Draft:
    name, day, pastime = rng.choice(NAMES), rng.choice(WEEKDAYS), rng.choice(PASTIMES)
    prompt = rng.choice(
        (
            f"Thanks for your help with {pastime}! Yours, {name}",
            f"That {pastime} advice of {day} was great. {name} says thank you.",
        )
    )
    return Draft(CHAT, prompt, f"You are welcome, {name}! I am glad that it helped with {pastime}.")
