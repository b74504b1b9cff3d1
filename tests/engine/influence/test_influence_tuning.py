"""Tuning: the same numbers as a fit per setting, better settings found, luck not taken for skill."""

from dataclasses import replace

import numpy as np
import pytest
from scipy.stats import spearmanr

from engine.errors import EngineError
from engine.influence import tuning
from engine.influence.regression import KernelRidge, RidgeConfig
from engine.influence.tuning import PAPER, tune

RNG = np.random.default_rng(0)
WEIGHTS = RNG.normal(size=(6, 3))


def problem(seed, *, noise=0.1, wild=False, count=120, held=80):
    rng = np.random.default_rng(seed)
    rows = rng.normal(size=(count + held, 6)).astype(np.float32)
    scores = rows @ WEIGHTS + noise * rng.normal(size=(count + held, 3))
    if wild:  # one coordinate without meaning drowns the others unless it is scaled
        rows[:, 5] *= 300
        scores = rows[:, :5] @ WEIGHTS[:5] + noise * rng.normal(size=(count + held, 3))
    return rows[:count], scores[:count], rows[count:], scores[count:]


@pytest.mark.parametrize("by", ["mean", "columns"])
def test_trials_are_what_a_fit_per_setting_gives(by):
    rows, scores, held, truth = problem(1)
    found = tune(rows, scores, held, truth, by=by)
    assert len(found.trials) == 2 * (6 + 1) * 5
    for trial in found.trials:
        config = RidgeConfig(
            kernel=trial.kernel,
            bandwidth_factor=trial.bandwidth_factor,
            ridge=trial.ridge,
            standardise=trial.standardise,
            precision="float64",
        )
        guess = KernelRidge.from_config(rows, scores, config).predict(held)
        if by == "mean":
            wanted = spearmanr(truth.mean(axis=1), guess.mean(axis=1)).statistic
        else:
            wanted = np.mean([spearmanr(truth[:, j], guess[:, j]).statistic for j in range(3)])
        assert trial.score == pytest.approx(wanted, abs=2e-3)


def test_one_decomposition_serves_all_ridges(monkeypatch):
    calls = []
    real = tuning.eigh
    monkeypatch.setattr(tuning, "eigh", lambda *a, **k: calls.append(1) or real(*a, **k))
    tune(*problem(1))
    assert len(calls) == 2 * (6 + 1)


def test_a_better_setting_is_found_and_said():
    rows, scores, held, truth = problem(2, wild=True)
    found = tune(rows, scores, held, truth)
    assert found.config.standardise and found.config != PAPER
    assert found.best_score > found.default_score + 0.3
    assert "standardised" in found.sentence and f"{found.best_score:.3f}" in found.sentence
    _, _, more, answer = problem(3, wild=True)
    model = KernelRidge.from_config(rows, scores, found.config)
    paper = KernelRidge.from_config(rows, scores, PAPER)
    scored = [spearmanr(m.predict(more).mean(axis=1), answer.mean(axis=1)).statistic for m in (model, paper)]
    assert scored[0] > scored[1] + 0.3


def test_noise_keeps_the_default():
    kept = 0
    for seed in range(12):
        rng = np.random.default_rng(seed)
        found = tune(*(rng.normal(size=shape) for shape in ((60, 4), (60, 2), (100, 4), (100, 2))))
        kept += found.config == PAPER
        assert found.best_score >= found.default_score
        assert ("kept" in found.sentence) == (found.config == PAPER)
    assert kept >= 8


def test_the_default_given_is_the_one_to_beat_and_keeps_its_own_settings():
    rows, scores, held, truth = problem(4, wild=True)
    mine = replace(PAPER, seed=9, precision="float32")
    assert tune(rows, scores, held, truth, default=mine).config.seed == 9
    good = tune(rows, scores, held, truth).config
    assert tune(rows, scores, held, truth, default=good).config == good
    fixed = RidgeConfig(bandwidth=123.0)
    found = tune(rows, scores, held, truth, default=fixed, factors=(1.0,), ridges=(1e-2,), standardise=(False,))
    assert found.trials[0].score is not None and len(found.trials) == 3


def test_the_paper_preset():
    assert RidgeConfig() == PAPER
    assert (PAPER.kernel, PAPER.bandwidth, PAPER.ridge, PAPER.standardise) == ("rbf", None, 1e-2, False)


def test_rows_that_are_not_finite_are_left_out_and_counted():
    rows, scores, held, truth = problem(5)
    spoilt = [array.copy() for array in (rows, scores, held, truth)]
    spoilt[0][3, 1] = spoilt[1][7, 0] = spoilt[2][4, 0] = spoilt[3][9, 2] = np.nan
    found = tune(*spoilt)
    clean = tune(
        *(np.delete(a, d, axis=0) for a, d in ((rows, [3, 7]), (scores, [3, 7]), (held, [4, 9]), (truth, [4, 9])))
    )
    assert found.trials == clean.trials and "4 landmarks or tuning samples" in found.notes[0]


@pytest.mark.parametrize(
    ("change", "says"),
    [("few", "too few"), ("constant", "do not vary"), ("one landmark", "1 landmarks")],
)
def test_too_little_to_choose_by_keeps_the_default(change, says):
    rows, scores, held, truth = problem(6)
    if change == "few":
        held, truth = held[:5], truth[:5]
    elif change == "constant":
        truth = np.ones_like(truth)
    else:
        rows, scores = rows[:1], scores[:1]
    found = tune(rows, scores, held, truth)
    assert found.config == PAPER and says in found.sentence and found.trials == ()


def test_identical_landmarks_end_with_the_default():
    rows, scores, held, truth = problem(6)
    found = tune(np.repeat(rows[:1], 30, axis=0), scores[:30], held, truth)
    assert found.config is not None and found.sentence


def test_many_landmarks_are_sampled_and_said(monkeypatch):
    monkeypatch.setattr(tuning, "MOST_LANDMARKS", 50)
    rows, scores, held, truth = problem(7)
    found = tune(rows, scores, held, truth)
    assert "50 of 120 landmarks" in found.notes[0]
    assert found.trials == tune(rows, scores, held, truth).trials


def test_refusals():
    rows, scores, held, truth = problem(8)
    for arguments in (
        (rows, scores[:3], held, truth),
        (rows, scores, held[:, :2], truth),
        (rows, scores, held, truth[:, :1]),
    ):
        with pytest.raises(EngineError, match="Nothing was chosen"):
            tune(*arguments)
