"""Measures by trained networks, and measures of tokens."""

from collections.abc import Callable
from functools import cache, partial

import torch
from torch import Tensor

from ssltok.metrics import (
    augmentation_gain,
    codebook_correlation,
    codebook_perplexity,
    codebook_usage,
    discriminative_score,
    encode,
    fit_fcn_classifier,
    frechet_distance,
    inception_score,
    predictive_score,
    token_divergence,
    token_entropy,
    token_mutual_information,
    token_reuse,
    train_on_synthetic_score,
)
from ssltok.pipelines._evaluation_sets import WIDTH, Between, Measure, Outcome, Sets, score_sets

__all__ = ["measures_of_tokens", "measures_with_training"]

REPEATS = 3


def measures_with_training(sets: Sets) -> list[Measure]:
    """List them, with the reason where one is undefined."""
    steps = "" if sets.steps else "trained scores are left out (steps=0)"
    known = "" if {"train", "test"} <= set(sets.labels) else "no labels of the real series"
    named = "" if "made" in sets.labels else "no labels of the generated series"
    fit = partial(fit_fcn_classifier, steps=max(1, sets.steps), width=WIDTH)
    nothing = torch.full((1,), torch.nan, dtype=torch.float64)

    def halves() -> tuple[Tensor, Tensor]:
        order = torch.randperm(len(sets.test), generator=sets.generator("test halves"))
        middle = len(order) // 2
        return sets.test[order[:middle]], sets.test[order[middle:]]

    def fcn_frechet() -> Outcome:
        target, other = halves()
        made = sets.some(sets.made, len(other))
        parts = [encode(sets.classifier, x) for x in (target, made, sets.some(other, len(made)))]
        return score_sets(sets, frechet_distance, *parts)

    def inception() -> Outcome:
        made = sets.some(sets.made, len(sets.test))
        logits = [
            encode(sets.classifier.logits, x) for x in (made, sets.some(sets.test, len(made)))
        ]
        return score_sets(sets, lambda _, x: inception_score(x), logits[0], logits[0], logits[1])

    def over_seeds(scores: Tensor, reference: Tensor, cases: int) -> Outcome:
        return Outcome(
            scores.mean()[None], scores.std()[None],
            reference.mean()[None], reference.std()[None], cases,
        )  # fmt: skip

    score = partial(train_on_synthetic_score, fit=fit, repeats=REPEATS)

    @cache
    def ceiling() -> Tensor:
        own, test = (sets.own, sets.labels["own"]), (sets.test, sets.labels["test"])
        return score(*own, *test, generator=sets.generator("useful"))

    def useful(*, mirror: bool) -> Outcome:
        made, labels = (sets.made, sets.labels["made"]), sets.labels
        pair = (made, (sets.test, labels["test"]))
        if mirror:
            pair = ((sets.own, labels["own"]), made)
        scores = score(*pair[0], *pair[1], generator=sets.generator("useful"))
        return over_seeds(scores, ceiling(), len(sets.made))

    def gain() -> Outcome:
        gains = augmentation_gain(
            sets.train, sets.labels["train"], sets.made, sets.labels["made"],
            sets.test, sets.labels["test"],
            fit=fit, repeats=REPEATS, generator=sets.generator("gain"),
        )  # fmt: skip
        return Outcome(gains.mean()[None], gains.std()[None], nothing, nothing, len(sets.made))

    def recurrent(score: Callable[..., Tensor]) -> Outcome:
        scores = [
            score(sets.test, x, steps=sets.steps, repeats=REPEATS, generator=sets.generator("rnn"))
            for x in (sets.made, sets.own)
        ]
        return over_seeds(scores[0], scores[1], len(sets.made))

    labelled = sets.gaps or steps or known
    rows: list[tuple[str, str, str, str, str, Callable[[], Outcome]]] = [
        ("fidelity", "Frechet distance (FCN)", "lower",
         "Features of a classifier; real: the other half of the test set.", labelled, fcn_frechet),
        ("fidelity", "inception score (FCN)", "as real",
         "Sure of each class, and all classes.", labelled, inception),
        ("fidelity", "discriminative score", "lower",
         "How far a network tells it from real: 0 to 0.5.", sets.gaps or steps,
         lambda: recurrent(discriminative_score)),
        ("usefulness", "predictive score", "lower",
         "Error of the next real point, learned from it.", sets.gaps or steps,
         lambda: recurrent(predictive_score)),
        ("usefulness", "train on synthetic, test on real (CAS)", "higher",
         "Accuracy on real series.", labelled or named, lambda: useful(mirror=False)),
        ("usefulness", "train on real, test on synthetic", "as real",
         "Are the labels recognised?", labelled or named, lambda: useful(mirror=True)),
        ("usefulness", "augmentation gain", "higher",
         "Accuracy won by adding it to the training set.", labelled or named, gain),
    ]  # fmt: skip
    return [Measure(group=g, rows=((n, b, m),), obstacle=o, compute=c) for g, n, b, m, o, c in rows]


def measures_of_tokens(sets: Sets) -> list[Measure]:
    """List them; none if there are no tokens."""
    tokens, codes = sets.tokens, sets.codes
    if tokens is None:
        return []
    size = tokens.codebook_size
    nothing = torch.full((1,), torch.nan, dtype=torch.float64)

    def between(measure: Between) -> Callable[[], Outcome]:
        return lambda: score_sets(sets, measure, codes["test"], codes["made"], codes["own"])

    def alone(measure: Callable[[Tensor], Tensor]) -> Callable[[], Outcome]:
        return between(lambda _, x: measure(x))

    def neighbours(x: Tensor) -> Tensor:
        return token_mutual_information(
            x[:, :-1],
            x[:, 1:],
            first_size=size,
            second_size=size,
            generator=sets.generator("pairs"),
        )

    def reuse() -> Outcome:
        return score_sets(sets, token_reuse, codes["train"], codes["made"], codes["test"])

    def with_labels() -> Outcome:
        classes = int(max(sets.labels[name].max() for name in ("made", "own"))) + 1

        def tell(_: Tensor, x: Tensor) -> Tensor:
            own, labels = x[:, :-1], x[:, -1:].expand(-1, x.shape[1] - 1)
            return token_mutual_information(
                own, labels, first_size=size, second_size=classes, generator=sets.generator("pairs")
            )

        made, own = (
            torch.cat([codes[name], sets.labels[name][:, None]], dim=1) for name in ("made", "own")
        )
        return score_sets(sets, tell, own, made, own)

    def entries() -> Outcome:
        if tokens.codebook is None:
            raise ValueError("codebook_correlation: tokens need a codebook; got None")
        value = codebook_correlation(tokens.codebook).pearson[None]
        return Outcome(value, nothing, nothing, nothing, size)

    named = "" if {"made", "own"} <= set(sets.labels) else "labels are missing"
    book = "no codebook was given" if tokens.codebook is None else ""
    one = "" if tokens.test.shape[1] > 1 else "one token"
    kl = partial(token_divergence, codebook_size=size)
    rows: list[tuple[str, str, str, str, Callable[[], Outcome]]] = [
        ("codebook usage", "as real", "Share of codes in use.", "",
         alone(partial(codebook_usage, codebook_size=size))),
        ("codebook perplexity", "as real", "Codes in use, by weight.", "",
         alone(partial(codebook_perplexity, codebook_size=size))),
        ("token entropy", "as real", "In nats.", "",
         alone(partial(token_entropy, codebook_size=size))),
        ("token divergence", "lower", "KL of the histograms, in nats.", "", between(kl)),
        ("token information, next token", "as real", "In nats, bias-corrected.", one,
         alone(neighbours)),
        ("token information, label", "as real", "In nats, bias-corrected.", named, with_labels),
        ("token sequence reuse", "as real", "Share of sequences seen in training.", "", reuse),
        ("codebook correlation", "lower", "Likeness of two entries of the codebook.", book,
         entries),
    ]  # fmt: skip
    return [
        Measure(group="tokens", rows=((n, b, m),), obstacle=o, compute=c) for n, b, m, o, c in rows
    ]
