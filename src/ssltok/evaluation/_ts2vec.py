"""TS2Vec: an encoder that is fitted on the series it looks at, as Context-FID asks."""

import contextlib

import torch
from torch import Tensor, nn

from ssltok._shared.checks import check_at_least, check_axes, check_floating, check_positive
from ssltok._shared.numerics import full_precision
from ssltok.losses import hierarchical_contrastive_loss
from ssltok.nn import DilatedConvEncoder

__all__ = ["TS2VecEncoder"]

FEW_VALUES = 100_000
"""Up to so many values of the training series 200 steps are taken, else 600."""


class TS2VecEncoder(nn.Module):
    """TS2Vec: features of a whole series, the maximum over time of those of each step.

    Get one from `TS2VecEncoder.fit`. It takes series in their own units; the published protocols
    scale them to [0, 1] first, as `diffusion_ts_protocol` does.

    Args:
        channels: Channels of the series.
        dim: Features; 320 in the paper.
        hidden_dim: Width of the network; 64 in the paper.
        depth: Its blocks; 10 in the paper.
        generator: Draws the weights.

    Raises:
        ValueError: If a size is out of range.
        TypeError: If an option is not a number.

    Example:
        >>> import torch
        >>> from ssltok.evaluation import TS2VecEncoder
        >>> series = torch.randn(12, 2, 16, generator=torch.Generator().manual_seed(0))
        >>> encoder = TS2VecEncoder.fit(series, steps=2, dim=8, hidden_dim=4, depth=2)
        >>> encoder(series).shape
        torch.Size([12, 8])

    References:
        Yue et al., *TS2Vec*, 2022, <https://arxiv.org/abs/2106.10466>, and its code. As the
        encoder of Context-FID: Jeha et al., *PSA-GAN*, 2022, <https://arxiv.org/abs/2108.00981>,
        section 4.1, with another encoder; Yuan & Qiao, *Diffusion-TS*, 2024.
    """

    def __init__(
        self,
        channels: int,
        *,
        dim: int = 320,
        hidden_dim: int = 64,
        depth: int = 10,
        generator: torch.Generator | None = None,
    ) -> None:
        super().__init__()
        check_at_least("TS2VecEncoder", "channels", channels, 1)
        self.channels, self.dim, self.hidden_dim, self.depth = channels, dim, hidden_dim, depth
        with contextlib.ExitStack() as held:
            if generator is not None:
                held.enter_context(torch.random.fork_rng(devices=[]))
                torch.manual_seed(_integer(2**62, generator))
            self.network = DilatedConvEncoder(channels, dim, hidden_dim=hidden_dim, depth=depth)

    @classmethod
    def fit(
        cls,
        series: Tensor,
        *,
        steps: int | None = None,
        batch_size: int = 8,
        learning_rate: float = 1e-3,
        dim: int = 320,
        hidden_dim: int = 64,
        depth: int = 10,
        generator: torch.Generator | None = None,
    ) -> "TS2VecEncoder":
        """Train on series without labels, and return the mean of all steps' weights in eval mode.

        Two crops that overlap are encoded, each with half of its steps hidden; each step of the
        overlap should be alike in both and unlike the other steps and the other series
        (`hierarchical_contrastive_loss`).

        Args:
            series: Training series, `(cases, channels, length)`, of length 2 at the least.
            steps: Budget; by default, as published, 200 up to 100,000 values and 600 beyond.
            batch_size: Cases a step; a remainder of an epoch is dropped.
            learning_rate: Of AdamW.
            dim: As of the encoder.
            hidden_dim: As of the encoder.
            depth: As of the encoder.
            generator: Draws weights, batches, crops and what is hidden.

        Returns:
            The fitted encoder on the device of `series`.

        Raises:
            ValueError: If a shape or option is out of range.
            TypeError: If an input is not a tensor, or an option not a number.
        """
        who = "TS2VecEncoder.fit"
        check_floating(who, "series", series)
        check_axes(who, "series", series, "cases channels length")
        check_at_least(who, "cases", len(series), 1)
        check_at_least(who, "length", series.shape[2], 2)
        check_at_least(who, "batch_size", batch_size, 1)
        check_positive(who, "learning_rate", learning_rate)
        if steps is None:
            steps = 200 if series.numel() <= FEW_VALUES else 600
        check_at_least(who, "steps", steps, 1)
        with torch.inference_mode(mode=False), torch.autocast(series.device.type, enabled=False):
            series = series.detach().float()
            encoder = cls(
                series.shape[1], dim=dim, hidden_dim=hidden_dim, depth=depth, generator=generator
            ).to(series.device)
            network = encoder.network
            mean = torch.optim.swa_utils.AveragedModel(network)
            mean.update_parameters(network)
            optimizer = torch.optim.AdamW(network.parameters(), lr=learning_rate)
            size, order = min(batch_size, len(series)), torch.empty(0, dtype=torch.int64)
            network.train()
            with torch.enable_grad():
                for _ in range(steps):
                    if len(order) < size:
                        order = _order(len(series), generator)
                    batch, order = series[order[:size].to(series.device)], order[size:]
                    optimizer.zero_grad()
                    views = _two_views(network, batch, generator)
                    hierarchical_contrastive_loss(*views).backward()
                    optimizer.step()
                    mean.update_parameters(network)
            network.load_state_dict(mean.module.state_dict())
        return encoder.eval()

    def forward(self, series: Tensor) -> Tensor:
        """Return features, `(cases, dim)`, of series `(cases, channels, length)`."""
        weight = self.network.projection.weight
        with full_precision(series):
            features: Tensor = self.network(series.to(weight.dtype)).amax(2)
        return features


def _two_views(
    network: DilatedConvEncoder, batch: Tensor, generator: torch.Generator | None
) -> list[Tensor]:
    """Features of the overlap of two crops, seen from each, `(batch, overlap, dim)`."""
    length = batch.shape[2]
    overlap = 2 + _integer(length - 1, generator)
    left = _integer(length - overlap + 1, generator)
    right = left + overlap
    first, last = _integer(left + 1, generator), right + _integer(length - right + 1, generator)
    moves = [_integer(length - last + first + 1, generator) - first for _ in batch]
    views = []
    device = _device(generator)
    for start, end in ((first, right), (left, last)):
        crop = torch.stack(
            [row[:, start + move : end + move] for row, move in zip(batch, moves, strict=True)]
        )
        hidden = torch.rand(len(crop), crop.shape[2], generator=generator, device=device) < 0.5
        features = network(crop, mask=hidden.to(crop.device), generator=generator)
        views.append(features[:, :, left - start :][:, :, :overlap].mT)
    return views


def _integer(below: int, generator: torch.Generator | None) -> int:
    return int(torch.randint(below, (), generator=generator, device=_device(generator)))


def _order(cases: int, generator: torch.Generator | None) -> Tensor:
    return torch.randperm(cases, generator=generator, device=_device(generator)).cpu()


def _device(generator: torch.Generator | None) -> torch.device:
    return torch.device("cpu") if generator is None else generator.device
