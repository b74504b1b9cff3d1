"""Which pool rows the network's teacher labels: uniformly at random, or for coverage of what the network reads.

Coverage goes by lexical features, which cost no model, so that rows can be chosen before anything is labelled.
"""

import numpy as np

from engine.gradients.lexical_features import LexicalFeatures
from engine.influence.landmarks import choose_landmarks, cover_landmarks
from engine.runs.functions import Materials

COVERED_FROM = 20_000  # rows among which a coverage is sought; beyond, a seeded draw of so many


def choose_rows(job: Materials, among: np.ndarray, count: int) -> np.ndarray:
    """`count` of the rows `among`, ascending, as `landmark_choice` says."""
    config, count = job.config, min(count, len(among))
    if config.landmark_choice == "uniform" or count == len(among):
        return choose_landmarks(among, count, seed=config.seed)
    rows = among
    if len(among) > COVERED_FROM:
        rows = np.sort(np.random.default_rng((config.seed, 27)).permutation(among)[:COVERED_FROM])
    pairs = job.texts.pairs(rows)
    features = LexicalFeatures.fit(pairs, seed=config.seed)(pairs)
    found = cover_landmarks(
        features,
        np.flatnonzero(np.isfinite(features).all(axis=1)),
        min(count, len(rows)),
        strategy=config.landmark_choice,
        seed=config.seed,
    )
    for note in found.notes:
        job.reporter.log(note)
    return np.sort(rows[found.rows])
