"""DCL: NT-Xent whose denominator leaves the positive out; DCLW: rows that agree pull less."""

import torch
from torch import Tensor, nn

from ssltok._shared.checks import check_view_pair
from ssltok._shared.numerics import full_precision, upcast
from ssltok.losses._products_fast import unit_rows
from ssltok.losses._temperature import check_temperature, in_precision

__all__ = ["DCLLoss", "DCLWLoss", "dcl_loss", "dclw_loss"]


def dcl_loss(z_a: Tensor, z_b: Tensor, *, temperature: float | Tensor = 0.1) -> Tensor:
    r"""Pull the views of a sample together, and push them from all rows of other samples.

    $$\frac{1}{2 B} \sum_i \Bigl[ \log \sum_{a \notin P(i)} e^{s_{ia} / \tau}
      - s_{i p(i)} / \tau \Bigr]$$

    over both rows $i$ of each sample, where $s$ is the cosine of two rows, $p(i)$ the sample's
    other row and $P(i)$ both of them. `nt_xent_loss` has the positive in the denominator as well,
    which makes its gradient small as soon as the positive is easy; here it is not, so that small
    batches and short training do.

    It is the mean over rows; the paper sums. Rows that are all alike, or have no direction, cost
    $\log(2 B - 2)$; below 0 it may fall, for the positive stands outside the logarithm.

    Over several processes, give it `gather(z_a)` and `gather(z_b)`.

    Args:
        z_a: Projections of one view, `(batch, dim)`, two rows or more.
        z_b: Projections of the other view, of the same shape.
        temperature: $\tau > 0$; 0.1 in the paper. A number, or a tensor of shape `()`, which may be
            learned.

    Returns:
        The loss, a scalar in float32 (float64 for float64 views).

    Raises:
        ValueError: If the shapes differ or are not `(batch, dim)`, `batch < 2`, or the temperature
            is not positive.
        TypeError: If an input is not a tensor, or an option not a number.

    Example:
        >>> import torch
        >>> from ssltok.losses import dcl_loss
        >>> z = torch.eye(3)  # log(4 e^0) - 1
        >>> round(dcl_loss(z, z, temperature=1.0).item(), 4)
        0.3863

    References:
        Yeh et al., *Decoupled Contrastive Learning*, 2022, <https://arxiv.org/abs/2110.06848>,
        equation 6.
    """
    return _decoupled("dcl_loss", z_a, z_b, temperature, None)


def dclw_loss(
    z_a: Tensor,
    z_b: Tensor,
    *,
    temperature: float | Tensor = 0.1,
    weight_temperature: float | Tensor = 0.5,
) -> Tensor:
    r"""Weigh the positives of `dcl_loss`: a pair that agrees already pulls less than others.

    $$w_b = 2 - \frac{e^{s_b / \sigma}}{\tfrac{1}{B} \sum_c e^{s_c / \sigma}}, \qquad
      s_b = \cos(z_{ab}, z_{bb})$$

    multiplies $s_b / \tau$ of both rows of sample $b$: a negative von Mises-Fisher density, of mean
    1 over the batch. No gradient flows through the weights, as in lightly.

    Args:
        z_a: Projections of one view, `(batch, dim)`, two rows or more.
        z_b: Projections of the other view, of the same shape.
        temperature: $\tau > 0$; a number, or a tensor of shape `()`, which may be learned.
        weight_temperature: $\sigma > 0$, likewise; 0.5 in the paper.

    Returns:
        The loss, a scalar in float32 (float64 for float64 views).

    Raises:
        ValueError: If the shapes differ or are not `(batch, dim)`, `batch < 2`, or a temperature
            is not positive.
        TypeError: If an input is not a tensor, or an option not a number.

    Example:
        >>> import torch
        >>> from ssltok.losses import dclw_loss
        >>> z = torch.eye(3)  # all agree equally: the weights are 1, and it is dcl_loss
        >>> round(dclw_loss(z, z, temperature=1.0).item(), 4)
        0.3863

    References:
        Yeh et al., *Decoupled Contrastive Learning*, 2022, <https://arxiv.org/abs/2110.06848>,
        section 3.2.
    """
    check_temperature("dclw_loss", "weight_temperature", weight_temperature)
    return _decoupled("dclw_loss", z_a, z_b, temperature, weight_temperature)


def _decoupled(
    who: str,
    z_a: Tensor,
    z_b: Tensor,
    temperature: float | Tensor,
    weight_temperature: float | Tensor | None,
) -> Tensor:
    check_view_pair(who, z_a, z_b)
    check_temperature(who, "temperature", temperature)
    with full_precision(z_a):
        rows = unit_rows(torch.cat([upcast(z_a), upcast(z_b)]))
        a, b = rows.chunk(2)
        temperature = in_precision(temperature, rows)
        place = torch.arange(len(rows), device=rows.device) % len(a)
        similarity = (rows / temperature) @ rows.mT
        others = similarity.masked_fill_(place[:, None] == place, -torch.inf).logsumexp(dim=-1)
        cosine = (a * b).sum(dim=-1)
        positive = cosine / temperature
        if weight_temperature is not None:
            pulled = (cosine.detach() / in_precision(weight_temperature, rows)).softmax(dim=0)
            positive = positive * (2 - len(a) * pulled)
        return others.mean() - positive.mean()


class DCLLoss(nn.Module):
    """`dcl_loss` with its option bound once; see there for its meaning."""

    def __init__(self, *, temperature: float | Tensor = 0.1) -> None:
        super().__init__()
        self.temperature = temperature

    def forward(self, z_a: Tensor, z_b: Tensor) -> Tensor:
        """Return the loss of two views, `(batch, dim)` each."""
        return dcl_loss(z_a, z_b, temperature=self.temperature)


class DCLWLoss(nn.Module):
    """`dclw_loss` with its options bound once; see there for their meaning."""

    def __init__(
        self, *, temperature: float | Tensor = 0.1, weight_temperature: float | Tensor = 0.5
    ) -> None:
        super().__init__()
        self.temperature = temperature
        self.weight_temperature = weight_temperature

    def forward(self, z_a: Tensor, z_b: Tensor) -> Tensor:
        """Return the loss of two views, `(batch, dim)` each."""
        return dclw_loss(
            z_a, z_b, temperature=self.temperature, weight_temperature=self.weight_temperature
        )
