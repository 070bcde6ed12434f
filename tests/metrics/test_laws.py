"""What holds for every metric: no score of infinities, no rank of rounding, no weight of constants.

One table has every metric as a function of two sets of series; features are their flattened rows.
Each law names the metrics that it does not ask, with the reason.
"""

import inspect
from collections.abc import Callable
from functools import partial

import pytest
import torch
from torch import Tensor

from ssltok import metrics

CASES, CHANNELS, LENGTH = 24, 3, 12
LABELS = torch.arange(CASES) % 2
TIMES = (torch.arange(LENGTH) // 3 % 2).expand(CASES, LENGTH)
SPLIT = CASES // 2
ANOMALIES = torch.tensor([[2, 5], [20, 28]])[LABELS]
FIT = partial(metrics.fit_fcn_classifier, steps=3, width=6)
Metric = Callable[[Tensor, Tensor], object]


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def linear(channels: int = CHANNELS) -> torch.nn.Module:
    """An encoder in the units of the series, with weights that are drawn once."""
    encoder = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(channels * LENGTH, 4))
    with torch.no_grad():
        for parameter in encoder.parameters():
            parameter.copy_(torch.randn(parameter.shape, generator=seeded()) / 6)
    return encoder


def rows(metric: Callable[..., object], **options: object) -> Metric:
    """A metric of two sets of features, on the flattened series."""
    return lambda x, y: metric(x.flatten(1), y.flatten(1), **options)


def probe(metric: Callable[..., object], **options: object) -> Metric:
    return lambda x, y: metric(x.flatten(1), LABELS, y.flatten(1), LABELS, **options)


def tokens(metric: Callable[..., object]) -> Metric:
    return lambda x, y: metric(x.mT, TIMES, y.mT, TIMES)


def of_both(metric: Callable[..., object]) -> Metric:
    """A metric of one set, on the first and on the second."""
    return lambda x, y: (metric(x), metric(y))


def means_and_ends(
    series: Tensor, *, generator: torch.Generator | None
) -> Callable[[Tensor], Tensor]:
    """Features in the place of an encoder that is fitted."""
    return lambda x: torch.cat([x.mean(2), x[..., -1]], dim=1)


def encoded(x: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
    """FCN fitted on one set: its features and logits of both."""
    fcn = metrics.FCNEncoder.fit(x, LABELS, steps=3, width=6, generator=seeded())
    return fcn(x).detach(), fcn.logits(y).detach()


METRICS: dict[str, Metric] = {
    "FCNEncoder": encoded,
    "alignment": rows(metrics.alignment),
    "archive_accuracy": lambda x, y: metrics.archive_accuracy(
        [*x.flatten(1), *y.flatten(1)], ANOMALIES.repeat(2, 1), margin=3
    ),
    "augmentation_gain": lambda x, y: metrics.augmentation_gain(
        x, LABELS, y, LABELS, y, LABELS, fit=FIT, repeats=1, generator=seeded()
    ),
    "autocorrelation": of_both(metrics.autocorrelation),
    "autocorrelation_distance": metrics.autocorrelation_distance,
    "cka": rows(metrics.cka),
    "codebook_correlation": of_both(lambda x: metrics.codebook_correlation(x.flatten(1))),
    "cross_correlation_distance": metrics.cross_correlation_distance,
    "dense_probe_iou": tokens(metrics.dense_probe_iou),
    "dense_structure": of_both(
        lambda x: torch.stack(
            metrics.dense_structure(x.mT, group_clusters=4, group_size=CASES, normalize=False)
        )
    ),
    "diffusion_ts_protocol": lambda x, y: metrics.diffusion_ts_protocol(
        x, y, fit_encoder=means_and_ends, steps=(2, 2), repeats=2, generator=seeded()
    ),
    "discriminative_score": lambda x, y: metrics.discriminative_score(
        x, y, steps=3, repeats=2, generator=seeded()
    ),
    "dtw_distance": metrics.dtw_distance,
    "euclidean_distance": metrics.euclidean_distance,
    "event_average_precision": lambda x, y: metrics.event_average_precision(
        list(x[:, :, :5].mT.sort(2).values), list(y[:, :2, :4].mT.sort(2).values), least_iou=0.1
    ),
    "event_probe_precision": tokens(metrics.event_probe_precision),
    "exact_repeats": metrics.exact_repeats,
    "few_label_accuracy": lambda x, y: probe(
        metrics.few_label_accuracy, share=0.5, repeats=1, generator=seeded()
    )(x, y),
    "fine_tune_accuracy": lambda x, y: metrics.fine_tune_accuracy(
        linear(), x, LABELS, y, LABELS, steps=2, repeats=1, generator=seeded()
    ),
    "fit_fcn_classifier": lambda x, y: FIT(x, LABELS, generator=seeded())(y).detach(),
    "frechet_distance": rows(metrics.frechet_distance),
    "gaussian_kernel": rows(metrics.gaussian_kernel, bandwidth=3.0),
    "inception_score": of_both(lambda x: metrics.inception_score(x.flatten(1)[:, :7])),
    "kernel_distance": rows(metrics.kernel_distance),
    "kernel_distance, gaussian": rows(
        metrics.kernel_distance, kernel=partial(metrics.gaussian_kernel, bandwidth=3.0)
    ),
    "knn_accuracy": probe(metrics.knn_accuracy, neighbors=5),
    "knn_accuracy, cosine": probe(metrics.knn_accuracy, neighbors=5, temperature=0.5),
    "kurtosis_distance": metrics.kurtosis_distance,
    "linear_probe_accuracy": probe(metrics.linear_probe_accuracy),
    "lidar": of_both(metrics.lidar),
    "marginal_distance": metrics.marginal_distance,
    "memorization_ratio": lambda x, y: metrics.memorization_ratio(x[:SPLIT], x[SPLIT:], y),
    "memorization_ratio, DTW": lambda x, y: metrics.memorization_ratio(
        x[:SPLIT], x[SPLIT:], y, distance=partial(metrics.dtw_distance, band=2)
    ),
    "nc_vqvae_protocol": lambda x, y: metrics.nc_vqvae_protocol(
        x, LABELS, x, y, steps=2, generator=seeded()
    ),
    "nearest_neighbor_distance": lambda x, y: metrics.nearest_neighbor_distance(x, y).distance,
    "normalized_std": of_both(lambda x: metrics.normalized_std(x.flatten(1))),
    "polynomial_kernel": rows(metrics.polynomial_kernel),
    "power_spectrum": of_both(metrics.power_spectrum),
    "precision_recall": rows(metrics.precision_recall),
    "predictive_score": lambda x, y: metrics.predictive_score(
        x, y, steps=3, repeats=1, generator=seeded()
    ),
    "rank_me": of_both(lambda x: metrics.rank_me(x.flatten(1))),
    "reconstruction_error": metrics.reconstruction_error,
    "roughness_score": lambda x, y: metrics.roughness_score(x, y, repeats=2, generator=seeded()),
    "skewness_distance": metrics.skewness_distance,
    "spectral_distance": metrics.spectral_distance,
    "svm_probe_accuracy": probe(metrics.svm_probe_accuracy),
    "timevqvae_2023_protocol": lambda x, y: metrics.timevqvae_2023_protocol(
        x, LABELS, x, y, steps=2, splits=2, generator=seeded()
    ),
    "timevqvae_2024_protocol": lambda x, y: metrics.timevqvae_2024_protocol(
        x, y, generator=seeded()
    ),
    "train_on_synthetic_score": lambda x, y: metrics.train_on_synthetic_score(
        x, LABELS, y, LABELS, fit=FIT, repeats=1, generator=seeded()
    ),
    "uniformity": of_both(lambda x: metrics.uniformity(x.flatten(1))),
}
OF_CODES = {
    "codebook_perplexity", "codebook_usage", "mean_iou", "token_divergence", "token_entropy",
    "token_histogram", "token_mutual_information", "token_reuse", "point_precision_recall",
    "range_precision_recall",
}  # fmt: skip
"""Whole numbers: nothing of theirs is infinite, constant or moved."""
TOOLS = {"encode", "module_digest", "RocketEncoder"}
"""ROCKET: see `test_rocket_encoder`; here it serves the protocol of 2024 and `evaluate`."""


def test_every_metric_is_here() -> None:
    named = {name.split(",")[0] for name in METRICS}
    public = {
        name for name in metrics.__all__
        if inspect.isfunction(getattr(metrics, name)) or name in ("FCNEncoder", "RocketEncoder")
    }  # fmt: skip
    assert named | OF_CODES | TOOLS == public


def numbers(result: object) -> Tensor:
    """All numbers of a result, flat."""
    parts = result if isinstance(result, tuple) else (result,)
    return torch.cat([torch.as_tensor(part).double().flatten() for part in parts])


def two_sets(seed: int = 0) -> tuple[Tensor, Tensor]:
    """Walks on a grid of 1/16, so that 1e8 can be added and taken away without a rounding error."""
    draw = torch.randn(2, CASES, CHANNELS, LENGTH, generator=seeded(seed), dtype=torch.float64)
    x = (16 * draw.cumsum(3)).round() / 16 + LABELS[:, None, None]
    return x[0], 1.25 * x[1]


# One number that is not finite is no score.


@pytest.mark.parametrize("value", [torch.inf, -torch.inf])
@pytest.mark.parametrize("broken", [0, 1])
@pytest.mark.parametrize("name", sorted(METRICS))
def test_one_infinity_is_no_score(name: str, broken: int, value: float) -> None:
    """NaN, infinite, or an error; wherever the infinity stands."""
    if name == "inception_score" and value < 0:
        pytest.skip("a logit of -inf is a class of probability 0")
    for case, channel, time in ((0, 0, 0), (CASES - 1, 1, 2)):
        sets = [part.float() for part in two_sets()]
        sets[broken][case, channel, time] = value
        if name == "inception_score":
            sets[broken][case, 0, time] = value  # among the logits
        try:
            result = numbers(METRICS[name](*sets))
        except ValueError:
            continue
        assert not result.isfinite().all()


# Neither the origin nor the order decides.

ABOUT_THE_ORIGIN = {
    "alignment", "codebook_correlation", "dense_structure", "kernel_distance",
    "knn_accuracy, cosine",
    "normalized_std", "polynomial_kernel", "rank_me", "uniformity",
}  # fmt: skip
"""Cosines, and products, of features as they are: their formulas have an origin."""
OWN_UNITS = {"fine_tune_accuracy", "timevqvae_2024_protocol"}
"""Networks, or kernels, that see series in their own units and in float32."""
EVENTS = {"event_average_precision"}
"""The last column of an event is its score."""
SHARES = {
    "archive_accuracy", "augmentation_gain", "discriminative_score", "exact_repeats",
    "few_label_accuracy", "roughness_score", "svm_probe_accuracy", "train_on_synthetic_score",
}  # fmt: skip
"""Shares of so few cases that different sets may have the same."""


@pytest.mark.parametrize("name", sorted(METRICS.keys() - ABOUT_THE_ORIGIN - OWN_UNITS))
@pytest.mark.parametrize("offset", [-64.0, 1e8])
def test_a_shift_of_both_sets_changes_nothing(name: str, offset: float) -> None:
    x, y = two_sets()
    expected = numbers(METRICS[name](x, y))
    moved = numbers(METRICS[name](x + offset, y + offset))
    torch.testing.assert_close(moved, expected, rtol=1e-5, atol=1e-6)
    if name not in EVENTS | SHARES:
        other = numbers(METRICS[name](x + offset, x.flip(2) * 2 + offset))
        assert not torch.allclose(other, moved)  # and different sets stay different


def test_an_offset_does_not_make_different_sets_alike() -> None:
    """In float32 nothing is left of either set beside 1e8."""
    x = two_sets()[0]
    apart = metrics.discriminative_score(
        x + 1e8, x + 9 + 1e8, steps=200, repeats=1, generator=seeded()
    )
    assert apart.item() == 0.5
    y = x + 9 * LABELS[:, None, None] + 1e8
    fcn = metrics.FCNEncoder.fit(y, LABELS, steps=40, width=8, generator=seeded())
    assert (fcn.logits(y).argmax(1) == LABELS).all()


ORDERED = {
    "FCNEncoder", "augmentation_gain", "diffusion_ts_protocol", "discriminative_score",
    "few_label_accuracy", "fine_tune_accuracy", "fit_fcn_classifier", "nc_vqvae_protocol",
    "predictive_score", "roughness_score", "timevqvae_2023_protocol", "timevqvae_2024_protocol",
    "train_on_synthetic_score",
}  # fmt: skip
"""A generator draws cases by their places: another order is another draw. `evaluate` orders."""
PAIRED = {"alignment", "cka", "reconstruction_error"}
"""Case by case: both sets are put in the same order."""
EACH = {"dtw_distance", "euclidean_distance", "gaussian_kernel", "nearest_neighbor_distance",
        "polynomial_kernel"}  # fmt: skip
"""One number for each case, or each pair: the same numbers in another order."""


def permuted(name: str, x: Tensor, y: Tensor, seed: int) -> tuple[Tensor, Tensor]:
    """Both sets in another order that leaves the labels of each place as they are."""
    generator = seeded(seed)
    orders = []
    for _ in range(2):
        order = torch.arange(CASES)
        for label in (0, 1):
            members = LABELS.eq(label).nonzero()[:, 0]
            order[members] = members[torch.randperm(len(members), generator=generator)]
        orders.append(order)
    if name.startswith("memorization_ratio"):  # two sets in one: each in its own order
        orders[0] = torch.cat(_halves(generator))
    return x[orders[0]], y[orders[0] if name in PAIRED else orders[1]]


def _halves(generator: torch.Generator) -> list[Tensor]:
    parts = torch.arange(CASES).split(SPLIT)
    return [part[torch.randperm(SPLIT, generator=generator)] for part in parts]


def tied(seed: int) -> tuple[Tensor, Tensor]:
    """Series of few different values, many of them several times, with an origin far away."""
    draw = torch.randint(3, (2, 7, CHANNELS, LENGTH), generator=seeded(seed)).double()
    index = torch.randint(7, (2, CASES), generator=seeded(seed + 1))
    index[1, :5] = index[0, 0]
    both = torch.cat([draw[0], draw[1, :2]])
    if seed:  # two clusters far apart, of numbers that round
        both = 0.1 * both + 1e5 / 3 * (torch.arange(9) % 2)[:, None, None]
    return both[index[0]], both[(index[1] + 2)]


@pytest.mark.parametrize("name", sorted(METRICS.keys() - ORDERED - EVENTS))
@pytest.mark.parametrize("offset", [0.0, 1e8])
def test_the_order_of_the_cases_changes_nothing(name: str, offset: float) -> None:
    for seed in range(3):
        for x, y in (two_sets(seed), tied(seed)):
            x, y = x + offset, y + offset
            expected = numbers(METRICS[name](x, y))
            result = numbers(METRICS[name](*permuted(name, x, y, seed)))
            if name in EACH:
                expected, result = expected.sort().values, result.sort().values
            scale = 1 + offset**6 if name in ABOUT_THE_ORIGIN else 1
            if name == "frechet_distance":  # a difference of variances
                scale += 1e-4 * float(x.flatten(1).var(0).sum())
            torch.testing.assert_close(
                result, expected, rtol=1e-6, atol=1e-9 * scale, equal_nan=True
            )


# What is constant in training keeps its own units.


@pytest.mark.parametrize("level", [0.1, 0.0, -1e6 / 3])
@pytest.mark.parametrize("name", sorted(METRICS.keys() - {"polynomial_kernel"}))
def test_noise_on_a_channel_that_training_holds_constant_stays_moderate(
    name: str, level: float
) -> None:
    """1e-3 of noise moves no score by orders of magnitude; in float32, where 0.1 rounds."""
    x, y = (part.float() for part in two_sets())
    x[:, 1], y[:, 1] = level, level
    noisy = y.clone()
    noisy[:, 1] += 1e-3 * torch.randn(CASES, LENGTH, generator=seeded(5))
    try:
        result = numbers(METRICS[name](x, noisy))
    except ValueError as error:
        assert name in EVENTS, error  # noqa: PT017
        return
    if name == "autocorrelation":  # says which channel is undefined
        result = result[~result.isnan()]
    assert result.isfinite().all()
    without = numbers(METRICS[name](x[:, [0, 2, 0]], y[:, [0, 2, 0]]))
    largest = 100 * (1 + without[without.isfinite()].abs().max())
    if name in ABOUT_THE_ORIGIN | OWN_UNITS:
        largest *= 1 + (1e6 if level < 0 else 1) ** 6
    assert result.abs().max() < largest
