"""Events: are they found where they are, by any detector or by a probe of each token."""

from collections.abc import Sequence

import torch
from torch import Tensor

from ssltok._shared.checks import check_axes, check_positive, check_ratio
from ssltok.metrics._checks import check_finite
from ssltok.metrics._dense import fit_token_classifier

__all__ = ["event_average_precision", "event_probe_precision"]


def event_probe_precision(
    train: Tensor,
    train_labels: Tensor,
    test: Tensor,
    test_labels: Tensor,
    *,
    background: int = 0,
    least_iou: float = 0.5,
    inverse_regularization: float = 1.0,
    most_iterations: int = 1000,
) -> Tensor:
    """Fit one logistic classifier to all tokens, read events off it, and score their detection.

    The counterpart for series of a frozen detection head. Tokens of one predicted class in a row
    are an event of that class, its score the mean probability of the class over them; true events
    are runs of one true class. `event_average_precision` scores each class by itself, and the mean
    is over the classes that occur in the test split. Features are standardised with the
    statistics of the training split.

    Args:
        train: Features of each token, `(batch, tokens, dim)`, tokens in their order in time.
        train_labels: Class of each token from 0, `(batch, tokens)` int64; -1 leaves it out.
        test: Features of the test split, `(batch, tokens, dim)`.
        test_labels: Its classes, `(batch, tokens)` int64; -1 belongs to no event.
        background: The class that is no event.
        least_iou: Overlap that counts as found, in (0, 1].
        inverse_regularization: scikit-learn's `C`, its default.
        most_iterations: Newton steps of the solver.

    Returns:
        The mean average precision, a float64 scalar in [0, 1]; NaN if the test split has no event.

    Raises:
        ValueError: If shapes do not fit, there is no token, the training labels hold fewer than
            2 classes, a feature is not finite, or an option is out of range.
        ImportError: If scikit-learn is missing.
        TypeError: If an input is not a tensor, or an option not a number.

    Example:
        >>> import torch
        >>> from ssltok.metrics import event_probe_precision
        >>> y = torch.tensor([[0, 1, 1, 0, 0, 1, 0, 0]])
        >>> x = y[..., None].float()  # the feature says it all
        >>> event_probe_precision(x, y, x, y).item()
        1.0
    """
    who = "event_probe_precision"
    check_ratio(who, "least_iou", least_iou)
    check_positive(who, "least_iou", least_iou)
    probability = fit_token_classifier(
        who,
        train,
        train_labels,
        test,
        test_labels,
        inverse_regularization=inverse_regularization,
        most_iterations=most_iterations,
    )
    pred = probability.argmax(2).masked_fill(test_labels < 0, -1)
    scores = []
    for k in torch.unique(test_labels[test_labels >= 0]).tolist():
        if k != background:
            events = [
                _runs(row == k, likely)
                for row, likely in zip(pred, probability[..., k], strict=True)
            ]
            truth = [_runs(row == k, row.double())[:, :2] for row in test_labels]
            scores.append(event_average_precision(events, truth, least_iou=least_iou))
    if not scores:
        return torch.tensor(torch.nan, dtype=torch.float64)
    return torch.stack(scores).mean()


def _runs(inside: Tensor, value: Tensor) -> Tensor:
    """Start, end (excluded) and mean value of each run of True, `(runs, 3)` float64."""
    edges = torch.nn.functional.pad(inside.long(), (1, 1)).diff()
    start, end = (edges == 1).nonzero()[:, 0], (edges == -1).nonzero()[:, 0]
    sums = torch.nn.functional.pad(value.cumsum(0), (1, 0))
    return torch.stack([start, end, (sums[end] - sums[start]) / (end - start)], dim=1).double()


def event_average_precision(
    pred: Sequence[Tensor], target: Sequence[Tensor], *, least_iou: float = 0.5
) -> Tensor:
    """Measure how well events are found: area under precision over recall.

    Predictions of all series are taken by falling score. Each finds the true event of its series
    that is still free and overlaps it most; it is right if the overlap, intersection over union
    of the two intervals, is at least `least_iou`. Predictions of one score are taken at once, the
    largest overlaps first, and precision counts all of them: their order decides nothing (in the
    references it does). Precision is made non-increasing from the right, and summed where recall
    rises (no grid of recalls).

    Args:
        pred: For each series its predicted events, `(events, 3)`: start, end, score.
        target: For each series its true events, `(events, 2)`: start, end; the end is excluded.
        least_iou: Overlap that counts as found, in (0, 1].

    Returns:
        A float64 scalar in [0, 1]; NaN if there is no true event.

    Raises:
        ValueError: If the numbers of series or the shapes do not fit, a number is not finite, an
            event ends before it starts, or `least_iou` is out of range.
        TypeError: If an input is not a tensor, or an option not a number.

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
    check_positive(who, "least_iou", least_iou)
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
            check_finite(who, f"events of {name}", events)
            backwards = int((events[:, 1] < events[:, 0]).sum())
            if backwards:
                raise ValueError(
                    f"{who}: events of {name} must end after they start; "
                    f"got {backwards} of {len(events)} that do not"
                )
    truths = sum(len(events) for events in target)
    if truths == 0:
        return torch.tensor(torch.nan, dtype=torch.float64)
    by_score: dict[float, dict[int, list[list[float]]]] = {}
    for series, events in enumerate(pred):
        for start, end, score in events.tolist():
            by_score.setdefault(score, {}).setdefault(series, []).append([start, end])
    free = [sorted(events.tolist()) for events in target]
    taken, right = [], []  # predictions of each score, and how many of them are right
    for score in sorted(by_score, reverse=True):
        taken.append(sum(len(events) for events in by_score[score].values()))
        right.append(
            sum(
                _match(sorted(events), free[series], least_iou)
                for series, events in by_score[score].items()
            )
        )
    gained = torch.tensor(right, dtype=torch.float64)
    precision = gained.cumsum(0) / torch.tensor(taken, dtype=torch.float64).cumsum(0)
    envelope = precision.flip(0).cummax(0).values.flip(0) if taken else precision
    return (envelope * gained).sum() / truths


def _match(events: list[list[float]], free: list[list[float]], least_iou: float) -> int:
    """Pair predictions with free true events, the largest overlap first; take those off `free`."""
    pairs = [
        (_iou(*event, *truth), i, j)
        for i, event in enumerate(events)
        for j, truth in enumerate(free)
    ]
    matched: list[int] = []
    used: set[int] = set()
    for overlap, i, j in sorted(pairs, key=lambda pair: -pair[0]):
        if overlap >= least_iou and i not in used and j not in matched:
            used.add(i)
            matched.append(j)
    for j in sorted(matched, reverse=True):
        free.pop(j)
    return len(matched)


def _iou(start: float, end: float, other_start: float, other_end: float) -> float:
    shared = max(0.0, min(end, other_end) - max(start, other_start))
    union = (end - start) + (other_end - other_start) - shared
    return shared / union if union > 0 else 0.0
