"""What is read off decoded frames: a residual network, pooled over time."""

import torch
from torch import Tensor, nn
from torch.nn import functional

__all__ = ["Summary"]


class Summary(nn.Module):
    """Stages that halve the samples, pooled over time.

    Args:
        widths: Channels of the stages.

    Attributes:
        features: Mean, deviation and maximum of each channel of each stage.
    """

    def __init__(self, widths: tuple[int, ...]) -> None:
        super().__init__()
        self.stem = nn.Conv1d(1, widths[0], 9, stride=2, padding=4)
        self.stages = nn.ModuleList(
            Stage(into, out) for into, out in zip((widths[0], *widths[:-1]), widths, strict=True)
        )
        self.features = 3 * sum(widths)

    def forward(self, series: Tensor) -> Tensor:
        """Turn `(rows, samples)` into `(rows, features)`."""
        x, pooled = self.stem(series[:, None]), []
        for stage in self.stages:
            x = stage(x)
            pooled += [x.mean(2), (x.var(2, unbiased=False) + 1e-4).sqrt(), x.amax(2)]
        return torch.cat(pooled, dim=1)


class Stage(nn.Module):
    """Halve the samples, and add what two convolutions make of them."""

    def __init__(self, into: int, out: int) -> None:
        super().__init__()
        self.first = nn.Conv1d(into, out, 5, stride=2, padding=2, bias=False)
        self.first_norm = nn.BatchNorm1d(out)
        self.second = nn.Conv1d(out, out, 5, padding=2, bias=False)
        self.second_norm = nn.BatchNorm1d(out)
        self.skip = nn.Conv1d(into, out, 1, stride=2)

    def forward(self, x: Tensor) -> Tensor:
        """Turn `(rows, into, samples)` into `(rows, out, samples / 2)`."""
        y = functional.relu(self.first_norm(self.first(x)))
        return functional.relu(self.skip(x) + self.second_norm(self.second(y)))
