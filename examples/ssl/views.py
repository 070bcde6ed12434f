"""The random view that all recipes of two views share: part, size, level and noise change."""

from functools import partial

from ssltok.augment import compose, crop_resize, gaussian_noise, magnitude_warp, shift

view = compose(
    partial(crop_resize, ratio_range=(0.6, 1.0)),
    magnitude_warp,
    shift,
    partial(gaussian_noise, std=0.1),
)
