"""`gap_mask`: five kinds of gap, none of which hides everything."""

import pytest
import torch
from torch import Tensor

from ssltok.masking import gap_mask

SHAPE = (6000, 4, 30)


def drawn(ratio: float = 0.8, seed: int = 0, valid: Tensor | None = None) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return gap_mask(SHAPE, ratio=ratio, valid=valid, generator=generator)


def runs(mask: Tensor) -> Tensor:
    """How many runs each channel has, `(batch, channels)`."""
    before = torch.nn.functional.pad(mask, (1, 0))[..., :-1]
    return (mask & ~before).sum(-1)


def test_the_kinds_are_equally_likely_and_look_as_they_should() -> None:
    mask = drawn()
    share = mask.double().mean((1, 2))
    whole = share == 0
    silent = (mask.all(-1) | ~mask.any(-1)).all(-1) & ~whole
    row = mask.any(1, keepdim=True)
    block = (runs(row)[:, 0] == 1) & (mask == (row & mask.any(-1, keepdim=True))).all((1, 2))
    block &= ~silent & ~whole
    stretch = (runs(mask) == 1).all(-1) & ~silent & ~block & ~whole
    points = ~whole & ~silent & ~block & ~stretch
    # A share near 0 makes every kind look whole, so that is more than a fifth.
    expected = {"whole": 0.27, "channels": 0.16, "block": 0.19, "stretch": 0.19, "points": 0.19}
    for (name, about), rows in zip(
        expected.items(), (whole, silent, block, stretch, points), strict=True
    ):
        assert abs(float(rows.double().mean()) - about) < 0.035, name
    assert abs(float(share[points].mean()) - 0.4) < 0.03
    assert abs(float(share[stretch].mean()) - 0.4) < 0.03
    lengths = mask[stretch].sum(-1)
    assert (lengths == lengths[:, :1]).all()
    assert lengths.max() == 24
    firsts = mask[stretch].int().argmax(-1)
    assert (firsts != firsts[:, :1]).any()
    assert mask[stretch][..., -1].any()
    assert mask[stretch][..., 0].any()


def test_no_series_is_hidden_and_padding_is_never() -> None:
    valid = torch.rand(SHAPE, generator=torch.Generator().manual_seed(9)) < 0.1
    mask = drawn(1.0, valid=valid)
    assert not (mask & ~valid).any()
    assert ((valid & ~mask).any((1, 2)) | ~valid.any((1, 2))).all()
    plain = drawn(1.0)
    same = (plain & valid == mask).all((1, 2))
    assert (same | ~mask.any((1, 2))).all(), "the draws do not depend on what is real"
    assert not drawn(0.0).any()


def test_complaints() -> None:
    with pytest.raises(ValueError, match=r"^gap_mask: shape must be \(batch, channels, length\)"):
        gap_mask((3, 4), ratio=0.5)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match=r"^gap_mask: every side of shape must be >= 1; got 0"):
        gap_mask((3, 0, 4), ratio=0.5)
    with pytest.raises(ValueError, match=r"^gap_mask: ratio"):
        gap_mask((3, 4, 5), ratio=1.5)
    with pytest.raises(ValueError, match=r"^gap_mask: valid must have shape"):
        gap_mask((3, 4, 5), ratio=0.5, valid=torch.ones(3, 4, dtype=torch.bool))
