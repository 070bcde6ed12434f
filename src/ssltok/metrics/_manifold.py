"""Precision, recall, density and coverage: is it real, and is all of the real there."""

from typing import NamedTuple

import torch
from torch import Tensor

from ssltok._shared.checks import check_at_least
from ssltok.metrics._checks import check_features, one_if_finite
from ssltok.metrics._pairs_fast import nearest_other, row_blocks
from ssltok.metrics._squared_distances_fast import squared_distances

__all__ = ["PrecisionRecall", "precision_recall"]

TIE = 2e-8
"""Of a squared radius: above the rounding of a squared distance."""


class PrecisionRecall(NamedTuple):
    """Four float64 scalars; all but `density` lie in [0, 1].

    Attributes:
        precision: Share of generated cases in the ball of any real one (fidelity).
        recall: Share of real cases in the ball of any generated one (diversity).
        density: Real balls around a generated case, on average, over k; not bounded by 1.
        coverage: Share of real balls that hold a generated case.
    """

    precision: Tensor
    recall: Tensor
    density: Tensor
    coverage: Tensor


def precision_recall(real: Tensor, generated: Tensor, *, neighbors: int = 5) -> PrecisionRecall:
    r"""Measure how much of one set lies in the neighbourhoods of the other.

    Around each case lies the open ball that reaches to its k-th nearest neighbour of its own set;
    its centre is inside, also of a ball of radius 0, as where a case occurs more than k times. A
    distance that is the radius to 1e-8 is the radius, and outside: ties do not hang on rounding.

    - precision: share of generated cases in the ball of any real case (fidelity);
    - recall: share of real cases in the ball of any generated case (diversity);
    - density: real balls around a generated case, on average, over k: precision that one outlier
      with a huge ball cannot buy; about 1 for equal laws, and not bounded by 1;
    - coverage: share of real balls that hold a generated case: recall that does not trust the
      balls of the generated set.

    All four change with the number of cases; compare equal numbers. In more than some tens of
    dimensions distances say little; use features.

    Args:
        real: Features of real series, `(cases, dim)`.
        generated: Features of generated series, `(cases, dim)`; cases may differ.
        neighbors: k; 5 in the reference.

    Returns:
        `PrecisionRecall(precision, recall, density, coverage)`, float64 scalars; all NaN if a
        feature is not finite.

    Raises:
        ValueError: If shapes do not fit, or a set has not more than `neighbors` cases.
        TypeError: If an input is not a tensor, or an option not a number.

    Example:
        >>> import torch
        >>> from ssltok.metrics import precision_recall
        >>> real = torch.arange(8.0)[:, None]  # balls of radius 1, at the two ends too
        >>> near = precision_recall(real, real[:3] + 0.25, neighbors=1)  # three left, 0.25 inside
        >>> near.precision.item(), near.recall.item(), near.coverage.item()
        (1.0, 0.5, 0.5)

    References:
        Kynkaanniemi et al., *Improved precision and recall metric*, 2019,
        <https://arxiv.org/abs/1904.06991>, equation 1. Naeem et al., *Reliable fidelity and
        diversity metrics*, 2020, <https://arxiv.org/abs/2002.09797>, equations 5 and 7.
    """
    who = "precision_recall"
    check_at_least(who, "neighbors", neighbors, 1)
    check_features(who, real, generated, least_cases=neighbors + 1)
    x, y = real.detach().double(), generated.detach().double()
    reach_x, reach_y = (
        nearest_other(squared_distances, rows, neighbors=neighbors) for rows in (x, y)
    )
    balls = torch.zeros(len(y), dtype=torch.float64, device=y.device)
    recalled, covered = [], []
    for start, part in row_blocks(x):
        apart = squared_distances(part, y)
        inside = _within(apart, reach_x[start : start + len(part), None])
        balls += inside.sum(0)
        covered.append(inside.any(1))
        recalled.append(_within(apart, reach_y).any(1))
    known = one_if_finite(x, y)
    return PrecisionRecall(
        precision=(balls > 0).double().mean() * known,
        recall=torch.cat(recalled).double().mean() * known,
        density=balls.mean() / neighbors * known,
        coverage=torch.cat(covered).double().mean() * known,
    )


def _within(apart: Tensor, reach: Tensor) -> Tensor:
    """Whether squared distances lie in the balls of squared radius `reach`."""
    return (apart < (1 - TIE) * reach) | (apart == 0)
