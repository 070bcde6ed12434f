"""Swap the quantizer of an autoencoder by changing one line; everything else stays as it is.

    python examples/06_swap_quantizers.py --steps 200

The series are Cylinder-Bell-Funnel (Saito, 1994), drawn by formula.
"""

import argparse
from collections.abc import Callable

import torch
from torch import Tensor, nn

from ssltok.quantizers import FSQ, EMAVectorQuantizer, ProjectedQuantizer, VectorQuantizer

LENGTH, CHANNELS = 128, 16


def cylinder_bell_funnel(samples: int, generator: torch.Generator) -> Tensor:
    """Draw series `(samples, 1, 128)` of three kinds: a plateau, a ramp up, a ramp down."""

    def uniform(low: float, high: float) -> Tensor:
        return low + (high - low) * torch.rand(samples, 1, generator=generator)

    t = torch.arange(LENGTH).float()
    start, width = uniform(16, 32), uniform(32, 96)
    end = start + width
    kind = torch.randint(3, (samples, 1), generator=generator)
    inside = ((t >= start) & (t <= end)).float()
    ramp = torch.where(kind == 1, (t - start) / width, (end - t) / width)
    shape = inside * torch.where(kind == 0, torch.ones_like(ramp), ramp)
    height = 6 + torch.randn(samples, 1, generator=generator)
    series = height * shape + torch.randn(samples, LENGTH, generator=generator)
    return ((series - series.mean(1, keepdim=True)) / series.std(1, keepdim=True))[:, None]


class AutoEncoder(nn.Module):
    """Four samples to a token, and back."""

    def __init__(self, quantizer: nn.Module) -> None:
        super().__init__()
        self.encoder = nn.Sequential(
            nn.Conv1d(1, 32, 4, stride=2, padding=1), nn.GELU(),
            nn.Conv1d(32, CHANNELS, 4, stride=2, padding=1),
        )  # fmt: skip
        self.quantizer = quantizer
        self.decoder = nn.Sequential(
            nn.ConvTranspose1d(CHANNELS, 32, 4, stride=2, padding=1), nn.GELU(),
            nn.ConvTranspose1d(32, 1, 4, stride=2, padding=1),
        )  # fmt: skip


QUANTIZERS: dict[str, Callable[[], nn.Module]] = {
    "gradient": lambda: VectorQuantizer(CHANNELS, 64, channel_dim=1),
    "moving means": lambda: EMAVectorQuantizer(CHANNELS, 64, channel_dim=1),
    "FSQ, 4 x 4 x 4": lambda: ProjectedQuantizer(FSQ([4, 4, 4]), CHANNELS, channel_dim=1),
}


def train(model: AutoEncoder, steps: int, generator: torch.Generator) -> None:
    """Train; the loop is the same for every quantizer."""
    optimizer = torch.optim.AdamW(model.parameters(), lr=3e-3)
    start = model.encoder(cylinder_bell_funnel(64, generator)).detach()
    if hasattr(model.quantizer, "initialize"):
        model.quantizer.initialize(start, generator=generator)
    for _ in range(steps):
        series = cylinder_bell_funnel(64, generator)
        latents = model.encoder(series)
        vectors, codes, loss = model.quantizer(latents)
        error = nn.functional.mse_loss(model.decoder(vectors), series)
        optimizer.zero_grad()
        (error + loss).backward()
        optimizer.step()
        model.quantizer.update(latents.detach(), codes)  # type: ignore[operator]


@torch.no_grad()
def evaluate(model: AutoEncoder, generator: torch.Generator) -> tuple[float, int]:
    """Return the error on fresh series, and how many codes they use."""
    model.eval()
    series = cylinder_bell_funnel(256, generator)
    vectors, codes, _ = model.quantizer(model.encoder(series))
    return float(nn.functional.mse_loss(model.decoder(vectors), series)), len(codes.unique())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--steps", type=int, default=200)
    steps = parser.parse_args().steps
    torch.set_num_threads(1)  # the model is so small that threads cost more than they give
    for name, build in QUANTIZERS.items():
        torch.manual_seed(0)
        model = AutoEncoder(build())  # <- the one line
        train(model, steps, torch.Generator().manual_seed(1))
        error, used = evaluate(model, torch.Generator().manual_seed(2))
        print(f"{name:15} error {error:.3f}, {used} of 64 codes in use")


if __name__ == "__main__":
    main()
