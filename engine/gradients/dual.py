"""Dual tensors: a value and its derivatives along V directions, carried by hand through a model's forward pass.

Notation. A `Dual` stands for x + Σ_v ε_v ẋ_v: `value` is x, `tangents` the V tensors ẋ_v, each of x's shape. A function
f sends it to f(x) and ∂f·ẋ_v. The value is computed once for all directions; a linear map costs one product per
direction; `dual_attention` follows attention.

A dual tensor is a tensor to the model's code: it has shape, dtype and device of its value. Functions without a rule
here go through torch's own forward mode, one direction at a time; functions that write in place, or have no forward
mode, raise `NoRuleError`. Knows nothing of models, weights or batches. No graph is built.
"""

import warnings
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F
from torch.utils._pytree import tree_flatten, tree_map, tree_unflatten

from engine.gradients.dual_attention import attended

Function = Callable[..., Any]
_TAP: ContextVar[Function | None] = ContextVar("tap", default=None)


class NoRuleError(Exception):
    """The model calls a function that cannot be followed here. Never shown: the caller takes another way."""


class Dual(Tensor):
    """x + Σ_v ε_v ẋ_v; see the module's docstring."""

    value: Tensor
    tangents: tuple[Tensor, ...]

    @staticmethod
    def __new__(cls, value: Tensor, tangents: Iterable[Tensor]) -> "Dual":
        """Pair a plain value with plain tangents of its shape."""
        made = Tensor._make_subclass(cls, value)
        made.value, made.tangents = value, tuple(tangents)
        return made

    @classmethod
    def __torch_function__(cls, func: Function, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Follow `func` by its rule."""
        with torch._C.DisableTorchFunctionSubclass():
            rule = RULES.get(func)
            if rule is not None:
                return rule(func, args, kwargs or {})
            return _without_rule(func, args, kwargs or {})


def plain(x: Any) -> Any:
    """The value of a dual tensor; anything else as it is."""
    return x.value if isinstance(x, Dual) else x


def _without_rule(func: Function, args: Any, kwargs: dict[str, Any]) -> Any:
    """Properties and predicates see the value alone; other functions go through torch's forward mode."""
    name = getattr(func, "__name__", "")
    if (name.endswith("_") and not name.endswith("__")) or name in ("__setitem__", "__iadd__", "__imul__", "__isub__"):
        raise NoRuleError(f"{name} writes in place")
    if name == "__get__":
        if getattr(func, "__self__", None) in TRANSPOSED_VIEWS:
            return _linear(func, args, kwargs)
        return func(*tree_map(plain, args), **kwargs)
    value = func(*tree_map(plain, args), **tree_map(plain, kwargs))
    floating = [isinstance(x, Tensor) and x.is_floating_point() for x in tree_flatten(value)[0]]
    return _forward_mode(func, args, kwargs) if any(floating) else value


def forward_mode(func: Function, values: tuple[Any, ...], tangents: tuple[Any, ...]) -> tuple[Any, Any]:
    """`torch.func.jvp`, without the warning that torch scripts its own rules on first use."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="`torch.jit.script", category=DeprecationWarning)
        value, moved = torch.func.jvp(func, values, tangents)[:2]
    return value, moved


def _forward_mode(func: Function, args: Any, kwargs: dict[str, Any]) -> Any:
    leaves, form = tree_flatten((args, kwargs))
    at = [k for k, x in enumerate(leaves) if isinstance(x, Dual)]

    def of(*values: Tensor) -> Any:
        filled = list(leaves)
        for k, x in zip(at, values):
            filled[k] = x
        inner_args, inner_kwargs = tree_unflatten(filled, form)
        return func(*inner_args, **inner_kwargs)

    values = tuple(leaves[k].value for k in at)
    count = len(leaves[at[0]].tangents)
    try:
        moved = [forward_mode(of, values, tuple(leaves[k].tangents[v] for k in at)) for v in range(count)]
    except (RuntimeError, NotImplementedError, TypeError) as error:
        raise NoRuleError(f"{getattr(func, '__name__', func)}: {error}") from error
    return _paired(moved[0][0], [tangent for _, tangent in moved])


def _paired(value: Any, tangents: Sequence[Any]) -> Any:
    """A dual, or a tuple or list of duals, from a value and its tangents of the same form."""
    if isinstance(value, Tensor):
        return Dual(value, tangents)
    return type(value)(_paired(x, [t[k] for t in tangents]) for k, x in enumerate(value))


def _linear(func: Function, args: Any, kwargs: dict[str, Any]) -> Any:
    """Functions linear in their first argument: the same function of value and tangents."""
    x, *rest = args
    if not isinstance(x, Dual) or any(isinstance(r, Dual) for r in rest):
        return _forward_mode(func, args, kwargs)
    value = func(x.value, *rest, **kwargs)
    return _paired(value, [func(t, *rest, **kwargs) for t in x.tangents])


def _affine(func: Function, args: Any, kwargs: dict[str, Any]) -> Dual:
    """`F.linear(x, W, b)`: the tangents go through W alone."""
    x, weight, *rest = args
    if not isinstance(x, Dual) or isinstance(weight, Dual):
        return _forward_mode(func, args, kwargs)
    return Dual(func(x.value, weight, *rest, **kwargs), [func(t, weight) for t in x.tangents])


def _affine_sum(func: Function, args: Any, kwargs: dict[str, Any]) -> Dual:
    """`torch.addmm(b, x, W)` with x alone dual (Conv1D)."""
    if kwargs or len(args) != 3 or [isinstance(a, Dual) for a in args] != [False, True, False]:
        return _forward_mode(func, args, kwargs)
    bias, x, weight = args
    return Dual(func(bias, x.value, weight), [t @ weight for t in x.tangents])


def _sum(func: Function, args: Any, kwargs: dict[str, Any]) -> Dual:
    """x + y, x − y and y − x (`__rsub__`)."""
    if kwargs:
        return _forward_mode(func, args, kwargs)
    x, y = args
    value = func(plain(x), plain(y))
    if isinstance(x, Dual) and isinstance(y, Dual):
        return Dual(value, [func(a, b) for a, b in zip(x.tangents, y.tangents)])
    one, other = (x, 1.0) if isinstance(x, Dual) else (y, -1.0)
    negative = (func in REVERSED and other > 0) or (func in DIFFERENCES and other < 0)
    tangents = [-t if negative else t for t in one.tangents]
    return Dual(value, [t if t.shape == value.shape else t.expand(value.shape) for t in tangents])


def _product(func: Function, args: Any, kwargs: dict[str, Any]) -> Dual:
    """Products x·y of either kind, with one or both dual."""
    if kwargs:
        return _forward_mode(func, args, kwargs)
    x, y = args
    value = func(plain(x), plain(y))
    if isinstance(x, Dual) and isinstance(y, Dual):
        pairs = zip(x.tangents, y.tangents)
        return Dual(value, [func(a, y.value).add_(func(x.value, b)) for a, b in pairs])
    if isinstance(x, Dual):
        return Dual(value, [func(t, y) for t in x.tangents])
    return Dual(value, [func(x, t) for t in y.tangents])


def _quotient(func: Function, args: Any, kwargs: dict[str, Any]) -> Dual:
    x, y = args
    if kwargs or isinstance(y, Dual):
        return _forward_mode(func, args, kwargs)
    return Dual(func(x.value, y), [func(t, y) for t in x.tangents])


def _elementwise(func: Function, args: Any, kwargs: dict[str, Any]) -> Dual:
    """Functions of each number alone: the derivative is taken once and serves all tangents."""
    x, *rest = args
    if not isinstance(x, Dual) or any(isinstance(r, Dual) for r in rest):
        return _forward_mode(func, args, kwargs)
    if kwargs.pop("inplace", False):
        raise NoRuleError(f"{func.__name__} writes in place")
    value, slope = forward_mode(lambda z: func(z, *rest, **kwargs), (x.value,), (torch.ones_like(x.value),))
    return Dual(value, [slope * t for t in x.tangents])


def _power(func: Function, args: Any, kwargs: dict[str, Any]) -> Dual:
    x, exponent = args
    if kwargs or not isinstance(x, Dual) or exponent != 2:
        return _elementwise(func, args, kwargs)
    twice = 2 * x.value
    return Dual(x.value * x.value, [twice * t for t in x.tangents])


def _inverse_root(func: Function, args: Any, kwargs: dict[str, Any]) -> Dual:
    (x,) = args
    value = func(x.value)
    slope = value.pow(3).mul_(-0.5)
    return Dual(value, [slope * t for t in x.tangents])


def _sigmoid_weighted(func: Function, args: Any, kwargs: dict[str, Any]) -> Dual:
    """silu(x) = x σ(x); its slope is σ + silu·(1 − σ)."""
    x = args[0]
    gate = torch.sigmoid(x.value)
    value = x.value * gate
    slope = torch.addcmul(gate, value, 1 - gate)
    return Dual(value, [slope * t for t in x.tangents])


def _softmax(func: Function, args: Any, kwargs: dict[str, Any]) -> Dual:
    x, *rest = args
    dim = kwargs.get("dim", rest[0] if rest else None)
    if not isinstance(x, Dual) or dim is None:
        return _forward_mode(func, args, kwargs)
    value = func(x.value, *rest, **kwargs)
    moved = [value * t for t in x.tangents]
    return Dual(value, [m.sub_(value * m.sum(dim=dim, keepdim=True)) for m in moved])


def _joined(func: Function, args: Any, kwargs: dict[str, Any]) -> Dual:
    """`torch.cat` and `torch.stack` of parts, some of which may be constant."""
    parts, *rest = args
    count = next(len(x.tangents) for x in parts if isinstance(x, Dual))
    value = func([plain(x) for x in parts], *rest, **kwargs)
    moved = [[x.tangents[v] if isinstance(x, Dual) else torch.zeros_like(x) for x in parts] for v in range(count)]
    return Dual(value, [func(part, *rest, **kwargs) for part in moved])


def _attention(func: Function, args: Any, kwargs: dict[str, Any]) -> Dual:
    if not all(isinstance(x, Dual) for x in args[:3]):
        return _forward_mode(func, args, kwargs)
    return (_TAP.get() or attention)(*args, **kwargs)


@contextmanager
def tapped(tap: Function) -> Iterator[None]:
    """Within, attention of duals is `tap` instead of `attention`, whose signature it has."""
    token = _TAP.set(tap)
    try:
        yield
    finally:
        _TAP.reset(token)


def attention(
    query: Dual,
    key: Dual,
    value: Dual,
    attn_mask: Tensor | None = None,
    dropout_p: float = 0.0,
    is_causal: bool = False,
    scale: float | None = None,
    enable_gqa: bool = False,
) -> Dual:
    """Scaled dot-product attention of duals (B, h, T, d), (B, h', S, d), (B, h', S, d'), as torch defines it.

    `attn_mask` is bool (True: seen) or is added to the scores; a query that sees nothing gives NaN or 0.
    """
    if dropout_p or query.ndim != 4 or (is_causal and attn_mask is not None):
        raise NoRuleError("attention of a form that is not known here")
    if enable_gqa and key.shape[1] != query.shape[1]:
        times = query.shape[1] // key.shape[1]
        key, value = (_linear(Tensor.repeat_interleave, (x, times), {"dim": 1}) for x in (key, value))
    q, k, v = ([x.value, *x.tangents] for x in (query, key, value))
    found = attended(q, k, v, mask=attn_mask, causal=is_causal, scale=scale)
    return Dual(found[0], found[1:])


REVERSED: tuple[Function, ...] = (Tensor.__rsub__,)
DIFFERENCES: tuple[Function, ...] = (Tensor.sub, Tensor.__sub__, torch.sub)
TRANSPOSED_VIEWS = (Tensor.T, Tensor.mT)
LINEAR_FUNCTIONS = (
    *(Tensor.view, Tensor.reshape, Tensor.transpose, Tensor.permute, Tensor.unsqueeze, Tensor.squeeze, Tensor.expand),
    *(Tensor.contiguous, Tensor.to, Tensor.float, Tensor.type, Tensor.__getitem__, Tensor.chunk, Tensor.split),
    *(Tensor.flatten, Tensor.unflatten, Tensor.neg, Tensor.__neg__, Tensor.sum, Tensor.mean, Tensor.clone),
    *(Tensor.repeat_interleave, Tensor.unbind, Tensor.double, Tensor.bfloat16, Tensor.half, Tensor.type_as),
    *(torch.reshape, torch.transpose, torch.permute, torch.unsqueeze, torch.squeeze, torch.chunk, torch.split),
    *(torch.flatten, torch.neg, torch.sum, torch.mean, torch.clone, torch.repeat_interleave, torch.unbind),
)
ELEMENTWISE_FUNCTIONS = (
    *(F.gelu, F.relu, F.sigmoid, F.tanh, F.softplus, torch.tanh, torch.sigmoid, torch.relu, torch.exp, torch.sqrt),
    *(torch.sin, torch.cos, Tensor.tanh, Tensor.sigmoid, Tensor.relu, Tensor.exp, Tensor.sqrt, Tensor.square),
    *(torch.square, torch.erf, F.relu6, F.leaky_relu, F.elu),
)
RULES: dict[Function, Callable[[Function, Any, dict[str, Any]], Any]] = {
    **dict.fromkeys(LINEAR_FUNCTIONS, _linear),
    **dict.fromkeys(ELEMENTWISE_FUNCTIONS, _elementwise),
    **dict.fromkeys((Tensor.add, Tensor.__add__, Tensor.__radd__, torch.add), _sum),
    **dict.fromkeys((*DIFFERENCES, *REVERSED), _sum),
    **dict.fromkeys((Tensor.mul, Tensor.__mul__, Tensor.__rmul__, torch.mul), _product),
    **dict.fromkeys((Tensor.matmul, Tensor.__matmul__, torch.matmul, torch.bmm, Tensor.bmm), _product),
    **dict.fromkeys((Tensor.div, Tensor.__truediv__, torch.div), _quotient),
    **dict.fromkeys((Tensor.pow, Tensor.__pow__, torch.pow), _power),
    **dict.fromkeys((Tensor.rsqrt, torch.rsqrt), _inverse_root),
    **dict.fromkeys((F.softmax, Tensor.softmax, torch.softmax), _softmax),
    **dict.fromkeys((torch.cat, torch.stack, torch.concat), _joined),
    F.linear: _affine,
    torch.addmm: _affine_sum,
    F.silu: _sigmoid_weighted,
    F.scaled_dot_product_attention: _attention,
}
