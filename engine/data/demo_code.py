"""Small programming tasks: the demo's `code` source (Python functions, traces, one-line SQL and shell)."""

from random import Random

from engine.data.demo_samples import Draft, listed, other, pick
from engine.data.demo_words import ITEMS, NAMES, PLAIN_WORDS

CODE = "code"

_LISTS = ("values", "numbers", "items", "data", "scores", "prices", "ages", "sizes", "weights", "counts")
_TEXTS = ("text", "word", "line", "name", "title", "phrase", "message", "label")
_ASK = (
    "Write a Python function `{name}({given})` that {does}.",
    "Implement `{name}({given})` in Python. It {does}.",
    "I need a Python function called {name}. It takes {given} and {does}.",
    "Complete this function so that it {does}:\n\ndef {name}({given}):",
    "Define {name}({given}), which {does}.",
)

# (names, what it does, body, wrong bodies); x is the argument, k a number, c a letter
_ON_LISTS = (
    (("scale", "multiply_all", "times"), "returns every number multiplied by {k}",
     "return [n * {k} for n in {x}]", ("return [n + {k} for n in {x}]", "return [n * {x} for n in {k}]")),
    (("shift", "add_to_all", "raise_all"), "returns every number plus {k}",
     "return [n + {k} for n in {x}]", ("return [n - {k} for n in {x}]", "return [n * {k} for n in {x}]")),
    (("above", "keep_large", "over_limit"), "keeps the numbers greater than {k}",
     "return [n for n in {x} if n > {k}]",
     ("return [n for n in {x} if n < {k}]", "return [n for n in {x} if n == {k}]")),
    (("below", "keep_small", "under_limit"), "keeps the numbers less than {k}",
     "return [n for n in {x} if n < {k}]", ("return [n for n in {x} if n > {k}]", "return {x} < {k}")),
    (("multiples", "divisible", "keep_multiples"), "keeps the numbers that can be divided by {k}",
     "return [n for n in {x} if n % {k} == 0]",
     ("return [n for n in {x} if n % {k} == 1]", "return [n % {k} for n in {x}]")),
    (("first_few", "head", "take"), "returns the first {k} elements",
     "return {x}[:{k}]", ("return {x}[{k}:]", "return {x}[-{k}:]")),
    (("last_few", "tail", "final_part"), "returns the last {k} elements",
     "return {x}[-{k}:]", ("return {x}[:{k}]", "return {x}[{k}]")),
    (("count_equal", "how_many", "occurrences"), "counts how often {k} occurs",
     "return {x}.count({k})", ("return {x}.index({k})", "return len({x})")),
    (("contains", "has_number", "is_member"), "tells whether {k} is in the list",
     "return {k} in {x}", ("return {k} not in {x}", "return {x} in {k}")),
    (("total", "sum_all", "add_up"), "returns the sum of all numbers, plus {k}",
     "return sum({x}) + {k}", ("return sum({x}) - {k}", "return max({x}) + {k}")),
    (("sum_above", "total_over", "add_large"), "adds up the numbers greater than {k}",
     "return sum(n for n in {x} if n > {k})",
     ("return sum(n for n in {x} if n < {k})", "return len(n for n in {x} if n > {k})")),
    (("count_below", "number_under", "how_many_below"), "counts the numbers less than {k}",
     "return sum(1 for n in {x} if n < {k})",
     ("return sum(1 for n in {x} if n > {k})", "return sum(n for n in {x} if n < {k})")),
    (("every_nth", "step_through", "skip"), "returns every element at a step of {k}",
     "return {x}[::{k}]", ("return {x}[{k}::]", "return {x}[::-{k}]")),
    (("power", "raise_to", "powers"), "raises every number to the power {k}",
     "return [n ** {k} for n in {x}]", ("return [n * {k} for n in {x}]", "return [{k} ** n for n in {x}]")),
    (("largest", "biggest", "top"), "returns the {k} largest numbers",
     "return sorted({x}, reverse=True)[:{k}]", ("return sorted({x})[:{k}]", "return max({x})[:{k}]")),
    (("smallest", "lowest", "bottom"), "returns the {k} smallest numbers",
     "return sorted({x})[:{k}]", ("return sorted({x}, reverse=True)[:{k}]", "return sorted({x})[{k}:]")),
)  # fmt: skip

_ON_TEXTS = (
    (("count_letter", "letter_count", "tally"), 'counts the letter "{c}"',
     'return {x}.count("{c}")', ('return {x}.find("{c}")', 'return len({x})')),
    (("starts_with", "begins", "opens_with"), 'tells whether it starts with "{c}"',
     'return {x}.startswith("{c}")', ('return {x}.endswith("{c}")', 'return "{c}" in {x}')),
    (("ends_with", "closes_with", "finishes"), 'tells whether it ends with "{c}"',
     'return {x}.endswith("{c}")', ('return {x}.startswith("{c}")', 'return {x}.strip("{c}")')),
    (("without", "remove_letter", "drop"), 'removes every "{c}"',
     'return {x}.replace("{c}", "")', ('return {x}.replace("", "{c}")', 'return {x}.split("{c}")')),
    (("split_at", "parts", "pieces"), 'splits it at every "{c}"',
     'return {x}.split("{c}")', ('return {x}.join("{c}")', 'return {x}.strip("{c}")')),
    (("mark", "append_letter", "suffix"), 'puts "{c}" at the end',
     'return {x} + "{c}"', ('return "{c}" + {x}', 'return {x} - "{c}"')),
    (("lead", "prepend", "prefix"), 'puts "{c}" in front',
     'return "{c}" + {x}', ('return {x} + "{c}"', 'return "{c}" * {x}')),
    (("repeat", "echo", "copies"), "repeats it {k} times",
     "return {x} * {k}", ("return {x} + {k}", "return {x} ** {k}")),
    (("shorten", "cut", "first_letters"), "returns its first {k} characters",
     "return {x}[:{k}]", ("return {x}[{k}:]", "return {x}[{k}]")),
    (("backwards", "mirrored", "reverse_text"), 'reverses it and adds "{c}"',
     'return {x}[::-1] + "{c}"', ('return {x}[1:] + "{c}"', 'return {x} + "{c}"')),
    (("shout", "loud", "upper_text"), 'returns it in capitals, followed by "{c}"',
     'return {x}.upper() + "{c}"', ('return {x}.lower() + "{c}"', 'return {x}.title() + "{c}"')),
    (("is_long", "too_long", "exceeds"), "tells whether it is longer than {k} characters",
     "return len({x}) > {k}", ("return len({x}) < {k}", "return {x} > {k}")),
)  # fmt: skip


def code(rng: Random) -> Draft:
    """One programming task."""
    return rng.choice((_function, _function, _function, _function, _trace, _trace, _query, _loop, _shell))(rng)


def _function(rng: Random) -> Draft:
    family, arguments = rng.choice(((_ON_LISTS, _LISTS), (_ON_LISTS, _LISTS), (_ON_TEXTS, _TEXTS)))
    names, does, body, wrongs = rng.choice(family)
    fill = {"x": rng.choice(arguments), "k": rng.randint(2, 20), "c": rng.choice("abcdefghiklmnoprstuvwxyz")}
    name = f"{rng.choice(names)}{rng.choice(('', '', '_in', '_of'))}"
    name = f"{name}_{fill['x']}" if name.endswith(("_in", "_of")) else name
    prompt = rng.choice(_ASK).format(name=name, given=fill["x"], does=does.format(**fill))
    right, wrong = (
        _fenced(f"def {name}({fill['x']}):\n    {line.format(**fill)}") for line in (body, rng.choice(wrongs))
    )
    return Draft(CODE, prompt, right, wrong)


def _fenced(text: str, language: str = "python") -> str:
    return f"```{language}\n{text}\n```"


def _trace(rng: Random) -> Draft:
    name = rng.choice(_LISTS)
    numbers = [rng.randint(1, 20) for _ in range(rng.randint(3, 5))]
    at = rng.randrange(len(numbers))
    call, right, wrong = rng.choice(
        (
            (f"{name}[{at}]", numbers[at], other(rng, range(1, 21), numbers[at])),
            (f"len({name})", len(numbers), len(numbers) + rng.choice((-1, 1))),
            (f"max({name})", max(numbers), min(numbers) - 1),
            (f"min({name})", min(numbers), max(numbers) + 1),
            (f"{name}[::-1]", numbers[::-1], numbers[1:] + numbers[:1] + [rng.randint(1, 20)]),
            (f"{name}[:2]", numbers[:2], [*numbers[-2:], rng.randint(1, 20)]),
            (f"{name}[-1] + {at}", numbers[-1] + at, numbers[-1] + at + rng.choice((-1, 1, 3))),
        )
    )
    prompt = rng.choice(
        (
            f"What does this code print?\n\n{name} = {numbers}\nprint({call})",
            f"Given {name} = {numbers}, what is {call} in Python?",
            f"Say what this prints:\n\n```python\n{name} = {numbers}\nprint({call})\n```",
        )
    )
    return Draft(CODE, prompt, f"It gives {right}.", f"It gives {wrong}.")


_TABLES = (
    ("customers", ("name", "age", "city")), ("orders", ("number", "price", "weight")),
    ("books", ("title", "pages", "year")),
    ("flights", ("code", "seats", "delay")), ("students", ("name", "grade", "age")),
    ("products", ("label", "price", "stock")),
)  # fmt: skip


def _query(rng: Random) -> Draft:
    table, columns = rng.choice(_TABLES)
    shown, tested = columns[0], rng.choice(columns[1:])
    tested = tested if tested != "city" else "age"
    bound = rng.randint(2, 90)
    word, sign = rng.choice((("greater than", ">"), ("less than", "<"), ("equal to", "=")))
    prompt = rng.choice(
        (
            f"Write an SQL query for the {shown} of all {table} whose {tested} is {word} {bound}.",
            f"From the table {table}, select {shown} where {tested} is {word} {bound}. Use SQL.",
            f"Give me the SQL that counts the {table} with a {tested} {word} {bound}.",
        )
    )
    what = "COUNT(*)" if "counts" in prompt else shown
    right = f"SELECT {what} FROM {table} WHERE {tested} {sign} {bound};"
    wrong_sign = other(rng, ("<", ">", "="), sign)
    wrong = rng.choice(
        (
            f"SELECT {what} FROM {table} WHERE {tested} {wrong_sign} {bound};",
            f"DELETE FROM {table} WHERE {tested} {wrong_sign} {bound};",
        )
    )
    return Draft(CODE, prompt, _fenced(right, "sql"), _fenced(wrong, "sql"))


def _loop(rng: Random) -> Draft:
    stop, step = rng.randint(5, 30), rng.randint(2, 5)
    start = rng.randint(0, 4)
    if rng.random() < 0.5:
        words = pick(rng, PLAIN_WORDS, 3)
        prompt = f"Print the words {listed(words)} on separate lines with a for loop in Python."
        right = _fenced(f"for word in {words}:\n    print(word)".replace("'", '"'))
        wrong = _fenced(f"for word in {words[::-1]}:\n    return word".replace("'", '"'))
        return Draft(CODE, prompt, right, wrong)
    prompt = rng.choice(
        (
            f"Write a Python loop that prints the numbers from {start} up to {stop} in steps of {step}.",
            f"Show me a for loop over range that starts at {start}, ends at {stop} and moves by {step}.",
        )
    )
    right = f"for n in range({start}, {stop + 1}, {step}):\n    print(n)"
    wrong = rng.choice((f"for n in range({stop}, {start}, {step}):\n    print(n)", right.replace("print(n)", "break")))
    return Draft(CODE, prompt, _fenced(right), _fenced(wrong))


def _shell(rng: Random) -> Draft:
    folder, owner = rng.choice(ITEMS)[1], rng.choice(NAMES).lower()
    end, lines = rng.choice(("txt", "csv", "log", "json", "md")), rng.randint(2, 40)
    does, right, wrong = rng.choice(
        (
            (f"lists the .{end} files in {folder}", f"ls {folder}/*.{end}", f"rm {folder}/*.{end}"),
            (
                f"shows the first {lines} lines of {folder}.{end}",
                f"head -n {lines} {folder}.{end}",
                f"tail -n {lines} {folder}.{end}",
            ),
            (
                f"shows the last {lines} lines of {folder}.{end}",
                f"tail -n {lines} {folder}.{end}",
                f"head -n {lines} {folder}.{end}",
            ),
            (f"counts the lines of {folder}.{end}", f"wc -l {folder}.{end}", f"cat {folder}.{end}"),
            (
                f"copies {folder}.{end} to {owner}.{end}",
                f"cp {folder}.{end} {owner}.{end}",
                f"mv {owner}.{end} {folder}.{end}",
            ),
            (f"finds {owner} in {folder}.{end}", f"grep {owner} {folder}.{end}", f"echo {owner} {folder}.{end}"),
        )
    )
    prompt = rng.choice((f"Give a shell command that {does}.", f"Which bash command {does}?"))
    return Draft(CODE, prompt, _fenced(right, "bash"), _fenced(wrong, "bash"))
