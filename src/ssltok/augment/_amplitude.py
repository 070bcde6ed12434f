"""Augmentations of the values, all channels alike: noise and a factor."""

import torch
from torch import Tensor

from ssltok._shared.checks import check_at_least
from ssltok.augment._draw import check_series, keep_real, normal

__all__ = ["amplitude_resize", "gaussian_noise"]


def amplitude_resize(
    series: Tensor,
    *,
    std: float = 0.2,
    valid: Tensor | None = None,
    generator: torch.Generator | None = None,
) -> Tensor:
    r"""Multiply each series by a random factor near 1, the same for all its channels.

    $$x' = (1 + \sigma \epsilon)\, x, \qquad \epsilon \sim N(0, 1)$$

    Proportions between channels are kept; `scaling` draws a factor for each channel.

    Args:
        series: `(batch, channels, length)`.
        std: $\sigma$, 0 or more; 0.2 in NC-VQVAE.
        valid: True where a sample is real, `(batch, length)`; the others stay as they are. By
            default all are real.
        generator: The source of randomness, on the device of `series`.

    Returns:
        The resized series, `(batch, channels, length)`.

    Raises:
        ValueError: If a shape or an option is outside what is said above.
        TypeError: If an input is not a tensor, or an option not a number.

    Example:
        >>> import torch
        >>> from ssltok.augment import amplitude_resize
        >>> view = amplitude_resize(torch.tensor([[[1.0, 2.0], [4.0, -8.0]]]))
        >>> (view / view[0, 0, 0]).round(decimals=4)  # proportions stay
        tensor([[[ 1.,  2.],
                 [ 4., -8.]]])

    References:
        The NC-VQVAE code, <https://arxiv.org/abs/2408.16613>; VIbCReg draws the factor from
        U(0.7, 1.3), <https://arxiv.org/abs/2109.00783>.
    """
    check_series("amplitude_resize", series, valid, generator)
    check_at_least("amplitude_resize", "std", std, 0)
    factor = normal((series.shape[0], 1, 1), series, generator, mean=1, std=std)
    return keep_real(series, series * factor.to(series.dtype), valid)


def gaussian_noise(
    series: Tensor,
    *,
    std: float = 0.05,
    valid: Tensor | None = None,
    generator: torch.Generator | None = None,
) -> Tensor:
    r"""Add independent Gaussian noise to every value ("jitter").

    $$x' = x + \sigma \epsilon, \qquad \epsilon \sim N(0, 1)$$

    Args:
        series: `(batch, channels, length)`, best scaled to a standard deviation near 1.
        std: $\sigma$, 0 or more, in the unit of the series; 0.05 in NC-VQVAE.
        valid: True where a sample is real, `(batch, length)`; the others stay as they are. By
            default all are real.
        generator: The source of randomness, on the device of `series`.

    Returns:
        The noisy series, `(batch, channels, length)`.

    Raises:
        ValueError: If a shape or an option is outside what is said above.
        TypeError: If an input is not a tensor, or an option not a number.

    Example:
        >>> import torch
        >>> from ssltok.augment import gaussian_noise
        >>> noise = gaussian_noise(torch.zeros(100, 2, 1000), std=0.5)
        >>> 0.49 < noise.std().item() < 0.51
        True

    References:
        Um et al., *Data Augmentation of Wearable Sensor Data for Parkinson's Disease Monitoring
        using Convolutional Neural Networks*, 2017, <https://arxiv.org/abs/1706.00527>, "jitter".
    """
    check_series("gaussian_noise", series, valid, generator)
    check_at_least("gaussian_noise", "std", std, 0)
    noise = normal(series.shape, series, generator, std=std)
    return keep_real(series, noise.add_(series).to(series.dtype), valid)
