"""Measures by trained networks."""

from collections.abc import Callable
from functools import cache, partial

import torch
from torch import Tensor

from ssltok.evaluation._rows import Measure, Outcome
from ssltok.evaluation._sets import WIDTH, Sets, score_sets
from ssltok.metrics import (
    augmentation_gain,
    discriminative_score,
    encode,
    fit_fcn_classifier,
    frechet_distance,
    inception_score,
    predictive_score,
    train_on_synthetic_score,
)

__all__ = ["measures_with_training"]

REPEATS = 3
ONE = "one network; the spread is over halves of the series, not over trainings"


def measures_with_training(sets: Sets) -> list[Measure]:
    """List them, with the reason where one is undefined."""
    steps = "" if sets.steps else "trained scores are left out (steps=0)"
    learned = "" if "train" in sets.labels else "no labels of the training series"
    known = learned or ("" if "test" in sets.labels else "no labels of the test series")
    named = known or ("" if "generated" in sets.labels else "no labels of the generated series")
    fit = partial(fit_fcn_classifier, steps=max(1, sets.steps), width=WIDTH)
    nothing = torch.full((1,), torch.nan, dtype=torch.float64)

    def labels(name: str) -> Tensor:
        return sets.of(sets.labels, name)

    def fcn_frechet() -> Outcome:
        middle = len(sets.test) // 2
        target, other = sets.test[:middle], sets.test[middle:]
        made = sets.made[: len(other)]
        parts = [encode(sets.classifier, x) for x in (target, made, other[: len(made)])]
        return score_sets(sets, frechet_distance, *parts)._replace(note=ONE)

    def inception() -> Outcome:
        made = sets.made[: len(sets.test)]
        logits = [encode(sets.classifier.logits, x) for x in (made, sets.test[: len(made)])]
        outcome = score_sets(sets, lambda _, x: inception_score(x), logits[0], *logits)
        return outcome._replace(note=ONE)

    def over_seeds(scores: Tensor, reference: Tensor, cases: int) -> Outcome:
        return Outcome(
            scores.mean()[None], scores.std()[None],
            reference.mean()[None], reference.std()[None], cases,
        )  # fmt: skip

    score = partial(train_on_synthetic_score, fit=fit, repeats=REPEATS)

    @cache
    def ceiling() -> Tensor:
        own, test = (sets.own, labels("own")), (sets.test, labels("test"))
        return score(*own, *test, generator=sets.generator("useful"))

    def useful(*, mirror: bool) -> Outcome:
        made, test = (sets.made, labels("made")), (sets.test, labels("test"))
        own = (sets.own, labels("own"))
        learn, judge = (own, made) if mirror else (made, test)
        scores = score(*learn, *judge, generator=sets.generator("useful"))
        return over_seeds(scores, ceiling(), len(sets.made))

    def gain() -> Outcome:
        gains = augmentation_gain(
            sets.train, labels("train"), sets.made, labels("made"), sets.test, labels("test"),
            fit=fit, repeats=REPEATS, generator=sets.generator("gain"),
        )  # fmt: skip
        return Outcome(gains.mean()[None], gains.std()[None], nothing, nothing, len(sets.made))

    def recurrent(score: Callable[..., Tensor]) -> Outcome:
        scores = [
            score(sets.test, x, steps=sets.steps, repeats=REPEATS, generator=sets.generator("rnn"))
            for x in (sets.made, sets.own)
        ]
        return over_seeds(scores[0], scores[1], len(sets.made))

    fitted, labelled = sets.gaps or steps or learned, sets.gaps or steps or named
    rows: list[tuple[str, str, str, str, str, Callable[[], Outcome]]] = [
        ("fidelity", "Frechet distance (FCN)", "lower",
         "Features of a classifier; real: the other half of the test set.", fitted, fcn_frechet),
        ("fidelity", "inception score (FCN)", "as real",
         "Sure of each class, and all classes.", fitted, inception),
        ("fidelity", "discriminative score", "lower",
         "How far a network tells it from real: 0 to 0.5.", sets.gaps or steps,
         lambda: recurrent(discriminative_score)),
        ("usefulness", "predictive score", "lower",
         "Error of the next real point, learned from it.", sets.gaps or steps,
         lambda: recurrent(predictive_score)),
        ("usefulness", "train on synthetic, test on real (CAS)", "higher",
         "Accuracy on real series.", labelled, lambda: useful(mirror=False)),
        ("usefulness", "train on real, test on synthetic", "as real",
         "Are the labels recognised?", labelled, lambda: useful(mirror=True)),
        ("usefulness", "augmentation gain", "higher",
         "Accuracy won by adding it to the training set.", labelled, gain),
    ]  # fmt: skip
    return [
        Measure(group=g, rows=((n, b, m),), obstacle=o, compute=c, note=sets.left_out)
        for g, n, b, m, o, c in rows
    ]
