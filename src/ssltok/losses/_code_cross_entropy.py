"""The cross-entropy of codes, where rows that do not count may hold anything."""

import math

import torch
from torch import Tensor
from torch.nn.functional import nll_loss

from ssltok._shared.transforms import can_be_read

__all__ = ["code_cross_entropy"]


def code_cross_entropy(
    rows: Tensor, codes: Tensor, *, label_smoothing: float = 0.0, reduction: str = "none"
) -> Tensor:
    """As `torch.nn.functional.cross_entropy`, without a gradient to rows whose code is -1.

    There it would be that of a softmax, which is NaN times 0 for a row with NaN or infinity.

    Args:
        rows: Logits, `(rows, codebook_size)`.
        codes: `(rows,)`; -1 where a row does not count.
        label_smoothing: The share of a uniform target; with the reduction `"none"` alone.
        reduction: `"none"` or `"sum"`.

    Returns:
        The cross-entropy of each row, 0 where it does not count, or their sum.
    """
    log_p = rows.log_softmax(-1)
    # The first column of a row with NaN or infinity has no number either.
    if not (can_be_read(log_p) and math.isfinite(log_p.detach()[:, :1].sum().item())):
        log_p = torch.where((codes >= 0).unsqueeze(-1), rows, 0).log_softmax(-1)
    each = nll_loss(log_p, codes, ignore_index=-1, reduction=reduction)
    if not label_smoothing:
        return each
    uniform = torch.where(codes >= 0, -log_p.sum(-1), 0)
    return each * (1 - label_smoothing) + uniform * (label_smoothing / rows.shape[-1])
