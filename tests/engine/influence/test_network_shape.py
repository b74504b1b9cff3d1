"""The split layer against the published form, one pair at a time; nothing of rows x items x hidden is held."""

from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode

from engine.errors import EngineError
from engine.influence.network import network as shape
from engine.influence.network.config import PAPER, NetworkConfig
from engine.influence.network.network import InfluenceNetwork

D = 7
PARTS = (4, 3)
ROWS = torch.randn(9, D, generator=torch.Generator().manual_seed(0))
ITEMS = torch.randn(5, D, generator=torch.Generator().manual_seed(1))
OPTIONS = [(rank, cosine, members) for rank in (0, 3) for cosine in (False, True) for members in (1, 3)]


def make(rank: int = 3, cosine: bool = True, members: int = 3, **options: Any) -> InfluenceNetwork:
    """A network whose similarities count, as they do once trained."""
    config = NetworkConfig(rank=rank, cosine=cosine, members=members, hidden=11, **options)
    network = InfluenceNetwork(D, D, config, parts=PARTS)
    with torch.no_grad():
        network.similarity.copy_(torch.linspace(-1, 2, network.similarity.numel()).view_as(network.similarity))
    return network.requires_grad_(False)


def published(network: InfluenceNetwork, member: int) -> nn.Sequential:
    """The published module over [x ; 0 ; y] with the weights of one member."""
    first = nn.Linear(network.row_dim + 1 + network.item_dim, network.config.hidden)
    last = nn.Linear(network.config.hidden, 1)
    with torch.no_grad():
        whole = torch.cat([network.rows_in[member], network.zero_in[member], network.items_in[member]])
        first.weight.copy_(whole.T)
        first.bias.copy_(network.bias[member, 0])
        last.weight.copy_(network.out[member][None])
        last.bias.copy_(network.offset[member, 0])
    return nn.Sequential(first, nn.ReLU(), last).requires_grad_(False)


def pair_by_pair(network: InfluenceNetwork, rows: Tensor = ROWS, items: Tensor = ITEMS) -> Tensor:
    """f (M, n, t), every term written out."""
    found = torch.zeros(network.config.members, len(rows), len(items), dtype=torch.float64)
    rank = network.config.rank
    for m in range(network.config.members):
        module = published(network, m)
        for i, x in enumerate(rows):
            for j, y in enumerate(items):
                value = float(module(torch.cat([x, torch.zeros(1), y])))
                for r in range(rank):
                    value += float(network.left[m, :, r] @ x) * float(network.right[m, :, r] @ y) / rank**0.5
                for p, part in enumerate((slice(0, 4), slice(4, 7)) if network.similarity.numel() else ()):
                    value += float(network.similarity[m, p]) * float(x[part] @ y[part])
                found[m, i, j] = value
    return found


def test_the_paper_preset_is_the_published_module_with_205101_weights():
    network = InfluenceNetwork(1024, 1024, PAPER)
    assert network.count == 205_101
    assert sum(w.numel() for w in network.parameters()) == 205_101
    module = published(network, 0)
    assert sum(w.numel() for w in module.parameters()) == 205_101
    x, y = torch.randn(2, 6, 1024, generator=torch.Generator().manual_seed(3))
    expected = torch.stack([module(torch.cat([a, torch.zeros(1), b]))[0] for a, b in zip(x, y)])
    torch.testing.assert_close(network.pairs(x, y)[0], expected, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(network.mean(x, y).diagonal(), expected, rtol=1e-4, atol=1e-5)


def test_the_published_zero_never_acts():
    network = make()
    before = network.mean(ROWS, ITEMS)
    network.zero_in += 100
    assert torch.equal(network.mean(ROWS, ITEMS), before)


@pytest.mark.parametrize(("rank", "cosine", "members"), OPTIONS)
def test_every_form_is_the_published_one(rank, cosine, members):
    network = make(rank, cosine, members)
    expected = pair_by_pair(network)
    torch.testing.assert_close(network(ROWS, ITEMS).double(), expected, rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(network.mean(ROWS, ITEMS).double(), expected.mean(0), rtol=1e-5, atol=1e-5)
    i, j = torch.cartesian_prod(torch.arange(9), torch.arange(5)).T
    pairs = network.pairs(ROWS[i], ITEMS[j]).view(members, 9, 5)
    torch.testing.assert_close(pairs.double(), expected, rtol=1e-5, atol=1e-5)


def test_rows_and_items_are_not_exchangeable():
    network = make()
    swapped = network.mean(ITEMS, ROWS).T
    assert (swapped - network.mean(ROWS, ITEMS)).abs().max() > 0.1


def test_members_differ_and_start_as_linear_layers_do():
    network = InfluenceNetwork(40, 30, NetworkConfig(hidden=50, members=3, rank=4))
    assert not torch.equal(network.rows_in[0], network.rows_in[1])
    for weight, edge in (
        (network.rows_in, 71**-0.5),
        (network.items_in, 71**-0.5),
        (network.bias, 71**-0.5),
        (network.out, 50**-0.5),
        (network.left, 40**-0.5),
        (network.right, 30**-0.5),
    ):
        assert 0.9 * edge < float(weight.detach().abs().max()) <= edge
        assert abs(float(weight.detach().mean())) < 0.2 * edge
    assert not network.similarity.numel()  # rows and items have no coordinates in common


def test_a_seed_fixes_the_weights_and_the_global_state_is_left_alone():
    state = torch.random.get_rng_state()
    first, again, other = make(), make(), make(seed=1)
    assert all(torch.equal(a, b) for a, b in zip(first.parameters(), again.parameters()))
    assert not torch.equal(first.rows_in, other.rows_in)
    assert torch.equal(torch.random.get_rng_state(), state)


def test_the_pairwise_part_is_the_same_for_any_room(monkeypatch):
    network = make()
    whole = network.mean(ROWS, ITEMS)
    for room in (1, 60, 170, 1 << 20):
        monkeypatch.setattr(shape, "CACHED", room)
        torch.testing.assert_close(network.mean(ROWS, ITEMS), whole, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize(("n", "t"), [(0, 5), (9, 0), (0, 0), (1, 1)])
def test_empty_sides_have_empty_answers(n, t):
    network = make()
    found = network.mean(ROWS[:n], ITEMS[:t])
    assert found.shape == (n, t)
    torch.testing.assert_close(found, network(ROWS[:n], ITEMS[:t]).mean(0), rtol=1e-5, atol=1e-5)


class Largest(TorchDispatchMode):
    """Remembers how many numbers the largest tensor has that any operation gives."""

    def __init__(self) -> None:
        super().__init__()
        self.numbers = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        found = func(*args, **(kwargs or {}))
        for each in found if isinstance(found, list | tuple) else (found,):
            if isinstance(each, Tensor):
                self.numbers = max(self.numbers, each.numel())
        return found


def test_no_array_of_all_pairs_and_hidden_units_is_made():
    network = InfluenceNetwork(D, D, NetworkConfig(hidden=64, members=2), parts=PARTS).requires_grad_(False)
    rows, items = torch.randn(4000, D), torch.randn(200, D)
    with Largest() as seen:
        network.mean(rows, items)
    assert seen.numbers == max(4000 * 200, 4000 * 64)  # of 51,200,000 for every pair and unit


def test_dropout_falls_on_the_inputs_of_every_member_but_not_on_similarities():
    network = make(rank=0, members=2, dropout=0.5)
    for weight in (network.out, network.offset):
        weight.zero_()
    noise = torch.Generator().manual_seed(0)
    torch.testing.assert_close(network(ROWS, ITEMS, noise=noise), network(ROWS, ITEMS))  # similarities alone
    network = make(rank=0, cosine=False, members=2, dropout=0.5)
    dropped = network(ROWS, ITEMS, noise=noise)
    assert not torch.allclose(dropped, network(ROWS, ITEMS))
    assert torch.equal(network(ROWS, ITEMS), network(ROWS, ITEMS))
    many = torch.ones(200, D)
    kept = network._dropped(many, noise)
    assert kept.shape == (2, 200, D)
    assert set(kept.unique().tolist()) == {0.0, 2.0}
    assert abs(float(kept.mean()) - 1) < 0.1
    assert not torch.equal(kept[0], kept[1])


def test_the_one_of_a_pointwise_network_is_never_dropped():
    network = InfluenceNetwork(D, 1, NetworkConfig(dropout=0.9))
    one = torch.ones(1, 1)
    assert network._dropped(one, torch.Generator().manual_seed(0)) is one


def test_parts_that_do_not_add_up_are_refused():
    with pytest.raises(EngineError, match=r"Parts of \(4, 4\) numbers do not make up rows of 7"):
        InfluenceNetwork(D, D, NetworkConfig(), parts=(4, 4))
    with pytest.raises(EngineError, match="items of 3"):
        InfluenceNetwork(D, 3, NetworkConfig(), parts=PARTS)


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"hidden": 0}, "hidden is 0"),
        ({"members": True}, "members is True"),
        ({"rank": -1}, "rank is -1"),
        ({"epochs": 2.0}, "epochs is 2.0"),
        ({"seed": -1}, "seed is -1"),
        ({"learning_rate": 0.0}, "learning_rate is 0.0"),
        ({"weight_decay": float("nan")}, "weight_decay is nan"),
        ({"dropout": 0.95}, "dropout is 0.95; it must be between 0 and 0.9"),
        ({"validation": 0.6}, "validation is 0.6"),
        ({"batch_of": "items"}, "pairs, rows"),
    ],
)
def test_values_outside_their_range_are_refused(options, says):
    with pytest.raises(EngineError, match=says):
        NetworkConfig(**options)
