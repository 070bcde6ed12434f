"""Masked reconstruction: fill in the patches that were hidden (MAE, SimMIM, MaskFeat)."""

import torch
from torch import Tensor, nn

from ssltok._shared.checks import (
    check_at_least,
    check_axes,
    check_bool_mask,
    check_floating,
    check_same_shape,
)
from ssltok._shared.numerics import full_precision, upcast
from ssltok.losses._regression_error import check_beta, mean_over_tokens, regression_error

__all__ = ["MaskedReconstructionLoss", "masked_reconstruction_loss"]

EPS = 1e-6  # added to the variance of a patch, as in MAE's code


def masked_reconstruction_loss(
    pred: Tensor,
    target: Tensor,
    mask: Tensor,
    valid: Tensor | None = None,
    *,
    beta: float | None = None,
    normalize_target: bool = False,
) -> Tensor:
    r"""Average the error over the values of each masked patch, then over all masked patches.

    $$\frac{1}{\lvert M \rvert} \sum_{(b, i) \in M} \frac{1}{D} \sum_d
      \ell(\hat x_{bid} - x_{bid})$$

    with $\ell(d) = d^2$ (MAE, MaskFeat), or $\lvert d \rvert$ (SimMIM: `beta=0`), or smooth L1.
    The mean is over the masked patches of the whole batch, as published, not per series. SimMIM's
    code adds 1e-5 to the number of masked points; this does not. The target is detached.

    Args:
        pred: Reconstructed patches, `(batch, tokens, dim)`.
        target: The patches of the series, or features of them (MaskFeat), of the same shape.
        mask: Which patches were hidden, `(batch, tokens)`, boolean.
        valid: Which patches are real, `(batch, tokens)`, or which of their values,
            `(batch, tokens, dim)` as `patch_valid` of `ssltok.nn` returns it, boolean; all if
            `None`. What is not real, or not masked, is not read, and may be NaN: the mean over a
            patch, and its normalisation, are those of its real values.
        beta: `None` is the squared error, 0 the absolute error; else where smooth L1 turns from
            quadratic to linear.
        normalize_target: Whether each target patch gets mean 0 and variance 1 of its own first,
            $(x - \mu) / \sqrt{\sigma^2 + 10^{-6}}$ with the unbiased variance, as in MAE's recipe.

    Returns:
        The loss, a scalar; 0 if nothing real is masked.

    Raises:
        ValueError: If shapes or dtypes do not fit, `beta` is negative, or a patch has fewer than
            two values to normalise.
        TypeError: If an input is not a tensor, or an option not a number.

    Example:
        >>> import torch
        >>> from ssltok.losses import masked_reconstruction_loss
        >>> target = torch.tensor([[[1.0, 3.0], [5.0, 5.0]]])
        >>> mask = torch.tensor([[True, False]])
        >>> masked_reconstruction_loss(torch.zeros(1, 2, 2), target, mask)  # (1 + 9) / 2
        tensor(5.)

    References:
        He et al., *MAE*, 2022, <https://arxiv.org/abs/2111.06377>, section 3.
        Xie et al., *SimMIM*, 2022, <https://arxiv.org/abs/2111.09886>, section 3.4.
        Wei et al., *MaskFeat*, 2022, <https://arxiv.org/abs/2112.09133>, section 3.
    """
    who = "masked_reconstruction_loss"
    check_floating(who, "pred", pred)
    check_floating(who, "target", target)
    check_same_shape(who, "pred and target", pred, target)
    check_axes(who, "pred", pred, "batch tokens dim")
    check_at_least(who, "pred.numel()", pred.numel(), 1)
    check_bool_mask(who, "mask", mask, pred.shape[:2])
    if valid is not None:
        by_value = valid.ndim == pred.ndim
        check_bool_mask(who, "valid", valid, pred.shape if by_value else pred.shape[:2])
    check_beta(who, beta)
    if normalize_target:
        check_at_least(who, "dim", pred.shape[2], 2)
    if valid is not None and valid.ndim == pred.ndim:
        return _by_value(pred, target.detach(), mask, valid, beta=beta, normalize=normalize_target)
    counted = mask if valid is None else mask & valid
    with full_precision(pred):
        wanted = upcast(target.detach())
        if normalize_target:
            variance, mean = torch.var_mean(wanted, dim=-1, keepdim=True)
            wanted = (wanted - mean) * (variance + EPS).rsqrt()
        difference = torch.where(counted.unsqueeze(-1), upcast(pred) - wanted, 0)
        return mean_over_tokens(regression_error(difference, beta).mean(-1), counted)


def _by_value(
    pred: Tensor,
    target: Tensor,
    mask: Tensor,
    real: Tensor,
    *,
    beta: float | None,
    normalize: bool,
) -> Tensor:
    """Do the same over the real values of each patch, `(batch, tokens, dim)`."""
    counted = mask & real.any(-1)
    with full_precision(pred):
        wanted = upcast(target).masked_fill(~real, 0)
        count = real.sum(-1, keepdim=True)
        if normalize:
            wanted = torch.where(
                real, wanted - wanted.sum(-1, keepdim=True) / count.clamp(min=1), 0
            )
            variance = wanted.square().sum(-1, keepdim=True) / (count - 1).clamp(min=1)
            wanted = wanted * (variance + EPS).rsqrt()
        difference = torch.where(counted.unsqueeze(-1) & real, upcast(pred) - wanted, 0)
        errors = regression_error(difference, beta).sum(-1) / count.squeeze(-1).clamp(min=1)
        return mean_over_tokens(errors, counted)


class MaskedReconstructionLoss(nn.Module):
    """`masked_reconstruction_loss` with its options bound once; see there for their meaning."""

    def __init__(self, *, beta: float | None = None, normalize_target: bool = False) -> None:
        super().__init__()
        self.beta = beta
        self.normalize_target = normalize_target

    def forward(
        self, pred: Tensor, target: Tensor, mask: Tensor, valid: Tensor | None = None
    ) -> Tensor:
        """Return the loss of reconstructed patches, `(batch, tokens, dim)`."""
        return masked_reconstruction_loss(
            pred, target, mask, valid, beta=self.beta, normalize_target=self.normalize_target
        )
