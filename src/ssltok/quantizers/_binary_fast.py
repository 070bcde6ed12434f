"""The entropies of soft bits without a matrix of tokens by codes, forward or backward."""

from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor

import ssltok.quantizers._tuning as tuning
from ssltok._shared.ranks import sum_over_ranks
from ssltok.quantizers._binary import (
    BitEntropies,
    bit_slopes_plain,
    bit_tangents_plain,
    group_sizes,
    hits,
    outer_products,
)
from ssltok.quantizers._transforms import QuickFunction, is_mapped

__all__ = ["bit_entropies_fast"]


def bit_entropies_fast(
    values: Tensor,
    real: Tensor | None = None,
    *,
    scale: float = 1.0,
    group_bits: int,
    over_ranks: bool,
) -> BitEntropies:
    r"""Do as `bit_entropies_plain` (which see).

    The mean distribution of a group is a product of two small matrices (each row of
    $p(c \mid z_n)$ is the outer product of its halves), chunk by chunk, so that no
    `tokens x 2**bits` matrix exists.
    """
    sizes = group_sizes(values.shape[1], group_bits)
    weight, rows = None, values.new_ones(1) * values.shape[0]
    if real is not None:
        weight = real.to(values.dtype)
        rows = weight.sum().reshape(1)
        values = values.masked_fill(~real.unsqueeze(1), 0.0)  # NaN * 0 is NaN
    columns = torch.split(values, sizes, dim=1) if len(sizes) > 1 else (values,)
    function: Any = _BitSums if torch.compiler.is_compiling() else _BitSumsForward
    parts: list[Tensor] = [function.apply(part, weight, scale) for part in columns]
    totals = torch.cat([*parts, rows])
    if over_ranks:
        totals = sum_over_ranks(totals)
    *parts, count = torch.split(totals, [*(2**size + 1 for size in sizes), 1])
    per_sample, batch = values.new_zeros(()), values.new_zeros(())
    for part in parts:
        mean = part / count.clamp(min=1)
        per_sample = per_sample + mean[-1]
        mean = mean[:-1]
        batch = batch - mean @ mean.clamp(min=torch.finfo(mean.dtype).tiny).log()
    return BitEntropies(per_sample, batch)


class _BitSums(torch.autograd.Function):
    """`(tokens, bits)` log-odds -> `2**bits` sums of probabilities, then the sum of entropies.

    Forward and backward walk over chunks of rows and keep nothing but the values. Within a chunk
    the tokens are the last axis, so that every operation runs along them.
    """

    @staticmethod
    def forward(values: Tensor, weight: Tensor | None, scale: float) -> Tensor:
        sums = _sums_op if torch.compiler.is_compiling() else _sums
        totals: Tensor = sums(values, weight, scale)
        return totals

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
        values, weight, ctx.scale = inputs
        ctx.save_for_backward(values, weight)
        ctx.save_for_forward(values, weight)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None, None]:
        values, weight = ctx.saved_tensors
        if torch.is_grad_enabled() or is_mapped(grad):  # a second derivative, or many
            return bit_slopes_plain(values, weight, grad, ctx.scale), None, None
        slopes = _slopes_op if torch.compiler.is_compiling() else _slopes
        return slopes(values, weight, grad, ctx.scale), None, None

    @staticmethod
    def vmap(info: Any, in_dims: tuple[int | None, ...], *args: Any) -> tuple[Tensor, int]:
        """One entry after the other: chunks are written in place."""
        columns = [
            [arg] * info.batch_size if dim is None else arg.unbind(dim)
            for arg, dim in zip(args, in_dims, strict=True)
        ]
        rows = zip(*columns, strict=True)
        return torch.stack([_BitSumsForward.apply(*row) for row in rows]), 0


class _BitSumsForward(QuickFunction, _BitSums):
    """With a forward derivative, which compilers refuse: they get the class itself."""

    @staticmethod
    def jvp(ctx: Any, tangent: Tensor, *_: Any) -> Tensor:
        values, weight = ctx.saved_tensors
        return bit_tangents_plain(values, weight, tangent, ctx.scale)


def _sums(values: Tensor, weight: Tensor | None, scale: float) -> Tensor:
    bits = values.shape[1]
    mass = values.new_zeros(2 ** (bits - bits // 2), 2 ** (bits // 2))
    entropy = values.new_zeros(())
    for odds, w in _chunks(values, weight, scale):
        both = _both(odds)
        low, high = outer_products(both, w)
        mass.addmm_(high, low.T)
        size = odds.abs_()
        each = both.amin(dim=0).mul_(size).add_(size.neg_().exp_().log1p_())
        entropy += each.sum() if w is None else (each @ w).sum()
    return torch.cat([mass.flatten(), entropy.reshape(1)])


def _slopes(values: Tensor, weight: Tensor | None, grad: Tensor, scale: float) -> Tensor:
    half = values.shape[1] // 2
    by_mass, by_entropy = grad[:-1].view(-1, 2**half), grad[-1]
    hits_low, hits_high = (hits(n, grad) for n in (half, values.shape[1] - half))

    def slope_of(odds: Tensor, w: Tensor | None) -> Tensor:
        both = _both(odds)
        low, high = outer_products(both, w)
        by_low = hits_low @ (by_mass.T @ high).mul_(low)
        by_high = hits_high @ (by_mass @ low).mul_(high)
        slope = odds.mul_(both[0]).mul_(by_entropy)  # 0 where the weight is: odds are 0 there
        slope.add_(by_low[-1]).mul_(both[1]).neg_()
        slope[:half].add_(by_low[:-1])
        slope[half:].add_(by_high[:-1])
        return slope

    slopes = [slope_of(odds, w) for odds, w in _chunks(values, weight, scale)]
    if not slopes:
        return torch.zeros_like(values)
    return torch.cat(slopes, dim=1).T.contiguous().mul_(scale)


# In a compiled or exported graph both are opaque nodes: the loop over chunks is not unrolled, and
# the number of tokens may stay dynamic.
_sums_op = torch.library.custom_op("ssltok::bit_sums", _sums, mutates_args=())
_sums_op.register_fake(lambda values, *_: values.new_empty(2 ** values.shape[1] + 1))
_slopes_op = torch.library.custom_op("ssltok::bit_slopes", _slopes, mutates_args=())
_slopes_op.register_fake(lambda values, *_: values.new_empty(values.shape))


def _chunks(
    values: Tensor, weight: Tensor | None, scale: float
) -> Iterator[tuple[Tensor, Tensor | None]]:
    """Yield the log-odds of some tokens, `(bits, tokens)`, and their weights."""
    rows = max(1, tuning.OUTER_NUMBERS >> (values.shape[1] + 1) // 2)
    for start in range(0, values.shape[0], rows):
        part = values[start : start + rows].T
        odds = torch.mul(part, scale, out=part.new_empty(part.shape))
        odds.clamp_(-tuning.SURE, tuning.SURE)
        yield odds, None if weight is None else weight[start : start + rows]


def _both(odds: Tensor) -> Tensor:
    """Return the probabilities of both values of each bit, `(2, bits, tokens)`."""
    both = odds.new_empty(2, *odds.shape)
    torch.neg(odds, out=both[0])
    both[1].copy_(odds)
    return both.sigmoid_()
