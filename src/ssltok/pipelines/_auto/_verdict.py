"""A run judges itself: what of its report is good, what is not, and which option to change."""

import math
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

from ssltok.data import label_index
from ssltok.evaluation import Report, ReportRow

__all__ = ["Finding", "in_words", "majority_share", "verdict"]

LEAST_EXPLAINED = 0.8  # of the variance: below it, new series are as poor as their tokens
LEAST_ENTROPY = 0.1  # nats: below it, nearly all series have the same tokens
MOST_FRECHET = 3.0  # times that of real series
LEAST_TRANSFER = 0.9  # of what real training series teach a classifier
LEAST_COVERAGE = 0.7  # of that of real series
LEAST_MEMORY = 0.4  # of the real ratio of distances to training and to test series
BETTER_THAN_CHANCE = 1.1  # times the share of the largest class, or the judge says nothing


class Finding(NamedTuple):
    """One thing that is not good."""

    part: str
    """`judge`, `tokenizer`, `prior` or `copies`."""
    sentence: str
    """What is not good, with its figures, and which option to change."""


def verdict(report: Report, *, majority: float = math.nan) -> list[Finding]:
    """Compare the rows of a run with thresholds.

    A tokenizer that is at fault is named alone: what comes after it cannot be better.

    Args:
        report: Of `run`, or of `evaluate` with `tokenizer_measures`; rows that it lacks or
            skipped are not judged.
        majority: Share of the largest class among the test series; NaN where there are no labels.

    Returns:
        What is not good, the tokenizer before the prior; empty if nothing stands out.

    Example:
        >>> from ssltok.evaluation import Report, ReportRow
        >>> from ssltok.pipelines import verdict
        >>> row = ReportRow(group="tokenizer", name="variance explained", better="higher",
        ...     meaning="", value=0.62, reference=0.7, cases=9)
        >>> verdict(Report(rows=(row,), about={}, draw=dict))[0].sentence
        'tokens explain 62 % of the variance (80 % wanted): raise --explained, or --minutes'
    """
    judge = [f for f in (_weak_judge(report, majority),) if f]
    tokenizer = [f for f in (_explained(report), _same_tokens(report)) if f]
    if tokenizer:
        return [*judge, *tokenizer]
    checks: list[Finding | None] = [_far(report), _uncovered(report), _copies(report)]
    if not judge:
        checks.append(_useless(report))
    return [*judge, *(f for f in checks if f)]


def majority_share(labels: Any) -> float:
    """Share of the largest class; NaN where there are no labels."""
    if labels is None:
        return math.nan
    numbers, _ = label_index(labels, len(labels))
    counts = numbers[numbers >= 0].bincount()
    return float(counts.max() / counts.sum()) if len(counts) else math.nan


def in_words(findings: Sequence[Finding]) -> str:
    """The findings as one sentence for the report."""
    if not findings:
        return "Nothing stands out as wrong."
    return "What is not good: " + "; ".join(finding.sentence for finding in findings) + "."


def _row(report: Report, start: str) -> ReportRow | None:
    """The first row whose name begins so and that has a value."""
    rows = (r for r in report.rows if r.name.startswith(start))
    return next((r for r in rows if math.isfinite(r.value)), None)


def _weak_judge(report: Report, majority: float) -> Finding | None:
    row = _row(report, "CAS")
    if row is None or math.isnan(majority) or row.reference > BETTER_THAN_CHANCE * majority:
        return None
    return Finding(
        "judge",
        f"a classifier of real series is right in {row.reference:.0%} and the largest class is "
        f"{majority:.0%}: read no accuracy of this report",
    )


def _explained(report: Report) -> Finding | None:
    row = _row(report, "variance explained")
    if row is None or row.value >= LEAST_EXPLAINED:
        return None
    return Finding(
        "tokenizer",
        f"tokens explain {100 * row.value:.0f} % of the variance "
        f"({100 * LEAST_EXPLAINED:.0f} % wanted): raise --explained, or --minutes",
    )


def _same_tokens(report: Report) -> Finding | None:
    row = _row(report, "entropy of codes at a place")
    if row is None or row.value >= LEAST_ENTROPY:
        return None
    return Finding(
        "tokenizer",
        f"nearly all series have the same tokens ({row.value:.2g} nats at a place): "
        "raise --explained",
    )


def _against(
    row: ReportRow | None, wrong: Callable[[float, float], bool], part: str, text: str
) -> Finding | None:
    if row is None or not math.isfinite(row.reference) or not wrong(row.value, row.reference):
        return None
    return Finding(part, text.format(value=row.value, real=row.reference))


def _far(report: Report) -> Finding | None:
    return _against(
        _row(report, "Frechet distance"),
        lambda value, real: value > MOST_FRECHET * max(real, 1e-12),
        "prior",
        "new series are far from real ones (Frechet distance {value:.3g}, real {real:.3g}): "
        "raise --minutes",
    )


def _useless(report: Report) -> Finding | None:
    return _against(
        _row(report, "CAS"),
        lambda value, real: value < LEAST_TRANSFER * real,
        "prior",
        "new series teach a classifier little (right in {value:.0%}, from real ones in "
        "{real:.0%}): raise --minutes, or --decoding.guidance",
    )


def _uncovered(report: Report) -> Finding | None:
    return _against(
        _row(report, "coverage"),
        lambda value, real: value < LEAST_COVERAGE * real,
        "prior",
        "new series reach {value:.0%} of the neighbourhoods of real ones, which reach {real:.0%}: "
        "they are too much alike; raise --decoding.temperature, or --prior.variants",
    )


def _copies(report: Report) -> Finding | None:
    return _against(
        _row(report, "memorization ratio"),
        lambda value, real: value < LEAST_MEMORY * real,
        "copies",
        "new series are nearly copies of training series (ratio {value:.2g}, real {real:.2g}): "
        "lower --prior-training.steps, or raise --prior.variants or --prior.dropout",
    )
