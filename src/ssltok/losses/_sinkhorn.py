"""Sinkhorn: soft assignments that use all prototypes equally."""

from collections.abc import Callable

import torch
from torch import Tensor

from ssltok._shared.checks import (
    check_at_least,
    check_bool_mask,
    check_floating,
    check_positive,
)
from ssltok._shared.numerics import full_precision, upcast

__all__ = ["sinkhorn"]


def sinkhorn(
    scores: Tensor,
    valid: Tensor | None = None,
    *,
    epsilon: float = 0.05,
    iterations: int = 3,
    gather: Callable[[Tensor], Tensor] | None = None,
) -> Tensor:
    r"""Assign each row to prototypes, softly, so that all prototypes are used equally.

    $$Q = \mathrm{diag}(u)\, e^{S / \epsilon}\, \mathrm{diag}(v)$$

    with $u, v$ from `iterations` rounds of making the columns (prototypes) equal, then the rows
    sum to 1. Computed from log-domain shifts: the exponential only ever sees
    $S_{bk} / \epsilon - \mathrm{max}_b - \mathrm{max}_k \le 0$, so that it cannot overflow, every
    row and every column keeps an entry of 1, and the result is the published one. The published
    code overflows float32 where a score passes $88\, \epsilon$ (4.4 at SwAV's $\epsilon$).

    No gradient flows through it: assignments are targets.

    Over several processes, pass `gather=ssltok.distributed.gather`: each process keeps its own
    rows and only vectors of `codebook_size` travel.

    Args:
        scores: Similarities of rows and prototypes, `(batch, codebook_size)`; with axes in front,
            such as views, each batch is assigned by itself. For the probabilities $p$ of MSN,
            give $\log p$ and `epsilon=1.0`. CAPI assigns position by position: give it
            `logits.transpose(0, 1)`, `(tokens, batch, codebook_size)`.
        valid: Which rows are real, boolean, the shape of `scores` without its last axis; all if
            None. Others take no part, are assigned to nothing (0), and may be NaN.
        epsilon: $\epsilon > 0$, the softness: 0.05 in SwAV; DINOv2 uses the teacher's
            temperature, 0.04 to 0.07.
        iterations: Rounds, at least 1; the authors' 3 by default.
        gather: Concatenates the entries `(1, ..., 1, codebook_size)` of all processes.

    Returns:
        Assignments of the shape of `scores`, in at least float32; each real row sums to 1.

    Raises:
        ValueError: If `scores` does not end in `(batch, codebook_size)`, is not floating point or
            is empty, `valid` does not fit, `epsilon <= 0`, or `iterations < 1`.
        TypeError: If an input is not a tensor, or an option not a number.

    Example:
        >>> import torch
        >>> from ssltok.losses import sinkhorn
        >>> sinkhorn(torch.tensor([[2.0, 0.0], [0.0, 2.0]])).round(decimals=4)
        tensor([[1., 0.],
                [0., 1.]])
        >>> sinkhorn(torch.zeros(2, 4))
        tensor([[0.2500, 0.2500, 0.2500, 0.2500],
                [0.2500, 0.2500, 0.2500, 0.2500]])

    References:
        Caron et al., *SwAV*, 2020, <https://arxiv.org/abs/2006.09882>, equations 3 to 5 and
        appendix A.1.
        Cuturi, *Sinkhorn Distances*, 2013, <https://arxiv.org/abs/1306.0895>, algorithm 1.
    """
    check_floating("sinkhorn", "scores", scores)
    if scores.ndim < 2:
        raise ValueError(
            "sinkhorn: scores must be (batch, codebook_size), with any axes in front; "
            f"got shape {tuple(scores.shape)}"
        )
    check_at_least("sinkhorn", "batch", scores.shape[-2], 1 if gather is None else 0)
    check_at_least("sinkhorn", "codebook_size", scores.shape[-1], 1)
    check_positive("sinkhorn", "epsilon", epsilon)
    check_at_least("sinkhorn", "iterations", iterations, 1)
    if valid is not None:
        check_bool_mask("sinkhorn", "valid", valid, scores.shape[:-1])
    with torch.no_grad(), full_precision(scores):
        x = upcast(scores)
        if valid is not None:
            x = x.masked_fill(~valid.unsqueeze(-1), -torch.inf)
        lowest = x.new_full((*x.shape[:-2], 1, x.shape[-1]), -torch.inf)  # of a rank without rows
        highest = x.amax(dim=-2, keepdim=True) if x.shape[-2] else lowest
        if gather is not None:
            highest = gather(highest.unsqueeze(0)).amax(dim=0)
        if valid is not None:  # a column without any real row, and a row that is none
            highest = highest.masked_fill(highest == -torch.inf, 0)
        kernel = x - highest  # from here on in place: one matrix of the scores' size
        row_highest = kernel.amax(dim=-1, keepdim=True)
        if valid is not None:
            row_highest.masked_fill_(row_highest == -torch.inf, 0)
        kernel = kernel.sub_(row_highest).div_(epsilon).exp_()
        rows = row_highest.mT.div(epsilon).exp()
        for _ in range(iterations):
            total = rows @ kernel
            if gather is not None:
                total = gather(total.unsqueeze(0)).sum(dim=0)
            columns = total.reciprocal()
            if valid is None:
                rows = (columns @ kernel.mT).reciprocal()
            else:
                columns = columns.masked_fill_(total == 0, 0)
                rows = (columns @ kernel.mT).reciprocal()
                rows.masked_fill_(~valid.unsqueeze(-2), 0)
        return kernel.mul_(columns).mul_(rows.mT)
