"""Disputes: percentiles and their spread against a loop over the rows."""

import numpy as np

from engine.curation import disputes
from engine.curation.facts import rank


def test_the_spread_is_that_of_a_loop_over_rows_and_runs():
    rng = np.random.default_rng(0)
    runs = [rng.normal(size=n) for n in (30, 30, 20)]  # the third covers fewer rows
    runs[0][3], runs[1][3], runs[0][25] = np.nan, np.nan, np.nan
    n = 32
    each = [disputes.percentiles(rank(values), n) for values in runs]
    apart = disputes.spread(each)
    for row in range(n):
        known = []
        for values in runs:
            if row < len(values) and np.isfinite(values[row]):
                finite = values[np.isfinite(values)]
                known.append(float((finite <= values[row]).mean()))
        if len(known) < 2:
            assert np.isnan(apart[row])
        else:
            assert np.isclose(apart[row], max(known) - min(known))
    order = disputes.most_disputed(apart)
    assert len(order) == np.isfinite(apart).sum()
    assert (np.diff(apart[order]) <= 0).all()
    assert np.isnan(disputes.spread(each[:1])).all()
