"""DELIFT against a direct transcription: one pair at a time, a plain forward pass, a loop over tokens."""

import copy
from collections.abc import Callable
from functools import cache
from typing import Any

import numpy as np
import pytest
import torch
from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import AutoConfig, AutoModelForCausalLM, PreTrainedTokenizerFast

from engine.errors import Cancelled, EngineError
from engine.gradients.forwarding import predictions
from engine.influence.functions.base import Passes, Scores
from engine.influence.functions.contexts import cut_examples, kept_lengths, separator
from engine.influence.functions.delift import Delift, distances
from engine.influence.functions.pairs import InContext
from engine.influence.functions.prefixes import encode_prefix, why_not_padded, why_not_shared
from engine.models.batches import Batch
from engine.models.loading import LanguageModel
from engine.models.table import Encoded, TokenTable
from engine.progress import Silent

WORDS = ["<pad>", "<s>", "</s>", "\n", "<u>", "<a>", "<unk>", *(f"w{k}" for k in range(54))]
BOS, END, LINE, USER, ANSWER = 1, 2, 3, 4, 5
CHATML = "{% for m in messages %}{{ '<u>' if m.role == 'user' else '<a>' }}{{ m.content }}</s>\n{% endfor %}"
SHAPE = {"hidden_size": 24, "intermediate_size": 40, "num_hidden_layers": 3, "num_attention_heads": 4}
LLAMA = SHAPE | {"max_position_embeddings": 160, "num_key_value_heads": 2}
ARCHITECTURES: dict[str, dict[str, Any]] = {
    "llama": LLAMA,
    "gpt2": {"n_embd": 24, "n_layer": 3, "n_head": 4, "n_positions": 160},
    "gpt_neox": SHAPE | {"max_position_embeddings": 160},
    "qwen2": LLAMA,
    "mistral": LLAMA | {"sliding_window": 8},
    "gemma": LLAMA | {"head_dim": 8},
    "gemma2": LLAMA | {"head_dim": 8, "sliding_window": 8},
    "bloom": {"hidden_size": 24, "n_layer": 3, "n_head": 4},
    "gpt_neo": {
        "hidden_size": 24,
        "num_layers": 2,
        "num_heads": 4,
        "attention_types": [[["global", "local"], 1]],
        "window_size": 8,
        "max_position_embeddings": 160,
    },
}


def toy_tokenizer(template: str | None = CHATML, bos: str | None = "<s>") -> PreTrainedTokenizerFast:
    core = Tokenizer(models.WordLevel({w: i for i, w in enumerate(WORDS)}, unk_token="<unk>"))
    core.pre_tokenizer = pre_tokenizers.Split(" ", "removed")
    core.add_special_tokens(["<pad>", "<s>", "</s>", "<u>", "<a>", "\n"])
    made = PreTrainedTokenizerFast(tokenizer_object=core, bos_token=bos, eos_token="</s>", pad_token="<pad>")
    made.chat_template = template
    return made


@cache
def toy_model(name: str, attention: str | None = None, dtype: torch.dtype = torch.float32) -> Any:
    """A random tiny model, with weights large enough for probabilities that differ. Never change it."""
    config = AutoConfig.for_model(
        name, vocab_size=len(WORDS), bos_token_id=BOS, eos_token_id=END, pad_token_id=0, **ARCHITECTURES[name]
    )
    with torch.random.fork_rng():
        torch.manual_seed(5)
        model = AutoModelForCausalLM.from_config(config, attn_implementation=attention)
        with torch.no_grad():
            for parameter in model.parameters():
                if parameter.ndim > 1:
                    parameter.normal_(std=0.3)
    model.eval().requires_grad_(False).to(dtype)
    model.config.use_cache = False
    return model


def make_lm(name: str = "llama", *, max_length: int = 160, tokenizer: Any = None, **options: Any) -> LanguageModel:
    model = toy_model(name, **options)
    return LanguageModel(model, tokenizer or toy_tokenizer(), torch.device("cpu"), model.dtype, max_length, 0, name, ())


def chat(prompt: int, response: int, seed: int, *, bos: bool = False) -> Encoded:
    """A chat of random words: `prompt` tokens, `response` tokens and the end of the turn, which is learnt too."""
    draw = np.random.default_rng(seed).integers(7, len(WORDS), size=prompt + response)
    ids = [*([BOS] if bos else []), USER, *draw[:prompt], ANSWER, *draw[prompt:], END]
    mask = np.arange(len(ids)) >= len(ids) - response - 1
    return Encoded(np.array(ids, np.int32), mask.astype(np.uint8), False)


POOL = TokenTable.of([chat(3, 2, 0), chat(9, 4, 1), chat(4, 1, 2), chat(2, 3, 3, bos=True), chat(9, 4, 4)])
ITEMS = TokenTable.of([chat(4, 5, 10), chat(2, 1, 11, bos=True), chat(6, 3, 12)])


def distance(lm: LanguageModel, ids: list[int], places: list[int], *, shift: int = 1) -> float:
    """d from one plain forward pass, with an explicit softmax and a loop over response tokens."""
    logits = lm.model(input_ids=torch.tensor([ids])).logits[0].float()
    total = 0.0
    for t in places:
        exponents = torch.exp(logits[t - shift] - logits[t - shift].max())
        total += (1 - float(exponents[ids[t]] / exponents.sum())) ** 2
    return total**0.5 / len(places) ** 0.5


def slowly(
    lm: LanguageModel, pool: TokenTable, items: TokenTable, between: tuple[int, ...] = (LINE,), *, shift: int = 1
) -> np.ndarray:
    """P (n, t), one pair at a time."""
    found = np.zeros((len(pool), len(items)))
    for i in range(len(items)):
        ids, mask = (a.tolist() for a in items.row(i))
        alone = distance(lm, ids, [t for t in range(1, len(ids)) if mask[t]], shift=shift)
        own = ids[1:] if ids[0] == BOS else ids
        own_mask = mask[1:] if ids[0] == BOS else mask
        for j in range(len(pool)):
            before = pool.row(j)[0].tolist() + list(between)
            places = [len(before) + t for t in range(len(own)) if own_mask[t]]
            found[j, i] = alone - distance(lm, before + own, places, shift=shift)
    return found


@cache
def wanted_of(name: str, pool: str = "pool", attention: str | None = None) -> np.ndarray:
    """`slowly`, once for the tests of the same model and the same examples: "pool" or "different". Never change it."""
    tables = {"pool": (POOL, ITEMS), "different": (DIFFERENT, FOUR)}[pool]
    found = slowly(make_lm(name, attention=attention), *tables)
    found.flags.writeable = False
    return found


def scores(lm: LanguageModel, pool: TokenTable = POOL, items: TokenTable = ITEMS, **options: Any) -> np.ndarray:
    return Delift(lm, pool, items, **options)(np.arange(len(pool))).matrix


def close(found: np.ndarray, wanted: np.ndarray, *, atol: float = 2e-6) -> None:
    np.testing.assert_allclose(found, wanted, atol=atol, rtol=0)


class Counting(Silent):
    """Counts what is advanced; raises at the check number `stop`."""

    def __init__(self, stop: int | None = None) -> None:
        self.done, self.checks, self.stop = 0, 0, stop
        self.logs: list[str] = []

    def advance(self, n: int) -> None:
        self.done += n

    def check(self) -> None:
        self.checks += 1
        if self.checks == self.stop:
            raise Cancelled("stop")

    def log(self, message: str) -> None:
        self.logs.append(message)


@pytest.mark.parametrize("reuse", [True, False])
@pytest.mark.parametrize("name", list(ARCHITECTURES))
def test_against_one_pair_at_a_time(name: str, reuse: bool) -> None:
    lm = make_lm(name)
    wanted = wanted_of(name)
    assert wanted.std() > 1e-3
    for batch_tokens in (1, 40, 1024):
        found = scores(lm, reuse=reuse, batch_tokens=batch_tokens)
        assert found.dtype == np.float32 and found.shape == (5, 3)
        close(found, wanted)


@pytest.mark.parametrize("name", ["llama", "mistral", "gemma2"])
def test_eager_attention(name: str) -> None:
    close(scores(make_lm(name, attention="eager")), wanted_of(name), atol=1e-5)


def test_examples_far_longer_than_the_window_of_a_sliding_layer() -> None:
    pool = TokenTable.of([chat(40, 20, 0), chat(5, 1, 1), chat(40, 20, 2)])
    for name in ("mistral", "gemma2"):
        assert why_not_shared(make_lm(name)) is None
        assert encode_prefix(make_lm(name), torch.ones(1, 30, dtype=torch.long)).layers[0].keys.shape[2] == 7
        close(scores(make_lm(name), pool), slowly(make_lm(name), pool, ITEMS))


def test_unshifted_logits_would_give_another_answer() -> None:
    lm = make_lm()
    assert np.abs(slowly(lm, POOL, ITEMS, shift=0) - wanted_of("llama")).max() > 1e-2


def test_higher_is_better_and_indexed_pool_row_first() -> None:
    lm = make_lm()
    function = Delift(lm, POOL, ITEMS)
    found = function(np.array([4, 1]), np.array([2])).matrix
    assert found.shape == (2, 1)
    wanted = wanted_of("llama")
    close(found[:, 0], wanted[[4, 1], 2])
    assert abs(found[0, 0] - wanted[2, 0]) > 1e-3
    ids, mask = (a.tolist() for a in ITEMS.row(2))
    alone = distance(lm, ids, [t for t in range(len(ids)) if mask[t]])
    joined = [*POOL.row(4)[0].tolist(), LINE, *ids]
    near = distance(lm, joined, [len(joined) - len(ids) + t for t in range(len(ids)) if mask[t]])
    assert (found[0, 0] > 0) == (near < alone)
    assert (function.name, function.pointwise) == ("delift", False)


def test_distances_are_the_root_mean_square_of_what_lacks_to_certainty() -> None:
    ids = torch.tensor([[5, 1, 0, 2], [5, 2, 0, 0], [5, 5, 5, 5]])
    response = torch.tensor([[0, 1, 0, 1], [0, 1, 0, 0], [1, 0, 0, 0]]).bool()
    where = predictions(Batch(ids, torch.ones_like(ids), response, np.arange(3)))
    chances = torch.tensor([[0.2, 0.7, 0.1], [0.5, 0.4, 0.1], [1e-9, 1e-9, 1 - 2e-9]], dtype=torch.float64)
    found = distances(chances.log(), where)
    assert found.dtype == torch.float32
    assert found[0] == pytest.approx(((0.3**2 + 0.9**2) / 2) ** 0.5)
    assert 0 <= found[1] < 1e-7
    assert found[2].isnan()
    assert distances(torch.tensor([[9.0, -90.0, 0.0]] * 3), where)[0] == pytest.approx(1, abs=1e-3)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision_models_have_float32_distances(dtype: torch.dtype) -> None:
    lm = make_lm(dtype=dtype)
    whole = scores(lm, reuse=False)
    close(whole, slowly(lm, POOL, ITEMS), atol=3e-2)
    close(scores(lm), whole, atol=3e-2)
    assert len(np.unique(whole)) == whole.size  # widened before the softmax, not after


DIFFERENT = TokenTable.of([chat(1 + k % 11, 1 + k - k % 11 // 2, k, bos=k % 3 == 0) for k in range(24)])
FOUR = TokenTable.of([*(Encoded(*ITEMS.row(i), False) for i in range(3)), chat(1, 2, 13)])


class Calls:
    """Watches the forward passes of a model: the shape of each one's ids, and how many places it attends to."""

    def __init__(self, lm: LanguageModel, monkeypatch: pytest.MonkeyPatch) -> None:
        self.shapes: list[tuple[int, int, int]] = []
        forward = lm.model.base_model.forward

        def watched(*args: Any, **kwargs: Any) -> Any:
            ids = args[0] if args else kwargs["input_ids"]
            self.shapes.append((*ids.shape, kwargs["attention_mask"].shape[1]))
            return forward(*args, **kwargs)

        monkeypatch.setattr(lm.model.base_model, "forward", watched)


@pytest.mark.parametrize("name", list(ARCHITECTURES))
def test_examples_of_many_lengths_share_a_few_batches(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    lm = make_lm(name)
    assert len(np.unique(DIFFERENT.lengths)) >= 16 and DIFFERENT.lengths.max() > 30
    function, wanted = Delift(lm, DIFFERENT, FOUR, batch_tokens=4096), wanted_of(name, "different")
    calls = Calls(lm, monkeypatch)
    close(function(np.arange(24)).matrix, wanted)
    assert len(calls.shapes) <= 1 + 3 * 2  # items alone, then twice: examples, and their continuations
    assert not any("equal length" in note for note in function.notes)
    following = int(FOUR.lengths.sum()) + 4 - 1
    assert function.passes == Passes(
        forward=4 + 24 + 96, tokens=int(FOUR.lengths.sum() + DIFFERENT.lengths.sum()) + 24 * following
    )


@pytest.mark.parametrize("name", ["llama", "gpt2", "mistral"])
@pytest.mark.parametrize("batch_tokens", [60, 300])
def test_examples_of_many_lengths_by_small_batches(name: str, batch_tokens: int) -> None:
    lm = make_lm(name, attention="eager")
    close(scores(lm, DIFFERENT, FOUR, batch_tokens=batch_tokens), wanted_of(name, "different", "eager"))


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
@pytest.mark.parametrize("name", ["llama", "gpt2", "bloom", "mistral"])
def test_examples_of_many_lengths_in_half_precision(name: str, dtype: torch.dtype) -> None:
    lm = make_lm(name, dtype=dtype)
    assert why_not_padded(lm) is None
    whole = scores(lm, DIFFERENT, FOUR, reuse=False)
    found = scores(lm, DIFFERENT, FOUR)
    close(found, whole, atol=3e-2)
    assert np.abs(found - whole).mean() < 0.1 * whole.std()


BY_PLACES: dict[str, dict[str, Any]] = {
    "falcon": {"hidden_size": 24, "num_hidden_layers": 3, "num_attention_heads": 4, "alibi": True},
    "mpt": {"d_model": 24, "n_layers": 3, "n_heads": 4, "max_seq_len": 160},
    "opt": {"hidden_size": 24, "ffn_dim": 40, "num_hidden_layers": 3, "num_attention_heads": 4},
    "gemma3_text": LLAMA | {"head_dim": 8, "sliding_window": 8},
    "llama4_text": LLAMA
    | {
        "head_dim": 8,
        "attention_chunk_size": 16,
        "intermediate_size_mlp": 40,
        "num_local_experts": 2,
        "layer_types": ["chunked_attention", "full_attention", "chunked_attention"],
    },
}


@pytest.mark.parametrize("name", list(BY_PLACES))
def test_biases_and_windows_that_go_by_places(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(ARCHITECTURES, name, BY_PLACES[name])
    lm = make_lm(name)
    assert why_not_shared(lm) is None and why_not_padded(lm) is None
    close(scores(lm, DIFFERENT, FOUR), slowly(lm, DIFFERENT, FOUR))


@pytest.mark.parametrize("name", ["llama", "mistral", "gemma2", "bloom"])
def test_what_is_kept_of_a_shorter_prefix_stands_at_the_end_behind_zeros(name: str) -> None:
    lm, lengths = make_lm(name), [30, 12, 3]
    ids = torch.from_numpy(np.random.default_rng(0).integers(7, len(WORDS), size=(3, 30)))
    together = encode_prefix(lm, ids, torch.tensor(lengths))
    for row, length in enumerate(lengths):
        alone = encode_prefix(lm, ids[row : row + 1, :length])
        for found, wanted in zip(together.layers, alone.layers, strict=True):
            assert found.get_seq_length() == 30 and found.keys.shape[2] == (7 if found.is_sliding else 30)
            own = wanted.keys.shape[2]
            torch.testing.assert_close(found.keys[row : row + 1, :, -own:], wanted.keys, atol=1e-5, rtol=0)
            torch.testing.assert_close(found.values[row : row + 1, :, -own:], wanted.values, atol=1e-5, rtol=0)
            assert not found.keys[row, :, :-own].any() and not found.values[row, :, :-own].any()


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("name", ["llama", "gpt2", "gpt_neox"])
def test_a_model_that_takes_places_for_positions_runs_equal_lengths_together_and_says_so(
    name: str, dtype: torch.dtype, monkeypatch: pytest.MonkeyPatch
) -> None:
    lm = make_lm(name, dtype=dtype)
    wanted = scores(lm, DIFFERENT, FOUR)
    forward = lm.model.base_model.forward

    def blind(*args: Any, position_ids: Any = None, **kwargs: Any) -> Any:
        return forward(*args, **kwargs)

    monkeypatch.setattr(lm.model.base_model, "forward", blind)
    function = Delift(lm, DIFFERENT, FOUR)
    assert any("only examples of equal length share a batch" in note for note in function.notes)
    calls = Calls(lm, monkeypatch)
    close(function(np.arange(24)).matrix, wanted, atol=2e-6 if dtype == torch.float32 else 3e-2)
    lengths, counts = np.unique(DIFFERENT.lengths, return_counts=True)
    alone = 1
    run = [(n, t) for n, t, places in calls.shapes[alone:] if t == places]
    assert run == list(zip(counts[::-1].tolist(), lengths[::-1].tolist(), strict=True))


def test_whether_examples_are_padded_is_found_by_values_not_by_whether_they_are_finite() -> None:
    model = copy.deepcopy(toy_model("llama"))
    with torch.no_grad():
        model.get_input_embeddings().weight[9] = float("nan")
    lm = make_lm()
    broken = LanguageModel(model, lm.tokenizer, lm.device, lm.dtype, lm.max_length, 0, "broken", ())
    assert "other values behind a padded one" in str(why_not_padded(broken))


@pytest.mark.parametrize("name", ["gpt2", "mistral", "gpt_neo"])
def test_examples_cut_alike_share_batches_and_each_is_run_once_at_every_length(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    lm = make_lm(name, max_length=100)
    pool = TokenTable.of([chat(20 + 4 * k, 2 + k, k, bos=k % 2 == 0) for k in range(17)])
    items = TokenTable.of([chat(20, 4, 10), chat(50, 9, 11), chat(2, 2, 12)])
    rooms = 100 - items.lengths - 1
    assert rooms.tolist() == [72, 37, 92] and pool.lengths.max() > 92
    kept = kept_lengths(pool.lengths[:, None], rooms)
    wanted = np.zeros((17, 3))
    for j in range(17):
        ids, bos = pool.row(j)[0], int(j % 2 == 0)
        for i, count in enumerate(kept[j]):
            short = ids if count == len(ids) else np.r_[ids[:bos], ids[len(ids) - count + bos :]]
            example = TokenTable.of([Encoded(short, np.zeros(len(short), np.uint8), False)])
            wanted[j, i] = slowly(lm, example, items.subset([i]))[0, 0]
    function = Delift(lm, pool, items, batch_tokens=4096)
    calls = Calls(lm, monkeypatch)
    close(function(np.arange(17)).matrix, wanted)
    assert len(calls.shapes) < 24
    assert all(places <= 100 for *_, places in calls.shapes)
    once = [np.unique(row) for row in kept]
    assert function.passes.forward == 3 + sum(len(row) for row in once) + 3 * 17
    following = 17 * int(items.lengths.sum() + 3)
    assert function.passes.tokens == int(items.lengths.sum() + sum(row.sum() for row in once)) + following


def test_a_batch_has_no_example_shorter_than_half_of_its_longest() -> None:
    runs = InContext(make_lm(), lambda logits, where: logits.sum(1), max_tokens=9000, shared=True, padded=True)
    lengths = np.array([5, 19, 40, 20, 39, 4])
    assert [p.tolist() for p in runs.plan(lengths, np.arange(6), ITEMS)] == [[2, 4, 3], [1], [0, 5]]
    long = np.array([140, 160, 150])  # rooms 153, 148 and 148: too long for none, for all three, for two
    assert [p.tolist() for p in runs.plan(long, np.arange(3), ITEMS.subset([0, 2, 1]))] == [[1], [2], [0]]


def test_batches_of_several_lengths_stay_within_the_budget_and_fill_it(monkeypatch: pytest.MonkeyPatch) -> None:
    lm = make_lm()
    pool = TokenTable.of([chat(20 + k % 9, 10, k) for k in range(60)])
    function = Delift(lm, pool, ITEMS, batch_tokens=700)
    function(np.zeros(0, dtype=np.int64))
    calls = Calls(lm, monkeypatch)
    function(np.arange(60))
    weights = [n * (t + (places - t) // 8) for n, t, places in calls.shapes]
    assert max(weights) <= 700
    assert np.mean(weights) > 500


@pytest.mark.parametrize("reuse", [True, False])
def test_a_pair_depends_on_nothing_but_the_pair(reuse: bool) -> None:
    lm = make_lm()
    whole = scores(lm, reuse=reuse)
    function = Delift(lm, POOL, ITEMS, batch_tokens=64, reuse=reuse)
    rows, items = np.array([3, 0, 3, 1]), np.array([2, 0, 2])
    close(function(rows, items).matrix, whole[rows][:, items])
    for row in range(5):
        for item in range(3):
            close(function(np.array([row]), np.array([item])).matrix, whole[row : row + 1, item : item + 1])
    order = np.random.default_rng(0).permutation(5)
    close(function(order).matrix, whole[order])


def test_padding_of_neighbours_changes_nothing() -> None:
    lm = make_lm()
    longer = TokenTable.of([*(Encoded(*ITEMS.row(i), False) for i in range(3)), chat(30, 20, 9)])
    close(scores(lm, items=longer)[:, :3], scores(lm))


def test_equal_pool_rows_have_equal_scores_and_the_pool_can_be_its_own_items() -> None:
    rows = [chat(3, 2, 0), chat(5, 3, 1), chat(3, 2, 0), chat(5, 2, 2)]
    pool = TokenTable.of(rows)
    found = scores(make_lm(), pool, pool)
    close(found[0], found[2])
    close(found[:, 0], found[:, 2])
    close(found, slowly(make_lm(), pool, pool))
    assert not np.allclose(found, found.T, atol=1e-3)


def test_each_example_is_run_once_and_each_item_alone_once() -> None:
    lm = make_lm()
    once, item = int(POOL.lengths.sum()), int(ITEMS.lengths.sum())
    following = item + 3 - 1  # three separators, one BOS less
    shared = Delift(lm, POOL, ITEMS, batch_tokens=50)
    shared(np.arange(5))
    assert shared.passes == Passes(forward=3 + 5 + 15, tokens=item + once + 5 * following)
    shared(np.arange(2))  # what is known of the items is kept
    assert shared.passes.forward == 3 + 5 + 15 + 2 + 6
    whole = Delift(lm, POOL, ITEMS, reuse=False)
    whole(np.arange(5))
    assert whole.passes == Passes(forward=3 + 15, tokens=item + 3 * once + 5 * following)
    assert Delift(lm, POOL, ITEMS).passes == Passes()


def test_few_items_still_fill_batches_with_rows_of_equal_length(monkeypatch: pytest.MonkeyPatch) -> None:
    lm, sizes = make_lm(), []
    forward = lm.model.forward

    def watched(*args: Any, **kwargs: Any) -> Any:
        sizes.append(kwargs["input_ids"].shape)
        return forward(*args, **kwargs)

    monkeypatch.setattr(lm.model, "forward", watched)
    pool = TokenTable.of([chat(5, 4, k) for k in range(20)])
    function = Delift(lm, pool, ITEMS, batch_tokens=200)
    sizes.clear()
    function(np.arange(20), np.array([0]))
    assert [n for n, _ in sizes[1:]] == [14, 6]  # of 13 tokens and an eighth of 12
    assert all(n * (s + 1) <= 200 for n, s in sizes)


def test_batches_stay_within_the_budget() -> None:
    runs = InContext(make_lm(), lambda logits, where: logits.sum(1), max_tokens=90, shared=True)
    lengths = np.array([10, 0, 30, 10, 100, 10, 30, 30, 10])
    plan = runs.plan(lengths, np.array([0, 2, 3, 4, 5, 6, 7, 8]), ITEMS)
    assert [p.tolist() for p in plan] == [[4], [2, 6, 7], [0, 3, 5, 8]]


def test_rows_and_items_that_cannot_run_are_nan_alone_with_a_reason() -> None:
    foreign = chat(3, 2, 0)
    foreign.ids[2] = len(WORDS)
    bare = chat(3, 2, 1)
    bare.mask[:] = 0
    pool = TokenTable.of([chat(3, 2, 0), "no response: empty", foreign, bare])
    items = TokenTable.of([foreign, chat(4, 5, 10), bare, "no text", chat(90, 60, 3)])
    reporter = Counting()
    found = Delift(make_lm(), pool, items)(np.array([0, 1, 2, 3, 1]), reporter=reporter)
    assert reporter.done == 5
    wanted = np.full((5, 5), np.nan)
    single = TokenTable.of([chat(4, 5, 10)])
    wanted[[0, 3], 1] = slowly(make_lm(), TokenTable.of([chat(3, 2, 0), bare]), single)[:, 0]
    close(found.matrix, wanted)
    assert found.problems == {1: "no response: empty", 2: "a token id beyond the 61 that the model embeds"}
    assert found.item_problems.keys() == {0, 2, 3, 4}
    assert found.item_problems[2].startswith("no response token")
    assert found.item_problems[3] == "no text"
    assert found.item_problems[4].startswith("too long: of 160 tokens it leaves 6 for an example")
    again = Delift(make_lm(), pool, items)(np.array([0]), np.array([1]))
    assert not again.problems and not again.item_problems


def test_an_item_without_anything_before_its_response_needs_a_separator() -> None:
    words = chat(0, 3, 0).ids[2:]
    item = Encoded(np.array([BOS, *words], np.int32), np.array([0, 1, 1, 1, 1], np.uint8), False)
    items = TokenTable.of([item, chat(2, 2, 1)])
    close(scores(make_lm(), items=items), slowly(make_lm(), POOL, items))
    silent = make_lm(tokenizer=toy_tokenizer(CHATML.replace("\n", "")))
    found = Delift(silent, POOL, items)(np.arange(5))
    assert found.item_problems.keys() == {0} and "no prompt" in found.item_problems[0]
    close(found.matrix[:, 1:], slowly(silent, POOL, TokenTable.of([chat(2, 2, 1)]), ()))


@pytest.mark.parametrize("reuse", [True, False])
def test_a_model_that_is_not_finite(reuse: bool) -> None:
    model = copy.deepcopy(toy_model("llama"))
    with torch.no_grad():
        model.get_input_embeddings().weight[50] = float("nan")
    lm = make_lm()
    broken = LanguageModel(model, lm.tokenizer, lm.device, lm.dtype, lm.max_length, 0, "broken", ())
    good, bad = chat(3, 2, 0), chat(3, 2, 1)
    good.ids[good.ids == 50], bad.ids[2] = 51, 50
    item, bad_item = chat(4, 2, 10), chat(4, 2, 11)
    item.ids[item.ids == 50], bad_item.ids[1] = 51, 50
    found = Delift(broken, TokenTable.of([good, bad]), TokenTable.of([item, bad_item]), reuse=reuse)(np.arange(2))
    assert np.isfinite(found.matrix).tolist() == [[True, False], [False, False]]
    assert found.problems.keys() == {1} and "not finite" in found.problems[1]
    assert found.item_problems.keys() == {1} and "not finite" in found.item_problems[1]


@pytest.mark.parametrize("reuse", [True, False])
def test_examples_that_do_not_fit_are_cut_on_the_left(reuse: bool) -> None:
    lm = make_lm(max_length=100)
    pool = TokenTable.of([chat(70, 20, 0, bos=True), chat(60, 8, 1), chat(3, 2, 2)])
    items = TokenTable.of([chat(20, 4, 10), chat(60, 10, 11), chat(2, 2, 12), chat(70, 20, 13)])
    lengths = items.lengths + 1  # with the separator
    assert (100 - lengths).tolist() == [72, 26, 92, 6]
    found = Delift(lm, pool, items, reuse=reuse)
    result = found(np.arange(3))
    assert result.item_problems.keys() == {3} and np.isnan(result.matrix[:, 3]).all()
    kept = {0: [64, 16, 64], 1: [71, 16, 71], 2: [8, 8, 8]}
    for j, counts in kept.items():
        ids = pool.row(j)[0]
        for i, count in enumerate(counts):
            short = ids if count >= len(ids) else np.r_[ids[: int(j == 0)], ids[len(ids) - count + int(j == 0) :]]
            assert len(short) == min(count, len(ids))
            example = TokenTable.of([Encoded(short, np.zeros(len(short), np.uint8), False)])
            item = TokenTable.of([Encoded(*items.row(i), False)])
            close(result.matrix[j, i], slowly(lm, example, item)[0, 0])
    assert "2 examples were cut" in found.notes[-1]
    close(found(np.array([1]), np.array([1])).matrix[0, 0], result.matrix[1, 1])
    fitting = Delift(lm, pool, items)
    fitting(np.array([2, 1]), np.array([0, 2, 3]))
    assert not any("cut" in note for note in fitting.notes)  # only what was run counts


def test_how_much_of_an_example_is_kept() -> None:
    assert kept_lengths(100, np.array([16, 40, 64, 99, 100, 200])).tolist() == [16, 16, 64, 64, 100, 100]
    assert kept_lengths(10, np.array([16, 10_000])).tolist() == [10, 10]
    assert kept_lengths(np.array([[100], [10]]), np.array([16, 99])).tolist() == [[16, 64], [10, 10]]
    ids = torch.tensor([[BOS, 7, 8, 9], [10, 11, 12, 13]])
    assert cut_examples(ids, 2, bos=BOS).tolist() == [[BOS, 9], [12, 13]]
    assert cut_examples(ids, 4, bos=BOS).tolist() == ids.tolist()
    assert cut_examples(ids, 2, bos=None).tolist() == [[8, 9], [12, 13]]
    of_three, counts = torch.tensor([3, 4]), torch.tensor([2, 4])
    several = cut_examples(ids, counts, bos=BOS, lengths=of_three)
    assert several[0, :2].tolist() == [BOS, 8] and several[1].tolist() == [10, 11, 12, 13]
    assert ids[0].tolist() == [BOS, 7, 8, 9]


WITH_BOS = "{% for m in messages %}{{ '<s><u>' if m.role == 'user' else '<a>' }}{{ m.content }}</s>{% endfor %}"
WITH_SYSTEM = "{{ '<u> w1 </s>' }}" + CHATML


@pytest.mark.parametrize(
    ("template", "ids", "words"),
    [
        (CHATML, [LINE], "as the chat template writes it"),
        (CHATML.replace("\n", ""), [], "nothing"),
        (WITH_BOS, [BOS], "'<s>', as the chat template writes it"),
        (WITH_SYSTEM, [LINE], "a new line, because"),
        (None, [LINE], "as the chat template writes it"),
        ("{{ raise_exception('no') }}", [LINE], "a new line, because"),
    ],
)
def test_the_separator_is_what_the_chat_template_writes(template: str | None, ids: list[int], words: str) -> None:
    found, note = separator(toy_tokenizer(template))
    assert found.tolist() == ids and words in note
    lm = make_lm(tokenizer=toy_tokenizer(template))
    close(scores(lm), slowly(lm, POOL, ITEMS, tuple(ids)))


OTHERS: dict[str, dict[str, Any]] = {
    "lfm2": LLAMA | {"layer_types": ["conv", "full_attention", "conv"]},
    "openai-gpt": {"n_embd": 24, "n_layer": 3, "n_head": 4, "n_positions": 160},
}


@pytest.mark.parametrize("name", list(OTHERS))
def test_a_model_that_cannot_share_a_prefix_runs_whole_pairs_and_says_so(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(ARCHITECTURES, name, OTHERS[name])
    lm = make_lm(name)
    function = Delift(lm, POOL, ITEMS)
    close(function(np.arange(5)).matrix, slowly(lm, POOL, ITEMS))
    assert function.passes.forward == 3 + 15
    assert any("every pair is run as one whole sequence" in note and "keep" in note for note in function.notes)


def test_a_model_that_takes_no_cache(monkeypatch: pytest.MonkeyPatch) -> None:
    lm = make_lm()
    base = lm.model.base_model
    forward: Callable[..., Any] = base.forward
    monkeypatch.setattr(base, "forward", lambda input_ids, attention_mask, use_cache: forward(input_ids))
    assert "cannot go on from a prefix" in str(why_not_shared(lm))


@pytest.mark.parametrize("reuse", [True, False])
@pytest.mark.parametrize("limit", [70, 25])
def test_out_of_memory_halves_batches_and_sets_aside_what_fits_in_no_way(
    reuse: bool, limit: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    lm = make_lm()
    wanted = scores(lm)
    forward = lm.model.base_model.forward

    def narrow(*args: Any, **kwargs: Any) -> Any:
        if kwargs["attention_mask"].numel() > limit:
            raise torch.OutOfMemoryError("out of memory")
        return forward(*args, **kwargs)

    monkeypatch.setattr(lm.model.base_model, "forward", narrow)
    function, reporter = Delift(lm, POOL, ITEMS, reuse=reuse), Counting()
    found = function(np.arange(5), reporter=reporter)
    together = POOL.lengths[:, None] + ITEMS.lengths + 1 - (ITEMS.ids[ITEMS.offsets[:-1]] == BOS)
    fits = together <= limit
    close(found.matrix, np.where(fits, wanted, np.nan))
    assert found.problems.keys() == set(np.flatnonzero(~fits.all(axis=1)).tolist())
    assert all("out of memory" in reason for reason in found.problems.values())
    assert not found.item_problems and reporter.done == 5
    assert any("memory ran out" in note for note in function.notes)
    assert fits.all() == (limit == 70)


def test_when_memory_runs_out_examples_go_on_by_halves_and_are_not_run_again(monkeypatch: pytest.MonkeyPatch) -> None:
    lm = make_lm()
    wanted, failures = scores(lm, DIFFERENT, FOUR), []
    forward = lm.model.base_model.forward

    def narrow(*args: Any, **kwargs: Any) -> Any:
        rows, tokens = kwargs["input_ids"].shape
        if kwargs["attention_mask"].shape[1] > tokens and rows * tokens > 60:
            failures.append(rows)
            raise torch.OutOfMemoryError("out of memory")
        return forward(*args, **kwargs)

    monkeypatch.setattr(lm.model.base_model, "forward", narrow)
    function = Delift(lm, DIFFERENT, FOUR, batch_tokens=4096)
    close(function(np.arange(24)).matrix, wanted)
    assert function.passes.forward == 4 + 24 + 96
    assert 1 < len(failures) < 12  # what was learnt holds for later batches
    assert any("memory ran out" in note for note in function.notes)


def test_an_item_that_does_not_fit_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    lm = make_lm()
    forward = lm.model.base_model.forward

    def narrow(*args: Any, **kwargs: Any) -> Any:
        if kwargs["input_ids"].shape[1] > 10:
            raise MemoryError
        return forward(*args, **kwargs)

    monkeypatch.setattr(lm.model.base_model, "forward", narrow)
    found = Delift(lm, POOL, ITEMS)(np.array([0, 1]))
    assert found.item_problems.keys() == {0, 2}
    assert np.isfinite(found.matrix).tolist() == [[False, True, False], [False, False, False]]
    assert "out of memory" in found.problems[1]


def test_other_errors_are_not_taken_for_a_lack_of_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    lm = make_lm()
    function = Delift(lm, POOL, ITEMS)

    def broken(*args: Any, **kwargs: Any) -> Any:
        raise RuntimeError("shapes differ")

    monkeypatch.setattr("engine.influence.functions.pairs.continued_logits", broken)
    with pytest.raises(RuntimeError, match="shapes differ"):
        function(np.arange(5))


def empty(found: Scores, shape: tuple[int, int]) -> None:
    assert found.matrix.shape == shape and found.matrix.dtype == np.float32
    assert not found.problems and not found.item_problems


@pytest.mark.parametrize("reuse", [True, False])
def test_no_rows_and_no_items(reuse: bool) -> None:
    lm, reporter = make_lm(), Counting()
    none = np.zeros(0, dtype=np.int64)
    function = Delift(lm, POOL, ITEMS, reuse=reuse)
    empty(function(none, reporter=reporter), (0, 3))
    empty(function(np.array([1, 4]), none, reporter=reporter), (2, 0))
    empty(Delift(lm, POOL, TokenTable.of([]), reuse=reuse)(np.arange(5), reporter=reporter), (5, 0))
    assert reporter.done == 7
    assert function(np.array([1]), np.array([1])).matrix.shape == (1, 1)


def test_progress_counts_rows_repeated_ones_too_and_can_be_cancelled() -> None:
    lm, reporter = make_lm(), Counting()
    Delift(lm, POOL, ITEMS, batch_tokens=30)(np.array([0, 0, 4, 2, 0]), reporter=reporter)
    assert reporter.done == 5
    for stop in (1, reporter.checks // 2, reporter.checks):
        with pytest.raises(Cancelled):
            Delift(lm, POOL, ITEMS, batch_tokens=30)(np.array([0, 4, 2]), reporter=Counting(stop))


def test_a_budget_below_one_token_is_refused() -> None:
    with pytest.raises(EngineError, match="batch_tokens is 0"):
        Delift(make_lm(), POOL, ITEMS, batch_tokens=0)


def test_the_random_state_and_the_model_are_left_as_they_were() -> None:
    lm, before = make_lm(), torch.get_rng_state()
    scores(lm)
    assert torch.equal(torch.get_rng_state(), before)
    assert lm.model.config.use_cache is False and not lm.model.training
