"""ROCKET: features of random kernels, from a seed alone, without labels and without training."""

import torch
from torch import Tensor, nn
from torch.nn import functional

from ssltok._shared.checks import check_at_least, check_axes, check_floating
from ssltok._shared.numerics import full_precision
from ssltok.metrics._networks import module_digest

__all__ = ["RocketEncoder"]

TAPS = 11


class RocketEncoder(nn.Module):
    r"""Random convolutional kernels; each gives the share of positive values and the maximum.

    Kernel lengths are 7, 9 or 11; weights are normal, less their mean (in each channel); the bias
    is uniform in [-1, 1]; the dilation is $\lfloor 2^u \rfloor$ with $u$ uniform up to the
    largest that fits; half of the kernels see zeros beyond the ends. With several channels each
    kernel sees a random subset of them.

    The bias assumes series of about unit scale: standardise all sets with the statistics of the
    training split first. Everything is drawn from `seed`, on the CPU, so one seed is one encoder
    on every machine (published scores drew it from the global state, unseeded).

    Args:
        channels: Channels of the series.
        length: Length of the series, at least 8.
        kernels: Number of kernels; 10,000 in the paper, 1,000 in published evaluators.
        seed: Draws everything.

    Raises:
        ValueError: If a size is out of range.
        TypeError: If an input is not a tensor, or an option not a number.

    Example:
        >>> import torch
        >>> from ssltok.metrics import RocketEncoder
        >>> rocket = RocketEncoder(1, 32, kernels=100, seed=0)
        >>> features = rocket(torch.zeros(2, 1, 32))
        >>> features.shape
        torch.Size([2, 200])
        >>> bool((features[0, 0::2] == (features[0, 1::2] > 0)).all())  # zeros leave the bias
        True

    References:
        Dempster et al., *ROCKET*, 2020, <https://arxiv.org/abs/1910.13051>, section 3.
    """

    weight: Tensor
    bias: Tensor
    dilation: Tensor
    reach: Tensor
    padded: Tensor

    def __init__(self, channels: int, length: int, *, kernels: int = 1000, seed: int = 0) -> None:
        super().__init__()
        who = "RocketEncoder"
        check_at_least(who, "channels", channels, 1)
        check_at_least(who, "length", length, 8)
        check_at_least(who, "kernels", kernels, 1)
        self.channels, self.length = channels, length
        self.kernels, self.seed = kernels, seed
        generator = torch.Generator().manual_seed(seed)

        def uniform(*shape: int) -> Tensor:
            return torch.rand(shape, generator=generator, dtype=torch.float64, device="cpu")

        choices = torch.tensor([size for size in (7, 9, 11) if size < length], device="cpu")
        size = choices[(uniform(kernels) * len(choices)).long()]
        half = (size - 1) // 2
        tap = (torch.arange(TAPS, device="cpu") - TAPS // 2).abs()
        inside = (tap <= half[:, None])[:, None]
        shape = (kernels, channels, TAPS)
        weight = torch.randn(shape, generator=generator, dtype=torch.float64, device="cpu")
        weight = torch.where(inside, weight, 0.0)
        weight = weight - weight.sum(2, keepdim=True) / size[:, None, None] * inside
        seen = 2 ** (uniform(kernels) * torch.log2(size.clamp_max(channels) + 1.0))
        rank = uniform(kernels, channels).argsort(1).argsort(1)
        weight = weight * (rank < seen.long()[:, None])[:, :, None]
        most = torch.log2((length - 1) / (size - 1).double())
        self.register_buffer("weight", weight.float())
        self.register_buffer("bias", (2 * uniform(kernels) - 1).float())
        self.register_buffer("dilation", (2 ** (uniform(kernels) * most)).long())
        self.register_buffer("reach", half)
        self.register_buffer("padded", uniform(kernels) < 0.5)

    @torch.no_grad()
    def forward(self, series: Tensor) -> Tensor:
        """Return features, `(cases, 2 * kernels)`: positive share and maximum, kernel by kernel."""
        who = "RocketEncoder"
        check_floating(who, "series", series)
        check_axes(who, "series", series, "cases channels length")
        if series.shape[1:] != (self.channels, self.length):
            raise ValueError(
                f"{who}: series must have {self.channels} channels of length {self.length}; "
                f"got shape {tuple(series.shape)}"
            )
        with full_precision(series):
            return self._features(series.to(self.weight.dtype))

    def _features(self, x: Tensor) -> Tensor:
        features = x.new_empty(len(x), len(self.weight), 2)
        dilations = self.dilation.tolist()
        ends = torch.where(self.padded, 0, self.reach * self.dilation).tolist()
        groups: dict[int, dict[int, list[int]]] = {}
        for kernel, dilation in enumerate(dilations):
            groups.setdefault(dilation, {}).setdefault(ends[kernel], []).append(kernel)
        for dilation, by_end in groups.items():
            order = [kernel for members in by_end.values() for kernel in members]
            # Centred taps: a kernel without padding is the same output, less both ends.
            edge = TAPS // 2 * dilation
            wide = functional.pad(x, (edge, edge))
            shifted = [wide[..., k : k + self.length] for k in range(0, 2 * edge + 1, dilation)]
            windows = torch.stack(shifted, dim=2).flatten(1, 2)  # one product beats dilated conv1d
            response = self.weight[order].flatten(1) @ windows + self.bias[order][:, None]
            first = 0
            for end, members in by_end.items():
                part = response[:, first : first + len(members), end : self.length - end]
                features[:, members, 0] = (part > 0).sum(2) / part.shape[2]
                features[:, members, 1] = part.amax(2)
                first += len(members)
        return features.flatten(1)

    def digest(self) -> str:
        """Return a hash of all kernels: equal digests, equal encoders."""
        return module_digest(self)
