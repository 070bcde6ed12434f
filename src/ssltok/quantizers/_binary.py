"""Bits to codes and back, and the entropies of soft bits."""

from typing import NamedTuple

import torch
from torch import Tensor

import ssltok.quantizers._tuning as tuning
from ssltok._shared.ranks import sum_over_ranks

__all__ = [
    "BitEntropies",
    "bit_entropies_plain",
    "bit_slopes_plain",
    "bit_tangents_plain",
    "bits_to_codes",
    "codes_to_bits",
    "group_sizes",
    "hits",
    "outer_products",
]


class BitEntropies(NamedTuple):
    """Mean entropy of one vector's code, and entropy of the mean distribution; nats, scalars."""

    per_sample: Tensor
    batch: Tensor


def bits_to_codes(positive: Tensor) -> Tensor:
    """Read booleans `(..., bits)` as int64 codes, the first bit being worth 1."""
    bits, device = positive.shape[-1], positive.device
    if bits <= tuning.EXACT_BITS and device.type != "mps":  # which has no float64
        worth = (1 << torch.arange(bits, device=device)).double()
        return (positive.double() @ worth).to(torch.int64)
    return (positive.to(torch.int64) << torch.arange(bits, device=device)).sum(dim=-1)


def codes_to_bits(codes: Tensor, bits: int) -> Tensor:
    """Write int64 codes as booleans `(..., bits)`, the first bit being worth 1."""
    return ((codes.unsqueeze(-1) >> torch.arange(bits, device=codes.device)) & 1).bool()


def group_sizes(bits: int, group_bits: int) -> list[int]:
    """Cut bits into the fewest groups of at most `group_bits`, as even as possible."""
    groups = -(-bits // group_bits)
    return [bits // groups + (i < bits % groups) for i in range(groups)]


def bit_entropies_plain(
    values: Tensor,
    real: Tensor | None = None,
    *,
    scale: float = 1.0,
    group_bits: int,
    over_ranks: bool,
) -> BitEntropies:
    r"""Entropies of codes whose bits are independent given the vector.

    $$p(c \mid z) = \prod_j \sigma(\pm a_j), \qquad
      H(p(c \mid z)) = \sum_j H_b(\sigma(a_j)), \qquad
      H\Big(\tfrac{1}{N} \sum_n p(c \mid z_n)\Big)$$

    The first is exact in any dimension. The second does not factorise: the mean distribution over
    up to `group_bits` bits is built exactly. More bits are cut into the fewest groups of at most
    `group_bits`, as even as possible, and the groups' entropies are added: an upper bound, tight
    where groups are independent of each other.

    Args:
        values: $a$ divided by `scale`, `(tokens, bits)`, float32 or float64.
        real: True where a row counts, `(tokens,)`; all rows by default.
        scale: What turns values into log-odds.
        group_bits: Bits over which the mean distribution is exact.
        over_ranks: Whether to average over the rows of all processes.

    Returns:
        Both entropies; 0 where no row counts.
    """
    counts = values.new_ones(len(values)) if real is None else real.to(values.dtype)
    total = sum_over_ranks(counts.sum()) if over_ranks else counts.sum()
    odds = scale * values
    if real is not None:
        odds = torch.where(real.unsqueeze(1), odds, 0.0)  # NaN * 0 is NaN
    per_sample, batch = values.new_zeros(()), values.new_zeros(())
    for part in odds.split(group_sizes(values.shape[1], group_bits), dim=1):
        codes = torch.arange(2 ** part.shape[1], device=part.device)
        signs = codes_to_bits(codes, part.shape[1]).to(part.dtype) * 2 - 1  # (codes, bits)
        log_p = (part.unsqueeze(1) * signs).sigmoid().clamp(min=torch.finfo(part.dtype).tiny).log()
        p = log_p.sum(dim=2).exp()  # (tokens, codes)
        sums, entropy = counts @ p, -(counts @ (p * log_p.sum(dim=2)).sum(dim=1))
        if over_ranks:
            sums, entropy = sum_over_ranks(sums), sum_over_ranks(entropy)
        mean = sums / total.clamp(min=1)
        per_sample = per_sample + entropy / total.clamp(min=1)
        batch = batch - mean @ mean.clamp(min=torch.finfo(mean.dtype).tiny).log()
    return BitEntropies(per_sample, batch)


def bit_slopes_plain(values: Tensor, weight: Tensor | None, grad: Tensor, scale: float) -> Tensor:
    """Return the gradient of sums of probabilities and of entropies, in one piece.

    Args:
        values: $a$ divided by `scale`, `(tokens, bits)`; 0 where the weight is 0.
        weight: `(tokens,)`; None: 1 each.
        grad: That of `2**bits` sums of probabilities, and of the sum of entropies.
        scale: What turns values into log-odds.

    Returns:
        `(tokens, bits)`, with derivatives of its own.
    """
    bits = values.shape[1]
    half = bits // 2
    by_mass, by_entropy = grad[:-1].reshape(-1, 2**half), grad[-1]
    odds = (values * scale).clamp(-tuning.SURE, tuning.SURE).T
    both = torch.stack([-odds, odds]).sigmoid()
    low, high = outer_products(both, weight)
    by_low = hits(half, grad) @ ((by_mass.T @ high) * low)
    by_high = hits(bits - half, grad) @ ((by_mass @ low) * high)
    shared = odds * both[0] * by_entropy + by_low[-1]
    return (torch.cat([by_low[:-1], by_high[:-1]]) - shared * both[1]).T * scale


def bit_tangents_plain(
    values: Tensor, weight: Tensor | None, tangent: Tensor, scale: float
) -> Tensor:
    """Return how sums of probabilities and of entropies change with `tangent` of the values."""
    bits = values.shape[1]
    half = bits // 2
    odds = (values * scale).clamp(-tuning.SURE, tuning.SURE).T
    both, change = torch.stack([-odds, odds]).sigmoid(), tangent.T * scale
    low, high = outer_products(both, weight)

    def moved(product: Tensor, first: int, last: int) -> Tensor:
        if first == last:
            return torch.zeros_like(product)
        part, on = change[first:last], both[1][first:last]
        return product * (hits(last - first, values)[:-1].T @ part - (part * on).sum(dim=0))

    mass = moved(high, half, bits) @ low.T + high @ moved(low, 0, half).T
    each = -(odds * both[0] * both[1] * change).sum(dim=0)
    entropy = each.sum() if weight is None else each @ weight
    return torch.cat([mass.flatten(), entropy.reshape(1)])


def outer_products(both: Tensor, weight: Tensor | None) -> tuple[Tensor, Tensor]:
    """Probabilities of every pattern of the first half of the bits, and of the second, weighted."""
    bits, tokens = both.shape[1:]
    halves = []
    for first, last in ((0, bits // 2), (bits // 2, bits)):
        product = both[:, first] if first < last else both.new_ones(1, tokens)
        for bit in range(first + 1, last):
            product = (both[:, bit].unsqueeze(1) * product).flatten(0, 1)
        halves.append(product)
    return halves[0], halves[1] if weight is None else halves[1] * weight


def hits(bits: int, like: Tensor) -> Tensor:
    """Which patterns have which bit set, and a last row of ones, `(bits + 1, 2**bits)`."""
    patterns = torch.arange(2**bits, device=like.device)
    ones = torch.ones_like(patterns, dtype=torch.bool).unsqueeze(0)
    return torch.cat([codes_to_bits(patterns, bits).T, ones]).to(like.dtype)
