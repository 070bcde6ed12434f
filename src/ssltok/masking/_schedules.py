"""Schedules: how large a share of the tokens is masked at each progress from 0 to 1.

Every schedule falls from exactly 1 at progress 0 to exactly 0 at progress 1, in any precision.
Other codes state the share *unmasked* instead, which is how the inverted masks of several public
priors came about; here the share is always the masked one.

Each takes its progress as a number or as a floating-point tensor of any shape, and returns the
share in that shape and dtype (float64 for a number). What all have in common is written once, in
`documented`, which puts it into the docstring of each.
"""

import inspect
import math
from collections.abc import Callable
from typing import TypeVar

import torch
from torch import Tensor

from ssltok._shared.checks import check_at_least, check_floating

__all__ = [
    "arccos_schedule",
    "cosine_schedule",
    "cubic_schedule",
    "exponential_schedule",
    "linear_schedule",
    "logarithmic_schedule",
    "square_root_schedule",
    "square_schedule",
]

Schedule = TypeVar("Schedule", bound=Callable[..., Tensor])


def as_progress(who: str, progress: Tensor | float) -> Tensor:
    """Take a number as a float64 scalar and a floating-point tensor as it is."""
    if isinstance(progress, int | float):
        return torch.tensor(float(progress), dtype=torch.float64)
    check_floating(who, "progress", progress)
    return progress


def documented(schedule: Schedule) -> Schedule:
    """Complete the docstring of a schedule, or of an inverse of one, by what all have in common."""
    first, *others = inspect.signature(schedule).parameters
    symbol, result = ("$r$", "share masked") if first == "progress" else ("$s$", "progress")
    lines = [
        "Args:",
        f"    {first}: {symbol} in [0, 1], a number or a floating-point tensor of any shape.",
        *("    tokens: $N$, the length of the sequence, at least 2." for _ in others),
        "",
        "Returns:",
        f"    The {result}, of the shape and dtype of `{first}` (float64 for a number).",
        "",
        "Raises:",
        f"    ValueError: If `{first}` is a tensor that is not floating point"
        + (", or `tokens < 2`." if others else "."),
        f"    TypeError: If `{first}` is neither a number nor a tensor"
        + (", or `tokens` not a number." if others else "."),
        "",
        "Example:",
    ]
    text = inspect.cleandoc(schedule.__doc__ or "")  # Python 3.13 has taken the margin already
    schedule.__doc__ = text.replace("Example:", "\n".join(lines), 1)
    return schedule


@documented
def cosine_schedule(progress: Tensor | float) -> Tensor:
    r"""Mask a share $\cos(\pi r / 2)$ at progress $r$; its mean over $r$ is $2/\pi$.

    It is computed as $\sin(\pi (1 - r) / 2)$, which is exactly 0 at progress 1.

    Example:
        >>> import torch
        >>> from ssltok.masking import cosine_schedule
        >>> cosine_schedule(torch.tensor([0.0, 2 / 3, 1.0]))
        tensor([1.0000, 0.5000, 0.0000])

    References:
        Chang et al., *MaskGIT*, 2022, <https://arxiv.org/abs/2202.04200>, section 3.3.
    """
    return torch.sin((1 - as_progress("cosine_schedule", progress)) * (math.pi / 2))


@documented
def arccos_schedule(progress: Tensor | float) -> Tensor:
    r"""Mask a share $\tfrac{2}{\pi} \arccos(r)$; the inverse of the cosine schedule.

    Example:
        >>> import torch
        >>> from ssltok.masking import arccos_schedule
        >>> arccos_schedule(torch.tensor([0.0, 0.5, 1.0]))
        tensor([1.0000, 0.6667, 0.0000])

    References:
        Besnier et al., *Halton scheduler for masked generative image transformer*, 2025,
        <https://arxiv.org/abs/2503.17076>.
    """
    angle = torch.acos(as_progress("arccos_schedule", progress))
    return angle / torch.acos(angle.new_zeros(()))  # a right angle of the same precision


@documented
def linear_schedule(progress: Tensor | float) -> Tensor:
    r"""Mask a share $1 - r$, the schedule that MaskGIT's code calls uniform.

    With counts rounded up, a uniform $r$ makes every number of masked tokens from 1 to the number
    of tokens equally likely, which is what the ELBO reduction of `masked_token_loss` assumes.

    Example:
        >>> import torch
        >>> from ssltok.masking import linear_schedule
        >>> linear_schedule(torch.tensor([0.0, 0.25, 1.0]))
        tensor([1.0000, 0.7500, 0.0000])

    References:
        Chang et al., *MaskGIT*, 2022, <https://arxiv.org/abs/2202.04200>, section 3.3.
    """
    return 1 - as_progress("linear_schedule", progress)


@documented
def square_schedule(progress: Tensor | float) -> Tensor:
    r"""Mask a share $1 - r^2$.

    Example:
        >>> import torch
        >>> from ssltok.masking import square_schedule
        >>> square_schedule(torch.tensor([0.0, 0.5, 1.0]))
        tensor([1.0000, 0.7500, 0.0000])

    References:
        Chang et al., *MaskGIT*, 2022, <https://arxiv.org/abs/2202.04200>, section 3.3.
    """
    return 1 - as_progress("square_schedule", progress).square()


@documented
def cubic_schedule(progress: Tensor | float) -> Tensor:
    r"""Mask a share $1 - r^3$.

    Example:
        >>> import torch
        >>> from ssltok.masking import cubic_schedule
        >>> cubic_schedule(torch.tensor([0.0, 0.5, 1.0]))
        tensor([1.0000, 0.8750, 0.0000])

    References:
        Chang et al., *MaskGIT*, 2022, <https://arxiv.org/abs/2202.04200>, section 3.3.
    """
    return 1 - as_progress("cubic_schedule", progress).pow(3)


@documented
def square_root_schedule(progress: Tensor | float) -> Tensor:
    r"""Mask a share $1 - \sqrt{r}$.

    Example:
        >>> import torch
        >>> from ssltok.masking import square_root_schedule
        >>> square_root_schedule(torch.tensor([0.0, 0.25, 1.0]))
        tensor([1.0000, 0.5000, 0.0000])

    References:
        Chang et al., *MaskGIT*, 2022, <https://arxiv.org/abs/2202.04200>, section 3.3.
    """
    return 1 - as_progress("square_root_schedule", progress).sqrt()


@documented
def exponential_schedule(progress: Tensor | float, *, tokens: int) -> Tensor:
    r"""Mask a share $(1 - N^{-(1 - r)}) / (1 - N^{-1})$ for $N$ tokens.

    MaskGIT's code has the numerator alone, which starts at $1 - 1/N$; divided so, the schedule
    starts at 1 like every other. Bind `tokens` with `functools.partial`.

    Example:
        >>> import torch
        >>> from ssltok.masking import exponential_schedule
        >>> exponential_schedule(torch.tensor([0.0, 0.5, 1.0]), tokens=4)
        tensor([1.0000, 0.6667, 0.0000])

    References:
        Chang et al., *MaskGIT*, 2022, <https://arxiv.org/abs/2202.04200>, section 3.3.
    """
    check_at_least("exponential_schedule", "tokens", tokens, 2)
    left = 1 - as_progress("exponential_schedule", progress)
    return torch.expm1(-math.log(tokens) * left) / torch.expm1(left.new_tensor(-math.log(tokens)))


@documented
def logarithmic_schedule(progress: Tensor | float, *, tokens: int) -> Tensor:
    r"""Mask a share $\min(1, -\log r / \log N)$ for $N$ tokens.

    Bind `tokens` with `functools.partial`.

    Example:
        >>> import torch
        >>> from ssltok.masking import logarithmic_schedule
        >>> logarithmic_schedule(torch.tensor([0.0, 0.25, 0.5, 1.0]), tokens=16)
        tensor([1.0000, 0.5000, 0.2500, 0.0000])

    References:
        Chang et al., *MaskGIT*, 2022, <https://arxiv.org/abs/2202.04200>, section 3.3.
    """
    check_at_least("logarithmic_schedule", "tokens", tokens, 2)
    progress = as_progress("logarithmic_schedule", progress)
    return (-progress.log() / math.log(tokens)).clamp(0, 1).abs()
