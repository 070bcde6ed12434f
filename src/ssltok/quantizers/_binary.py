"""What the quantizers of signs share: bits to codes and back, and the entropies of soft bits."""

from collections.abc import Iterator
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor

from ssltok._shared.checks import check_at_least, check_positive
from ssltok.quantizers._ranks import sum_over_ranks

__all__ = [
    "BitEntropies",
    "bit_entropies",
    "bits_to_codes",
    "check_bit_options",
    "codes_to_bits",
]

MOST_BITS = 62
"""A code and the one after the last, which stands for [MASK], must fit an int64."""

CHUNK = 2**18
"""Entries of one factor of the outer product that are held at once: a megabyte in float32."""


class BitEntropies(NamedTuple):
    """Mean entropy of one vector's code, and entropy of the mean distribution; nats, scalars."""

    per_sample: Tensor
    batch: Tensor


def check_bit_options(
    who: str, dim: int, weights: dict[str, float], temperature: float, group_bits: int
) -> None:
    """Check what `LFQ` and `BSQ` are given."""
    if not 1 <= dim <= MOST_BITS:
        raise ValueError(f"{who}: dim must lie in [1, {MOST_BITS}]; got {dim}")
    for name, weight in weights.items():
        check_at_least(who, name, weight, 0)
    check_positive(who, "temperature", temperature)
    check_at_least(who, "group_bits", group_bits, 1)


def bits_to_codes(positive: Tensor) -> Tensor:
    """Read booleans `(..., bits)` as int64 codes, the first bit being worth 1."""
    places = torch.arange(positive.shape[-1], device=positive.device)
    return (positive.to(torch.int64) << places).sum(dim=-1)


def codes_to_bits(codes: Tensor, bits: int) -> Tensor:
    """Write int64 codes as booleans `(..., bits)`, the first bit being worth 1."""
    return ((codes.unsqueeze(-1) >> torch.arange(bits, device=codes.device)) & 1).bool()


def bit_entropies(
    log_odds: Tensor, real: Tensor | None = None, *, group_bits: int, over_ranks: bool
) -> BitEntropies:
    r"""Entropies of codes whose bits are independent given the vector.

    $$p(c \mid z) = \prod_j \sigma(\pm a_j), \qquad
      H(p(c \mid z)) = \sum_j H_b(\sigma(a_j)), \qquad
      H\Big(\tfrac{1}{N} \sum_n p(c \mid z_n)\Big)$$

    The first is exact in any dimension. The second does not factorise: the mean distribution over
    up to `group_bits` bits is built exactly, as a product of two small matrices (each row of
    $p(c \mid z_n)$ is the outer product of its halves), chunk by chunk, so that no
    `tokens x 2**bits` matrix exists. More bits are cut into the fewest groups of at most
    `group_bits`, as even as possible, and the groups' entropies are added: an upper bound, tight
    where groups are independent of each other.

    Args:
        log_odds: $a$, `(tokens, bits)`, float32 or float64.
        real: True where a row counts, `(tokens,)`; all rows by default.
        group_bits: Bits over which the mean distribution is exact.
        over_ranks: Whether to average over the rows of all processes.

    Returns:
        Both entropies; 0 where no row counts.
    """
    bits = log_odds.shape[1]
    groups = -(-bits // group_bits)
    sizes = [bits // groups + (i < bits % groups) for i in range(groups)]
    if real is None:
        weight = log_odds.new_ones(log_odds.shape[0], 1)
    else:
        weight = real.to(log_odds.dtype).unsqueeze(1)
        log_odds = log_odds.masked_fill(~real.unsqueeze(1), 0.0)  # NaN * 0 is NaN
    parts: list[Tensor] = [
        _BitSums.apply(part, weight)  # type: ignore[no-untyped-call]
        for part in torch.split(log_odds, sizes, dim=1)
    ]
    totals = torch.cat([torch.cat(parts), weight.sum().reshape(1)])
    if over_ranks:
        totals = sum_over_ranks(totals)
    *parts, count = torch.split(totals, [*(2**size + 1 for size in sizes), 1])
    count = count.clamp(min=1)
    per_sample, batch = log_odds.new_zeros(()), log_odds.new_zeros(())
    for part in parts:
        mean = part[:-1] / count
        per_sample = per_sample + part[-1] / count.squeeze()
        batch = batch - (mean * mean.clamp(min=torch.finfo(mean.dtype).tiny).log()).sum()
    return BitEntropies(per_sample, batch)


class _BitSums(torch.autograd.Function):
    """`(tokens, bits)` log-odds -> `2**bits` sums of probabilities, then the sum of entropies.

    Forward and backward walk over chunks of rows and keep nothing but the log-odds.
    """

    @staticmethod
    def forward(ctx: Any, log_odds: Tensor, weight: Tensor) -> Tensor:
        ctx.save_for_backward(log_odds, weight)
        bits = log_odds.shape[1]
        mass = log_odds.new_zeros(2 ** (bits - bits // 2), 2 ** (bits // 2))
        entropy = log_odds.new_zeros(())
        for odds, w in _chunks(log_odds, weight):
            low, high = _outer_products(odds, w)
            mass = mass.addmm(high.T, low)
            size = odds.abs()
            entropy = entropy + (w * (F.softplus(-size) + size * torch.sigmoid(-size))).sum()
        return torch.cat([mass.flatten(), entropy.reshape(1)])

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None]:
        log_odds, weight = ctx.saved_tensors
        half = log_odds.shape[1] // 2
        by_mass, by_entropy = grad[:-1].view(-1, 2**half), grad[-1]
        bits_low, bits_high = (
            codes_to_bits(torch.arange(2**n, device=grad.device), n).to(grad.dtype)
            for n in (half, log_odds.shape[1] - half)
        )
        grads = []
        for odds, w in _chunks(log_odds, weight):
            low, high = _outer_products(odds, w)
            by_low, by_high = low * (high @ by_mass), high * (low @ by_mass.T)
            hits = torch.cat([by_low @ bits_low, by_high @ bits_high], dim=1)
            p = torch.sigmoid(odds)
            slope = w * by_entropy * odds * torch.sigmoid(-odds) + by_low.sum(dim=1, keepdim=True)
            grads.append(hits - p * slope)
        return torch.cat(grads), None


def _chunks(log_odds: Tensor, weight: Tensor) -> Iterator[tuple[Tensor, Tensor]]:
    rows = max(1, CHUNK >> (log_odds.shape[1] + 1) // 2)
    return zip(torch.split(log_odds, rows), torch.split(weight, rows), strict=True)


def _outer_products(log_odds: Tensor, weight: Tensor) -> tuple[Tensor, Tensor]:
    """Probabilities of every pattern of the first half of the bits, and of the second, weighted."""
    both = torch.sigmoid(torch.stack([-log_odds, log_odds], dim=2)).unsqueeze(3)
    half = log_odds.shape[1] // 2
    low, high = torch.ones_like(weight), weight
    for bit in range(log_odds.shape[1]):
        if bit < half:
            low = (both[:, bit] * low.unsqueeze(1)).flatten(1)
        else:
            high = (both[:, bit] * high.unsqueeze(1)).flatten(1)
    return low, high
