"""Estimators: what gradient the latents get through a step that has none."""

import torch
from torch import Tensor

from ssltok._shared.checks import check_floating, check_same_shape
from ssltok._shared.numerics import upcast
from ssltok.quantizers._estimators_fast import rotation_trick_fast, straight_through_fast

__all__ = [
    "rotation_trick",
    "rotation_trick_plain",
    "straight_through",
    "straight_through_plain",
]


def straight_through(latents: Tensor, quantized: Tensor) -> Tensor:
    r"""Return the quantized vectors, and hand their gradient to the latents unchanged.

    $$\tilde q = q, \qquad \partial \tilde q / \partial x = I$$

    The value is exactly `quantized`, where the usual $x + \mathrm{sg}(q - x)$ rounds.

    Args:
        latents: $x$, `(..., dim)`, floating point.
        quantized: $q$, the same shape; it takes no gradient from here.

    Returns:
        The vectors, the shape and dtype of `quantized`.

    Raises:
        TypeError: If an argument is no tensor.
        ValueError: If the shapes differ or a dtype is not floating point.

    Example:
        >>> import torch
        >>> from ssltok.quantizers import straight_through
        >>> x = torch.tensor([0.3, 0.9], requires_grad=True)
        >>> vectors = straight_through(x, torch.tensor([0.0, 1.0]))
        >>> vectors.backward(torch.tensor([5.0, 7.0]))
        >>> x.grad
        tensor([5., 7.])

    References:
        Bengio et al., *Estimating or propagating gradients through stochastic neurons*, 2013,
        <https://arxiv.org/abs/1308.3432>; van den Oord et al., *Neural discrete representation
        learning*, 2017, <https://arxiv.org/abs/1711.00937>, section 3.2.
    """
    _check_pair("straight_through", latents, quantized)
    return straight_through_fast(latents, quantized)


def straight_through_plain(latents: Tensor, quantized: Tensor) -> Tensor:
    r"""Return $x + \mathrm{sg}(q - x)$, as it is mostly written; the value is rounded."""
    return latents + (quantized - latents).detach()


def rotation_trick(latents: Tensor, quantized: Tensor) -> Tensor:
    r"""Return the quantized vectors, and turn and scale their gradient as the latents were.

    $$\tilde q = q, \qquad \partial \tilde q / \partial x = \lambda R, \qquad
      R = I - 2 w w^\top + 2 \hat q \hat x^\top, \quad
      w = \frac{\hat x + \hat q}{\lVert \hat x + \hat q \rVert}, \quad
      \lambda = \frac{\lVert q \rVert}{\lVert x \rVert}$$

    $R$ rotates $\hat x$ into $\hat q$ and is constant for the gradient. Departures from the paper:
    the value is exactly $q$, not $\lambda R x$ with its rounding; where $x$, $q$ or
    $\hat x + \hat q$ is so short that no rotation is defined, the gradient passes unchanged.

    Args:
        latents: $x$, `(..., dim)`, floating point.
        quantized: $q$, the same shape; it takes no gradient from here.

    Returns:
        The vectors, the shape and dtype of `quantized`.

    Raises:
        TypeError: If an argument is no tensor.
        ValueError: If the shapes differ or a dtype is not floating point.

    Example:
        >>> import torch
        >>> from ssltok.quantizers import rotation_trick
        >>> x = torch.tensor([[2.0, 0.0]], requires_grad=True)
        >>> rotated = rotation_trick(x, torch.tensor([[0.0, 1.0]]))  # a quarter turn, half as long
        >>> rotated.backward(torch.tensor([[0.0, 8.0]]))
        >>> x.grad.round(decimals=3)  # what pulls along q pulls along x, half as hard
        tensor([[4., 0.]])

    References:
        Fifty et al., *Restructuring vector quantization with the rotation trick*, 2024,
        <https://arxiv.org/abs/2410.06424>, section 4.
    """
    _check_pair("rotation_trick", latents, quantized)
    return rotation_trick_fast(latents, quantized)


def rotation_trick_plain(latents: Tensor, quantized: Tensor) -> Tensor:
    r"""Return $\lambda R x$ with constant $\lambda$ and $R$, as in the paper; the value is rounded.

    $$\lambda (x - 2 w w^\top x + 2 \hat q \hat x^\top x)$$
    """
    x, q = upcast(latents).detach(), upcast(quantized).detach()
    x_length, q_length = (v.norm(dim=-1, keepdim=True) for v in (x, q))
    tiny = torch.finfo(x.dtype).tiny ** 0.5
    x_unit, q_unit = x / x_length.clamp(min=tiny), q / q_length.clamp(min=tiny)
    w_length = (x_unit + q_unit).norm(dim=-1, keepdim=True)
    w = (x_unit + q_unit) / w_length.clamp(min=tiny)

    def along(v: Tensor) -> Tensor:
        return (v * upcast(latents)).sum(dim=-1, keepdim=True)

    rotated = upcast(latents) - 2 * w * along(w) + 2 * q_unit * along(x_unit)
    defined = (x_length > tiny) & (q_length > tiny) & (w_length > 1e-3)
    rotated = rotated * torch.where(defined, q_length / x_length.clamp(min=tiny), 1.0)
    through = straight_through_plain(upcast(latents), upcast(quantized))
    return torch.where(defined, rotated, through).to(quantized.dtype)


def _check_pair(who: str, latents: Tensor, quantized: Tensor) -> None:
    check_floating(who, "latents", latents)
    check_floating(who, "quantized", quantized)
    check_same_shape(who, "latents and quantized", latents, quantized)
