"""The coding rate: how many nats a batch needs, up to a precision; large where it is spread."""

import torch
from torch import Tensor

from ssltok._shared.checks import check_at_least, check_floating, check_positive
from ssltok._shared.numerics import full_precision, upcast

__all__ = ["coding_rate"]


def coding_rate(z: Tensor, *, eps: float = 0.5) -> Tensor:
    r"""Return the coding rate of each batch of embeddings.

    $$\tfrac{1}{2} \log \det \Bigl(I + \frac{D}{B \epsilon} z^\top z\Bigr)$$

    It is 0 for a batch of zeros, and for rows of norm 1 the larger the more directions are used
    alike, up to $\tfrac{r}{2} \log(1 + \tfrac{D}{r \epsilon})$, $r = \min(B, D)$. SimDINO and
    EMP-SSL make it large. The determinant is that of the smaller of $z^\top z$ and $z z^\top$, and
    is computed in float64, for both hold small numbers beside large ones.

    Args:
        z: Embeddings, `(..., batch, dim)`; of norm 1 in both methods.
        eps: $\epsilon > 0$, the squared precision; 0.5 in SimDINO's code, 0.2 in EMP-SSL's.

    Returns:
        The rates, `(...)`, in float32 (float64 for float64 rows).

    Raises:
        ValueError: If `z` is not `(..., batch, dim)` in floating point, is empty, or `eps <= 0`.

    Example:
        >>> import torch
        >>> from ssltok.losses import coding_rate
        >>> round(coding_rate(torch.eye(2), eps=0.5).item(), 4)  # log(1 + 2 / (2 * 0.5)) = log 3
        1.0986

    References:
        Ma et al., *Segmentation of multivariate mixed data via lossy data coding and compression*,
        2007, IEEE Transactions on Pattern Analysis and Machine Intelligence 29(9).
        Wu et al., *SimDINO*, 2025, <https://arxiv.org/abs/2502.10385>.
    """
    check_floating("coding_rate", "z", z)
    if z.ndim < 2:
        raise ValueError(
            "coding_rate: z must be (batch, dim), with any axes in front; "
            f"got shape {tuple(z.shape)}"
        )
    check_at_least("coding_rate", "z.numel()", z.numel(), 1)
    check_positive("coding_rate", "eps", eps)
    with full_precision(z):
        x = upcast(z)
        rows = x if x.device.type == "mps" else x.double()
        batch, dim = rows.shape[-2:]
        small = rows.mT if batch >= dim else rows
        product = small @ small.mT * (dim / (batch * eps))
        whole = product + torch.eye(small.shape[-2], dtype=rows.dtype, device=rows.device)
        factor = torch.linalg.cholesky_ex(whole)[0]
        return factor.diagonal(dim1=-2, dim2=-1).log().sum(dim=-1).to(x.dtype)
