"""KoLeo: spread the rows of a batch evenly over the sphere."""

from torch import Tensor, nn

from ssltok._shared.checks import check_at_least, check_axes, check_floating, check_positive
from ssltok._shared.numerics import full_precision, upcast
from ssltok.losses._nearest_distances_fast import nearest_distances
from ssltok.losses._products_fast import unit_rows

__all__ = ["KoLeoLoss", "koleo_loss"]


def koleo_loss(z: Tensor, *, eps: float = 1e-8) -> Tensor:
    r"""Push every row away from its nearest neighbour (an estimate of negative entropy).

    $$-\frac{1}{B} \sum_i \log\Bigl(\min_{j \ne i} \lVert \bar z_i - \bar z_j + \epsilon \rVert
      + \epsilon\Bigr)$$

    on L2-normalised rows. The nearest neighbour is chosen without a gradient; both ends of the
    distance get one. A pair of equal rows costs about 17.7 each and its two gradients cancel, so
    watch for duplicates in the batch. Departure from the authors' code: a row is never its own
    neighbour, not even when all others are its antipodes.

    DINOv2 uses it with weight 0.1 on each global view by itself, never across two views of the
    same sample, and per process; give it `gather(z)` for neighbours in the whole batch.

    Args:
        z: Embeddings, `(batch, dim)`, at least two rows.
        eps: $\epsilon > 0$, twice in the formula; it bounds the loss of equal rows.

    Returns:
        The loss, a scalar in float32 (float64 for float64 rows).

    Raises:
        ValueError: If `z` is not `(batch, dim)` in floating point, `batch < 2`, or `eps <= 0`.
        TypeError: If an input is not a tensor, or an option not a number.

    Example:
        >>> import torch
        >>> from ssltok.losses import koleo_loss
        >>> z = torch.tensor([[1.0, 0.0], [-1.0, 0.0]])  # antipodes, 2 apart: -log 2
        >>> round(koleo_loss(z).item(), 4)
        -0.6931

    References:
        Sablayrolles et al., *Spreading vectors for similarity search*, 2019,
        <https://arxiv.org/abs/1806.03198>, equation 2.
        Oquab et al., *DINOv2*, 2023, <https://arxiv.org/abs/2304.07193>, section 4.
    """
    check_floating("koleo_loss", "z", z)
    check_axes("koleo_loss", "z", z, "batch dim")
    check_at_least("koleo_loss", "batch", z.shape[0], 2)
    check_positive("koleo_loss", "eps", eps)
    with full_precision(z):
        distances = nearest_distances(unit_rows(upcast(z), eps=eps), eps=eps)
        return -(distances + eps).log().mean()


class KoLeoLoss(nn.Module):
    """`koleo_loss` with its options bound once; see there for their meaning."""

    def __init__(self, *, eps: float = 1e-8) -> None:
        super().__init__()
        self.eps = eps

    def forward(self, z: Tensor) -> Tensor:
        """Return the loss of embeddings, `(batch, dim)`."""
        return koleo_loss(z, eps=self.eps)
