"""The error of a regression, element by element, from squared to absolute."""

import torch
from torch import Tensor

from ssltok._shared.checks import check_at_least

__all__ = ["check_beta", "mean_over_tokens", "regression_error"]


def regression_error(difference: Tensor, beta: float | None) -> Tensor:
    r"""Return $d^2$ if `beta` is `None`, else smooth L1, which is $\lvert d \rvert$ at 0."""
    if beta is None:
        return difference.square()
    size = difference.abs()
    if beta == 0:
        return size
    return torch.where(size < beta, difference.square() * (0.5 / beta), size - 0.5 * beta)


def mean_over_tokens(rows: Tensor, counted: Tensor) -> Tensor:
    """Return the mean of the counted rows, 0 if there is none; the others hold 0 already."""
    return rows.sum() / counted.sum().clamp(min=1)


def check_beta(who: str, beta: float | None) -> None:
    """Ask for `None` or a number that is not negative."""
    if beta is not None:
        check_at_least(who, "beta", beta, 0)
