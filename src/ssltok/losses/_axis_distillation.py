"""SpeechTokenizer: the first residual level says over time, or token by token, what a teacher says.

Only that level is taught: the finer ones keep what the teacher leaves out.
"""

import torch
from torch import Tensor, nn
from torch.nn.functional import softplus

from ssltok._shared.checks import check_axes, check_weights
from ssltok._shared.numerics import full_precision
from ssltok.losses._regression_error import mean_over_tokens
from ssltok.losses._token_pairs import check_token_pair, cosines, real_pair

__all__ = [
    "DAxisDistillationLoss",
    "TAxisDistillationLoss",
    "d_axis_distillation_loss",
    "t_axis_distillation_loss",
]


def d_axis_distillation_loss(
    projected: Tensor, target: Tensor, valid: Tensor | None = None
) -> Tensor:
    r"""Make each feature go over time as the teacher's does.

    $$-\frac{1}{B D} \sum_{b,d} \log \sigma\bigl(\cos(q_{b,:,d},\ f_{b,:,d})\bigr)$$

    with the cosine along the tokens of a series. $q$ is the output of the first residual level,
    such as `quantizer.quantizers[0](latents).vectors` of a `ResidualQuantizer`, projected to the
    teacher's width. The target is detached. The paper weighs it with 120 beside the losses of a
    codec. At best it is $\log(1 + 1/e)$, for a cosine has an end.

    Args:
        projected: $q$, `(batch, tokens, dim)`.
        target: $f$, of the same shape; detached.
        valid: Which tokens are real, `(batch, tokens)`, boolean; all if None. What stands
            elsewhere is not read, and may be NaN; a series without any does not count.

    Returns:
        The loss, a scalar in [0.3133, 1.3133]; 0 if no token is real.

    Raises:
        ValueError: If shapes or dtypes do not fit, or are empty.
        TypeError: If an input is not a tensor.

    Example:
        >>> import torch
        >>> from ssltok.losses import d_axis_distillation_loss
        >>> tokens = torch.tensor([[[1.0], [0.0]]])
        >>> d_axis_distillation_loss(tokens, tokens.flip(1))  # a cosine of 0: log 2
        tensor(0.6931)

    References:
        Zhang et al., *SpeechTokenizer*, 2023, <https://arxiv.org/abs/2308.16692>, equation 3.
    """
    who = "d_axis_distillation_loss"
    _check(who, projected, target, valid)
    with full_precision(projected):
        each = softplus(-cosines(*real_pair(projected, target, valid), dim=-2)).mean(-1)
        if valid is None:
            return each.mean()
        some = valid.any(-1)
        return mean_over_tokens(torch.where(some, each, 0), some)


def t_axis_distillation_loss(
    projected: Tensor,
    target: Tensor,
    valid: Tensor | None = None,
    *,
    similarity_weight: float = 1.0,
) -> Tensor:
    r"""Make each token what the teacher's is, in value and in direction.

    $$\frac{1}{B T D} \sum_{b,t,d} \lvert q_{btd} - f_{btd} \rvert
      - \lambda\, \frac{1}{B T} \sum_{b,t} \log \sigma\bigl(\cos(q_{bt},\ f_{bt})\bigr)$$

    with $q$ as in `d_axis_distillation_loss`. The target is detached.

    Args:
        projected: $q$, `(batch, tokens, dim)`.
        target: $f$, of the same shape; detached.
        valid: Which tokens are real, `(batch, tokens)`, boolean; all if None. What stands
            elsewhere is not read, and may be NaN.
        similarity_weight: $\lambda$; 1 in the authors' code.

    Returns:
        The loss, a scalar; 0 if no token is real.

    Raises:
        ValueError: If shapes or dtypes do not fit, or are empty.
        TypeError: If an input is not a tensor, or an option not a number.

    Example:
        >>> import torch
        >>> from ssltok.losses import t_axis_distillation_loss
        >>> tokens = torch.tensor([[[2.0, 0.0]]])
        >>> t_axis_distillation_loss(tokens, tokens.flip(2))  # 2 + log 2
        tensor(2.6931)

    References:
        Zhang et al., *SpeechTokenizer*, 2023, <https://arxiv.org/abs/2308.16692>; the form is that
        of the authors' code, which offers both axes.
    """
    check_weights("t_axis_distillation_loss", similarity_weight=similarity_weight)
    _check("t_axis_distillation_loss", projected, target, valid)
    with full_precision(projected):
        q, f = real_pair(projected, target, valid)
        size, turned = (q - f).abs().mean(-1), softplus(-cosines(q, f))
        if valid is None:
            return size.mean() + similarity_weight * turned.mean()
        turned = mean_over_tokens(torch.where(valid, turned, 0), valid)
        return mean_over_tokens(size, valid) + similarity_weight * turned


def _check(who: str, projected: Tensor, target: Tensor, valid: Tensor | None) -> None:
    check_token_pair(who, ("projected", "target"), projected, target, valid)
    check_axes(who, "projected", projected, "batch tokens dim")


class DAxisDistillationLoss(nn.Module):
    """`d_axis_distillation_loss` as a module."""

    def forward(self, projected: Tensor, target: Tensor, valid: Tensor | None = None) -> Tensor:
        """Return the loss of a first level and a target, `(batch, tokens, dim)` each."""
        return d_axis_distillation_loss(projected, target, valid)


class TAxisDistillationLoss(nn.Module):
    """`t_axis_distillation_loss` with its option bound once; see there for its meaning."""

    def __init__(self, *, similarity_weight: float = 1.0) -> None:
        super().__init__()
        self.similarity_weight = similarity_weight

    def forward(self, projected: Tensor, target: Tensor, valid: Tensor | None = None) -> Tensor:
        """Return the loss of a first level and a target, `(batch, tokens, dim)` each."""
        return t_axis_distillation_loss(
            projected, target, valid, similarity_weight=self.similarity_weight
        )
