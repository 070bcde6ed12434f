"""Series that the tests of the evaluation share, and the order they are put in, written out."""

from collections import Counter

import torch
from torch import Tensor

from ssltok.training import keyed_generator


def waves(seed: int, cases: int = 48, length: int = 24) -> tuple[Tensor, Tensor]:
    """Two classes, slow and fast, with random phases and a little noise."""
    generator = torch.Generator().manual_seed(seed)
    labels = torch.arange(cases) % 2
    phase = 6.28 * torch.rand(cases, 1, 1, generator=generator)
    time = torch.linspace(0, 6.28, length)
    noise = 0.1 * torch.randn(cases, 1, length, generator=generator)
    return torch.sin((1 + 2 * labels)[:, None, None] * time + phase) + noise, labels


def order_of(name: str, *rows: Tensor, seed: int = 0) -> Tensor:
    """Sorted by the bytes of each row, then shuffled by the seed."""
    count = len(rows[0])
    keys = [b"".join(x[k].numpy().tobytes() for x in rows) for k in range(count)]
    by_bytes = torch.tensor(sorted(range(count), key=keys.__getitem__))
    generator = keyed_generator(seed, f"evaluate order of {name}")
    return by_bytes[torch.randperm(count, generator=generator)]


def spread(order: Tensor, labels: Tensor) -> Tensor:
    """The k-th of n series of a class stands at (k - 1/2) / n of the way."""
    total, seen = Counter(labels.tolist()), Counter[int]()
    places = []
    for case in order.tolist():
        label = int(labels[case])
        seen[label] += 1
        places.append((seen[label] - 0.5) / total[label])
    return order[torch.tensor(sorted(range(len(order)), key=places.__getitem__))]


TRAIN, TEST, FAIR = (waves(seed)[0] for seed in (0, 1, 2))
LABELS = waves(0)[1]
