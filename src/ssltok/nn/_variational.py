"""The bottleneck of a variational autoencoder: features in, a Gaussian and a draw of it out."""

from typing import NamedTuple

import torch
from torch import Generator, Tensor, nn

from ssltok._shared.checks import (
    check_at_least,
    check_bool_mask,
    check_floating,
    check_integer,
    check_size,
)
from ssltok._shared.numerics import full_precision, upcast
from ssltok.nn._channel_axis import channel_axis

__all__ = ["GaussianLatents", "VariationalBottleneck"]


class GaussianLatents(NamedTuple):
    r"""A draw of each Gaussian, and the Gaussians; all of one shape.

    Attributes:
        latents: The draw in training, the mean in evaluation.
        mean: $\mu$.
        log_variance: $\log \sigma^2$.
    """

    latents: Tensor
    mean: Tensor
    log_variance: Tensor


class VariationalBottleneck(nn.Module):
    r"""Turn features into diagonal Gaussians and draw from them, differentiably.

    $$z = \mu + \sigma \odot \epsilon, \qquad \epsilon \sim \mathcal{N}(0, 1), \qquad
      (\mu, \log \sigma^2) = W x + b$$

    In training $z$ is drawn; in evaluation it is the mean. `gaussian_kl_loss(mean, log_variance)`
    is the price; `latents` go on to the decoder. All are float32 or better.

    Where `valid` is False, mean, log-variance and latents are 0: the Gaussian of the prior, whose
    price is 0, so padding does not count in the loss.

    Args:
        in_dim: Features of the input.
        dim: Features of the latents.
        channel_dim: The axis of the features, not 0: -1 for `(batch, in_dim)` and
            `(batch, tokens, in_dim)`, 1 after a convolution.

    Raises:
        ValueError: If a size is smaller than 1, or an input does not fit.
        TypeError: If an input is not a tensor, or an option not a number.

    Example:
        >>> import torch
        >>> from ssltok.nn import VariationalBottleneck
        >>> bottleneck = VariationalBottleneck(6, 2).eval()
        >>> latents, mean, log_variance = bottleneck(torch.randn(3, 6))
        >>> latents.shape, torch.equal(latents, mean)
        (torch.Size([3, 2]), True)

    References:
        Kingma and Welling, *Auto-encoding variational Bayes*, 2014,
        <https://arxiv.org/abs/1312.6114>, section 2.4 and appendix C.2.
    """

    def __init__(self, in_dim: int, dim: int, *, channel_dim: int = -1) -> None:
        super().__init__()
        check_at_least("VariationalBottleneck", "in_dim", in_dim, 1)
        check_at_least("VariationalBottleneck", "dim", dim, 1)
        check_integer("VariationalBottleneck", "channel_dim", channel_dim)
        self.in_dim, self.dim, self.channel_dim = in_dim, dim, channel_dim
        self.linear = nn.Linear(in_dim, 2 * dim)

    def forward(
        self, features: Tensor, valid: Tensor | None = None, *, generator: Generator | None = None
    ) -> GaussianLatents:
        """Return a draw, the means and the log-variances, `dim` features in `channel_dim` each.

        Args:
            features: `(batch, ..., in_dim)`, or with the features in `channel_dim`.
            valid: Boolean, the shape of `features` without `channel_dim`: True where real.
            generator: Source of the draw, in training; None is torch's own.
        """
        who = "VariationalBottleneck"
        check_floating(who, "features", features)
        check_at_least(who, "axes of features", features.ndim, 2)
        check_at_least(who, "elements", features.numel(), 1)
        channel_dim = channel_axis(who, "features", features, self.channel_dim)
        check_size(who, "features", features, channel_dim, self.linear.in_features)
        if valid is not None:
            shape = [size for dim, size in enumerate(features.shape) if dim != channel_dim]
            check_bool_mask(who, "valid", valid, shape)
            features = features.masked_fill(~valid.unsqueeze(channel_dim), 0)
        both = self.linear(features.movedim(channel_dim, -1)).movedim(-1, channel_dim)
        with full_precision(both):
            both = upcast(both)
            if valid is not None:
                both = both.masked_fill(~valid.unsqueeze(channel_dim), 0)
            mean, log_variance = both.chunk(2, dim=channel_dim)
            if not self.training:
                return GaussianLatents(mean, mean, log_variance)
            noise = torch.randn(
                mean.shape, dtype=mean.dtype, device=mean.device, generator=generator
            )
            if valid is not None:
                noise = noise.masked_fill(~valid.unsqueeze(channel_dim), 0)
            return GaussianLatents(
                torch.addcmul(mean, (log_variance / 2).exp(), noise), mean, log_variance
            )
