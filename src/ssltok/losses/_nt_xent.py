"""NT-Xent (SimCLR): find the other views of a sample among everything else in the batch."""

import torch
from torch import Tensor, nn

from ssltok._shared.checks import (
    check_at_least,
    check_axes,
    check_floating,
    check_same_shape,
)
from ssltok._shared.numerics import full_precision, upcast
from ssltok.losses._products_fast import contrast, unit_rows
from ssltok.losses._temperature import check_temperature, divide_out

__all__ = ["NTXentLoss", "nt_xent_loss"]


def nt_xent_loss(*views: Tensor, temperature: float | Tensor = 0.1) -> Tensor:
    r"""Tell the views of one sample apart from all other rows, by cosine similarity.

    $$\frac{1}{V B} \sum_i \Bigl[ \log \sum_{a \ne i} e^{s_{ia} / \tau}
      - \frac{1}{V - 1} \sum_{p \in P(i)} s_{ip} / \tau \Bigr]$$

    over all $V B$ rows $i$, where $s$ is the cosine of two rows and $P(i)$ holds the other
    $V - 1$ views of the same sample. With two views it is the NT-Xent of SimCLR; with more, every
    other view is a positive in turn and the denominator holds all rows but the anchor itself
    (the supervised contrastive loss with the sample's index as its label).

    It is the mean over rows, as in the paper. The authors' code adds the means of the two
    directions, which is twice this; multiply by 2 to match it. Rows without a direction (all
    zeros) have cosine 0 with everything. Rows that are all alike cost $\log(V B - 1)$.

    Over several processes, give it `gather(z_a)`, `gather(z_b)`, ...

    Args:
        *views: Two or more views, `(batch, dim)` each; row $b$ of each is the same sample.
        temperature: $\tau > 0$. The authors' default is 0.1; 0.5 is usual for small batches.
            A number, or a tensor of shape `()`, which may be learned.

    Returns:
        The loss, a scalar in float32 (float64 for float64 views).

    Raises:
        ValueError: If there are fewer than two views, their shapes differ or are not
            `(batch, dim)`, `batch < 2`, or the temperature is not positive.
        TypeError: If an input is not a tensor, or an option not a number.

    Example:
        >>> import torch
        >>> from ssltok.losses import nt_xent_loss
        >>> z = torch.ones(4, 3)  # eight rows all alike: log(8 - 1)
        >>> round(nt_xent_loss(z, z).item(), 4)
        1.9459

    References:
        Chen et al., *SimCLR*, 2020, <https://arxiv.org/abs/2002.05709>, equation 1, algorithm 1.
        Khosla et al., *Supervised Contrastive Learning*, 2020,
        <https://arxiv.org/abs/2004.11362>, equation 2 (more than one positive).
    """
    check_at_least("nt_xent_loss", "number of views", len(views), 2)
    for view in views:
        check_floating("nt_xent_loss", "each view", view)
        check_axes("nt_xent_loss", "each view", view, "batch dim")
        check_same_shape("nt_xent_loss", "the views", views[0], view)
    check_at_least("nt_xent_loss", "batch", views[0].shape[0], 2)
    check_temperature("nt_xent_loss", "temperature", temperature)
    with full_precision(views[0]):
        rows = unit_rows(torch.cat([upcast(view) for view in views]))
        rows, number = divide_out(rows, temperature, root=True)  # rows meet rows
        return contrast(rows, views=len(views), scale=1 / number).mean()


class NTXentLoss(nn.Module):
    """`nt_xent_loss` with its options bound once; see there for their meaning."""

    def __init__(self, *, temperature: float | Tensor = 0.1) -> None:
        super().__init__()
        self.temperature = temperature

    def forward(self, *views: Tensor) -> Tensor:
        """Return the loss of two or more views, `(batch, dim)` each."""
        return nt_xent_loss(*views, temperature=self.temperature)
