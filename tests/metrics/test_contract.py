"""What is asked of every measure: inputs stay, results are float64, no random number is drawn."""

import inspect
from collections.abc import Callable
from functools import partial
from typing import Any

import pytest
import torch
from torch import Tensor

from ssltok import metrics
from tests._shared.options import check_options, rebuilt

GENERATOR = torch.Generator().manual_seed(0)
X, Y = (torch.randn(12, 2, 16, generator=GENERATOR) for _ in range(2))
F, G = X.flatten(1), Y.flatten(1)
CODES, MORE = (torch.randint(5, (12, 6), generator=GENERATOR) for _ in range(2))
LABELS = torch.arange(12) % 3

CALLS: dict[str, Callable[[], object]] = {
    "alignment": lambda: metrics.alignment(F, G),
    "archive_accuracy": lambda: metrics.archive_accuracy(
        list(F), torch.tensor([[3, 9]]).expand(12, 2), margin=5
    ),
    "autocorrelation": lambda: metrics.autocorrelation(X),
    "autocorrelation_distance": lambda: metrics.autocorrelation_distance(X, Y),
    "cka": lambda: metrics.cka(F, G),
    "codebook_correlation": lambda: metrics.codebook_correlation(F),
    "codebook_perplexity": lambda: metrics.codebook_perplexity(CODES, codebook_size=5),
    "codebook_usage": lambda: metrics.codebook_usage(CODES, codebook_size=5),
    "cross_correlation_distance": lambda: metrics.cross_correlation_distance(X, Y),
    "dense_probe_iou": lambda: metrics.dense_probe_iou(
        X.mT, torch.arange(16).expand(12, 16) % 3, Y.mT, torch.arange(16).expand(12, 16) % 3
    ),
    "dense_structure": lambda: metrics.dense_structure(X.mT),
    "dtw_distance": lambda: metrics.dtw_distance(X, Y),
    "euclidean_distance": lambda: metrics.euclidean_distance(X, Y),
    "event_average_precision": lambda: metrics.event_average_precision(
        [torch.tensor([[0.0, 2.0, 0.5]])], [torch.tensor([[0.0, 3.0]])]
    ),
    "event_probe_precision": lambda: metrics.event_probe_precision(
        X.mT, torch.arange(16).expand(12, 16) // 4 % 2, Y.mT, torch.arange(16).expand(12, 16) % 2
    ),
    "exact_repeats": lambda: metrics.exact_repeats(X, Y),
    "frechet_distance": lambda: metrics.frechet_distance(F, G),
    "gaussian_kernel": lambda: metrics.gaussian_kernel(F.double(), G.double(), bandwidth=2.0),
    "inception_score": lambda: metrics.inception_score(F),
    "kernel_distance": lambda: metrics.kernel_distance(F, G),
    "knn_accuracy": lambda: metrics.knn_accuracy(F, LABELS, G, LABELS),
    "kurtosis_distance": lambda: metrics.kurtosis_distance(X, Y),
    "lidar": lambda: metrics.lidar(X),
    "linear_probe_accuracy": lambda: metrics.linear_probe_accuracy(F, LABELS, G, LABELS),
    "marginal_distance": lambda: metrics.marginal_distance(X, Y),
    "mean_iou": lambda: metrics.mean_iou(CODES, MORE, classes=5),
    "memorization_ratio": lambda: metrics.memorization_ratio(X, Y, X + 1),
    "nearest_neighbor_distance": lambda: metrics.nearest_neighbor_distance(X, Y).distance,
    "normalized_std": lambda: metrics.normalized_std(F),
    "point_precision_recall": lambda: metrics.point_precision_recall(CODES > 2, MORE > 2),
    "polynomial_kernel": lambda: metrics.polynomial_kernel(F.double(), G.double()),
    "power_spectrum": lambda: metrics.power_spectrum(X),
    "precision_recall": lambda: metrics.precision_recall(F, G),
    "range_precision_recall": lambda: metrics.range_precision_recall(CODES > 2, MORE > 2),
    "rank_me": lambda: metrics.rank_me(F),
    "reconstruction_error": lambda: metrics.reconstruction_error(X, Y),
    "skewness_distance": lambda: metrics.skewness_distance(X, Y),
    "spectral_distance": lambda: metrics.spectral_distance(X, Y),
    "svm_probe_accuracy": lambda: metrics.svm_probe_accuracy(F, LABELS, G, LABELS),
    "token_divergence": lambda: metrics.token_divergence(CODES, MORE, codebook_size=5),
    "token_entropy": lambda: metrics.token_entropy(CODES, codebook_size=5),
    "token_histogram": lambda: metrics.token_histogram(CODES, codebook_size=5),
    "token_reuse": lambda: metrics.token_reuse(CODES, MORE),
    "uniformity": lambda: metrics.uniformity(F),
}
FIT = partial(metrics.fit_fcn_classifier, steps=2, width=4)
ENCODER = torch.nn.Sequential(torch.nn.BatchNorm1d(2), torch.nn.Flatten(), torch.nn.Linear(32, 4))


def fitted(series: Tensor, *, generator: torch.Generator | None) -> Callable[[Tensor], Tensor]:
    """Stands for an encoder that was fitted on the series: it was fitted before."""
    return ENCODER


RANDOM: dict[str, Callable[[torch.Generator], object]] = {
    "augmentation_gain": lambda g: metrics.augmentation_gain(
        X, LABELS, Y, LABELS, X, LABELS, fit=FIT, repeats=2, generator=g
    ),
    "diffusion_ts_protocol": lambda g: metrics.diffusion_ts_protocol(
        X, Y, fit_encoder=fitted, steps=(2, 2), repeats=1, generator=g
    ),
    "discriminative_score": lambda g: metrics.discriminative_score(
        X, Y, steps=2, repeats=2, generator=g
    ),
    "few_label_accuracy": lambda g: metrics.few_label_accuracy(
        F, LABELS, G, LABELS, share=0.5, repeats=2, generator=g
    ),
    "fine_tune_accuracy": lambda g: metrics.fine_tune_accuracy(
        ENCODER, X, LABELS, Y, LABELS, steps=2, repeats=2, generator=g
    ),
    "fit_fcn_classifier": lambda g: (
        metrics.fit_fcn_classifier(X, LABELS, steps=2, width=4, generator=g)(Y).detach().double()
    ),
    "nc_vqvae_protocol": lambda g: metrics.nc_vqvae_protocol(
        X, LABELS, Y, X + 1, steps=2, generator=g
    ),
    "predictive_score": lambda g: metrics.predictive_score(X, Y, steps=2, repeats=2, generator=g),
    "roughness_score": lambda g: metrics.roughness_score(X, Y, repeats=2, generator=g),
    "timevqvae_2023_protocol": lambda g: metrics.timevqvae_2023_protocol(
        X, LABELS, Y, X + 1, steps=2, generator=g
    ),
    "timevqvae_2024_protocol": lambda g: metrics.timevqvae_2024_protocol(X, Y, generator=g),
    "token_mutual_information": lambda g: metrics.token_mutual_information(
        CODES, MORE, first_size=5, second_size=5, generator=g
    ),
    "train_on_synthetic_score": lambda g: metrics.train_on_synthetic_score(
        X, LABELS, Y, LABELS, fit=FIT, repeats=2, generator=g
    ),
}


TOOLS = {"encode", "module_digest"}


def test_every_measure_is_here() -> None:
    functions = {n for n in metrics.__all__ if inspect.isfunction(getattr(metrics, n))}
    assert functions == set(CALLS) | set(RANDOM) | TOOLS


def check_equal(one: tuple[Any, ...], other: tuple[Any, ...]) -> None:
    """Ask for plain, finite float64 results, bit for bit the same in both calls."""
    for first, second in zip(one, other, strict=True):
        assert isinstance(first, Tensor)
        assert first.dtype == torch.float64
        assert first.isfinite().all()
        assert not first.requires_grad
        assert torch.equal(first, second)


@pytest.mark.parametrize("name", sorted(CALLS))
def test_float64_repeatable_and_without_side_effects(name: str) -> None:
    inputs = [t.clone() for t in (X, Y, CODES, MORE, LABELS)]
    state = torch.get_rng_state()
    results = []
    for _ in range(2):
        result = CALLS[name]()
        results.append(result if isinstance(result, tuple) else (result,))
    check_equal(*results)
    assert torch.equal(torch.get_rng_state(), state)
    assert all(torch.equal(a, b) for a, b in zip(inputs, (X, Y, CODES, MORE, LABELS), strict=True))


@pytest.mark.parametrize("name", sorted(RANDOM))
def test_randomness_comes_from_the_generator(name: str) -> None:
    """And training in order to score moves no input, no encoder and no global state."""
    ENCODER.train()
    inputs = [t.clone() for t in (X, Y, F, CODES, MORE, LABELS)]
    weights = {k: v.clone() for k, v in ENCODER.state_dict().items()}
    state = torch.get_rng_state()
    results = []
    for _ in range(2):
        result = RANDOM[name](torch.Generator().manual_seed(1))
        results.append(result if isinstance(result, tuple) else (result,))
    check_equal(*results)
    assert torch.equal(torch.get_rng_state(), state)
    now = (X, Y, F, CODES, MORE, LABELS)
    assert all(torch.equal(a, b) for a, b in zip(inputs, now, strict=True))
    assert all(torch.equal(v, weights[k]) for k, v in ENCODER.state_dict().items())
    assert all(part.training for part in ENCODER.modules())
    assert all(p.grad is None for p in ENCODER.parameters())
    parameter = inspect.signature(getattr(metrics, name)).parameters["generator"]
    assert parameter.kind is inspect.Parameter.KEYWORD_ONLY
    assert parameter.default is None


MODULES: dict[str, dict[str, Any]] = {
    "FCNEncoder": {"channels": 2, "classes": 3, "width": 5},
    "RocketEncoder": {"channels": 2, "length": 16, "kernels": 7, "seed": 3},
}


def test_every_module_is_here() -> None:
    classes = {n for n in metrics.__all__ if inspect.isclass(getattr(metrics, n))}
    assert {n for n in classes if issubclass(getattr(metrics, n), torch.nn.Module)} == set(MODULES)


@pytest.mark.parametrize("name", MODULES)
def test_options_can_be_read_back_and_build_an_equal(name: str) -> None:
    build: Callable[..., torch.nn.Module] = getattr(metrics, name)
    check_options(build, MODULES[name])
    module = build(**MODULES[name])
    assert torch.equal(rebuilt(module)(X), module(X))
