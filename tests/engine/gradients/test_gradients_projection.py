"""Projections against their explicit matrices, their scale, and their independence of device, batch and neighbours."""

from dataclasses import replace

import numpy as np
import pytest
import scipy.linalg
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.fft import dct
from torch import nn

from engine.errors import EngineError
from engine.gradients.parameters import Site
from engine.gradients.projection import FactoredProjection, Hadamard, LayerHadamard, signs, walsh_hadamard, width_for


def site(name: str, out: int, into: int) -> Site:
    return Site(name, nn.Linear(into, out), into, out)


SITES = [site("a", 20, 30), site("b", 6, 40), site("c", 5, 4)]


def explicit(projection: FactoredProjection, gradients: list[torch.Tensor]) -> torch.Tensor:
    parts = []
    for each, gradient in zip(projection.sites, gradients):
        p_out, p_in = projection.matrices(each)
        parts.append((p_out @ gradient @ p_in.T).flatten())
    return torch.cat(parts)


def test_projection_equals_its_matrices():
    projection = FactoredProjection(SITES, width=8, seed=3)
    generator = torch.Generator().manual_seed(0)
    for each in SITES:
        g = torch.randn(2, 7, each.out_features, generator=generator)
        a = torch.randn(2, 7, each.in_features, generator=generator)
        p_out, p_in = projection.matrices(each)
        kronecker = torch.kron(p_out, p_in)  # acts on the row-major vector of a gradient
        full = torch.einsum("bto,bti->boi", g, a).flatten(1)
        torch.testing.assert_close(projection.project(each, g, a), full @ kronecker.T, rtol=1e-4, atol=1e-4)


def test_dimensions_and_narrow_sides_are_exact():
    projection = FactoredProjection(SITES, width=8)
    assert projection.dim == 8 * 8 + 6 * 8 + 5 * 4
    p_out, p_in = projection.matrices(SITES[2])
    assert torch.equal(p_out, torch.eye(5)) and torch.equal(p_in, torch.eye(4))


def test_entries_are_scaled_signs():
    p_out, _ = FactoredProjection(SITES, width=4).matrices(SITES[0])
    assert p_out.abs().unique().tolist() == [0.5]
    assert 0.2 < (p_out > 0).float().mean() < 0.8


def test_a_site_is_projected_alike_whatever_stands_beside_it():
    alone = FactoredProjection(SITES[1:2], width=8, seed=5).matrices(SITES[1])
    among = FactoredProjection(SITES, width=8, seed=5).matrices(SITES[1])
    assert all(torch.equal(x, y) for x, y in zip(alone, among))


def test_seed_and_name_change_the_matrices():
    base = FactoredProjection(SITES, width=8, seed=0).matrices(SITES[0])[0]
    assert not torch.equal(base, FactoredProjection(SITES, width=8, seed=1).matrices(SITES[0])[0])
    other = replace(SITES[0], name="z")
    assert not torch.equal(base, FactoredProjection([other], width=8, seed=0).matrices(other)[0])


EXPECTED_SIGNS = [-1, 1, -1, 1, -1, 1, 1, 1, 1, -1, -1, 1]
EXPECTED_KEPT = [15, 18, 22, 23, 38]


def test_the_random_bits_never_change():
    assert signs(12, "factored", 0, "model.layers.0.mlp.up_proj", "out").tolist() == EXPECTED_SIGNS
    assert Hadamard(40, 5, seed=0).kept.tolist() == EXPECTED_KEPT


def test_norms_are_kept_in_expectation():
    generator = torch.Generator().manual_seed(1)
    gradients = [torch.randn(s.out_features, s.in_features, generator=generator) for s in SITES]
    norm = sum(float(g.square().sum()) for g in gradients)
    found = [
        float(explicit(FactoredProjection(SITES, width=4, seed=seed), gradients).square().sum()) for seed in range(600)
    ]
    error = np.std(found) / np.sqrt(len(found))
    assert abs(np.mean(found) - norm) < 4 * error
    assert error < 0.05 * norm


def test_width_for_a_dimension_is_the_largest_that_fits():
    width = width_for(SITES, 100)
    assert FactoredProjection(SITES, width=width).dim <= 100 < FactoredProjection(SITES, width=width + 1).dim
    with pytest.raises(EngineError, match="at least one each"):
        width_for(SITES, 2)


@pytest.mark.parametrize(
    ("sites", "options", "says"),
    [
        ([], {}, "at least one"),
        (SITES, {"width": 0}, "at least 1"),
        ([SITES[0], SITES[0]], {}, "same name"),
        (SITES, {"width": 2, "compress": 99}, "must be 1 to"),
    ],
)
def test_impossible_projections_are_refused(sites, options, says):
    with pytest.raises(EngineError, match=says):
        FactoredProjection(sites, **options)


def test_compression_is_the_hadamard_of_the_concatenation():
    projection = FactoredProjection(SITES, width=8, seed=2, compress=16)
    vectors = torch.randn(3, projection.raw_dim, generator=torch.Generator().manual_seed(0))
    assert projection.dim == 16
    assert torch.equal(projection.finish(vectors), Hadamard(projection.raw_dim, 16, seed=2)(vectors))


@pytest.mark.parametrize("length", [1, 2, 8, 32, 64, 128, 2048])
def test_walsh_hadamard_against_its_matrix(length):
    x = torch.randn(3, length, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    matrix = torch.from_numpy(scipy.linalg.hadamard(length) / np.sqrt(length))
    torch.testing.assert_close(walsh_hadamard(x), x @ matrix.T)


def layer_gradients_of(count: int, seed: int = 0) -> list[torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    return [torch.randn(count, s.out_features, s.in_features, generator=generator) for s in SITES]


@pytest.mark.parametrize("kind", [FactoredProjection, LayerHadamard])
def test_both_ways_into_a_projection_agree(kind):
    projection = kind(SITES, width=8, seed=3)
    generator = torch.Generator().manual_seed(0)
    for index, each in enumerate(SITES):
        g = torch.randn(3, 7, each.out_features, generator=generator)
        a = torch.randn(3, 7, each.in_features, generator=generator)
        found = projection.project(each, g, a)
        assert found.shape == (3, projection.offsets[index + 1] - projection.offsets[index])
        by_matrix = projection.project_matrix(each, torch.einsum("bto,bti->boi", g, a))
        torch.testing.assert_close(found, by_matrix, rtol=1e-4, atol=1e-4)


def test_a_layer_hadamard_has_the_factored_sizes_and_its_own_signs_per_layer():
    twins = [SITES[0], replace(SITES[0], name="twin")]
    projection = LayerHadamard(twins, width=8)
    assert projection.offsets.tolist() == FactoredProjection(twins, width=8).offsets.tolist()
    first, second = (projection.transform(each) for each in twins)
    assert not torch.equal(first.signs, second.signs) and not torch.equal(first.kept, second.kept)
    assert torch.equal(first.signs, LayerHadamard([twins[0]], width=8).transform(twins[0]).signs)
    assert not torch.equal(first.signs, LayerHadamard([twins[0]], width=8, seed=1).transform(twins[0]).signs)
    assert first.padded <= 1 << (first.n - 1).bit_length()


def test_a_layer_hadamard_keeps_small_layers_as_they_are():
    projection = LayerHadamard(SITES, width=8)
    gradient = layer_gradients_of(2)[2]
    assert projection.transform(SITES[2]) is None
    assert torch.equal(projection.project_matrix(SITES[2], gradient), gradient.flatten(1))


@pytest.mark.parametrize("kind", [FactoredProjection, LayerHadamard])
def test_inner_products_of_whole_gradients_are_unbiased(kind):
    gradients = layer_gradients_of(2, seed=1)
    truth = sum(float((g[0] * g[1]).sum()) for g in gradients)
    found = []
    for seed in range(500):
        projection = kind(SITES, width=4, seed=seed)
        joined = torch.cat([projection.project_matrix(s, g) for s, g in zip(SITES, gradients)], dim=1)
        found.append(float(joined[0] @ joined[1]))
    assert abs(np.mean(found) - truth) < 4 * np.std(found) / np.sqrt(len(found))


@pytest.mark.parametrize("n", [1, 15, 16, 17, 1000, 45056])
def test_padding_stays_below_the_next_power_of_two(n):
    assert n <= Hadamard(n, 1).padded <= 1 << max(0, (n - 1).bit_length())


def hadamard_matrix(p: Hadamard) -> np.ndarray:
    mix = dct(np.eye(p.padded // p.block), axis=0, norm="ortho")
    transform = np.kron(mix, scipy.linalg.hadamard(p.block) / np.sqrt(p.block))
    padding = np.eye(p.padded, p.n) * p.signs.numpy()
    return np.sqrt(p.padded / p.k) * (transform @ padding)[p.kept.numpy()]


@pytest.mark.parametrize("n", [1, 5, 16, 17, 31, 100, 129])
def test_hadamard_against_its_matrix(n):
    p = Hadamard(n, max(1, n // 2), seed=4)
    x = torch.randn(4, n, dtype=torch.float64, generator=torch.Generator().manual_seed(n))
    np.testing.assert_allclose(p(x).numpy(), x.numpy() @ hadamard_matrix(p).T, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("kind", ["spike", "dense"])
def test_hadamard_keeps_norms_in_expectation(kind):
    n, k = 100, 12
    x = torch.zeros(n) if kind == "spike" else torch.randn(n, generator=torch.Generator().manual_seed(0))
    x[37] = 3.0
    found = np.array([float(Hadamard(n, k, seed=seed)(x).square().sum()) for seed in range(800)])
    assert abs(found.mean() - float(x.square().sum())) < 4 * found.std() / np.sqrt(len(found)) + 1e-5


@settings(max_examples=60, deadline=None)
@given(n=st.integers(1, 5000))
def test_padding_is_small_and_every_padded_coordinate_can_be_kept(n):
    p = Hadamard(n, n, seed=0)
    assert p.padded >= n
    assert p.padded <= (n * 9 // 8 + 1 if n >= 16 else 2 * n)
    assert len(set(p.kept.tolist())) == n and p.kept.max() < p.padded


def test_hadamard_draws_from_the_padding_too():
    kept = np.concatenate([Hadamard(33, 16, seed=seed).kept.numpy() for seed in range(50)])
    assert (kept >= 33).any()


@pytest.mark.parametrize(("n", "k"), [(8, 9), (8, 0)])
def test_impossible_hadamard_is_refused(n, k):
    with pytest.raises(EngineError, match="must be 1 to 8"):
        Hadamard(n, k)


def test_wrong_length_is_refused():
    with pytest.raises(EngineError, match="length 8; got 7"):
        Hadamard(8, 4)(torch.zeros(7))
