"""A search that uses all codes alike: the assignment of a batch by optimal transport."""

import torch
from torch import Tensor

from ssltok._shared.checks import check_at_least, check_positive
from ssltok._shared.numerics import full_precision, upcast
from ssltok._shared.ranks import sum_over_ranks
from ssltok.quantizers._layout import finite_rows
from ssltok.quantizers._nearest import check_tokens_and_codebook

__all__ = ["balanced_codes"]

LARGEST_EXPONENT = 60.0
"""Exponents are cut here, so that sums of float32 stay finite."""


@torch.no_grad()
def balanced_codes(
    tokens: Tensor, codebook: Tensor, *, sharpness: float = 10.0, iterations: int = 5
) -> Tensor:
    r"""Give tokens near codes, but each code about the same share of all tokens.

    $$k_n = \arg\max_k Q_{nk}, \qquad
      Q = \mathrm{diag}(u) \, e^{-\epsilon \hat D} \, \mathrm{diag}(v), \qquad
      D_{nk} = \lVert x_n - e_k \rVert$$

    with $\hat D$ the distances minus their mean and over their standard deviation, and $u, v$ from
    rounds of making the columns equal, then the rows (Sinkhorn). As the `search` of a
    `VectorQuantizer` it keeps most codes in use while training (the shares are equal, their largest
    entries only nearly so); evaluation takes the nearest. It looks at the batch as a whole, over
    all processes, and builds its `tokens x codebook_size` matrix. A row of zeros, as which padding
    arrives, and one with NaN or infinity weigh nothing and get the code nearest to 0.

    The authors draw codes from $Q$, or take its largest entries (`use_prob=False`), as here.

    Args:
        tokens: $x$, `(tokens, dim)`, floating point.
        codebook: $e$, `(codebook_size, dim)`, floating point.
        sharpness: $\epsilon > 0$; 10 as in the authors' code. Towards infinity only nearness
            counts.
        iterations: Rounds, at least 1; 5 as there.

    Returns:
        Codes, `(tokens,)` int64.

    Raises:
        TypeError: If an argument is no tensor.
        ValueError: If the shapes or dtypes are others, the codebook is empty, `sharpness <= 0` or
            `iterations < 1`.

    Example:
        >>> import torch
        >>> from ssltok.quantizers import balanced_codes
        >>> tokens = torch.tensor([[1.0], [2.0], [3.0], [4.0]])
        >>> balanced_codes(tokens, torch.tensor([[0.0], [90.0]]))  # the second would be dead
        tensor([0, 0, 1, 1])

    References:
        Zhang et al., *Preventing Local Pitfalls in Vector Quantization via Optimal Transport*
        (OptVQ), 2024, <https://arxiv.org/abs/2412.15195>, and the authors' `quantizer.py`.
    """
    check_tokens_and_codebook("balanced_codes", tokens, codebook)
    check_positive("balanced_codes", "sharpness", sharpness)
    check_at_least("balanced_codes", "iterations", iterations, 1)
    dtype = torch.promote_types(upcast(tokens[:0]).dtype, upcast(codebook[:0]).dtype)
    with full_precision(tokens):
        real = finite_rows(tokens) & (tokens != 0).any(dim=1)
        middle = codebook.to(dtype).mean(dim=0)
        rows = torch.where(real[:, None], tokens.to(dtype), 0.0) - middle
        distance = torch.cdist(rows, codebook.to(dtype) - middle)
        count = sum_over_ranks(real.sum() * codebook.shape[0])
        mean = sum_over_ranks(distance.sum(dim=1).where(real, 0.0).sum()) / count.clamp(min=1)
        squares = (distance - mean).square().sum(dim=1).where(real, 0.0).sum()
        deviation = (sum_over_ranks(squares) / (count - 1).clamp(min=1)).sqrt()
        tiny = torch.finfo(dtype).tiny
        exponent = sharpness * (mean - distance) / deviation.clamp(min=tiny)
        share = exponent.clamp(-LARGEST_EXPONENT, LARGEST_EXPONENT).exp() * real[:, None]
        for _ in range(iterations):
            share = share / sum_over_ranks(share.sum(dim=0)).clamp(min=tiny)
            share = share / share.sum(dim=1, keepdim=True).clamp(min=tiny)
        return torch.where(real, share.argmax(dim=1), distance.argmin(dim=1))
