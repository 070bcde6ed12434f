"""Measures of the codes of the three sets."""

import math
from collections.abc import Callable
from functools import partial

import torch
from torch import Tensor

from ssltok.evaluation._rows import Measure, Outcome
from ssltok.evaluation._sets import Between, Sets, score_sets
from ssltok.metrics import (
    codebook_correlation,
    codebook_perplexity,
    codebook_usage,
    token_divergence,
    token_entropy,
    token_mutual_information,
    token_reuse,
)

__all__ = ["token_measures"]

Pick = Callable[[Tensor], Tensor]


def token_measures(sets: Sets) -> list[Measure]:
    """List what is measured of codes; nothing without `tokens`.

    Example:
        >>> import torch
        >>> from ssltok.evaluation import Tokens, evaluate, token_measures
        >>> series = torch.randn(36, 1, 16, generator=torch.Generator().manual_seed(0))
        >>> codes = (series[:, 0, ::4] > 0).long()  # four tokens, two codes
        >>> tokens = Tokens(codes[:12], codes[12:24], codes[24:], codebook_size=2)
        >>> report = evaluate(
        ...     series[:12], series[12:24], series[24:], tokens=tokens, measures=(token_measures,)
        ... )
        >>> [row.name for row in report.rows][:2]
        ['codebook usage', 'codebook perplexity']
    """
    if not sets.codes:
        return []
    size, book = sets.codebook_size, sets.codebook
    codes = {name: sets.of(sets.codes, name) for name in ("train", "test", "fake", "real")}
    nothing = torch.full((1,), torch.nan, dtype=torch.float64)

    def between(measure: Between) -> Callable[[], Outcome]:
        return lambda: score_sets(sets, measure, codes["test"], codes["fake"], codes["real"])

    def alone(measure: Callable[[Tensor], Tensor]) -> Callable[[], Outcome]:
        return between(lambda _, x: measure(x))

    def information(
        first: Pick, second: Pick, second_size: int, fake: Tensor, real: Tensor
    ) -> Outcome:
        for x in (fake, real):
            valid = (first(x) >= 0) & (second(x) >= 0)
            pairs = int(valid.sum())
            cells = math.prod(len(pick(x)[valid].unique()) for pick in (first, second))
            if pairs < cells:
                raise ValueError(
                    f"too few tokens: {pairs} pairs for {cells} combinations of the values in use"
                )

        def tell(_: Tensor, x: Tensor) -> Tensor:
            return token_mutual_information(
                first(x),
                second(x),
                first_size=size,
                second_size=second_size,
                generator=sets.generator("pairs"),
            )

        return score_sets(sets, tell, real, fake, real)

    def neighbours() -> Outcome:
        return information(
            lambda x: x[:, :-1], lambda x: x[:, 1:], size, codes["fake"], codes["real"]
        )

    def reuse() -> Outcome:
        fake, test = codes["fake"], codes["test"]
        shares = [len(fake)], [len(test)]
        return score_sets(sets, token_reuse, codes["train"], fake, test, shares=shares)

    def with_labels() -> Outcome:
        known = sets.labelled
        fake, real = (
            torch.cat([known.of(known.codes, k), known.of(known.labels, k)[:, None]], dim=1)
            for k in ("fake", "real")
        )
        return information(
            lambda x: x[:, :-1], lambda x: x[:, -1:].expand(-1, x.shape[1] - 1),
            len(sets.classes), fake, real,
        )  # fmt: skip

    def entries() -> Outcome:
        if book is None:
            raise ValueError("codebook_correlation: tokens need a codebook; got None")
        value = codebook_correlation(book).pearson[None]
        return Outcome(value, nothing, nothing, nothing, size)

    named = (
        sets.labelled.gaps if {"train", "generated"} <= set(sets.labels) else "labels are missing"
    )
    bare = "no codebook was given" if book is None else ""
    one = "" if codes["test"].shape[1] > 1 else "one token"
    kl = partial(token_divergence, codebook_size=size)
    rows: list[tuple[str, str, str, str, Callable[[], Outcome]]] = [
        ("codebook usage", "as real", "Share of codes in use.", "",
         alone(partial(codebook_usage, codebook_size=size))),
        ("codebook perplexity", "as real", "Codes in use, by weight.", "",
         alone(partial(codebook_perplexity, codebook_size=size))),
        ("token entropy", "as real", "In nats.", "",
         alone(partial(token_entropy, codebook_size=size))),
        ("token divergence", "lower", "KL of the histograms, in nats.", "", between(kl)),
        ("token information, next token", "as real",
         "In nats, beyond that of permuted tokens.", one, neighbours),
        ("token information, label", "as real", "In nats, beyond that of permuted labels.", named,
         with_labels),
        ("token sequence reuse", "as real", "Share of sequences seen in training.", "", reuse),
        ("codebook correlation", "lower", "Likeness of two entries of the codebook.", bare,
         entries),
    ]  # fmt: skip
    return [
        Measure(group="tokens", rows=((n, b, m),), obstacle=o, compute=c) for n, b, m, o, c in rows
    ]
