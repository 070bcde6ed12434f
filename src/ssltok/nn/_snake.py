"""Snake: an activation that is periodic and still grows."""

import torch
from torch import Generator, Tensor, nn

from ssltok._shared.checks import check_at_least, check_floating, check_positive, check_size

__all__ = ["Snake"]


class Snake(nn.Module):
    r"""Add a squared sine to the identity, with a learned frequency for each channel.

    $$x + \frac{\sin^2(a x)}{a}, \qquad a = e^{\alpha} > 0$$

    The slope lies between 0 and 2. $\alpha$ is learned, so $a$ stays positive (TimeVQVAE learns
    $a$ itself, which may cross 0, where the function is not defined); $a$ starts uniform
    between `low` and `high`.

    Args:
        channels: Channels of the input.
        low: Smallest $a$ at the start. TimeVQVAE uses 0.2.
        high: Largest $a$ at the start. TimeVQVAE uses 0.5.
        generator: Source of the start values, on the CPU; None is torch's own.

    Raises:
        ValueError: If `channels < 1`, `low <= 0`, `high < low`, or the input is not floating point
            with `channels` in dimension 1.
        TypeError: If an input is not a tensor, or an option not a number.

    Example:
        >>> import math
        >>> import torch
        >>> from ssltok.nn import Snake
        >>> snake = Snake(1, low=0.5, high=0.5)
        >>> x = torch.tensor([[0.0, math.pi, 2 * math.pi]])  # sin^2(x / 2) is 0, 1, 0
        >>> (snake(x.unsqueeze(1)) - x).round(decimals=4).flatten().tolist()
        [0.0, 2.0, 0.0]

    References:
        Ziyin et al., *Neural Networks Fail to Learn Periodic Functions and How to Fix It*, 2020,
        <https://arxiv.org/abs/2006.08195>, equation 3.
    """

    def __init__(
        self,
        channels: int,
        *,
        low: float = 0.2,
        high: float = 0.5,
        generator: Generator | None = None,
    ) -> None:
        super().__init__()
        check_at_least("Snake", "channels", channels, 1)
        check_positive("Snake", "low", low)
        check_at_least("Snake", "high", high, low)
        self.channels, self.low, self.high = channels, low, high
        drawn = torch.rand(channels, generator=generator)
        self.log_frequency = nn.Parameter((low + (high - low) * drawn).log())

    def forward(self, x: Tensor) -> Tensor:
        """Transform `(batch, channels, ...)`; the shape stays."""
        check_floating("Snake", "x", x)
        check_at_least("Snake", "dimensions of x", x.ndim, 2)
        check_size("Snake", "x", x, 1, self.channels)
        log_frequency = self.log_frequency.view(-1, *[1] * (x.ndim - 2))
        sine = (x * log_frequency.exp().to(x.dtype)).sin()
        return torch.addcmul(x, sine * sine, (-log_frequency).exp().to(x.dtype))
