"""Gaps filled by what is expected of a Gaussian, given every observed value of every channel."""

from typing import Self

import torch
from torch import Generator, Tensor, nn

from ssltok._shared.checks import (
    check_at_least,
    check_axes,
    check_bool_mask,
    check_floating,
    check_same_shape,
    check_size,
)
from ssltok.signal._place_moments import Moments, level, mixed, place_moments, stationary

__all__ = ["GaussianFill", "gaussian_fill"]

LARGEST = 2**24  # values of the systems that are solved at once
TRUSTS = (1.0, 0.75, 0.5, 0.25, 0.0)  # in a guess
SHARES = (0.0, 0.1, 0.25, 0.5, 0.75, 1.0)  # of the stationary covariance
NOISES = (1e-3, 1e-2, 1e-1)  # over the mean variance; the second while others are chosen
MOST, LEAST = 128, 8  # series on which they are chosen
WORK = 2**32  # places cubed, over all of them
FOLDS = 5


def gaussian_fill(
    series: Tensor,
    observed: Tensor,
    covariance: Tensor,
    *,
    mean: Tensor | None = None,
    noise: float | Tensor = 0.0,
    drawn: bool = False,
    generator: Generator | None = None,
) -> Tensor:
    r"""Fill gaps with the conditional mean of a Gaussian, or with a draw from it.

    $$E[x_h \mid x_o] = \mu_h + K_{ho} (K_{oo} + \sigma^2 I)^{-1} (x_o - \mu_o)$$

    for the observed values $x_o$ and the hidden ones $x_h$ of all channels and times of a series:
    kriging, the best linear prediction. A draw is the mean of the conditional plus the prediction's
    error for a draw of the whole series (Matheron's rule), so its spread is that of the hidden
    values. Computed in float64; rows with the same gaps share a factorisation.

    Args:
        series: `(batch, channels, length)`; what is not observed may be anything, NaN among it.
        observed: Boolean, of that shape, True where a value is known.
        covariance: $K$, `(channels * length, channels * length)`, symmetric and positive
            semi-definite, channel by channel.
        mean: $\mu$, `(channels, length)`; 0 by default.
        noise: $\sigma^2$, the variance that each value has by itself; a number or a scalar tensor.
        drawn: Whether to draw the hidden values instead of taking their mean.
        generator: Source of the draws, on the device of `series`; None is torch's own.

    Returns:
        The filled series, observed values to the bit.

    Raises:
        ValueError: If shapes or dtypes do not fit.
        torch.linalg.LinAlgError: If $K_{oo} + \sigma^2 I$ is not positive definite.
        TypeError: If an input is not a tensor.

    Example:
        >>> import torch
        >>> from ssltok.signal import gaussian_fill
        >>> walk = torch.minimum(*torch.meshgrid(*[torch.arange(1.0, 5)] * 2, indexing="ij"))
        >>> observed = torch.tensor([[[True, False, True, False]]])
        >>> gaussian_fill(torch.tensor([[[1.0, 0.0, 5.0, 0.0]]]), observed, walk)
        tensor([[[1., 3., 5., 5.]]])

    References:
        Rasmussen and Williams, *Gaussian Processes for Machine Learning*, 2006, equation 2.19.
        Wilson et al., *Efficiently sampling functions from Gaussian process posteriors*, 2020,
        <https://arxiv.org/abs/2002.09309>, equation 5 (Matheron's rule).
    """
    who = "gaussian_fill"
    check_floating(who, "series", series)
    check_axes(who, "series", series, "batch channels length")
    check_bool_mask(who, "observed", observed, series.shape)
    places = series[0].numel()
    check_axes(who, "covariance", covariance, "places places")
    check_size(who, "covariance", covariance, 0, places)
    check_size(who, "covariance", covariance, 1, places)
    if series.is_meta:  # only the shape is asked; which gaps are alike cannot be
        return torch.empty_like(series)
    wide = covariance.double()
    level = wide.new_zeros(places) if mean is None else mean.double().reshape(places)
    seen = observed.flatten(1)
    prior = level.expand(len(series), -1)
    noises = torch.zeros_like(prior)
    if drawn:
        values, vectors = torch.linalg.eigh(wide)
        root = vectors * values.clamp(min=0).sqrt()
        normal = torch.randn(
            (2, len(series), places), dtype=wide.dtype, device=wide.device, generator=generator
        )
        noises = normal[1] * torch.as_tensor(noise, dtype=wide.dtype, device=wide.device).sqrt()
        prior = prior + normal[0] @ root.mT
    error = torch.where(seen, series.flatten(1).double() - prior - noises, 0.0)
    masks, rows = torch.unique(seen, dim=0, return_inverse=True)
    solved = torch.empty_like(error)
    size = max(1, LARGEST // places**2)
    for first in range(0, len(masks), size):
        some = masks[first : first + size]
        pairs = some[:, :, None] & some[:, None, :]
        system = torch.where(pairs, wide, 0.0)
        diagonal = torch.where(some, wide.diagonal() + noise, 1.0)
        system.diagonal(dim1=1, dim2=2).copy_(diagonal)
        factors = torch.linalg.cholesky(system)
        for number, factor in enumerate(factors, start=first):
            these = rows == number
            solved[these] = torch.cholesky_solve(error[these].mT, factor).mT
    fill = (prior + noises + solved @ wide).view_as(series).to(series.dtype)
    return torch.where(observed, series, fill)


class GaussianFill(nn.Module):
    r"""`gaussian_fill` with mean and covariance taken from training series.

    The covariance of few series is noisy; that of a stationary process, which depends on the lag
    alone, is less so but knows no places. `fit` mixes both,

    $$K = (1 - a)\, S + a\, \bar S, \qquad
      \bar S_{ci,dj} = \operatorname{mean}_{k - l = i - j} S_{ck,dl}$$

    and likewise the mean; the share $a$ and the variance $\sigma^2$ of each value's own noise are
    those that fill known holes of held-out training series best: in the geometric mean over
    series of their mean absolute errors, so that series with few gaps count as those with many.

    Somebody else's **guess** $g$ of the whole series, observed and hidden, can be given: then the
    Gaussian is that of $x - b\, g$, and $b\, g$ is added again (regression kriging). How far the
    guess is trusted, $b$, is chosen likewise.

    Args:
        channels: Channels of the series.
        length: Samples of the series.

    Attributes:
        trust: $b$, a scalar; 1 before `fit`, so that a gap is filled with the guess.
        mean: `(channels, length)`.
        covariance: `(channels * length, channels * length)`; 0 before `fit`.
        noise: $\sigma^2$, a scalar; 1 before `fit`, so that without a guess a gap is filled with 0.

    Raises:
        ValueError: If a size is smaller than 1.

    Example:
        >>> import torch
        >>> from ssltok.signal import GaussianFill
        >>> walks = torch.randn(200, 1, 6, generator=torch.Generator().manual_seed(0)).cumsum(2)
        >>> holes = torch.zeros(200, 1, 6, dtype=torch.bool)
        >>> holes[:, :, 3] = True
        >>> fill = GaussianFill(1, 6).fit(walks, holes=holes)
        >>> filled = fill(walks, ~holes)
        >>> bool((filled - walks)[holes].square().mean() < 0.6)  # a bridge over two steps: 1/2
        True

    References:
        Ledoit and Wolf, *A well-conditioned estimator for large-dimensional covariance matrices*,
        2004 (the mixture; its share is found there by a formula).
        Hengl et al., *About regression-kriging*, 2007.
    """

    trust: Tensor
    mean: Tensor
    covariance: Tensor
    noise: Tensor

    def __init__(self, channels: int, length: int) -> None:
        super().__init__()
        check_at_least("GaussianFill", "channels", channels, 1)
        check_at_least("GaussianFill", "length", length, 1)
        self.channels, self.length = channels, length
        places = channels * length
        self.register_buffer("trust", torch.ones(()))
        self.register_buffer("mean", torch.zeros(channels, length))
        self.register_buffer("covariance", torch.zeros(places, places))
        self.register_buffer("noise", torch.ones(()))

    @torch.no_grad()
    def fit(
        self,
        series: Tensor,
        valid: Tensor | None = None,
        *,
        holes: Tensor,
        guess: Tensor | None = None,
    ) -> Self:
        """Take trust, mean, covariance and noise from training series; replaces earlier ones.

        Every fifth of up to twenty stretches of the series, in their order, is held out while they
        are chosen, so neighbours that overlap hardly meet; then all series count.

        Args:
            series: `(batch, channels, length)`.
            valid: Boolean, of that shape, True where a value is real; by default all are.
            holes: Boolean, of that shape: what is filled when trust, share and noise are chosen.
            guess: Of the shape of `series`, from what is not in the holes; None is 0.

        Returns:
            The module itself.

        Raises:
            ValueError: If shapes or dtypes do not fit.
            TypeError: If an input is not a tensor.
        """
        who = "GaussianFill"
        check_floating(who, "series", series)
        check_axes(who, "series", series, "batch channels length")
        check_size(who, "series", series, 1, self.channels)
        check_size(who, "series", series, 2, self.length)
        valid = torch.ones_like(series, dtype=torch.bool) if valid is None else valid
        check_bool_mask(who, "valid", valid, series.shape)
        check_bool_mask(who, "holes", holes, series.shape)
        if guess is not None:
            check_same_shape(who, "series and guess", series, guess)
        stretches = min(4 * FOLDS, len(series))
        held = torch.arange(len(series), device=series.device) * stretches // len(series)
        held = held % FOLDS == FOLDS // 2
        trust, share, noise = 1.0, 0.0, NOISES[0]
        asked = holes & valid
        choosing = not series.is_meta and bool((~held).any()) and bool(asked[held].any())
        if choosing:
            chosen = torch.nonzero(held)[:, 0]
            count = min(MOST, max(LEAST, WORK // series[0].numel() ** 3))
            places = torch.linspace(0, len(chosen) - 1, min(count, len(chosen))).round().long()
            chosen = chosen[places.to(chosen.device)]
            asked, seen = asked[chosen], (valid & ~holes)[chosen]

            def error(rest: Tensor, learned: Moments, noise: float) -> float:
                variance = noise * level(learned)
                filled = gaussian_fill(
                    rest[chosen], seen, learned.covariance, mean=learned.mean, noise=variance
                )
                return _geometric((filled - rest[chosen]).abs(), asked)

            def learn(rest: Tensor) -> Moments:
                return place_moments(rest[~held], valid[~held])

            if guess is not None:
                rests = {b: _less(series, guess, b) for b in TRUSTS}
                trust = min(TRUSTS, key=lambda b: error(rests[b], learn(rests[b]), NOISES[1]))
            rest = _less(series, guess, trust)
            plain = learn(rest)
            even = stationary(plain)
            share = min(SHARES, key=lambda a: error(rest, mixed(plain, even, a), NOISES[1]))
            chosen_moments = mixed(plain, even, share)
            noise = min(NOISES, key=lambda n: error(rest, chosen_moments, n))
        moments = place_moments(_less(series, guess, trust), valid)
        if share:
            moments = mixed(moments, stationary(moments), share)
        self.trust.fill_(trust)
        self.mean.copy_(moments.mean)
        self.covariance.copy_(moments.covariance)
        self.noise.copy_(noise * level(moments))
        return self

    def forward(
        self,
        series: Tensor,
        observed: Tensor,
        *,
        guess: Tensor | None = None,
        drawn: bool = False,
        generator: Generator | None = None,
    ) -> Tensor:
        """Fill the gaps of `(batch, channels, length)`: see `gaussian_fill`.

        Args:
            series: The series.
            observed: Boolean, of that shape, True where a value is known.
            guess: Of that shape, as in `fit`; None is 0.
            drawn: Whether to draw the hidden values instead of taking their mean.
            generator: Source of the draws.
        """
        if guess is not None:
            check_same_shape("GaussianFill", "series and guess", series, guess)
        filled = gaussian_fill(
            _less(series, guess, self.trust), observed, self.covariance, mean=self.mean,
            noise=self.noise, drawn=drawn, generator=generator,
        )  # fmt: skip
        if guess is not None:
            filled = filled + self.trust * guess
        return torch.where(observed, series, filled)


def _geometric(errors: Tensor, asked: Tensor) -> float:
    """The logarithm of the geometric mean, over series, of their mean errors where asked."""
    some = asked.flatten(1).any(dim=1)
    sums = torch.where(asked, errors, 0.0).flatten(1).double().sum(1)[some]
    means = sums / asked.flatten(1).sum(1)[some]
    return float(means.clamp(min=torch.finfo(torch.float32).tiny).log().mean())


def _less(series: Tensor, guess: Tensor | None, trust: Tensor | float) -> Tensor:
    """The series less what is trusted of a guess."""
    return series if guess is None else series - trust * guess
