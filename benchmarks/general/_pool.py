"""What the general tokenizer learns from: series of formulas, and of the sets sktime ships."""

import pathlib
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ssltok.data._synthetic._kernel_synth import kernel_synth
from ssltok.data._synthetic._processes import (
    arma_series,
    colored_series,
    shot_series,
    switching_series,
)
from ssltok.data._synthetic._shapes import motion_series, outline_series
from ssltok.data._synthetic._waves import chirp_series, harmonic_series, pulse_series
from ssltok.training import keyed_generator

LENGTH = 512
SHIPPED = (
    "ACSF1", "ArrowHead", "BasicMotions", "Covid3Month", "GunPoint", "ItalyPowerDemand",
    "JapaneseVowels", "OSULeaf", "PLAID", "Tecator", "UnitTest",
)  # fmt: skip
FAMILIES: dict[str, tuple[Callable[..., Tensor], int, dict[str, Any]]] = {
    "kernel_synth": (kernel_synth, 4000, {"draws": 8}),
    "harmonic": (harmonic_series, 2000, {}),
    "chirp": (chirp_series, 1000, {}),
    "pulse": (pulse_series, 2000, {}),
    "arma": (arma_series, 1000, {}),
    "colored": (colored_series, 1500, {}),
    "shot": (shot_series, 1000, {}),
    "switching": (switching_series, 2000, {}),
    "motion": (motion_series, 3000, {}),
    "outline": (outline_series, 1500, {}),
}


def synthetic_pool(seed: int, share: float = 1.0) -> Tensor:
    """All synthetic series, each with mean 0 and deviation 1, float32 `(cases, LENGTH)`."""
    rows = []
    for name, (draw, count, options) in FAMILIES.items():
        count = int(count * share)
        for number, first in enumerate(range(0, count, 1000)):
            generator = keyed_generator(seed, f"pool-{name}", number)
            rows.append(draw(min(1000, count - first), LENGTH, generator=generator, **options))
    return scaled(torch.cat(rows))


def shipped_pool() -> Tensor:
    """The training parts of the sets inside sktime, channel by channel, resampled to LENGTH."""
    import sktime.datasets

    folder = pathlib.Path(sktime.datasets.__file__).parent / "data"
    rows = []
    for name in SHIPPED:
        for series in _ts(folder / name / f"{name}_TRAIN.ts"):
            for channel in series:
                known = ~np.isnan(channel)
                if known.sum() < 8:
                    continue
                at = np.linspace(0, known.size - 1, LENGTH)
                places = np.flatnonzero(known)
                rows.append(np.interp(at, places, channel[known]))
    return scaled(torch.from_numpy(np.stack(rows)).float())


def scaled(series: Tensor) -> Tensor:
    """Series with mean 0 and deviation 1; those that are constant or not finite are left out."""
    series = series.double()
    mean, size = series.mean(1, keepdim=True), series.std(1, keepdim=True)
    usable = (size > 1e-9).squeeze(1) & series.isfinite().all(1)
    return ((series - mean) / size)[usable].float()


def _ts(path: pathlib.Path) -> list[list[np.ndarray]]:
    """Series of a .ts file without time stamps: a list of channels for each."""
    rows = []
    data = False
    for line in path.read_text().splitlines():
        if line.strip().lower() == "@data":
            data = True
        elif data and line.strip():
            *channels, _ = line.strip().split(":")
            rows.append(
                [
                    np.array([float("nan") if v == "?" else float(v) for v in c.split(",")])
                    for c in channels
                ]
            )
    return rows
