"""Distances between all series of two sets: Euclidean, dynamic time warping, the nearest one."""

from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor

from ssltok._shared import sizes
from ssltok._shared.checks import check_at_least
from ssltok.metrics._checks import check_two_sets, one_if_finite
from ssltok.metrics._squared_distances_fast import squared_distances
from ssltok.metrics._warping_cost_fast import warping_cost

__all__ = [
    "NearestNeighbors",
    "dtw_distance",
    "euclidean_distance",
    "nearest_neighbor_distance",
]


class NearestNeighbors(NamedTuple):
    """The nearest series of another set, for each series of one; both `(cases,)`.

    Attributes:
        distance: How far it is.
        neighbor: Its index in the other set.
    """

    distance: Tensor
    neighbor: Tensor


def euclidean_distance(first: Tensor, second: Tensor) -> Tensor:
    """Measure the Euclidean distance of every series of one set to every series of another.

    By one matrix product in float64, and by differences where its digits would cancel: equal
    series are 0 apart, and no distance is off by more than about 1e-9 of itself.

    Args:
        first: Series, `(cases, channels, length)`.
        second: Series of the same shape a case; cases may differ.

    Returns:
        Distances in units of the series, `(cases of first, cases of second)` float64.

    Raises:
        ValueError: If the shapes do not fit.
        TypeError: If an input is not a tensor.

    Example:
        >>> import torch
        >>> from ssltok.metrics import euclidean_distance
        >>> euclidean_distance(torch.zeros(1, 1, 4), torch.ones(3, 1, 4))
        tensor([[2., 2., 2.]], dtype=torch.float64)
    """
    check_two_sets("euclidean_distance", first, second, names=("first", "second"))
    rows = [part.detach().double().flatten(1) for part in (first, second)]
    return squared_distances(rows[0], rows[1]).sqrt()


def dtw_distance(first: Tensor, second: Tensor, *, band: int | None = None) -> Tensor:
    r"""Measure the dynamic time warping distance between all series of two sets.

    $$D_{ij} = \lVert x_i - y_j \rVert^2 + \min(D_{i-1,j},\, D_{i,j-1},\, D_{i-1,j-1}),
      \qquad d = \sqrt{D_{\text{last}, \text{last}}}$$

    Channels are warped together. The recurrence runs along antidiagonals, all pairs at once; it
    is exact, in float64, and takes `length**2` steps a pair (`length * (2 * band + 1)` with a
    band). It is never more than the Euclidean distance, and 0 for equal series.

    Args:
        first: Series, `(cases, channels, length)`.
        second: Series, `(cases, channels, length)`; cases and length may differ.
        band: Sakoe-Chiba band, the most points by which the clocks may differ; none by default.

    Returns:
        Distances in units of the series, `(cases of first, cases of second)` float64.

    Raises:
        ValueError: If channels differ, or the band is narrower than the lengths differ.
        TypeError: If an input is not a tensor, or an option not a number.

    Example:
        >>> import torch
        >>> from ssltok.metrics import dtw_distance
        >>> early = torch.tensor([[[0.0, 1.0, 0.0, 0.0, 0.0]]])
        >>> late = torch.tensor([[[0.0, 0.0, 0.0, 1.0, 0.0]]])
        >>> dtw_distance(early, late).item(), round(dtw_distance(early, late, band=0).item(), 4)
        (0.0, 1.4142)

    References:
        Sakoe & Chiba, *Dynamic programming algorithm optimization for spoken word recognition*,
        1978, equation 5 (symmetric steps of weight 1).
    """
    who = "dtw_distance"
    check_two_sets(who, first, second, names=("first", "second"), same_length=False)
    rows, columns = first.shape[2], second.shape[2]
    band = max(rows, columns) if band is None else band
    check_at_least(who, "band", band, abs(rows - columns))
    x, y = (part.detach().double().permute(2, 1, 0).contiguous() for part in (first, second))
    step = max(1, sizes.DISTANCES // (min(rows, columns, band + 1) * len(second)))
    parts = [warping_cost(part, y, band=band) for part in torch.split(x, step, dim=2)]
    return torch.cat(parts).sqrt()


def nearest_neighbor_distance(
    real: Tensor,
    generated: Tensor,
    *,
    distance: Callable[[Tensor, Tensor], Tensor] = euclidean_distance,
) -> NearestNeighbors:
    """Find for each generated series the nearest real one.

    Its mean is a fidelity that does not depend on the order of the two sets (the distance of
    series paired by chance, often reported, is smallest for a generator of one mean series).
    Far below the real-to-real value means copies, far above means series unlike any real one.
    The other way round, from real to generated, it shows what the generator leaves out.

    Args:
        real: Real series, `(cases, channels, length)`.
        generated: Generated series, `(cases, channels, length)`.
        distance: All distances of two sets, such as `dtw_distance` (with a band bound to it).

    Returns:
        `NearestNeighbors(distance, neighbor)`, each `(cases of generated,)`: distances float64 in
        units of the series, and int64 rows of `real`; equal distances go to the smaller index.
        Where a number is not finite, distances are NaN: one of `real` leaves none.

    Raises:
        ValueError: If the shapes do not fit.
        TypeError: If an input is not a tensor.

    Example:
        >>> import torch
        >>> from ssltok.metrics import nearest_neighbor_distance
        >>> real = torch.tensor([0.0, 10.0])[:, None, None]
        >>> near = nearest_neighbor_distance(real, torch.tensor([[[7.0]]]))
        >>> near.distance.item(), near.neighbor.item()
        (3.0, 1)
    """
    check_two_sets("nearest_neighbor_distance", real, generated, same_length=False)
    step = max(1, sizes.DISTANCES // len(real))
    nearest = [distance(part, real).min(dim=1) for part in torch.split(generated, step)]
    known = torch.where(generated.isfinite().flatten(1).all(1), 1.0, torch.nan)
    return NearestNeighbors(
        distance=torch.cat([part.values for part in nearest]) * (known * one_if_finite(real)),
        neighbor=torch.cat([part.indices for part in nearest]),
    )
