"""Random projections that make gradients small and keep their inner products.

Notation. G is the gradient of one weight, (out, in). The factored projection of a site is P_out G P_inᵀ with entries
±1/√w of P_out (w, out) and P_in (w, in), so that E‖P_out G P_inᵀ‖² = ‖G‖² and, as the sites are concatenated, inner
products of projected gradients estimate those of the full ones without bias. A side not longer than w is kept as it
is (the identity), which is exact. The Hadamard projection takes a vector of length n to length k.

Every random number comes from the raw bits of a PCG64 generator keyed by seed, site name and side: the same on any
device, for any batch, for any subset of the sites. (METHODS section 1, "Gradient projection".)
"""

from collections.abc import Sequence
from functools import cache
from math import isqrt, sqrt

import numpy as np
import torch
from scipy.fft import dct
from torch import Tensor

from engine.errors import EngineError
from engine.gradients.keyed import keyed_generator, signs
from engine.gradients.layers import layer_gradients
from engine.gradients.parameters import Site

__all__ = ["FactoredProjection", "Hadamard", "LayerHadamard", "Projection", "keyed_generator", "signs", "width_for"]

MIX = 8  # the Hadamard blocks are at least this many, so that padding adds at most an eighth
RADIX_BITS = 5  # the Walsh–Hadamard transform goes by products with matrices of at most 32: fastest on a CPU


def width_for(sites: Sequence[Site], dim: int) -> int:
    """The largest width whose projection of `sites` has at most `dim` coordinates (at least 1 per site)."""
    if dim < len(sites):
        raise EngineError(f"{dim} coordinates asked for, but there are {len(sites)} layers; ask for at least one each.")
    return max(w for w in range(1, isqrt(dim) + 1) if _total(sites, w) <= dim)


def _total(sites: Sequence[Site], width: int) -> int:
    return sum(min(width, site.out_features) * min(width, site.in_features) for site in sites)


class Projection:
    """What every projection of a list of sites has: where each site's coordinates lie, and how they are finished.

    `offsets` bound the coordinates of each site among `raw_dim`; `compress` k sends the concatenation through a
    `Hadamard` to k (for deep models, where the concatenation itself is long). `.dim` is the number of coordinates a
    gradient ends with. `needs_matrix` says that a layer's whole gradient is formed in any case.
    """

    needs_matrix = False

    def __init__(self, sites: Sequence[Site], *, width: int, seed: int, compress: int | None) -> None:
        if not sites:
            raise EngineError("A projection needs at least one layer; got none.")
        if width < 1:
            raise EngineError(f"The projection width is {width}; it must be at least 1.")
        if len({site.name for site in sites}) != len(sites):
            raise EngineError("Two layers of a projection have the same name; their random matrices would coincide.")
        self.sites = tuple(sites)
        self.width = width
        self.seed = seed
        self.offsets = np.cumsum([0, *(self._size(site) for site in sites)])
        self.raw_dim = int(self.offsets[-1])
        self.hadamard = None if compress is None else Hadamard(self.raw_dim, compress, seed=seed)
        self.dim = self.raw_dim if compress is None else compress

    def _size(self, site: Site) -> int:
        return min(self.width, site.out_features) * min(self.width, site.in_features)

    def project(self, site: Site, signal: Tensor, inputs: Tensor) -> Tensor:
        """Projected weight gradients (B, size) from g = dL/dy (B, T, out) and a = x (B, T, in)."""
        raise NotImplementedError

    def project_matrix(self, site: Site, gradient: Tensor) -> Tensor:
        """Projected weight gradients (b, size) from the gradients themselves (b, out, in)."""
        raise NotImplementedError

    def finish(self, gradients: Tensor) -> Tensor:
        """The concatenation (B, raw_dim), sent through the Hadamard projection where there is one: (B, dim)."""
        return gradients if self.hadamard is None else self.hadamard(gradients)


class FactoredProjection(Projection):
    """Two-sided Rademacher projection of every site, concatenated in the order of `sites`.

    `width` w gives w·w coordinates per site. Raises `EngineError` for no sites, a width below 1, repeated site names
    or a `compress` above the concatenation.
    """

    def __init__(self, sites: Sequence[Site], *, width: int = 48, seed: int = 0, compress: int | None = None) -> None:
        super().__init__(sites, width=width, seed=seed, compress=compress)
        self._cache: dict[tuple[str, torch.device], tuple[Tensor | None, Tensor | None]] = {}

    def _side(self, site: Site, side: str, features: int) -> Tensor | None:
        if features <= self.width:
            return None
        entries = signs(self.width * features, "factored", self.seed, site.name, side)
        return torch.from_numpy(entries.reshape(self.width, features) / sqrt(self.width))

    def factors(self, site: Site, device: torch.device) -> tuple[Tensor | None, Tensor | None]:
        """(P_out, P_in) on `device`, float32; None stands for the identity."""
        key = (site.name, device)
        if key not in self._cache:
            sides = (self._side(site, "out", site.out_features), self._side(site, "in", site.in_features))
            self._cache[key] = tuple(None if p is None else p.to(device) for p in sides)  # type: ignore[assignment]
        return self._cache[key]

    def matrices(self, site: Site) -> tuple[Tensor, Tensor]:
        """(P_out (≤w, out), P_in (≤w, in)) as explicit float32 matrices on the CPU."""
        p_out, p_in = self.factors(site, torch.device("cpu"))
        return (
            torch.eye(site.out_features) if p_out is None else p_out,
            torch.eye(site.in_features) if p_in is None else p_in,
        )

    def project(self, site: Site, signal: Tensor, inputs: Tensor) -> Tensor:
        """Projected weight gradients (B, w·w) from g = dL/dy (B, T, out) and a = x (B, T, in): P_out gᵀa P_inᵀ."""
        p_out, p_in = self.factors(site, signal.device)
        left = signal if p_out is None else signal @ p_out.T  # (B, T, w_out)
        right = inputs if p_in is None else inputs @ p_in.T  # (B, T, w_in)
        return (left.transpose(1, 2) @ right).flatten(1)  # (B, w_out·w_in)

    def project_matrix(self, site: Site, gradient: Tensor) -> Tensor:
        """Projected weight gradients (b, w·w) from the gradients themselves (b, out, in): P_out G P_inᵀ."""
        p_out, p_in = self.factors(site, gradient.device)
        left = gradient if p_out is None else p_out @ gradient  # (b, w_out, in)
        return (left if p_in is None else left @ p_in.T).flatten(1)  # (b, w_out·w_in)


class LayerHadamard(Projection):
    """Blocked randomised Hadamard projection of every site's flattened gradient, concatenated in the order of `sites`.

    For conditioned gradients, whose matrix is formed anyhow, and wherever a projection that treats the two sides alike
    is wanted. A site has as many coordinates as in the factored projection of the same `width`; a gradient of no more
    coordinates than that is kept as it is. Signs and rows are fixed by seed and site name. Raises `EngineError` as
    `FactoredProjection` does.
    """

    needs_matrix = True

    def __init__(self, sites: Sequence[Site], *, width: int = 48, seed: int = 0, compress: int | None = None) -> None:
        super().__init__(sites, width=width, seed=seed, compress=compress)
        self._transforms: dict[str, Hadamard | None] = {}

    def transform(self, site: Site) -> "Hadamard | None":
        """The projection of this site's flattened gradient; None stands for the identity."""
        if site.name not in self._transforms:
            length, kept = site.out_features * site.in_features, self._size(site)
            made = None if kept == length else Hadamard(length, kept, seed=self.seed, name=site.name)
            self._transforms[site.name] = made
        return self._transforms[site.name]

    def project(self, site: Site, signal: Tensor, inputs: Tensor) -> Tensor:
        """Projected weight gradients (B, size), the layer's gradient formed for a few rows at a time."""
        return torch.cat([self.project_matrix(site, each) for _, each in layer_gradients(signal, inputs)])

    def project_matrix(self, site: Site, gradient: Tensor) -> Tensor:
        """Projected weight gradients (b, size) from the gradients themselves (b, out, in)."""
        transform = self.transform(site)
        return gradient.flatten(1) if transform is None else transform(gradient.flatten(1))


class Hadamard:
    """Randomised blocked Hadamard projection of length n to length k, with E‖Px‖² = ‖x‖².

    P = √(N/k) · R · (C_m ⊗ H_b) · D: pad n to N = m·b (b a power of two, m between 8 and 16 for n of 16 or more, so
    the padding is at most an eighth; m = 1 below), random signs D, the orthonormal fast Walsh–Hadamard transform H_b
    inside each of the m blocks, an orthonormal cosine transform C_m across them (a spike is spread over all N
    coordinates, none above √(2/N)), and R a uniform draw without replacement of k of *all* N coordinates. The draws are
    fixed by seed, n and `name`. Raises `EngineError` unless 1 ≤ k ≤ n.
    """

    def __init__(self, n: int, k: int, *, seed: int = 0, name: str | None = None) -> None:
        if not 1 <= k <= n:
            raise EngineError(f"A Hadamard projection of length {n} to {k} was asked for; the result must be 1 to {n}.")
        self.n, self.k, self.seed = n, k, seed
        key = (seed, n) if name is None else (seed, n, name)
        self.block, self.padded = _padded(n)
        words = np.atleast_1d(keyed_generator("hadamard rows", *key).random_raw(self.padded))
        self.kept = torch.from_numpy(np.sort(np.argsort(words, kind="stable")[:k]))
        self.signs = torch.from_numpy(signs(n, "hadamard signs", *key))
        count = self.padded // self.block
        self.mix = torch.from_numpy(dct(np.eye(count), axis=0, norm="ortho").astype(np.float32))
        self._placed: dict[tuple[torch.device, torch.dtype], tuple[Tensor, Tensor, Tensor]] = {}

    def __call__(self, x: Tensor) -> Tensor:
        """Project the last axis of x (…, n) → (…, k), in the dtype of x."""
        if x.shape[-1] != self.n:
            raise EngineError(f"This projection takes vectors of length {self.n}; got {x.shape[-1]}.")
        signs, mix, kept = self._on(x)
        signed = x * signs
        full = torch.nn.functional.pad(signed, (0, self.padded - self.n))  # (…, N)
        spread = walsh_hadamard(full.unflatten(-1, (-1, self.block)))  # (…, m, b)
        mixed = (mix @ spread).flatten(-2)  # (…, N)
        return mixed[..., kept] * sqrt(self.padded / self.k)

    def _on(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Signs, C_m and the kept coordinates where x lies and in its precision; brought there once."""
        key = (x.device, x.dtype)
        if key not in self._placed:
            self._placed[key] = (self.signs.to(x), self.mix.to(x), self.kept.to(x.device))
        return self._placed[key]


def _padded(n: int) -> tuple[int, int]:
    if n < 2 * MIX:
        block = 1 << (n - 1).bit_length()
        return block, block
    block = (1 << (n.bit_length() - 1)) // MIX
    return block, -(-n // block) * block


def walsh_hadamard(x: Tensor) -> Tensor:
    """Orthonormal Walsh–Hadamard transform (natural order) of the last axis, whose length is a power of two.

    H of length 2^(p+q) is the Kronecker product of those of 2^p and 2^q, so the transform is a few matrix products with
    small Hadamard matrices, in any order: several times faster than passes of sums and differences.
    """
    length = x.shape[-1]
    y, inner = x, 1
    for size in _radices(length):
        matrix = _hadamard_matrix(size, x.device, x.dtype)
        y = y.reshape(-1, size) @ matrix if inner == 1 else matrix @ y.reshape(-1, size, inner)
        inner *= size
    return y.reshape(x.shape) / sqrt(length)


def _radices(length: int) -> list[int]:
    """Powers of two of at most `RADIX_BITS` bits, as equal as can be, whose product is `length`."""
    bits = length.bit_length() - 1
    count = -(-bits // RADIX_BITS)
    return [1 << (bits // count + (k < bits % count)) for k in range(count)]


@cache
def _hadamard_matrix(size: int, device: torch.device, dtype: torch.dtype) -> Tensor:
    matrix = torch.ones(1, 1)
    while len(matrix) < size:
        matrix = torch.cat([torch.cat([matrix, matrix], dim=1), torch.cat([matrix, -matrix], dim=1)])
    return matrix.to(device, dtype)
