"""Subsets of a model's parameters: by block, by name, embeddings and norms, and random coordinate masks.

A subset is a list of sites and, where only a share of the coordinates is kept, a mask per site: an element-wise
preconditioner of zeros and ones, accepted wherever a `scale` is. Masks are fixed by seed and site name, so a site has
the same mask in any subset. (Influence Distillation, arXiv 2505.19051, Appendix I.) Names are globs.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase

import torch
from torch import Tensor, nn

from engine.errors import EngineError
from engine.gradients.keyed import coins
from engine.gradients.parameters import Site, block_linears, block_stack, is_linear, join_tied, linear_site

NAMES_SHOWN = 12


@dataclass(frozen=True)
class ParameterChoice:
    """Which parameters to take gradients in; the default is every linear weight of every block.

    `blocks`: only the last so many (None: all). `names`: only sites whose name, parameter name (`….weight`) or last
    part (`down_proj`) matches one of these globs. `keep`: share of the coordinates of every site, drawn by `seed`.
    `embeddings`: the token embedding and the output head too, one site where they are tied (position embeddings stay
    out). `norms`: the weights and biases of the norms in the chosen blocks and behind them.
    Raises `EngineError` for fewer than one block or a share outside (0, 1].
    """

    blocks: int | None = None
    names: tuple[str, ...] = ()
    keep: float = 1.0
    seed: int = 0
    embeddings: bool = False
    norms: bool = False

    def __post_init__(self) -> None:
        if self.blocks is not None and self.blocks < 1:
            raise EngineError(f"Gradients of the last {self.blocks} blocks asked for; ask for at least 1.")
        if not 0 < self.keep <= 1:
            raise EngineError(f"The share of coordinates to keep is {self.keep}; it must be above 0 and at most 1.")


@dataclass(frozen=True)
class Chosen:
    """The sites of a choice, in order of evaluation, and what a reader should know of them.

    `masks` are one per site, bool (out, in) on the device of its weight, or None where every coordinate is kept.
    """

    sites: tuple[Site, ...]
    masks: tuple[Tensor, ...] | None
    notes: tuple[str, ...]


def choose_sites(model: nn.Module, choice: ParameterChoice) -> Chosen:
    """The parameter set of `choice` in `model`.

    Raises `EngineError` for more blocks than there are, or a name that matches nothing, saying what would match.
    """
    sites = join_tied(_candidates(model, choice))
    if choice.names:
        sites = _named(sites, choice.names)
    masks = None if choice.keep == 1 else coordinate_masks(sites, choice.keep, seed=choice.seed)
    return Chosen(tuple(sites), masks, _notes(sites, masks, choice))


def coordinate_masks(sites: Sequence[Site], share: float, *, seed: int = 0) -> tuple[Tensor, ...]:
    """A bool mask (out, in) per site in which each coordinate is kept with probability `share`, independently."""
    return tuple(
        torch.from_numpy(
            coins(site.out_features * site.in_features, share, "mask", seed, site.name).reshape(
                site.out_features, site.in_features
            )
        ).to(site.weight.device)
        for site in sites
    )


def _candidates(model: nn.Module, choice: ParameterChoice) -> list[Site]:
    """Linear weights of the blocks, with the norms among them, between the embedding and the head."""
    sites = block_linears(model, choice.blocks)
    if choice.norms:
        sites = _with_norms(model, sites, choice.blocks)
    if not choice.embeddings:
        return sites
    names = {id(module): name for name, module in model.named_modules()}
    embedding, head = _ends(model)
    token = Site(
        names[id(embedding)],
        embedding,
        embedding.embedding_dim,
        embedding.num_embeddings,
        kind="embedding",
    )
    return [token, *sites, *([linear_site(names[id(head)], head)] if head is not None else [])]


def _ends(model: nn.Module) -> tuple[nn.Embedding, nn.Module | None]:
    find = getattr(model, "get_input_embeddings", None)
    embedding = find() if find is not None else None
    if not isinstance(embedding, nn.Embedding) or embedding.max_norm is not None:
        raise EngineError(
            f"{type(model).__name__} has no plain token embedding, so its gradient cannot be taken. "
            "Choose a parameter set without embeddings. Nothing was computed."
        )
    find = getattr(model, "get_output_embeddings", None)
    head = find() if find is not None else None
    return embedding, head if head is not None and is_linear(head) else None


def _with_norms(model: nn.Module, linears: list[Site], last: int | None) -> list[Site]:
    """The linear sites and the norms of their blocks and of what follows, in order of the model's modules."""
    stack = block_stack(model)
    first = len(stack.blocks) - (last or len(stack.blocks))
    early = {id(module) for block in list(stack.blocks)[:first] for module in block.modules()}
    by_module = {id(site.module): site for site in linears}
    found: list[Site] = []
    for name, module in model.named_modules():
        if id(module) in by_module:
            found.append(by_module[id(module)])
        elif id(module) not in early and is_norm(module):
            found += [_vector(name, module, parameter) for parameter, _ in module.named_parameters()]
    return found


def is_norm(module: nn.Module) -> bool:
    """Whether a module is a leaf whose parameters are all vectors: a layer norm or a root-mean-square norm."""
    parameters = list(module.parameters(recurse=False))
    return bool(parameters) and not list(module.children()) and all(p.ndim == 1 for p in parameters)


def _vector(name: str, module: nn.Module, parameter: str) -> Site:
    suffix = "" if parameter == "weight" else f".{parameter}"
    length = len(getattr(module, parameter))
    return Site(name + suffix, module, 1, length, parameter=parameter, kind="vector")


def _named(sites: list[Site], patterns: Sequence[str]) -> list[Site]:
    counts = {pattern: sum(_matches(site, pattern) for site in sites) for pattern in patterns}
    missing = [pattern for pattern, count in counts.items() if count == 0]
    if missing:
        known = list(dict.fromkeys(site.name.rsplit(".", 1)[-1] for site in sites))
        matched = [f"{pattern} matches {count}" for pattern, count in counts.items() if count]
        raise EngineError(
            f"No parameter is called {', '.join(missing)} among the {len(sites)} of this choice"
            f"{'; ' + ', '.join(matched) if matched else ''}. Names end in: {', '.join(known[:NAMES_SHOWN])}; "
            f"the first is {sites[0].name}. Patterns are globs such as '*.{known[-1]}'. Nothing was computed."
        )
    return [site for site in sites if any(_matches(site, pattern) for pattern in patterns)]


def _matches(site: Site, pattern: str) -> bool:
    full = site.name if site.name.endswith(f".{site.parameter}") else f"{site.name}.{site.parameter}"
    return any(fnmatchcase(name, pattern) for name in (site.name, full, site.name.rsplit(".", 1)[-1]))


def _notes(sites: Sequence[Site], masks: Sequence[Tensor] | None, choice: ParameterChoice) -> tuple[str, ...]:
    whole = sum(site.weight.numel() for site in sites)
    if masks is None:
        return (f"Gradients in {whole:,} parameters of {len(sites)} layers.",)
    kept = sum(int(mask.sum()) for mask in masks)
    return (
        f"Gradients in {kept:,} of {whole:,} parameters of {len(sites)} layers, drawn with seed {choice.seed}.",
        "A mask of single coordinates makes every layer's whole gradient of a sample necessary.",
    )
