"""Published protocols, defects and all, so that numbers can be laid beside numbers in papers."""

import importlib
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional

from ssltok._shared.checks import check_at_least
from ssltok._shared.scaling import mean_and_scale
from ssltok.metrics._checks import check_finite, check_labels, check_two_sets, missing_extra
from ssltok.metrics._fcn import FCNEncoder
from ssltok.metrics._frechet import frechet_distance
from ssltok.metrics._networks import encode
from ssltok.metrics._rocket import RocketEncoder

__all__ = [
    "FCNScores",
    "nc_vqvae_protocol",
    "timevqvae_2023_protocol",
    "timevqvae_2024_protocol",
]


class FCNScores(NamedTuple):
    """Scores by an FCN that learned from the training split.

    Attributes:
        frechet: Frechet distance of its features; low is good.
        inception: Mean inception score over the splits; high is good.
        inception_spread: Its standard deviation over the splits.
    """

    frechet: Tensor
    inception: Tensor
    inception_spread: Tensor


def timevqvae_2023_protocol(
    train: Tensor,
    train_labels: Tensor,
    test: Tensor,
    generated: Tensor,
    *,
    steps: int = 1000,
    splits: int = 10,
    generator: torch.Generator | None = None,
) -> FCNScores:
    """Score as the TimeVQVAE paper does: Frechet distance and inception score of an FCN.

    The FCN of 128 features is trained on the training split, all series standardised with one
    mean and one standard deviation of it; generated series are scored against the test split.

    Known defects that are kept: below 129 test series the covariances are singular and the
    distance is biased upwards; a remainder of series that does not fill a split is dropped; the
    classifier is blind to what does not separate the classes. Departures: `steps` in place of
    1000 epochs (give `1000 * ceil(cases / 256)` for the original), the test split is not used as
    validation set, several channels are standardised each by itself, and no downloaded weights:
    figures will not equal those of the paper.

    Not part of it is the paper's classification accuracy score. For that, draw series of each
    class, as many as the training set has, scaled up to 1000 series in all, and give them to
    `train_on_synthetic_score` with an FCN of 1000 epochs.

    Args:
        train: Training series, `(cases, channels, length)`.
        train_labels: Their classes from 0, `(cases,)` int64.
        test: Test series.
        generated: Generated series; the paper draws as many as there are test series.
        steps: Budget of the FCN, in batches of 256 or of the whole set.
        splits: Splits of the inception score.
        generator: Draws the FCN and the splits.

    Returns:
        `FCNScores(frechet, inception, inception_spread)`, float64 scalars.

    Raises:
        ValueError: If the shapes do not fit, there are fewer generated series than splits, or a
            number is not finite.
        TypeError: If an input is not a tensor, or an option not a number.

    Example:
        >>> import torch
        >>> from ssltok.metrics import timevqvae_2023_protocol
        >>> series = torch.randn(20, 1, 8, generator=torch.Generator().manual_seed(0))
        >>> labels = torch.arange(20) % 2
        >>> timevqvae_2023_protocol(series, labels, series, series, steps=1).frechet.item() < 1e-6
        True

    References:
        Lee et al., *Vector quantized time series generation with a bidirectional prior model*,
        2023, <https://arxiv.org/abs/2303.04743>, section 4.
    """
    who = "timevqvae_2023_protocol"
    check_two_sets(who, train, test, names=("train", "test"))
    check_two_sets(who, test, generated, names=("test", "generated"), least_cases=2)
    check_labels(who, "train_labels", train_labels, len(train))
    check_at_least(who, "splits", splits, 2)
    check_at_least(who, "cases of generated", len(generated), splits)
    for name, series in (("train", train), ("test", test), ("generated", generated)):
        check_finite(who, name, series)
    mean, scale = mean_and_scale(train.detach(), (0, 1, 2), correction=1)
    train, test, generated = (
        ((x.detach() - mean) / scale).float() for x in (train, test, generated)
    )
    fcn = FCNEncoder.fit(train, train_labels, steps=steps, batch_size=256, generator=generator)
    frechet = frechet_distance(encode(fcn, test), encode(fcn, generated))
    p = encode(fcn.logits, generated).double().softmax(1)
    device = "cpu" if generator is None else generator.device
    p = p[torch.randperm(len(p), generator=generator, device=device).to(p.device)]
    part = len(p) // splits
    scores = []
    for k in range(splits):
        split = p[k * part : (k + 1) * part]
        marginal = split.mean(0, keepdim=True)
        gain = split * ((split + 1e-16).log() - (marginal + 1e-16).log())
        scores.append(gain.sum(1).mean().exp())
    inception = torch.stack(scores)
    return FCNScores(frechet, inception.mean(), inception.std(correction=0))


def nc_vqvae_protocol(
    train: Tensor,
    train_labels: Tensor,
    test: Tensor,
    generated: Tensor,
    *,
    steps: int = 1000,
    generator: torch.Generator | None = None,
) -> FCNScores:
    """Score as the NC-VQVAE study does: `timevqvae_2023_protocol` on a test set of even length.

    Known defects that are kept: the reference is the test set after a Fourier transform (hop 2)
    and back, of which only the cut to an even length remains in exact arithmetic, and is what is
    done here; generated series beyond the number of test series are ignored; and those of
    `timevqvae_2023_protocol`.

    Not part of it are that study's other figures. Its classification accuracy score is the moving
    average of an accuracy over test batches while the classifier trains; `train_on_synthetic_score`
    scores the last classifier. Its probes scale features to [-1, 1] with the range of the training
    split: `knn_accuracy` has its value on features scaled so, `svm_probe_accuracy` standardises
    them in any case and has another. Its statistics of codes are `codebook_perplexity` and
    `codebook_correlation`.

    Args:
        train: Training series, `(cases, channels, length)`.
        train_labels: Their classes from 0, `(cases,)` int64.
        test: Test series.
        generated: Generated series.
        steps: Budget of the FCN.
        generator: Draws the FCN and the splits.

    Returns:
        `FCNScores(frechet, inception, inception_spread)`, float64 scalars.

    Raises:
        ValueError: As `timevqvae_2023_protocol`.
        TypeError: If an input is not a tensor, or an option not a number.

    Example:
        >>> import torch
        >>> from ssltok.metrics import nc_vqvae_protocol
        >>> series = torch.randn(20, 1, 9, generator=torch.Generator().manual_seed(0))
        >>> scores = nc_vqvae_protocol(series, torch.arange(20) % 2, series, series, steps=1)
        >>> scores.frechet.item() < 1e-6
        True

    References:
        The study's code, `model_eval.py`; Holmen Rod, *Enhanced time series generation with
        non-contrastive learning*, 2024, <https://arxiv.org/abs/2408.16613>.
    """
    who = "nc_vqvae_protocol"
    check_two_sets(who, train, test, names=("train", "test"))
    check_two_sets(who, test, generated, names=("test", "generated"), least_cases=2)
    check_at_least(who, "length", test.shape[2], 2)
    check_finite(who, "generated", generated)  # also where it is surplus or cut off
    even = test.shape[2] // 2 * 2
    return timevqvae_2023_protocol(
        train[..., :even],
        train_labels,
        test[..., :even],
        generated[: len(test), :, :even],
        steps=steps,
        generator=generator,
    )


def timevqvae_2024_protocol(
    test: Tensor, generated: Tensor, *, generator: torch.Generator | None = None
) -> Tensor:
    """Score as TimeVQVAE's code of 2024 does: Frechet distance of ROCKET, less its outliers.

    1000 random kernels, features scaled to length 1 for each series, and an isolation forest that
    drops a tenth of *each* set before the distance is taken.

    Known defects that are kept: dropping outliers hides exactly the failures that matter, in
    both sets; 2000 features need more than 2000 series. The kernels of that code were drawn from
    an unseeded global state; here the generator draws their seed.

    Not part of it are the same distance class by class (its mean over classes, with 100 series
    drawn of each, is called cFID there: select each class and call this), its inception score of
    an FCN with 5 splits (`inception_score`), and its statistics of series, whose counterparts
    here are `marginal_distance`, `autocorrelation_distance`, `skewness_distance` and
    `kurtosis_distance`; the first two are defined otherwise.

    Args:
        test: Test series, `(cases, channels, length)`.
        generated: Generated series; that code draws at least 1024.
        generator: Draws the seed of the kernels.

    Returns:
        The distance, a float64 scalar.

    Raises:
        ValueError: If the shapes do not fit, or a set has fewer than 10 series.
        ImportError: If scikit-learn is missing.
        TypeError: If an input is not a tensor.

    Example:
        >>> import torch
        >>> from ssltok.metrics import timevqvae_2024_protocol
        >>> series = torch.randn(20, 1, 12, generator=torch.Generator().manual_seed(0))
        >>> timevqvae_2024_protocol(series, series).item() < 1e-6
        True

    References:
        The authors' repository, `evaluation/`, before its removal in March 2026.
    """
    who = "timevqvae_2024_protocol"
    check_two_sets(who, test, generated, names=("test", "generated"), least_cases=10)
    check_finite(who, "test", test)
    check_finite(who, "generated", generated)
    try:
        ensemble = importlib.import_module("sklearn.ensemble")
    except ImportError as error:
        raise missing_extra(who, "scikit-learn") from error
    device = "cpu" if generator is None else generator.device
    seed = int(torch.randint(2**62, (), generator=generator, device=device))
    rocket = RocketEncoder(test.shape[1], test.shape[2], seed=seed).to(test.device)
    inliers = []
    for series in (test, generated):
        z = functional.normalize(encode(rocket, series)).double()
        forest = ensemble.IsolationForest(max_samples=0.9, contamination=0.1, random_state=0)
        inside = torch.from_numpy(forest.fit_predict(z.cpu().numpy()) == 1)
        inliers.append(z[inside.to(z.device)])
    return frechet_distance(inliers[0], inliers[1])
