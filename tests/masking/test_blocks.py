"""Blocks: exact counts, disjoint by construction, and no last column left out."""

import math

import pytest
import torch
from torch import Tensor

from ssltok.masking import block_mask, multiblock_mask, unit_mask


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def is_box(flat: Tensor, rows: int, columns: int) -> bool:
    """Whether the True places of a grid are exactly a rectangle."""
    grid = flat.view(rows, columns)
    outer = grid.any(1)[:, None] & grid.any(0)[None]
    edges = [torch.diff(side.int()).abs().sum() <= 2 for side in (grid.any(1), grid.any(0))]
    return torch.equal(grid, outer) and all(edges)


# oracle


@pytest.mark.parametrize("grid", [None, (5, 8), (14, 14), (1, 6)])
def test_targets_are_boxes_of_the_scale_asked_for(grid: tuple[int, int] | None) -> None:
    rows, columns = grid or (1, 64)
    found = multiblock_mask(
        (60, rows * columns), grid=grid, targets=3, target_scale=(0.1, 0.25),
        target_aspect=(0.5, 2.0), generator=seeded(),
    )  # fmt: skip
    whole = 0
    for row in range(60):
        for block in found.targets[row]:
            whole += is_box(block, rows, columns)
            assert block.sum() <= math.ceil(0.25 * rows * columns) + rows + columns
    assert whole >= 170  # all but the few cut to leave a visible token


def test_a_box_covers_the_share_asked_for_in_a_row_of_tokens() -> None:
    found = multiblock_mask(
        (500, 100), targets=1, target_scale=(0.2, 0.4), context_scale=(1.0, 1.0),
        generator=seeded(1),
    )  # fmt: skip
    sizes = found.targets[:, 0].sum(dim=1)
    assert sizes.min() >= 20
    assert sizes.max() <= 40
    assert float(sizes.double().mean()) == pytest.approx(30, abs=1)
    assert torch.equal(found.hidden, found.targets[:, 0])


# known values


@pytest.mark.parametrize(("aspect", "height"), [(4.0, 8), (0.25, 2), (1.0, 4)])
def test_the_aspect_is_height_over_width(aspect: float, height: int) -> None:
    """One box of 16 places is all that the share asks for."""
    mask = block_mask(
        (50, 400), ratio=0.04, grid=(20, 20), least_area=16, aspect=(aspect, aspect),
        generator=seeded(10),
    )  # fmt: skip
    for row in mask:
        assert is_box(row, 20, 20)
        assert int(row.view(20, 20).any(1).sum()) == height
        assert int(row.sum()) == 16


@pytest.mark.parametrize("ratio", [0.01, 0.4, 0.75, 1.0])
def test_block_counts_are_exact(ratio: float) -> None:
    valid = torch.rand(64, 70, generator=seeded(2)) < 0.9
    mask = block_mask(
        (64, 70), ratio=ratio, grid=(7, 10), least_area=5, valid=valid, generator=seeded(3)
    )
    expected = [math.ceil(ratio * int(n) - 1e-6) for n in valid.sum(dim=1)]
    assert mask.sum(dim=1).tolist() == expected
    assert not (mask & ~valid).any()


def test_unit_masks_are_whole_units() -> None:
    mask = unit_mask((40, 5 * 8), ratio=0.5, unit=(5, 2), grid=(5, 8), generator=seeded(4))
    tubes = mask.view(40, 5, 4, 2)
    assert torch.equal(tubes.all(dim=3).all(dim=1), tubes.any(dim=3).any(dim=1))
    assert (tubes.any(dim=3).any(dim=1).sum(dim=1) == 2).all()
    ragged = unit_mask((40, 7), ratio=0.3, unit=(1, 3), generator=seeded(5))
    assert set(ragged.sum(dim=1).tolist()) == {3, 1}  # the last unit has one token


# laws


def test_blocks_are_clumped() -> None:
    """Masked tokens have more masked neighbours than chance gives them."""
    mask = block_mask((300, 196), ratio=75 / 196, grid=(14, 14), generator=seeded(6))
    grid = mask.view(300, 14, 14)
    together = (grid[:, :, 1:] & grid[:, :, :-1]).double().mean()
    assert together > 1.6 * (75 / 196) ** 2


def test_the_last_row_and_column_are_reached_as_often_as_the_first() -> None:
    found = multiblock_mask((4000, 36), grid=(6, 6), generator=seeded(7))
    share = found.targets.double().mean(dim=(0, 1)).view(6, 6)
    torch.testing.assert_close(share, share.flip(0), atol=0.02, rtol=0.1)
    torch.testing.assert_close(share, share.flip(1), atol=0.02, rtol=0.1)
    assert share.min() > 0.04


@pytest.mark.parametrize("tokens", [1, 2, 3, 5, 40])
def test_context_and_targets_are_disjoint_and_neither_is_empty(tokens: int) -> None:
    valid = torch.rand(200, tokens, generator=seeded(8)) < 0.7
    for scale in ((0.15, 0.2), (0.5, 1.0)):
        found = multiblock_mask(
            (200, tokens), targets=4, target_scale=scale, valid=valid, generator=seeded(9)
        )
        visible = valid & ~found.hidden
        assert not (found.hidden & ~valid).any()
        assert not (found.targets & ~found.hidden[:, None]).any()
        assert torch.equal(visible.any(dim=1), valid.any(dim=1))
        full = (valid.sum(dim=1) >= 2)[:, None].expand(200, 4)
        assert torch.equal(found.targets.any(dim=2), full)


# complaints


def test_complaints() -> None:
    said = r"^block_mask: grid must hold as many places as there are tokens; got \(3, 3\) for 8"
    with pytest.raises(ValueError, match=said):
        block_mask((1, 8), grid=(3, 3))
    with pytest.raises(ValueError, match=r"^block_mask: least_area must be >= 1; got 0$"):
        block_mask((1, 8), least_area=0)
    with pytest.raises(ValueError, match=r"^block_mask: aspect must be > 0; got 0"):
        block_mask((1, 8), aspect=(0.0, 1.0))
    said = r"^multiblock_mask: target_scale must be \(low, high\); got \(0.3, 0.2\)$"
    with pytest.raises(ValueError, match=said):
        multiblock_mask((1, 8), target_scale=(0.3, 0.2))
    with pytest.raises(ValueError, match=r"^multiblock_mask: targets must be >= 1; got 0$"):
        multiblock_mask((1, 8), targets=0)
    with pytest.raises(ValueError, match=r"^multiblock_mask: context_scale must lie in \[0, 1\]"):
        multiblock_mask((1, 8), context_scale=(0.5, 1.5))
    with pytest.raises(ValueError, match=r"^unit_mask: unit must be >= 1; got 0$"):
        unit_mask((1, 8), ratio=0.5, unit=(1, 0))
