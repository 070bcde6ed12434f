"""The random views of the recipes of two views, from the mildest to the wildest."""

from functools import partial

from ssltok.augment import compose, crop_resize, gaussian_noise, magnitude_warp, shift

mild = compose(shift, partial(gaussian_noise, std=0.1))  # where much is hidden anyway
jitter = compose(magnitude_warp, mild)  # where crops are cut anyway
view = compose(partial(crop_resize, ratio_range=(0.6, 1.0)), jitter)
