"""What every augmentation promises: the same shape, its own randomness, real samples alone."""

from collections.abc import Callable

import torch
from torch import Tensor

from ssltok.testing._asking import ask, ask_quiet

__all__ = ["check_augmentation"]


def check_augmentation(
    augmentation: Callable[..., Tensor], *, channels: int = 2, length: int = 40
) -> None:
    """Ask of an augmentation what the pipeline needs of it.

    It is called as `augmentation(series, valid=valid, generator=generator)`.

    - A view has shape and dtype of the series, is finite, and differs from it.
    - The series stay as they are, and a view does not share their memory.
    - The generator alone decides: equal seeds give equal views, and the global stream stays.
    - Padding and gaps are left alone and not read.
    - `valid` of all samples is the same as none.

    Args:
        augmentation: From series `(batch, channels, length)`, `valid` `(batch, length)` and
            `generator` to a view; bind other options first.
        channels: Channels of the series that are tried.
        length: Their samples, at least 12.

    Raises:
        AssertionError: With who, rule and fact, at the first broken promise.

    Example:
        >>> from functools import partial
        >>> from ssltok.augment import compose, gaussian_noise, shift
        >>> from ssltok.testing import check_augmentation
        >>> check_augmentation(compose(shift, partial(gaussian_noise, std=0.1)))
    """
    _check_views(augmentation, channels, length)
    _check_padding(augmentation, channels, length)


def _series(channels: int, length: int, dtype: torch.dtype = torch.float32) -> Tensor:
    generator = torch.Generator().manual_seed(1)
    return torch.randn(16, channels, length, generator=generator, dtype=torch.float64).to(dtype)


def _seeded() -> torch.Generator:
    return torch.Generator().manual_seed(2)


def _check_views(augmentation: Callable[..., Tensor], channels: int, length: int) -> None:
    for dtype in (torch.float32, torch.float64):
        series = _series(channels, length, dtype)
        copy = series.clone()
        with ask_quiet(augmentation, "it"):
            view = augmentation(series, generator=_seeded())
            again = augmentation(series, generator=_seeded())
        ask(isinstance(view, Tensor), augmentation, "it must return one view", type(view).__name__)
        ask(view.shape == series.shape, augmentation,
            f"a view must have shape {tuple(series.shape)}", tuple(view.shape))  # fmt: skip
        ask(view.dtype == dtype, augmentation, f"a view must be {dtype}", view.dtype)
        ask(bool(view.isfinite().all()), augmentation, "a view must be finite", "NaN or inf")
        ask(torch.equal(series, copy), augmentation, "series must stay as they are", "others")
        ask(torch.equal(view, again), augmentation, "equal seeds must give equal views", "others")
        ask(not torch.equal(view, series), augmentation, "a view must differ", "the series")
        view.add_(1)
        ask(
            torch.equal(series, copy),
            augmentation,
            "a view must have memory of its own",
            "the series'",
        )


def _check_padding(augmentation: Callable[..., Tensor], channels: int, length: int) -> None:
    series = _series(channels, length)
    valid = torch.rand(16, length, generator=_seeded()) < 0.7
    valid[0] = torch.arange(length) < length // 2
    valid[1] = torch.arange(length) >= length // 2
    valid[2] = torch.arange(length) == 4
    valid[3] = False
    copy, hidden = valid.clone(), ~valid[:, None].expand_as(series)
    views = [
        augmentation(series.masked_fill(hidden, fill), valid=valid, generator=_seeded())
        for fill in (torch.nan, 1e6)
    ]
    ask(torch.equal(valid, copy), augmentation, "valid must stay as it is", "another")
    alone = bool(views[0][hidden].isnan().all()) and bool((views[1][hidden] == 1e6).all())
    ask(alone, augmentation, "padding must be left alone", "other values")
    finite = bool(views[0][~hidden].isfinite().all())
    same = finite and torch.equal(views[0][~hidden], views[1][~hidden])
    ask(same, augmentation, "padding must not be read", "other views of other padding")
    series = series.double()
    whole = augmentation(series, valid=torch.ones_like(valid), generator=_seeded())
    plain = augmentation(series, generator=_seeded())
    ask(torch.allclose(whole, plain), augmentation,
        "valid of all samples must be the same as none", "another view")  # fmt: skip
