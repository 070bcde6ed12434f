"""LiDAR and CKA: representations judged by their own views, or beside another one."""

import torch
from torch import Tensor

from ssltok._shared.alignment import linear_cka
from ssltok._shared.checks import check_at_least, check_axes, check_floating, check_positive
from ssltok.metrics._checks import one_if_finite
from ssltok.metrics._effective_rank import effective_rank

__all__ = ["cka", "lidar"]


def lidar(features: Tensor, *, ridge: float = 1e-4) -> Tensor:
    r"""Measure how many directions tell series apart, in spite of their augmentation.

    $$\exp\Bigl( -\sum_k p_k \log p_k \Bigr), \qquad p_k = \frac{\lambda_k}{\sum_j \lambda_j}$$

    with the eigenvalues $\lambda$ of $\Sigma_w^{-1/2} \Sigma_b \Sigma_w^{-1/2}$: $\Sigma_b$ is the
    covariance of the means of the cases' views, and $\Sigma_w$ that of the views about them, plus
    $\delta I$. Unlike `rank_me` it does not count directions in which views of one series differ
    as much as series do. The paper adds a small number to $p$; here it is exact, with
    $0 \log 0 = 0$. The highest of several checkpoints of one method is the one to take; the paper
    has 1000 cases of 50 views.

    Args:
        features: Features, `(cases, views, dim)`: of at least two augmented views of each of at
            least two series.
        ridge: $\delta > 0$, in squared units of the features; 1e-4 as in stable-pretraining.

    Returns:
        A float64 scalar in `[1, min(cases - 1, dim)]`; NaN if the means of all cases are equal, or
        a number is not finite.

    Raises:
        ValueError: If `features` is not `(cases, views, dim)` with two cases and two views, or
            `ridge` is not positive.
        TypeError: If an input is not a tensor, or an option not a number.

    Example:
        >>> import torch
        >>> from ssltok.metrics import lidar
        >>> means = torch.cat([torch.eye(3), -torch.eye(3)])
        >>> round(lidar(torch.stack([means, means], dim=1)).item(), 4)  # three, all alike
        3.0

    References:
        Thilak et al., *LiDAR: Sensing Linear Probing Performance in Joint Embedding SSL
        Architectures*, 2023, <https://arxiv.org/abs/2312.04000>, section 4.
    """
    check_floating("lidar", "features", features)
    check_axes("lidar", "features", features, "cases views dim")
    check_at_least("lidar", "cases", features.shape[0], 2)
    check_at_least("lidar", "views", features.shape[1], 2)
    check_at_least("lidar", "dim", features.shape[2], 1)
    check_positive("lidar", "ridge", ridge)
    x = features.detach().double()
    finite = one_if_finite(x)
    x = torch.nan_to_num(x, 0.0, 0.0, 0.0)
    x = x - x[0, 0]  # nothing is lost of small differences far from 0
    means = x.mean(1)
    about = (x - means[:, None]).flatten(0, 1)
    within = about.mT @ about / len(about)
    within.diagonal().add_(ridge)
    factor = torch.linalg.cholesky_ex(within)[0]
    means = means - means[0]  # equal ones are 0, and no rounding is a rank
    between = torch.linalg.solve_triangular(factor, (means - means.mean(0)).mT, upper=False)
    return effective_rank(torch.linalg.svdvals(between).square()) * finite


def cka(first: Tensor, second: Tensor) -> Tensor:
    r"""Measure how alike two representations of the same cases are: linear CKA.

    $$\frac{\lVert X^\top Y \rVert_F^2}{\lVert X^\top X \rVert_F \lVert Y^\top Y \rVert_F}$$

    of features less their means. Neither rotations nor one scale of all features are seen, and
    widths may differ: two layers, two seeds, codes beside the features of a foundation model. With
    fewer cases than features it is high for any two representations: compare with features of
    which the cases are shuffled. `ssltok.losses.cka_loss` is 1 less this, with a gradient.

    Args:
        first: $X$, `(cases, dim)`.
        second: $Y$, `(cases, other_dim)`, of the same cases in the same order.

    Returns:
        A float64 scalar in [0, 1], 1 for a rotation; 0 if one side is constant, NaN if a number is
        not finite.

    Raises:
        ValueError: If the shapes do not fit, or there are fewer than 2 cases.
        TypeError: If an input is not a tensor.

    Example:
        >>> import torch
        >>> from ssltok.metrics import cka
        >>> x = torch.tensor([[1.0, 1.0], [1.0, -1.0], [-1.0, 1.0], [-1.0, -1.0]])
        >>> round(cka(x, x[:, :1]).item(), 4)  # one of two equal directions: 1 / sqrt(2)
        0.7071

    References:
        Kornblith et al., *Similarity of Neural Network Representations Revisited*, 2019,
        <https://arxiv.org/abs/1905.00414>, section 3.
    """
    for name, features in (("first", first), ("second", second)):
        check_floating("cka", name, features)
        check_axes("cka", name, features, "cases dim")
        check_at_least("cka", f"dim of {name}", features.shape[1], 1)
    check_at_least("cka", "cases", len(first), 2)
    if len(first) != len(second):
        raise ValueError(
            f"cka: first and second must have the same cases; got {len(first)} and {len(second)}"
        )
    sets = [part.detach().double() for part in (first, second)]
    finite = one_if_finite(*sets)
    x, y = (torch.nan_to_num(part, 0.0, 0.0, 0.0) for part in sets)
    return linear_cka(x - x[0], y - y[0], None) * finite
