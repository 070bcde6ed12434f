"""Random views of series: batched, on the device of the series, seeded by a generator."""

from ssltok.augment._amplitude import amplitude_resize, gaussian_noise
from ssltok.augment._channel import channel_dropout, scaling, shift, slope
from ssltok.augment._compose import (
    NC_VQVAE_GAUSS,
    NC_VQVAE_SLICE,
    NC_VQVAE_WARP,
    Augmentation,
    compose,
)
from ssltok.augment._crop import (
    MultiCrop,
    OverlappingCrops,
    crop_resize,
    multi_crop,
    overlapping_crops,
)
from ssltok.augment._curve import magnitude_warp
from ssltok.augment._frequency import band_removal, frequency_mask, phase_shift
from ssltok.augment._order import flip, permutation, slice_and_shuffle
from ssltok.augment._segment_pairs import SegmentPairs, next_segment_pairs, segment_order_pairs
from ssltok.augment._warp import time_warp, window_warp

__all__ = [
    "NC_VQVAE_GAUSS",
    "NC_VQVAE_SLICE",
    "NC_VQVAE_WARP",
    "Augmentation",
    "MultiCrop",
    "OverlappingCrops",
    "SegmentPairs",
    "amplitude_resize",
    "band_removal",
    "channel_dropout",
    "compose",
    "crop_resize",
    "flip",
    "frequency_mask",
    "gaussian_noise",
    "magnitude_warp",
    "multi_crop",
    "next_segment_pairs",
    "overlapping_crops",
    "permutation",
    "phase_shift",
    "scaling",
    "segment_order_pairs",
    "shift",
    "slice_and_shuffle",
    "slope",
    "time_warp",
    "window_warp",
]
