"""Swap the quantizer of a tokenizer by changing one line; everything else stays as it is.

    python examples/06_swap_quantizers.py --steps 200

The series are Cylinder-Bell-Funnel (Saito, 1994), drawn by formula. A class or a partial is built
once the sizes are known: FSQ has 3 channels and the encoder 16, so the pipeline puts it
between two projections. The parts are saved with the model, by name.
"""

import argparse
import dataclasses
import pathlib
import tempfile
from functools import partial
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ssltok.pipelines import PriorConfig, SSLTokenizer, TokenizerConfig, demo, shorten
from ssltok.quantizers import FSQ, EMAVectorQuantizer, ResidualQuantizer, VectorQuantizer

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


def levels() -> ResidualQuantizer:
    """Two codes a token, coarse first: a built part is passed like any other, and copied."""
    generator = torch.Generator().manual_seed(0)
    books = [VectorQuantizer(CHANNELS, size, generator=generator) for size in (16, 4)]
    return ResidualQuantizer(books)


QUANTIZERS: dict[str, Any] = {
    "gradient": partial(VectorQuantizer, codebook_size=64, channel_dim=1),
    "moving means": partial(EMAVectorQuantizer, codebook_size=64, channel_dim=1),
    "FSQ, 4 x 4 x 4": partial(FSQ, [4, 4, 4]),
    "residual, 16 x 4": levels(),
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--steps", type=int, default=200)
    steps = parser.parse_args().steps
    torch.set_num_threads(1)  # the model is so small that threads cost more than they give
    config = dataclasses.replace(
        shorten(demo(), steps=steps),
        tokenizer=TokenizerConfig(coder="conv", widths=(32,), dim=CHANNELS, blocks=1),
        prior=PriorConfig(dim=32, depth=1),
    )
    generator = torch.Generator().manual_seed(1)
    train, fresh = (cylinder_bell_funnel(n, generator) for n in (512, 256))
    for name, quantizer in QUANTIZERS.items():
        model = SSLTokenizer(config, quantizer=quantizer, cpu=True)  # <- the one line
        codes = model.fit(train).encode(fresh)
        shape = " x ".join(map(str, codes.shape[1:]))
        joint = codes.reshape(-1, codes.shape[2] if codes.ndim == 3 else 1)
        used = len(np.unique(joint, axis=0))
        explained = f"explains {model.score(fresh):.0%} of the variance of new series"
        print(f"{name:17} {explained}; codes {shape}, {used} of 64 in use")
    with tempfile.TemporaryDirectory() as folder:
        again = SSLTokenizer.load(model.save(pathlib.Path(folder) / "model"))
        assert np.array_equal(again.encode(fresh), codes), "the loaded parts are the saved ones"


if __name__ == "__main__":
    main()
