"""Ranking: exact counts under every tie, and shares that round as written."""

import math
import random
from fractions import Fraction

import torch

from ssltok._shared.ranking import count_share, mask_lowest


def naive_lowest(
    scores: list[float], count: int, among: list[bool]
) -> set[int]:  # the definition, one row at a time
    open_places = [i for i, ok in enumerate(among) if ok]
    return set(sorted(open_places, key=lambda i: (scores[i], i))[:count])


def test_ten_thousand_random_cases_with_ties_and_padding_are_exact() -> None:
    rng = random.Random(0)
    levels = [-math.inf, -1.0, 0.0, 0.5, math.inf]
    for _ in range(500):
        tokens, batch = rng.randint(1, 40), 20
        scores = [[rng.choice(levels) for _ in range(tokens)] for _ in range(batch)]
        among = [[rng.random() < 0.7 for _ in range(tokens)] for _ in range(batch)]
        counts = [rng.randint(0, sum(row)) for row in among]
        mask = mask_lowest(torch.tensor(scores), torch.tensor(counts), torch.tensor(among))
        for b in range(batch):
            marked = {i for i in range(tokens) if mask[b, i]}
            assert len(marked) == counts[b]
            assert marked == naive_lowest(scores[b], counts[b], among[b])


def test_nan_counts_as_lowest_and_never_leaves_the_candidates() -> None:
    scores = torch.tensor([[0.0, math.nan, -math.inf, math.nan]])
    among = torch.tensor([[True, True, False, False]])
    mask = mask_lowest(scores, torch.tensor([1]), among)
    assert mask.tolist() == [[False, True, False, False]]


def test_a_share_of_each_size_is_the_ceiling_of_the_exact_product() -> None:
    sizes = torch.arange(1, 5001)
    for text in ("0.1", "0.15", "0.3333", "0.5", "0.75", "0.9", "1.0"):
        expected = [max(1, math.ceil(Fraction(text) * int(n))) for n in sizes]
        assert count_share(float(text), sizes).tolist() == expected


def test_a_share_is_at_least_one_and_of_nothing_is_nothing() -> None:
    assert count_share(0.0, torch.tensor([0, 1, 9])).tolist() == [0, 1, 1]
    assert count_share(torch.tensor([0.5, 1.0]), torch.tensor([3, 3])).tolist() == [2, 3]
