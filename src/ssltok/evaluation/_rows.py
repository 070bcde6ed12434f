"""How a measure of an evaluation becomes rows of its report."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from torch import Tensor

from ssltok._shared.reasons import reason_of
from ssltok.evaluation._report import ReportRow

__all__ = ["Measure", "Outcome", "last_of_each_name", "run_measure"]


class Outcome(NamedTuple):
    """Figures of one computation; a tensor has one for each row of its `Measure`, NaN for none.

    Attributes:
        value: Of the generated series.
        spread: Of `value`.
        reference: Of real training series in their place.
        reference_spread: Of `reference`.
        cases: Series that were scored.
        note: A word to add on how to read the values, or empty.
    """

    value: Tensor
    spread: Tensor
    reference: Tensor
    reference_spread: Tensor
    cases: int
    note: str = ""


@dataclass(frozen=True, kw_only=True)
class Measure:
    """One computation and the rows it fills.

    Attributes:
        group: The question its rows belong to.
        rows: Name, `lower`, `higher` or `as real`, and meaning of each row.
        obstacle: Why it cannot be computed for these sets, or empty.
        compute: Computes the figures; an error becomes the reason why rows are skipped.
        note: How to read the values, or empty.
    """

    group: str
    rows: tuple[tuple[str, str, str], ...]
    obstacle: str
    compute: Callable[[], Outcome]
    note: str = ""


def last_of_each_name(who: str, measures: Sequence[Measure]) -> list[Measure]:
    """Leave out every measure all of whose rows a later one fills; nothing may be half filled."""
    taken: set[str] = set()
    remaining = []
    for measure in reversed(measures):
        names = {name for name, _, _ in measure.rows}
        again = sorted(names & taken)
        if again and set(again) != names:
            raise ValueError(
                f"{who}: a measure must take the place of another as a whole; got only {again} "
                f"of {sorted(names)}"
            )
        if not again:
            remaining.append(measure)
        taken |= names
    return remaining[::-1]


def run_measure(measure: Measure) -> list[ReportRow]:
    """Compute the rows of one measure; what it refuses or leaves undefined becomes the reason."""
    reason, outcome = measure.obstacle, None
    if not reason:
        try:
            outcome = measure.compute()
        except Exception as error:  # the other rows are still worth having
            reason = reason_of(error)
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
