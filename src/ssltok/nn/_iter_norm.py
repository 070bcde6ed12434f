"""Iterative normalisation: whitening without an eigenvalue decomposition."""

import torch
from einops import rearrange
from torch import Tensor, nn

from ssltok._shared.checks import (
    check_at_least,
    check_axes,
    check_floating,
    check_positive,
    check_ratio,
    check_size,
)
from ssltok._shared.numerics import full_precision, upcast

__all__ = ["IterNorm"]


class IterNorm(nn.Module):
    r"""Whiten groups of features over the batch by a few Newton steps.

    In each group, with the centred rows $X$ of a batch of $B$,

    $$\Sigma = \tfrac{1}{B} X^\top X + \epsilon I, \quad
      \bar\Sigma = \Sigma / \mathrm{tr}\,\Sigma, \quad
      P_0 = I, \quad P_{k+1} = \tfrac12 (3 P_k - P_k^3 \bar\Sigma)$$

    and the result is $X W$ with $W = P_T / \sqrt{\mathrm{tr}\,\Sigma}$, which tends to
    $\Sigma^{-1/2}$ (ZCA whitening) as $T$ grows. With few steps, directions of small variance
    are whitened in part only. A learned scale and shift per feature follow.

    As in BatchNorm, training whitens by the statistics of the batch and moves `running_mean` and
    `running_whitening` towards them; evaluation uses these two and treats rows one by one.
    Statistics are computed in float32 or better. Departure: gradients are autograd's own, so
    there are second derivatives; the authors' code writes a backward by hand.

    Args:
        features: Features of the input.
        group_size: Features whitened together; divides `features`. NC-VQVAE uses 64. A batch in
            training needs twice as many rows, for a covariance of fewer rows cannot be whitened.
        steps: Newton steps, $T$. The authors use 5.
        eps: $\epsilon$, added to the variances.
        momentum: Share of the new statistics in the running ones.
        affine: Whether to learn a scale and a shift.

    Raises:
        ValueError: If an option is out of its range, the input is not `(batch, features)`, or a
            batch in training has fewer than `2 * group_size` rows.
        TypeError: If an input is not a tensor, or an option not a number.

    Example:
        >>> import torch
        >>> from ssltok.nn import IterNorm
        >>> x = torch.tensor([[3.0, 4.0], [3.0, -4.0], [-3.0, 4.0], [-3.0, -4.0]])
        >>> IterNorm(2, group_size=2, steps=12)(x).detach().round(decimals=2)  # whitened: signs
        tensor([[ 1.,  1.],
                [ 1., -1.],
                [-1.,  1.],
                [-1., -1.]])

    References:
        Huang et al., *Iterative Normalization: Beyond Standardization towards Efficient
        Whitening*, 2019, <https://arxiv.org/abs/1904.03441>, algorithm 1.
    """

    running_mean: Tensor
    running_whitening: Tensor

    def __init__(
        self,
        features: int,
        *,
        group_size: int,
        steps: int = 5,
        eps: float = 1e-5,
        momentum: float = 0.1,
        affine: bool = True,
    ) -> None:
        super().__init__()
        check_at_least("IterNorm", "features", features, 1)
        check_at_least("IterNorm", "group_size", group_size, 1)
        check_at_least("IterNorm", "steps", steps, 1)
        check_positive("IterNorm", "eps", eps)
        check_ratio("IterNorm", "momentum", momentum)
        if features % group_size:
            raise ValueError(
                f"IterNorm: group_size must divide features; got {group_size} and {features}"
            )
        self.features, self.group_size, self.steps = features, group_size, steps
        self.eps, self.momentum, self.affine = eps, momentum, affine
        self.weight = nn.Parameter(torch.ones(features)) if affine else None
        self.bias = nn.Parameter(torch.zeros(features)) if affine else None
        groups = features // group_size
        self.register_buffer("running_mean", torch.zeros(features))
        self.register_buffer("running_whitening", torch.eye(group_size).repeat(groups, 1, 1))

    def forward(self, x: Tensor) -> Tensor:
        """Whiten `(batch, features)`; the result is float32 or better."""
        check_axes("IterNorm", "x", x, "batch features")
        check_floating("IterNorm", "x", x)
        check_size("IterNorm", "x", x, 1, self.features)
        least = 2 * self.group_size if self.training else 1
        check_at_least("IterNorm", "batch", x.shape[0], least)
        with full_precision(x):
            x = upcast(x)
            mean, whitening = self.running_mean, self.running_whitening
            if self.training:
                mean = x.mean(dim=0)
                whitening = self._newton(self._grouped(x - mean))
                with torch.no_grad():
                    self.running_mean.lerp_(mean.to(self.running_mean.dtype), self.momentum)
                    self.running_whitening.lerp_(
                        whitening.to(self.running_whitening.dtype), self.momentum
                    )
            white = self._grouped(x - mean) @ whitening.to(x.dtype)
            white = rearrange(white, "groups batch dim -> batch (groups dim)")
            if self.weight is None or self.bias is None:
                return white
            return torch.addcmul(self.bias, white, self.weight)

    def _grouped(self, x: Tensor) -> Tensor:
        return rearrange(x, "batch (groups dim) -> groups batch dim", dim=self.group_size)

    def _newton(self, centred: Tensor) -> Tensor:
        identity = torch.eye(self.group_size, dtype=centred.dtype, device=centred.device)
        covariance = centred.mT @ centred / centred.shape[1] + self.eps * identity
        trace = covariance.diagonal(dim1=1, dim2=2).sum(dim=1)[:, None, None]
        scaled = covariance / trace
        root = (3 * identity - scaled) / 2  # the first step, from P = I
        for _ in range(self.steps - 1):
            root = torch.baddbmm(root, root @ root @ root, scaled, beta=1.5, alpha=-0.5)
        return root * trace.rsqrt()
