"""Whitening: features of a batch made uncorrelated, exactly or by a few matrix products."""

import torch
from einops import rearrange
from torch import Tensor

from ssltok._shared.checks import (
    check_at_least,
    check_axes,
    check_floating,
    check_positive,
    check_ratio,
)
from ssltok._shared.numerics import full_precision, upcast

__all__ = ["cholesky_whiten", "iterative_whiten", "whiten_groups"]


def cholesky_whiten(z: Tensor, *, eps: float = 0.0) -> Tensor:
    r"""Whiten a batch exactly: mean 0 and covariance the identity.

    $$L^{-1} (z - \mu), \qquad L L^\top = (1 - \epsilon)\, \Sigma + \epsilon I, \qquad
      \Sigma = \tfrac{1}{B - 1} \textstyle\sum_b (z_b - \mu)(z_b - \mu)^\top$$

    with gradients through $L$. Factorised in float64, with $10^{-16}$ of the trace on the
    diagonal, so that a constant or duplicated feature gives finite numbers instead of an error;
    its gradient is then huge, as the mathematics has it: give such data an $\epsilon$.

    Args:
        z: Rows, `(batch, dim)`, with `batch > dim` if `eps` is 0.
        eps: $\epsilon$ in [0, 1], the share of the identity; 0 as in the authors' code, which
            takes 1e-4 where the covariance is singular.

    Returns:
        Whitened rows, `(batch, dim)`, in at least float32.

    Raises:
        ValueError: If `z` is not `(batch, dim)` in floating point, has too few rows, or `eps`
            is outside [0, 1].
        TypeError: If an input is not a tensor, or an option not a number.

    Example:
        >>> import torch
        >>> from ssltok.losses import cholesky_whiten
        >>> cholesky_whiten(torch.tensor([[1.0], [3.0], [5.0]]))  # variance 4
        tensor([[-1.],
                [ 0.],
                [ 1.]])

    References:
        Ermolov et al., *Whitening for Self-Supervised Representation Learning*, 2021,
        <https://arxiv.org/abs/2007.06346>, section 3.1.
    """
    check_floating("cholesky_whiten", "z", z)
    check_axes("cholesky_whiten", "z", z, "batch dim")
    check_ratio("cholesky_whiten", "eps", eps)
    check_at_least("cholesky_whiten", "batch", z.shape[0], 2 if eps > 0 else z.shape[1] + 1)
    with full_precision(z):
        return whiten_groups(upcast(z).unsqueeze(0), eps).squeeze(0)


def whiten_groups(z: Tensor, eps: float) -> Tensor:
    """Whiten each group of `(groups, batch, dim)` by itself; the unchecked heart of the above."""
    exact = z if z.device.type == "mps" else z.double()
    centered = exact - exact.mean(dim=1, keepdim=True)
    covariance = centered.mT @ centered / (z.shape[1] - 1)
    trace = covariance.diagonal(dim1=1, dim2=2).sum(dim=1)
    floor = torch.finfo(exact.dtype).eps * trace + torch.finfo(exact.dtype).tiny
    identity = torch.eye(z.shape[2], dtype=exact.dtype, device=z.device)
    shrunk = (1 - eps) * covariance + (eps + floor[:, None, None]) * identity
    lower, _ = torch.linalg.cholesky_ex(shrunk)
    white: Tensor = torch.linalg.solve_triangular(lower, centered.mT, upper=False)
    return white.mT.to(z.dtype)


def iterative_whiten(
    z: Tensor, *, iterations: int = 5, group_size: int = 64, eps: float = 1e-5
) -> Tensor:
    r"""Whiten a batch approximately, by Newton's iteration: IterNorm without its layer.

    $$W = P_T / \sqrt{\mathrm{tr}\, \Sigma}, \qquad
      P_{k+1} = \tfrac{1}{2} \bigl(3 P_k - P_k^3\, \Sigma / \mathrm{tr}\, \Sigma\bigr), \qquad
      P_0 = I$$

    with $\Sigma = \tfrac{1}{B} \sum_b (z_b - \mu)(z_b - \mu)^\top + \epsilon I$ of each group of
    features. $W$ tends to $\Sigma^{-1/2}$; after five iterations large variances are 1 and small
    ones still below: it is a partial whitening, and it needs many more rows than `group_size`
    (twice as many is little).

    Computed as the coupled iteration of $P_k$ and $\Sigma P_k$, equal in exact arithmetic: the
    form above doubles its rounding errors and diverges after some ten iterations on
    ill-conditioned data. Gradients flow by autograd, second derivatives too. The layer's moving
    averages and affine map are not part of it.

    Args:
        z: Rows, `(batch, dim)`, at least two.
        iterations: $T \ge 1$; 5 as in the paper.
        group_size: Features whitened together; it must divide `dim`. 64 as in the authors' code.
        eps: $\epsilon > 0$ on the diagonal.

    Returns:
        Whitened rows, `(batch, dim)`, in at least float32.

    Raises:
        ValueError: If `z` is not `(batch, dim)` in floating point, `batch < 2`, `group_size` does
            not divide `dim`, or an option is out of its range.
        TypeError: If an input is not a tensor, or an option not a number.

    Example:
        >>> import torch
        >>> from ssltok.losses import iterative_whiten
        >>> z = torch.tensor([[2.0], [-2.0]])
        >>> iterative_whiten(z, group_size=1).round(decimals=3)  # a lone feature: one step
        tensor([[ 1.],
                [-1.]])

    References:
        Huang et al., *Iterative Normalization*, 2019, <https://arxiv.org/abs/1904.03441>,
        algorithm 1.
        Lee and Aune, *VIbCReg*, 2021, <https://arxiv.org/abs/2109.00783>, section 3.
    """
    who = "iterative_whiten"
    check_floating(who, "z", z)
    check_axes(who, "z", z, "batch dim")
    check_at_least(who, "batch", z.shape[0], 2)
    check_at_least(who, "iterations", iterations, 1)
    check_at_least(who, "group_size", group_size, 1)
    check_positive(who, "eps", eps)
    batch, dim = z.shape
    if dim % group_size:
        raise ValueError(f"{who}: group_size must divide dim; got {group_size} and {dim}")
    with full_precision(z):
        pattern = "batch (groups dim) -> groups batch dim"
        rows = rearrange(upcast(z), pattern, dim=group_size)
        centered = rows - rows.mean(dim=1, keepdim=True)
        identity = torch.eye(group_size, dtype=rows.dtype, device=z.device)
        covariance = centered.mT @ centered / batch + eps * identity
        trace = covariance.diagonal(dim1=1, dim2=2).sum(dim=1)[:, None, None]
        scaled = covariance / trace
        root = 1.5 * identity - 0.5 * scaled
        product = scaled @ root
        for _ in range(iterations - 1):
            step = 1.5 * identity - 0.5 * (root @ product)
            root, product = step @ root, product @ step
        white: Tensor = centered @ root / trace.sqrt()
        return rearrange(white, "groups batch dim -> batch (groups dim)")
