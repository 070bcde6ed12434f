"""A small piece of work with the installed wheel alone: from series to codes and to new codes.

python -I .ci/smoke.py        # in an environment that holds the wheel
"""

import pathlib
import sys

import numpy as np
import torch

import ssltok
from ssltok.augment import gaussian_noise
from ssltok.data import read_series
from ssltok.decoding import confidence_order, iterative_decode, temperature_sample
from ssltok.losses import barlow_twins_loss
from ssltok.masking import cosine_schedule
from ssltok.metrics import frechet_distance
from ssltok.quantizers import VectorQuantizer
from ssltok.signal import ISTFT, STFT


def main() -> None:
    """Train a codebook on patches, decode from masks, and check what is known of each step."""
    place = pathlib.Path(ssltok.__file__).resolve()
    check(place.is_relative_to(pathlib.Path(sys.prefix).resolve()), f"not the wheel: {place}")
    generator = torch.Generator().manual_seed(0)
    phases = torch.rand(32, 1, 1, generator=generator)
    series = torch.sin(torch.linspace(0, 12, 51) + 6 * phases)
    check(
        read_series(np.asarray(series)).shape == (32, 1, 51),
        "read_series keeps channels and length",
    )
    back = ISTFT(n_fft=8)(STFT(n_fft=8)(series), length=51)
    check(torch.allclose(back, series, atol=1e-5), "STFT and back is the series")

    z = torch.tensor([[1.0, 1.0], [1.0, -1.0], [-1.0, 1.0], [-1.0, -1.0]])
    check(float(barlow_twins_loss(z, 3 * z + 7)) < 1e-6, "two views that agree cost nothing")
    noisy = gaussian_noise(series, generator=generator)
    check(noisy.shape == series.shape and not torch.equal(noisy, series), "noise changes series")

    patches = series[..., :50].reshape(32, 10, 5)
    quantizer = VectorQuantizer(5, 16, generator=generator)
    optimizer = torch.optim.Adam(quantizer.parameters(), lr=1e-2)
    errors = []
    for _ in range(100):
        quantized = quantizer(patches)
        errors.append(float((quantized.vectors - patches).square().mean()))
        optimizer.zero_grad()
        quantized.loss.backward()
        optimizer.step()
    check(errors[-1] < 0.5 * errors[0], f"the codebook learns: {errors[0]:.3f} to {errors[-1]:.3f}")
    codes = quantizer.encode(patches)
    state = VectorQuantizer(5, 16)
    state.load_state_dict(quantizer.state_dict())
    check(torch.equal(state.encode(patches), codes), "a loaded codebook gives the same codes")

    def sure(tokens: torch.Tensor, where: torch.Tensor) -> torch.Tensor:
        wanted = codes[:1].expand_as(tokens)[where]
        return torch.nn.functional.one_hot(wanted, 16) * 50.0

    new = iterative_decode(
        sure,
        torch.full((2, 10), 16),
        mask_index=16,
        steps=4,
        schedule=cosine_schedule,
        order=confidence_order(temperature=1.0),
        sample=temperature_sample(temperature=1.0),
        generator=generator,
    )
    check(torch.equal(new, codes[:1].expand(2, 10)), "a sure model's tokens are decoded")
    apart = frechet_distance(patches[:, 0].double(), patches[:, 0].double() + 1)
    check(abs(float(apart) - 5) < 1e-6, "the Frechet distance of a shift is its squared length")
    print(f"smoke: ssltok {ssltok.__version__} of {place.parent}, torch {torch.__version__}")


def check(holds: object, what: str) -> None:
    """Stop where something known does not hold."""
    if not holds:
        raise SystemExit(f"smoke: it must hold that {what}")


if __name__ == "__main__":
    main()
