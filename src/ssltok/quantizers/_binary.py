"""Bits to codes and back, and the entropies of soft bits."""

from typing import NamedTuple

import torch
from torch import Tensor

import ssltok.quantizers._tuning as tuning
from ssltok._shared.ranks import sum_over_ranks

__all__ = [
    "BitEntropies",
    "bit_entropies_plain",
    "bits_to_codes",
    "codes_to_bits",
    "group_sizes",
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
