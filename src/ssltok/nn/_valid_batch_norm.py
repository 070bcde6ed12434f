"""BatchNorm whose statistics are those of the real time steps."""

import torch
from torch import Tensor, nn

from ssltok._shared.checks import check_axes, check_bool_mask, check_floating, check_size
from ssltok._shared.numerics import full_precision, upcast

__all__ = ["ValidBatchNorm1d"]


class ValidBatchNorm1d(nn.BatchNorm1d):
    r"""Normalise channels by the mean and variance of the real time steps of the batch.

    $$y = \gamma\, \frac{x - \mu}{\sqrt{\sigma^2 + \epsilon}} + \beta, \qquad
      \mu = \frac{1}{n} \sum_{(b, t)\ \mathrm{real}} x_{b,t}, \quad
      \sigma^2 = \frac{1}{n} \sum_{(b, t)\ \mathrm{real}} (x_{b,t} - \mu)^2$$

    Without `valid` it is `nn.BatchNorm1d`. With it, padding neither shifts the statistics of
    training nor is read; how much of it there is makes no difference. The result is 0 where
    nothing is real. Statistics are computed in float32 or better, in two passes. Options and
    state are those of `nn.BatchNorm1d`.

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

    def forward(self, x: Tensor, valid: Tensor | None = None) -> Tensor:
        """Normalise `(batch, channels, length)`; `valid`, `(batch, length)`, is True where real."""
        check_axes("ValidBatchNorm1d", "x", x, "batch channels length")
        check_floating("ValidBatchNorm1d", "x", x)
        check_size("ValidBatchNorm1d", "x", x, 1, self.num_features)
        if valid is None:
            return super().forward(x)
        check_bool_mask("ValidBatchNorm1d", "valid", valid, (x.shape[0], x.shape[2]))
        padding = ~valid.unsqueeze(1)
        if not self.training and self.running_mean is not None:
            return super().forward(x.masked_fill(padding, 0)).masked_fill(padding, 0)
        with full_precision(x):
            values = upcast(x).masked_fill(padding, 0)
            count = valid.sum().clamp(min=1)
            mean = values.sum(dim=(0, 2), keepdim=True) / count
            centered = (values - mean).masked_fill(padding, 0)
            variance = centered.square().sum(dim=(0, 2), keepdim=True) / count
            if self.training:
                self._track(mean.detach().flatten(), variance.detach().flatten(), count)
            normed = centered * (variance + self.eps).rsqrt()
            if self.affine:
                normed = torch.addcmul(self.bias[:, None], normed, self.weight[:, None])
            return normed.to(x.dtype).masked_fill(padding, 0)

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
