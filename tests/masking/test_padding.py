"""Two laws of all samplers: a padded row is as the truncated row, and no end is favoured."""

import os
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor

from ssltok import masking

ROWS, COLUMNS = 4, 6
DRAWS = 60_000 if os.environ.get("SSLTOK_ALL") else 12_000
Sampler = Callable[[int, int, Tensor | None], Tensor]


def of(name: str, *, flat: bool = False, field: str = "", **options: Any) -> Sampler:
    """Sample `DRAWS` masks of a grid, `(draws, rows, columns)`; a flat one has a row only."""

    def sampler(rows: int, columns: int, valid: Tensor | None) -> Tensor:
        generator = torch.Generator().manual_seed(len(name) + columns)
        grid = {} if flat else {"grid": (rows, columns)}
        shape = (DRAWS, rows * columns)
        drawn = getattr(masking, name)(shape, valid=valid, generator=generator, **grid, **options)
        mask: Tensor = getattr(drawn, field) if field else drawn
        return mask.reshape(len(mask), -1, rows, columns)[:, 0]  # the first target

    return sampler


SAMPLERS: dict[str, Sampler] = {
    "random_mask": of("random_mask", flat=True, field="mask", ratio=0.4),
    "schedule_mask": of("schedule_mask", flat=True, schedule=masking.cosine_schedule),
    "span_mask": of("span_mask", flat=True, ratio=0.4, length=3),
    "span_mask uniform": of(
        "span_mask", flat=True, ratio=0.9, length=4, lengths=masking.uniform_spans(1, 7)
    ),
    "span_mask apart": of(
        "span_mask", flat=True, ratio=0.5, length=4, lengths=masking.uniform_spans(1, 7),
        overlap=False,
    ),
    "markov_mask": of("markov_mask", flat=True, ratio=0.4, span=3),
    "impute_mask": of("impute_mask", flat=True, ratio=0.4, span=2),
    "block_mask": of("block_mask", ratio=0.4, least_area=3),
    "block_mask row": of("block_mask", flat=True, ratio=0.4, least_area=3),
    "block_mask wide": of("block_mask", ratio=0.75, least_area=16, aspect=(0.3, 1.0)),
    "multiblock_mask hidden": of("multiblock_mask", field="hidden"),
    "multiblock_mask target": of("multiblock_mask", field="targets"),
    "multiblock_mask row": of(
        "multiblock_mask", flat=True, field="targets", targets=2, target_scale=(0.2, 0.4)
    ),
    "unit_mask": of("unit_mask", ratio=0.4, unit=(2, 3)),
    "unit_mask row": of("unit_mask", flat=True, ratio=0.4, unit=(1, 5)),
    "split_mask": of("split_mask", flat=True, field="mask_a"),
}  # fmt: skip
every = pytest.mark.parametrize("name", SAMPLERS)


def test_every_sampler_that_draws_tokens_is_here() -> None:
    names = {name for name in masking.__all__ if name.endswith("_mask")}
    others = {"forecast_mask", "channel_mask", "gap_mask"}
    assert {name.split()[0] for name in SAMPLERS} == names - others


def statistics(mask: Tensor) -> Tensor:
    """How often a place is masked, a pair of neighbours both are, and so many are."""
    count = torch.nn.functional.one_hot(mask.flatten(1).sum(1), mask[0].numel() + 1)
    across, down = mask[:, :, 1:] & mask[:, :, :-1], mask[:, 1:] & mask[:, :-1]
    whole = [part.flatten(1) for part in (mask, across, down, count)]
    return torch.cat(whole, dim=1).double().mean(dim=0)


def assert_alike(first: Tensor, second: Tensor) -> None:
    """Compare shares of `DRAWS` each, within 4.7 deviations of their difference."""
    share = (first + second) / 2
    deviation = (2 * share * (1 - share) / DRAWS).sqrt()
    assert ((first - second).abs() <= 4.7 * deviation + 1e-9).all()


@every
@pytest.mark.parametrize("before", [0, 2])
def test_a_padded_row_is_as_the_truncated_row(name: str, before: int) -> None:
    """Of 10 frames 6 or 4 are real; beside them rows of other sizes, which change nothing."""
    sampler, wide = SAMPLERS[name], COLUMNS + 4
    rows = 1 if "row" in name or name in FLAT else ROWS
    frames = torch.arange(wide)
    valid = ((frames >= before) & (frames < before + COLUMNS)).repeat(rows).expand(DRAWS, -1)
    padded = sampler(rows, wide, valid)
    assert not padded[..., :before].any()
    assert not padded[..., before + COLUMNS :].any()
    cut = sampler(rows, COLUMNS, None)
    assert_alike(statistics(padded[..., before : before + COLUMNS]), statistics(cut))


FLAT = {"span_mask", "span_mask uniform", "span_mask apart", "markov_mask", "impute_mask"}


@every
def test_flipping_the_grid_leaves_how_often_a_place_is_masked(name: str) -> None:
    rows = 1 if "row" in name or name in FLAT else ROWS
    mask = SAMPLERS[name](rows, 9, None)
    share = mask.double().mean(dim=0)
    for axis in (0, 1):
        assert_alike(share, share.flip(axis))


def test_targets_in_a_padded_row_are_boxes() -> None:
    """Of 40 frames 8 are real: not one token by chance, but the fifth of them asked for."""
    valid = (torch.arange(40) < 8).expand(2000, -1)
    found = masking.multiblock_mask(
        (2000, 40), targets=1, target_scale=(0.25, 0.5), context_scale=(1.0, 1.0), valid=valid,
        generator=torch.Generator().manual_seed(0),
    )  # fmt: skip
    sizes = found.targets.sum(dim=(1, 2))
    assert set(sizes.tolist()) == {2, 3, 4}


def test_blocks_are_seldom_filled_up_by_single_tokens() -> None:
    """A box of four places or more has no token whose neighbours all are visible."""
    for tokens, ratio in ((400, 0.4), (900, 0.75)):
        mask = masking.block_mask(
            (300, tokens), ratio=ratio, least_area=16, generator=torch.Generator().manual_seed(1)
        )
        near = torch.nn.functional.pad(mask, (1, 1))
        alone = mask & ~near[:, 2:] & ~near[:, :-2]
        assert float(alone.double().mean()) < 2e-3


def test_spans_of_several_lengths_start_where_they_fit_with_one_chance() -> None:
    """One span of 5 in 12: each of 8 places as often, though spans of 1 are drawn beside it."""

    def rule(like: Tensor, generator: torch.Generator | None) -> Tensor:
        return torch.where(torch.arange(like.shape[1]) == 0, 5, 1).expand_as(like).contiguous()

    mask = masking.span_mask(
        (20_000, 12), ratio=0.5, length=3, lengths=rule,
        generator=torch.Generator().manual_seed(3),
    )  # fmt: skip
    one = mask.sum(dim=1) == 5  # other spans may have fallen into it
    starts = mask[one].int().argmax(dim=1)
    share = torch.bincount(starts, minlength=12)[:8].double() / one.sum()
    torch.testing.assert_close(share, torch.full_like(share, 1 / 8), atol=0.012, rtol=0)


def test_spans_of_different_lengths_know_nothing_of_each_other() -> None:
    """A span of 3 and one of 1 in 4 tokens: all 2 x 4 arrangements as often, none at one end."""

    def rule(like: Tensor, generator: torch.Generator | None) -> Tensor:
        return torch.where(torch.arange(like.shape[1]) == 0, 3, 1).expand_as(like).contiguous()

    mask = masking.span_mask(
        (20_000, 4), ratio=1.0, length=2, lengths=rule, generator=torch.Generator().manual_seed(5)
    )
    kinds = mask.long() @ torch.tensor([8, 4, 2, 1])
    share = torch.bincount(kinds, minlength=16).double() / len(mask)
    known = torch.zeros(16, dtype=torch.float64)
    for long in range(2):
        for short in range(4):
            places = {long, long + 1, long + 2, short}
            known[sum(8 >> place for place in places)] += 1 / 8
    torch.testing.assert_close(share, known, atol=0.015, rtol=0)


SCHEDULES = {name: getattr(masking, name) for name in masking.__all__ if "_schedule" in name}


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32, torch.float64])
@pytest.mark.parametrize("name", sorted(SCHEDULES.keys() - {"resumed_schedule"}))
def test_schedules_end_exactly_in_every_precision(name: str, dtype: torch.dtype) -> None:
    ends = torch.tensor([0.0, 1.0], dtype=dtype)
    options = {"tokens": 16} if "exponential" in name or "logarithmic" in name else {}
    got = SCHEDULES[name](ends, **options)
    assert got.dtype == dtype
    last = 1 / 16 if name == "inverse_logarithmic_schedule" else 0.0
    assert got[0] == 1
    assert float(got[1]) == pytest.approx(last, abs=0, rel=torch.finfo(dtype).eps)
    inside = SCHEDULES[name](torch.linspace(0, 1, 101, dtype=dtype), **options)
    assert ((inside >= 0) & (inside <= 1)).all()
    assert (inside.diff() <= 0).all()


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32, torch.float64])
def test_resumed_schedules_end_exactly_whatever_their_start(dtype: torch.dtype) -> None:
    ends = torch.tensor([0.0, 1.0], dtype=dtype)
    for start in torch.rand(50, generator=torch.Generator().manual_seed(0)).tolist():
        for schedule in (masking.cosine_schedule, masking.square_schedule):
            rest = masking.resumed_schedule(schedule, start=start)
            assert rest(ends).tolist() == [1.0, 0.0], start
