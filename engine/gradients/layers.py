"""The gradient of one layer, row by row, from its inputs and output gradients.

Notation. For a weight W (out, in) applied as y = W x, row i of a batch has inputs a (T, in) and output gradients
g = dL/dy (T, out); its gradient is G_i = Σ_t g_t a_tᵀ. A scale is an element-wise preconditioner a (out, in): the
conditioned gradient is a ⊙ G_i. Everything here comes in two forms of equal value: the *token* form never writes G_i
down, Σ_t g_tᵀ U a_t for an inner product with U and Σ_{t,s} (g_t·g_s)(a_t·a_s) for the squared norm; the *explicit*
form writes G_i for a few rows at a time, after which norm and inner products are nearly free. (METHODS section 3,
"Exact cosines".) Rows never mix, so what is not a number stays in its row.
"""

from collections.abc import Iterator, Sequence

import torch
from torch import Tensor

from engine.errors import EngineError
from engine.gradients.parameters import Site

GHOST_ELEMENTS = 1 << 24  # largest temporary of the token form of a norm, in numbers
EXPLICIT_ELEMENTS = {"cpu": 1 << 17, "cuda": 1 << 27}  # numbers of G held at once: the CPU's fit in its cache


def checked_scale(scale: Sequence[Tensor | None] | None, sites: Sequence[Site]) -> Sequence[Tensor | None]:
    """One preconditioner (out, in) or None per site, on its device, float32 (masks stay bool); else `EngineError`."""
    if scale is None:
        return [None] * len(sites)
    shapes = [None if a is None else tuple(a.shape) for a in scale]
    expected = [(site.out_features, site.in_features) for site in sites]
    if len(shapes) != len(sites) or any(got not in (None, due) for got, due in zip(shapes, expected)):
        wrong = [f"{site.name}: {got}" for site, got, due in zip(sites, shapes, expected) if got not in (None, due)]
        raise EngineError(
            f"A scale needs one tensor (out, in) for each of {len(sites)} layers; got {len(shapes)}"
            f"{', of which ' + '; '.join(wrong[:3]) if wrong else ''}. Nothing was computed."
        )
    return [
        None if a is None else a.to(site.weight.device, a.dtype if a.dtype == torch.bool else torch.float32)
        for a, site in zip(scale, sites)
    ]


def layer_gradients(signal: Tensor, inputs: Tensor, scale: Tensor | None = None) -> Iterator[tuple[slice, Tensor]]:
    """(rows, a ⊙ G (b, out, in)) for consecutive rows, float32, from g (B, T, out) and a (B, T, in).

    Holds `EXPLICIT_ELEMENTS` numbers at once, or one row's gradient where that is more.
    """
    size = signal.shape[2] * inputs.shape[2]
    step = max(1, EXPLICIT_ELEMENTS.get(signal.device.type, 1 << 24) // size)
    for start in range(0, len(signal), step):
        rows = slice(start, min(start + step, len(signal)))
        gradient = signal[rows].transpose(1, 2) @ inputs[rows]  # (b, out, in)
        yield rows, gradient if scale is None else gradient.mul_(scale)


def ghost_squared_norm(signal: Tensor, inputs: Tensor, scale: Tensor | None = None) -> Tensor:
    """‖a ⊙ G_i‖² of every row (B,), float64; by the cheaper form where there is no scale.

    The token form costs T²(in + out), the explicit one T·in·out.
    """
    length = signal.shape[1]
    if scale is None and pairwise_is_cheaper(signal, inputs):
        step = max(1, GHOST_ELEMENTS // (2 * length * length))
        return torch.cat([_pairwise(g, a) for g, a in zip(signal.split(step), inputs.split(step))])
    return _explicit(signal, inputs, None, scale, norm=True)[1]


def pairwise_is_cheaper(signal: Tensor, inputs: Tensor) -> bool:
    """Whether a squared norm costs less in the token form, which compares the positions of a row in pairs."""
    length, out, into = signal.shape[1], signal.shape[2], inputs.shape[2]
    return length * (into + out) <= into * out


def products_and_norms(
    signal: Tensor, inputs: Tensor, directions: Tensor, *, scale: Tensor | None = None, norm: bool = True
) -> tuple[Tensor, Tensor]:
    """Inner products <a ⊙ G_i, U_j> (B, s) and squared norms (B,), float64, with U (s, out·in) float32.

    By the form that takes fewer multiplications; without `norm` the second result is zero.
    """
    if not _token_form_is_cheaper(signal, inputs, len(directions), scale is not None, norm):
        return _explicit(signal, inputs, directions, scale, norm=norm)
    matrices = directions.view(len(directions), signal.shape[2], inputs.shape[2])  # (s, out, in)
    products = [_token_products(signal, inputs, u if scale is None else u * scale) for u in matrices]
    squared = ghost_squared_norm(signal, inputs) if norm else signal.new_zeros(len(signal), dtype=torch.float64)
    return torch.stack(products, dim=1), squared


def _token_form_is_cheaper(signal: Tensor, inputs: Tensor, count: int, scaled: bool, norm: bool) -> bool:
    length, out, into = signal.shape[1], signal.shape[2], inputs.shape[2]
    if count == 0 or (scaled and norm):  # a conditioned norm has no token form
        return False
    token = count * length * into * out + (length * length * (into + out) if norm else 0)
    explicit = length * into * out + (count + norm) * into * out
    return token < explicit


def _token_products(signal: Tensor, inputs: Tensor, matrix: Tensor) -> Tensor:
    """Σ_t g_tᵀ U a_t of every row (B,), summed over the narrower side."""
    if signal.shape[2] < inputs.shape[2]:
        return torch.linalg.vecdot(signal, inputs @ matrix.T).sum(dim=1, dtype=torch.float64)
    return torch.linalg.vecdot(signal @ matrix, inputs).sum(dim=1, dtype=torch.float64)


def _explicit(
    signal: Tensor, inputs: Tensor, directions: Tensor | None, scale: Tensor | None, *, norm: bool
) -> tuple[Tensor, Tensor]:
    count = 0 if directions is None else len(directions)
    products = signal.new_zeros(len(signal), count, dtype=torch.float64)
    squared = signal.new_zeros(len(signal), dtype=torch.float64)
    for rows, gradient in layer_gradients(signal, inputs, scale):
        flat = gradient.flatten(1)  # (b, out·in)
        if directions is not None:
            products[rows] = (flat @ directions.T).double()
        if norm:
            squared[rows] = torch.linalg.vecdot(flat, flat).double()
    return products, squared


def _pairwise(signal: Tensor, inputs: Tensor) -> Tensor:
    products = (signal @ signal.transpose(1, 2)) * (inputs @ inputs.transpose(1, 2))  # (b, T, T)
    return products.sum(dim=(1, 2), dtype=torch.float64).clamp_min(0)
