"""The coding rate: how many nats a batch needs, up to a precision; large where it is spread."""

from typing import Any

import torch
from torch import Tensor

from ssltok._shared.checks import check_at_least, check_floating, check_positive
from ssltok._shared.numerics import full_precision, upcast
from ssltok._shared.transforms import QuickFunction

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
        TypeError: If an input is not a tensor, or an option not a number.

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
        rate: Tensor = _Rate.apply(small, dim / (batch * eps))[0]
        return rate.to(x.dtype)


def _whole(small: Tensor, scale: float) -> Tensor:
    identity = torch.eye(small.shape[-2], dtype=small.dtype, device=small.device)
    return torch.add(identity, small @ small.mT, alpha=scale)


class _Rate(QuickFunction):
    r"""$\tfrac{1}{2} \log \det(I + c\, s s^\top)$, whose slope is $c\, (I + c\, s s^\top)^{-1} s$.

    Autograd goes back through the factor, at several times the cost of solving with it.
    """

    generate_vmap_rule = True

    @staticmethod
    def forward(small: Tensor, scale: float) -> tuple[Tensor, Tensor]:
        factor = torch.linalg.cholesky_ex(_whole(small, scale))[0]
        return factor.diagonal(dim1=-2, dim2=-1).log().sum(dim=-1), factor

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, Tensor]) -> None:
        small, ctx.scale = inputs
        ctx.set_materialize_grads(False)
        ctx.mark_non_differentiable(output[1])
        ctx.save_for_backward(small, output[1])

    @staticmethod
    def backward(ctx: Any, *grads: Tensor | None) -> tuple[Tensor | None, None]:
        if grads[0] is None:
            return None, None
        small, factor = ctx.saved_tensors
        if torch.is_grad_enabled():  # a second derivative is wanted
            solved = torch.linalg.solve(_whole(small, ctx.scale), small)
        else:
            solved = torch.cholesky_solve(small, factor)
        return solved * (ctx.scale * grads[0])[..., None, None], None
