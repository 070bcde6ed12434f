"""TSMixup: convex mixtures of series."""

import torch
from torch import Generator, Tensor

from ssltok._shared.checks import check_at_least, check_axes, check_floating

__all__ = ["mixup_series"]


def mixup_series(
    series: Tensor,
    *,
    cases: int,
    most: int = 3,
    concentration: float = 1.5,
    generator: Generator | None = None,
) -> Tensor:
    r"""Draw convex mixtures of series (TSMixup of Chronos).

    $$\tilde x = \sum_{i=1}^{k} \lambda_i \, x_i, \qquad
      k \sim U\{1, \dots, K\}, \quad \lambda \sim \mathrm{Dir}(\alpha, \dots, \alpha)$$

    The paper first cuts windows and divides each by its mean absolute value; here the series are
    taken as they are: bring them to one scale and one length before.

    Args:
        series: `(rows, length)`; each part is drawn from all rows.
        cases: How many mixtures.
        most: $K$; the paper has 3.
        concentration: $\alpha$; the paper has 1.5.
        generator: Source of the draws, on the CPU.

    Returns:
        `(cases, length)`, in the dtype of `series`.

    Raises:
        ValueError: If `series` is not floating point or of other axes, has no rows, a size is
            below 1, or `concentration` is not positive.
        TypeError: If an input is not a tensor, or an option not a number.

    Example:
        >>> import torch
        >>> from ssltok.data import mixup_series
        >>> mixed = mixup_series(torch.eye(3), cases=5)  # the rows are the weights themselves
        >>> mixed.sum(dim=1).allclose(torch.ones(5)), bool((mixed >= 0).all())
        (True, True)

    References:
        Ansari et al., *Chronos*, 2024, <https://arxiv.org/abs/2403.07815>, section 4.1 and
        algorithm 1.
    """
    who = "mixup_series"
    check_floating(who, "series", series)
    check_axes(who, "series", series, "rows length")
    for name, size in (("rows", len(series)), ("cases", cases), ("most", most)):
        check_at_least(who, name, size, 1)
    if not concentration > 0:
        raise ValueError(f"{who}: concentration must be positive; got {concentration!r}")
    rows = torch.randint(len(series), (cases, most), generator=generator)
    count = torch.randint(1, most + 1, (cases, 1), generator=generator)
    alpha = torch.full((cases, most), float(concentration), dtype=torch.float64)
    gamma = torch._standard_gamma(alpha, generator=generator).clamp(min=1e-30)
    gamma = gamma * (torch.arange(most) < count)
    weights = (gamma / gamma.sum(1, keepdim=True)).to(series.dtype)
    return (series[rows] * weights[..., None]).sum(1)
