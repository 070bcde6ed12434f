"""What only a tokenizer has, as measures of `evaluate`: the rows that `ssltok run` adds."""

import copy
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import cache, partial
from itertools import pairwise
from typing import Any

import torch
from torch import Tensor

from ssltok._shared.scaling import mean_and_scale
from ssltok.evaluation import Measure, Outcome, Sets, Tokens
from ssltok.metrics import (
    knn_accuracy,
    linear_probe_accuracy,
    reconstruction_error,
    svm_probe_accuracy,
)
from ssltok.pipelines._estimator import SSLTokenizer
from ssltok.pipelines._stage_two._prior_loss import SHARES, loss_by_share
from ssltok.pipelines._tokenizer import Tokenizer

__all__ = ["tokenizer_measures", "tokens_of"]

NEIGHBORS = 5
MOST_ENTRIES = 2**14  # of a codebook whose entries are compared with each other
VIEWS = (
    ("tokens", "code vectors of all tokens, in their order"),
    ("mean token", "mean code vector, as in NC-VQVAE"),
)
SETS = {"train": "training", "test": "test"}
NOTHING = torch.full((1,), torch.nan, dtype=torch.float64)


def _knn(train: Tensor, train_labels: Tensor, test: Tensor, test_labels: Tensor) -> Tensor:
    neighbors = min(NEIGHBORS, len(train))
    return knn_accuracy(train, train_labels, test, test_labels, neighbors=neighbors)


PROBES = (
    ("linear probe", linear_probe_accuracy, "Logistic regression"),
    ("linear SVM", svm_probe_accuracy, "One against one"),
    ("k-NN", _knn, f"{NEIGHBORS} neighbours"),
)


def tokens_of(model: SSLTokenizer, *, train: Any, test: Any, generated: Any) -> Tokens:
    """Encode the three sets of an evaluation with a fitted model.

    Generated series are encoded as all others, also where the model drew them from codes: so
    series of any origin have the same rows.

    Args:
        model: The model.
        train: Series as for `SSLTokenizer.encode`; arrays are `(cases, channels, length)`.
        test: Likewise.
        generated: Likewise.

    Returns:
        The codes in a row, `(cases, tokens * codes)`; those of a further branch, and of a further
        code of a token, are numbered after those before it.

    Raises:
        ValueError: If the series are not the model's.

    Example:
        >>> import numpy as np
        >>> from ssltok.pipelines import Config, PriorConfig, SSLTokenizer, TokenizerConfig
        >>> from ssltok.pipelines import shorten, tokens_of
        >>> config = Config(
        ...     tokenizer=TokenizerConfig(dim=4, blocks=0, codebook_size=3, projector_dim=8),
        ...     prior=PriorConfig(dim=8, depth=1),
        ... )
        >>> X = np.random.rand(6, 1, 32)
        >>> model = SSLTokenizer(shorten(config, steps=1)).fit(X)
        >>> tokens = tokens_of(model, train=X[:3], test=X[3:5], generated=X[5:])
        >>> tokens.train.shape, tokens.codebook_size
        (torch.Size([3, 40]), 3)
    """
    tokenizer, model = model.artifact_.tokenizer, _channels_first(model)
    size, _ = _numbering(tokenizer)
    return Tokens(
        train=_in_a_row(tokenizer, model.encode(train)),
        test=_in_a_row(tokenizer, model.encode(test)),
        generated=_in_a_row(tokenizer, model.encode(generated)),
        codebook_size=size,
        codebook=_codebook(tokenizer, size),
    )


def tokenizer_measures(model: SSLTokenizer) -> Callable[[Sets], list[Measure]]:
    """Measure a fitted model on real series: reconstruction, codes used, its prior, probes.

    Every figure is of the test series, which the model has not seen, except "codes used", which
    is of the training series. Beside it stands what its meaning says.

    Args:
        model: The model.

    Returns:
        A member of the `measures` of `ssltok.evaluation.evaluate`.

    Example:
        >>> import numpy as np
        >>> from ssltok.evaluation import evaluate
        >>> from ssltok.pipelines import SSLTokenizer, shorten, tokenizer_measures
        >>> X = np.sin(np.linspace(0, 9, 32) * np.linspace(1, 2, 8)[:, None])
        >>> model = SSLTokenizer(preset=shorten("nc_vqvae", steps=2)).fit(X)
        >>> report = evaluate(X, X, model.sample(8), measures=(tokenizer_measures(model),))
        >>> row = report["reconstruction MSE"]
        >>> abs(row.value / row.reference - 1) < 1e-3  # test and training series are the same
        True
        >>> report["linear probe on tokens"].skipped
        'no labels of the training series'
    """
    return partial(_measures, model)


def _measures(model: SSLTokenizer, sets: Sets) -> list[Measure]:
    tokenizer = model.artifact_.tokenizer
    model = _channels_first(model)
    parts, known = {"test": sets.test, "train": sets.train}, sets.labelled
    labelled = {"test": known.test, "train": known.train}

    @cache
    def codes(name: str) -> Tensor:
        return torch.from_numpy(model.encode(parts[name]))

    def pair(test: Tensor, train: Tensor, note: str = "") -> Outcome:
        return Outcome(test, NOTHING.expand_as(test), train, NOTHING.expand_as(test),
                       len(sets.test), note)  # fmt: skip

    def rebuilt(name: str) -> Tensor:
        series = parts[name]
        known = ~series.isnan()
        guess = torch.from_numpy(model.reconstruct(series))
        known = known[..., : guess.shape[2]]
        series = series[..., : guess.shape[2]]
        error = reconstruction_error(series.where(known, 0.0), guess.where(known, 0.0))
        return torch.stack(error).double() / known.double().mean()  # means over what is known

    def explained() -> Outcome:
        shares = [torch.tensor([model.score(parts[k])], dtype=torch.float64) for k in parts]
        return pair(shares[0], shares[1])

    def varied() -> Outcome:
        entropies = [place_entropy(codes(name)).double()[None] for name in parts]
        return pair(entropies[0], entropies[1])

    def used() -> Outcome:
        size, offsets = _numbering(tokenizer)
        row = _in_a_row(tokenizer, codes("train"))
        present = torch.zeros(size, dtype=torch.bool)
        present[row[row >= 0]] = True
        edges = [*offsets.unique().tolist(), size]
        counts = [
            f"{int(present[low:high].sum())} of {high - low}" for low, high in pairwise(edges)
        ]
        share = present.double().mean()[None]
        return Outcome(share, NOTHING, NOTHING, NOTHING, len(sets.train), ", ".join(counts))

    def prior() -> Outcome:
        numbers = []
        for name in ("test", "train"):
            labels = _numbers_of(model, sets, name)
            losses = loss_by_share(model.artifact_.prior, codes(name), labels, seed=sets.seed)
            numbers.append(torch.tensor([losses[share] for share in SHARES], dtype=torch.float64))
        return pair(numbers[0], numbers[1])

    @cache
    def views(view: str) -> tuple[Tensor, Tensor]:
        """Features of the training and the test series."""
        if view == "series":
            mean, scale = mean_and_scale(known.train, (0, 2))
            rows = [((labelled[k] - mean) / scale).nan_to_num(0.0) for k in ("train", "test")]
        elif view == "tokens":
            rows = [torch.from_numpy(model.token_vectors(labelled[k])) for k in ("train", "test")]
        else:
            whole = copy.copy(model)  # the mean of all tokens, whatever `transform` averages
            config = model.artifact_.config
            stage_one = replace(config.tokenizer, stretches=1)
            whole.artifact_ = model.artifact_._replace(config=replace(config, tokenizer=stage_one))
            rows = [torch.from_numpy(whole.transform(labelled[k])) for k in ("train", "test")]
        return rows[0].flatten(1), rows[1].flatten(1)

    def probed(probe: Callable[..., Tensor], view: str) -> Outcome:
        numbers: list[Tensor] = []
        for name in (view, "series"):
            train, test = views(name)
            accuracy = probe(train, known.labels["train"], test, known.labels["test"])[None]
            numbers += [accuracy, (accuracy * (1 - accuracy) / len(test)).sqrt()]
        return Outcome(numbers[0], numbers[1], numbers[2], numbers[3], len(known.test))

    missing = [k for k in ("train", "test") if k not in sets.labels]
    unlabelled = f"no labels of the {SETS[missing[0]]} series" if missing else known.gaps
    measures = [
        _one(
            tuple(
                (f"reconstruction {kind}", "lower",
                 "In units of the series; of test series, beside it of training series.")
                for kind in ("MSE", "MAE")
            ),
            lambda: pair(rebuilt("test"), rebuilt("train")),
        ),
        _one(
            (("variance explained", "higher",
              "Share that the tokens keep; of test series, beside it of training series."),),
            explained,
        ),
        _one((("codes used", "higher", "Share of all codes, by the training series."),), used),
        _one(
            (("entropy of codes at a place", "higher",
              "In nats, mean over places; 0 where all series have the same tokens. Of test series, "
              "beside it of training series."),),
            varied,
        ),
        _one(
            tuple(
                (f"loss of the prior, {100 * share:g} % hidden", "lower",
                 "Nats a hidden token; of test series, beside it of training series.")
                for share in SHARES
            ),
            prior,
        ),
    ]  # fmt: skip
    for view, features in VIEWS:
        for name, probe, how in PROBES:
            meaning = f"{how} on the {features}; beside it, on the standardised series."
            rows = ((f"{name} on {view}", "higher", meaning),)
            measures.append(_one(rows, partial(probed, probe, view), unlabelled))
    return measures


def place_entropy(codes: Tensor) -> Tensor:
    r"""Mean over the places of a series of the entropy of the codes that series have there.

    $$H = \frac{1}{T} \sum_t -\sum_k p_t(k) \log p_t(k)$$

    Args:
        codes: int64 `(cases, tokens)` or `(cases, tokens, codes)`, -1 at padding.

    Returns:
        Nats; 0 where all series have the same tokens, at most the log of the number of cases.
    """
    entropies = []
    for place in codes.flatten(1).T:
        counts = place[place >= 0].bincount().double()
        if counts.sum() > 0:
            entropies.append(torch.special.entr(counts / counts.sum()).sum())
    return torch.stack(entropies).mean()


def _channels_first(model: SSLTokenizer) -> SSLTokenizer:
    """The same model for series as an evaluation has them."""
    first = copy.copy(model)
    first.layout = "channels_first"
    return first


def _one(
    rows: Sequence[tuple[str, str, str]], compute: Callable[[], Outcome], obstacle: str = ""
) -> Measure:
    return Measure(group="tokenizer", rows=tuple(rows), obstacle=obstacle, compute=compute)


def _numbering(tokenizer: Tokenizer) -> tuple[int, Tensor]:
    """The number of all codes, and where each token's codes begin, `(tokens, codes)`."""
    offsets, total = [], 0
    for tokens, sizes in zip(tokenizer.sizes, tokenizer.codebook_sizes, strict=True):
        starts = []
        for size in sizes:
            starts.append(total)
            total += size
        offsets.append(torch.tensor(starts).expand(tokens, -1))
    return total, torch.cat(offsets)


def _in_a_row(tokenizer: Tokenizer, codes: Any) -> Tensor:
    codes = torch.as_tensor(codes)
    several = codes if codes.ndim == 3 else codes[..., None]
    _, offsets = _numbering(tokenizer)
    return torch.where(several >= 0, several + offsets, several).flatten(1)


def _codebook(tokenizer: Tokenizer, size: int) -> Tensor | None:
    """The vectors of all codes in their order, where each code is one vector of one width."""
    if size > MOST_ENTRIES:
        return None
    try:
        books = [part.quantizer.codebook.detach().cpu() for part in tokenizer.parts]
    except ValueError:  # parts of several sizes: each has its own
        return None
    books = [book.flatten(0, -2) for book in books]
    same = len({book.shape[1] for book in books}) == 1
    return torch.cat(books) if same and sum(map(len, books)) == size else None


def _numbers_of(model: SSLTokenizer, sets: Sets, name: str) -> Tensor:
    """Labels by the model's own numbers; -1 where there are none."""
    if name not in sets.labels:
        return torch.full((len(sets.of(sets.series, name)),), -1)
    known = [str(label) for label in model.classes_]
    if not known:
        return torch.full_like(sets.labels[name], -1)
    if known == list(sets.classes):
        return sets.labels[name]
    unknown = [label for label in sets.classes if label not in known]
    if unknown:
        raise ValueError(f"the model knows no label {unknown[0]!r}")
    numbers = torch.tensor([*(known.index(label) for label in sets.classes), -1])
    return numbers[sets.labels[name]]  # -1, the last, is -1
