"""Paired comparisons of two arms over the same cells, intervals, and Holm's correction."""

import math
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np

__all__ = ["Comparison", "Interval", "compare", "holm", "mean_interval", "over_seeds"]

Gaps = np.ndarray[tuple[int, ...], np.dtype[np.float64]]
Key = tuple[str, int]  # data set and seed


class Interval(NamedTuple):
    """A mean and its confidence interval; NaN bounds where one value has no spread to show."""

    mean: float
    low: float
    high: float
    n: int


class Comparison(NamedTuple):
    """An arm less its baseline over the cells that both have.

    `difference` is over cells; `t` and `wilcoxon` are two-sided p-values of the paired tests over
    cells, `datasets` that of Wilcoxon's test over the means of data sets (cells of one data set
    are not independent, so it is the cautious one). NaN where a test is undefined.
    """

    difference: Interval
    t: float
    wilcoxon: float
    datasets: float
    wins: int
    losses: int


def mean_interval(values: Sequence[float], *, level: float = 0.95) -> Interval:
    r"""Student's interval of a mean: $\bar x \pm t_{n-1} s / \sqrt n$.

    Example:
        >>> interval = mean_interval([1.0, 3.0])
        >>> interval.mean, round(interval.high, 3)  # t with 1 degree of freedom is 12.706
        (2.0, 14.706)
    """
    from scipy import stats

    n = len(values)
    if not n:
        return Interval(math.nan, math.nan, math.nan, 0)
    mean = float(np.mean(values))
    if n < 2:
        return Interval(mean, math.nan, math.nan, n)
    half = float(stats.t.ppf((1 + level) / 2, n - 1) * np.std(values, ddof=1) / math.sqrt(n))
    return Interval(mean, mean - half, mean + half, n)


def over_seeds(values: Mapping[Key, float]) -> Interval:
    """The mean over data sets, and its interval over seeds: each seed gives one mean.

    Seeds that lack a data set which another seed has are left out.
    """
    datasets = {dataset for dataset, _ in values}
    seeds = sorted({seed for _, seed in values})
    whole = [s for s in seeds if all((d, s) in values for d in datasets)]
    return mean_interval([float(np.mean([values[d, s] for d in datasets])) for s in whole])


def compare(arm: Mapping[Key, float], baseline: Mapping[Key, float]) -> Comparison:
    """Compare two arms over the cells (data set, seed) that both have."""
    keys = sorted(set(arm) & set(baseline))
    gaps = np.array([arm[key] - baseline[key] for key in keys])
    datasets = sorted({dataset for dataset, _ in keys})
    means = [float(np.mean([g for g, k in zip(gaps, keys, strict=True) if k[0] == d]))
             for d in datasets]  # fmt: skip
    return Comparison(
        mean_interval(gaps.tolist()),
        _paired_t(gaps),
        _signed_rank(gaps),
        _signed_rank(np.array(means)),
        int((gaps > 0).sum()),
        int((gaps < 0).sum()),
    )


def holm(p_values: Sequence[float]) -> list[float]:
    """Holm's step-down correction: adjusted p-values in the order given; NaN stays and counts not.

    Example:
        >>> holm([0.01, 0.04, 0.03])
        [0.03, 0.06, 0.06]
    """
    order = sorted((p, i) for i, p in enumerate(p_values) if not math.isnan(p))
    adjusted, largest = [math.nan] * len(p_values), 0.0
    for rank, (p, index) in enumerate(order):
        largest = max(largest, min(1.0, (len(order) - rank) * p))
        adjusted[index] = largest
    return adjusted


def _paired_t(gaps: Gaps) -> float:
    from scipy import stats

    if len(gaps) < 2:
        return math.nan
    if np.ptp(gaps) <= 1e-12 * max(1.0, float(np.abs(gaps).max())):  # no spread, no test
        return 1.0 if abs(gaps[0]) < 1e-12 else math.nan
    return float(stats.ttest_1samp(gaps, 0.0).pvalue)


def _signed_rank(gaps: Gaps) -> float:
    """Wilcoxon's test; ties at zero are shared out (Pratt), and no gap at all is no difference."""
    from scipy import stats

    if len(gaps) < 2:
        return math.nan
    if not gaps.any():
        return 1.0
    exact = len(gaps) <= 25 and len(np.unique(np.abs(gaps))) == len(gaps) and gaps.all()
    method = "exact" if exact else "approx"
    return float(stats.wilcoxon(gaps, zero_method="pratt", method=method).pvalue)
