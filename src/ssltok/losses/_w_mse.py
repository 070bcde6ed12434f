"""W-MSE: whitened views should agree; whitening leaves no way to collapse."""

import itertools

import torch
from torch import Tensor, nn

from ssltok._shared.checks import (
    check_at_least,
    check_axes,
    check_floating,
    check_ratio,
    check_same_shape,
)
from ssltok._shared.numerics import full_precision, upcast
from ssltok.losses._products_fast import unit_rows
from ssltok.losses._whitening import whiten_groups

__all__ = ["WMSELoss", "w_mse_loss"]


def w_mse_loss(
    *views: Tensor,
    sub_batch: int | None = None,
    iterations: int = 1,
    eps: float = 0.0,
    normalize: bool = True,
    generator: torch.Generator | None = None,
) -> Tensor:
    r"""Pull whitened views together.

    $$\frac{2}{V (V - 1)} \sum_{i < j} \frac{1}{B} \sum_b
      \bigl\lVert \bar w(z_i)_b - \bar w(z_j)_b \bigr\rVert^2$$

    where $w$ whitens each view by itself (`cholesky_whiten`) and the bar is L2 normalisation. With
    `sub_batch`, rows are shuffled (alike in all views) and whitened in groups of that many, and
    the loss is averaged over `iterations` such shuffles. Gradients flow into all views and
    through the whitening: there is no stop-gradient in W-MSE.

    Constants: the authors' code runs with `sub_batch=128` and a 64-dimensional embedding.

    Over several processes, whitening local rows is the published method; for the statistics of
    the whole batch give it `gather(z_a)`, `gather(z_b)` and, with `sub_batch`, generators of one
    seed.

    Args:
        *views: Two or more views, `(batch, dim)` each; row $b$ of each is the same sample.
        sub_batch: Rows whitened together; it must divide `batch`. `None` takes all (and draws no
            random number).
        iterations: Number of shuffles, at least 1; without `sub_batch` all would be alike.
        eps: Share of the identity in the covariance, in [0, 1]; see `cholesky_whiten`.
        normalize: Whether whitened rows are L2-normalised (the authors' default). If not, the
            loss is the mean squared error over batch **and** dim, as in their code.
        generator: The source of the shuffles; torch's own by default.

    Returns:
        The loss, a scalar in float32 (float64 for float64 views).

    Raises:
        ValueError: If there are fewer than two views, shapes differ or are not `(batch, dim)`,
            `sub_batch` does not divide the batch, is too small to whiten `dim` features, or
            an option is out of its range.
        TypeError: If an input is not a tensor, or an option not a number.

    Example:
        >>> import torch
        >>> from ssltok.losses import w_mse_loss
        >>> z = torch.tensor([[1.0], [2.0], [6.0]])
        >>> round(w_mse_loss(z, 5 * z + 1).item(), 4)  # whitening undoes an affine map
        0.0
        >>> round(w_mse_loss(z, -z).item(), 4)  # opposite directions: |1 - (-1)|^2
        4.0

    References:
        Ermolov et al., *Whitening for Self-Supervised Representation Learning*, 2021,
        <https://arxiv.org/abs/2007.06346>, equations 2 to 4.
    """
    who = "w_mse_loss"
    check_at_least(who, "number of views", len(views), 2)
    for view in views:
        check_floating(who, "each view", view)
        check_axes(who, "each view", view, "batch dim")
        check_same_shape(who, "the views", views[0], view)
    check_ratio(who, "eps", eps)
    check_at_least(who, "iterations", iterations, 1)
    batch, dim = views[0].shape
    if sub_batch is not None:
        check_at_least(who, "sub_batch", sub_batch, 1)
    size = batch if sub_batch is None else sub_batch
    check_at_least(who, "rows whitened together", size, 2 if eps > 0 else dim + 1)
    if batch % size:
        raise ValueError(f"{who}: sub_batch must divide batch; got {size} and {batch}")
    if sub_batch is None and iterations > 1:
        raise ValueError(f"{who}: iterations > 1 need a sub_batch; got {iterations} and None")
    with full_precision(views[0]):
        z = torch.stack([upcast(view) for view in views])  # (view, batch, dim)
        if sub_batch is not None:
            device = generator.device if generator is not None else z.device
            order = torch.cat(
                [
                    torch.randperm(batch, generator=generator, device=device)
                    for _ in range(iterations)
                ]
            )
            z = z[:, order.to(z.device)]
        z = whiten_groups(z.reshape(-1, size, dim), eps).reshape(z.shape)
        if normalize:
            z = unit_rows(z)
        pairs = list(itertools.combinations(range(len(views)), 2))
        total = sum(((z[i] - z[j]).square().sum(dim=-1).mean() for i, j in pairs), z.new_zeros(()))
        return total / (len(pairs) * (1 if normalize else dim))


class WMSELoss(nn.Module):
    """`w_mse_loss` with its options bound once; see there for their meaning."""

    def __init__(
        self,
        *,
        sub_batch: int | None = None,
        iterations: int = 1,
        eps: float = 0.0,
        normalize: bool = True,
    ) -> None:
        super().__init__()
        self.sub_batch = sub_batch
        self.iterations = iterations
        self.eps = eps
        self.normalize = normalize

    def forward(self, *views: Tensor, generator: torch.Generator | None = None) -> Tensor:
        """Return the loss of two or more views, `(batch, dim)` each."""
        return w_mse_loss(
            *views,
            sub_batch=self.sub_batch,
            iterations=self.iterations,
            eps=self.eps,
            normalize=self.normalize,
            generator=generator,
        )
