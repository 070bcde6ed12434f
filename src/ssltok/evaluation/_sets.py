"""What an evaluation measures on: the three sets, their features, and how a score is spread."""

import dataclasses
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ssltok._shared.scaling import mean_and_scale
from ssltok.evaluation._rows import Outcome
from ssltok.metrics import RocketEncoder, encode
from ssltok.signal import line_fill
from ssltok.training import keyed_generator

__all__ = ["LEAST", "Between", "Sets", "arrange", "score_sets", "share_error", "spread_classes"]

HALVES = 5
LEAST = 4  # series of a set
FAR = 1024.0  # spreads from 0, beyond which an encoder gets float64
SETS = {"train": "training", "test": "test", "generated": "generated"}
Between = Callable[[Tensor, Tensor], Tensor]
Known = dict[str, Tensor]


@dataclass(frozen=True, kw_only=True)
class Sets:
    """What is evaluated: series, labels and codes of `train`, `test` and `generated`.

    Each set is in a random order that does not depend on the order it came in, with the classes
    spread evenly where it has labels, so its first rows are a random, balanced subset. `fake` and
    `real` are as many generated and training series, the lesser of both numbers; `labels` and
    `codes` are looked up by `of`. NaN marks what is missing.

    Attributes:
        series: `(cases, channels, length)` of each set: float32, or float64 where a channel lies
            so far from 0 that float32 would lose its digits.
        labels: int64 `(cases,)`, places in `classes` or -1 for none, of the sets that have them;
            see `labelled`.
        codes: int64 `(cases, tokens)` of each set, -1 where padded; empty without tokens.
        classes: The labels as texts.
        codebook_size: Codes of the tokens; 0 without tokens.
        codebook: Their vectors, if given.
        encoder: From series to features.
        encoder_name: What rows call it.
        steps: Budget of each trained score; 0 leaves them out.
        seed: Decides everything random.
        gaps: Why nothing can be measured on these series, or empty; see `labelled`.
        left_out: How many series `whole` left out or filled, in words, or empty.

    Example:
        >>> import torch
        >>> from ssltok.evaluation import Measure, Outcome, Sets, evaluate
        >>> def level(sets: Sets) -> list[Measure]:  # a measure that somebody else wrote
        ...     def compute() -> Outcome:
        ...         fake, real = sets.fake.mean()[None], sets.real.mean()[None]
        ...         return Outcome(fake, 0 * fake, real, 0 * real, len(sets.fake))
        ...     rows = (("mean level", "as real", "Mean of all values."),)
        ...     return [Measure(group="series", rows=rows, obstacle="", compute=compute)]
        >>> series = torch.arange(12.0)[:, None, None].expand(12, 1, 8)
        >>> evaluate(series[:4], series[4:8], series[8:], measures=(level,))["mean level"].value
        9.5
    """

    series: Known
    labels: Known
    codes: Known
    classes: tuple[str, ...]
    codebook_size: int
    codebook: Tensor | None
    encoder: Callable[[Tensor], Tensor] | None
    encoder_name: str
    steps: int
    seed: int
    gaps: str = ""
    left_out: str = ""

    def __getstate__(self) -> dict[str, Any]:
        """Without the encoder: figures need what it said."""
        return vars(self) | {"encoder": None}

    def of(self, known: Known, name: str) -> Tensor:
        """Rows of `train`, `test`, `fake` or `real`."""
        if name in ("fake", "real"):
            cases = min(len(self.series["train"]), len(self.series["generated"]))
            return known["train" if name == "real" else "generated"][:cases]
        return known[name]

    @property
    def train(self) -> Tensor:
        """The series the generator learned from."""
        return self.of(self.series, "train")

    @property
    def test(self) -> Tensor:
        """Real series it has not seen."""
        return self.of(self.series, "test")

    @property
    def fake(self) -> Tensor:
        """Generated series, no more than training series."""
        return self.of(self.series, "fake")

    @property
    def real(self) -> Tensor:
        """Training series, as many as `fake`."""
        return self.of(self.series, "real")

    @cached_property
    def whole(self) -> "Sets":
        """The same with whole series of one length alone.

        Series with gaps or shorter than the longest are left out. Where less than half of a set
        would be left, all sets are `completed` instead; `left_out` says which.
        """
        selected = {name: ~x.isnan().flatten(1).any(1) for name, x in self.series.items()}
        broken = sum(int((~rows).sum()) for rows in selected.values())
        if not broken:
            return self
        if all(int(rows.sum()) >= max(LEAST, -(-len(rows) // 2)) for rows in selected.values()):
            return self._only(selected, "", f"{broken} with gaps left out")
        cases = sum(map(len, self.series.values()))
        note = f"gaps of {broken} of {cases} series filled by straight lines, ends held"
        return dataclasses.replace(self, series=self._completed(), left_out=note)

    def _completed(self) -> Known:
        """Every series without gaps: straight lines over them, and its last value to the end.

        Generated series first get the gaps of training series, drawn in turn, so that lines are
        as frequent in them; ends stay their own. A channel without any value has training's mean.
        """
        known = {name: ~x.isnan() for name, x in self.series.items()}
        later = known["train"].flip(2).cumsum(2).flip(2) > 0
        gaps = ~known["train"] & later & known["train"].any(2, keepdim=True)
        cases = len(known["generated"])
        order = torch.randperm(len(gaps), generator=self.generator("gaps"))
        order = order.repeat(-(-cases // len(order)))[:cases]
        known["generated"] = known["generated"] & ~gaps[order]
        centre = self.series["train"].double().nanmean((0, 2)).nan_to_num()[:, None]
        filled = {}
        for name, x in self.series.items():
            lines = line_fill((x.double() - centre), known[name]) + centre
            filled[name] = torch.where(known[name], x, lines.to(x.dtype))
        return filled

    @cached_property
    def labelled(self) -> "Sets":
        """The same without series that have no label, in sets where others have one.

        `gaps` says why nothing can be measured on them where too few have one.
        """
        selected = {name: known >= 0 for name, known in self.labels.items()}
        without = sum(int((~rows).sum()) for rows in selected.values())
        if not without:
            return self
        few = [name for name, rows in selected.items() if int(rows.sum()) < LEAST]
        gaps = f"fewer than {LEAST} of the {SETS[few[0]]} series have a label" if few else ""
        left_out = "; ".join(filter(None, (self.left_out, f"{without} without a label left out")))
        return self._only(selected, self.gaps or gaps, left_out)

    def _only(self, selected: Known, gaps: str, left_out: str) -> "Sets":
        """Some rows of the sets in `selected`, and all of the others."""
        series, labels, codes = (
            {name: x[selected[name]] if name in selected else x for name, x in known.items()}
            for known in (self.series, self.labels, self.codes)
        )
        return dataclasses.replace(
            self, series=series, labels=labels, codes=codes, gaps=gaps, left_out=left_out
        )

    @cached_property
    def scale(self) -> tuple[Tensor, Tensor]:
        """Mean and standard deviation of each training channel; 1 where it is constant."""
        return mean_and_scale(self.train, (0, 2))

    def scaled(self, name: str) -> Tensor:
        """Series divided by the training standard deviation of each channel, float64."""
        return self.of(self.series, name).double() / self.scale[1]

    def encode(self, series: Tensor) -> Tensor:
        """Features of series in their own units, float64 `(cases, dim)`.

        ROCKET has no scale of its own and sees series that are standardised with the training
        set; any other encoder sees them as they are.

        Raises:
            ValueError: If there is no encoder, or it does not give a row of features for each
                series.
        """
        if self.encoder is None:
            raise ValueError("evaluate: features need an encoder; got None")
        if isinstance(self.encoder, RocketEncoder):
            mean, std = self.scale
            series = ((series - mean) / std).float()
        return encode_as_they_are(self.encoder, series)

    @cached_property
    def features(self) -> Known:
        """Features of test, fake and real, standardised with those of real."""
        parts = (("test", self.test), ("fake", self.fake), ("real", self.real))
        features = {name: self.encode(x) for name, x in parts}
        for name, rows in features.items():
            if not bool(rows.isfinite().all()):
                broken = int((~rows.isfinite()).any(1).sum())
                raise ValueError(
                    f"evaluate: the encoder must return finite features; "
                    f"got {broken} of {len(rows)} series ({name}) without"
                )
        centre, width = mean_and_scale(
            features["real"], (0,), correction=1, computed_in=torch.float32
        )
        return {name: (x - centre) / width for name, x in features.items()}

    def generator(self, purpose: str, *numbers: int) -> torch.Generator:
        """Randomness for one purpose, whatever else is measured."""
        return keyed_generator(self.seed, f"evaluate {purpose}", *numbers)


def encode_as_they_are(encoder: Callable[[Tensor], Tensor], series: Tensor) -> Tensor:
    """Features of whole series in their own units, float64 `(cases, dim)`.

    The encoder gets float32, but float64 where a channel varies by less than a 1024th of its level.

    Raises:
        ValueError: If it gets float64 and cannot take it.
    """
    high, low = series.amax((0, 2)), series.amin((0, 2))
    level = torch.maximum(high.abs(), low.abs())
    if not bool(((high > low) & (level > FAR * (high - low))).any()):
        return encode(encoder, series.float()).double().flatten(1)
    try:
        return encode(encoder, series).double().flatten(1)
    except RuntimeError as error:
        raise ValueError(
            f"evaluate: the encoder must take float64 series where they lie so far from 0 that "
            f"float32 would lose their digits; got {str(error).splitlines()[0]}"
        ) from error


def arrange(series: Tensor, *others: Tensor, generator: torch.Generator) -> Tensor:
    """Return the rows in a random order that depends on the rows alone, not on their order.

    They are sorted by their bytes, then shuffled. `others` (labels, codes) decide between equal
    series.
    """
    parts = [series.float() + 0.0, *others]  # -0.0 is 0.0
    if series.dtype == torch.float64:  # what float32 cannot tell apart
        parts.append(series + 0.0)
    bytes_ = [x.reshape(len(x), -1).contiguous().numpy().view(np.uint8) for x in parts]
    rows = np.ascontiguousarray(np.concatenate(bytes_, axis=1))
    keys = rows.view(np.dtype((np.void, rows.shape[1])))[:, 0]
    order = torch.from_numpy(np.argsort(keys, kind="stable"))
    return order[torch.randperm(len(order), generator=generator)]


def spread_classes(labels: Tensor) -> Tensor:
    """Return an order in which any first part has the classes in the proportions of the whole.

    Within a class the order stays as it is.
    """
    place = torch.empty(len(labels), dtype=torch.float64)
    for label in labels.unique():
        rows = labels == label
        count = int(rows.sum())
        place[rows] = (torch.arange(count, dtype=torch.float64) + 0.5) / count
    return place.argsort(stable=True)


def share_error(share: Tensor, cases: Tensor | int) -> Tensor:
    """Standard error of a share of so many cases, of which 0 and 1 have one too.

    Of two more of each (Agresti and Coull, 1998): none of 30 may be 1 of 20 in truth, and halves
    that hold none either cannot see it.
    """
    p = (share * cases + 2) / (cases + 4)
    return (p * (1 - p) / (cases + 4)).sqrt()


def score_sets(
    sets: Sets,
    between: Between,
    target: Tensor,
    fake: Tensor,
    real: Tensor,
    *,
    shares: tuple[Sequence[float], Sequence[float]] | None = None,
) -> Outcome:
    """Score generated and real series against one target; spread over random halves.

    Halves drawn without replacement scatter as the whole scatters around the law (delete-half
    jackknife), for measures that settle as 1/sqrt(n). Where a half is too small for the measure,
    the spread is NaN.

    Args:
        sets: Whose seed draws the halves.
        between: The measure, `(target, scored)` to one number or more.
        target: What is scored against.
        fake: Generated series, or what was made of them.
        real: Training series in their place.
        shares: If a number is a share of cases, of how many, for `fake` and for `real`, NaN where
            it is none: its spread is no less than the standard error of a share of so many.

    Example:
        >>> import torch
        >>> from ssltok.evaluation import Measure, Sets, evaluate, score_sets
        >>> def gap(sets: Sets) -> list[Measure]:
        ...     def between(target, scored):
        ...         return (target.mean() - scored.mean()).abs()
        ...     def compute():
        ...         return score_sets(sets, between, sets.test, sets.fake, sets.real)
        ...     rows = (("gap of means", "lower", "How far the means lie apart."),)
        ...     return [Measure(group="series", rows=rows, obstacle="", compute=compute)]
        >>> series = torch.ones(12, 1, 8)
        >>> report = evaluate(series[:4], 2 * series[4:8], 5 * series[8:], measures=(gap,))
        >>> row = report["gap of means"]
        >>> row.value, row.reference
        (3.0, 1.0)
    """
    figures = []
    for x in (fake, real):
        figures.append(between(target, x))
        order = [
            torch.randperm(len(x), generator=sets.generator("half", k))[: (len(x) + 1) // 2]
            for k in range(HALVES)
        ]
        try:
            halves = torch.stack([between(target, x[index]) for index in order])
            figures.append(halves.std(0))
        except ValueError:
            figures.append(torch.full_like(figures[-1], torch.nan))
    value, spread, reference, reference_spread = (f.double().flatten() for f in figures)
    if shares is not None:
        made_cases, own_cases = (torch.tensor(cases, dtype=torch.float64) for cases in shares)
        spread = _at_least(spread, share_error(value, made_cases))
        reference_spread = _at_least(reference_spread, share_error(reference, own_cases))
    return Outcome(value, spread, reference, reference_spread, len(fake))


def _at_least(spread: Tensor, error: Tensor) -> Tensor:
    """The larger of both; the spread alone where there is no error, and NaN where it is."""
    return torch.where(error.isnan(), spread, spread.maximum(error))
