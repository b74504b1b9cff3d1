"""Fitting an InfluenceNetwork to a labelled block.

Notation. m labelled rows, u labelled items, P (m, u) their influence, NaN for pairs without a label (unscorable, or
held out to judge by). A validation share of the rows decides when to stop and is not fitted to meanwhile; with fewer
than eight labelled rows there is none: all are fitted to and the epochs run out. The loss is the mean squared error
over pairs. Every random choice comes from the configuration's seed.

Equal inputs on equal hardware give equal weights. Draws no rows and judges nothing beyond its own stopping.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor

from engine.errors import EngineError
from engine.influence.network.config import NetworkConfig
from engine.influence.network.inputs import Scaling
from engine.influence.network.network import InfluenceNetwork
from engine.progress import Reporter, Silent

LEAST_VALIDATED = 8  # labelled rows below which none is kept out to stop by


@dataclass(frozen=True)
class Fitted:
    """A trained network with its scales. `errors` are the validation errors by epoch in units of the fitted labels'
    variance (empty without validation rows), `best` the epoch whose weights were kept, `validation` the rows of the
    block kept out meanwhile and `held_out` (v, u) float32 what was said of them by weights that had not seen them,
    `constant` whether all fitted labels were the same, so that nothing could be learnt.
    """

    network: InfluenceNetwork
    scaling: Scaling
    errors: tuple[float, ...]
    best: int
    validation: np.ndarray
    held_out: np.ndarray
    constant: bool

    @property
    def error(self) -> float | None:
        """The best validation error, in units of the labels' variance; None without validation rows."""
        return min(self.errors) if self.errors else None

    @property
    def unfitted(self) -> np.ndarray:
        """The validation rows where the network kept was not fitted to them: they chose its epoch all the same.

        None after a refit, which is on all labelled rows: they are then seen as every other.
        """
        refitted = self.network.config.refit and not self.constant
        return self.validation[:0] if refitted else self.validation


def validation_rows(count: int, config: NetworkConfig) -> np.ndarray:
    """Positions among `count` labelled rows that decide when to stop, ascending."""
    if count < LEAST_VALIDATED:
        return np.zeros(0, np.int64)
    wanted = max(1, round(config.validation * count)) if config.validation else 0
    return np.sort(np.random.default_rng((config.seed, 20)).permutation(count)[:wanted])


def fit_network(
    rows: np.ndarray,
    items: np.ndarray | None,
    labels: np.ndarray,
    config: NetworkConfig,
    *,
    parts: Sequence[int] = (),
    reporter: Reporter | None = None,
) -> Fitted:
    """Fit to rows (m, d) and items (u, e) with labels (m, u); `items` None is the point-wise form, with u = 1.

    `parts` are the lengths of what the rows' embeddings are joined of, and the items' where they have the same form.
    Rows and items whose inputs are not finite are left out. Begins no phase; checks for cancellation between batches.
    Raises `EngineError` for shapes that do not match, no label at all, or weights that leave the range of numbers.
    """
    right = np.ones((1, 1), np.float32) if items is None else np.asarray(items, np.float32)
    labels = _known(rows, right, labels)
    rows, right = _filled(rows), _filled(right)
    alike = items is not None and rows.shape[1] == right.shape[1]
    made_of = tuple(parts) or (rows.shape[1],)
    if sum(made_of) != rows.shape[1]:
        raise EngineError(f"Parts of {made_of} numbers do not make up rows of {rows.shape[1]}. Nothing was fitted.")
    told = np.flatnonzero(np.isfinite(labels).any(axis=1))
    held = told[validation_rows(len(told), config)]
    fitted = np.setdiff1d(told, held)
    listener = reporter or Silent()

    def begin(part: np.ndarray) -> tuple[InfluenceNetwork, Scaling, _Block]:
        scaling = Scaling.of(rows[part], labels[part], parts=made_of, items_alike=alike, on=config.standardise)
        network = InfluenceNetwork(rows.shape[1], right.shape[1], config, parts=made_of if alike else ())
        return network, scaling, _Block(scaling.rows(rows), scaling.items(right), scaling.labels(labels))

    network, scaling, block = begin(fitted)
    constant = _constant(_present(labels[fitted]))
    errors: tuple[float, ...] = ()
    best = 0
    if constant:
        _settle(network, float(_present(block.labels[fitted]).mean()))
    else:
        errors, best = _train(network, block, fitted, held, config, listener)
    held_out = scaling.influence(network.mean(block.rows[held], block.items))
    if config.refit and len(held) and not constant:
        network, scaling, block = begin(told)
        _train(network, block, told, told[:0], replace(config, epochs=best + 1), listener)
    return Fitted(network.eval().requires_grad_(False), scaling, errors, best, held, held_out, constant)


def _known(rows: np.ndarray, items: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """The labels of rows and items that can be read, NaN elsewhere."""
    if labels.shape != (len(rows), len(items)):
        raise EngineError(
            f"Labels of shape {labels.shape} do not fit {len(rows)} rows and {len(items)} items. Nothing was fitted."
        )
    readable = np.outer(np.isfinite(rows).all(axis=1), np.isfinite(items).all(axis=1))
    found = np.where(readable, labels, np.nan).astype(np.float32)
    if not np.isfinite(found).any():
        raise EngineError(
            f"None of the {labels.size} labelled pairs has an influence, so there is nothing to learn from. "
            "Look at the reasons of the rows and items. Nothing was fitted."
        )
    return found


def _filled(values: np.ndarray) -> np.ndarray:
    """Rows that cannot be read as zeros; they have no label."""
    return np.where(np.isfinite(values).all(axis=1)[:, None], values, 0).astype(np.float32)


def _present(labels: np.ndarray) -> np.ndarray:
    """The labels that are there, in one row."""
    return labels[np.isfinite(labels)]


def _constant(labels: np.ndarray) -> bool:
    return float(np.ptp(labels)) <= 1e-9 * float(np.abs(labels).max())


def _settle(network: InfluenceNetwork, value: float) -> None:
    """Let the network say `value` of every pair."""
    network.requires_grad_(False)
    for weight in (network.out, network.left, network.similarity):
        weight.zero_()
    network.offset.fill_(value)


@dataclass(frozen=True)
class _Block:
    rows: Tensor
    items: Tensor
    labels: np.ndarray

    def targets(self, rows: np.ndarray) -> tuple[Tensor, Tensor]:
        """Labels (b, u) with zeros where there is none, and which are there."""
        known = np.isfinite(self.labels[rows])
        return torch.from_numpy(np.where(known, self.labels[rows], 0.0).astype(np.float32)), torch.from_numpy(known)


def _train(
    network: InfluenceNetwork,
    block: _Block,
    fitted: np.ndarray,
    held: np.ndarray,
    config: NetworkConfig,
    reporter: Reporter,
) -> tuple[tuple[float, ...], int]:
    """Train in place; the validation errors by epoch, and the epoch whose weights the network has now."""
    generator = np.random.default_rng((config.seed, 21))
    noise = torch.Generator().manual_seed(config.seed)
    optimiser = torch.optim.AdamW(_groups(network, config), lr=config.learning_rate)
    unit = float(_present(block.labels[fitted]).var(dtype=np.float64))
    errors: list[float] = []
    best, kept = 0, _weights(network)
    for epoch in range(config.epochs):
        for loss in _losses(network, block, fitted, config, generator, noise):
            reporter.check()
            optimiser.zero_grad(set_to_none=True)
            loss.backward()
            optimiser.step()
        if not len(held):
            best, kept = epoch, _weights(network)
            continue
        errors.append(_error(network, block, held) / unit)
        if errors[-1] <= min([np.inf, *errors[:-1]]):
            best, kept = epoch, _weights(network)
        if epoch - best >= config.patience:
            break
    if not (np.isfinite(errors[best] if errors else 0.0) and all(weight.isfinite().all() for weight in kept.values())):
        raise EngineError(
            f"The network's weights or errors left the range of numbers at learning rate {config.learning_rate:g}. "
            "Lower it, or let labels and inputs be standardised. Nothing was kept."
        )
    network.load_state_dict(kept)
    return tuple(errors), best


def _groups(network: InfluenceNetwork, config: NetworkConfig) -> list[dict[str, object]]:
    """The similarities' few weights learn faster and are not decayed: they carry over to items never seen."""
    others = [weight for name, weight in network.named_parameters() if name != "similarity"]
    quick = {"params": [network.similarity], "lr": 5 * config.learning_rate, "weight_decay": 0.0}
    return [{"params": others, "weight_decay": config.weight_decay}, *([quick] if network.similarity.numel() else [])]


def _losses(
    network: InfluenceNetwork,
    block: _Block,
    rows: np.ndarray,
    config: NetworkConfig,
    generator: np.random.Generator,
    noise: torch.Generator,
) -> Iterator[Tensor]:
    """The loss of every batch of one epoch, summed over the members."""
    if config.batch_of == "rows":
        order = generator.permutation(rows)
        for start in range(0, len(order), config.batch):
            part = order[start : start + config.batch]
            target, known = block.targets(part)
            found = network(block.rows[part], block.items, noise=noise)  # (M, b, u)
            yield ((found - target) ** 2 * known).sum((1, 2)).div(max(1, int(known.sum()))).sum()
        return
    places = np.argwhere(np.isfinite(block.labels[rows]))
    order = generator.permutation(len(places))
    for start in range(0, len(order), config.batch):
        part = places[order[start : start + config.batch]]
        i, j = rows[part[:, 0]], part[:, 1]
        found = network.pairs(block.rows[i], block.items[j], noise=noise)  # (M, b)
        yield ((found - torch.from_numpy(block.labels[i, j])) ** 2).mean(1).sum()


@torch.no_grad()
def _error(network: InfluenceNetwork, block: _Block, rows: np.ndarray) -> float:
    """Mean squared error of the members' mean over the known pairs of some rows."""
    target, known = block.targets(rows)
    found = network.mean(block.rows[rows], block.items)
    return float(((found - target) ** 2 * known).sum() / known.sum())


def _weights(network: InfluenceNetwork) -> dict[str, Tensor]:
    return {name: value.clone() for name, value in network.state_dict().items()}
