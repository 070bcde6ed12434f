"""What MaskFeat reconstructs in place of a patch: a histogram of its slopes, or its spectrum."""

import math

import torch
from einops import rearrange
from torch import Tensor
from torch.nn import functional

from ssltok._shared.checks import (
    check_at_least,
    check_axes,
    check_bool_mask,
    check_floating,
    check_positive,
)
from ssltok._shared.numerics import full_precision, upcast

__all__ = ["patch_spectrum", "slope_histogram"]


def slope_histogram(
    series: Tensor,
    *,
    patch: int,
    bins: int = 9,
    unit_slope: float = 1.0,
    valid: Tensor | None = None,
) -> Tensor:
    r"""Describe each patch by how much of its curve is drawn in which direction.

    The histogram of oriented gradients (MaskFeat's target) for curves in place of pictures.
    With the slope $s_t$ between the neighbours of a sample and the unit $u$,

    $$\theta_t = \arctan(s_t / u), \qquad w_t = \sqrt{1 + (s_t / u)^2}, \qquad
      h_k = \sum_{t:\, \theta_t \in \mathrm{bin}\, k} w_t$$

    for each channel, with `bins` equal bins over $(-\pi/2, \pi/2)$ from falling to rising; then
    $h / \lVert h \rVert_2$. Level, order and phase of the patch leave with the histogram. $w_t$ is
    the length of the curve at a sample, so flat parts count as well (the magnitude of a gradient,
    HOG's weight, is 0 there). As in MaskFeat's code a sample votes for one bin and each histogram
    is normalised. Slopes look one sample beyond their patch.

    Args:
        series: `(batch, channels, length)`, standardised.
        patch: Samples of a patch. The last patch may be shorter.
        bins: Directions. MaskFeat uses 9; an odd number has a bin for level curves.
        unit_slope: $u$, the slope, in values per sample, that is drawn at 45 degrees. Standardised
            series that move by much less from sample to sample need a smaller one.
        valid: Boolean `(batch, length)`, True where a sample is real. The others are not read: a
            slope is taken to the neighbour that is real. By default all are.

    Returns:
        `(batch, tokens, channels * bins)` in at least float32, channel by channel, with
        $\lceil \mathrm{length} / \mathrm{patch} \rceil$ tokens; 0 where no two real samples meet.

    Raises:
        ValueError: If a shape or an option is outside what is said above.
        TypeError: If an input is not a tensor, or an option not a number.

    Example:
        >>> import torch
        >>> from ssltok.signal import slope_histogram
        >>> series = torch.tensor([[[0.0, 0.0, 0.0, 0.0, 9.0, 18.0, 27.0]]])  # level, then steep
        >>> slope_histogram(series, patch=3, bins=3)
        tensor([[[0., 1., 0.],
                 [0., 0., 1.],
                 [0., 0., 1.]]])

    References:
        Wei et al., *Masked feature prediction for self-supervised visual pre-training*, 2022,
        <https://arxiv.org/abs/2112.09133>, section 3.2.
        Zhao and Itti, *shapeDTW*, 2016, <https://arxiv.org/abs/1606.01601> (HOG-1D).
    """
    who = "slope_histogram"
    _check(who, series, patch, valid)
    check_at_least(who, "bins", bins, 1)
    check_positive(who, "unit_slope", unit_slope)
    length = series.shape[2]
    with torch.no_grad(), full_precision(series):
        series = upcast(series)
        real = series.new_ones(1, 1, length, dtype=torch.bool) if valid is None else valid[:, None]
        series = series.masked_fill(~real, 0)
        # the change to the sample before and to the one behind, where both ends are real
        meet = real[..., 1:] & real[..., :-1]
        change = functional.pad(series.diff(dim=2) * meet, (1, 1))
        count = functional.pad(meet, (1, 1)).to(series.dtype)
        sides = count[..., 1:] + count[..., :-1]
        slope = (change[..., 1:] + change[..., :-1]) / sides.clamp(min=1) / unit_slope
        weight = (1 + slope.square()).sqrt() * (sides > 0)
        index = ((slope.atan() / math.pi + 0.5) * bins).long().clamp(max=bins - 1)
        tokens = -(-length // patch)
        place = torch.arange(length, device=series.device) // patch
        votes = series.new_zeros(*series.shape[:2], tokens * bins)
        votes.scatter_add_(2, place * bins + index, weight.expand_as(series))
        histogram = functional.normalize(votes.unflatten(2, (tokens, bins)), dim=3)
        return rearrange(histogram, "batch channels tokens bins -> batch tokens (channels bins)")


def patch_spectrum(series: Tensor, *, patch: int, valid: Tensor | None = None) -> Tensor:
    r"""Describe each patch by the amplitudes of its frequencies.

    $$a_k = \frac{1}{\sqrt{P}} \Bigl\lvert \sum_{n=0}^{P-1} x_n e^{-2 \pi i k n / P} \Bigr\rvert,
      \qquad k = 0, \dots, \lfloor P / 2 \rfloor$$

    for each channel of a patch of $P$ samples: a spectrogram with one frame for each patch and no
    phase. Frames do not overlap, so a hidden patch's target holds no sample of a visible one.
    Take `log1p` of it where a few loud frequencies would decide the loss.

    Args:
        series: `(batch, channels, length)`.
        patch: $P$, the samples of a patch. The last patch is filled up with zeros.
        valid: Boolean `(batch, length)`, True where a sample is real; the others count as zeros
            and are not read. By default all are.

    Returns:
        `(batch, tokens, channels * (patch // 2 + 1))` in at least float32, channel by channel,
        with $\lceil \mathrm{length} / \mathrm{patch} \rceil$ tokens.

    Raises:
        ValueError: If a shape or an option is outside what is said above.
        TypeError: If an input is not a tensor, or an option not a number.

    Example:
        >>> import torch
        >>> from ssltok.signal import patch_spectrum
        >>> series = torch.tensor([[[1.0, 1.0, 1.0, 1.0, 1.0, -1.0, 1.0, -1.0]]])
        >>> patch_spectrum(series, patch=4)  # a constant, then the fastest oscillation
        tensor([[[2., 0., 0.],
                 [0., 0., 2.]]])

    References:
        Wei et al., *Masked feature prediction*, 2022, <https://arxiv.org/abs/2112.09133>.
    """
    _check("patch_spectrum", series, patch, valid)
    tokens = -(-series.shape[2] // patch)
    with torch.no_grad(), full_precision(series):
        series = upcast(series)
        if valid is not None:
            series = series.masked_fill(~valid[:, None], 0)
        series = functional.pad(series, (0, tokens * patch - series.shape[2]))
        frames = series.unflatten(2, (tokens, patch))
        amplitudes: Tensor = torch.fft.rfft(frames, norm="ortho").abs()
        return rearrange(amplitudes, "batch channels tokens freq -> batch tokens (channels freq)")


def _check(who: str, series: Tensor, patch: int, valid: Tensor | None) -> None:
    check_axes(who, "series", series, "batch channels length")
    check_floating(who, "series", series)
    check_at_least(who, "series.numel()", series.numel(), 1)
    check_at_least(who, "patch", patch, 1)
    if valid is not None:
        check_bool_mask(who, "valid", valid, (series.shape[0], series.shape[2]))
