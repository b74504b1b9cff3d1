"""What an influence function will run through a language model, before it does.

Counts are those that `passes` shows afterwards, apart from sequences set aside on the way; tokens are estimates where a
function adds some of its own (a rating prompt, a separator). Sentence embeddings are the encoder's affair and count
nothing here.
"""

from engine.influence.functions.base import Passes

FRAME_TOKENS = 90  # of a rating prompt around a sample, about
SEPARATOR_TOKENS = 2


def predicted_passes(
    name: str,
    *,
    rows: int,
    row_tokens: int,
    items: int,
    item_tokens: int,
    checkpoints: int = 4,
    prompts: int = 5,
    models: int = 1,
) -> Passes:
    """Passes of `rows` pool rows of so many tokens in all against `items` items; `checkpoints` are LESS's epochs."""
    if name == "delift":  # an example once, a pair each, and every item once by itself
        tokens = row_tokens + rows * (item_tokens + SEPARATOR_TOKENS * items) + item_tokens
        return Passes(forward=rows + rows * items + items, tokens=tokens)
    if name == "less":
        return Passes(backward=checkpoints * (rows + items), tokens=checkpoints * (row_tokens + item_tokens))
    if name == "selectit":
        sequences = rows * prompts * models
        return Passes(forward=sequences, tokens=prompts * models * row_tokens + FRAME_TOKENS * sequences)
    if name == "rds":
        return Passes(forward=rows + items, tokens=row_tokens + item_tokens)
    if name == "exact":
        return Passes(backward=rows + items, tokens=row_tokens + item_tokens)
    return Passes()
