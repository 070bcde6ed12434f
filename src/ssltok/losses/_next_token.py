"""Next token: say each code from those before it (GPT, iGPT)."""

import torch
from torch import Tensor, nn

from ssltok._shared.checks import check_at_least, check_axes, check_codes, check_floating
from ssltok._shared.numerics import full_precision, upcast
from ssltok.losses._code_cross_entropy import code_cross_entropy

__all__ = ["NextTokenLoss", "next_token_loss"]


def next_token_loss(logits: Tensor, codes: Tensor) -> Tensor:
    r"""Average the cross-entropy of each code given the codes before it.

    $$-\frac{1}{\lvert R \rvert} \sum_{(b, i) \in R} \log \mathrm{softmax}(x_{b, i-1})_{s_{bi}}$$

    with $R$ the codes that are not padding, but for the first token of each sequence. The shift
    is made here: the logits of a token are about the token after it, and those of the last token
    do not count. With a start token before the codes, pass the logits of all `1 + tokens` inputs
    and put -1 before the codes: `pad(codes, (1, 0), value=-1)`; then the first code counts too.

    The published likelihood is a sum over the tokens; this is its mean, in nats per token.

    Args:
        logits: `(batch, tokens, codebook_size)`.
        codes: The sequence itself, `(batch, tokens)`, int64; -1 (or any negative number)
            marks padding, which is never a target.

    Returns:
        The loss, a scalar; 0 if no code counts.

    Raises:
        ValueError: If shapes or dtypes do not fit or there are fewer than two tokens.
        IndexError: By torch, if a code is `codebook_size` or more; on an accelerator the error
            comes later, as that of any index there.
        TypeError: If an input is not a tensor.

    Example:
        >>> import torch
        >>> from ssltok.losses import next_token_loss
        >>> logits = torch.tensor([[[0.0, 99.0], [99.0, 0.0], [0.0, 0.0]]])
        >>> next_token_loss(logits, torch.tensor([[0, 1, 0]]))
        tensor(0.)

    References:
        Radford et al., *Improving language understanding by generative pre-training*, 2018,
        equation 1.
        Chen et al., *Generative pretraining from pixels*, 2020, equation 2.
    """
    who = "next_token_loss"
    check_axes(who, "logits", logits, "batch tokens codebook_size")
    check_floating(who, "logits", logits)
    check_axes(who, "codes", codes, "batch tokens")
    check_codes(who, "codes", codes)
    if logits.shape[:2] != codes.shape:
        raise ValueError(
            f"{who}: logits must be (batch, tokens, codebook_size) with codes (batch, tokens); "
            f"got {tuple(logits.shape)} and {tuple(codes.shape)}"
        )
    check_at_least(who, "logits.numel()", logits.numel(), 1)
    check_at_least(who, "tokens", codes.shape[1], 2)
    with full_precision(logits):
        # Shift the codes, which are small, and not the logits.
        last = codes.new_full((codes.shape[0], 1), -1)
        after = torch.cat([codes[:, 1:], last], dim=1).clamp(min=-1)
        rows = upcast(logits).flatten(0, 1)
        total = code_cross_entropy(rows, after.flatten(), reduction="sum")
        return total / (after >= 0).sum().clamp(min=1)


class NextTokenLoss(nn.Module):
    """`next_token_loss` as a module."""

    def forward(self, logits: Tensor, codes: Tensor) -> Tensor:
        """Return the loss of `(batch, tokens, codebook_size)` logits of `(batch, tokens)` codes."""
        return next_token_loss(logits, codes)
