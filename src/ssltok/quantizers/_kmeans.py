"""k-means: where a codebook should start."""

from typing import NamedTuple

import torch
from torch import Tensor

from ssltok._shared.checks import check_at_least, check_axes, check_floating
from ssltok._shared.numerics import upcast
from ssltok._shared.ranks import broadcast_from_first, in_a_group, sum_over_ranks
from ssltok.quantizers._ema import code_sums
from ssltok.quantizers._nearest import nearest_codes
from ssltok.quantizers._unit import unit_rows_plain

__all__ = ["Clusters", "check_vectors", "kmeans"]


class Clusters(NamedTuple):
    """What k-means found.

    Attributes:
        centers: `(clusters, dim)`.
        counts: How many vectors are nearest to each, `(clusters,)`.
    """

    centers: Tensor
    counts: Tensor


@torch.no_grad()
def kmeans(
    vectors: Tensor,
    clusters: int,
    *,
    steps: int = 10,
    initial: Tensor | None = None,
    cosine: bool = False,
    generator: torch.Generator | None = None,
) -> Clusters:
    r"""Find cluster centres by Lloyd's algorithm.

    $$k_n = \arg\min_k \lVert x_n - \mu_k \rVert^2, \qquad
      \mu_k \leftarrow \frac{1}{|\{n: k_n = k\}|} \sum_{n: k_n = k} x_n$$

    It starts from different rows, drawn at random; rows of equal values may be among them. With
    fewer rows than clusters, each is a centre, and the others are rows with noise of a hundredth
    of the data's standard deviation added. A cluster without vectors stays where it is. Processes
    of a group work on all their vectors together and find the same centres; they may hold
    different numbers of vectors.

    Args:
        vectors: `(tokens, dim)`, floating point and finite. Collect several batches for a large
            codebook: 30 vectors for each cluster or more.
        clusters: The number of centres.
        steps: Iterations; 10 as in the common implementations. 0 returns the start.
        initial: Centres to start from, `(clusters, dim)`, instead of random vectors.
        cosine: Whether to keep the centres at length 1 (spherical k-means; give unit vectors).
        generator: Source of randomness, on the device of `vectors`. In a group the first
            process's draws count.

    Returns:
        `Clusters(centers, counts)`: float32 (float64 for such vectors), and the number of vectors
        nearest to each centre when it was last moved.

    Raises:
        TypeError: If `vectors` is no tensor.
        ValueError: If `vectors` is not `(tokens, dim)`, is empty on all processes or not finite,
            if `clusters < 1` or `steps < 0`, or if `initial` has another shape, is not floating
            point or not finite.

    Example:
        >>> import torch
        >>> from ssltok.quantizers import kmeans
        >>> vectors = torch.tensor([[0.0], [2.0], [10.0], [12.0], [14.0]])
        >>> kmeans(vectors, 2, initial=torch.tensor([[0.0], [2.0]]))
        Clusters(centers=tensor([[ 1.],
                [12.]]), counts=tensor([2., 3.]))

    References:
        Lloyd, *Least squares quantization in PCM*, 1982.
    """
    check_floating("kmeans", "vectors", vectors)
    check_axes("kmeans", "vectors", vectors, "tokens dim")
    check_at_least("kmeans", "clusters", clusters, 1)
    check_at_least("kmeans", "steps", steps, 0)
    vectors = upcast(vectors)
    if initial is None:
        centers = _draw(vectors, clusters, generator, check_vectors(vectors))
    else:
        check_floating("kmeans", "initial", initial)
        if tuple(initial.shape) != (clusters, vectors.shape[1]):
            raise ValueError(
                f"kmeans: initial must have shape {(clusters, vectors.shape[1])}; "
                f"got {tuple(initial.shape)}"
            )
        check_vectors(vectors, initial)
        centers = initial.to(vectors)
    counts = vectors.new_zeros(clusters)
    for step in range(max(steps, 1)):
        if cosine:
            centers = unit_rows_plain(centers)
        codes = nearest_codes(vectors, centers)
        sums, counts = code_sums(vectors, codes, clusters)
        if step < steps:
            means = sums / counts.clamp(min=1)[:, None]
            centers = torch.where((counts > 0)[:, None], means, centers)
    return Clusters(unit_rows_plain(centers) if cosine else centers, counts)


def check_vectors(vectors: Tensor, initial: Tensor | None = None) -> list[int]:
    """Look at the values, once, and return how many vectors each process holds.

    All processes learn what is wrong in one of them, and complain together.
    """
    rank, world = (0, 1)
    if in_a_group():
        rank, world = torch.distributed.get_rank(), torch.distributed.get_world_size()
    facts = torch.zeros(world + 2, dtype=torch.int64, device=vectors.device)
    facts[rank] = vectors.shape[0]
    facts[-2] = (~vectors.isfinite()).any(dim=1).sum()
    if initial is not None:
        facts[-1] = (~initial.isfinite()).any()
    *sizes, bad, lost = sum_over_ranks(facts).tolist()
    if sum(sizes) == 0:
        raise ValueError(f"kmeans: vectors must not be empty; got shape {tuple(vectors.shape)}")
    if bad:
        raise ValueError(f"kmeans: vectors must be finite; got NaN or infinity in {bad} of them")
    if lost:
        raise ValueError("kmeans: initial must be finite; got NaN or infinity")
    return sizes


def _draw(
    vectors: Tensor, clusters: int, generator: torch.Generator | None, sizes: list[int]
) -> Tensor:
    """Draw the first centres among the vectors of all processes, the same on all."""
    total, device = sum(sizes), vectors.device
    before = sum(sizes[: torch.distributed.get_rank()]) if in_a_group() else 0
    order = torch.randperm(total, generator=generator, device=device)
    chosen = broadcast_from_first(order[torch.arange(clusters, device=device) % total]) - before
    ours = (chosen >= 0) & (chosen < vectors.shape[0])
    centers = vectors.new_zeros(clusters, vectors.shape[1])
    centers[ours] = vectors[chosen[ours]]
    centers = sum_over_ranks(centers)
    if clusters > total:
        spare = centers[total:]
        noise = torch.randn(spare.shape, generator=generator, device=device, dtype=spare.dtype)
        spread = centers[:total].std(dim=0, correction=0)
        spread = torch.where(spread > 0, spread, 1.0)
        centers[total:] = spare + 0.01 * spread * broadcast_from_first(noise)
    return centers
