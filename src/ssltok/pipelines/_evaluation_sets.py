"""What an evaluation measures on: the three sets, their features, and how a score is spread."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple

import torch
from torch import Tensor

from ssltok.metrics import FCNEncoder, RocketEncoder, encode
from ssltok.pipelines._randomness import keyed_generator
from ssltok.pipelines._report import ReportRow

__all__ = [
    "WIDTH",
    "Between",
    "Measure",
    "Outcome",
    "Sets",
    "Tokens",
    "run_measure",
    "score_sets",
]

HALVES = 5
WIDTH = 64  # of trained networks: half of the paper's, a quarter of its time
Between = Callable[[Tensor, Tensor], Tensor]


class Tokens(NamedTuple):
    """Codes of the three sets, `(cases, tokens)` int64, -1 where padded, and the codebook's size.

    Cases are those of the series, in their order. `codebook`, `(codebook_size, dim)`, adds the
    likeness of its entries to the report.
    """

    train: Tensor
    test: Tensor
    generated: Tensor
    codebook_size: int
    codebook: Tensor | None = None


class Outcome(NamedTuple):
    """Figures of one computation: a value for each name, and the cases scored."""

    value: Tensor
    spread: Tensor
    reference: Tensor
    reference_spread: Tensor
    cases: int


@dataclass(frozen=True, kw_only=True)
class Measure:
    """One computation and the rows it fills: (name, better, meaning) each."""

    group: str
    rows: tuple[tuple[str, str, str], ...]
    obstacle: str
    compute: Callable[[], Outcome]


@dataclass(frozen=True, kw_only=True)
class Sets:
    """What is evaluated. `own` is as many real training series as `made` are generated.

    `labels` and `codes` hold those of `train`, `test`, `made` and `own`, as far as they are known.
    """

    train: Tensor
    test: Tensor
    made: Tensor
    own: Tensor
    labels: dict[str, Tensor]
    codes: dict[str, Tensor]
    classes: tuple[str, ...]
    tokens: Tokens | None
    gaps: str
    encoder: Callable[[Tensor], Tensor] | None
    encoder_name: str
    steps: int
    seed: int

    @cached_property
    def scale(self) -> tuple[Tensor, Tensor]:
        """Mean and standard deviation of each training channel."""
        x = self.train.double()
        mean = x.nanmean((0, 2), keepdim=True)
        return mean, (x - mean).square().nanmean((0, 2), keepdim=True).sqrt().clamp_min(1e-8)

    @cached_property
    def features(self) -> dict[str, Tensor]:
        """Features of test, made and own, standardised with those of the training set.

        ROCKET has no scale of its own and sees standardised series; any other encoder sees them
        in their own units.
        """
        if self.encoder is None:
            raise ValueError("evaluate: features need an encoder; got None")
        mean, std = self.scale if isinstance(self.encoder, RocketEncoder) else (0.0, 1.0)
        found = {
            name: encode(self.encoder, ((x - mean) / std).float()).double().flatten(1)
            for name, x in (("test", self.test), ("made", self.made), ("own", self.own))
        }
        for name, rows in found.items():
            if not bool(rows.isfinite().all()):
                broken = int((~rows.isfinite()).any(1).sum())
                raise ValueError(
                    f"evaluate: the encoder must return finite features; "
                    f"got {broken} of {len(rows)} series ({name}) without"
                )
        centre, width = found["own"].mean(0), found["own"].std(0).clamp_min(1e-8)
        return {name: (x - centre) / width for name, x in found.items()}

    @cached_property
    def classifier(self) -> FCNEncoder:
        """An FCN fitted on the training series and their labels."""
        return FCNEncoder.fit(
            self.train,
            self.labels["train"],
            steps=self.steps,
            width=WIDTH,
            generator=self.generator("classifier"),
        )

    def generator(self, purpose: str, *numbers: int) -> torch.Generator:
        """Randomness for one purpose, whatever else is measured."""
        return keyed_generator(self.seed, f"evaluate {purpose}", *numbers)

    def some(self, x: Tensor, most: int) -> Tensor:
        """At most `most` rows, drawn without replacement."""
        if len(x) <= most:
            return x
        return x[torch.randperm(len(x), generator=self.generator("subset", most))[:most]]


def score_sets(sets: Sets, between: Between, target: Tensor, made: Tensor, own: Tensor) -> Outcome:
    """Score generated and real series against one target; spread over random halves.

    Halves drawn without replacement scatter as the whole scatters around the law (delete-half
    jackknife), for measures that settle as 1/sqrt(n).
    """
    figures = []
    for x in (made, own):
        figures.append(between(target, x))
        order = [
            torch.randperm(len(x), generator=sets.generator("half", k))[: (len(x) + 1) // 2]
            for k in range(HALVES)
        ]
        halves = torch.stack([between(target, x[index]) for index in order])
        figures.append(halves.std(0))
    value, spread, reference, reference_spread = (f.double().flatten() for f in figures)
    return Outcome(value, spread, reference, reference_spread, len(made))


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
        if outcome is None or bool(outcome.value[k].isnan()):
            why = reason or "undefined for these series (a constant channel or no distance)"
            row = ReportRow(
                group=measure.group, name=name, better=better, meaning=meaning, skipped=why
            )
        else:
            row = ReportRow(
                group=measure.group,
                name=name,
                better=better,
                meaning=meaning,
                value=float(outcome.value[k]),
                spread=float(outcome.spread[k]),
                reference=float(outcome.reference[k]),
                reference_spread=float(outcome.reference_spread[k]),
                cases=outcome.cases,
            )
        rows.append(row)
    return rows
