"""Centre and sharpen (DINO): turn a teacher's outputs into targets that do not collapse."""

import torch
from torch import Tensor

from ssltok._shared.checks import check_axes, check_floating, check_positive, check_size
from ssltok._shared.numerics import full_precision, upcast

__all__ = ["center_and_sharpen"]


def center_and_sharpen(logits: Tensor, center: Tensor, *, temperature: float = 0.04) -> Tensor:
    r"""Turn a teacher's logits into target probabilities.

    $$\mathrm{softmax}\bigl((g - c) / \tau\bigr)$$

    Subtracting the running centre keeps one output from winning everywhere; the low temperature
    keeps the probabilities from becoming uniform. No gradient flows through it.

    Args:
        logits: The teacher's outputs $g$, `(batch, codebook_size)` with any axes between.
        center: The running mean $c$ of earlier outputs, `(codebook_size,)`. Update it **after**
            the loss.
        temperature: $\tau > 0$; DINO starts at 0.04 and may warm up to 0.07.

    Returns:
        Probabilities of the shape of `logits`, in at least float32.

    Raises:
        ValueError: If `logits` or `center` is not floating point, `center` is not
            `(codebook_size,)`, or the temperature is not positive.
        TypeError: If an input is not a tensor, or an option not a number.

    Example:
        >>> import torch
        >>> from ssltok.losses import center_and_sharpen
        >>> center_and_sharpen(torch.tensor([[3.0, 5.0]]), torch.tensor([3.0, 5.0]))
        tensor([[0.5000, 0.5000]])

    References:
        Caron et al., *DINO*, 2021, <https://arxiv.org/abs/2104.14294>, section 3.1, equation 4
        and algorithm 1.
    """
    check_floating("center_and_sharpen", "logits", logits)
    check_floating("center_and_sharpen", "center", center)
    check_axes("center_and_sharpen", "center", center, "codebook_size")
    if logits.ndim < 1:
        raise ValueError("center_and_sharpen: logits must have a last axis; got shape ()")
    check_size("center_and_sharpen", "logits", logits, -1, center.shape[0])
    check_positive("center_and_sharpen", "temperature", temperature)
    with torch.no_grad(), full_precision(logits):
        return (upcast(logits) - center).div_(temperature).softmax(dim=-1)
