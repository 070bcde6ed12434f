"""Evaluate generated series, from any model: a report in which every figure has its reference."""

import importlib
import platform
from collections.abc import Callable, Hashable, Iterable, Sequence

import torch
from numpy.typing import ArrayLike
from torch import Tensor

import ssltok
from ssltok.metrics import RocketEncoder, module_digest
from ssltok.pipelines._data import SeriesSet, label_index, read_series
from ssltok.pipelines._evaluation_sets import Measure, Sets, Tokens, run_measure
from ssltok.pipelines._measures import measures_without_training
from ssltok.pipelines._measures_trained import measures_of_tokens, measures_with_training
from ssltok.pipelines._randomness import keyed_generator
from ssltok.pipelines._report import Report

__all__ = ["evaluate"]

KERNELS = 250
Series = ArrayLike | Tensor | Sequence[ArrayLike]
Labels = Sequence[Hashable] | Tensor | None


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
    steps: int = 0,
    seed: int = 0,
    progress: bool = False,
) -> Report:
    """Compare generated with real series and put real series in their place beside them.

    Generated series are scored against the test set. The reference of a row is the same score of
    training series, as many as there are generated ones: what a perfect generator would reach
    with that many. (If there are more generated than training series, as many are drawn as there
    are training series, for most measures change with their number.) What is undefined for these
    data is skipped, with the reason in its row.

    Nothing is changed: not the modules that are passed, nor torch's random state.

    Args:
        real_train: The series the generator learned from: `(cases, channels, length)`,
            `(cases, length)`, or a list of series of unequal lengths; NaN marks a missing value.
        real_test: Real series it has not seen.
        generated: Generated series.
        train_labels: Labels of `real_train`, anything hashable.
        test_labels: Labels of `real_test`, known from `train_labels`.
        generated_labels: Labels of `generated`, known from `train_labels`.
        encoder: Features, `(batch, channels, length)` to `(batch, ...)`, of series in their own
            units, such as an `FCNEncoder` or a `TokenizerEncoder`; a `RocketEncoder` of 250
            kernels by default. A `RocketEncoder` sees series standardised with the training set.
        tokens: Codes of the three sets, if a tokenizer is at hand.
        steps: Budget of each trained score (FCN and recurrent networks); 0 leaves them out, 500
            is a fair start.
        seed: Decides everything random.
        progress: Show a bar.

    Returns:
        The report; `report.save(folder)` writes it.

    Raises:
        ValueError: If series or labels cannot be used, channels or lengths differ, or a set has
            fewer than 4 series.
        TypeError: If series are no numbers.

    Example:
        >>> import torch
        >>> from ssltok.pipelines import evaluate
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
    series, gaps = _read(who, real_train, real_test, generated)
    train, test, made = series
    labels, classes = _labels(who, series, train_labels, test_labels, generated_labels)
    codes: dict[str, Tensor] = {}
    if tokens is not None:
        _check_tokens(who, tokens, series)
        codes = {"train": tokens.train, "test": tokens.test, "made": tokens.generated}
    cases = min(len(train), len(made))
    values = {"train": train, "test": test, "made": made}
    for name, source in (("own", "train"), ("made", "made")):
        whole = len(values[source])
        order = torch.randperm(whole, generator=keyed_generator(seed, f"{who} {name}"))
        picked = order[:cases].sort().values
        for known in (values, labels, codes):
            if source in known:
                known[name] = known[source][picked]
    if encoder is None and not gaps:
        encoder = RocketEncoder(train.shape[1], train.shape[2], kernels=KERNELS, seed=seed)
    default = encoder is None or isinstance(encoder, RocketEncoder)
    name = "ROCKET" if default else type(encoder).__name__
    sets = Sets(
        train=train, test=test, made=values["made"], own=values["own"], labels=labels, codes=codes,
        classes=tuple(map(str, classes)), tokens=tokens, gaps=gaps, encoder=encoder,
        encoder_name=name, steps=steps, seed=seed,
    )  # fmt: skip
    about = {
        "protocol": f"ssltok {ssltok.__version__}",
        "training series": len(train),
        "test series": len(test),
        "generated series": len(series[2]),
        "channels": train.shape[1],
        "length": train.shape[2],
        "seed": seed,
        "steps of trained scores": steps,
        "encoder": "none" if encoder is None else name,
        "encoder sha256": module_digest(encoder)[:16]
        if isinstance(encoder, torch.nn.Module)
        else "unknown",
        "torch": torch.__version__,
        "python": platform.python_version(),
    }
    measures: Iterable[Measure] = [
        *measures_without_training(sets),
        *measures_with_training(sets),
        *measures_of_tokens(sets),
    ]
    if progress:
        measures = importlib.import_module("tqdm").tqdm(measures, desc="evaluate", unit="measure")
    found = [row for measure in measures for row in run_measure(measure)]
    groups = list(dict.fromkeys(row.group for row in found))
    rows = tuple(sorted(found, key=lambda row: groups.index(row.group)))

    def draw() -> dict[str, tuple[str, bytes]]:
        from ssltok.pipelines._report_figures import draw_evaluation

        return draw_evaluation(sets)

    return Report(rows=rows, about=about, draw=draw)


def _read(who: str, *given: Series) -> tuple[list[Tensor], str]:
    """Return the three sets with NaN where nothing is known, and what keeps encoders out."""
    first = read_series(given[0], who=f"{who}: real_train")
    channels = first.values.shape[1]
    names = ("real_train", "real_test", "generated")
    read = [first] + [
        read_series(x, channels=channels, who=f"{who}: {name}")
        for name, x in zip(names[1:], given[1:], strict=True)
    ]
    for name, series in zip(names, read, strict=True):
        if len(series.values) < 4:
            raise ValueError(f"{who}: {name} must hold at least 4 series; got {len(series.values)}")
    lengths = [series.values.shape[2] for series in read]
    ragged = any(bool((s.lengths != s.lengths[0]).any()) for s in read)
    if len(set(lengths)) > 1 and not ragged:
        raise ValueError(f"{who}: all three sets must have the same length; got {lengths}")
    longest = max(lengths)
    sets = [_with_gaps(series, longest) for series in read]
    broken = sum(int(x.isnan().flatten(1).any(1).sum()) for x in sets)
    total = sum(map(len, sets))
    gaps = f"needs whole series of one length, and {broken} of {total} are not" if broken else ""
    return sets, gaps


def _with_gaps(series: SeriesSet, length: int) -> Tensor:
    values = torch.where(series.valid, series.values, torch.nan)
    return torch.nn.functional.pad(values, (0, length - values.shape[2]), value=torch.nan)


def _labels(
    who: str, series: list[Tensor], train: Labels, test: Labels, made: Labels
) -> tuple[dict[str, Tensor], list[Hashable]]:
    if train is None:
        for name, labels in (("test_labels", test), ("generated_labels", made)):
            if labels is not None:
                raise ValueError(f"{who}: {name} need train_labels beside them; got None")
        return {}, []
    found: dict[str, Tensor] = {}
    found["train"], classes = label_index(train, len(series[0]), who=f"{who}: train_labels")
    for name, labels, x in (("test", test, series[1]), ("made", made, series[2])):
        if labels is not None:
            shown = "generated_labels" if name == "made" else "test_labels"
            found[name], _ = label_index(labels, len(x), classes=classes, who=f"{who}: {shown}")
    return found, classes


def _check_tokens(who: str, tokens: Tokens, series: list[Tensor]) -> None:
    sets = (tokens.train, tokens.test, tokens.generated)
    for name, codes, x in zip(Tokens._fields, sets, series, strict=False):
        if codes.ndim != 2 or codes.dtype != torch.int64 or len(codes) != len(x):
            raise ValueError(
                f"{who}: tokens.{name} must be int64 of shape ({len(x)}, tokens); "
                f"got {codes.dtype} of shape {tuple(codes.shape)}"
            )
