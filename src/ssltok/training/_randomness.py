"""Randomness as a function of (seed, purpose, step), so that nothing depends on what ran before."""

import functools
import hashlib
import threading
from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor

__all__ = ["keyed_generator", "keyed_seed", "ordered_batch", "seeded"]


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
    """A CPU generator seeded by `keyed_seed`.

    Example:
        >>> import torch
        >>> from ssltok.training import keyed_generator
        >>> first, again, other = (keyed_generator(0, "views", step) for step in (5, 5, 6))
        >>> a, b, c = (torch.rand(2, generator=g).tolist() for g in (first, again, other))
        >>> a == b, a == c
        (True, False)
    """
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

    Example:
        >>> import torch
        >>> from ssltok.training import ordered_batch
        >>> batches = [ordered_batch(4, 2, seed=0, purpose="order", step=step) for step in range(2)]
        >>> sorted(torch.cat(batches).tolist())
        [0, 1, 2, 3]
    """
    first, last = step * batch, (step + 1) * batch
    parts = []
    for epoch in range(first // cases, (last - 1) // cases + 1):
        shuffle = _shuffled(cases, seed, purpose, epoch)
        low, high = max(first - epoch * cases, 0), min(last - epoch * cases, cases)
        parts.append(shuffle[low:high])
    return torch.cat(parts)


STREAM = threading.RLock()
"""Held while torch's own generator has a seed of ours: two fits in two threads take turns."""


@functools.lru_cache(maxsize=2)
def _shuffled(cases: int, seed: int, purpose: str, epoch: int) -> Tensor:
    """The order of an epoch: drawn once, for millions of cases take a while."""
    return torch.randperm(cases, generator=keyed_generator(seed, purpose, epoch))


@contextmanager
def seeded(seed: int) -> Iterator[None]:
    """Seed torch's own generators for what draws from them, and restore them after.

    First weights and dropout draw there. Threads take turns, so what one draws does not depend on
    the others.

    Args:
        seed: The seed.

    Example:
        >>> import torch
        >>> from ssltok.training import seeded
        >>> with seeded(3):
        ...     first = torch.rand(2)
        >>> with seeded(3):
        ...     again = torch.rand(2)
        >>> torch.equal(first, again)
        True
    """
    with STREAM:
        accelerated = torch.accelerator.is_available()
        with torch.random.fork_rng() if accelerated else _cpu_stream():
            if accelerated:
                torch.manual_seed(seed)
            else:
                torch.default_generator.manual_seed(seed)
            yield


@contextmanager
def _cpu_stream() -> Iterator[None]:
    """`fork_rng` for a machine that has a CPU only, without a look at every other device."""
    state = torch.default_generator.get_state()
    try:
        yield
    finally:
        torch.default_generator.set_state(state)
