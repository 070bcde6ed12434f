"""The protocol of Diffusion-TS, with the subsets, the fits and the networks of its code."""

from collections.abc import Callable
from typing import NamedTuple, Protocol

import torch
from torch import Tensor

from ssltok._shared.checks import check_at_least
from ssltok._shared.scaling import mean_and_scale
from ssltok.metrics._checks import check_finite, check_two_sets
from ssltok.metrics._frechet import frechet_distance
from ssltok.metrics._networks import encode
from ssltok.metrics._published import published_discriminative, published_predictive

__all__ = ["DiffusionTSScores", "FitEncoder", "diffusion_ts_protocol"]


class DiffusionTSScores(NamedTuple):
    """The four scores of Diffusion-TS; each holds one value for each repeat, best at 0 or low.

    Attributes:
        context_frechet: Context-FID, by an encoder that is fitted anew.
        correlational: How far the correlations of channels differ.
        discriminative: By how much a network tells real from generated better than a coin.
        predictive: Absolute error, on real series, of a network that learned from generated ones.
    """

    context_frechet: Tensor
    correlational: Tensor
    discriminative: Tensor
    predictive: Tensor


class FitEncoder(Protocol):
    """Fits an encoder: series and randomness in, a function to features out."""

    def __call__(
        self, series: Tensor, *, generator: torch.Generator | None
    ) -> Callable[[Tensor], Tensor]:
        """Return a function from series to features, `(cases, dim)`."""
        ...


def diffusion_ts_protocol(
    real: Tensor,
    generated: Tensor,
    *,
    fit_encoder: FitEncoder,
    steps: tuple[int, int] = (2000, 5000),
    repeats: int = 5,
    generator: torch.Generator | None = None,
) -> DiffusionTSScores:
    """Score as Diffusion-TS does: Context-FID, correlational, discriminative, predictive.

    Each channel is brought to [0, 1] by the range of `real`, as the published data are by the
    range of their source, which changes nothing about windows that come so. Then, `repeats` times:

    - Context-FID: an encoder is fitted anew on the very real series that it scores. The published
      one is TS2Vec, `fit_encoder=TS2VecEncoder.fit` of `ssltok.evaluation`.
    - Correlational: of `cases / repeats` real and as many generated series, drawn with
      replacement; the diagonal is counted, pairs are added up and divided by 10.
    - Discriminative: a recurrent network of `channels // 2` units, 128 real and 128 generated
      series a step, the accuracy on a fifth of both less one half.
    - Predictive: one of the same width learns from generated series to predict the last channel
      from the others one point ahead; its absolute error on the real ones.

    Known defects that are kept: series are scored against the real series they were learned from,
    if that is what `real` is; neighbouring windows stand on both sides of the split; a copy is the
    best generator, and one with 1 % of noise hardly a worse one: read the scores beside those of
    a copy, as `diffusion_ts_table` of `ssltok.evaluation` prints them. Surplus generated series
    are dropped. Departures: torch's GRU and its initial weights in place of TensorFlow's; one unit
    at the least; a constant channel, undefined there, is left in its units.

    Args:
        real: Real series, `(cases, channels, length)`, of length 2 at the least.
        generated: Generated series of the same shape a case; the first of them, as many as real.
        fit_encoder: Fits the encoder of Context-FID; see `FitEncoder`.
        steps: Budgets of the discriminative and of the predictive score.
        repeats: Of each score.
        generator: Draws everything.

    Returns:
        `DiffusionTSScores(context_frechet, correlational, discriminative, predictive)`, each
        `(repeats,)` float64; the last is NaN for one channel.

    Raises:
        ValueError: If the shapes do not fit, there are fewer than 5 series, a number is not
            finite, or an option is out of range.
        TypeError: If an input is not a tensor, or an option not a number.

    Example:
        >>> import torch
        >>> from ssltok.metrics import diffusion_ts_protocol
        >>> series = torch.randn(20, 2, 8, generator=torch.Generator().manual_seed(0))
        >>> def fit(series, *, generator):
        ...     return lambda series: series.mean(2)
        >>> scores = diffusion_ts_protocol(series, series, fit_encoder=fit, steps=(1, 1), repeats=1)
        >>> bool(scores.context_frechet < 1e-9)  # a copy is perfect
        True

    References:
        Yuan & Qiao, *Diffusion-TS*, 2024, <https://arxiv.org/abs/2403.01742>, section 4.1, and
        its code, `Utils/`.
    """
    who = "diffusion_ts_protocol"
    check_two_sets(who, real, generated, least_cases=5)
    check_at_least(who, "length", real.shape[2], 2)
    check_at_least(who, "repeats", repeats, 1)
    for budget in steps:
        check_at_least(who, "steps", budget, 1)
    check_finite(who, "real", real)
    check_finite(who, "generated", generated)
    low, high = real.detach().double().aminmax(dim=0)
    low, high = low.amin(1)[:, None], high.amax(1)[:, None]
    width = torch.where(high > low, high - low, 1.0)
    sets = tuple((x.detach().double() - low) / width for x in (real, generated[: len(real)]))
    x, y = (part.float() for part in sets)
    context, correlational = [], []
    for _ in range(repeats):
        encoder = fit_encoder(x, generator=generator)
        context.append(frechet_distance(*(encode(encoder, part).flatten(1) for part in (x, y))))
        sums = [_correlations(_subset(part, len(x) // repeats, generator)) for part in sets]
        correlational.append((sums[0] - sums[1]).abs().sum() / 10)
    return DiffusionTSScores(
        context_frechet=torch.stack(context),
        correlational=torch.stack(correlational),
        discriminative=published_discriminative(
            x, y, steps=steps[0], repeats=repeats, generator=generator
        ),
        predictive=published_predictive(x, y, steps=steps[1], repeats=repeats, generator=generator),
    )


def _subset(series: Tensor, size: int, generator: torch.Generator | None) -> Tensor:
    """Some series, drawn with replacement."""
    device = "cpu" if generator is None else generator.device
    shape = (max(1, size),)
    return series[torch.randint(len(series), shape, generator=generator, device=device)]


def _correlations(series: Tensor) -> Tensor:
    """Correlations of all pairs of channels, the diagonal among them."""
    mean, scale = mean_and_scale(series, (0, 2), correction=1)
    z = (series - mean) / scale
    rows, columns = torch.tril_indices(series.shape[1], series.shape[1], device=series.device)
    return (z[:, rows] * z[:, columns]).mean((0, 2))
