"""What every transform promises: linear, undone by its inverse, and true about what it reads."""

from typing import Any

import torch
from torch import Tensor

from ssltok.testing._asking import ask, ask_members, ask_quiet, ragged_rows

__all__ = ["check_transform"]

MEMBERS = ("length", "bands", "margin", "in_time", "shape", "inverse", "real", "within")


def check_transform(transform: Any, *, channels: int = 2) -> None:
    """Ask of a transform what a tokenizer needs of it.

    - It is a module with `length`, `bands`, `margin` and `in_time`.
    - It turns `(batch, channels, length)` into `bands` tensors of `shape(band, channels)`, the
      time axis last.
    - `inverse` gives each band's share of the series; their sum is the series.
    - Both are linear, let the gradient through, draw nothing, and leave their inputs alone.
    - `real` is boolean, broadcasts to each band, and is False wherever a missing sample is read.
    - A sample that is missing is read within `margin` and a place of the band alone.
    - `within` marks, for each band, the columns before a series' end: `(batch, columns)`, from the
      left, at least one, all of them where a series is whole.
    - Where `in_time`, the only band is the series itself.

    Args:
        transform: The transform.
        channels: Channels of the series that are tried.

    Raises:
        AssertionError: With who, rule and fact, at the first broken promise.

    Example:
        >>> from ssltok.signal import STFTBands
        >>> from ssltok.testing import check_transform
        >>> check_transform(STFTBands(33, n_fft=8, hop=2, edges=(1,)))
    """
    ask_members(transform, MEMBERS)
    for name, least in (("length", 1), ("bands", 1), ("margin", 0)):
        value = getattr(transform, name)
        ask(type(value) is int and value >= least, transform, f"{name} must be an int >= {least}",
            value)  # fmt: skip
    ask(isinstance(transform.in_time, bool), transform, "in_time must be a bool", transform.in_time)
    series = _series(transform, channels)
    with ask_quiet(transform, "it"):
        _check_bands(transform, series)
        _check_linear(transform, series)
        _check_real(transform, series)
        _check_within(transform, series)


def _series(transform: Any, channels: int) -> Tensor:
    generator = torch.Generator().manual_seed(1)
    shape = (5, channels, transform.length)
    return torch.randn(shape, generator=generator, dtype=torch.float64).exp() - 0.7


def _check_bands(transform: Any, series: Tensor) -> None:
    copy = series.clone()
    bands = transform(series)
    ask(isinstance(bands, list | tuple) and len(bands) == transform.bands,
        transform, f"it must give a list of {transform.bands} bands", bands)  # fmt: skip
    for number, band in enumerate(bands):
        shape = (len(series), *transform.shape(number, series.shape[1]))
        ask(tuple(band.shape) == shape, transform, f"band {number} must have shape {shape}",
            tuple(band.shape))  # fmt: skip
    shares = transform.inverse(bands)
    ask(isinstance(shares, list | tuple) and len(shares) == len(bands), transform,
        "inverse must give a share of the series for each band", shares)  # fmt: skip
    for share in shares:
        ask(share.shape == series.shape, transform, "a share must have the series' shape",
            tuple(share.shape))  # fmt: skip
    total = torch.stack(list(shares)).sum(dim=0)
    ask(torch.allclose(total, series, atol=1e-8), transform, "the shares must add up to the series",
        f"an error of {float((total - series).abs().max()):.3g}")  # fmt: skip
    ask(torch.equal(series, copy), transform, "series must stay as they are", "others")
    if transform.in_time:
        ask(len(bands) == 1 and torch.equal(bands[0], series), transform,
            "in_time must say that the only band is the series", "another")  # fmt: skip


def _check_linear(transform: Any, series: Tensor) -> None:
    other = series.flip(0).roll(1, dims=2)
    mixed, one, two = (transform(x) for x in (2 * series - 3 * other, series, other))
    for band, a, b in zip(mixed, one, two, strict=True):
        ask(torch.allclose(band, 2 * a - 3 * b, atol=1e-8), transform, "it must be linear", "not")
    generator = torch.Generator().manual_seed(3)
    odd = [torch.randn(b.shape, generator=generator, dtype=b.dtype) for b in one]
    sums = transform.inverse([2 * a - 3 * b for a, b in zip(odd, one, strict=True)])
    for share, a, b in zip(sums, transform.inverse(odd), transform.inverse(one), strict=True):
        ask(torch.allclose(share, 2 * a - 3 * b, atol=1e-8), transform, "inverse must be linear",
            "not")  # fmt: skip
    leaf = series.clone().requires_grad_()
    total = torch.stack([band.square().sum() for band in transform(leaf)]).sum()
    ask(total.requires_grad, transform, "it must let the gradient through", "none")
    (gradient,) = torch.autograd.grad(total, leaf)
    ask(bool(gradient.any(dim=2).all()), transform, "every channel must get a gradient", "none")


def _check_real(transform: Any, series: Tensor) -> None:
    bands, length = transform(series), transform.length
    everything = torch.ones_like(series, dtype=torch.bool)
    for mask in transform.real(everything):
        ask(mask.dtype == torch.bool, transform, "real must be boolean", mask.dtype)
        ask(bool(mask.all()), transform, "without gaps everything must be real", "not all")
    for place in {0, length // 3, length - 1}:
        gap, other = everything.clone(), series.clone()
        gap[:, 0, place] = False
        other[:, 0, place] += 5.0
        masks = transform.real(gap)
        ask(len(masks) == len(bands), transform, "real must give a mask for each band", len(masks))
        for band, moved, mask in zip(bands, transform(other), masks, strict=True):
            read = (band - moved).abs() > 1e-9
            ask(not bool((read & mask.expand_as(band)).any()), transform,
                "real must be False wherever a missing sample is read", "True")  # fmt: skip
            columns = torch.arange(band.shape[-1]) * length / band.shape[-1]
            away = (columns - place).abs() > transform.margin + length / band.shape[-1]
            ask(not bool(read.flatten(0, -2).any(dim=0)[away].any()), transform,
                f"a sample must be read within margin, {transform.margin}, alone",
                "further away")  # fmt: skip


def _check_within(transform: Any, series: Tensor) -> None:
    bands, valid = transform(series), ragged_rows(len(series), transform.length)
    valid[-1] = torch.arange(transform.length) < 1
    masks = transform.within(valid)
    ask(len(masks) == len(bands), transform, "within must give a mask for each band", len(masks))
    for band, mask in zip(bands, masks, strict=True):
        shape = (len(series), band.shape[-1])
        ask(mask.dtype == torch.bool and tuple(mask.shape) == shape, transform,
            f"within must be boolean {shape}", f"{mask.dtype} {tuple(mask.shape)}")  # fmt: skip
        ask(bool(mask[0].all()), transform, "a whole series must have all columns", "not all")
        ask(bool(mask[:, 0].all()), transform, "every series must have a column", "none")
        ask(bool((mask[:, 1:] <= mask[:, :-1]).all()), transform,
            "columns must be real from the left", "a gap")  # fmt: skip
        ask(transform.length < 3 or not bool(mask[-1].all()), transform,
            "within must know a series' end", "all columns")  # fmt: skip
