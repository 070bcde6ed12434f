"""Train on synthetic, test on real: by reasoning, with classifiers that can be read."""

from collections.abc import Callable
from functools import partial

import pytest
import torch
from torch import Tensor

from ssltok.metrics import (
    FCNEncoder,
    augmentation_gain,
    encode,
    fit_fcn_classifier,
    train_on_synthetic_score,
)

Logits = Callable[[Tensor], Tensor]


def nearest_mean(series: Tensor, labels: Tensor, *, generator: torch.Generator | None) -> Logits:
    """Logits are minus the distance to each class's mean series."""
    means = torch.stack([series[labels == k].mean(0) for k in range(int(labels.max()) + 1)])
    return lambda x: -(x[:, None] - means).square().sum((2, 3))


def by_chance(series: Tensor, labels: Tensor, *, generator: torch.Generator | None) -> Logits:
    """One random answer for everybody."""
    answer = torch.rand(2, generator=generator)
    return lambda x: answer.expand(len(x), 2)


def clouds(shift: float, cases: int = 40, seed: int = 0) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    labels = torch.arange(cases) % 2
    return torch.randn(cases, 1, 4, generator=generator) + shift * labels[:, None, None], labels


# Known values.


def test_right_swapped_and_shifted_sets() -> None:
    test, truth = clouds(30.0)
    good = train_on_synthetic_score(*clouds(30.0, 10, 1), test, truth, fit=nearest_mean, repeats=2)
    assert good.tolist() == [1.0, 1.0]
    series, labels = clouds(30.0, 10, 1)
    swapped = train_on_synthetic_score(series, 1 - labels, test, truth, fit=nearest_mean, repeats=1)
    assert swapped.tolist() == [0.0]
    collapsed = series.mean(0, keepdim=True).expand_as(series)
    chance = train_on_synthetic_score(collapsed, labels, test, truth, fit=nearest_mean, repeats=1)
    assert chance.tolist() == [0.5]


def test_a_class_that_was_never_generated_is_never_right() -> None:
    test, truth = clouds(30.0)
    series, labels = clouds(30.0, 10, 1)
    only = train_on_synthetic_score(
        series[labels == 0], labels[labels == 0], test, truth, fit=nearest_mean, repeats=1
    )
    assert only.tolist() == [0.5]


def test_gain_of_a_class_that_was_missing() -> None:
    """Real series know class 0 only; generated ones add class 1: from 1/2 to 1."""
    real, labels = clouds(30.0, 10, 1)
    zero, one = labels == 0, labels == 1
    test, truth = clouds(30.0)
    gain = augmentation_gain(
        real[zero], labels[zero], real[one], labels[one], test, truth, fit=nearest_mean, repeats=2
    )
    assert gain.tolist() == [0.5, 0.5]


# Oracle: the FCN by hand.


def test_the_default_is_an_fcn_scored_on_the_test_set() -> None:
    series, labels = clouds(1.0, 12, 1)
    test, truth = clouds(1.0, 31)
    fit = partial(fit_fcn_classifier, steps=3, width=4)
    generator = torch.Generator().manual_seed(9)
    scores = train_on_synthetic_score(
        series, labels, test, truth, fit=fit, repeats=2, generator=generator
    )
    generator.manual_seed(9)
    for score in scores:
        fcn = FCNEncoder.fit(series, labels, steps=3, width=4, generator=generator)
        expected = (encode(fcn.logits, test).argmax(1) == truth).double().mean()
        assert score == expected


# Laws.


def test_repeats_differ_and_a_seed_brings_them_back() -> None:
    test, truth = torch.zeros(3, 1, 4), torch.tensor([0, 0, 1])
    runs = [
        train_on_synthetic_score(
            test, truth, test, truth, fit=by_chance, repeats=16,
            generator=torch.Generator().manual_seed(1),
        )
        for _ in range(2)
    ]  # fmt: skip
    assert torch.equal(*runs)
    assert torch.allclose(torch.unique(runs[0]), torch.tensor([1 / 3, 2 / 3], dtype=torch.float64))


def test_a_gain_is_paired() -> None:
    """Both classifiers of a repeat draw the same numbers, so chance gains exactly nothing."""
    x, y = clouds(0.0, 9)
    gain = augmentation_gain(
        x, y, x, y, x, y, fit=by_chance, repeats=8, generator=torch.Generator().manual_seed(0)
    )
    assert gain.tolist() == [0.0] * 8


def test_a_broken_series_leaves_nothing_known() -> None:
    """A network that answers NaN names the first class each time, which is right half the time."""
    x, y = clouds(0.0, 8)
    broken = x.clone()
    broken[3, 0, 1] = torch.nan
    fit = partial(fit_fcn_classifier, steps=2, width=4)
    for made, test in ((broken, x), (x, broken)):
        assert train_on_synthetic_score(made, y, test, y, fit=fit, repeats=2).isnan().all()
    assert augmentation_gain(x, y, broken, y, x, y, fit=fit, repeats=1).isnan().all()


def test_a_class_that_is_ruled_out_is_an_answer() -> None:
    """A logit of minus infinity is no NaN."""
    x, y = clouds(0.0, 8)

    def sure(series: Tensor, labels: Tensor, *, generator: torch.Generator | None) -> Logits:
        return lambda series: torch.tensor([0.0, -torch.inf]).expand(len(series), 2)

    assert train_on_synthetic_score(x, y, x, y, fit=sure, repeats=1).tolist() == [
        float((y == 0).double().mean())
    ]


# Complaints.


def test_refuses() -> None:
    x, y = clouds(0.0, 8)
    with pytest.raises(
        ValueError, match=r"synthetic and test must have the same channels; got 1 and 2$"
    ):
        train_on_synthetic_score(x, y, x.expand(-1, 2, -1), y, fit=nearest_mean)
    with pytest.raises(ValueError, match=r"synthetic_labels must have shape \(8,\), one label"):
        train_on_synthetic_score(x, y[:3], x, y, fit=nearest_mean)
    with pytest.raises(ValueError, match=r"test_labels must be int64; got torch.float32$"):
        train_on_synthetic_score(x, y, x, y.float(), fit=nearest_mean)
    with pytest.raises(ValueError, match=r"repeats must be >= 1; got 0$"):
        train_on_synthetic_score(x, y, x, y, fit=nearest_mean, repeats=0)
    with pytest.raises(ValueError, match=r"^augmentation_gain: real and test must have the same c"):
        augmentation_gain(x, y, x, y, x.expand(-1, 2, -1), y, fit=nearest_mean)
    with pytest.raises(ValueError, match=r"^augmentation_gain: real and generated must have the"):
        augmentation_gain(x, y, x[:, :, :2], y, x, y, fit=nearest_mean)
