"""NNCLR: find a sample's prediction from the neighbour of its other view."""

import torch
from torch import Tensor, nn

from ssltok._shared.checks import check_at_least, check_axes, check_floating, check_same_shape
from ssltok._shared.numerics import full_precision, upcast
from ssltok.losses._many_keys import directions
from ssltok.losses._products_fast import unit_rows
from ssltok.losses._temperature import check_temperature

__all__ = ["NNCLRLoss", "nnclr_loss"]


def nnclr_loss(pred: Tensor, target: Tensor, *, temperature: float | Tensor = 0.1) -> Tensor:
    r"""Find, from each neighbour, the prediction that belongs to it among all of the batch.

    $$-\frac{1}{B} \sum_b \log \frac{e^{t_b \cdot p_b / \tau}}{\sum_c e^{t_b \cdot p_c / \tau}}$$

    on L2-normalised rows. The targets are `nearest_in_queue` of the projections of the other view,
    and are detached: the gradient goes into the predictions, positives and negatives alike (in
    `info_nce_loss` it goes into the queries). The method is the mean of both directions:

    ```python
    loss = nnclr_loss(pred_a, nearest_in_queue(z_b, queue())) / 2
    loss = loss + nnclr_loss(pred_b, nearest_in_queue(z_a, queue())) / 2
    ```

    Over several processes, give it `gather(pred)` and `gather(target)`.

    Args:
        pred: A predictor's rows for one view, `(batch, dim)`, two rows or more.
        target: The neighbours of the other view, of the same shape.
        temperature: $\tau > 0$; 0.1 in the paper. A number, or a tensor of shape `()`, which may be
            learned.

    Returns:
        The loss, a scalar in float32 (float64 for float64 rows).

    Raises:
        ValueError: If the shapes differ or are not `(batch, dim)`, `batch < 2`, or the temperature
            is not positive.
        TypeError: If an input is not a tensor, or an option not a number.

    Example:
        >>> import torch
        >>> from ssltok.losses import nnclr_loss
        >>> z = torch.ones(4, 3)  # all alike: log 4
        >>> round(nnclr_loss(z, z).item(), 4)
        1.3863

    References:
        Dwibedi et al., *With a Little Help from My Friends (NNCLR)*, 2021,
        <https://arxiv.org/abs/2104.14548>, equation 3, algorithm 1.
    """
    check_floating("nnclr_loss", "pred", pred)
    check_floating("nnclr_loss", "target", target)
    check_same_shape("nnclr_loss", "pred and target", pred, target)
    check_axes("nnclr_loss", "pred", pred, "batch dim")
    check_at_least("nnclr_loss", "batch", pred.shape[0], 2)
    check_temperature("nnclr_loss", "temperature", temperature)
    with full_precision(pred):
        p = unit_rows(upcast(pred))
        labels = torch.arange(p.shape[0], device=p.device)
        return nn.functional.cross_entropy(directions(target, p, temperature) @ p.mT, labels)


class NNCLRLoss(nn.Module):
    """`nnclr_loss` with its option bound once; see there for its meaning."""

    def __init__(self, *, temperature: float | Tensor = 0.1) -> None:
        super().__init__()
        self.temperature = temperature

    def forward(self, pred: Tensor, target: Tensor) -> Tensor:
        """Return the loss of predictions and neighbours, `(batch, dim)` each."""
        return nnclr_loss(pred, target, temperature=self.temperature)
