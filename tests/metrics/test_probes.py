"""Probes against scikit-learn used directly, values by reasoning, and their laws."""

import math
import sys
import warnings

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import LogisticRegression
from sklearn.neighbors import KNeighborsClassifier
from sklearn.svm import SVC
from torch import Tensor

from ssltok.metrics import (
    few_label_accuracy,
    knn_accuracy,
    linear_probe_accuracy,
    svm_probe_accuracy,
)


def data(seed: int, train: int = 40, test: int = 30, dim: int = 3) -> tuple[Tensor, ...]:
    """Three overlapping classes whose features have very different scales."""
    generator = torch.Generator().manual_seed(seed)
    y = torch.randint(3, (train + test,), generator=generator)
    y[:3] = torch.arange(3)
    x = torch.randn(train + test, dim, generator=generator, dtype=torch.float64)
    x[:, 0] += 1.2 * y
    x[:, 1] = 100 * x[:, 1] + 80 * (y == 1)
    return x[:train], y[:train], x[train:], y[train:]


# Oracle.


@given(st.integers(0, 10_000), st.integers(1, 9))
def test_knn_agrees_with_scikit_learn(seed: int, neighbors: int) -> None:
    x, y, u, v = data(seed)
    model = KNeighborsClassifier(neighbors, algorithm="brute").fit(x.numpy(), y.numpy())
    accuracy = knn_accuracy(x, y, u, v, neighbors=neighbors)
    assert accuracy.item() == pytest.approx(model.score(u.numpy(), v.numpy()))


@given(st.integers(0, 10_000))
def test_weighted_knn_agrees_with_a_loop(seed: int) -> None:
    x, y, u, v = data(seed)
    right = 0
    for row, truth in zip(u, v, strict=True):
        cosine = torch.nn.functional.cosine_similarity(row[None], x)
        near = cosine.argsort(descending=True)[:7]
        votes = [sum(math.exp(cosine[i] / 0.2) for i in near if y[i] == k) for k in range(3)]
        right += votes.index(max(votes)) == truth
    accuracy = knn_accuracy(x, y, u, v, neighbors=7, temperature=0.2)
    assert accuracy.item() == pytest.approx(right / len(v))


@pytest.mark.parametrize("c", [1.0, 0.01])
def test_linear_and_svm_agree_with_scikit_learn(c: float) -> None:
    x, y, u, v = data(7, train=60, test=200)
    mean, std = x.mean(0), x.std(0, correction=0)
    a, b = ((x - mean) / std).numpy(), ((u - mean) / std).numpy()
    logistic = LogisticRegression(C=c, max_iter=1000).fit(a, y.numpy()).score(b, v.numpy())
    svm = SVC(kernel="linear", C=c).fit(a, y.numpy()).score(b, v.numpy())
    assert linear_probe_accuracy(x, y, u, v, inverse_regularization=c).item() == logistic
    assert svm_probe_accuracy(x, y, u, v, inverse_regularization=c).item() == svm
    assert 0.4 < logistic < 0.95
    assert 0.4 < svm < 0.95


def test_few_labels_are_stratified_and_drawn_anew() -> None:
    seen = []

    def probe(x: Tensor, y: Tensor, u: Tensor, v: Tensor) -> Tensor:
        seen.append((x, torch.bincount(y, minlength=3).tolist()))
        return torch.zeros((), dtype=torch.float64)

    x, u = torch.randn(62, 2, generator=torch.Generator().manual_seed(0)), torch.zeros(1, 2)
    y = torch.tensor([0] * 40 + [1] * 20 + [2] * 2)
    generator = torch.Generator().manual_seed(3)
    few_label_accuracy(x, y, u, y[:1], share=0.1, probe=probe, repeats=3, generator=generator)
    assert [counts for _, counts in seen] == [[4, 2, 1]] * 3
    assert not torch.equal(seen[0][0], seen[1][0])


# Known values and laws.


def test_knn_ties_share_the_last_votes_and_then_go_to_the_smaller_label() -> None:
    x = torch.tensor([[1.0], [1.0], [-1.0]])
    u, v = torch.tensor([[0.0]]), torch.tensor([1])
    assert knn_accuracy(x, torch.tensor([2, 1, 1]), u, v, neighbors=1).item() == 1  # 2/3 to 1/3
    assert knn_accuracy(x, torch.tensor([2, 1, 3]), u, v, neighbors=2).item() == 1  # 2/3 each
    assert knn_accuracy(x, torch.tensor([2, 1, 0]), u, v, neighbors=2).item() == 0
    near = torch.tensor([[0.5], [1.0], [1.0], [-1.0], [-1.0]])  # 1 to 0; 1 is left to four
    assert knn_accuracy(near, torch.tensor([0, 1, 1, 1, 1]), u, v, neighbors=2).item() == 0
    assert knn_accuracy(near, torch.tensor([0, 1, 1, 1, 1]), u, v, neighbors=3).item() == 1


def test_a_row_of_zeros_has_cosine_zero() -> None:
    """exp(-1) for the row that is opposite, exp(0) for zeros: the votes are 1 to 1/e."""
    x, y = torch.tensor([[-1.0, 0.0], [0.0, 0.0]]), torch.tensor([0, 1])
    u = torch.tensor([[1.0, 0.0], [0.0, 0.0]])
    score = knn_accuracy(x, y, u, torch.tensor([1, 0]), neighbors=2, temperature=1.0)
    assert score.item() == 1
    # e^1 for one alike, against three zeros of e^0: with a cosine of 1/2 they had 3 e^(1/2).
    x, y = torch.tensor([[1.0, 0.0], *[[0.0, 0.0]] * 2]), torch.tensor([0, 1, 1])
    score = knn_accuracy(x, y, u[:1], torch.tensor([0]), neighbors=3, temperature=1.0)
    assert score.item() == 1


def test_a_small_temperature_leaves_the_nearest_a_vote() -> None:
    x, y = torch.tensor([[1.0, 0.3], [1.0, -0.2]]), torch.tensor([0, 1])
    u = torch.tensor([[1.0, 0.0]])
    score = knn_accuracy(x, y, u, torch.tensor([1]), neighbors=2, temperature=1e-5)
    assert score.item() == 1


@given(st.integers(0, 10_000))
def test_probes_do_not_depend_on_the_order_of_test_cases(seed: int) -> None:
    x, y, u, v = data(seed)
    order = torch.randperm(len(u), generator=torch.Generator().manual_seed(seed))
    assert knn_accuracy(x, y, u, v) == knn_accuracy(x, y, u[order], v[order])
    assert linear_probe_accuracy(x, y, u, v) == linear_probe_accuracy(x, y, u[order], v[order])


def test_the_linear_probe_is_at_its_optimum_where_columns_are_nearly_alike() -> None:
    """Neighbouring samples of a smooth series: L-BFGS has not come to the end after 1,000 steps."""
    random = np.random.default_rng(0)
    label = np.arange(160) % 8
    walks = random.standard_normal((160, 200)).cumsum(1)
    walks += (label[:, None] - 3) * np.linspace(0, 20, 200)
    train, test = walks[:80], walks[80:]
    x, u = ((part - train.mean(0)) / train.std(0) for part in (train, test))
    score = []
    for steps, tolerance in ((1000, 1e-4), (100_000, 1e-9)):
        model = LogisticRegression(max_iter=steps, tol=tolerance)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ConvergenceWarning)
            score.append(model.fit(x, label[:80]).score(u, label[80:]))
    found = linear_probe_accuracy(*map(torch.from_numpy, (train, label[:80], test, label[80:])))
    assert found.item() == score[1] != score[0]


def test_the_scaler_is_fitted_on_train_only() -> None:
    """An outlier in the test split changes no other prediction."""
    x, y, u, v = data(4)
    alone = svm_probe_accuracy(x, y, u, v) * len(u)
    outlier = torch.full((1, 3), 1e9, dtype=u.dtype)
    wrong = torch.cat([v, torch.tensor([9])])
    more = svm_probe_accuracy(x, y, torch.cat([u, outlier]), wrong) * (len(u) + 1)
    torch.testing.assert_close(alone, more)


def test_all_labels_is_the_probe_itself() -> None:
    x, y, u, v = data(5)
    few = few_label_accuracy(x, y, u, v, share=1.0, probe=svm_probe_accuracy, repeats=2)
    assert few.tolist() == [svm_probe_accuracy(x, y, u, v).item()] * 2


def test_same_seed_same_accuracy() -> None:
    x, y, u, v = data(6)
    twice = [
        few_label_accuracy(x, y, u, v, share=0.2, generator=torch.Generator().manual_seed(1))
        for _ in range(2)
    ]
    assert torch.equal(*twice)
    assert not torch.equal(twice[0], twice[0].roll(1))


@pytest.mark.parametrize(("share", "kept"), [(0.16, 2), (0.14, 1), (0.01, 1), (0.96, 10)])
def test_a_share_is_rounded_to_the_nearest_case(share: float, kept: int) -> None:
    seen = []

    def probe(x: Tensor, y: Tensor, u: Tensor, v: Tensor) -> Tensor:
        seen.append(torch.bincount(y).tolist())
        return torch.zeros((), dtype=torch.float64)

    x, y = torch.zeros(20, 1), torch.arange(20) % 2
    few_label_accuracy(x, y, x, y, share=share, probe=probe, repeats=1)
    assert seen == [[kept, kept]]


# Complaints.


@pytest.mark.parametrize("bad", [torch.nan, torch.inf])
def test_refuses_features_that_are_not_finite(bad: float) -> None:
    x, y, u, v = data(0)
    broken, tested = x.clone(), u.clone()
    broken[3], broken[7, 1], tested[2, 0] = bad, bad, bad
    for probe in (knn_accuracy, linear_probe_accuracy, svm_probe_accuracy):
        said = rf"^{probe.__name__}: features of train must be finite; got 2 of 40 rows without$"
        with pytest.raises(ValueError, match=said):
            probe(broken, y, u, v)
        said = rf"^{probe.__name__}: features of test must be finite; got 1 of 30 rows without$"
        with pytest.raises(ValueError, match=said):
            probe(x, y, tested, v)


def test_refuses() -> None:
    x, y, u, v = data(0)
    for probe in (knn_accuracy, linear_probe_accuracy, svm_probe_accuracy):
        with pytest.raises(ValueError, match=r"_accuracy: train_labels must be >= 0; got -1$"):
            probe(x, y - 1, u, v)
        with pytest.raises(ValueError, match=r"_accuracy: test_labels must be >= 0; got -1$"):
            probe(x, y, u, v - 1)
    with pytest.raises(ValueError, match=r"^knn_accuracy: training cases must be >= 41; got 40$"):
        knn_accuracy(x, y, u, v, neighbors=41)
    with pytest.raises(ValueError, match=r"^knn_accuracy: temperature must be > 0; got 0$"):
        knn_accuracy(x, y, u, v, temperature=0)
    with pytest.raises(ValueError, match=r"train_labels must have shape \(40,\), one label a case"):
        linear_probe_accuracy(x, y[:5], u, v)
    with pytest.raises(ValueError, match=r"test_labels must be int64; got torch.float32$"):
        svm_probe_accuracy(x, y, u, v.float())
    with pytest.raises(ValueError, match=r"classes of train_labels must be >= 2; got 1$"):
        linear_probe_accuracy(x, torch.zeros_like(y), u, v)
    said = r"^svm_probe_accuracy: train and test must have one dim; got 3 and 2$"
    with pytest.raises(ValueError, match=said):
        svm_probe_accuracy(x, y, u[:, :2], v)
    with pytest.raises(ValueError, match=r"^few_label_accuracy: share must be > 0; got 0$"):
        few_label_accuracy(x, y, u, v, share=0)


def test_names_the_extra_that_is_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    x, y, u, v = data(0)
    monkeypatch.setitem(sys.modules, "sklearn.linear_model", None)
    monkeypatch.setitem(sys.modules, "sklearn.svm", None)
    for probe in (linear_probe_accuracy, svm_probe_accuracy):
        with pytest.raises(ImportError, match=r"scikit-learn is needed; .*ssltok\[pipelines\]"):
            probe(x, y, u, v)
