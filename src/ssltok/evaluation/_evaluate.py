"""Evaluate generated series, from any model: a report in which every figure has its reference."""

import platform
from collections.abc import Callable, Hashable, Iterable, Sequence
from dataclasses import replace
from functools import partial

import torch
from numpy.typing import ArrayLike
from torch import Tensor

import ssltok
from ssltok._shared.extras import need
from ssltok.data import SeriesSet, label_index, read_series
from ssltok.evaluation._measures import fidelity_measures, memory_measures, series_measures
from ssltok.evaluation._measures_tokens import token_measures
from ssltok.evaluation._measures_trained import trained_measures
from ssltok.evaluation._report import Report
from ssltok.evaluation._rows import Measure, last_of_each_name, run_measure
from ssltok.evaluation._sample import sample_sets
from ssltok.evaluation._sets import LEAST, Sets, arrange, spread_classes
from ssltok.evaluation._tokens import Tokens, check_tokens
from ssltok.metrics import RocketEncoder, module_digest
from ssltok.training import keyed_generator

__all__ = ["evaluate", "standard_measures"]

KERNELS = 250
Measures = Callable[[Sets], Sequence[Measure]]
Series = ArrayLike | Tensor | Sequence[ArrayLike]
Labels = Sequence[Hashable] | Tensor | None

standard_measures: tuple[Measures, ...] = (
    fidelity_measures, series_measures, memory_measures, trained_measures, token_measures,
)  # fmt: skip
"""What `evaluate` measures if it is not asked for anything else."""


def evaluate(
    real_train: Series,
    real_test: Series,
    generated: Series,
    *,
    train_labels: Labels = None,
    test_labels: Labels = None,
    generated_labels: Labels = None,
    encoder: Callable[[Tensor], Tensor] | None = None,
    tokens: Tokens | None = None,
    measures: Sequence[Measures] = standard_measures,
    steps: int = 0,
    seed: int = 0,
    most: int | None = None,
    progress: bool = False,
) -> Report:
    """Compare generated with real series and put real series in their place beside them.

    Generated series are scored against the test set. The reference of a row is the same score of
    training series, as many as there are generated ones: what a perfect generator would reach
    with that many. (If there are more generated than training series, as many are drawn as there
    are training series, for most measures change with their number; where there are labels, the
    classes keep their proportions.) What is undefined for these
    data is skipped, with the reason in its row. Measures that need whole series leave out those
    with missing values and those shorter than the longest, and say how many. Where less than half
    of a set would be left, they fill instead, and say so: straight lines over gaps (generated
    series get those of training series, drawn in turn), the last value held beyond ends.

    Nothing is changed: not the modules that are passed, nor torch's random state. The order of
    the series within a set changes nothing either.

    Args:
        real_train: The series the generator learned from: `(cases, channels, length)`,
            `(cases, length)`, or a list of series of unequal lengths; NaN marks a missing value.
        real_test: Real series it has not seen.
        generated: Generated series.
        train_labels: Labels of `real_train`, anything hashable; None, NaN or NA for a series
            without one. What needs labels leaves such series out, in all sets.
        test_labels: Labels of `real_test`, known from `train_labels`.
        generated_labels: Labels of `generated`, known from `train_labels`.
        encoder: Features, `(batch, channels, length)` to `(batch, ...)`, of series in their own
            units, such as an `FCNEncoder` or a `TokenizerEncoder`; a `RocketEncoder` of 250
            kernels by default. A `RocketEncoder` sees series standardised with the training set.
        tokens: Codes of the three sets, if a tokenizer is at hand, such as those of
            `SSLTokenizer.encode`.
        measures: What is measured: functions from `Sets` to a list of `Measure`. Add your own, or
            a judge: `(*standard_measures, RidgeJudge())`. Where a later one has the rows of an
            earlier one, it takes their place.
        steps: Budget of each trained score (FCN and recurrent networks); 0 leaves them out, 500
            is a fair start.
        seed: Decides everything random.
        most: Series of a set that are measured, at most; of larger ones a random sample of so
            many, which the notes of the rows say. It is drawn by place, so the order of the
            series within such a set decides which. Memory-mapped arrays are read no further.
        progress: Show a bar.

    Returns:
        The report; `report.save(folder)` writes it.

    Raises:
        ValueError: If series, labels or tokens cannot be used, channels differ, generated series
            have a length that no real ones have, a set has fewer than 4 series, or measures share
            some rows and not all.
        TypeError: If series are no numbers.

    Example:
        >>> import torch
        >>> from ssltok.evaluation import evaluate
        >>> series = torch.randn(36, 1, 16, generator=torch.Generator().manual_seed(0))
        >>> report = evaluate(series[:12], series[12:24], series[:12])  # copies of the training set
        >>> report["exact repeats"].value
        1.0
        >>> report["cross-correlation distance"].skipped
        'one channel'
    """
    who = "evaluate"
    if steps < 0:
        raise ValueError(f"{who}: steps must be >= 0; got {steps}")
    sampled = ""
    if most is not None:
        sets, all_labels, tokens, sampled = sample_sets(
            who, (real_train, real_test, generated),
            (train_labels, test_labels, generated_labels), tokens, most=most, seed=seed,
        )  # fmt: skip
        real_train, real_test, generated = sets
        train_labels, test_labels, generated_labels = all_labels
    series = _read(who, real_train, real_test, generated)
    labels, classes = _labels(who, series, train_labels, test_labels, generated_labels)
    codes: dict[str, Tensor] = {}
    codebook: Tensor | None = None
    if tokens is not None:
        codes, codebook = check_tokens(who, tokens, [len(x) for x in series.values()])
    for name in series:
        beside = [known[name] for known in (labels, codes) if name in known]
        order = arrange(
            series[name], *beside, generator=keyed_generator(seed, f"{who} order of {name}")
        )
        if name in labels:
            order = order[spread_classes(labels[name][order])]
        for known in (series, labels, codes):
            if name in known:
                known[name] = known[name][order]
    channels, length = series["train"].shape[1:]
    if encoder is None:
        encoder = RocketEncoder(channels, length, kernels=KERNELS, seed=seed)
    encoder_name = "ROCKET" if isinstance(encoder, RocketEncoder) else type(encoder).__name__
    arranged = Sets(
        series=series, labels=labels, codes=codes, classes=tuple(map(str, classes)),
        codebook_size=0 if tokens is None else tokens.codebook_size, codebook=codebook,
        encoder=encoder, encoder_name=encoder_name, steps=steps, seed=seed,
    )  # fmt: skip
    about = {
        "protocol": f"ssltok {ssltok.__version__}",
        "training series": len(series["train"]),
        "test series": len(series["test"]),
        "generated series": len(series["generated"]),
        "channels": channels,
        "length": length,
        "seed": seed,
        "steps of trained scores": steps,
        "encoder": encoder_name,
        "encoder sha256": module_digest(encoder)[:16]
        if isinstance(encoder, torch.nn.Module)
        else "unknown",
        "torch": torch.__version__,
        "python": platform.python_version(),
    }
    listed: Iterable[Measure] = last_of_each_name(who, [m for f in measures for m in f(arranged)])
    if progress:
        listed = need(who, "tqdm").tqdm(listed, desc=who, unit="measure")
    rows = [row for measure in listed for row in run_measure(measure)]
    groups = list(dict.fromkeys(row.group for row in rows))
    if sampled:
        about["sample"] = sampled
        rows = [replace(row, note="; ".join(filter(None, (row.note, sampled)))) for row in rows]
    ordered = tuple(sorted(rows, key=lambda row: groups.index(row.group)))
    return Report(rows=ordered, about=about, draw=partial(_draw, arranged))


def _draw(sets: Sets) -> dict[str, tuple[str, bytes]]:
    need("Report.draw", "matplotlib.figure")
    from ssltok.evaluation._report_figures import draw_evaluation

    return draw_evaluation(sets)


def _read(who: str, *given: Series) -> dict[str, Tensor]:
    """Return the three sets with NaN where nothing is known."""
    first = read_series(given[0], layout="channels_first", who=f"{who}: real_train")
    channels = first.values.shape[1]
    names = ("real_train", "real_test", "generated")
    read = [first] + [
        read_series(x, channels=channels, offset=first.offset, who=f"{who}: {name}")
        for name, x in zip(names[1:], given[1:], strict=True)
    ]
    for name, series in zip(names, read, strict=True):
        if len(series.values) < LEAST:
            raise ValueError(
                f"{who}: {name} must hold at least {LEAST} series; got {len(series.values)}"
            )
    lengths = [series.values.shape[2] for series in read]
    ragged = any(bool((s.lengths != s.lengths[0]).any()) for s in read)
    if len(set(lengths)) > 1 and not ragged and lengths[2] not in lengths[:2]:
        raise ValueError(f"{who}: all three sets must have the same length; got {lengths}")
    short = ("train", "test", "generated")
    return {k: _with_gaps(x, max(lengths)) for k, x in zip(short, read, strict=True)}


def _with_gaps(series: SeriesSet, length: int) -> Tensor:
    values = series.in_units()
    return torch.nn.functional.pad(values, (0, length - values.shape[2]), value=torch.nan)


def _labels(
    who: str, series: dict[str, Tensor], train: Labels, test: Labels, generated: Labels
) -> tuple[dict[str, Tensor], list[Hashable]]:
    given = {"test": ("test_labels", test), "generated": ("generated_labels", generated)}
    if train is None:
        for name, labels in given.values():
            if labels is not None:
                raise ValueError(f"{who}: {name} need train_labels beside them; got None")
        return {}, []
    index: dict[str, Tensor] = {}
    index["train"], classes = label_index(train, len(series["train"]), who=f"{who}: train_labels")
    for key, (name, labels) in given.items():
        if labels is not None:
            index[key], _ = label_index(
                labels, len(series[key]), classes=classes, who=f"{who}: {name}"
            )
    # A set without any label has none.
    return {key: x for key, x in index.items() if bool((x >= 0).any())}, classes
