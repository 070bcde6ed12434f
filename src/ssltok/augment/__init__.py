"""Random views of series: batched, on the device of the series, seeded by a generator."""

from ssltok.augment._amplitude import amplitude_resize, gaussian_noise
from ssltok.augment._compose import (
    NC_VQVAE_GAUSS,
    NC_VQVAE_SLICE,
    NC_VQVAE_WARP,
    Augmentation,
    compose,
)
from ssltok.augment._order import slice_and_shuffle
from ssltok.augment._warp import window_warp

__all__ = [
    "NC_VQVAE_GAUSS",
    "NC_VQVAE_SLICE",
    "NC_VQVAE_WARP",
    "Augmentation",
    "amplitude_resize",
    "compose",
    "gaussian_noise",
    "slice_and_shuffle",
    "window_warp",
]
