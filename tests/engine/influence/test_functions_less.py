"""LESS against its formula: one row at a time, autograd over the adapters, moments and sums written out."""

import copy
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.nn import functional
from transformers import GPT2Config, GPT2LMHeadModel, LlamaConfig, LlamaForCausalLM, Qwen2Config, Qwen2ForCausalLM

from engine.errors import Cancelled, EngineError
from engine.gradients.layers import layer_gradients
from engine.gradients.parameters import block_linears
from engine.influence.functions import less
from engine.influence.functions.base import InfluenceFunction, Passes
from engine.influence.functions.less import Less, checkpoint_weights, less_projection, preconditioned
from engine.models.batches import collate
from engine.models.loading import LanguageModel
from engine.models.lora import LoraCheckpoint, LoraConfig, LoraWarmUp, load_lora, save_lora, warm_up_lora
from engine.models.table import Encoded, TokenTable
from engine.progress import Silent

VOCABULARY = 61
SPECIAL = {"vocab_size": VOCABULARY, "bos_token_id": 1, "eos_token_id": 2, "pad_token_id": 0}
SHAPE = {"hidden_size": 24, "intermediate_size": 40, "num_hidden_layers": 2, "num_attention_heads": 4}
COMMON = {**SPECIAL, **SHAPE, "num_key_value_heads": 2, "max_position_embeddings": 64}
ARCHITECTURES: dict[str, tuple[Any, Any]] = {
    "llama": (LlamaForCausalLM, LlamaConfig(**COMMON)),
    "gpt2": (GPT2LMHeadModel, GPT2Config(**SPECIAL, n_embd=24, n_layer=2, n_head=4, n_positions=64)),
    "qwen2": (Qwen2ForCausalLM, Qwen2Config(**COMMON)),
}
CONFIG = LoraConfig(rank=3, alpha=6.0, fraction=0.6, epochs=2, batch_rows=3, learning_rate=2e-2, seed=4)
WHOLE = 1 << 20
ROWS, ITEMS = 9, 4


@cache
def tiny(architecture: str, dtype: torch.dtype = torch.float32) -> LanguageModel:
    """A tiny random model whose rows have unlike gradients. Never changed for good."""
    kind, config = ARCHITECTURES[architecture]
    with torch.random.fork_rng():
        torch.manual_seed(1)
        model = kind._from_config(copy.deepcopy(config))
        with torch.no_grad():
            for parameter in model.parameters():
                if parameter.ndim > 1:
                    parameter.normal_(std=0.2)
    model = model.eval().requires_grad_(False).to(dtype)
    return LanguageModel(model, None, torch.device("cpu"), dtype, 64, 0, f"tiny {architecture}", ())  # type: ignore[arg-type]


def encoded(generator: np.random.Generator, length: int, prompt: int) -> Encoded:
    ids = generator.integers(3, VOCABULARY, length).astype(np.int32)
    return Encoded(ids, (np.arange(length) >= prompt).astype(np.uint8), False)


def make_table(count: int, seed: int) -> TokenTable:
    generator = np.random.default_rng(seed)
    return TokenTable.of(encoded(generator, 4 + (5 * i) % 7, 1 + i % 3) for i in range(count))


def joined(*tables: TokenTable) -> TokenTable:
    """The rows of several tables, one after the other."""
    return TokenTable.of(
        table.problems.get(i) or Encoded(*table.row(i), False) for table in tables for i in range(len(table))
    )


POOL, TARGETS = make_table(ROWS, 0), make_table(ITEMS, 1)


@cache
def warmed(architecture: str) -> LoraWarmUp:
    return warm_up_lora(tiny(architecture), POOL, CONFIG)


def row_loss(model: torch.nn.Module, table: TokenTable, i: int) -> Tensor:
    ids, mask = (torch.tensor(a.astype(np.int64)) for a in table.row(i))
    logits = model(input_ids=ids[None]).logits[0, :-1].float()
    return functional.cross_entropy(logits[mask[1:] == 1], ids[1:][mask[1:] == 1])


def naive(
    lm: LanguageModel,
    pool: TokenTable,
    items: TokenTable,
    warm: LoraWarmUp,
    *,
    conditioned_items: bool = False,
    matrix: Tensor | None = None,
) -> np.ndarray:
    """P (n, t) by the formula: one row after the other, plain autograd, every sum written out."""
    adapters = warm.config.adapters(lm)
    rates = [c.mean_learning_rate for c in warm.checkpoints]
    b1, b2 = warm.config.betas
    total = torch.zeros(len(pool), len(items), dtype=torch.float64)

    def gradient(table: TokenTable, i: int) -> Tensor:
        weights = [site.weight.requires_grad_(True) for site in adapters.sites]
        found = torch.autograd.grad(row_loss(lm.model, table, i), weights, materialize_grads=True)
        return torch.cat([g.flatten() for g in found])

    def unit(x: Tensor) -> Tensor:
        x = x.double() if matrix is None else matrix @ x.double()
        return x / torch.sqrt((x**2).sum())

    for checkpoint, rate in zip(warm.checkpoints, rates):
        m = torch.cat([checkpoint.moments[n][0].flatten() for n in adapters.names])
        v = torch.cat([checkpoint.moments[n][1].flatten() for n in adapters.names])

        def adams(g: Tensor, m: Tensor = m, v: Tensor = v) -> Tensor:
            return (b1 * m + (1 - b1) * g) / torch.sqrt(b2 * v + (1 - b2) * g**2 + 1e-8)

        with adapters.attached():
            adapters.load(checkpoint.weights)
            sides = [unit(adams(gradient(pool, i))) for i in range(len(pool))]
            plain = [gradient(items, j) for j in range(len(items))]
            against = [unit(adams(g) if conditioned_items else g) for g in plain]
        for i, row in enumerate(sides):
            for j, item in enumerate(against):
                total[i, j] += rate / sum(rates) * float(row @ item)
    return total.numpy()


def scores(architecture: str = "llama", *, pool: TokenTable = POOL, **options: Any) -> np.ndarray:
    function = Less(tiny(architecture), pool, TARGETS, warmed(architecture), **{"width": WHOLE, **options})
    return function(np.arange(len(pool))).matrix


def logits(lm: LanguageModel) -> Tensor:
    batch = collate(POOL, [0, 1, 2], pad_id=0)
    with torch.no_grad():
        return lm.logits(batch)


@pytest.mark.parametrize("architecture", list(ARCHITECTURES))
def test_every_pair_equals_the_formula(architecture: str) -> None:
    lm, warm = tiny(architecture), warmed(architecture)
    function = Less(lm, POOL, TARGETS, warm, width=WHOLE, batch_tokens=40)
    found = function(np.arange(ROWS))
    assert found.matrix.dtype == np.float32 and not found.problems and not found.item_problems
    expected = naive(lm, POOL, TARGETS, warm)
    np.testing.assert_allclose(found.matrix, expected, rtol=2e-3, atol=2e-5)
    assert expected.std() > 0.01  # there is something to get wrong


def test_it_is_an_influence_function_of_pairs() -> None:
    function: InfluenceFunction = Less(tiny("llama"), POOL, TARGETS, warmed("llama"))
    assert (function.name, function.pointwise) == ("less", False)
    assert any("checkpoints" in note and "0.7" in note for note in function.notes)
    assert any("have seen 5 samples" in note for note in function.notes)


def test_only_the_pool_side_is_preconditioned() -> None:
    lm, warm = tiny("llama"), warmed("llama")
    both = naive(lm, POOL, TARGETS, warm, conditioned_items=True)
    assert np.abs(both - scores()).max() > 0.05


def test_the_pool_side_does_not_pass_as_plain() -> None:
    """With moments that make Γ a multiple of g the scores are cosines; with those of the warm-up they are not."""
    warm = warmed("llama")

    def flat(checkpoint: LoraCheckpoint) -> LoraCheckpoint:
        moments = {n: (torch.zeros_like(m), torch.full_like(v, 1e6)) for n, (m, v) in checkpoint.moments.items()}
        return replace(checkpoint, moments=moments)

    even = replace(warm, checkpoints=tuple(map(flat, warm.checkpoints)))
    cosines = Less(tiny("llama"), TARGETS, TARGETS, even, width=WHOLE)(np.arange(ITEMS)).matrix
    np.testing.assert_allclose(np.diag(cosines), 1.0, atol=1e-5)
    conditioned = Less(tiny("llama"), TARGETS, TARGETS, warm, width=WHOLE)(np.arange(ITEMS)).matrix
    assert np.diag(conditioned).max() < 0.95


def test_preconditioning_reads_as_the_formula() -> None:
    generator = torch.Generator().manual_seed(0)
    g, m = torch.randn(2, 5, 3, generator=generator), torch.randn(5, 3, generator=generator)
    v = torch.rand(5, 3, generator=generator)
    found = preconditioned(g, m, v, betas=(0.8, 0.9))
    torch.testing.assert_close(found, (0.8 * m + 0.2 * g) / torch.sqrt(0.9 * v + 0.1 * g * g + 1e-8))
    nothing = preconditioned(torch.zeros(1, 2), torch.zeros(2), torch.zeros(2), betas=(0.9, 0.999))
    assert torch.equal(nothing, torch.zeros(1, 2))


def test_checkpoints_count_by_their_mean_learning_rates() -> None:
    warm = warmed("llama")
    weights = checkpoint_weights(warm.checkpoints)
    rates = [c.mean_learning_rate for c in warm.checkpoints]
    assert rates[0] > rates[1] > 0
    np.testing.assert_allclose(weights, np.array(rates) / sum(rates))
    single = [
        Less(tiny("llama"), POOL, TARGETS, replace(warm, checkpoints=(c,)), width=WHOLE)(np.arange(ROWS)).matrix
        for c in warm.checkpoints
    ]
    np.testing.assert_allclose(scores(), weights[0] * single[0] + weights[1] * single[1], atol=1e-5)
    assert np.abs(single[0] - single[1]).max() > 0.01


def projection_matrix(function: Less) -> Tensor:
    """The projection as a matrix (d, numbers): what it makes of every unit vector."""
    projection = function._projection
    raws = []
    for index, site in enumerate(projection.sites):
        count = site.weight.numel()
        units = torch.eye(count).view(count, site.out_features, site.in_features)
        raw = torch.zeros(count, projection.raw_dim)
        raw[:, projection.offsets[index] : projection.offsets[index + 1]] = projection.project_matrix(site, units)
        raws.append(raw)
    return projection.finish(torch.cat(raws)).T.double()


@pytest.mark.parametrize("raw", [WHOLE, 900])
def test_the_projection_is_its_matrix(monkeypatch: pytest.MonkeyPatch, raw: int) -> None:
    monkeypatch.setattr(less, "RAW_NUMBERS", raw)
    lm, warm = tiny("gpt2"), warmed("gpt2")
    function = Less(lm, POOL, TARGETS, warm, width=200, seed=3)
    assert function._projection.dim == 200
    assert (function._projection.raw_dim <= 900) == (raw == 900)
    expected = naive(lm, POOL, TARGETS, warm, matrix=projection_matrix(function))
    np.testing.assert_allclose(function(np.arange(ROWS)).matrix, expected, rtol=2e-3, atol=5e-5)
    assert any("projected to 200" in note for note in function.notes)


@pytest.mark.parametrize("raw", [WHOLE, 900])
def test_projections_estimate_inner_products_without_bias(monkeypatch: pytest.MonkeyPatch, raw: int) -> None:
    monkeypatch.setattr(less, "RAW_NUMBERS", raw)
    sites = CONFIG.adapters(tiny("gpt2")).sites
    generator = torch.Generator().manual_seed(5)
    pairs = [torch.randn(2, site.out_features, site.in_features, generator=generator) for site in sites]
    pairs = [torch.stack([a, a + b]) for a, b in pairs]
    true = sum(float((a * b).sum()) for a, b in pairs)
    length = sum(float((a * a).sum()) for a, _ in pairs)
    found, lengths = [], []
    for seed in range(60):
        projection = less_projection(sites, width=300, seed=seed)
        raws = torch.cat([projection.project_matrix(s, pair) for s, pair in zip(sites, pairs)], dim=1)
        x, y = projection.finish(raws)
        found.append(float(x @ y))
        lengths.append(float(x @ x))
    for values, expected in ((found, true), (lengths, length)):
        assert np.mean(values) == pytest.approx(expected, abs=4 * np.std(values) / np.sqrt(60))
        assert np.std(values) < 0.2 * expected


def test_a_projection_of_few_numbers_is_none_at_all() -> None:
    sites = CONFIG.adapters(tiny("llama")).sites
    whole = sum(site.weight.numel() for site in sites)
    assert less_projection(sites, width=whole, seed=0).dim == whole
    assert less_projection(sites, width=whole - 1, seed=0).dim == whole - 1
    np.testing.assert_allclose(scores(width=whole), scores(width=WHOLE))
    np.testing.assert_allclose(scores(width=whole - 1), scores(), atol=0.1)


def test_batches_order_and_company_do_not_matter() -> None:
    whole = scores()
    for budget in (1, 23, 10_000):
        np.testing.assert_allclose(scores(batch_tokens=budget), whole, atol=1e-5)
    function = Less(tiny("llama"), POOL, TARGETS, warmed("llama"), width=WHOLE)
    order = np.array([7, 2, 2, 0, 8])
    np.testing.assert_allclose(function(order).matrix, whole[order], atol=1e-5)
    np.testing.assert_allclose(function(order, np.array([3, 1, 3])).matrix, whole[order][:, [3, 1, 3]], atol=1e-5)
    assert function(np.array([1]), np.array([], dtype=np.int64)).matrix.shape == (1, 0)
    assert function(np.array([], dtype=np.int64)).matrix.shape == (0, ITEMS)


def test_equal_rows_score_alike() -> None:
    pool = joined(POOL, POOL)
    found = scores(pool=pool)
    np.testing.assert_allclose(found[:ROWS], found[ROWS:], atol=1e-6)


def test_the_pool_may_be_the_items() -> None:
    lm, warm = tiny("llama"), warmed("llama")
    found = Less(lm, POOL, POOL, warm, width=WHOLE)(np.arange(ROWS)).matrix
    np.testing.assert_allclose(found, naive(lm, POOL, POOL, warm), rtol=2e-3, atol=2e-5)
    assert not np.allclose(found, found.T, atol=0.01)  # the two sides are treated differently


def test_passes_count_rows_each_time_and_items_once() -> None:
    function = Less(tiny("llama"), POOL, TARGETS, warmed("llama"))
    assert function.passes == Passes()
    function(np.arange(3), np.array([0]))
    tokens = 2 * int(TARGETS.lengths.sum() + POOL.lengths[:3].sum())
    assert function.passes == Passes(backward=2 * (ITEMS + 3), tokens=tokens)
    function(np.array([5, 5]))
    assert function.passes.backward == 2 * (ITEMS + 4)


def test_progress_counts_rows_once() -> None:
    class Counter(Silent):
        done, phases = 0, 0

        def advance(self, n: int) -> None:
            self.done += n

        def phase(self, name: str, total: int, unit: str = "rows") -> None:
            self.phases += 1

    counter = Counter()
    function = Less(tiny("llama"), POOL, TARGETS, warmed("llama"), batch_tokens=20)
    function(np.array([0, 1, 2, 2, 5]), reporter=counter)
    assert (counter.done, counter.phases) == (5, 0)


def test_the_model_is_given_back_without_adapters() -> None:
    lm = tiny("qwen2")
    before, names = logits(lm), [n for n, _ in lm.model.named_parameters()]
    weights = [p.clone() for p in lm.model.parameters()]
    function = Less(lm, POOL, TARGETS, warmed("qwen2"))
    assert torch.equal(logits(lm), before)
    function(np.arange(ROWS))
    assert torch.equal(logits(lm), before)
    assert [n for n, _ in lm.model.named_parameters()] == names
    assert all(torch.equal(a, b) for a, b in zip(weights, lm.model.parameters()))
    assert not any(p.requires_grad or p.grad is not None for p in lm.model.parameters())


def test_cancelling_takes_the_adapters_out_and_a_later_call_is_whole() -> None:
    class Impatient(Silent):
        checks = 0

        def check(self) -> None:
            self.checks += 1
            if self.checks == 4:
                raise Cancelled("cancelled")

    lm = tiny("llama")
    before = logits(lm)
    function = Less(lm, POOL, TARGETS, warmed("llama"), width=WHOLE, batch_tokens=12)
    with pytest.raises(Cancelled):
        function(np.arange(ROWS), reporter=Impatient())
    assert torch.equal(logits(lm), before)
    np.testing.assert_allclose(function(np.arange(ROWS)).matrix, scores(), atol=1e-5)


def test_rows_and_items_without_a_gradient_are_not_scored() -> None:
    generator = np.random.default_rng(3)
    silent = Encoded(np.array([5, 6, 7], dtype=np.int32), np.zeros(3, dtype=np.uint8), False)
    unknown = Encoded(np.array([5, VOCABULARY, 7], dtype=np.int32), np.ones(3, dtype=np.uint8), False)
    bad = TokenTable.of([silent, "no response: it is empty", unknown, encoded(generator, 6, 2)])
    pool, items = joined(POOL, bad), joined(TARGETS, bad)
    function = Less(tiny("llama"), pool, items, warmed("llama"), width=WHOLE)
    found = function(np.arange(len(pool)))
    assert sorted(found.problems) == [ROWS, ROWS + 1, ROWS + 2]
    assert "no response token" in found.problems[ROWS]
    assert found.problems[ROWS + 1] == "no response: it is empty"
    assert "token id beyond" in found.problems[ROWS + 2]
    assert sorted(found.item_problems) == [ITEMS, ITEMS + 1, ITEMS + 2]
    assert "no response token" in found.item_problems[ITEMS]
    bad_rows, bad_items = np.isin(np.arange(len(pool)), list(found.problems)), [ITEMS, ITEMS + 1, ITEMS + 2]
    assert np.isnan(found.matrix[bad_rows]).all() and np.isnan(found.matrix[:, bad_items]).all()
    assert np.isfinite(np.delete(found.matrix[~bad_rows], bad_items, axis=1)).all()
    np.testing.assert_allclose(found.matrix[:ROWS, :ITEMS], scores(), atol=1e-5)
    assert not function(np.arange(2), np.array([0])).item_problems
    alone = function(np.array([ROWS, ROWS + 1]), np.array([ITEMS, 0]))
    assert np.isnan(alone.matrix).all() and sorted(alone.problems) == [ROWS, ROWS + 1]


def test_a_gradient_of_zero_has_no_direction() -> None:
    """With A and B both zero no adapter moves the loss, though Γ of a zero gradient would be the moments' direction."""
    warm = warmed("llama")
    still = {n: torch.zeros_like(w) for n, w in warm.checkpoints[0].weights.items()}
    dead = replace(warm, checkpoints=(replace(warm.checkpoints[0], weights=still), warm.checkpoints[1]))
    found = Less(tiny("llama"), POOL, TARGETS, dead)(np.arange(ROWS))
    assert np.isnan(found.matrix).all()
    assert set(found.item_problems.values()) == {"its gradient in the adapters is zero"}
    assert set(found.problems.values()) == {"its gradient in the adapters is zero"}


def test_numbers_that_overflow_stay_in_their_row() -> None:
    warm = warmed("llama")
    lm = replace(tiny("llama"), model=copy.deepcopy(tiny("llama").model))
    with torch.no_grad():
        lm.model.get_input_embeddings().weight[60] = float("nan")
    row = Encoded(np.array([5, 60, 7, 8], dtype=np.int32), np.array([0, 0, 1, 1], dtype=np.uint8), False)
    clean = TokenTable.of(
        Encoded(np.where(ids == 60, 59, ids), mask, False) for ids, mask in map(POOL.row, range(ROWS))
    )
    pool = joined(clean, TokenTable.of([row]))
    items = TokenTable.of(Encoded(np.where(i == 60, 59, i), m, False) for i, m in map(TARGETS.row, range(ITEMS)))
    found = Less(lm, pool, items, warm, width=WHOLE)(np.arange(ROWS + 1))
    assert list(found.problems) == [ROWS] and "not finite" in found.problems[ROWS]
    assert np.isfinite(found.matrix[:ROWS]).all()


@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.bfloat16, 0.05), (torch.float16, 2e-3)])
def test_half_precision_models_have_float32_gradients(dtype: torch.dtype, tolerance: float) -> None:
    warm = replace(warmed("llama"), dtype=str(dtype))
    found = Less(tiny("llama", dtype), POOL, TARGETS, warm, width=WHOLE)(np.arange(ROWS)).matrix
    np.testing.assert_allclose(found, scores(), atol=tolerance)


def test_small_gradients_of_a_float16_model_do_not_vanish() -> None:
    found = []
    for dtype in (torch.float32, torch.float16):
        lm = tiny("llama", dtype)
        lm = replace(lm, model=copy.deepcopy(lm.model))
        with torch.no_grad():
            lm.model.lm_head.weight.mul_(2e-4)
        warm = replace(warmed("llama"), dtype=str(dtype))
        found.append(Less(lm, POOL, TARGETS, warm, width=WHOLE)(np.arange(ROWS)).matrix)
    np.testing.assert_allclose(found[1], found[0], atol=3e-4)


def test_a_warm_up_read_from_its_folder_gives_the_same_scores(tmp_path: Path) -> None:
    save_lora(tmp_path, warmed("gpt2"))
    again = Less(tiny("gpt2"), POOL, TARGETS, load_lora(tmp_path, tiny("gpt2")), width=WHOLE)
    assert np.array_equal(again(np.arange(ROWS)).matrix, scores("gpt2"))


def test_a_rank_above_a_layers_own_follows_the_formula() -> None:
    lm = tiny("llama")
    warm = warm_up_lora(lm, POOL, replace(CONFIG, rank=30, epochs=1))
    found = Less(lm, POOL, TARGETS, warm, width=WHOLE)(np.arange(ROWS)).matrix
    np.testing.assert_allclose(found, naive(lm, POOL, TARGETS, warm), rtol=2e-3, atol=2e-5)


def test_the_whole_gradient_of_a_layer_is_formed_piecewise(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[int] = []

    def watched(signal: Tensor, inputs: Tensor) -> Any:
        for rows, gradient in layer_gradients(signal, inputs):
            seen.append(len(gradient))
            yield rows, gradient

    monkeypatch.setattr("engine.gradients.layers.EXPLICIT_ELEMENTS", {"cpu": 30})
    monkeypatch.setattr(less, "layer_gradients", watched)
    expected = scores()
    monkeypatch.undo()
    np.testing.assert_allclose(expected, scores(), atol=1e-5)
    assert set(seen) == {1}


def test_a_warm_up_of_another_model_is_refused() -> None:
    with pytest.raises(EngineError, match=r"another model \(tiny gpt2\).*The model is unchanged"):
        Less(tiny("llama"), POOL, TARGETS, warmed("gpt2"))
    with pytest.raises(EngineError, match=r"ran in torch\.float32.*bfloat16"):
        Less(tiny("llama", torch.bfloat16), POOL, TARGETS, warmed("llama"))
    with pytest.raises(EngineError, match="no checkpoint"):
        Less(tiny("llama"), POOL, TARGETS, replace(warmed("llama"), checkpoints=()))
    with pytest.raises(EngineError, match="width is 0"):
        Less(tiny("llama"), POOL, TARGETS, warmed("llama"), width=0)


def test_every_adapter_is_part_of_the_gradient() -> None:
    lm = tiny("gpt2")
    names = [site.name for site in CONFIG.adapters(lm).sites]
    layers = [site.name for site in block_linears(lm.model)]
    assert names == [f"{layer}.{part}.default" for layer in layers for part in ("lora_A", "lora_B")]
    assert "lm_head" not in " ".join(names)
