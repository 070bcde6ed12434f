"""Usefulness: what a classifier learns from generated series that holds on real ones."""

from collections.abc import Callable
from typing import Protocol

import torch
from torch import Tensor

from ssltok._shared.checks import check_at_least
from ssltok.metrics._checks import check_labels, check_two_sets, one_if_finite
from ssltok.metrics._fcn import FCNEncoder
from ssltok.metrics._networks import accuracy, encode

__all__ = ["FitClassifier", "augmentation_gain", "fit_fcn_classifier", "train_on_synthetic_score"]


class FitClassifier(Protocol):
    """Fits a classifier: series, labels and randomness in, a function to logits out."""

    def __call__(
        self, series: Tensor, labels: Tensor, *, generator: torch.Generator | None
    ) -> Callable[[Tensor], Tensor]:
        """Return a function from series to logits, `(cases, classes)`."""
        ...


def fit_fcn_classifier(
    series: Tensor,
    labels: Tensor,
    *,
    steps: int = 500,
    width: int = 128,
    generator: torch.Generator | None = None,
) -> Callable[[Tensor], Tensor]:
    """Fit an `FCNEncoder` and return its logits: the classifier of `train_on_synthetic_score`.

    Bind another budget with `functools.partial(fit_fcn_classifier, steps=100, width=32)`.

    Args:
        series: Training series, `(cases, channels, length)`.
        labels: Their classes from 0, `(cases,)` int64.
        steps: Budget of training.
        width: Features of the network.
        generator: Draws weights and batches.

    Returns:
        A function from series to logits.

    Raises:
        ValueError: As `FCNEncoder.fit`.

    Example:
        >>> import torch
        >>> from ssltok.metrics import fit_fcn_classifier
        >>> series = torch.zeros(4, 1, 8)
        >>> labels = torch.tensor([0, 1, 2, 1])
        >>> fit_fcn_classifier(series, labels, steps=1, width=4)(series).shape
        torch.Size([4, 3])
    """
    return FCNEncoder.fit(series, labels, steps=steps, width=width, generator=generator).logits


def train_on_synthetic_score(
    synthetic: Tensor,
    synthetic_labels: Tensor,
    test: Tensor,
    test_labels: Tensor,
    *,
    fit: FitClassifier = fit_fcn_classifier,
    repeats: int = 3,
    generator: torch.Generator | None = None,
) -> Tensor:
    """Train a classifier on generated series and measure its accuracy on real ones (CAS, TSTR).

    Read it next to the same score with real training series (train on real, test on real): that
    is its ceiling. The mirror (train on real, test on synthetic) asks whether generated series
    are recognised. All are this one function with other arguments. Give the generated set the
    class proportions of the training set, or the classifier learns another prior.

    The last classifier of a fixed budget is scored; the test set chooses nothing.

    Args:
        synthetic: Series to train on, `(cases, channels, length)`.
        synthetic_labels: Their classes from 0, `(cases,)` int64.
        test: Series to test on, `(cases, channels, length)`; the length may differ if `fit` can.
        test_labels: Their classes, `(cases,)` int64.
        fit: Fits a classifier; see `FitClassifier`.
        repeats: Classifiers trained, each from new random numbers.
        generator: Draws everything.

    Returns:
        One accuracy in [0, 1] for each repeat, `(repeats,)` float64; NaN if a series is not finite
        or the classifier returns a NaN.

    Raises:
        ValueError: If shapes, channels or labels do not fit, or `repeats < 1`.
        TypeError: If an input is not a tensor, or an option not a number.

    Example:
        >>> import torch
        >>> from ssltok.metrics import train_on_synthetic_score
        >>> def fit(series, labels, *, generator):  # the sign of the mean decides
        ...     return lambda series: torch.cat([-series.mean(2), series.mean(2)], dim=1)
        >>> series = torch.tensor([-1.0, -2.0, 3.0, 4.0])[:, None, None].expand(4, 1, 6)
        >>> labels = torch.tensor([0, 0, 1, 0])  # the last label is wrong
        >>> train_on_synthetic_score(series, labels, series, labels, fit=fit, repeats=2)
        tensor([0.7500, 0.7500], dtype=torch.float64)

    References:
        Esteban et al., *Real-valued (medical) time series generation with recurrent conditional
        GANs*, 2017, <https://arxiv.org/abs/1706.02633>, section 4.2 (TSTR, TRTS). Ravuri &
        Vinyals, *Classification accuracy score for conditional generative models*, 2019,
        <https://arxiv.org/abs/1905.10887>.
    """
    who = "train_on_synthetic_score"
    check_two_sets(who, synthetic, test, names=("synthetic", "test"), same_length=False)
    check_labels(who, "synthetic_labels", synthetic_labels, len(synthetic))
    check_labels(who, "test_labels", test_labels, len(test))
    check_at_least(who, "repeats", repeats, 1)
    scores = []
    for _ in range(repeats):
        logits = encode(fit(synthetic, synthetic_labels, generator=generator), test)
        scores.append(accuracy(logits, test_labels))
    return torch.stack(scores) * one_if_finite(synthetic, test)


def augmentation_gain(
    real: Tensor,
    real_labels: Tensor,
    generated: Tensor,
    generated_labels: Tensor,
    test: Tensor,
    test_labels: Tensor,
    *,
    fit: FitClassifier = fit_fcn_classifier,
    repeats: int = 3,
    generator: torch.Generator | None = None,
) -> Tensor:
    """Measure what adding generated series to the real training set does to test accuracy.

    Both classifiers of a repeat start from the same random state, so a gain is paired. With a
    fixed budget of steps both see the same number of series.

    Args:
        real: Real training series, `(cases, channels, length)`.
        real_labels: Their classes from 0, `(cases,)` int64.
        generated: Generated series of the same shape a case.
        generated_labels: Their classes, `(cases,)` int64.
        test: Real test series.
        test_labels: Their classes, `(cases,)` int64.
        fit: Fits a classifier; see `FitClassifier`.
        repeats: Pairs of classifiers.
        generator: Draws one seed for each pair.

    Returns:
        Accuracy with minus accuracy without, `(repeats,)` float64, each in [-1, 1].

    Raises:
        ValueError: If shapes, channels or labels do not fit, or `repeats < 1`.
        TypeError: If an input is not a tensor, or an option not a number.

    Example:
        >>> import torch
        >>> from ssltok.metrics import augmentation_gain
        >>> def fit(series, labels, *, generator):  # always says the commonest class
        ...     answer = torch.bincount(labels, minlength=2).double()
        ...     return lambda series: answer.expand(len(series), 2)
        >>> x, zeros, ones = torch.zeros(3, 1, 6), torch.tensor([0, 0, 0]), torch.tensor([1, 1, 1])
        >>> many = torch.zeros(5, 1, 6)
        >>> augmentation_gain(x, zeros, many, torch.ones(5).long(), x, ones, fit=fit, repeats=1)
        tensor([1.], dtype=torch.float64)
    """
    who = "augmentation_gain"
    check_two_sets(who, real, generated)
    check_two_sets(who, real, test, names=("real", "test"), same_length=False)
    check_labels(who, "real_labels", real_labels, len(real))
    check_labels(who, "generated_labels", generated_labels, len(generated))
    check_labels(who, "test_labels", test_labels, len(test))
    check_at_least(who, "repeats", repeats, 1)
    both = torch.cat([real, generated.to(real.dtype)])
    both_labels = torch.cat([real_labels, generated_labels])
    device = "cpu" if generator is None else generator.device
    gains = []
    for _ in range(repeats):
        seed = int(torch.randint(2**62, (), generator=generator, device=device))
        pair = [
            train_on_synthetic_score(
                series,
                labels,
                test,
                test_labels,
                fit=fit,
                repeats=1,
                generator=torch.Generator(device).manual_seed(seed),
            )
            for series, labels in ((both, both_labels), (real, real_labels))
        ]
        gains.append(pair[0] - pair[1])
    return torch.cat(gains)
