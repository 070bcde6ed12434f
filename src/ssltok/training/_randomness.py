"""Randomness as a function of (seed, purpose, step), so that nothing depends on what ran before."""

import hashlib
from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor

__all__ = ["isolated_noise", "keyed_generator", "keyed_seed", "ordered_batch"]


def keyed_seed(seed: int, purpose: str, *numbers: int) -> int:
    """A seed of 63 bits, made from the run's seed, a purpose and any numbers.

    Example:
        >>> from ssltok.training import keyed_seed
        >>> keyed_seed(0, "mask", 3) == keyed_seed(0, "mask", 3) != keyed_seed(0, "mask", 4)
        True
    """
    text = ":".join([str(seed), purpose, *map(str, numbers)])
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big") >> 1


def keyed_generator(seed: int, purpose: str, *numbers: int) -> torch.Generator:
    """A CPU generator seeded by `keyed_seed`."""
    return torch.Generator().manual_seed(keyed_seed(seed, purpose, *numbers))


def ordered_batch(cases: int, batch: int, *, seed: int, purpose: str, step: int) -> Tensor:
    """The indices of one batch: places `step * batch` and on of an endless stream of shuffles.

    Every case occurs once before any occurs twice, a batch never holds fewer than `batch`
    indices, and the answer depends on the arguments alone, so training can stop and go on
    anywhere.

    Args:
        cases: Number of cases in the data.
        batch: Indices wanted.
        seed: The run's seed.
        purpose: What the order is for; two purposes have independent orders.
        step: Which batch, from 0.

    Returns:
        int64 `(batch,)`.
    """
    first, last = step * batch, (step + 1) * batch
    parts = []
    for epoch in range(first // cases, (last - 1) // cases + 1):
        shuffle = torch.randperm(cases, generator=keyed_generator(seed, purpose, epoch))
        low, high = max(first - epoch * cases, 0), min(last - epoch * cases, cases)
        parts.append(shuffle[low:high])
    return torch.cat(parts)


@contextmanager
def isolated_noise(seed: int) -> Iterator[None]:
    """Seed torch's own generators for what draws from them (dropout), and restore them after."""
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        yield
