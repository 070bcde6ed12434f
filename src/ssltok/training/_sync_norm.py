"""BatchNorm over all processes, on any device: torch's own SyncBatchNorm needs a GPU."""

import torch
from torch import Tensor, nn

from ssltok.distributed import reduce_sum

__all__ = ["SyncedBatchNorm", "synchronize_norms"]


class SyncedBatchNorm(nn.modules.batchnorm._BatchNorm):
    """BatchNorm whose training statistics are those of the batches of all processes together.

    Takes `(batch, channels, ...)`; equal to `nn.BatchNorm` on the concatenated batch, in value
    and, after DDP's averaging, in gradient. Without a process group it is `nn.BatchNorm`.
    """

    def forward(self, input: Tensor, valid: Tensor | None = None) -> Tensor:
        """Normalise `(batch, channels, ...)`; `valid`, `(batch, last axis)`, is True where real."""
        real = None
        if valid is not None:
            real = valid.view(len(valid), *[1] * (input.ndim - 2), -1)
            input = torch.where(real, input, 0)
        if not self.training:
            normed = super().forward(input)
            return normed if real is None else torch.where(real, normed, 0)
        dims = [dim for dim in range(input.ndim) if dim != 1]
        shape = [1, -1, *[1] * (input.ndim - 2)]
        values = input.float() if input.dtype in (torch.float16, torch.bfloat16) else input
        count = values.new_tensor([values.numel() // values.shape[1]])
        if valid is not None:
            count = (valid.sum() * input.shape[2:-1].numel()).to(values.dtype)[None]
        sums = reduce_sum(torch.cat([values.sum(dims), count]))
        mean, total = sums[:-1] / sums[-1], sums[-1].detach()
        centered = values - mean.view(shape)
        if real is not None:
            centered = torch.where(real, centered, 0)
        variance = reduce_sum(centered.square().sum(dims)) / total
        self._track(mean.detach(), variance.detach(), total)
        normed = centered * (variance + self.eps).rsqrt().view(shape)
        if self.affine:
            normed = normed * self.weight.view(shape) + self.bias.view(shape)
        if real is not None:
            normed = torch.where(real, normed, 0)
        return normed.to(input.dtype)

    def _track(self, mean: Tensor, variance: Tensor, total: Tensor) -> None:
        if self.running_mean is None or self.running_var is None or self.momentum is None:
            return
        if self.num_batches_tracked is not None:
            self.num_batches_tracked.add_(1)
        self.running_mean.lerp_(mean, self.momentum)
        self.running_var.lerp_(variance * total / (total - 1), self.momentum)

    def _check_input_dim(self, input: Tensor) -> None:
        pass


def synchronize_norms(module: nn.Module) -> None:
    """Turn every BatchNorm inside `module`, in place, into one over all processes."""
    for part in module.modules():
        if isinstance(part, nn.BatchNorm1d | nn.BatchNorm2d):
            part.__class__ = SyncedBatchNorm  # type: ignore[assignment]
