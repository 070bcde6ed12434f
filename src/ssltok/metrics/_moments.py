"""Values: do generated series have the values and moments of real ones."""

import torch
from torch import Tensor

from ssltok.metrics._checks import check_two_sets, one_if_finite

__all__ = [
    "centred",
    "is_constant",
    "kurtosis_distance",
    "marginal_distance",
    "mean_where_it_varies",
    "skewness_distance",
]


def marginal_distance(real: Tensor, generated: Tensor) -> Tensor:
    r"""Measure how far the values move at each time: the mean 1-Wasserstein distance.

    $$\frac{1}{CT} \sum_{c,t} \int \lvert F_{ct}(v) - G_{ct}(v) \rvert \, dv$$

    with the empirical distribution functions over cases. Published marginal differences compare
    histograms on the range of the real values, which cannot see mass outside of it and depends on
    the width of the bins; this has no bins. NaN marks a missing point and is left out.

    Args:
        real: Real series, `(cases, channels, length)`.
        generated: Generated series of the same shape a case.

    Returns:
        A float64 scalar >= 0 in units of the series; NaN if some time and channel has no value, or
        a value is infinite.

    Raises:
        ValueError: If the shapes do not fit.
        TypeError: If an input is not a tensor.

    Example:
        >>> import torch
        >>> from ssltok.metrics import marginal_distance
        >>> real = torch.tensor([0.0, 1.0, 2.0])[:, None, None]
        >>> round(marginal_distance(real, real.flip(0) + 5).item(), 6)  # everything moves by 5
        5.0
    """
    check_two_sets("marginal_distance", real, generated)
    sums = [
        _wasserstein(a, b).sum()
        for a, b in zip(torch.split(real, 64, 2), torch.split(generated, 64, 2), strict=True)
    ]
    # Infinite values have no place among the gaps of `_wasserstein`: no score, not a perfect one.
    present = (torch.where(x.isnan(), 0.0, x) for x in (real, generated))
    bounded = one_if_finite(*present)
    return torch.stack(sums).sum() / (real.shape[1] * real.shape[2]) * bounded


def _wasserstein(real: Tensor, generated: Tensor) -> Tensor:
    both = torch.cat([real, generated]).detach().double().movedim(0, 2).contiguous()
    known = ~both.isnan()
    weight = known.double()
    weight[..., : len(real)] /= weight[..., : len(real)].sum(2, keepdim=True)
    weight[..., len(real) :] /= -weight[..., len(real) :].sum(2, keepdim=True)
    ordered = torch.where(known, both, torch.inf).sort(dim=2)
    gap = torch.where(ordered.values.isfinite(), ordered.values, torch.nan).diff(dim=2)
    ahead = weight.gather(2, ordered.indices).cumsum(2)[..., :-1].abs()
    return (ahead * torch.where(gap.isnan(), 0.0, gap)).sum(2)


def skewness_distance(real: Tensor, generated: Tensor) -> Tensor:
    r"""Measure the difference in skewness, $m_3 / m_2^{3/2}$, of all values of a channel.

    Moments are biased (plain means), over cases and time; NaN marks a missing point.

    Args:
        real: Real series, `(cases, channels, length)`.
        generated: Generated series; cases and length may differ.

    Returns:
        The absolute difference, averaged over the channels that are not constant in `real`: a
        float64 scalar without units; NaN if all are, or if one of the others is in `generated`.

    Raises:
        ValueError: If the shapes do not fit.
        TypeError: If an input is not a tensor.

    Example:
        >>> import torch
        >>> from ssltok.metrics import skewness_distance
        >>> real = torch.tensor([[[0.0, 0.0, 0.0, 4.0]]])  # m2 = 3, m3 = 6
        >>> round(skewness_distance(real, -real).item() ** 2, 4)  # (2 * 6 / 3**1.5)**2
        5.3333

    References:
        Ang et al., *TSGBench*, 2023, <https://arxiv.org/abs/2309.03755>, section 4 (SD), which
        divides by the unbiased standard deviation.
    """
    check_two_sets("skewness_distance", real, generated, same_length=False)
    return mean_where_it_varies(real, (_moment(real, 3) - _moment(generated, 3)).abs())


def kurtosis_distance(real: Tensor, generated: Tensor) -> Tensor:
    r"""Measure the difference in kurtosis, $m_4 / m_2^2$, of all values of a channel.

    Moments are biased (plain means), over cases and time; NaN marks a missing point.

    Args:
        real: Real series, `(cases, channels, length)`.
        generated: Generated series; cases and length may differ.

    Returns:
        The absolute difference, averaged over the channels that are not constant in `real`: a
        float64 scalar without units; NaN if all are, or if one of the others is in `generated`.

    Raises:
        ValueError: If the shapes do not fit.
        TypeError: If an input is not a tensor.

    Example:
        >>> import torch
        >>> from ssltok.metrics import kurtosis_distance
        >>> coin, die = torch.tensor([[[-1.0, 1.0]]]), torch.tensor([[[-1.0, 0.0, 0.0, 1.0]]])
        >>> kurtosis_distance(coin, die).item()  # 1 and 2
        1.0

    References:
        Ang et al., *TSGBench*, 2023, <https://arxiv.org/abs/2309.03755>, section 4 (KD).
    """
    check_two_sets("kurtosis_distance", real, generated, same_length=False)
    return mean_where_it_varies(real, (_moment(real, 4) - _moment(generated, 4)).abs())


def centred(series: Tensor) -> tuple[Tensor, Tensor]:
    """Series less the mean of each channel, and the variance: NaN where it is rounding only."""
    x = series.detach().double()
    x = x - x.nanmean((0, 2), keepdim=True)
    variance = x.square().nanmean((0, 2))
    return x, torch.where(is_constant(series), torch.nan, variance)


def is_constant(series: Tensor) -> Tensor:
    """Which channels are, `(channels,)`; none with a number that is not finite, gaps apart.

    The mean of equal numbers may differ from them in the last bit, so a deviation of 1e-12 of
    the largest value is none.
    """
    x = series.detach().double()
    largest = torch.nan_to_num(x.abs(), 0.0, torch.inf).amax((0, 2))
    x = x - x.nanmean((0, 2), keepdim=True)
    still = x.square().nanmean((0, 2)) <= (1e-12 * largest).square()
    return still & largest.isfinite()


def mean_where_it_varies(real: Tensor, figures: Tensor) -> Tensor:
    """The mean of one figure a channel, over the channels that are not constant in `real`.

    What a channel without variance has, moments, correlations, a spectrum, is undefined: another
    set cannot be compared there. `marginal_distance` sees what it does.
    """
    varies = ~is_constant(real)
    return torch.where(varies, figures, 0.0).sum() / varies.sum()


def _moment(series: Tensor, order: int) -> Tensor:
    """Standardised moment of each channel."""
    x, variance = centred(series)
    return x.pow(order).nanmean((0, 2)) / variance.pow(order / 2)
