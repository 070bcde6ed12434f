"""How a measure of an evaluation becomes rows of its report."""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

from torch import Tensor

from ssltok.evaluation._report import ReportRow

__all__ = ["Measure", "Outcome", "run_measure"]


class Outcome(NamedTuple):
    """Figures of one computation: a value for each name, the cases scored, a word to add."""

    value: Tensor
    spread: Tensor
    reference: Tensor
    reference_spread: Tensor
    cases: int
    note: str = ""


@dataclass(frozen=True, kw_only=True)
class Measure:
    """One computation and the rows it fills: (name, better, meaning) each."""

    group: str
    rows: tuple[tuple[str, str, str], ...]
    obstacle: str
    compute: Callable[[], Outcome]
    note: str = ""


def run_measure(measure: Measure) -> list[ReportRow]:
    """Compute the rows of one measure; what it refuses or leaves undefined becomes the reason."""
    reason, outcome = measure.obstacle, None
    if not reason:
        try:
            outcome = measure.compute()
        except ValueError as error:
            reason = str(error)
    rows = []
    for k, (name, better, meaning) in enumerate(measure.rows):
        value = math.nan if outcome is None else float(outcome.value[k])
        if outcome is None or not math.isfinite(value):
            undefined = "undefined for these series (a constant channel or no distance)"
            why = reason or (undefined if math.isnan(value) else "infinite for these series")
            row = ReportRow(
                group=measure.group, name=name, better=better, meaning=meaning, skipped=why
            )
        else:
            reference = float(outcome.reference[k])
            unbounded = "the reference is infinite" if math.isinf(reference) else ""
            row = ReportRow(
                group=measure.group,
                name=name,
                better=better,
                meaning=meaning,
                value=value,
                spread=_finite(float(outcome.spread[k])),
                reference=_finite(reference),
                reference_spread=_finite(float(outcome.reference_spread[k])),
                cases=outcome.cases,
                note="; ".join(filter(None, (outcome.note, measure.note, unbounded))),
            )
        rows.append(row)
    return rows


def _finite(value: float) -> float:
    return value if math.isfinite(value) else math.nan
