"""Measures by networks that are trained for the score itself."""

from collections.abc import Callable
from dataclasses import replace
from functools import cache, partial

import torch
from torch import Tensor

from ssltok.evaluation._judges import WIDTH, FCNJudge, labels_missing
from ssltok.evaluation._rows import Measure, Outcome
from ssltok.evaluation._sets import Sets, share_error
from ssltok.metrics import (
    augmentation_gain,
    discriminative_score,
    fit_fcn_classifier,
    predictive_score,
    train_on_synthetic_score,
)

__all__ = ["trained_measures"]

REPEATS = 3


def trained_measures(sets: Sets) -> list[Measure]:
    """List what trains networks, `steps` steps each, an `FCNJudge` among it.

    Example:
        >>> import torch
        >>> from ssltok.evaluation import evaluate, trained_measures
        >>> series = torch.randn(36, 1, 16, generator=torch.Generator().manual_seed(0))
        >>> report = evaluate(
        ...     series[:12], series[12:24], series[24:], steps=0, measures=(trained_measures,)
        ... )
        >>> [row.name for row in report.rows][:2]
        ['Frechet distance (FCN)', 'inception score (FCN)']
    """
    sets = sets.whole
    known = sets.labelled
    steps = "" if sets.steps else "trained scores are left out (steps=0)"
    fit = partial(fit_fcn_classifier, steps=max(1, sets.steps), width=WIDTH)
    nothing = torch.full((1,), torch.nan, dtype=torch.float64)

    def labels(name: str) -> Tensor:
        return known.of(known.labels, name)

    def over_seeds(scores: Tensor, reference: Tensor, cases: int) -> Outcome:
        return Outcome(
            scores.mean()[None], scores.std()[None],
            reference.mean()[None], reference.std()[None], cases,
        )  # fmt: skip

    @cache
    def learned_from(name: str) -> Tensor:
        return train_on_synthetic_score(
            known.of(known.series, name), labels(name), known.test, labels("test"), fit=fit,
            repeats=REPEATS, generator=known.generator("useful"),
        )  # fmt: skip

    def useful() -> Outcome:
        outcome = over_seeds(learned_from("fake"), learned_from("real"), len(known.fake))
        least = (share_error(x, len(known.test)) for x in (outcome.value, outcome.reference))
        return outcome._replace(
            spread=outcome.spread.fmax(next(least)),
            reference_spread=outcome.reference_spread.fmax(next(least)),
        )

    def gain() -> Outcome:
        gains = augmentation_gain(
            known.train, labels("train"), known.fake, labels("fake"), known.test, labels("test"),
            fit=fit, repeats=REPEATS, generator=known.generator("gain"),
        )  # fmt: skip
        return Outcome(gains.mean()[None], gains.std()[None], nothing, nothing, len(known.fake))

    def recurrent(score: Callable[..., Tensor]) -> Outcome:
        scores = [
            score(sets.test, x, steps=sets.steps, repeats=REPEATS, generator=sets.generator("rnn"))
            for x in (sets.fake, sets.real)
        ]
        return over_seeds(scores[0], scores[1], len(sets.fake))

    unlabelled = known.gaps or labels_missing(sets, "train", "test", "generated")
    rows: list[tuple[str, str, str, str, str, Callable[[], Outcome]]] = [
        ("fidelity", "discriminative score", "lower",
         "How far a network tells it from real: 0 to 0.5.", "",
         lambda: recurrent(discriminative_score)),
        ("usefulness", "predictive score", "lower",
         "Error of the next real point, learned from it.", "",
         lambda: recurrent(predictive_score)),
        ("usefulness", "train on synthetic, test on real (CAS)", "higher",
         "Accuracy on real series.", unlabelled, useful),
        ("usefulness", "augmentation gain", "higher",
         "Accuracy won by adding it to the training set.", unlabelled, gain),
    ]  # fmt: skip
    measures = [
        *FCNJudge(steps=max(1, sets.steps))(sets),
        *[
            Measure(
                group=g,
                rows=((n, b, m),),
                obstacle=o,
                compute=c,
                note=known.left_out if c in (useful, gain) else sets.left_out,
            )
            for g, n, b, m, o, c in rows
        ],
    ]
    return [replace(m, obstacle=sets.gaps or steps or m.obstacle) for m in measures]
