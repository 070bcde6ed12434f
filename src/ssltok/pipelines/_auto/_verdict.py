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


class Check(NamedTuple):
    """When a row is not good, and what to say then; a figure that is NaN is never wrong."""

    row: str
    wrong: Callable[[float, float], bool]
    part: str
    text: str


CHECKS = (
    Check(
        "variance explained", lambda value, real: value < LEAST_EXPLAINED, "tokenizer",
        "tokens explain {value:.0%} of the variance "
        f"({LEAST_EXPLAINED:.0%} wanted): raise --explained, or train longer",
    ),
    Check(
        "entropy of codes at a place", lambda value, real: value < LEAST_ENTROPY, "tokenizer",
        "nearly all series have the same tokens ({value:.2g} nats at a place): raise --explained",
    ),
    Check(
        "Frechet distance", lambda value, real: value > MOST_FRECHET * real, "prior",
        "new series are far from real ones (Frechet distance {value:.3g}, real {real:.3g}): train "
        "longer (--minutes, or the steps of the preset)",
    ),
    Check(
        "coverage", lambda value, real: value < LEAST_COVERAGE * real, "prior",
        "new series reach {value:.0%} of the neighbourhoods of real ones, which reach {real:.0%}: "
        "variety is missing; train the prior longer (--minutes, --prior-training.steps), or raise "
        "--prior.variants",
    ),
    Check(
        "memorization ratio", lambda value, real: value < LEAST_MEMORY * real, "copies",
        "new series are nearly copies of training series (ratio {value:.2g}, real {real:.2g}): "
        "lower --prior-training.steps, or raise --prior.variants or --prior.dropout",
    ),
    Check(
        "CAS", lambda value, real: value < LEAST_TRANSFER * real, "prior",
        "new series teach a classifier little (right in {value:.0%}, from real ones in "
        "{real:.0%}): train longer, or raise --decoding.guidance",
    ),
)  # fmt: skip


WEAK_JUDGE = (
    "a classifier of real series is right in {real:.0%} and the largest class is {majority:.0%}: "
    "read no accuracy of this report"
)
"""What is said where no accuracy of the report means anything."""


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
        'tokens explain 62% of the variance (80% wanted): raise --explained, or train longer'
    """
    judge = [f for f in (_weak_judge(report, majority),) if f]
    findings = [f for f in (_finding(report, check) for check in CHECKS) if f]
    tokenizer = [f for f in findings if f.part == "tokenizer"]
    if judge:
        findings = [f for f in findings if "classifier" not in f.sentence]
    return [*judge, *(tokenizer or findings)]


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
    return Finding("judge", WEAK_JUDGE.format(real=row.reference, majority=majority))


def _finding(report: Report, check: Check) -> Finding | None:
    row = _row(report, check.row)
    if row is None or not check.wrong(row.value, row.reference):
        return None
    return Finding(check.part, check.text.format(value=row.value, real=row.reference))
