"""KoLeo: spread the rows of a batch evenly over the sphere."""

from typing import Any

import torch
from torch import Tensor, nn

from ssltok._shared import products
from ssltok._shared.checks import check_at_least, check_axes, check_floating, check_positive
from ssltok._shared.numerics import full_precision, upcast
from ssltok._shared.products import unit_rows

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
        rows = unit_rows(upcast(z), eps=eps)
        if rows.numel() <= products.SMALL:
            nearest = _nearest(rows.detach())
            near = rows.index_select(0, nearest)  # rows[nearest] is slower on the way back
            distances = nn.functional.pairwise_distance(rows, near, eps=eps)
        else:
            apply: Any = _NearestDistances.apply
            distances = apply(rows, eps)[0]
        return -(distances + eps).log().mean()


class KoLeoLoss(nn.Module):
    """`koleo_loss` with its options bound once; see there for their meaning."""

    def __init__(self, *, eps: float = 1e-8) -> None:
        super().__init__()
        self.eps = eps

    def forward(self, z: Tensor) -> Tensor:
        """Return the loss of embeddings, `(batch, dim)`."""
        return koleo_loss(z, eps=self.eps)


class _NearestDistances(torch.autograd.Function):
    """The distance of each row to its nearest other row, at one copy of the rows each way."""

    generate_vmap_rule = True

    @staticmethod
    def forward(rows: Tensor, eps: float) -> tuple[Tensor, Tensor, Tensor]:
        nearest = _nearest(rows)
        apart = _differences(rows, nearest, eps)
        return torch.linalg.vector_norm(apart, dim=-1), apart, nearest

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, ...]) -> None:
        ctx.eps = inputs[1]
        ctx.set_materialize_grads(False)  # no zeros for what gets no gradient
        ctx.mark_non_differentiable(*output[1:])
        ctx.save_for_backward(inputs[0], *output)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor | None) -> tuple[Tensor | None, None]:
        if grads[0] is None:
            return None, None
        rows, distances, apart, nearest = ctx.saved_tensors
        if torch.is_grad_enabled():  # a second derivative is wanted
            apart = _differences(rows, nearest, ctx.eps)
            distances = torch.linalg.vector_norm(apart, dim=-1)
        pull = apart * (grads[0] / distances).unsqueeze(-1)
        return pull.index_add(0, nearest, pull, alpha=-1), None


def _nearest(rows: Tensor) -> Tensor:
    with torch.no_grad():
        cosines = products.gram(rows)
        cosines.diagonal().fill_(-torch.inf)
        return cosines.argmax(dim=-1)


def _differences(rows: Tensor, nearest: Tensor, eps: float) -> Tensor:
    return rows.index_select(0, nearest).neg_().add_(rows).add_(eps)
