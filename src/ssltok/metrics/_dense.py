"""Dense probes: what each token tells, by segments and by events."""

from collections.abc import Sequence

import torch
from torch import Tensor

from ssltok._shared.checks import (
    check_at_least,
    check_axes,
    check_codes,
    check_floating,
    check_ratio,
    check_same_shape,
)
from ssltok.metrics._checks import missing_extra

__all__ = ["dense_probe_iou", "event_average_precision", "mean_iou"]


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
        ValueError: If the shapes differ or a tensor is not int64.

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
    known = target >= 0
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
        most_iterations: Of the solver (L-BFGS).

    Returns:
        The mean IoU, a float64 scalar in [0, 1].

    Raises:
        ValueError: If shapes do not fit, or the training labels hold fewer than 2 classes.
        ImportError: If scikit-learn is missing.

    Example:
        >>> import torch
        >>> from ssltok.metrics import dense_probe_iou
        >>> x = torch.tensor([[[0.0], [1.0], [8.0], [9.0]]])
        >>> y = torch.tensor([[0, 0, 1, 1]])
        >>> dense_probe_iou(x, y, x, y).item()
        1.0
    """
    who = "dense_probe_iou"
    for name, features, labels in (("train", train, train_labels), ("test", test, test_labels)):
        check_floating(who, name, features)
        check_axes(who, name, features, "batch tokens dim")
        check_codes(who, f"{name}_labels", labels)
        if labels.shape != features.shape[:2]:
            raise ValueError(
                f"{who}: {name}_labels must have shape {tuple(features.shape[:2])}; "
                f"got {tuple(labels.shape)}"
            )
    known = train_labels >= 0
    classes = int(max(train_labels.max(), test_labels.max())) + 1
    check_at_least(who, "classes of train_labels", len(torch.unique(train_labels[known])), 2)
    try:
        from sklearn.linear_model import LogisticRegression
        from sklearn.pipeline import make_pipeline
        from sklearn.preprocessing import StandardScaler
    except ImportError as error:
        raise missing_extra(who, "scikit-learn") from error
    model = make_pipeline(
        StandardScaler(), LogisticRegression(C=inverse_regularization, max_iter=most_iterations)
    )
    model.fit(train[known].detach().cpu().double().numpy(), train_labels[known].cpu().numpy())
    flat = model.predict(test.detach().cpu().double().flatten(0, 1).numpy())
    pred = torch.as_tensor(flat, device=test_labels.device).view(test_labels.shape)
    return mean_iou(pred, test_labels, classes=classes)


def event_average_precision(
    pred: Sequence[Tensor], target: Sequence[Tensor], *, least_iou: float = 0.5
) -> Tensor:
    """Measure how well events are found: area under precision over recall.

    Predictions of all series are taken by falling score. Each finds the true event of its series
    that is still free and overlaps it most; it is right if the overlap, intersection over union
    of the two intervals, is at least `least_iou`. Precision is made non-increasing from the
    right, and summed where recall rises (no grid of recalls).

    Args:
        pred: For each series its predicted events, `(events, 3)`: start, end, score.
        target: For each series its true events, `(events, 2)`: start, end; the end is excluded.
        least_iou: Overlap that counts as found, in (0, 1].

    Returns:
        A float64 scalar in [0, 1]; NaN if there is no true event.

    Raises:
        ValueError: If the numbers of series or the shapes do not fit.

    Example:
        >>> import torch
        >>> from ssltok.metrics import event_average_precision
        >>> target = [torch.tensor([[0.0, 10.0], [20.0, 30.0]])]
        >>> pred = [torch.tensor([[0.0, 9.0, 0.9], [50.0, 60.0, 0.8], [20.0, 31.0, 0.7]])]
        >>> round(event_average_precision(pred, target).item(), 4)  # 1/2 * 1 + 1/2 * 2/3
        0.8333

    References:
        Everingham et al., *The PASCAL visual object classes challenge: a retrospective*, 2015,
        section 2.2; matching to free events as in COCO.
    """
    who = "event_average_precision"
    check_ratio(who, "least_iou", least_iou)
    if len(pred) != len(target):
        raise ValueError(
            f"{who}: pred and target must have the same number of series; "
            f"got {len(pred)} and {len(target)}"
        )
    for name, sets, width in (("pred", pred, 3), ("target", target, 2)):
        for events in sets:
            check_axes(who, name, events, "events columns")
            if events.shape[1] != width:
                raise ValueError(f"{who}: {name} must have {width} columns; got {events.shape[1]}")
    truths = sum(len(events) for events in target)
    if truths == 0:
        return torch.tensor(torch.nan, dtype=torch.float64)
    ranked = sorted(
        ((-row[2], series, row[0], row[1]) for series, p in enumerate(pred) for row in p.tolist()),
        key=lambda event: event[0],
    )
    free = [events.tolist() for events in target]
    right = torch.zeros(len(ranked), dtype=torch.float64)
    for rank, (_, series, start, end) in enumerate(ranked):
        overlaps = [_iou(start, end, *event) for event in free[series]]
        if overlaps and max(overlaps) >= least_iou:
            free[series].pop(overlaps.index(max(overlaps)))
            right[rank] = 1
    precision = right.cumsum(0) / torch.arange(1, len(ranked) + 1)
    envelope = precision.flip(0).cummax(0).values.flip(0) if ranked else precision
    return (envelope * right).sum() / truths


def _iou(start: float, end: float, other_start: float, other_end: float) -> float:
    shared = max(0.0, min(end, other_end) - max(start, other_start))
    union = (end - start) + (other_end - other_start) - shared
    return shared / union if union > 0 else 0.0
