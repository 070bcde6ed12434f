"""Measures without training: fidelity in features, statistics of series, memory."""

from collections.abc import Callable
from functools import partial

import torch
from torch import Tensor

from ssltok.metrics import (
    autocorrelation_distance,
    cross_correlation_distance,
    dtw_distance,
    euclidean_distance,
    exact_repeats,
    frechet_distance,
    kernel_distance,
    kurtosis_distance,
    marginal_distance,
    memorization_ratio,
    nearest_neighbor_distance,
    precision_recall,
    skewness_distance,
    spectral_distance,
)
from ssltok.pipelines._evaluation_sets import Between, Measure, Outcome, Sets, score_sets

__all__ = ["measures_without_training"]

MOST = 2000  # series scored by what takes all pairs
MOST_WARPED = (64, 256)  # generated and real series that are warped onto each other


def measures_without_training(sets: Sets) -> list[Measure]:
    """List them, with the reason where one is undefined."""
    return [*_fidelity(sets), *_series(sets), *_memory(sets)]


def _fidelity(sets: Sets) -> list[Measure]:
    name = sets.encoder_name
    many = partial(sets.some, most=MOST)
    obstacle = sets.gaps
    few = len(sets.own) < 500  # half of the features of the default encoder

    def prdc(target: Tensor, made: Tensor) -> Tensor:
        return torch.stack(precision_recall(target, made))

    def on(between: Between, thin: Callable[[Tensor], Tensor]) -> Callable[[], Outcome]:
        return lambda: score_sets(
            sets, between, *(thin(sets.features[k]) for k in ("test", "made", "own"))
        )

    caution = " Few cases: read the kernel distance." if few else ""
    return [
        Measure(
            group="fidelity",
            rows=(
                (f"Frechet distance ({name})", "lower", f"Means and spreads of features.{caution}"),
            ),
            obstacle=obstacle,
            compute=on(frechet_distance, lambda x: x),
        ),
        Measure(
            group="fidelity",
            rows=((f"kernel distance ({name})", "lower", "Laws of features; unbiased for few."),),
            obstacle=obstacle,
            compute=on(kernel_distance, many),
        ),
        Measure(
            group="fidelity",
            rows=(
                (f"precision ({name})", "higher", "Share of generated series that look real."),
                (f"recall ({name})", "higher", "Share of real series the generator reaches."),
                (f"density ({name})", "higher", "Precision that outliers cannot buy."),
                (f"coverage ({name})", "higher", "Share of real neighbourhoods that are hit."),
            ),
            obstacle=obstacle,
            compute=on(prdc, many),
        ),
    ]


def _series(sets: Sets) -> list[Measure]:
    def on(between: Between) -> Callable[[], Outcome]:
        return lambda: score_sets(sets, between, sets.test, sets.made, sets.own)

    def nearest(distance: Between, most: tuple[int, int]) -> Callable[[], Outcome]:
        def compute() -> Outcome:
            target = sets.some(sets.test, most[1])
            made, own = (
                nearest_neighbor_distance(target, sets.some(x, most[0]), distance=distance).distance
                for x in (sets.made, sets.own)
            )
            return score_sets(sets, lambda _, x: x.mean(), target, made, own)

        return compute

    band = max(1, sets.test.shape[2] // 10)
    warp = partial(dtw_distance, band=band)
    one = "" if sets.test.shape[1] > 1 else "one channel"
    rows: list[tuple[str, str, str, str, Callable[[], Outcome]]] = [
        ("nearest neighbour, Euclidean", "as real", "Distance to the nearest test series.",
         sets.gaps, nearest(euclidean_distance, (MOST, 10**9))),
        ("nearest neighbour, DTW", "as real", f"The same, warped by at most {band} points.",
         sets.gaps, nearest(warp, MOST_WARPED)),
        ("marginal distance", "lower", "Values at each time, in units of the series.",
         "", on(marginal_distance)),
        ("autocorrelation distance", "lower", "Memory over time.",
         "", on(autocorrelation_distance)),
        ("skewness distance", "lower", "Asymmetry of all values.", "", on(skewness_distance)),
        ("kurtosis distance", "lower", "Heaviness of tails.", "", on(kurtosis_distance)),
        ("cross-correlation distance", "lower", "Correlation of channels.",
         one or sets.gaps, on(cross_correlation_distance)),
        ("spectral distance", "lower", "Power at each frequency, in dB.",
         sets.gaps, on(spectral_distance)),
    ]  # fmt: skip
    return [
        Measure(group="series", rows=((n, b, m),), obstacle=o, compute=c) for n, b, m, o, c in rows
    ]


def _memory(sets: Sets) -> list[Measure]:
    nothing = torch.full((1,), torch.nan, dtype=torch.float64)

    def ratio() -> Outcome:
        made, cases = sets.some(sets.made, MOST), min(len(sets.train), len(sets.test))
        train, test = (sets.some(x, cases) for x in (sets.train, sets.test))
        near, far = (nearest_neighbor_distance(x, made).distance for x in (train, test))
        pairs = torch.stack([near, far], dim=1)
        outcome = score_sets(sets, lambda _, x: x[:, 0].sum() / x[:, 1].sum(), test, pairs, pairs)
        reference = memorization_ratio(train, test, made[:1]).reference
        return outcome._replace(reference=reference[None], reference_spread=nothing)

    def repeats() -> Outcome:
        return score_sets(sets, exact_repeats, sets.train, sets.made, sets.test)

    return [
        Measure(
            group="memory",
            rows=(
                ("memorization ratio", "as real",
                 "Distance to training series over distance to test series; 0 for copies."),
            ),
            obstacle=sets.gaps,
            compute=ratio,
        ),
        Measure(
            group="memory",
            rows=(("exact repeats", "lower", "Share that occurs in the training set."),),
            obstacle=sets.gaps,
            compute=repeats,
        ),
    ]  # fmt: skip
