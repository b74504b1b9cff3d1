"""Leading target directions from the Gram matrix against the singular value decomposition of the gradients."""

import pytest
import torch

from engine.errors import EngineError
from engine.gradients.principal import principal_directions


def gradients(t=6, d=40, rank=6, seed=0):
    generator = torch.Generator().manual_seed(seed)
    left, right = torch.randn(t, rank, generator=generator), torch.randn(rank, d, generator=generator)
    return (left @ right).double()


def test_against_the_singular_value_decomposition():
    targets = gradients()
    found = principal_directions(targets @ targets.T, 3)
    directions = found.weights.T @ targets  # (r, d)
    torch.testing.assert_close(directions @ directions.T, torch.eye(3, dtype=torch.float64), rtol=1e-6, atol=1e-8)
    values = torch.linalg.svdvals(targets)
    torch.testing.assert_close(found.targets, targets @ directions.T, rtol=1e-6, atol=1e-8)
    torch.testing.assert_close(found.targets.norm(dim=0), values[:3], rtol=1e-6, atol=1e-8)
    assert found.share == pytest.approx(float(values[:3].square().sum() / values.square().sum()))


def test_all_directions_give_the_scores_exactly_and_few_the_best():
    targets, pool = gradients(), gradients(t=20, seed=1)
    truth = pool @ targets.T
    errors = []
    for count in (1, 3, 6):
        found = principal_directions(targets @ targets.T, count)
        scores = found.scores(pool @ (found.weights.T @ targets).T)
        errors.append(float((scores - truth).norm() / truth.norm()))
    assert errors[0] > errors[1] > errors[2] and errors[2] < 1e-6


def test_no_more_directions_than_the_rank():
    targets = gradients(rank=2)
    found = principal_directions((targets @ targets.T).float(), 5)
    assert (
        found.weights.shape == (6, 2) and found.weights.isfinite().all() and found.share == pytest.approx(1, abs=1e-5)
    )


def test_one_target_and_signs():
    found = principal_directions(torch.tensor([[4.0]]), 1)
    assert found.weights.tolist() == [[0.5]] and found.targets.tolist() == [[2.0]]
    weights = principal_directions(gradients() @ gradients().T, 4).weights
    assert (weights.gather(0, weights.abs().argmax(dim=0, keepdim=True)) > 0).all()


@pytest.mark.parametrize(
    ("gram", "count", "says"),
    [
        (torch.ones(2, 3), 1, "square and finite"),
        (torch.full((2, 2), torch.nan), 1, "square and finite"),
        (torch.tensor([[1.0, 2.0], [0.0, 1.0]]), 1, "not symmetric"),
        (torch.eye(3), 4, "1 to 3"),
        (torch.eye(3), 0, "1 to 3"),
        (torch.zeros(3, 3), 1, "no leading direction"),
    ],
)
def test_matrices_without_directions_are_refused(gram, count, says):
    with pytest.raises(EngineError, match=says):
        principal_directions(gram, count)
