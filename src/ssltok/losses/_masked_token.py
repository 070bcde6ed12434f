"""Masked tokens: say which code stands behind each mask, and pay only for those."""

from typing import Literal

import torch
from torch import Tensor, nn

from ssltok._shared.checks import (
    check_axes,
    check_bool_mask,
    check_codes,
    check_floating,
    check_ratio,
)
from ssltok._shared.numerics import full_precision, upcast
from ssltok.losses._code_cross_entropy import code_cross_entropy

__all__ = ["MaskedTokenLoss", "masked_token_loss"]

Reduction = Literal["token", "sequence", "elbo"]
REDUCTIONS = ("token", "sequence", "elbo")


def masked_token_loss(
    logits: Tensor,
    codes: Tensor,
    mask: Tensor,
    *,
    label_smoothing: float = 0.0,
    reduction: Reduction = "token",
) -> Tensor:
    r"""Cross-entropy of the true codes at the masked places, and nowhere else.

    With $M_b$ the masked tokens of sequence $b$, $N_b$ its tokens that are not padding, and
    $\ell_{bi} = -\log p(s_{bi} \mid s_{b, \bar M})$:

    | `reduction` | value |
    | --- | --- |
    | `"token"` | $\sum_b \sum_{i \in M_b} \ell_{bi} / \sum_b \lvert M_b \rvert$ |
    | `"sequence"` | mean over $b$ of $\frac{1}{\lvert M_b \rvert} \sum_{i \in M_b} \ell_{bi}$ |
    | `"elbo"` | mean over $b$ of $\frac{N_b}{\lvert M_b \rvert} \sum_{i \in M_b} \ell_{bi}$ |

    When every count from 1 to $N_b$ is equally likely (`linear_schedule` in `schedule_mask`) and
    the masked set is uniform given its count, the last is an unbiased estimate of an upper bound
    of $-\log p(s_b)$ in nats per sequence: the ELBO of absorbing diffusion and of any-order
    autoregressive models. With another schedule or with smoothing it is a weighting, no bound.

    A sequence with nothing masked counts zero in the sum but is left out of the mean; an empty
    mask gives 0. Smoothing spreads over the codes of the codebook only.

    Args:
        logits: `(masked, codebook_size)`, a row for each True of `mask` in row-major order, or
            `(batch, tokens, codebook_size)`. Without a column for `[MASK]`.
        codes: The true codes, `(batch, tokens)`, int64; -1 (or any negative number) marks
            padding, which never counts.
        mask: `(batch, tokens)`, boolean, True where a token was hidden from the model.
        label_smoothing: $\epsilon$ in [0, 1]; MaskGIT uses 0.1.
        reduction: `"token"`, `"sequence"` or `"elbo"`.

    Returns:
        The loss, a scalar in at least fp32.

    Raises:
        ValueError: If shapes or dtypes do not fit, the rows are not as many as the masked tokens,
            or an option is out of range.
        IndexError: By torch, if a code is `codebook_size` or more; on an accelerator the error
            comes later, as that of any index there.
        TypeError: If an input is not a tensor, or an option not a number.

    Example:
        >>> import torch
        >>> from ssltok.losses import masked_token_loss
        >>> logits = torch.tensor([[0.0, 0.0], [0.0, 0.0]])  # two masked tokens, two codes
        >>> codes, mask = torch.tensor([[0, 1, 1]]), torch.tensor([[True, False, True]])
        >>> masked_token_loss(logits, codes, mask)  # ln 2
        tensor(0.6931)
        >>> masked_token_loss(logits, codes, mask, reduction="elbo")  # 3 tokens of ln 2 each
        tensor(2.0794)

    References:
        Chang et al., *MaskGIT*, 2022, <https://arxiv.org/abs/2202.04200>, section 3.1.
        Austin et al., *Structured denoising diffusion models in discrete state-spaces*, 2021,
        <https://arxiv.org/abs/2107.03006>.
    """
    check_options(label_smoothing, reduction)
    check_floating("masked_token_loss", "logits", logits)
    check_axes("masked_token_loss", "codes", codes, "batch tokens")
    check_codes("masked_token_loss", "codes", codes)
    check_bool_mask("masked_token_loss", "mask", mask, codes.shape)
    wanted = mask & (codes >= 0)
    if logits.ndim == 3:
        if logits.shape[:2] != codes.shape:
            raise ValueError(
                "masked_token_loss: logits must be (batch, tokens, codebook_size) with codes "
                f"(batch, tokens); got {tuple(logits.shape)} and {tuple(codes.shape)}"
            )
        targets = torch.where(wanted, codes, -1).flatten()
    else:
        check_axes("masked_token_loss", "logits", logits, "masked codebook_size")
        targets = codes[mask].clamp(min=-1)
        if len(logits) != len(targets):
            raise ValueError(
                "masked_token_loss: logits must have a row for each masked token; "
                f"got {len(logits)} rows for {len(targets)} masked tokens"
            )
    with full_precision(logits):
        rows = upcast(logits.reshape(-1, logits.shape[-1]))
        each = code_cross_entropy(rows, targets, label_smoothing=label_smoothing)
        counts = wanted.sum(dim=-1)
        if reduction == "token":
            return each.sum() / counts.sum().clamp(min=1)
        weights = counts.clamp(min=1).to(each.dtype).reciprocal()
        if reduction == "elbo":
            weights = weights * (codes >= 0).sum(dim=-1)
        weights = weights[:, None].expand_as(codes)
        weights = weights.reshape(-1) if logits.ndim == 3 else weights[mask]
        return (each * weights).sum() / (counts > 0).sum().clamp(min=1)


def check_options(label_smoothing: float, reduction: str) -> None:
    """Ask for options in range."""
    check_ratio("masked_token_loss", "label_smoothing", label_smoothing)
    if reduction not in REDUCTIONS:
        raise ValueError(
            f"masked_token_loss: reduction must be one of {', '.join(REDUCTIONS)}; "
            f"got {reduction!r}"
        )


class MaskedTokenLoss(nn.Module):
    """`masked_token_loss` with its options bound once; see there for their meaning."""

    def __init__(self, *, label_smoothing: float = 0.0, reduction: Reduction = "token") -> None:
        super().__init__()
        check_options(label_smoothing, reduction)
        self.label_smoothing = label_smoothing
        self.reduction = reduction

    def forward(self, logits: Tensor, codes: Tensor, mask: Tensor) -> Tensor:
        """Return the loss of `logits` for `codes`, `(batch, tokens)`, at `mask`."""
        return masked_token_loss(
            logits,
            codes,
            mask,
            label_smoothing=self.label_smoothing,
            reduction=self.reduction,
        )
