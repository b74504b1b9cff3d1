"""The parameter set: found by structure in every architecture, nothing outside the blocks, shared weights once."""

import pytest
import torch
from torch import nn

from engine.errors import EngineError
from engine.gradients.parameters import block_linears, blocks, is_linear

NAMES = ["llama", "gpt2", "neox", "qwen2", "gemma", "gemma2"]
PER_BLOCK = {"llama": 7, "gpt2": 4, "neox": 4, "qwen2": 7, "gemma": 7, "gemma2": 7}


@pytest.mark.parametrize("name", NAMES)
def test_every_linear_of_every_block_and_nothing_else(name, model_of):
    model = model_of(name, "eager").model
    sites = block_linears(model)
    assert len(blocks(model)) == 3
    assert len(sites) == 3 * PER_BLOCK[name]
    named = dict(model.named_modules())
    assert all(named[site.name] is site.module for site in sites)
    inside = {id(m) for block in blocks(model) for m in block.modules()}
    assert all(id(site.module) in inside for site in sites)
    expected = {id(m) for m in named.values() if is_linear(m) and m is not model.get_output_embeddings()}
    assert {id(site.module) for site in sites} == expected


def test_conv1d_is_read_as_out_by_in(model_of):
    site = block_linears(model_of("gpt2").model)[0]
    assert site.transposed
    assert (site.out_features, site.in_features) == (72, 24)
    assert tuple(site.weight.shape) == (24, 72)


def test_last_takes_the_deepest_blocks(model_of):
    model = model_of("llama").model
    assert block_linears(model, last=1) == block_linears(model)[14:]
    assert block_linears(model, last=3) == block_linears(model)


@pytest.mark.parametrize("last", [0, 4])
def test_last_out_of_range_is_refused(last, model_of):
    with pytest.raises(EngineError, match="1 to 3"):
        block_linears(model_of("llama").model, last=last)


def test_a_model_without_blocks_is_refused():
    with pytest.raises(EngineError, match="no list of transformer blocks"):
        blocks(nn.Sequential(nn.Linear(3, 3), nn.Linear(3, 3)))


def test_the_blocks_are_the_outermost_and_heaviest_list():
    class Block(nn.Module):
        def __init__(self):
            super().__init__()
            self.inner = nn.ModuleList([nn.Linear(8, 8) for _ in range(4)])

    model = nn.Module()
    model.adapters = nn.ModuleList([nn.Linear(2, 2)])
    model.body = nn.Module()
    model.body.stack = nn.ModuleList([Block(), Block()])
    assert blocks(model) == list(model.body.stack)
    assert len(block_linears(model)) == 8


def test_a_shared_weight_is_one_site():
    model = nn.Module()
    model.layers = nn.ModuleList([nn.Linear(4, 4), nn.Linear(4, 4), nn.Linear(4, 4)])
    model.layers[2].weight = model.layers[0].weight
    first, second = block_linears(model)
    assert first.modules == (model.layers[0], model.layers[2])
    assert second.modules == (model.layers[1],)


def test_nothing_is_changed(model_of):
    model = model_of("qwen2").model
    before = {name: p.clone() for name, p in model.named_parameters()}
    block_linears(model)
    assert all(torch.equal(p, before[name]) and not p.requires_grad for name, p in model.named_parameters())
