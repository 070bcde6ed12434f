"""Every row of the report against the metric on the sets that it names.

Generated series are unlike real ones, so that no two sets can be taken for each other.
"""

import math
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor

from ssltok.evaluation import Report, Tokens, evaluate
from ssltok.evaluation import _judges as judges_module
from ssltok.evaluation import _measures_trained as trained_module
from ssltok.metrics import (
    augmentation_gain,
    codebook_perplexity,
    codebook_usage,
    cross_correlation_distance,
    dtw_distance,
    euclidean_distance,
    exact_repeats,
    frechet_distance,
    inception_score,
    marginal_distance,
    nearest_neighbor_distance,
    spectral_distance,
    token_divergence,
    token_entropy,
    token_mutual_information,
    token_reuse,
    train_on_synthetic_score,
)
from ssltok.training import keyed_generator
from tests.evaluation.evaluated import order_of, spread, waves

LENGTH, SIZE, STEPS = 40, 8, 3


def noisy(seed: int, cases: int) -> tuple[Tensor, Tensor]:
    """Two channels that depend on each other."""
    x, labels = waves(seed, cases, LENGTH)
    return torch.cat([x, 3 * x.roll(2, 2)], dim=1), labels


def codes_of(seed: int, x: Tensor, high: int) -> Tensor:
    """Codes in which the next follows from the last, now and then."""
    generator = torch.Generator().manual_seed(seed)
    codes = torch.randint(high, (len(x), 12), generator=generator)
    codes[:, 1::2] = (codes[:, ::2] + seed) % high
    return codes


TRAIN, LABELS = noisy(0, 36)
TEST, TEST_LABELS = noisy(1, 30)
MADE = 0.4 * noisy(2, 36)[0].square() + 2 + torch.linspace(0, 1, LENGTH)
MADE_LABELS = torch.zeros(36, dtype=torch.int64)
CODES = [codes_of(0, TRAIN, 6), codes_of(1, TEST, 6), codes_of(2, MADE, 3)]
CODES[0][7:10] = 1
TEST[:3] = TRAIN[:3]  # some of the real ones occur twice, of the generated ones two
MADE[:2] = TRAIN[4:6]
CODES[1][:6] = CODES[0][:6]
CODES[2][:3] = CODES[0][7:10]


class Classifier:
    """Stands for a trained FCN: means of a channel, and what it makes of them."""

    @staticmethod
    def fit(series: Tensor, labels: Tensor, **_: Any) -> "Classifier":
        assert len(series) == len(labels) == 36
        return Classifier()

    def __call__(self, x: Tensor) -> Tensor:
        return torch.stack([x.mean((1, 2)), x.square().mean((1, 2)), x[:, 0, 0]], dim=1)

    def logits(self, x: Tensor) -> Tensor:
        return 3 * torch.stack([x[:, 0, 0], x[:, 0, 5]], dim=1)


def fit(series: Tensor, labels: Tensor, **_: Any) -> Callable[[Tensor], Tensor]:
    """Stands for training a classifier: the nearest mean of a class, by the mean value."""
    kinds = labels.unique()
    means = torch.stack([series[labels == k].mean((0, 2)) for k in kinds])

    def logits(x: Tensor) -> Tensor:
        apart = (x.mean(2)[:, None] - means).square().sum(2)
        found = torch.full((len(x), 2), -1e9)
        found[:, kinds] = -apart.float()
        return found

    return logits


def told(real: Tensor, x: Tensor, *, steps: int, repeats: int, generator: Any) -> Tensor:
    """Stands for the discriminative score."""
    assert (len(real), steps, generator.initial_seed()) == (30, STEPS, rng("rnn").initial_seed())
    return (real.mean() - 2 * x.mean()).abs().expand(repeats)


def guessed(real: Tensor, x: Tensor, *, steps: int, repeats: int, generator: Any) -> Tensor:
    """Stands for the predictive score."""
    return told(real, x.square(), steps=steps, repeats=repeats, generator=generator)


@pytest.fixture(scope="module")
def report() -> Report:
    patch = pytest.MonkeyPatch()
    patch.setattr(judges_module, "FCNEncoder", Classifier)
    patch.setattr(trained_module, "fit_fcn_classifier", fit)
    patch.setattr(trained_module, "discriminative_score", told)
    patch.setattr(trained_module, "predictive_score", guessed)
    made = evaluate(
        TRAIN, TEST, MADE, encoder=lambda x: x.flatten(1), steps=STEPS,
        train_labels=LABELS, test_labels=TEST_LABELS, generated_labels=MADE_LABELS,
        tokens=Tokens(CODES[0], CODES[1], CODES[2], codebook_size=SIZE),
    )  # fmt: skip
    patch.undo()
    return made


PLACES = [
    spread(order_of(name, x, labels, codes), labels)
    for name, x, labels, codes in zip(
        ("train", "test", "generated"), (TRAIN, TEST, MADE), (LABELS, TEST_LABELS, MADE_LABELS),
        CODES, strict=True,
    )
]  # fmt: skip
OWN, REAL, FALSE = (x[order] for x, order in zip((TRAIN, TEST, MADE), PLACES, strict=True))
OWN_Y, REAL_Y, FALSE_Y = (
    y[order] for y, order in zip((LABELS, TEST_LABELS, MADE_LABELS), PLACES, strict=True)
)
OWN_C, REAL_C, FALSE_C = (c[order] for c, order in zip(CODES, PLACES, strict=True))


def rng(purpose: str) -> torch.Generator:
    return keyed_generator(0, f"evaluate {purpose}")


def near(distance: Callable[[Tensor, Tensor], Tensor]) -> Callable[[Tensor], float]:
    std = TRAIN.double().std((0, 2), correction=0)[:, None]
    return lambda x: (
        nearest_neighbor_distance(REAL / std, x / std, distance=distance).distance.mean().item()
    )


def dtw(x: Tensor, y: Tensor) -> Tensor:
    return dtw_distance(x, y, band=4)


def fcn_frechet(x: Tensor) -> float:
    judge = Classifier()
    return frechet_distance(judge(REAL[:15]).double(), judge(x[:15]).double()).item()


def inception(x: Tensor) -> float:
    return inception_score(Classifier().logits(x[:30])).item()


def recurrent(score: Callable[..., Tensor]) -> Callable[[Tensor], float]:
    return lambda x: score(REAL, x, steps=STEPS, repeats=3, generator=rng("rnn")).mean().item()


def useful(learn: tuple[Tensor, Tensor], judge: tuple[Tensor, Tensor]) -> float:
    return train_on_synthetic_score(
        *learn, *judge, fit=fit, repeats=3, generator=rng("useful")
    ).mean().item()  # fmt: skip


def next_token(x: Tensor) -> float:
    return token_mutual_information(
        x[:, :-1], x[:, 1:], first_size=SIZE, second_size=SIZE, generator=rng("pairs")
    ).item()


CEILING = useful((OWN, OWN_Y), (REAL, REAL_Y))
# Row: (its metric, what is measured, what real data are put in its place)
ROWS: dict[str, tuple[Callable[[Any], float], Any, Any]] = {
    "nearest neighbour, Euclidean": (near(euclidean_distance), FALSE, OWN),
    "nearest neighbour, DTW": (near(dtw), FALSE, OWN),
    "marginal distance": (lambda x: marginal_distance(TEST, x).item(), FALSE, OWN),
    "spectral distance": (lambda x: spectral_distance(TEST, x).item(), FALSE, OWN),
    "cross-correlation distance": (
        lambda x: cross_correlation_distance(TEST, x).item(), FALSE, OWN
    ),
    "exact repeats": (lambda x: exact_repeats(TRAIN, x).item(), MADE, TEST),
    "Frechet distance (FCN)": (fcn_frechet, FALSE, REAL[15:]),
    "inception score (FCN)": (inception, FALSE, REAL),
    "discriminative score": (recurrent(told), FALSE, OWN),
    "predictive score": (recurrent(guessed), FALSE, OWN),
    "train on synthetic, test on real (CAS)": (
        lambda x: x, useful((FALSE, FALSE_Y), (REAL, REAL_Y)), CEILING
    ),
    "train on real, test on synthetic": (
        lambda x: (Classifier().logits(x[0]).argmax(1) == x[1]).double().mean().item(),
        (MADE, MADE_LABELS), (TEST, TEST_LABELS),
    ),
    "augmentation gain": (
        lambda x: x,
        augmentation_gain(OWN, OWN_Y, FALSE, FALSE_Y, REAL, REAL_Y, fit=fit, repeats=3,
                          generator=rng("gain")).mean().item(),
        math.nan,
    ),
    "codebook usage": (lambda x: codebook_usage(x, codebook_size=SIZE).item(), FALSE_C, OWN_C),
    "codebook perplexity": (
        lambda x: codebook_perplexity(x, codebook_size=SIZE).item(), FALSE_C, OWN_C
    ),
    "token entropy": (lambda x: token_entropy(x, codebook_size=SIZE).item(), FALSE_C, OWN_C),
    "token divergence": (
        lambda x: token_divergence(REAL_C, x, codebook_size=SIZE).item(), FALSE_C, OWN_C
    ),
    "token information, next token": (next_token, FALSE_C, OWN_C),
    "token sequence reuse": (lambda x: token_reuse(OWN_C, x).item(), FALSE_C, REAL_C),
}  # fmt: skip


@pytest.mark.parametrize("name", ROWS)
def test_a_row_is_its_metric_on_its_sets(report: Report, name: str) -> None:
    measure, made, real = ROWS[name]
    row = report[name]
    assert row.skipped == ""
    assert row.value == pytest.approx(measure(made), rel=1e-5, abs=1e-7)
    assert row.reference == pytest.approx(measure(real), rel=1e-5, abs=1e-7, nan_ok=True)
    apart = abs(row.value - row.reference)
    assert math.isnan(apart) or apart > 0.01, "the sets must differ, or the test cannot fail"


def test_every_other_row_is_tested_elsewhere(report: Report) -> None:
    others = {row.name for row in report.rows} - set(ROWS)
    assert others == {
        "Frechet distance (function)", "kernel distance (function)", "precision (function)",
        "recall (function)", "density (function)", "coverage (function)", "memorization ratio",
        "autocorrelation distance", "skewness distance", "kurtosis distance",
        "token information, label", "codebook correlation",
    }  # fmt: skip
