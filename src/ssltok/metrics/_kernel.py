"""Kernel distance: the unbiased maximum mean discrepancy, readable with few cases."""

from collections.abc import Callable

import torch
from torch import Tensor

from ssltok._shared import sizes
from ssltok._shared.checks import check_positive
from ssltok.metrics._checks import check_features, one_if_finite
from ssltok.metrics._pairs_fast import mean_kernel
from ssltok.metrics._squared_distances_fast import squared_distances

__all__ = ["gaussian_kernel", "kernel_distance", "polynomial_kernel"]


def polynomial_kernel(first: Tensor, second: Tensor) -> Tensor:
    r"""Evaluate $(x \cdot y / \mathrm{dim} + 1)^3$ for all rows of two sets.

    Args:
        first: Features, `(n, dim)`.
        second: Features, `(m, dim)`.

    Returns:
        Kernel values, `(n, m)`.

    Example:
        >>> import torch
        >>> from ssltok.metrics import polynomial_kernel
        >>> polynomial_kernel(torch.ones(1, 4), torch.ones(1, 4)).item()
        8.0

    References:
        Binkowski et al., *Demystifying MMD GANs*, 2018, <https://arxiv.org/abs/1801.01401>,
        section 4.
    """
    return (first @ second.mT / first.shape[1] + 1) ** 3


def gaussian_kernel(first: Tensor, second: Tensor, *, bandwidth: float) -> Tensor:
    r"""Evaluate $\exp(-\lVert x - y \rVert^2 / (2 \sigma^2))$ for all rows of two sets.

    Bind a bandwidth that suits the features; the median distance of real cases is customary.

    Args:
        first: Features, `(n, dim)`.
        second: Features, `(m, dim)`.
        bandwidth: $\sigma$, in units of the features.

    Returns:
        Kernel values in [0, 1], `(n, m)` float64; NaN if a feature is not finite.

    Raises:
        ValueError: If `bandwidth` is not positive.
        TypeError: If an option is not a number.

    Example:
        >>> import torch
        >>> from ssltok.metrics import gaussian_kernel
        >>> x, y = torch.zeros(1, 2), torch.tensor([[3.0, 4.0]])
        >>> round(gaussian_kernel(x, y, bandwidth=5.0).log().item(), 4)
        -0.5
    """
    check_positive("gaussian_kernel", "bandwidth", bandwidth)
    values = (squared_distances(first, second) / (-2 * bandwidth**2)).exp()
    return values * one_if_finite(first, second)


def kernel_distance(
    real: Tensor,
    generated: Tensor,
    *,
    kernel: Callable[[Tensor, Tensor], Tensor] = polynomial_kernel,
) -> Tensor:
    r"""Measure the squared maximum mean discrepancy of two sets of features, without bias.

    $$\frac{1}{n(n-1)} \sum_{i \ne j} k(x_i, x_j) + \frac{1}{m(m-1)} \sum_{i \ne j} k(y_i, y_j)
      - \frac{2}{nm} \sum_{i,j} k(x_i, y_j)$$

    Its expectation is 0 when both sets come from one law, whatever the number of cases, so it is
    the figure to read where `frechet_distance` is biased; it falls below 0 by chance. Published
    values average subsets of 1000 cases; this is the same estimator over all pairs at once.

    Args:
        real: Features of real series, `(cases, dim)`.
        generated: Features of generated series, `(cases, dim)`; cases may differ.
        kernel: Kernel of all rows of two sets; the default is the one of the reference.

    Returns:
        A float64 scalar, in units of the kernel; it may be negative. NaN if a feature is not
        finite.

    Raises:
        ValueError: If the shapes are not `(cases, dim)` with one `dim`, or a set has < 2 cases.
        TypeError: If an input is not a tensor.

    Example:
        >>> import torch
        >>> from ssltok.metrics import kernel_distance
        >>> x, y = torch.zeros(3, 1), torch.ones(2, 1)  # k(x,x) = 1, k(y,y) = 8, k(x,y) = 1
        >>> kernel_distance(x, y).item()
        7.0

    References:
        Gretton et al., *A kernel two-sample test*, 2012, JMLR 13, equation 3. Binkowski et al.,
        *Demystifying MMD GANs*, 2018, <https://arxiv.org/abs/1801.01401>, section 4.
    """
    check_features("kernel_distance", real, generated, least_cases=2)
    x, y = real.detach().double(), generated.detach().double()
    cross = sum(kernel(part, y).sum() for part in torch.split(x, sizes.ROWS))
    distance: Tensor = (
        mean_kernel(kernel, x) + mean_kernel(kernel, y) - 2 * cross / (len(x) * len(y))
    )
    return distance * one_if_finite(x, y)
