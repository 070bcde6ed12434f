"""Dense probes: what each token tells, point by point."""

import torch
from torch import Tensor

from ssltok._shared.checks import (
    check_at_least,
    check_axes,
    check_codes,
    check_floating,
    check_positive,
    check_same_shape,
)
from ssltok._shared.scaling import mean_and_scale
from ssltok.metrics._checks import check_finite, missing_extra

__all__ = ["dense_probe_iou", "fit_token_classifier", "mean_iou"]


def mean_iou(pred: Tensor, target: Tensor, *, classes: int) -> Tensor:
    """Measure the overlap of predicted and true segments: intersection over union.

    Points are pooled over all series first; the mean is over classes that occur in either.

    Args:
        pred: Predicted class of each point, any shape, int64, from 0.
        target: True class, the same shape, int64; -1 leaves the point out.
        classes: Number of classes.

    Returns:
        A float64 scalar in [0, 1]; NaN if every point is left out.

    Raises:
        ValueError: If the shapes differ, a tensor is empty or not int64, or a class of a point
            that counts is out of range.
        TypeError: If an input is not a tensor, or an option not a number.

    Example:
        >>> import torch
        >>> from ssltok.metrics import mean_iou
        >>> pred, target = torch.tensor([0, 0, 1, 1]), torch.tensor([0, 1, 1, 1])
        >>> round(mean_iou(pred, target, classes=3).item(), 4)  # 1/2 and 2/3; class 2 is nowhere
        0.5833
    """
    who = "mean_iou"
    check_codes(who, "pred", pred)
    check_codes(who, "target", target)
    check_same_shape(who, "pred and target", pred, target)
    check_at_least(who, "classes", classes, 1)
    check_at_least(who, "points", pred.numel(), 1)
    known = target >= 0
    for name, part in (("pred", pred), ("target", target)):
        low, high = torch.where(known, part, 0).aminmax()
        if int(low) < 0 or int(high) >= classes:
            raise ValueError(
                f"{who}: {name} must lie in [0, {classes}); got {int(low)} to {int(high)}"
            )
    sizes = []
    for part in (pred, target, torch.where(pred == target, pred, -1)):
        counts = torch.zeros(classes + 1, dtype=torch.float64, device=pred.device)
        slot = torch.where(known, part, -1).flatten() + 1
        sizes.append(counts.scatter_add_(0, slot, torch.ones_like(slot).double())[1:])
    union = sizes[0] + sizes[1] - sizes[2]
    occurs = union > 0
    return torch.where(occurs, sizes[2] / union, 0.0).sum() / occurs.sum()


def dense_probe_iou(
    train: Tensor,
    train_labels: Tensor,
    test: Tensor,
    test_labels: Tensor,
    *,
    inverse_regularization: float = 1.0,
    most_iterations: int = 1000,
) -> Tensor:
    """Fit one logistic classifier to all tokens and measure its mean IoU on the test split.

    The counterpart for series of a frozen linear segmentation probe. Features are standardised
    with the statistics of the training split.

    Args:
        train: Features of each token, `(batch, tokens, dim)`.
        train_labels: Class of each token from 0, `(batch, tokens)` int64; -1 leaves it out.
        test: Features of the test split, `(batch, tokens, dim)`.
        test_labels: Its classes, `(batch, tokens)` int64; -1 leaves the token out.
        inverse_regularization: scikit-learn's `C`, its default.
        most_iterations: Newton steps of the solver.

    Returns:
        The mean IoU, a float64 scalar in [0, 1].

    Raises:
        ValueError: If shapes do not fit, there is no token, the training labels hold fewer than
            2 classes, or a feature is not finite.
        ImportError: If scikit-learn is missing.
        TypeError: If an input is not a tensor, or an option not a number.

    Example:
        >>> import torch
        >>> from ssltok.metrics import dense_probe_iou
        >>> x = torch.tensor([[[0.0], [1.0], [8.0], [9.0]]])
        >>> y = torch.tensor([[0, 0, 1, 1]])
        >>> dense_probe_iou(x, y, x, y).item()
        1.0
    """
    probability = fit_token_classifier(
        "dense_probe_iou",
        train,
        train_labels,
        test,
        test_labels,
        inverse_regularization=inverse_regularization,
        most_iterations=most_iterations,
    )
    return mean_iou(probability.argmax(2), test_labels, classes=probability.shape[2])


def fit_token_classifier(
    who: str,
    train: Tensor,
    train_labels: Tensor,
    test: Tensor,
    test_labels: Tensor,
    *,
    inverse_regularization: float,
    most_iterations: int,
) -> Tensor:
    """Fit logistic regression to all tokens; probabilities of the test tokens, by class.

    `(batch, tokens, classes)` float64, with a column for every class up to the largest of either
    split; a class that the training split lacks has probability 0.
    """
    for name, features, labels in (("train", train, train_labels), ("test", test, test_labels)):
        check_floating(who, name, features)
        check_axes(who, name, features, "batch tokens dim")
        check_at_least(who, f"tokens of {name}", features.shape[0] * features.shape[1], 1)
        check_codes(who, f"{name}_labels", labels)
        if labels.shape != features.shape[:2]:
            raise ValueError(
                f"{who}: {name}_labels must have shape {tuple(features.shape[:2])}; "
                f"got {tuple(labels.shape)}"
            )
    if train.shape[2] != test.shape[2]:
        raise ValueError(
            f"{who}: train and test must have one dim; got {train.shape[2]} and {test.shape[2]}"
        )
    check_at_least(who, "dim", train.shape[2], 1)
    check_positive(who, "inverse_regularization", inverse_regularization)
    check_at_least(who, "most_iterations", most_iterations, 1)
    known = train_labels >= 0
    classes = int(max(train_labels.max(), test_labels.max())) + 1
    check_at_least(who, "classes of train_labels", len(torch.unique(train_labels[known])), 2)
    check_finite(who, "features of train", train[known])
    check_finite(who, "features of test", test.flatten(0, 1))
    try:
        from sklearn.linear_model import LogisticRegression
    except ImportError as error:
        raise missing_extra(who, "scikit-learn") from error
    model = LogisticRegression(
        C=inverse_regularization, solver="newton-cg", max_iter=most_iterations, tol=1e-8
    )
    mean, scale = mean_and_scale(train[known].detach(), (0,))
    rows = [((x.detach() - mean) / scale).cpu().numpy() for x in (train[known], test.flatten(0, 1))]
    model.fit(rows[0], train_labels[known].cpu().numpy())
    predicted = model.predict_proba(rows[1])
    probability = torch.zeros(len(predicted), classes, dtype=torch.float64)
    probability[:, torch.as_tensor(model.classes_)] = torch.as_tensor(predicted)
    return probability.view(*test_labels.shape, classes).to(test_labels.device)
