"""Pairs of segments: what they are, and that the answer is right."""

import inspect
from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from ssltok.augment import SegmentPairs, next_segment_pairs, segment_order_pairs

PAIRS: dict[str, Callable[..., SegmentPairs]] = {
    "segment_order_pairs": segment_order_pairs,
    "next_segment_pairs": next_segment_pairs,
}
every = pytest.mark.parametrize("name", PAIRS)


def seeded(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def numbered(batch: int, channels: int, length: int) -> Tensor:
    """Every sample tells its series, its channel and its place: 1000 b + 100 c + t."""
    b, c, t = torch.arange(batch), torch.arange(channels), torch.arange(length)
    return (1000.0 * b)[:, None, None] + (100.0 * c)[:, None] + t


def read(segment: Tensor) -> tuple[Tensor, Tensor]:
    """Which series and place a segment begins at; ask that it is whole and its channels agree."""
    channels, size = segment.shape[1:]
    expected = segment[:, :1, :1] + (100.0 * torch.arange(channels))[:, None] + torch.arange(size)
    assert torch.equal(segment, expected)
    first = segment[:, 0, 0].long()
    return first // 1000, first % 1000


# Oracle ---------------------------------------------------------------------------------------


def test_order_pairs_are_neighbours() -> None:
    pairs = segment_order_pairs(numbered(400, 2, 23), segment=7, generator=seeded(0))
    (row_a, a), (row_b, b) = read(pairs.first), read(pairs.second)
    assert torch.equal(row_a, torch.arange(400))
    assert torch.equal(row_b, row_a)
    assert torch.equal(b - a, torch.where(pairs.labels == 1, 7, -7))
    start = torch.minimum(a, b)
    assert set(start.tolist()) == set(range(23 - 14 + 1))
    assert pairs.first_valid.all()
    assert pairs.second_valid.all()


def test_next_pairs_follow_or_come_from_elsewhere() -> None:
    pairs = next_segment_pairs(numbered(400, 2, 23), segment=7, generator=seeded(0))
    (row_a, a), (row_b, b) = read(pairs.first), read(pairs.second)
    follows = pairs.labels == 1
    assert torch.equal(row_a, torch.arange(400))
    assert torch.equal(row_b[follows], row_a[follows])
    assert torch.equal(b[follows], a[follows] + 7)
    assert (row_b[~follows] != row_a[~follows]).all()
    assert set(a.tolist()) == set(range(23 - 14 + 1))
    assert set(b[~follows].tolist()) == set(range(23 - 7 + 1)), "any segment of the other series"


def test_the_other_segment_lies_anywhere_in_the_other_series() -> None:
    """Its own length counts: a long one is used to its end, a short one is not left."""
    lengths = torch.tensor([12, 30]).repeat_interleave(300)[:, None]
    pairs = next_segment_pairs(
        numbered(600, 1, 30), segment=6, valid=torch.arange(30) < lengths, generator=seeded(8)
    )
    row, start = read(pairs.second)
    other = pairs.labels == 0
    long = lengths[row, 0] == 30
    assert pairs.second_valid.all()
    assert set(start[other & long].tolist()) == set(range(25))
    assert set(start[other & ~long].tolist()) == set(range(7))


def test_every_other_series_is_as_likely() -> None:
    rows = []
    for seed in range(600):
        pairs = next_segment_pairs(numbered(4, 1, 4), segment=2, generator=seeded(seed))
        others = read(pairs.second)[0][pairs.labels == 0]
        rows += (others - torch.arange(4)[pairs.labels == 0]).remainder(4).tolist()
    counts = torch.bincount(torch.tensor(rows), minlength=4)
    assert counts[0] == 0
    expected = len(rows) / 3
    assert ((counts[1:] - expected).abs() < 5 * expected**0.5).all()


# Known values ---------------------------------------------------------------------------------


@every
def test_half_of_the_answers_are_yes(name: str) -> None:
    labels = PAIRS[name](torch.randn(4000, 1, 4), segment=2, generator=seeded(1)).labels
    assert labels.dtype == torch.int64
    assert set(labels.tolist()) == {0, 1}
    assert labels.double().mean().item() == pytest.approx(0.5, abs=5 * 0.5 / 4000**0.5)


def test_the_whole_series_is_two_segments() -> None:
    series = numbered(8, 1, 6)
    pairs = segment_order_pairs(series, segment=3, generator=seeded(2))
    joined = torch.cat([pairs.first, pairs.second], dim=2)
    swapped = torch.cat([pairs.second, pairs.first], dim=2)
    assert torch.equal(torch.where(pairs.labels[:, None, None] == 1, joined, swapped), series)


# Laws -----------------------------------------------------------------------------------------


@every
def test_only_real_samples_are_cut(name: str) -> None:
    series = numbered(200, 2, 30)
    lengths = torch.randint(1, 31, (200, 1), generator=seeded(3))
    behind = torch.arange(30) < lengths
    padded = series.masked_fill(~behind[:, None], torch.nan)
    pairs = PAIRS[name](padded, segment=6, valid=behind, generator=seeded(4))
    for part, real in ((pairs.first, pairs.first_valid), (pairs.second, pairs.second_valid)):
        assert part.isfinite().all()
        row = (part[:, 0, 0] // 1000).long()
        place = (part[:, 0] % 1000).long()
        assert (place < lengths[row]).all()
        # real samples are whole runs; what is not real repeats the last one
        start = place[:, :1]
        assert torch.equal(place[real], (start + torch.arange(6)).expand_as(place)[real])
    long = (lengths >= 12)[:, 0]
    assert torch.equal(pairs.first_valid, pairs.second_valid), "padding does not tell the answer"
    whole = pairs.first_valid.all(1)
    if name == "segment_order_pairs":
        assert torch.equal(pairs.first_valid.sum(1), (lengths[:, 0] // 2).clamp(max=6))
        assert torch.equal(whole, long)
    assert not (whole & ~long).any()
    assert torch.equal(pairs.labels == -1, ~pairs.first_valid.any(1))
    # the place of the padding does not matter
    shifted = torch.full((200, 2, 35), torch.nan)
    shifted[:, :, 5:] = padded
    again = PAIRS[name](
        shifted,
        segment=6,
        valid=torch.nn.functional.pad(behind, (5, 0)),
        generator=seeded(4),
    )
    for one, two in zip(pairs, again, strict=True):
        assert torch.equal(one, two)


@every
@pytest.mark.parametrize("length", [2, 3, 7, 11])
def test_a_short_series_does_not_give_the_answer_away(name: str, length: int) -> None:
    """Labels are both there; real samples, where padding lies, and what it holds are alike."""
    series = numbered(300, 1, 12)
    valid = (torch.arange(12) < length).expand(300, -1)
    pairs = PAIRS[name](series, segment=6, valid=valid, generator=seeded(9))
    assert set(pairs.labels.tolist()) == {0, 1}
    half = length // 2
    for part, real in ((pairs.first, pairs.first_valid), (pairs.second, pairs.second_valid)):
        assert torch.equal(real, (torch.arange(6) < half).expand(300, -1))
        assert torch.equal(part[:, 0], part[:, 0, :1] + torch.arange(6).clamp(max=half - 1))
    step = pairs.second[:, 0, 0] - pairs.first[:, 0, 0]
    if name == "segment_order_pairs":
        assert torch.equal(step, torch.where(pairs.labels == 1, half, -half))
    else:
        assert torch.equal(step == half, pairs.labels == 1)


@every
def test_without_two_real_samples_there_is_no_question(name: str) -> None:
    lengths = torch.tensor([0, 1, 2, 12, 12])
    valid = torch.arange(12) < lengths[:, None]
    for seed in range(100):  # the cut of a whole series must not leave it either
        series = torch.randn(5, 2, 12)
        pairs = PAIRS[name](series, segment=6, valid=valid, generator=seeded(seed))
        assert (pairs.labels[:2] == -1).all()
        assert torch.equal(pairs.labels == -1, ~pairs.second_valid.any(1))
        if name == "segment_order_pairs":
            assert (pairs.labels[2:] >= 0).all()


@every
def test_a_series_without_a_real_sample_is_zeros(name: str) -> None:
    series, valid = torch.randn(2, 1, 8), torch.ones(2, 8, dtype=torch.bool)
    valid[0] = False
    pairs = PAIRS[name](
        series * torch.tensor([torch.nan, 1.0])[:, None, None], segment=3, valid=valid
    )
    assert (pairs.first[0] == 0).all()
    assert not pairs.first_valid[0].any()


@every
def test_the_generator_alone_decides(name: str) -> None:
    series, state = torch.randn(16, 2, 40), torch.get_rng_state()
    one, two = (PAIRS[name](series, segment=9, generator=seeded(5)) for _ in range(2))
    assert all(torch.equal(a, b) for a, b in zip(one, two, strict=True))
    other = PAIRS[name](series, segment=9, generator=seeded(6))
    assert not torch.equal(one.first, other.first)
    assert torch.equal(torch.get_rng_state(), state)


@every
def test_gradient(name: str) -> None:
    """Every sample of a pair is one sample of the batch, so the gradients are counts."""
    series = torch.randn(6, 2, 30, requires_grad=True)
    pairs = PAIRS[name](series, segment=6, generator=seeded(7))
    (grad,) = torch.autograd.grad(pairs.first.sum() + 3 * pairs.second.sum(), series)
    assert set(grad.unique().tolist()) <= {0.0, 1.0, 3.0, 4.0, 6.0, 7.0, 9.0, 10.0, 12.0, 13.0}
    assert grad.sum() == (1 + 3) * pairs.first.numel()


@every
def test_dtype_and_memory(name: str) -> None:
    series = torch.randn(6, 2, 12, dtype=torch.bfloat16)
    before = series.clone()
    pairs = PAIRS[name](series, segment=6, generator=seeded(7))
    assert pairs.first.dtype == torch.bfloat16
    pairs.first.add_(1)
    pairs.second.add_(1)
    assert torch.equal(series, before)


@every
def test_one_graph_and_signature(name: str) -> None:
    series = torch.randn(6, 2, 12)
    torch.compiler.reset()
    torch.manual_seed(0)
    expected = PAIRS[name](series, segment=4)
    torch.manual_seed(0)
    compiled = torch.compile(PAIRS[name], fullgraph=True, backend="eager")
    for one, two in zip(compiled(series, segment=4), expected, strict=True):
        assert torch.equal(one, two)
    assert list(inspect.signature(PAIRS[name]).parameters)[-2:] == ["valid", "generator"]


# Complaints -----------------------------------------------------------------------------------


@every
def test_complaints(name: str) -> None:
    series = torch.randn(3, 2, 9)
    with pytest.raises(ValueError, match=rf"{name}: segment must be >= 1; got 0"):
        PAIRS[name](series, segment=0)
    with pytest.raises(ValueError, match=rf"{name}: length must be >= 10; got 9"):
        PAIRS[name](series, segment=5)
    with pytest.raises(ValueError, match=rf"{name}: series must be \(batch, channels, length\)"):
        PAIRS[name](series[0], segment=2)
    with pytest.raises(ValueError, match=rf"{name}: valid must have shape \(3, 9\); got \(3, 8\)"):
        PAIRS[name](series, segment=2, valid=torch.ones(3, 8, dtype=torch.bool))


def test_another_series_is_needed() -> None:
    with pytest.raises(ValueError, match=r"next_segment_pairs: batch must be >= 2; got 1"):
        next_segment_pairs(torch.randn(1, 2, 9), segment=3)
