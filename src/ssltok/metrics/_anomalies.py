"""Anomalies: is the highest score where the anomaly is, and are the right stretches marked."""

from collections.abc import Callable, Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from ssltok._shared.checks import (
    check_at_least,
    check_axes,
    check_bool_mask,
    check_codes,
    check_floating,
    check_ratio,
)
from ssltok.metrics._checks import check_finite

__all__ = [
    "AnomalyPrecisionRecall",
    "archive_accuracy",
    "point_precision_recall",
    "range_precision_recall",
]


class AnomalyPrecisionRecall(NamedTuple):
    """How well marks cover anomalies; both are scalars in [0, 1].

    Attributes:
        precision: How much of what is marked is an anomaly; NaN where nothing is marked.
        recall: How much of the anomalies is marked; NaN where there is nothing to find.
    """

    precision: Tensor
    recall: Tensor


def archive_accuracy(scores: Sequence[Tensor], target: Tensor, *, margin: int = 100) -> Tensor:
    r"""Measure in which share of series the highest score is at the one anomaly (top-1 accuracy).

    The rule of the UCR anomaly archive: right is a place within $\max(L, 100)$ samples of the
    anomaly's first or last sample, or between them, $L$ being the anomaly's length. Where several
    samples share the highest score, the share of them that are right counts: a constant score is
    a guess.

    Args:
        scores: For each series its scores, `(length,)`, high where unusual.
        target: For each series its anomaly, `(cases, 2)` int64: start, end; the end is excluded.
        margin: The least tolerance in samples, at least 0; 100 in the archive.

    Returns:
        A float64 scalar in [0, 1].

    Raises:
        ValueError: If there is no series, shapes or dtypes do not fit, a score is not finite, or
            an anomaly is empty or not within its series.
        TypeError: If an input is not a tensor, or an option not a number.

    Example:
        >>> import torch
        >>> from ssltok.metrics import archive_accuracy
        >>> scores = [torch.arange(50.0), torch.arange(50.0)]  # the last sample is the highest
        >>> target = torch.tensor([[30, 40], [43, 44]])  # 10 samples behind the end; 6 behind it
        >>> archive_accuracy(scores, target, margin=4).item()  # 10 long: 10 are allowed
        0.5

    References:
        Wu, Keogh, *Current time series anomaly detection benchmarks are flawed*, 2021,
        <https://arxiv.org/abs/2009.13807>, and the rule that comes with the archive. (The
        authors of TimeVQVAE-AD allow 100 samples whatever the length.)
    """
    who = "archive_accuracy"
    check_at_least(who, "series", len(scores), 1)
    check_codes(who, "target", target)
    check_axes(who, "target", target, "cases 2")
    check_at_least(who, "margin", margin, 0)
    if tuple(target.shape) != (len(scores), 2):
        raise ValueError(
            f"{who}: target must be (cases, 2), a start and an end for each of {len(scores)} "
            f"series; got {tuple(target.shape)}"
        )
    right = []
    for score, (start, end) in zip(scores, target.tolist(), strict=True):
        check_floating(who, "scores", score)
        check_axes(who, "scores", score, "length")
        if not 0 <= start < end <= len(score):
            raise ValueError(
                f"{who}: anomalies must be at least one sample and lie within their series, of "
                f"{len(score)} samples; got {start} to {end}"
            )
        check_finite(who, "scores", score[:, None])
        highest = (score == score.max()).nonzero()[:, 0]
        tolerance = max(end - start, margin)
        near = (highest >= start - tolerance) & (highest <= end - 1 + tolerance)
        right.append(near.double().mean())
    return torch.stack(right).mean()


def point_precision_recall(pred: Tensor, target: Tensor) -> AnomalyPrecisionRecall:
    """Compare marked samples with those of anomalies, sample by sample, over all series.

    Args:
        pred: Boolean `(cases, length)`, True where a sample is marked.
        target: Boolean, of the same shape, True within an anomaly.

    Returns:
        `AnomalyPrecisionRecall`, float64: the share of marked samples that are right, and the
        share of anomalous samples that are marked.

    Raises:
        ValueError: If shapes or dtypes do not fit.
        TypeError: If an input is not a tensor.

    Example:
        >>> import torch
        >>> from ssltok.metrics import point_precision_recall
        >>> pred = torch.tensor([[True, True, False, False]])
        >>> target = torch.tensor([[False, True, True, False]])
        >>> [part.item() for part in point_precision_recall(pred, target)]
        [0.5, 0.5]
    """
    _check_marks("point_precision_recall", pred, target)
    both = (pred & target).sum().double()
    return AnomalyPrecisionRecall(both / pred.sum(), both / target.sum())


def range_precision_recall(
    pred: Tensor,
    target: Tensor,
    *,
    existence_weight: float = 0.0,
    cardinality: Callable[[int], float] = lambda ranges: 1 / ranges,
    precision_bias: Callable[[int], Tensor] = torch.ones,
    recall_bias: Callable[[int], Tensor] = torch.ones,
) -> AnomalyPrecisionRecall:
    r"""Compare marked stretches with anomalies, stretch by stretch.

    Each anomaly $R$ gets

    $$\alpha \, [R \text{ is touched}] + (1 - \alpha) \, \gamma(n_R)
      \sum_{i \in R \cap P} \delta(i) \Big/ \sum_{i \in R} \delta(i)$$

    where $n_R$ marked stretches touch it; recall is the mean over anomalies. Precision is the mean
    over marked stretches, the same with $\alpha = 0$. With stretches of one sample both are
    `point_precision_recall`.

    Args:
        pred: Boolean `(cases, length)`, True where a sample is marked; True samples in a row are
            a stretch.
        target: Boolean, of the same shape, True within an anomaly.
        existence_weight: $\alpha$ in [0, 1], what it counts that an anomaly is touched at all.
        cardinality: $\gamma$, from the number of stretches that touch one (2 or more; 1 counts
            as 1) to a factor in [0, 1]; the paper's example is the reciprocal.
        precision_bias: $\delta$ for marked stretches, from a length $n$ to the weights, `(n,)`, of
            its samples; flat by default, as in the paper.
        recall_bias: $\delta$ for anomalies, such as `lambda n: torch.arange(n, 0, -1)` where early
            detection counts.

    Returns:
        `AnomalyPrecisionRecall`, float64.

    Raises:
        ValueError: If shapes or dtypes do not fit, an option is out of range, or a function
            returns a factor outside [0, 1], weights of another shape, or negative ones.
        TypeError: If an input is not a tensor, or an option not a number.

    Example:
        >>> import torch
        >>> from ssltok.metrics import range_precision_recall
        >>> target = torch.tensor([[True, True, True, True, False, False]])
        >>> pred = torch.tensor([[True, False, True, False, False, True]])
        >>> [part.item() for part in range_precision_recall(pred, target)]  # 2/3; 2/4 * 1/2
        [0.6666666666666666, 0.25]

    References:
        Tatbul et al., *Precision and recall for time series*, 2018,
        <https://arxiv.org/abs/1803.03639>, equations 3 to 8.
    """
    who = "range_precision_recall"
    _check_marks(who, pred, target)
    check_ratio(who, "existence_weight", existence_weight)
    marked, true = _ranges(pred), _ranges(target)
    return AnomalyPrecisionRecall(
        _mean_reward(who, marked, true, 0.0, cardinality, precision_bias),
        _mean_reward(who, true, marked, existence_weight, cardinality, recall_bias),
    )


def _check_marks(who: str, pred: Tensor, target: Tensor) -> None:
    check_axes(who, "pred", pred, "cases length")
    check_bool_mask(who, "pred", pred, pred.shape)
    check_bool_mask(who, "target", target, pred.shape)


def _ranges(marks: Tensor) -> list[list[tuple[int, int]]]:
    """Start and end (excluded) of each run of True, by case."""
    edges = torch.nn.functional.pad(marks.long(), (1, 1)).diff()
    return [
        list(
            zip(
                (row == 1).nonzero()[:, 0].tolist(),
                (row == -1).nonzero()[:, 0].tolist(),
                strict=True,
            )
        )
        for row in edges
    ]


def _mean_reward(
    who: str,
    ranges: list[list[tuple[int, int]]],
    others: list[list[tuple[int, int]]],
    existence_weight: float,
    cardinality: Callable[[int], float],
    bias: Callable[[int], Tensor],
) -> Tensor:
    rewards = []
    for case, against in zip(ranges, others, strict=True):
        for start, end in case:
            touching = [
                (max(start, a), min(end, b)) for a, b in against if max(start, a) < min(end, b)
            ]
            weights = torch.as_tensor(bias(end - start)).double()
            if weights.shape != (end - start,) or bool((weights < 0).any() | (weights.sum() <= 0)):
                raise ValueError(
                    f"{who}: a bias must give {end - start} weights >= 0, not all 0; "
                    f"got {weights.tolist()}"
                )
            overlap = sum(float(weights[a - start : b - start].sum()) for a, b in touching)
            factor = float(cardinality(len(touching))) if len(touching) > 1 else 1.0
            check_ratio(who, "a factor of cardinality", factor)
            share = factor * overlap / float(weights.sum())
            rewards.append(existence_weight * bool(touching) + (1 - existence_weight) * share)
    if not rewards:
        return torch.tensor(torch.nan, dtype=torch.float64)
    return torch.tensor(rewards, dtype=torch.float64).mean()
