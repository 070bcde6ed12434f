"""The same small autoencoder with different quantizers: reconstruction error and codes in use.

    pip install vector-quantize-pytorch sktime
    python benchmarks/studies/codebook_learning.py
    python benchmarks/studies/codebook_learning.py --data folder --sets GunPoint ECG5000

`--data` is a folder of archives `<set>.npz` with arrays `X_train` and `X_test`, each
`(cases, channels, length)`. Without it: GunPoint (50 series to train on, 150 to test on; shipped
with sktime) and Cylinder-Bell-Funnel by its formula (2,000 and 1,000). Each series is standardised
by itself. The error is the mean squared error on the test set; usage is the share of the 64 codes
that the test set uses, counted over the whole set.
"""

import argparse
import importlib.metadata
import pathlib
import statistics
import sys
import warnings
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

if __name__ == "__main__" and not __package__:  # as a script: imports begin at the root
    sys.path[0] = str(pathlib.Path(__file__).parents[2])

from benchmarks.side_by_side import machine

from ssltok.quantizers import (
    FSQ,
    EMAVectorQuantizer,
    ProjectedQuantizer,
    SimVQ,
    VectorQuantizer,
    code_counts,
    rotation_trick,
)

CODES, CHANNELS, BATCH = 64, 16, 32


class Peer(nn.Module):
    """vector-quantize-pytorch's EMA quantizer at its defaults, channels first."""

    def __init__(self) -> None:
        super().__init__()
        from vector_quantize_pytorch import VectorQuantize

        self.inner = VectorQuantize(CHANNELS, CODES, channel_last=False)

    def forward(self, latents: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Return vectors, codes and the loss as one number."""
        vectors, codes, loss = self.inner(latents)
        return vectors, codes, loss.sum()

    def update(self, latents: Tensor, codes: Tensor) -> None:
        """It has updated itself in forward."""


ARMS: dict[str, Callable[[], Any]] = {  # their names say how they are tended
    "vector-quantize-pytorch, EMA at its defaults": Peer,
    "EMAVectorQuantizer": lambda: EMAVectorQuantizer(CHANNELS, CODES, channel_dim=1),
    "EMAVectorQuantizer, initialize and revive": lambda: EMAVectorQuantizer(
        CHANNELS, CODES, channel_dim=1
    ),
    "EMAVectorQuantizer at the peer's options, initialize and revive": lambda: EMAVectorQuantizer(
        CHANNELS, CODES, channel_dim=1, decay=0.8, commitment_weight=1.0, estimator=rotation_trick
    ),
    "EMAVectorQuantizer at the peer's options, initialize": lambda: EMAVectorQuantizer(
        CHANNELS, CODES, channel_dim=1, decay=0.8, commitment_weight=1.0, estimator=rotation_trick
    ),
    "EMAVectorQuantizer at the peer's options, initialize and revive at 3 %": lambda: (
        EMAVectorQuantizer(
            CHANNELS,
            CODES,
            channel_dim=1,
            decay=0.8,
            commitment_weight=1.0,
            estimator=rotation_trick,
        )
    ),
    "EMAVectorQuantizer, rotation trick, initialize and revive": lambda: EMAVectorQuantizer(
        CHANNELS, CODES, channel_dim=1, estimator=rotation_trick
    ),
    "EMAVectorQuantizer, decay 0.8, initialize and revive": lambda: EMAVectorQuantizer(
        CHANNELS, CODES, channel_dim=1, decay=0.8
    ),
    "EMAVectorQuantizer, commitment weight 1, initialize and revive": lambda: EMAVectorQuantizer(
        CHANNELS, CODES, channel_dim=1, commitment_weight=1.0
    ),
    "VectorQuantizer": lambda: VectorQuantizer(CHANNELS, CODES, channel_dim=1),
    "VectorQuantizer, initialize and revive": lambda: VectorQuantizer(
        CHANNELS, CODES, channel_dim=1
    ),
    "VectorQuantizer, rotation trick, initialize and revive": lambda: VectorQuantizer(
        CHANNELS, CODES, channel_dim=1, estimator=rotation_trick
    ),
    "SimVQ": lambda: SimVQ(CHANNELS, CODES, channel_dim=1),
    "FSQ 4 x 4 x 4, projected": lambda: ProjectedQuantizer(FSQ([4, 4, 4]), CHANNELS, channel_dim=1),
}


def standardize(series: Tensor) -> Tensor:
    return (series - series.mean(-1, keepdim=True)) / series.std(-1, keepdim=True).clamp(min=1e-8)


def archive(path: pathlib.Path) -> tuple[Tensor, Tensor]:
    with np.load(path, allow_pickle=False) as file:
        train, test = (torch.from_numpy(file[key]).float() for key in ("X_train", "X_test"))
    return train, test


def gunpoint() -> tuple[Tensor, Tensor]:
    from sktime.datasets import load_gunpoint

    parts = (load_gunpoint(split, return_type="numpy3d")[0] for split in ("train", "test"))
    train, test = (torch.from_numpy(np.asarray(part)).float() for part in parts)
    return train, test


def cylinder_bell_funnel(samples: int, generator: torch.Generator) -> Tensor:
    def uniform(low: float, high: float) -> Tensor:
        return low + (high - low) * torch.rand(samples, 1, generator=generator)

    t, start = torch.arange(128).float(), uniform(16, 32)
    width = uniform(32, 96)
    kind = torch.randint(3, (samples, 1), generator=generator)
    inside = ((t >= start) & (t <= start + width)).float()
    ramp = torch.where(kind == 1, (t - start) / width, (start + width - t) / width)
    shape = inside * torch.where(kind == 0, torch.ones_like(ramp), ramp)
    height = 6 + torch.randn(samples, 1, generator=generator)
    return (height * shape + torch.randn(samples, 128, generator=generator))[:, None]


def run(arm: str, train: Tensor, test: Tensor, *, steps: int, seed: int) -> tuple[float, float]:
    """Train one autoencoder; return its test error and the share of codes in use."""
    torch.manual_seed(seed)
    channels = train.shape[1]
    encoder = nn.Sequential(
        nn.Conv1d(channels, 32, 4, stride=2, padding=1), nn.GELU(),
        nn.Conv1d(32, 32, 3, padding=1), nn.GELU(),
        nn.Conv1d(32, CHANNELS, 4, stride=2, padding=1),
    )  # fmt: skip
    decoder = nn.Sequential(
        nn.ConvTranspose1d(CHANNELS, 32, 4, stride=2, padding=1), nn.GELU(),
        nn.Conv1d(32, 32, 3, padding=1), nn.GELU(),
        nn.ConvTranspose1d(32, channels, 4, stride=2, padding=1),
    )  # fmt: skip
    quantizer = ARMS[arm]()
    generator = torch.Generator().manual_seed(seed)
    parts = (encoder, decoder, quantizer)
    optimizer = torch.optim.AdamW([p for part in parts for p in part.parameters()], lr=2e-3)
    share = 0.03 if arm.endswith("3 %") else 0.1  # 0.1 is the default of revive
    if "initialize" in arm:
        with torch.no_grad():
            quantizer.initialize(encoder(train[:256]), generator=generator)
    for _ in range(steps):
        series = train[torch.randint(len(train), (BATCH,), generator=generator)]
        latents = encoder(series)
        vectors, codes, loss = quantizer(latents)
        error = nn.functional.mse_loss(decoder(vectors), series)
        optimizer.zero_grad()
        (error + loss).backward()
        optimizer.step()
        quantizer.update(latents.detach(), codes)
        if "revive" in arm:
            quantizer.revive(latents.detach(), codes, share=share, generator=generator)
    with torch.no_grad():
        for part in parts:
            part.eval()
        vectors, codes, _ = quantizer(encoder(test))
        error = nn.functional.mse_loss(decoder(vectors), test)
    return float(error), float((code_counts(codes.long(), CODES) > 0).double().mean())


def spread(values: list[float]) -> str:
    return f"{statistics.mean(values):.4f} ± {statistics.stdev(values):.4f}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=pathlib.Path, help="a folder of .npz files")
    parser.add_argument("--sets", nargs="*", default=["GunPoint", "ECG5000"], help="with --data")
    parser.add_argument("--steps", type=int, default=500)
    parser.add_argument("--seeds", type=int, default=4)
    parser.add_argument("--only", nargs="*", type=int, help="numbers of rows, from 0")
    parser.add_argument("--threads", type=int, default=1)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    warnings.simplefilter("ignore")
    if options.data is not None:
        sets = {name: archive(options.data / f"{name}.npz") for name in options.sets}
    else:
        generator = torch.Generator().manual_seed(0)
        larger = cylinder_bell_funnel(2000, generator), cylinder_bell_funnel(1000, generator)
        sets = {"GunPoint": gunpoint(), "Cylinder-Bell-Funnel": larger}
    for title, (train, test) in sets.items():
        length = train.shape[-1] // 4 * 4
        train, test = standardize(train[..., :length]), standardize(test[..., :length])
        shape = f"{len(train)} series to train on, {len(test)} to test on, length {length}"
        print(f"### {title}: {shape}; {options.steps} steps, {options.seeds} seeds\n")
        print("| quantizer | test error | share of codes used |\n| --- | --- | --- |")
        for arm in ARMS if options.only is None else [list(ARMS)[row] for row in options.only]:
            results = [
                run(arm, train, test, steps=options.steps, seed=seed)
                for seed in range(options.seeds)
            ]
            errors, usages = (list(column) for column in zip(*results, strict=True))
            print(f"| {arm} | {spread(errors)} | {spread(usages)} |", flush=True)
        print()
    version = importlib.metadata.version("vector-quantize-pytorch")
    print(f"Mean ± standard deviation over seeds. {machine()}, vector-quantize-pytorch {version}")


if __name__ == "__main__":
    main()
