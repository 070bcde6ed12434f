"""Gaussian KL: what a VAE pays for saying more than its prior does."""

import torch
from torch import Tensor, nn

from ssltok._shared.checks import check_at_least, check_floating, check_same_shape
from ssltok._shared.numerics import full_precision, upcast

__all__ = ["GaussianKLLoss", "gaussian_kl_loss"]


def gaussian_kl_loss(mean: Tensor, log_variance: Tensor) -> Tensor:
    r"""Average over the batch the divergence of diagonal Gaussians from the standard one.

    $$\mathrm{KL}\bigl(\mathcal{N}(\mu, \sigma^2) \,\Vert\, \mathcal{N}(0, 1)\bigr)
      = \tfrac{1}{2} \sum_d \bigl(\mu_d^2 + \sigma_d^2 - 1 - \log \sigma_d^2\bigr)$$

    summed over all latents of a series and averaged over the batch, in nats: with the
    reconstruction's negative log-likelihood, summed likewise, it is the negative ELBO.
    $\sigma^2 - 1$ is computed without cancellation, so the loss keeps its digits near 0.

    Args:
        mean: $\mu$, `(batch, ...)`.
        log_variance: $\log \sigma^2$, of the same shape.

    Returns:
        The loss, a scalar, at least 0.

    Raises:
        ValueError: If the shapes differ, have fewer than two axes, or are empty.
        TypeError: If an input is not a tensor.

    Example:
        >>> import torch
        >>> from ssltok.losses import gaussian_kl_loss
        >>> gaussian_kl_loss(torch.tensor([[2.0, 0.0], [0.0, 0.0]]), torch.zeros(2, 2))
        tensor(1.)

    References:
        Kingma and Welling, *Auto-encoding variational Bayes*, 2014,
        <https://arxiv.org/abs/1312.6114>, equation 10, appendix B.
    """
    check_floating("gaussian_kl_loss", "mean", mean)
    check_floating("gaussian_kl_loss", "log_variance", log_variance)
    check_same_shape("gaussian_kl_loss", "mean and log_variance", mean, log_variance)
    check_at_least("gaussian_kl_loss", "mean.ndim", mean.ndim, 2)
    check_at_least("gaussian_kl_loss", "mean.numel()", mean.numel(), 1)
    with full_precision(mean):
        mean, log_variance = upcast(mean), upcast(log_variance)
        each = mean.square() + torch.expm1(log_variance) - log_variance
        return each.sum() / (2 * mean.shape[0])


class GaussianKLLoss(nn.Module):
    """`gaussian_kl_loss` as a module."""

    def forward(self, mean: Tensor, log_variance: Tensor) -> Tensor:
        """Return the loss of means and logarithms of variances, `(batch, ...)` each."""
        return gaussian_kl_loss(mean, log_variance)
