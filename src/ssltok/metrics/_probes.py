"""Probes: how well a simple classifier reads the labels from frozen features."""

from collections.abc import Callable
from typing import Any, Protocol

import torch
from torch import Tensor
from torch.nn import functional

from ssltok._shared import sizes
from ssltok._shared.checks import check_at_least, check_positive, check_ratio
from ssltok._shared.scaling import mean_and_scale
from ssltok.metrics._checks import (
    check_features,
    check_finite,
    check_known_labels,
    missing_extra,
)

__all__ = ["few_label_accuracy", "knn_accuracy", "linear_probe_accuracy", "svm_probe_accuracy"]


class Classifier(Protocol):
    """What scikit-learn's classifiers do."""

    def fit(self, X: Any, y: Any) -> Any:  # noqa: N803
        """Learn from rows and their labels."""

    def predict(self, X: Any) -> Any:  # noqa: N803
        """Label rows."""


Probe = Callable[[Tensor, Tensor, Tensor, Tensor], Tensor]


def knn_accuracy(
    train: Tensor,
    train_labels: Tensor,
    test: Tensor,
    test_labels: Tensor,
    *,
    neighbors: int = 5,
    temperature: float | None = None,
) -> Tensor:
    r"""Classify each test case by its nearest training cases and measure the accuracy.

    Without a temperature the nearest by Euclidean distance have one vote each, as in
    scikit-learn's `KNeighborsClassifier(5)`, which the field reports. With one, the nearest by
    cosine vote with $\exp(\cos / \tau)$; a row of zeros has cosine 0 to all. Equal votes go to the
    smaller label; those equally far as the last voter share the votes that are left, so that the
    order of the training cases decides nothing (scikit-learn takes the earlier ones). Features are
    taken as they are; scale them with statistics of the training split if their scales differ.

    Args:
        train: Features of the training split, `(cases, dim)`.
        train_labels: Its classes from 0, `(cases,)` int64.
        test: Features of the test split, `(cases, dim)`.
        test_labels: Its classes, `(cases,)` int64.
        neighbors: Voters; at most the training cases.
        temperature: $\tau$; 0.07 in the reference.

    Returns:
        The accuracy, a float64 scalar in [0, 1].

    Raises:
        ValueError: If shapes do not fit, there are fewer training cases than neighbours, a label
            is negative, or a feature is not finite.
        TypeError: If an input is not a tensor, or an option not a number.

    Example:
        >>> import torch
        >>> from ssltok.metrics import knn_accuracy
        >>> x, y = torch.tensor([[0.0], [1.0], [10.0]]), torch.tensor([0, 0, 1])
        >>> knn_accuracy(x, y, torch.tensor([[9.0], [4.0]]), torch.tensor([1, 1]), neighbors=1)
        tensor(0.5000, dtype=torch.float64)

    References:
        Weighted vote: Wu et al., *Unsupervised feature learning via non-parametric instance
        discrimination*, 2018, <https://arxiv.org/abs/1805.01978>, section 3.4.
    """
    who = "knn_accuracy"
    _check(who, train, train_labels, test, test_labels)
    check_at_least(who, "neighbors", neighbors, 1)
    check_at_least(who, "training cases", len(train), neighbors)
    if temperature is not None:
        check_positive(who, "temperature", temperature)
        train, test = functional.normalize(train.double()), functional.normalize(test.double())
    bank, labels = train.detach().double(), train_labels
    classes = int(labels.max()) + 1
    right = []
    chunks = torch.split(test.detach().double(), sizes.ROWS)
    for rows, truth in zip(chunks, torch.split(test_labels, sizes.ROWS), strict=True):
        apart = torch.cdist(rows, bank, compute_mode="donot_use_mm_for_euclid_dist")
        if temperature is not None:  # on the sphere: cosine = 1 - distance**2 / 2
            zero = (rows == 0).all(1)[:, None] | (bank == 0).all(1)
            apart = torch.where(zero, 2**0.5, apart)
        near = apart.sort(dim=1, stable=True)
        last = near.values[:, neighbors - 1 : neighbors]
        voters = int((near.values <= last).sum(1).max())  # with those that share the last votes
        distance, index = near.values[:, :voters], near.indices[:, :voters]
        nearer, tied = distance < last, distance == last
        shared = (neighbors - nearer.sum(1, keepdim=True)) * tied
        weight = (nearer * tied.sum(1, keepdim=True) + shared).double()  # times the tied: whole
        if temperature is not None:
            nearest = distance[:, :1].square()  # a common factor, which keeps all from being 0
            weight *= ((nearest - distance.square()) / (2 * temperature)).exp()
        votes = torch.zeros(len(rows), classes, dtype=torch.float64, device=bank.device)
        votes.scatter_add_(1, labels[index], weight)
        right.append(votes.argmax(1) == truth)
    return torch.cat(right).double().mean()


def linear_probe_accuracy(
    train: Tensor,
    train_labels: Tensor,
    test: Tensor,
    test_labels: Tensor,
    *,
    inverse_regularization: float = 1.0,
    most_iterations: int = 1000,
) -> Tensor:
    """Fit logistic regression on frozen features and measure its accuracy on the test split.

    Features are standardised with the mean and variance of the training split. The fit is convex,
    so no seed enters; it is done in float64 by Newton's method with conjugate gradients, for
    L-BFGS takes many times as long on features that are nearly collinear, such as neighbouring
    samples of a series, and may stop before the optimum.

    Args:
        train: Features of the training split, `(cases, dim)`.
        train_labels: Its classes, `(cases,)` int64.
        test: Features of the test split, `(cases, dim)`.
        test_labels: Its classes, `(cases,)` int64.
        inverse_regularization: scikit-learn's `C`, its default.
        most_iterations: Newton steps of the solver.

    Returns:
        The accuracy, a float64 scalar in [0, 1].

    Raises:
        ValueError: If shapes do not fit, the training labels hold fewer than 2 classes, a label
            is negative, or a feature is not finite.
        ImportError: If scikit-learn is missing.
        TypeError: If an input is not a tensor, or an option not a number.

    Example:
        >>> import torch
        >>> from ssltok.metrics import linear_probe_accuracy
        >>> x, y = torch.tensor([[0.0], [1.0], [8.0], [9.0]]), torch.tensor([0, 0, 1, 1])
        >>> linear_probe_accuracy(x, y, x, y)
        tensor(1., dtype=torch.float64)
    """
    who = "linear_probe_accuracy"
    check_positive(who, "inverse_regularization", inverse_regularization)
    check_at_least(who, "most_iterations", most_iterations, 1)
    try:
        from sklearn.linear_model import LogisticRegression
    except ImportError as error:
        raise missing_extra(who, "scikit-learn") from error
    model = LogisticRegression(
        C=inverse_regularization, solver="newton-cg", max_iter=most_iterations
    )
    return _fit_and_score(who, model, train, train_labels, test, test_labels)


def svm_probe_accuracy(
    train: Tensor,
    train_labels: Tensor,
    test: Tensor,
    test_labels: Tensor,
    *,
    inverse_regularization: float = 1.0,
) -> Tensor:
    """Fit a linear support vector machine on frozen features and measure its test accuracy.

    Features are standardised with the mean and variance of the training split (the NC-VQVAE study
    scales them to [-1, 1] with the training range instead). One against one for several classes.

    Args:
        train: Features of the training split, `(cases, dim)`.
        train_labels: Its classes, `(cases,)` int64.
        test: Features of the test split, `(cases, dim)`.
        test_labels: Its classes, `(cases,)` int64.
        inverse_regularization: scikit-learn's `C`, its default.

    Returns:
        The accuracy, a float64 scalar in [0, 1].

    Raises:
        ValueError: If shapes do not fit, the training labels hold fewer than 2 classes, a label
            is negative, or a feature is not finite.
        ImportError: If scikit-learn is missing.
        TypeError: If an input is not a tensor, or an option not a number.

    Example:
        >>> import torch
        >>> from ssltok.metrics import svm_probe_accuracy
        >>> x, y = torch.tensor([[0.0], [1.0], [8.0], [9.0]]), torch.tensor([0, 0, 1, 1])
        >>> svm_probe_accuracy(x, y, torch.tensor([[2.0]]), torch.tensor([1]))
        tensor(0., dtype=torch.float64)
    """
    who = "svm_probe_accuracy"
    check_positive(who, "inverse_regularization", inverse_regularization)
    try:
        from sklearn.svm import SVC
    except ImportError as error:
        raise missing_extra(who, "scikit-learn") from error
    model = SVC(kernel="linear", C=inverse_regularization)
    return _fit_and_score(who, model, train, train_labels, test, test_labels)


def few_label_accuracy(
    train: Tensor,
    train_labels: Tensor,
    test: Tensor,
    test_labels: Tensor,
    *,
    share: float,
    probe: Probe = linear_probe_accuracy,
    repeats: int = 5,
    generator: torch.Generator | None = None,
) -> Tensor:
    """Fit a probe on a small labelled share of the training split, several times.

    The share is drawn class by class, rounded to the nearest case but at least one of each class.

    Args:
        train: Features of the training split, `(cases, dim)`.
        train_labels: Its classes, `(cases,)` int64.
        test: Features of the test split, `(cases, dim)`.
        test_labels: Its classes, `(cases,)` int64.
        share: Share of labels that is kept, in (0, 1]; the field reports 0.01 and 0.1.
        probe: Fits and scores, such as `svm_probe_accuracy`.
        repeats: Draws of the share.
        generator: Draws the cases.

    Returns:
        One accuracy in [0, 1] for each draw, `(repeats,)` float64.

    Raises:
        ValueError: If shapes do not fit, a label is negative, a feature is not finite, or an
            option is out of range.
        TypeError: If an input is not a tensor, or an option not a number.

    Example:
        >>> import torch
        >>> from ssltok.metrics import few_label_accuracy
        >>> x, y = torch.tensor([[0.0], [1.0], [8.0], [9.0]]), torch.tensor([0, 0, 1, 1])
        >>> few_label_accuracy(x, y, x, y, share=0.5, repeats=2)  # one of each class will do
        tensor([1., 1.], dtype=torch.float64)
    """
    who = "few_label_accuracy"
    _check(who, train, train_labels, test, test_labels)
    check_ratio(who, "share", share)
    check_positive(who, "share", share)
    check_at_least(who, "repeats", repeats, 1)
    device = train_labels.device if generator is None else generator.device
    members = [(train_labels == k).nonzero()[:, 0] for k in torch.unique(train_labels).tolist()]
    scores = []
    for _ in range(repeats):
        chosen = []
        for cases in members:
            order = torch.randperm(len(cases), generator=generator, device=device)
            chosen.append(cases[order[: max(1, round(share * len(cases)))].to(cases.device)])
        index = torch.cat(chosen)
        scores.append(probe(train[index], train_labels[index], test, test_labels))
    return torch.stack(scores)


def _check(
    who: str, train: Tensor, train_labels: Tensor, test: Tensor, test_labels: Tensor
) -> None:
    check_features(who, train, test, names=("train", "test"))
    check_known_labels(who, "train_labels", train_labels, len(train))
    check_known_labels(who, "test_labels", test_labels, len(test))
    check_finite(who, "features of train", train)
    check_finite(who, "features of test", test)


def _fit_and_score(
    who: str,
    model: Classifier,
    train: Tensor,
    train_labels: Tensor,
    test: Tensor,
    test_labels: Tensor,
) -> Tensor:
    _check(who, train, train_labels, test, test_labels)
    check_at_least(who, "classes of train_labels", len(torch.unique(train_labels)), 2)
    mean, scale = mean_and_scale(train.detach(), (0,))
    data = [((part.detach() - mean) / scale).cpu().numpy() for part in (train, test)]
    model.fit(data[0], train_labels.cpu().numpy())
    predicted = torch.as_tensor(model.predict(data[1]), device=test_labels.device)
    return (predicted == test_labels).double().mean()
