"""Augmentations of a batch beside the published way: one series after the other, in numpy.

    python benchmarks/augment.py [--batch 256 --channels 3 --length 512 --rounds 11 --threads 1]

The loops below are written here from the published descriptions, as a data loader would run them:
a series at a time, channel by channel where the published code is for one channel, stacked at the
end. Both sides draw their own random numbers. The ratio is loop time / batched time in one process,
with quartiles over interleaved rounds. The floor is the least that torch's own operations must do
for such a view, timed in the same rounds: its ratio is the most that batching could give.
"""

import argparse
import math
from collections.abc import Callable

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.interpolate import CubicSpline
from side_by_side import machine, side_by_side

import ssltok.augment as ours

Array = NDArray[np.float64]
Draw = np.random.Generator


def window_warp(series: Array, rng: Draw) -> Array:
    length = series.shape[1]
    size = round(0.4 * length)
    start = rng.integers(0, length - size)
    longer = int(size * rng.uniform(0.9, 2.0))
    rows = []
    for row in series:
        part = row[start : start + size]
        part = np.interp(np.linspace(0, size - 1, num=longer), np.arange(size), part)
        whole = np.concatenate([row[:start], part, row[start + size :]])
        places = np.linspace(0, length - 1, num=len(whole))
        rows.append(np.interp(np.arange(length), places, whole))
    return np.stack(rows)


def amplitude_resize(series: Array, rng: Draw) -> Array:
    return series * (1 + rng.normal(0, 0.2))


def slice_and_shuffle(series: Array, rng: Draw) -> Array:
    cuts = np.sort(rng.integers(0, series.shape[1], 3))
    rows = []
    order = rng.permutation(4)
    for row in series:
        pieces = np.split(row, cuts)
        rows.append(np.concatenate([pieces[k] for k in order]))
    return np.stack(rows)


def gaussian_noise(series: Array, rng: Draw) -> Array:
    return series + rng.normal(0, 0.05, series.shape)


def curve(length: int, rng: Draw) -> Array:
    spline = CubicSpline(np.linspace(0, length - 1, 6), rng.normal(1, 0.2, 6))
    values: Array = spline(np.arange(length))
    return values


def magnitude_warp(series: Array, rng: Draw) -> Array:
    return np.stack([row * curve(series.shape[1], rng) for row in series])


def time_warp(series: Array, rng: Draw) -> Array:
    length = series.shape[1]
    rows = []
    for row in series:
        times = np.cumsum(curve(length, rng))
        times = times * (length - 1) / times[-1]
        rows.append(np.interp(np.arange(length), times, row))
    return np.stack(rows)


def scaling(series: Array, rng: Draw) -> Array:
    return series * rng.normal(1, 0.1, (len(series), 1))


def shift(series: Array, rng: Draw) -> Array:
    return series + rng.uniform(-0.5, 0.5, (len(series), 1)) * series.std(1, keepdims=True)


def slope(series: Array, rng: Draw) -> Array:
    return series + rng.uniform(-0.005, 0.005, (len(series), 1)) * np.arange(series.shape[1])


def flip(series: Array, rng: Draw) -> Array:
    return series[:, ::-1] if rng.uniform() < 0.5 else series


def permutation(series: Array, rng: Draw) -> Array:
    parts = np.array_split(np.arange(series.shape[1]), rng.integers(1, 6))
    return series[:, np.concatenate([parts[k] for k in rng.permutation(len(parts))])]


def crop_resize(series: Array, rng: Draw) -> Array:
    length = series.shape[1]
    size = math.ceil(0.9 * length)
    start = rng.integers(0, length - size)
    places = np.linspace(0, size - 1, num=length)
    return np.stack(
        [np.interp(places, np.arange(size), row[start : start + size]) for row in series]
    )


def frequency_mask(series: Array, rng: Draw) -> Array:
    rows = []
    gone = rng.uniform(size=series.shape[1] // 2 + 1) < 0.1
    for row in series:
        spectrum = np.fft.rfft(row)
        spectrum[gone] = 0
        rows.append(np.fft.irfft(spectrum, n=len(row)))
    return np.stack(rows)


def phase_shift(series: Array, rng: Draw) -> Array:
    turn = np.exp(1j * rng.uniform(-math.pi / 4, math.pi / 4))
    return np.stack([np.fft.irfft(np.fft.rfft(row) * turn, n=len(row)) for row in series])


LOOPS: list[Callable[[Array, Draw], Array]] = [
    window_warp, amplitude_resize, slice_and_shuffle, gaussian_noise, magnitude_warp, time_warp,
    scaling, shift, slope, flip, permutation, crop_resize, frequency_mask, phase_shift,
]  # fmt: skip

Floor = Callable[[torch.Tensor, torch.Tensor, torch.Generator], torch.Tensor]
FLOORS: dict[str, Floor] = {
    "write a copy": lambda series, index, generator: series.clone(),
    "draw the noise": lambda series, index, generator: torch.randn(
        series.shape, generator=generator
    ),
    "read each value once": lambda series, index, generator: series.gather(2, index),
    "read two neighbours": lambda series, index, generator: series.gather(2, index).add_(
        series.gather(2, index)
    ),
    "transform and back": lambda series, index, generator: torch.fft.irfft(
        torch.fft.rfft(series), n=series.shape[-1]
    ),
}
FLOOR_OF = {
    "gaussian_noise": "draw the noise",
    "slice_and_shuffle": "read each value once",
    "permutation": "read each value once",
    "window_warp": "read two neighbours",
    "time_warp": "read two neighbours",
    "crop_resize": "read two neighbours",
    "frequency_mask": "transform and back",
    "phase_shift": "transform and back",
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--batch", type=int, default=256)
    parser.add_argument("--channels", type=int, default=3)
    parser.add_argument("--length", type=int, default=512)
    parser.add_argument("--rounds", type=int, default=11)
    parser.add_argument("--threads", type=int, default=1)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    generator = torch.Generator().manual_seed(0)
    shape = (options.batch, options.channels, options.length)
    series = torch.randn(shape, generator=generator)
    index = torch.randint(shape[2], (shape[0], 1, shape[2]), generator=generator).expand(shape)
    arrays = series.double().numpy()
    rng = np.random.default_rng(0)

    print(f"series {shape}, float32, beside numpy in float64\n")
    print(
        "| augmentation | loop ms | batched ms | ratio | quartiles | peak MiB | floor | its ratio |"
    )
    print("| --- | --- | --- | --- | --- | --- | --- | --- |")
    for loop in LOOPS:
        batched = getattr(ours, loop.__name__)
        floor = FLOOR_OF.get(loop.__name__, "write a copy")

        def one_by_one(loop: Callable[[Array, Draw], Array] = loop) -> torch.Tensor:
            return torch.from_numpy(np.stack([loop(one, rng) for one in arrays])).float()

        def at_once(batched: ours.Augmentation = batched) -> torch.Tensor:
            return batched(series, generator=generator)

        def at_least(floor: str = floor) -> torch.Tensor:
            return FLOORS[floor](series, index, generator)

        slow, fast, least = side_by_side(
            {"loop": one_by_one, "batched": at_once, "floor": at_least}, rounds=options.rounds
        )
        print(
            f"| `{loop.__name__}` | {slow.milliseconds:.1f} | {fast.milliseconds:.2f} | "
            f"{fast.speedup:.1f} | {fast.speedup_low:.1f}-{fast.speedup_high:.1f} | "
            f"{fast.peak_mib:.1f} | {floor} | {least.speedup:.1f} |",
            flush=True,
        )
    print(f"\n{machine()}, numpy {np.__version__}")


if __name__ == "__main__":
    main()
