"""Evaluate an encoder: what simple classifiers read from its features, beside the series alone."""

from collections.abc import Callable, Hashable, Sequence
from functools import partial

import torch
from numpy.typing import ArrayLike
from torch import Tensor, nn

import ssltok
from ssltok._shared.scaling import mean_and_scale
from ssltok.data import label_index, read_series
from ssltok.evaluation._report import Report
from ssltok.evaluation._rows import Measure, Outcome, run_measure
from ssltok.evaluation._sets import encode_as_they_are, share_error
from ssltok.metrics import (
    few_label_accuracy,
    fine_tune_accuracy,
    fit_fcn_classifier,
    knn_accuracy,
    linear_probe_accuracy,
    module_digest,
    normalized_std,
    rank_me,
    svm_probe_accuracy,
    train_on_synthetic_score,
    uniformity,
)
from ssltok.training import keyed_generator

__all__ = ["evaluate_encoder"]

Labels = Sequence[Hashable] | Tensor
Pair = tuple[Tensor, Tensor]
INTRO = (
    "Each figure of the encoder's features stands beside the same figure of the standardised "
    "series themselves, flattened: an encoder that does not beat it has added nothing. Everything "
    "is fitted on the training split and measured on the test split. After the sign: the spread."
)
NOTHING = torch.full((1,), torch.nan, dtype=torch.float64)


def evaluate_encoder(
    encoder: Callable[[Tensor], Tensor],
    train: ArrayLike | Tensor,
    train_labels: Labels,
    test: ArrayLike | Tensor,
    test_labels: Labels,
    *,
    steps: int = 0,
    repeats: int = 5,
    seed: int = 0,
) -> Report:
    """Measure how well labels are read from frozen features, from few labels, and by fine-tuning.

    For transfer, give the series of another dataset than the encoder was trained on.

    Nothing is changed: the encoder runs in evaluation mode (fine-tuning trains a copy) and gets its
    modes back, and torch's random state is restored.

    Args:
        encoder: From series `(batch, channels, length)` in their own units to one row a case, such
            as a `TokenizerEncoder`.
        train: Training series, `(cases, channels, length)` or `(cases, length)`, without gaps.
        train_labels: A label for each, anything hashable; series without one (None, NaN, NA) are
            left out.
        test: Test series.
        test_labels: Their labels, known from `train_labels`.
        steps: Budget of fine-tuning, and of the FCN from scratch beside it; 0 leaves both out.
        repeats: Draws of the few labels.
        seed: Decides everything random.

    Returns:
        The report. The spread of an accuracy is its standard error over the test cases, or the
        standard deviation over draws and runs where there are several.

    Raises:
        ValueError: If series or labels cannot be used.

    Example:
        >>> import torch
        >>> from ssltok.evaluation import evaluate_encoder
        >>> labels = torch.arange(40) % 2
        >>> noise = torch.randn(40, 1, 16, generator=torch.Generator().manual_seed(0))
        >>> series = 9 * labels[:, None, None] + noise
        >>> report = evaluate_encoder(lambda x: x.mean(2), series, labels, series, labels)
        >>> report["linear probe"].value, report["fine-tuning"].skipped
        (1.0, 'trained scores are left out (steps=0)')
    """
    who = "evaluate_encoder"
    for name, count, least in (("steps", steps, 0), ("repeats", repeats, 2)):
        if count < least:
            raise ValueError(f"{who}: {name} must be >= {least}; got {count}")
    series, labels = _read(who, (train, train_labels), (test, test_labels))
    features = {"encoder": tuple(encode_as_they_are(encoder, x) for x in series)}
    for name, encoded in zip(("train", "test"), features["encoder"], strict=True):
        if not bool(encoded.isfinite().all()):
            broken = int((~encoded.isfinite()).any(1).sum())
            raise ValueError(
                f"{who}: the encoder must return finite features; "
                f"got {broken} of {len(encoded)} series ({name}) without"
            )
    mean, std = mean_and_scale(series[0], (0, 2), correction=1)
    features["series"] = tuple(((x.double() - mean) / std).flatten(1) for x in series)

    def frozen(probe: Callable[..., Tensor]) -> Outcome:
        numbers = []
        for a, b in features.values():
            accuracy = probe(a, labels[0], b, labels[1])
            numbers += [accuracy[None], share_error(accuracy, len(b))[None]]
        return Outcome(numbers[0], numbers[1], numbers[2], numbers[3], len(series[1]))

    def few(share: float) -> Outcome:
        numbers = []
        for a, b in features.values():
            scores = few_label_accuracy(
                a, labels[0], b, labels[1], share=share, repeats=repeats,
                generator=keyed_generator(seed, f"{who} few"),
            )  # fmt: skip
            numbers += [scores.mean()[None], scores.std()[None]]
        return Outcome(numbers[0], numbers[1], numbers[2], numbers[3], len(series[1]))

    def tuned() -> Outcome:
        if not isinstance(encoder, nn.Module):
            raise ValueError(f"{who}: only a module can be tuned; got {type(encoder).__name__}")
        generator = keyed_generator(seed, f"{who} tune")
        with torch.random.fork_rng():
            torch.manual_seed(generator.initial_seed())  # for the encoder's dropout
            scores = fine_tune_accuracy(
                encoder, series[0], labels[0], series[1], labels[1], steps=steps,
                generator=generator,
            )  # fmt: skip
        scratch = train_on_synthetic_score(
            series[0], labels[0], series[1], labels[1], generator=generator,
            fit=partial(fit_fcn_classifier, steps=steps, width=64),
        )  # fmt: skip
        return Outcome(
            scores.mean()[None], scores.std()[None],
            scratch.mean()[None], scratch.std()[None], len(series[1]),
        )  # fmt: skip

    def shape(measure: Callable[[Tensor], Tensor]) -> Outcome:
        value, reference = (measure(pair[1])[None] for pair in features.values())
        return Outcome(value, NOTHING, reference, NOTHING, len(series[1]))

    budget = "" if steps else "trained scores are left out (steps=0)"
    rows: list[tuple[str, str, str, str, Callable[[], Outcome]]] = [
        ("linear probe", "higher", "Logistic regression.", "",
         lambda: frozen(linear_probe_accuracy)),
        ("linear SVM", "higher", "One against one.", "", lambda: frozen(svm_probe_accuracy)),
        ("k-NN", "higher", "Five neighbours.", "",
         lambda: frozen(partial(knn_accuracy, neighbors=min(5, len(series[0]))))),
        ("linear probe, 1 % of labels", "higher", "At least one of each class.", "",
         lambda: few(0.01)),
        ("linear probe, 10 % of labels", "higher", "At least one of each class.", "",
         lambda: few(0.1)),
        ("fine-tuning", "higher", "Beside it, an FCN from scratch.", budget, tuned),
        ("RankMe", "higher", "Directions in use.", "", lambda: shape(rank_me)),
        ("uniformity", "lower", "Evenness on the sphere.", "", lambda: shape(uniformity)),
        ("normalized std", "higher", "0 when collapsed to a point.", "",
         lambda: shape(normalized_std)),
    ]  # fmt: skip
    measures = [
        Measure(group="representation", rows=((n, b, m),), obstacle=o, compute=c)
        for n, b, m, o, c in rows
    ]
    about = {
        "protocol": f"ssltok {ssltok.__version__}",
        "training series": len(series[0]),
        "test series": len(series[1]),
        "classes": int(labels[0].max()) + 1,
        "encoder": type(encoder).__name__,
        "encoder sha256": module_digest(encoder)[:16]
        if isinstance(encoder, nn.Module)
        else "unknown",
        "dim": features["encoder"][0].shape[1],
        "seed": seed,
        "steps of trained scores": steps,
    }
    return Report(
        rows=tuple(row for measure in measures for row in run_measure(measure)),
        about=about,
        draw=dict,
        names=("encoder", "series"),
        title="Evaluation of an encoder",
        intro=INTRO,
    )


def _read(
    who: str, train: tuple[ArrayLike | Tensor, Labels], test: tuple[ArrayLike | Tensor, Labels]
) -> tuple[Pair, Pair]:
    """Series and labels of both splits."""
    first = read_series(train[0], layout="channels_first", who=f"{who}: train")
    second = read_series(
        test[0], channels=first.values.shape[1], offset=first.offset, who=f"{who}: test"
    )
    for name, part in (("train", first), ("test", second)):
        if not bool(part.valid.all()):
            raise ValueError(f"{who}: {name} must hold whole series of one length; got gaps")
    labels, classes = [], None
    for name, part, given in (("train", first, train[1]), ("test", second, test[1])):
        index, classes = label_index(
            given, len(part.values), classes=classes, who=f"{who}: {name}_labels"
        )
        if not bool((index >= 0).any()):
            raise ValueError(f"{who}: {name}_labels must label some series; got none")
        labels.append(index)
    y, truth = labels
    rows, others = y >= 0, truth >= 0
    return (first.in_units()[rows], second.in_units()[others]), (y[rows], truth[others])
