"""Scoring from a job folder: against autograd, across resumes, and with rows that cannot be scored."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

from engine.errors import Cancelled, EngineError
from engine.gradients.conditioning import adamw
from engine.gradients.parameters import block_linears
from engine.models.loading import load
from engine.models.table import Encoded, TokenTable
from engine.models.warmup import load_warm_up
from engine.progress import Silent
from engine.runs.config import ScoreConfig
from engine.runs.jobfolder import JobFolder
from engine.runs.scored import AUDIT, LANDMARK, REFINED, TRUNCATED, TUNING, WARM_UP
from engine.runs.scoring import run_score

VOCABULARY = 64


@pytest.fixture(scope="session")
def model_path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A random two-block Llama with a word tokenizer, as a folder."""
    path = tmp_path_factory.mktemp("tiny-llama")
    config = LlamaConfig(
        vocab_size=VOCABULARY,
        hidden_size=16,
        intermediate_size=24,
        num_hidden_layers=2,
        num_attention_heads=2,
        num_key_value_heads=2,
        max_position_embeddings=64,
    )
    with torch.random.fork_rng():
        torch.manual_seed(0)
        LlamaForCausalLM(config).save_pretrained(path)
    words = Tokenizer(models.WordLevel({f"w{i}": i for i in range(VOCABULARY)}, unk_token="w0"))
    words.pre_tokenizer = pre_tokenizers.Whitespace()
    PreTrainedTokenizerFast(tokenizer_object=words, unk_token="w0", pad_token="w1").save_pretrained(path)
    return path


def rows_of(count: int, seed: int) -> list[Encoded | str]:
    """Random rows of 6 to 20 tokens, the second half of each the response."""
    generator = np.random.default_rng(seed)
    rows: list[Encoded | str] = []
    for _ in range(count):
        length = int(generator.integers(6, 21))
        ids = generator.integers(2, VOCABULARY, length).astype(np.int32)
        mask = (np.arange(length) >= length // 2).astype(np.uint8)
        rows.append(Encoded(ids, mask, False))
    return rows


def job(
    path: Path, model_path: Path, config: ScoreConfig, pool: list[Encoded | str], sets: dict[str, list[Encoded | str]]
) -> JobFolder:
    """A complete job folder."""
    model = {"name": "tiny", "kind": "folder", "path": str(model_path), "sha256": ""}
    folder = JobFolder.create(path, {"kind": "score", "config": config.to_dict(), "model": model, "rows": len(pool)})
    TokenTable.of(pool).save(folder.input / "pool")
    for index, rows in enumerate(sets.values()):
        TokenTable.of(rows).save(folder.input / "targets" / str(index))
    (folder.input / "targets.json").write_text(json.dumps([{"name": n, "rows": len(r)} for n, r in sets.items()]))
    return folder


def scored(folder: JobFolder, reporter=None) -> dict:
    """Run the job and read everything it wrote."""
    run_score(folder, reporter or Silent())
    arrays = {p.stem: np.load(p) for p in folder.output.glob("*.npy")}
    return arrays | {"summary": json.loads((folder.output / "summary.json").read_text())}


EXACT = ScoreConfig(method="exact", projection=64)
SMALL = ScoreConfig(method="landmark", landmarks=20, audit=12)
SETS = {"a": rows_of(5, 100), "b": rows_of(3, 101)}


def autograd_gradients(lm, pool: list[Encoded | str], sets) -> tuple[torch.Tensor, torch.Tensor]:
    """Unprojected gradients of pool rows and target items, by one autograd call per row."""
    weights = [site.weight.requires_grad_(True) for site in block_linears(lm.model)]

    def gradient(row: Encoded) -> torch.Tensor:
        ids = torch.from_numpy(row.ids.astype(np.int64))[None]
        logits = lm.model(input_ids=ids).logits[0, :-1]
        losses = torch.nn.functional.cross_entropy(logits, ids[0, 1:], reduction="none")
        loss = losses[torch.from_numpy(row.mask[1:] != 0)].mean()
        return torch.cat([g.flatten() for g in torch.autograd.grad(loss, weights)])

    left = torch.stack([gradient(row) for row in pool])
    return left, torch.stack([gradient(row) for rows in sets.values() for row in rows])


def autograd_scores(model_path: Path, pool: list[Encoded | str], sets, unit: str) -> np.ndarray:
    """P by one autograd call per row, unprojected."""
    left, right = autograd_gradients(load(model_path), pool, sets)
    if unit == "cosine":
        left, right = (torch.nn.functional.normalize(x, dim=1) for x in (left, right))
    return (left @ right.T).numpy()


@pytest.mark.parametrize("unit", ["cosine", "inner-product"])
def test_exact_scores_are_those_of_autograd_per_row(tmp_path, model_path, unit):
    """A projection wider than every layer is the identity, so the scores must agree to rounding."""
    pool = rows_of(30, 1)
    config = ScoreConfig(method="exact", projection=64, unit=unit)
    found = scored(job(tmp_path / "j", model_path, config, pool, SETS))
    expected = autograd_scores(model_path, pool, SETS, unit)
    np.testing.assert_allclose(found["matrix"], expected, rtol=2e-3, atol=2e-5 * np.abs(expected).max())
    np.testing.assert_allclose(found["columns"][:, 0], found["matrix"][:, :5].mean(axis=1), rtol=1e-4)
    np.testing.assert_allclose(found["score"], found["columns"].mean(axis=1), rtol=1e-4)
    assert (found["status"] == 1).all()


def test_landmark_and_audit_rows_keep_their_exact_scores(tmp_path, model_path):
    pool = rows_of(120, 2)
    exact = scored(job(tmp_path / "e", model_path, ScoreConfig(method="exact"), pool, SETS))
    found = scored(job(tmp_path / "l", model_path, SMALL, pool, SETS))
    measured = (found["roles"] & (LANDMARK | AUDIT)) > 0
    assert measured.sum() == 32
    assert ((found["roles"] & LANDMARK) > 0).sum() == 20
    np.testing.assert_array_equal(found["status"] == 1, measured)
    np.testing.assert_allclose(found["columns"][measured], exact["columns"][measured], rtol=1e-3, atol=1e-6)
    assert np.isfinite(found["score"]).all()
    assert found["summary"]["counts"] == {"exact": 32, "propagated": 88, "unscorable": 0}
    assert found["summary"]["fidelity"]["n"] == 12
    np.testing.assert_allclose(found["loss"], exact["loss"], rtol=1e-4)


def test_the_audit_slice_influences_no_propagated_score(tmp_path, model_path):
    """Rows of the audit slice may say anything: the other rows' scores stay as they are."""
    pool = rows_of(120, 2)
    first = scored(job(tmp_path / "a", model_path, SMALL, pool, SETS))
    audit = np.flatnonzero(first["roles"] & AUDIT)
    changed = list(pool)
    for row, other in zip(audit, rows_of(len(audit), 77)):
        changed[row] = other
    second = scored(job(tmp_path / "b", model_path, SMALL, changed, SETS))
    others = np.setdiff1d(np.arange(120), audit)
    np.testing.assert_allclose(first["score"][others], second["score"][others], rtol=1e-4, atol=1e-6)
    assert not np.allclose(first["score"][audit], second["score"][audit])


def test_rows_that_cannot_be_scored_stay_alone(tmp_path, model_path):
    pool = rows_of(60, 3)
    clean = scored(job(tmp_path / "a", model_path, EXACT, pool, SETS))
    broken = [*pool]
    broken[7] = "no response tokens"
    broken[11] = Encoded(pool[11].ids, np.zeros_like(pool[11].mask), False)
    found = scored(job(tmp_path / "b", model_path, EXACT, broken, SETS))
    assert np.flatnonzero(found["status"] == 0).tolist() == [7, 11]
    assert np.isnan(found["score"][[7, 11]]).all()
    assert found["summary"]["problems"]["7"] == "no response tokens"
    kept = np.setdiff1d(np.arange(60), [7, 11])
    np.testing.assert_allclose(found["score"][kept], clean["score"][kept], rtol=1e-4, atol=1e-7)


def test_a_target_item_that_cannot_be_used_is_left_out_and_said(tmp_path, model_path):
    pool = rows_of(20, 4)
    item = SETS["a"][0]
    sets = {"a": [*SETS["a"], Encoded(item.ids, np.zeros_like(item.mask), False)], "b": SETS["b"]}
    plain = scored(job(tmp_path / "p", model_path, EXACT, pool, SETS))
    found = scored(job(tmp_path / "f", model_path, EXACT, pool, sets))
    np.testing.assert_allclose(found["matrix"], plain["matrix"], rtol=1e-4, atol=1e-7)
    assert found["summary"]["sets"][0] == {"name": "a", "rows": 6, "items": [0, 1, 2, 3, 4], "weight": 1.0}
    assert any("1 target item" in note for note in found["summary"]["notes"])


def test_a_target_set_without_a_usable_item_is_refused_and_nothing_is_written(tmp_path, model_path):
    folder = job(tmp_path / "j", model_path, EXACT, rows_of(5, 5), {"a": ["no response tokens"]})
    with pytest.raises(EngineError, match=r"'a' has no usable item \(no response tokens\)"):
        run_score(folder, Silent())
    assert list(folder.output.iterdir()) == []


def test_more_landmarks_than_usable_rows_are_refused(tmp_path, model_path):
    config = ScoreConfig(method="landmark", landmarks=5)
    folder = job(tmp_path / "j", model_path, config, [*rows_of(4, 6), "no response tokens"], SETS)
    with pytest.raises(EngineError, match="5 landmarks asked for, but the pool has 4"):
        run_score(folder, Silent())


@pytest.mark.parametrize("landmarks", [1, 40])
def test_one_landmark_and_all_rows_as_landmarks_are_defined(tmp_path, model_path, landmarks):
    config = ScoreConfig(method="landmark", landmarks=landmarks)
    found = scored(job(tmp_path / "j", model_path, config, rows_of(40, 7), SETS))
    assert np.isfinite(found["score"]).all()
    assert ((found["roles"] & LANDMARK) > 0).sum() == landmarks


class Interrupted(Silent):
    """Cancels when a phase begins."""

    def __init__(self, at: str) -> None:
        self.at, self.stop = at, False

    def phase(self, name: str, total: int, unit: str = "rows") -> None:
        self.stop = name == self.at

    def check(self) -> None:
        if self.stop:
            raise Cancelled("cancelled")


@pytest.mark.parametrize("at", ["target gradients", "audit gradients", "embeddings"])
def test_a_resumed_run_gives_the_scores_of_an_uninterrupted_one(tmp_path, model_path, at):
    config = ScoreConfig(method="landmark", landmarks=20, audit=12, warm_up="on", warm_up_epochs=1)
    pool = rows_of(80, 8)
    whole = scored(job(tmp_path / "w", model_path, config, pool, SETS))
    folder = job(tmp_path / "r", model_path, config, pool, SETS)
    with pytest.raises(Cancelled):
        run_score(folder, Interrupted(at))
    assert list(folder.output.iterdir()) == []
    resumed = scored(folder)
    np.testing.assert_array_equal(resumed["score"], whole["score"])
    np.testing.assert_array_equal(resumed["roles"], whole["roles"])


def test_warm_up_and_cut_rows_are_marked(tmp_path, model_path):
    pool = rows_of(40, 9)
    pool[3] = Encoded(pool[3].ids, pool[3].mask, True)
    config = ScoreConfig(method="exact", warm_up="on", warm_up_fraction=0.25, warm_up_epochs=1)
    found = scored(job(tmp_path / "j", model_path, config, pool, SETS))
    assert ((found["roles"] & WARM_UP) > 0).sum() == 10
    assert np.flatnonzero(found["roles"] & TRUNCATED).tolist() == [3]


def test_random_needs_no_model_and_follows_the_seed(tmp_path):
    def run(name: str, seed: int) -> dict:
        spec = {"kind": "score", "config": ScoreConfig(method="random", seed=seed).to_dict(), "rows": 50, "model": None}
        return scored(JobFolder.create(tmp_path / name, spec))

    first, again, other = run("a", 1), run("b", 1), run("c", 2)
    np.testing.assert_array_equal(first["score"], again["score"])
    assert (first["score"] != other["score"]).all()
    assert first["summary"]["fidelity"] is None


def test_a_refined_run_measures_rows_near_the_cut_within_its_budget(tmp_path, model_path):
    pool = rows_of(160, 12)
    exact = scored(job(tmp_path / "e", model_path, ScoreConfig(method="exact"), pool, SETS))
    config = replace(SMALL, landmarks=40, refine="20%", refine_budget=0.3, confidence=0.99)
    plain = scored(job(tmp_path / "p", model_path, replace(config, refine=""), pool, SETS))
    found = scored(job(tmp_path / "r", model_path, config, pool, SETS))
    refined = (found["roles"] & REFINED) > 0
    told = found["summary"]["refinement"]
    assert told["rows"] == refined.sum() and 0 < refined.sum() <= 48 and told["k"] == 32
    assert not (refined & (plain["status"] == 1)).any(), "a row that was exact was measured again"
    np.testing.assert_allclose(found["score"][refined], exact["score"][refined], rtol=1e-3, atol=1e-6)
    np.testing.assert_array_equal(found["score"][~refined], plain["score"][~refined])
    best = [set(np.argsort(-run["score"])[:32].tolist()) for run in (exact, plain, found)]
    assert len(best[0] & best[2]) >= len(best[0] & best[1])
    assert plain["summary"]["refinement"] is None


def test_adaptive_rounds_add_landmarks_until_the_budget_is_spent(tmp_path, model_path):
    config = replace(SMALL, landmarks=30, fidelity=1.0, max_landmarks=60)
    found = scored(job(tmp_path / "j", model_path, config, rows_of(160, 13), SETS))
    rounds = found["summary"]["adaptive"]["rounds"]
    chosen, tuning = (found["roles"] & LANDMARK) > 0, (found["roles"] & TUNING) > 0
    assert rounds[-1]["landmarks"] == 60 and [r["landmarks"] for r in rounds] == sorted(r["landmarks"] for r in rounds)
    assert chosen.sum() == 60 + tuning.sum() and not (chosen & ((found["roles"] & AUDIT) > 0)).any()
    assert "of the budget were spent" in found["summary"]["adaptive"]["note"]


def test_intervals_hold_their_score_and_exact_rows_have_none(tmp_path, model_path):
    found = scored(job(tmp_path / "j", model_path, replace(SMALL, landmarks=40), rows_of(160, 14), SETS))
    exact = found["status"] == 1
    assert (found["sigma"][exact] == 0).all() and (found["sigma"][~exact] > 0).all()
    np.testing.assert_array_equal(found["low"][exact], found["score"][exact])
    assert (found["low"][~exact] < found["score"][~exact]).all() and (
        found["score"][~exact] < found["high"][~exact]
    ).all()
    told = found["summary"]["uncertainty"]
    assert told["calibrated_on"] == 40 and 0 <= told["coverage"] <= 1


@pytest.mark.parametrize("choice", ["k-means++", "farthest-point", "rp-cholesky"])
def test_other_landmarks_and_embeddings_give_a_whole_run(tmp_path, model_path, choice):
    embedding = {"k-means++": "hidden", "farthest-point": "last-layer", "rp-cholesky": "jvp"}[choice]
    config = replace(SMALL, landmarks=64, landmark_choice=choice, embedding=embedding)
    found = scored(job(tmp_path / "j", model_path, config, rows_of(160, 15), SETS))
    assert np.isfinite(found["score"]).all() and found["summary"]["embedding"]["name"] == embedding
    assert found["summary"]["uncertainty"]["calibrated_on"] == 21, "only the uniform tuning rows may calibrate"


def test_directional_scores_are_the_exact_inner_products(tmp_path, model_path):
    pool = rows_of(60, 16)
    config = ScoreConfig(method="exact", unit="inner-product")
    exact = scored(job(tmp_path / "e", model_path, config, pool, SETS))
    found = scored(job(tmp_path / "d", model_path, replace(config, method="directional"), pool, SETS))
    np.testing.assert_allclose(
        found["columns"], exact["columns"], rtol=2e-2, atol=2e-3 * np.abs(exact["columns"]).max()
    )
    assert found["matrix"].shape == (60, 0) and any("true derivative" in note for note in found["summary"]["notes"])


def test_sets_to_avoid_count_against_and_unknown_ones_are_refused(tmp_path, model_path):
    pool = rows_of(30, 17)
    plain = scored(job(tmp_path / "p", model_path, EXACT, pool, SETS))
    config = replace(EXACT, avoid=("b",), target_weights=("a=2",))
    found = scored(job(tmp_path / "f", model_path, config, pool, SETS))
    np.testing.assert_allclose(found["columns"], plain["columns"], rtol=1e-5)
    np.testing.assert_allclose(found["score"], (2 * plain["columns"][:, 0] - plain["columns"][:, 1]) / 3, rtol=1e-4)
    with pytest.raises(EngineError, match="avoid names 'c', which is no target of this run: a, b"):
        run_score(job(tmp_path / "u", model_path, replace(EXACT, avoid=("c",)), pool, SETS), Silent())


def test_adam_conditions_the_pool_side_alone(tmp_path, model_path):
    """Against autograd with the moments that the warm-up left."""
    pool = rows_of(24, 18)
    config = replace(EXACT, warm_up="on", warm_up_fraction=0.5, conditioning="adam")
    folder = job(tmp_path / "j", model_path, config, pool, SETS)
    found = scored(folder)
    lm = load(model_path)
    warmed = load_warm_up(folder.work / "warm-up", lm)
    sites = block_linears(lm.model)
    names = [f"{site.name}.weight" for site in sites]
    own = dict(lm.model.named_parameters())
    settings = warmed.config
    step = adamw(
        {name: own[name] for name in names},
        warmed.moments,
        steps=warmed.steps,
        eta=1.0,
        betas=settings.betas,
        eps=settings.eps,
    )
    left, right = autograd_gradients(lm, pool, SETS)
    factor = torch.cat([step.a[name].flatten() for name in names])
    left, right = (torch.nn.functional.normalize(x, dim=1) for x in (left * factor, right))
    np.testing.assert_allclose(found["columns"][:, 0], (left @ right[:5].T).mean(dim=1).numpy(), rtol=2e-3, atol=1e-5)
    assert found["summary"]["conditioning"] == "adam"


def test_second_order_pieces_are_kept_with_the_run(tmp_path, model_path):
    config = replace(SMALL, landmarks=40, unit="inner-product", curvature=8)
    found = scored(job(tmp_path / "j", model_path, config, rows_of(120, 19), SETS))
    assert found["curvature"].shape == (8, 8) and found["coefficients"].shape == (120, 8)
    np.testing.assert_allclose(found["curvature"], found["curvature"].T)
    assert np.isfinite(found["coefficients"]).all() and found["summary"]["curvature"]["eta"] > 0
    cost = next(entry for entry in found["summary"]["cost"] if entry["name"] == "curvature")
    assert cost["rows"] == 8 and cost["flops"] > 0


def test_every_phase_is_counted_and_predicted(tmp_path, model_path):
    found = scored(job(tmp_path / "j", model_path, SMALL, rows_of(120, 20), SETS))
    cost = {entry["name"]: entry for entry in found["summary"]["cost"]}
    assert cost["audit gradients"]["rows"] == 12 and cost["embeddings"]["rows"] == 120
    assert cost["landmark gradients"]["rows"] + cost["tuning gradients"]["rows"] == 20
    for name in ("audit gradients", "embeddings", "landmark gradients"):
        assert cost[name]["predicted"] > 0 and cost[name]["flops"] > 0 and cost[name]["tokens"] > cost[name]["rows"]


def test_auto_says_what_it_picked_and_a_resumed_run_keeps_the_pick(tmp_path, model_path):
    config = replace(SMALL, landmarks=75, embedding="auto", tuning=25)
    folder = job(tmp_path / "j", model_path, config, rows_of(160, 21), SETS)
    (folder.input / "pool.jsonl").write_text('["a prompt", "a response"]\n' * 160)
    with pytest.raises(Cancelled):
        run_score(folder, Interrupted("landmark gradients"))
    kept = json.loads((folder.work / "pilot.json").read_text())
    found = scored(folder)
    told = found["summary"]["embedding"]
    assert told["name"] == kept["name"] and told["sentence"] == kept["sentence"]
    judged = {each["name"]: each for each in told["candidates"]}
    assert set(judged) == {"gradient", "hidden", "last-layer", "jvp", "sentence"}
    assert judged[told["name"]]["spearman"] is not None
    assert "same for every sample" in judged["sentence"]["note"] and told["name"] != "sentence"
    assert np.isfinite(found["score"]).all()


def test_auto_with_too_few_tuning_rows_takes_the_default_and_says_so(tmp_path, model_path):
    folder = job(tmp_path / "j", model_path, replace(SMALL, embedding="auto"), rows_of(80, 22), SETS)
    told = scored(folder)["summary"]["embedding"]
    assert told["name"] == "gradient" and "too few for a pilot" in told["sentence"]


def test_an_early_exit_knows_the_losses_of_measured_rows_alone(tmp_path, model_path):
    pool = rows_of(120, 23)
    whole = scored(job(tmp_path / "w", model_path, SMALL, pool, SETS))
    found = scored(job(tmp_path / "e", model_path, replace(SMALL, early_exit=1), pool, SETS))
    exact = found["status"] == 1
    np.testing.assert_allclose(found["loss"][exact], whole["loss"][exact], rtol=1e-4)
    assert np.isnan(found["loss"][~exact]).all() and np.isfinite(found["score"]).all()
    assert any("after 1 of 2 blocks" in note for note in found["summary"]["notes"])


@pytest.mark.parametrize(
    ("settings", "layers"),
    [
        ({"blocks": 1}, 7),
        ({"parameters": ("*down_proj", "*up_proj")}, 4),
        ({"keep": 0.3}, 14),
        ({"with_embeddings": True, "with_norms": True}, 14 + 2 + 5),
        ({"with_norms": True, "conditioning": "adam", "warm_up": "on"}, 14 + 5),
    ],
)
def test_a_subset_of_the_parameters_gives_a_whole_run(tmp_path, model_path, settings, layers):
    """One embedding and one head, two norms a block and the last; exact and landmark scores are of one quantity."""
    pool = rows_of(100, 24)
    exact = scored(job(tmp_path / "e", model_path, replace(EXACT, **settings), pool, SETS))
    found = scored(job(tmp_path / "l", model_path, replace(SMALL, **settings), pool, SETS))
    assert f"of {layers} layers" in found["summary"]["parameter_set"]
    measured = found["status"] == 1
    np.testing.assert_allclose(found["columns"][measured], exact["columns"][measured], rtol=2e-3, atol=1e-5)
    plain = scored(job(tmp_path / "p", model_path, EXACT, pool, SETS))
    assert not np.allclose(exact["columns"], plain["columns"], rtol=1e-2)


def test_identical_rows_are_scored_and_the_audit_says_that_it_cannot_judge(tmp_path, model_path):
    found = scored(job(tmp_path / "j", model_path, SMALL, rows_of(1, 25) * 120, SETS))
    assert np.isfinite(found["score"]).all() and np.ptp(found["score"]) < 1e-4
    assert found["summary"]["fidelity"]["spearman"] is None
    assert any("The audit cannot say" in note for note in found["summary"]["notes"])


def test_a_target_item_in_the_pool_is_its_own_best(tmp_path, model_path):
    pool = [*rows_of(40, 26), SETS["b"][1]]
    found = scored(job(tmp_path / "j", model_path, replace(EXACT, targets=("b",)), pool, {"b": SETS["b"]}))
    assert found["matrix"][40].argmax() == 1 and found["matrix"][40, 1] == pytest.approx(1, abs=1e-3)
    assert np.isfinite(found["score"]).all()


def test_a_broken_model_is_one_error_and_writes_nothing(tmp_path, model_path):
    broken = tmp_path / "broken"
    model = LlamaForCausalLM.from_pretrained(model_path)
    with torch.no_grad():
        model.model.layers[1].mlp.down_proj.weight[0, 0] = torch.nan
    model.save_pretrained(broken)
    for name in ("tokenizer.json", "tokenizer_config.json"):
        (broken / name).write_bytes((model_path / name).read_bytes())
    folder = job(tmp_path / "j", broken, SMALL, rows_of(60, 27), SETS)
    with pytest.raises(EngineError, match="no usable item"):
        run_score(folder, Silent())
    assert list(folder.output.iterdir()) == []


@pytest.mark.parametrize("refine", ["1", "100%"])
def test_refining_for_one_row_and_for_all_rows_is_defined(tmp_path, model_path, refine):
    found = scored(job(tmp_path / "j", model_path, replace(SMALL, landmarks=40, refine=refine), rows_of(100, 28), SETS))
    assert np.isfinite(found["score"]).all() and found["summary"]["refinement"]["k"] == (1 if refine == "1" else 100)
