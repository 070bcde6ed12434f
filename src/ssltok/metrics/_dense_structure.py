"""DSE: are the tokens of an encoder still in clusters, and in many directions; without labels."""

from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional

from ssltok._shared.checks import (
    check_at_least,
    check_axes,
    check_bool_mask,
    check_floating,
)
from ssltok.metrics._checks import one_if_finite
from ssltok.metrics._effective_rank import effective_rank

__all__ = ["DenseStructure", "dense_structure"]

ROUNDS = 20


class DenseStructure(NamedTuple):
    """The estimate and its parts; each is a float64 scalar.

    Attributes:
        score: `separation - (series_radius + group_radius) / 2 + dimension_weight * dimension`.
        separation: Mean distance of a token to the nearest centre that is not its own, in mean
            distances of a token to the mean of all.
        series_radius: Size of the clusters of tokens of one series, in the same unit.
        group_radius: Size of the clusters of a group of series, in the same unit.
        dimension: Effective rank of all tokens over what it could be, in [0, 1].
    """

    score: Tensor
    separation: Tensor
    series_radius: Tensor
    group_radius: Tensor
    dimension: Tensor


def dense_structure(
    tokens: Tensor,
    valid: Tensor | None = None,
    *,
    series_clusters: int = 3,
    group_clusters: int = 24,
    group_size: int = 8,
    normalize: bool = True,
    dimension_weight: float = 1.0,
) -> DenseStructure:
    r"""Estimate without labels how good the tokens are for a task at every place (DSE).

    $$M_{\text{inter}} - M_{\text{intra}} + \lambda M_{\text{dim}}$$

    The tokens of each series, and of groups of `group_size` series in the order given, are
    clustered. $M_{\text{inter}}$ is how far tokens lie from the nearest other centre,
    $M_{\text{intra}}$ the mean size of a cluster: the sum of the singular values of its $n$
    centred tokens over $\sqrt{\max(n - 1, D)}$. Both are divided by the mean distance of tokens to
    their mean. $M_{\text{dim}}$ is the effective rank of all tokens over $\min(N, D)$. Long
    training may raise accuracy of whole series and lower this: take the checkpoint where it is
    highest. The authors scale the parts by their standard deviations over checkpoints; do so with
    the parts, or with $\lambda$.

    Departures from the authors' code: clusters start at the token farthest from the mean and go on
    with that farthest from all centres so far, so that no random number is drawn and the order of
    the tokens does not matter (there: at random, k-means++); the rank is that of all tokens at
    once, as in their regulariser (there: of shuffled subsets); a cluster of one token has no size,
    and a series of such clusters alone does not count (there: 1).

    Args:
        tokens: Features, `(cases, tokens, dim)`.
        valid: Which tokens are real, `(cases, tokens)`, boolean; all if None. What stands
            elsewhere is not read, and may be NaN.
        series_clusters: Clusters of the tokens of one series; 3 in the authors' command.
        group_clusters: Clusters of a group, at least 2; 24 in the authors' command.
        group_size: Series of a group; 8.
        normalize: Whether tokens are divided by their norms first, as in the authors' command.
        dimension_weight: $\lambda$.

    Returns:
        `DenseStructure`. Its parts are NaN where no cluster has two tokens, all tokens are equal,
        or a number is not finite.

    Raises:
        ValueError: If `tokens` is not `(cases, tokens, dim)`, is empty, or an option is too small.
        TypeError: If an input is not a tensor, or an option not a number.

    Example:
        >>> import torch
        >>> from ssltok.metrics import dense_structure
        >>> corners = torch.eye(4).repeat(3, 2, 1)  # eight tokens a series, on four points
        >>> parts = dense_structure(corners, series_clusters=4, group_clusters=4)
        >>> [round(part.item(), 4) for part in parts[1:]]  # sqrt(2) / sqrt(0.75), points, 4 of 4
        [1.633, 0.0, 0.0, 1.0]

    References:
        Dai et al., *Exploring Structural Degradation in Dense Representations for Self-supervised
        Learning*, 2025, <https://arxiv.org/abs/2510.17299>.
    """
    who = "dense_structure"
    check_floating(who, "tokens", tokens)
    check_axes(who, "tokens", tokens, "cases tokens dim")
    check_at_least(who, "tokens.numel()", tokens.numel(), 1)
    check_at_least(who, "series_clusters", series_clusters, 1)
    check_at_least(who, "group_clusters", group_clusters, 2)
    check_at_least(who, "group_size", group_size, 1)
    if valid is None:
        valid = torch.ones_like(tokens[..., 0], dtype=torch.bool)
    check_bool_mask(who, "valid", valid, tokens.shape[:2])
    x = torch.where(valid[..., None], tokens.detach(), 0).double()
    finite = one_if_finite(x)
    x = torch.nan_to_num(x, 0.0, 0.0, 0.0)
    if normalize:
        x = functional.normalize(x, dim=-1)
    rows = x[valid]
    unit = torch.linalg.vector_norm(rows - rows.mean(0), dim=1).mean()
    series = [part[real] for part, real in zip(x, valid, strict=True)]
    groups = [
        part[real] for part, real in zip(x.split(group_size), valid.split(group_size), strict=True)
    ]
    of_series = [_clusters(part, series_clusters) for part in series if len(part)]
    of_groups = [_clusters(part, group_clusters) for part in groups if len(part)]
    radii = [torch.stack(part.radii).mean() for part in of_series if part.radii]
    scale = finite / unit
    separation = _mean([part.apart for part in of_groups], x) * scale
    series_radius = _mean(radii, x) * scale
    group_radius = _mean([radius for part in of_groups for radius in part.radii], x) * scale
    dimension = effective_rank(torch.linalg.svdvals(rows)) / min(rows.shape) * finite
    score = separation - (series_radius + group_radius) / 2 + dimension_weight * dimension
    return DenseStructure(score, separation, series_radius, group_radius, dimension)


class _Clusters(NamedTuple):
    apart: Tensor
    radii: list[Tensor]


def _clusters(rows: Tensor, count: int) -> _Clusters:
    """Cluster rows: the mean distance to the nearest other centre, and the clusters' sizes."""
    rows, repeats = torch.unique(rows, dim=0, return_counts=True)  # in an order of their own
    rows = (rows - rows[0]).repeat_interleave(repeats, 0)  # nothing is lost far from 0
    start = [torch.linalg.vector_norm(rows - rows.mean(0), dim=1).argmax()]
    nearest = torch.linalg.vector_norm(rows - rows[start[0]], dim=1)
    for _ in range(min(count, len(rows)) - 1):
        start.append(nearest.argmax())
        nearest = nearest.minimum(torch.linalg.vector_norm(rows - rows[start[-1]], dim=1))
    centers = rows[torch.stack(start)]
    for _ in range(ROUNDS):
        members = functional.one_hot(_apart(rows, centers).argmin(1), len(centers)).double()
        size = members.sum(0)[:, None]
        moved = torch.where(size > 0, members.mT @ rows / size.clamp(min=1), centers)
        if torch.equal(moved, centers):
            break
        centers = moved
    distances = _apart(rows, centers)
    labels = distances.argmin(1)
    others = distances.scatter(1, labels[:, None], torch.inf)
    radii = []
    for label in range(len(centers)):
        part = rows[labels == label]
        if len(part) > 1:
            total = torch.linalg.svdvals(part - part.mean(0)).sum()
            radii.append(total / max(len(part) - 1, rows.shape[1]) ** 0.5)
    other = others.amin(1).mean()
    return _Clusters(torch.where(other.isfinite(), other, torch.nan), radii)


def _apart(rows: Tensor, centers: Tensor) -> Tensor:
    """Return distances by differences: by products they would lose the ties."""
    return torch.cdist(rows, centers, compute_mode="donot_use_mm_for_euclid_dist")


def _mean(values: list[Tensor], like: Tensor) -> Tensor:
    return torch.stack(values).mean() if values else like.new_tensor(torch.nan)
