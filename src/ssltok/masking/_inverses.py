r"""From a share masked back to the progress at which a schedule has it.

`cosine_schedule` and `arccos_schedule` are the inverses of each other, and `linear_schedule` is
its own; the others follow here. With a uniform progress, $1 - \gamma^{-1}(s)$ is the probability
that a training mask hides a share of at most $s$.
"""

import math
from collections.abc import Callable

import torch
from torch import Tensor

from ssltok._shared.checks import check_at_least, check_ratio
from ssltok._shared.described import described
from ssltok.masking._schedules import as_progress, documented

__all__ = [
    "inverse_cubic_schedule",
    "inverse_exponential_schedule",
    "inverse_logarithmic_schedule",
    "inverse_square_root_schedule",
    "inverse_square_schedule",
    "resumed_schedule",
]


@documented
def inverse_square_schedule(share: Tensor | float) -> Tensor:
    r"""Return the progress $\sqrt{1 - s}$ at which `square_schedule` masks a share $s$.

    Example:
        >>> from ssltok.masking import inverse_square_schedule
        >>> float(inverse_square_schedule(0.75))
        0.5
    """
    return (1 - as_progress("inverse_square_schedule", share)).sqrt()


@documented
def inverse_cubic_schedule(share: Tensor | float) -> Tensor:
    r"""Return the progress $(1 - s)^{1/3}$ at which `cubic_schedule` masks a share $s$.

    Example:
        >>> from ssltok.masking import inverse_cubic_schedule
        >>> float(inverse_cubic_schedule(0.875))
        0.5
    """
    return (1 - as_progress("inverse_cubic_schedule", share)).pow(1 / 3)


@documented
def inverse_square_root_schedule(share: Tensor | float) -> Tensor:
    r"""Return the progress $(1 - s)^2$ at which `square_root_schedule` masks a share $s$.

    Example:
        >>> from ssltok.masking import inverse_square_root_schedule
        >>> float(inverse_square_root_schedule(0.5))
        0.25
    """
    return (1 - as_progress("inverse_square_root_schedule", share)).square()


@documented
def inverse_exponential_schedule(share: Tensor | float, *, tokens: int) -> Tensor:
    r"""Return the progress $1 + \log_N(1 - s (1 - 1/N))$ of `exponential_schedule`.

    Example:
        >>> from ssltok.masking import inverse_exponential_schedule
        >>> round(float(inverse_exponential_schedule(2 / 3, tokens=4)), 6)
        0.5
    """
    check_at_least("inverse_exponential_schedule", "tokens", tokens, 2)
    share = as_progress("inverse_exponential_schedule", share)
    left = torch.log1p(-torch.stack([share, torch.ones_like(share)]) * (1 - 1 / tokens))
    return 1 - left[0] / left[1]  # the second is -log N, in the same precision


@documented
def inverse_logarithmic_schedule(share: Tensor | float, *, tokens: int) -> Tensor:
    r"""Return the progress $N^{-s}$ at which `logarithmic_schedule` masks a share $s$.

    At $s = 1$, which the schedule holds from 0 on, it is the last such progress, $1/N$.

    Example:
        >>> from ssltok.masking import inverse_logarithmic_schedule
        >>> round(float(inverse_logarithmic_schedule(0.5, tokens=16)), 6)
        0.25
    """
    check_at_least("inverse_logarithmic_schedule", "tokens", tokens, 2)
    share = as_progress("inverse_logarithmic_schedule", share)
    return torch.exp(-share * math.log(tokens))


@described
def resumed_schedule(
    schedule: Callable[[Tensor], Tensor], *, start: float
) -> Callable[[Tensor | float], Tensor]:
    r"""Make the rest of a schedule a schedule of its own.

    $$\gamma(r_0 + (1 - r_0) \, r) / \gamma(r_0)$$

    Decoding that starts from tokens already partly known, at progress $r_0$, continues as if it
    had come there by itself.

    Args:
        schedule: $\gamma$, from progress to the share masked.
        start: $r_0$ in [0, 1).

    Returns:
        A schedule that falls from 1 to 0.

    Raises:
        ValueError: If `start` leaves [0, 1).
        TypeError: If an option is not a number.

    Example:
        >>> import torch
        >>> from ssltok.masking import resumed_schedule, square_schedule
        >>> rest = resumed_schedule(square_schedule, start=0.5)  # from a share of 3/4
        >>> rest(torch.tensor([0.0, 0.5, 1.0]))
        tensor([1.0000, 0.5833, 0.0000])

    References:
        Chang et al., *MaskGIT*, 2022, <https://arxiv.org/abs/2202.04200>; the `start_iter` of
        its code.
    """
    check_ratio("resumed_schedule", "start", start)
    if start == 1:
        raise ValueError("resumed_schedule: start must be < 1; got 1")

    def rest(progress: Tensor | float) -> Tensor:
        progress = as_progress("resumed_schedule", progress)
        whole = schedule(progress.new_tensor([start]))
        return schedule(start + (1 - start) * progress) / whole

    return rest
