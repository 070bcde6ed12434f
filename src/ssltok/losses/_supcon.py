"""Supervised contrastive learning: rows of one label attract each other."""

import torch
from torch import Tensor, nn

from ssltok._shared.checks import (
    check_at_least,
    check_axes,
    check_codes,
    check_floating,
    check_size,
)
from ssltok._shared.numerics import full_precision, upcast
from ssltok.losses._products_fast import unit_rows
from ssltok.losses._temperature import check_temperature, in_precision

__all__ = ["SupConLoss", "supcon_loss"]


def supcon_loss(
    z: Tensor,
    labels: Tensor,
    *,
    temperature: float | Tensor = 0.07,
    base_temperature: float | Tensor | None = None,
) -> Tensor:
    r"""Pull rows of one label together, against all other rows ($L_{out}$ of the paper).

    $$\frac{1}{B} \sum_i \frac{-1}{|P(i)|} \sum_{p \in P(i)}
      \log \frac{e^{s_{ip} / \tau}}{\sum_{a \ne i} e^{s_{ia} / \tau}}$$

    where $s$ is the cosine of two rows and $P(i)$ the other rows of the same label. The
    denominator holds positives too, and all but the anchor itself. Rows are normalised inside.
    An anchor without a positive adds 0 and stays in the mean, as in the authors' code; so does a
    row of label -1 (no label), which is a negative of every other.

    Several views: concatenate them and repeat the labels. Over several processes, give it
    `gather(z)` and `gather(labels)`.

    Constants: the paper has no base temperature (the default, `None`) and reports
    $\tau = 0.1$; the authors' code multiplies by $\tau / \tau_{base}$ and runs with
    `temperature=0.07, base_temperature=0.07`.

    Args:
        z: Embeddings, `(batch, dim)`, at least two rows.
        labels: Classes, int64 `(batch,)`; -1 for no label.
        temperature: $\tau > 0$; a number, or a tensor of shape `()`, which may be learned.
        base_temperature: $\tau_{base} > 0$ of the authors' code, likewise; `None` leaves the
            factor out.

    Returns:
        The loss, a scalar in float32 (float64 for float64 rows).

    Raises:
        ValueError: If shapes or dtypes do not fit, `batch < 2`, or a temperature is not positive.
        TypeError: If an input is not a tensor, or an option not a number.

    Example:
        >>> import torch
        >>> from ssltok.losses import supcon_loss
        >>> z = torch.ones(4, 3)  # rows all alike: log(4 - 1), whatever the labels
        >>> round(supcon_loss(z, torch.tensor([0, 0, 1, 1])).item(), 4)
        1.0986

    References:
        Khosla et al., *Supervised Contrastive Learning*, 2020,
        <https://arxiv.org/abs/2004.11362>, equation 2.
    """
    check_floating("supcon_loss", "z", z)
    check_axes("supcon_loss", "z", z, "batch dim")
    check_codes("supcon_loss", "labels", labels)
    check_axes("supcon_loss", "labels", labels, "batch")
    check_size("supcon_loss", "labels", labels, 0, z.shape[0])
    check_at_least("supcon_loss", "batch", z.shape[0], 2)
    check_temperature("supcon_loss", "temperature", temperature)
    if base_temperature is not None:
        check_temperature("supcon_loss", "base_temperature", base_temperature)
    with full_precision(z):
        rows = unit_rows(upcast(z))
        temperature = in_precision(temperature, rows)
        scale: float | Tensor = 1.0
        if base_temperature is not None:
            scale = temperature / in_precision(base_temperature, rows)
        similarity = (rows / temperature) @ rows.T
        itself = torch.eye(z.shape[0], dtype=torch.bool, device=z.device)
        positive = (labels[:, None] == labels) & (labels >= 0) & ~itself
        count = positive.sum(dim=-1)
        mean = torch.where(positive, similarity, 0).sum(dim=-1) / count.clamp(min=1)
        lonely = count == 0
        others = similarity.masked_fill(itself, -torch.inf).logsumexp(dim=-1)
        return scale * torch.where(lonely, 0, others - mean).mean()


class SupConLoss(nn.Module):
    """`supcon_loss` with its options bound once; see there for their meaning."""

    def __init__(
        self, *, temperature: float | Tensor = 0.07, base_temperature: float | Tensor | None = None
    ) -> None:
        super().__init__()
        self.temperature = temperature
        self.base_temperature = base_temperature

    def forward(self, z: Tensor, labels: Tensor) -> Tensor:
        """Return the loss of embeddings `(batch, dim)` with labels `(batch,)`."""
        return supcon_loss(
            z, labels, temperature=self.temperature, base_temperature=self.base_temperature
        )
