"""Measures without training: fidelity in features, statistics of series, memory."""

import math
from collections.abc import Callable
from dataclasses import replace
from functools import partial

import torch
from torch import Tensor

from ssltok._shared.warping import warped_cases
from ssltok.evaluation._rows import Measure, Outcome
from ssltok.evaluation._sets import Between, Sets, score_sets
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

__all__ = ["fidelity_measures", "memory_measures", "series_measures"]

Row = tuple[str, str, str, str, Callable[[], Outcome]]
MOST = 2000  # series scored by what takes all pairs


def fidelity_measures(sets: Sets) -> list[Measure]:
    """List what is measured in the encoder's features: `encoder` of `evaluate`.

    Example:
        >>> import torch
        >>> from ssltok.evaluation import evaluate, fidelity_measures
        >>> series = torch.randn(36, 1, 16, generator=torch.Generator().manual_seed(0))
        >>> report = evaluate(
        ...     series[:12], series[12:24], series[24:], encoder=lambda x: x.mean(2),
        ...     measures=(fidelity_measures,)
        ... )
        >>> [row.name for row in report.rows][:2]
        ['Frechet distance (function)', 'kernel distance (function)']
    """
    return _with_note(sets, _fidelity(sets.whole))


def series_measures(sets: Sets) -> list[Measure]:
    """List statistics and neighbours of the series themselves.

    Example:
        >>> import torch
        >>> from ssltok.evaluation import evaluate, series_measures
        >>> series = torch.randn(36, 1, 16, generator=torch.Generator().manual_seed(0))
        >>> report = evaluate(
        ...     series[:12], series[12:24], series[24:], measures=(series_measures,)
        ... )
        >>> [row.name for row in report.rows][:2]
        ['nearest neighbour, Euclidean', 'nearest neighbour, DTW']
    """
    return [*_with_note(sets, _series(sets.whole)), *_values(sets)]


def memory_measures(sets: Sets) -> list[Measure]:
    """List what asks whether training series are repeated.

    Example:
        >>> import torch
        >>> from ssltok.evaluation import evaluate, memory_measures
        >>> series = torch.randn(36, 1, 16, generator=torch.Generator().manual_seed(0))
        >>> report = evaluate(
        ...     series[:12], series[12:24], series[24:], measures=(memory_measures,)
        ... )
        >>> [row.name for row in report.rows][:2]
        ['memorization ratio', 'exact repeats']
    """
    return _with_note(sets, _memory(sets.whole))


def _with_note(sets: Sets, measures: list[Measure]) -> list[Measure]:
    return [replace(measure, note=sets.whole.left_out) for measure in measures]


def _fidelity(sets: Sets) -> list[Measure]:
    name = sets.encoder_name
    obstacle = sets.gaps

    def prdc(target: Tensor, fake: Tensor) -> Tensor:
        return torch.stack(precision_recall(target, fake))

    def on(between: Between, most: int | None = None) -> Outcome:
        return score_sets(
            sets, between, *(sets.features[k][:most] for k in ("test", "fake", "real"))
        )

    def neighbourhoods() -> Outcome:
        target, fake, real = (sets.features[k][:MOST] for k in ("test", "fake", "real"))
        shares = [(len(x), len(target), math.nan, len(target)) for x in (fake, real)]
        return score_sets(sets, prdc, target, fake, real, shares=(shares[0], shares[1]))

    def frechet() -> Outcome:
        outcome, dim = on(frechet_distance), sets.features["real"].shape[1]
        if 2 * outcome.cases >= dim:
            return outcome
        few = f"{outcome.cases} cases for {dim} features: read the kernel distance"
        return outcome._replace(note=few)

    return [
        Measure(
            group="fidelity",
            rows=((f"Frechet distance ({name})", "lower", "Means and spreads of features."),),
            obstacle=obstacle,
            compute=frechet,
        ),
        Measure(
            group="fidelity",
            rows=(
                (
                    f"kernel distance ({name})",
                    "as real",
                    "Laws of features, unbiased for few; near 0 for equal laws, and far below 0 "
                    "where one series explodes.",
                ),
            ),
            obstacle=obstacle,
            compute=lambda: on(kernel_distance, MOST),
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
            compute=neighbourhoods,
        ),
    ]


def _series(sets: Sets) -> list[Measure]:
    def nearest(distance: Between, most: tuple[int | None, int | None]) -> Outcome:
        target = sets.scaled("test")[: most[1]]
        fake, real = (
            nearest_neighbor_distance(
                target, sets.scaled(name)[: most[0]], distance=distance
            ).distance
            for name in ("fake", "real")
        )
        return score_sets(sets, lambda _, x: x.mean(), target, fake, real)

    def plain(between: Between) -> Outcome:
        return score_sets(sets, between, sets.test, sets.fake, sets.real)

    channels, length = sets.test.shape[1:]
    band, most = warped_cases(channels, length)
    warp = partial(dtw_distance, band=band)
    one = "" if channels > 1 else "one channel"
    units = "each channel in units of its training standard deviation"
    return _single("series", [
        ("nearest neighbour, Euclidean", "as real",
         f"Distance to the nearest test series, {units}.",
         sets.gaps, lambda: nearest(euclidean_distance, (MOST, None))),
        ("nearest neighbour, DTW", "as real", f"The same, warped by at most {band} points.",
         sets.gaps, lambda: nearest(warp, most)),
        ("cross-correlation distance", "lower", "Correlation of channels.",
         one or sets.gaps, lambda: plain(cross_correlation_distance)),
        ("spectral distance", "lower", "Power at each frequency, in dB.",
         sets.gaps, lambda: plain(spectral_distance)),
    ])  # fmt: skip


def _values(sets: Sets) -> list[Measure]:
    """Those that missing values do not trouble."""

    def on(between: Between) -> Callable[[], Outcome]:
        return lambda: score_sets(sets, between, sets.test, sets.fake, sets.real)

    return _single("series", [
        ("marginal distance", "lower", "Values at each time, in units of the series.",
         "", on(marginal_distance)),
        ("autocorrelation distance", "lower", "Memory over time.",
         "", on(autocorrelation_distance)),
        ("skewness distance", "lower", "Asymmetry of all values.", "", on(skewness_distance)),
        ("kurtosis distance", "lower", "Heaviness of tails.", "", on(kurtosis_distance)),
    ])  # fmt: skip


def _single(group: str, rows: list[Row]) -> list[Measure]:
    return [
        Measure(group=group, rows=((n, b, m),), obstacle=o, compute=c) for n, b, m, o, c in rows
    ]


def _memory(sets: Sets) -> list[Measure]:
    nothing = torch.full((1,), torch.nan, dtype=torch.float64)

    def ratio() -> Outcome:
        train, test, fake = (sets.scaled(name) for name in ("train", "test", "fake"))
        fake = fake[:MOST]
        near, far = (nearest_neighbor_distance(x, fake).distance for x in (train, test))
        pairs = torch.stack([near, far], dim=1)
        outcome = score_sets(sets, lambda _, x: x[:, 0].sum() / x[:, 1].sum(), test, pairs, pairs)
        reference = memorization_ratio(train, test, fake[:1]).reference
        return outcome._replace(reference=reference[None], reference_spread=nothing)

    def repeats() -> Outcome:
        shares = [len(sets.fake)], [len(sets.test)]
        return score_sets(sets, exact_repeats, sets.train, sets.fake, sets.test, shares=shares)

    return _single("memory", [
        ("memorization ratio", "as real",
         "Distance to the nearest training over that to the nearest test series, each channel in "
         "units of its training standard deviation; 0 for copies, else read against the reference.",
         sets.gaps, ratio),
        ("exact repeats", "lower", "Share that occurs in the training set.", sets.gaps, repeats),
    ])  # fmt: skip
