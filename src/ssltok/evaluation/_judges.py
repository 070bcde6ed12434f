"""Judges: classifiers that are passed to `evaluate` and say what they think of generated series."""

import importlib
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache

import numpy as np
import torch
from torch import Tensor

from ssltok._shared.checks import check_at_least
from ssltok._shared.scaling import mean_and_scale
from ssltok.evaluation._rows import Measure, Outcome
from ssltok.evaluation._sets import Sets, score_sets
from ssltok.metrics import FCNEncoder, encode, frechet_distance, inception_score

__all__ = ["WIDTH", "FCNJudge", "RidgeJudge", "labels_missing"]

WIDTH = 64  # of trained networks: half of the paper's, a quarter of its time
ONE = "one network; the spread is over halves of the series, not over trainings"
ALPHAS = np.logspace(-3, 3, 7)
NAMES = {"train": "training", "test": "test", "generated": "generated"}
Row = tuple[str, str, str, str, str, Callable[[], Outcome]]


@dataclass(frozen=True, kw_only=True)
class FCNJudge:
    """An FCN, fitted on the training series, whose features and answers judge: three rows.

    - `Frechet distance (FCN)`: its features of half of the test set to those of as many generated
      series; beside it, to the other half. Training series would not do: it has learned them.
    - `inception score (FCN)`: of as many generated as test series.
    - `train on real, test on synthetic`: the share of generated series that it gives the label
      they were asked for; beside it, of test series.

    `evaluate(..., steps=)` asks one of these; pass one to ask another, or one fitted before.

    Args:
        steps: Budget of its training.
        width: Features.
        classifier: One that is fitted already, in the place of training one; it must number the
            labels as `evaluate` does (sorted).

    Raises:
        ValueError: If `steps` or `width` is less than 1.
        TypeError: If an option is not a number.

    Example:
        >>> import torch
        >>> from ssltok.evaluation import FCNJudge, evaluate
        >>> labels = torch.arange(36) % 2
        >>> noise = torch.randn(36, 1, 16, generator=torch.Generator().manual_seed(0))
        >>> series = 9 * labels[:, None, None] + noise
        >>> report = evaluate(
        ...     series[:12], series[12:24], series[24:], train_labels=labels[:12],
        ...     test_labels=labels[12:24], generated_labels=1 - labels[24:],  # all of them wrong
        ...     measures=(FCNJudge(steps=30, width=8),),
        ... )
        >>> row = report["train on real, test on synthetic"]
        >>> row.value, row.reference
        (0.0, 1.0)
    """

    steps: int = 500
    width: int = WIDTH
    classifier: FCNEncoder | None = None

    def __post_init__(self) -> None:
        """Check the sizes."""
        check_at_least("FCNJudge", "steps", self.steps, 1)
        check_at_least("FCNJudge", "width", self.width, 1)

    def __call__(self, sets: Sets) -> list[Measure]:
        """List its rows, with the reason where one is undefined."""
        sets = sets.whole
        known = sets.labelled

        @cache
        def fitted() -> FCNEncoder:
            return self.classifier or FCNEncoder.fit(
                known.train, known.labels["train"], steps=self.steps, width=self.width,
                generator=sets.generator("classifier"),
            )  # fmt: skip

        def frechet() -> Outcome:
            middle = len(sets.test) // 2
            target, other = sets.test[:middle], sets.test[middle:]
            fake = sets.fake[: len(other)]
            parts = [encode(fitted(), x) for x in (target, fake, other[: len(fake)])]
            return score_sets(sets, frechet_distance, *parts)._replace(note=ONE)

        def inception() -> Outcome:
            fake = sets.fake[: len(sets.test)]
            logits = [encode(fitted().logits, x) for x in (fake, sets.test[: len(fake)])]
            outcome = score_sets(sets, lambda _, x: inception_score(x), logits[0], *logits)
            return outcome._replace(note=ONE)

        def right(name: str) -> Tensor:
            if name not in known.labels:
                return torch.full((len(known.series[name]),), torch.nan, dtype=torch.float64)
            answers = encode(fitted().logits, known.series[name]).argmax(1)
            return (answers == known.labels[name]).double()

        def recognised() -> Outcome:
            fake, real = right("generated"), right("test")
            shares = [len(fake)], [len(real)]
            outcome = score_sets(sets, lambda _, x: x.mean(), fake, fake, real, shares=shares)
            return outcome._replace(note=ONE)

        learned = known.gaps or labels_missing(sets, "train")
        asked = known.gaps or labels_missing(sets, "train", "generated")
        return _listed(sets, [
            ("fidelity", "Frechet distance (FCN)", "lower",
             "Features of a classifier; real: the other half of the test set.", learned, frechet),
            ("fidelity", "inception score (FCN)", "as real",
             "Sure of each class, and all classes.", learned, inception),
            ("usefulness", "train on real, test on synthetic", "as real",
             "Are the labels recognised? All generated series; real: all test series.",
             asked, recognised),
        ])  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class RidgeJudge:
    """A ridge classifier on the encoder's features, cheap enough to learn many times: two rows.

    It learns from generated series and is tested on real ones (CAS). Features are those of
    `encoder` of `evaluate`, ROCKET by default; they are standardised with the series it learns
    from. Its penalty is chosen among `alphas` by leaving out one series at a time.

    - `CAS, ridge (...)`: learns from as many generated series as there are training series, in
      turn from each whole part of them; the spread is over the parts.
    - `CAS of all generated, ridge (...)`: learns from all at once.

    Args:
        alphas: Penalties to choose among.

    Raises:
        ValueError: If there are no alphas, or one is not positive.

    Example:
        >>> import torch
        >>> from ssltok.evaluation import RidgeJudge, evaluate
        >>> labels = torch.arange(36) % 2
        >>> noise = torch.randn(36, 1, 16, generator=torch.Generator().manual_seed(0))
        >>> series = 9 * labels[:, None, None] + noise
        >>> report = evaluate(
        ...     series[:12], series[12:24], series[24:], train_labels=labels[:12],
        ...     test_labels=labels[12:24], generated_labels=labels[24:],
        ...     encoder=lambda x: x.mean(2), measures=(RidgeJudge(),),
        ... )
        >>> report["CAS, ridge (function)"].value
        1.0

    References:
        Dempster et al., *ROCKET*, 2020, <https://arxiv.org/abs/1910.13051>, section 3.2.
    """

    alphas: tuple[float, ...] = tuple(ALPHAS.tolist())

    def __post_init__(self) -> None:
        """Check the penalties."""
        if not self.alphas or min(self.alphas) <= 0:
            raise ValueError(
                f"RidgeJudge: alphas must be one or more positive numbers; got {self.alphas}"
            )

    def __call__(self, sets: Sets) -> list[Measure]:
        """List its rows, with the reason where one is undefined."""
        sets = sets.whole.labelled

        @cache
        def features(name: str) -> Tensor:
            return sets.encode(sets.series[name])

        def transfer(name: str, rows: slice) -> Tensor:
            accuracy = self._accuracy(
                features(name)[rows], sets.labels[name][rows], features("test"), sets.labels["test"]
            )
            return torch.tensor([accuracy], dtype=torch.float64)

        nothing = torch.full((1,), torch.nan, dtype=torch.float64)
        generated, size = len(sets.series["generated"]), len(sets.real)

        def equal() -> Outcome:
            starts = range(0, generated - size + 1, size)
            scores = torch.cat([transfer("generated", slice(k, k + size)) for k in starts])
            spread = scores.std()[None] if len(scores) > 1 else nothing
            return Outcome(
                scores.mean()[None], spread, transfer("train", slice(size)), nothing, size
            )

        def whole() -> Outcome:
            everything = slice(None)
            return Outcome(
                transfer("generated", everything), nothing, transfer("train", everything), nothing,
                generated,
            )  # fmt: skip

        obstacle = sets.gaps or labels_missing(sets, "train", "test", "generated")
        name = sets.encoder_name
        return _listed(sets, [
            ("usefulness", f"CAS, ridge ({name})", "higher",
             "Accuracy on real series, learned from generated ones, as many as training series.",
             obstacle, equal),
            ("usefulness", f"CAS of all generated, ridge ({name})", "higher",
             "The same, learned from all of them; real: from all training series.",
             obstacle, whole),
        ])  # fmt: skip

    def _accuracy(self, x: Tensor, labels: Tensor, test: Tensor, truth: Tensor) -> float:
        if len(labels.unique()) == 1:
            return float((truth == labels[0]).double().mean())
        try:
            linear_model = importlib.import_module("sklearn.linear_model")
        except ImportError as error:
            raise ImportError(
                "RidgeJudge: needs scikit-learn; install it with: pip install 'ssltok[pipelines]'"
            ) from error
        mean, scale = mean_and_scale(x, (0,), computed_in=torch.float32)
        model = linear_model.RidgeClassifierCV(alphas=self.alphas)
        model.fit(((x - mean) / scale).numpy(), labels.numpy())
        answers = model.predict(((test - mean) / scale).numpy())
        return float((answers == truth.numpy()).mean())


def labels_missing(sets: Sets, *names: str) -> str:
    """Say which of these sets has no labels, or nothing."""
    missing = [name for name in names if name not in sets.labels]
    return f"no labels of the {NAMES[missing[0]]} series" if missing else ""


def _listed(sets: Sets, rows: list[Row]) -> list[Measure]:
    return [
        Measure(group=g, rows=((n, b, m),), obstacle=o, compute=c, note=sets.left_out)
        for g, n, b, m, o, c in rows
    ]
