"""Scoring from a job folder: against autograd, across resumes, and with rows that cannot be scored."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

from engine.errors import Cancelled, EngineError
from engine.gradients.parameters import block_linears
from engine.models.loading import load
from engine.models.table import Encoded, TokenTable
from engine.progress import Silent
from engine.runs.config import ScoreConfig
from engine.runs.jobfolder import JobFolder
from engine.runs.scoring import AUDIT, LANDMARK, TRUNCATED, WARM_UP, run_score

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


def autograd_scores(model_path: Path, pool: list[Encoded | str], sets, unit: str) -> np.ndarray:
    """P by one autograd call per row, unprojected."""
    lm = load(model_path)
    weights = [site.weight.requires_grad_(True) for site in block_linears(lm.model)]

    def gradient(row: Encoded) -> torch.Tensor:
        ids = torch.from_numpy(row.ids.astype(np.int64))[None]
        logits = lm.model(input_ids=ids).logits[0, :-1]
        losses = torch.nn.functional.cross_entropy(logits, ids[0, 1:], reduction="none")
        loss = losses[torch.from_numpy(row.mask[1:] != 0)].mean()
        return torch.cat([g.flatten() for g in torch.autograd.grad(loss, weights)])

    left = torch.stack([gradient(row) for row in pool])
    right = torch.stack([gradient(row) for rows in sets.values() for row in rows])
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
    assert found["summary"]["sets"][0] == {"name": "a", "rows": 6, "items": [0, 1, 2, 3, 4]}
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
