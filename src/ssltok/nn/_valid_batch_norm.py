"""BatchNorm whose statistics are those of the real places, of series and of maps."""

import torch
from torch import Tensor, nn

from ssltok._shared.checks import check_axes, check_bool_mask, check_floating, check_size
from ssltok._shared.numerics import full_precision, upcast

__all__ = ["ValidBatchNorm1d", "ValidBatchNorm2d"]


class _ValidBatchNorm(nn.modules.batchnorm._BatchNorm):
    """What both have in common: `valid` is `(batch, last axis)`."""

    axes: str

    def __init__(
        self,
        num_features: int,
        *,
        eps: float = 1e-5,
        momentum: float | None = 0.1,
        affine: bool = True,
        track_running_stats: bool = True,
    ) -> None:
        super().__init__(num_features, eps, momentum, affine, track_running_stats)

    def forward(self, x: Tensor, valid: Tensor | None = None) -> Tensor:
        who = type(self).__name__
        check_axes(who, "x", x, self.axes)
        check_floating(who, "x", x)
        check_size(who, "x", x, 1, self.num_features)
        if valid is None:
            return super().forward(x)
        check_bool_mask(who, "valid", valid, (x.shape[0], x.shape[-1]))
        column = (-1, *[1] * (x.ndim - 2))
        real = valid.view(len(valid), *[1] * (x.ndim - 2), -1)
        if not self.training and self.running_mean is not None:
            return torch.where(real, super().forward(torch.where(real, x, 0)), 0)
        with full_precision(x):
            values = torch.where(real, upcast(x), 0)  # `masked_fill` forgets channels_last
            rows = x.shape[2:-1].numel()
            count = (valid.sum() * rows).clamp(min=1)
            axes = [axis for axis in range(x.ndim) if axis != 1]
            mean = values.sum(dim=axes, keepdim=True) / count
            centered = torch.where(real, values - mean, 0)
            variance = centered.square().sum(dim=axes, keepdim=True) / count
            if self.training:
                self._track(mean.detach().flatten(), variance.detach().flatten(), count)
            normed = centered * (variance + self.eps).rsqrt()
            if self.affine:
                normed = torch.addcmul(self.bias.view(column), normed, self.weight.view(column))
            return torch.where(real, normed.to(x.dtype), 0)

    def _track(self, mean: Tensor, variance: Tensor, count: Tensor) -> None:
        if self.running_mean is None or self.running_var is None:
            return
        share: float | Tensor = 0.0 if self.momentum is None else self.momentum
        if self.num_batches_tracked is not None:
            self.num_batches_tracked.add_(1)
            if self.momentum is None:  # a plain average over all batches, as in nn.BatchNorm1d
                share = 1 / self.num_batches_tracked.to(mean.dtype)
        unbiased = variance * count / (count - 1).clamp(min=1)
        with torch.no_grad():
            self.running_mean.lerp_(mean.to(self.running_mean.dtype), share)
            self.running_var.lerp_(unbiased.to(self.running_var.dtype), share)


class ValidBatchNorm1d(_ValidBatchNorm, nn.BatchNorm1d):
    r"""Normalise channels by the mean and variance of the real time steps of the batch.

    $$y = \gamma\, \frac{x - \mu}{\sqrt{\sigma^2 + \epsilon}} + \beta, \qquad
      \mu = \frac{1}{n} \sum_{(b, t)\ \mathrm{real}} x_{b,t}, \quad
      \sigma^2 = \frac{1}{n} \sum_{(b, t)\ \mathrm{real}} (x_{b,t} - \mu)^2$$

    Without `valid` it is `nn.BatchNorm1d`. With it, padding neither shifts the statistics of
    training nor is read; how much of it there is makes no difference. The result is 0 where
    nothing is real. Statistics are computed in float32 or better, in two passes. State and options
    are those of `nn.BatchNorm1d`.

    Args:
        num_features: Channels of the input.
        eps: $\epsilon$.
        momentum: Share of the new batch in the running statistics; None averages all batches.
        affine: Whether there are $\gamma$ and $\beta$.
        track_running_stats: Whether evaluation uses running statistics, not those of its batch.

    Over several processes each has statistics of its own. Converted by
    `nn.SyncBatchNorm.convert_sync_batchnorm`, it shares them, but takes no `valid` any more.

    Raises:
        ValueError: If an input is not floating point `(batch, channels, length)`, or `valid` does
            not fit it.

    Example:
        >>> import torch
        >>> from ssltok.nn import ValidBatchNorm1d
        >>> x = torch.tensor([[[2.0, 4.0, 99.0]]])
        >>> norm = ValidBatchNorm1d(1, eps=0)
        >>> norm(x, torch.tensor([[True, True, False]])).detach()
        tensor([[[-1.,  1.,  0.]]])

    References:
        Ioffe and Szegedy, *Batch normalization*, 2015, <https://arxiv.org/abs/1502.03167>,
        algorithm 1.
    """

    axes = "batch channels length"

    def forward(self, x: Tensor, valid: Tensor | None = None) -> Tensor:
        """Normalise `(batch, channels, length)`; `valid`, `(batch, length)`, is True where real."""
        return super().forward(x, valid)


class ValidBatchNorm2d(_ValidBatchNorm, nn.BatchNorm2d):
    r"""Normalise the channels of maps by mean and variance of the frames that are real.

    `ValidBatchNorm1d` for maps: a frame is real at all frequencies or at none.

    Args:
        num_features: Channels of the input.
        eps: $\epsilon$.
        momentum: Share of the new batch in the running statistics; None averages all batches.
        affine: Whether there are $\gamma$ and $\beta$.
        track_running_stats: Whether evaluation uses running statistics, not those of its batch.

    Raises:
        ValueError: If an input is not floating point `(batch, channels, freq, frames)`, or `valid`
            does not fit it.

    Example:
        >>> import torch
        >>> from ssltok.nn import ValidBatchNorm2d
        >>> x = torch.tensor([[[[2.0, 99.0], [4.0, 99.0]]]])
        >>> norm = ValidBatchNorm2d(1, eps=0)
        >>> norm(x, torch.tensor([[True, False]])).detach().tolist()
        [[[[-1.0, 0.0], [1.0, 0.0]]]]

    References:
        See `ValidBatchNorm1d`.
    """

    axes = "batch channels freq frames"

    def forward(self, x: Tensor, valid: Tensor | None = None) -> Tensor:
        """Normalise `(batch, channels, freq, frames)`; `valid` is `(batch, frames)`."""
        return super().forward(x, valid)
