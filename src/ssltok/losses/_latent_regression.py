"""Latent regression: predict what a teacher makes of the tokens that were hidden."""

import torch
from torch import Tensor, nn

from ssltok._shared.checks import (
    check_at_least,
    check_bool_mask,
    check_floating,
    check_same_shape,
)
from ssltok._shared.numerics import full_precision, upcast
from ssltok.losses._regression_error import check_beta, mean_over_tokens, regression_error

__all__ = ["LatentRegressionLoss", "latent_regression_loss"]


def latent_regression_loss(
    pred: Tensor, target: Tensor, mask: Tensor | None = None, *, beta: float | None = 1.0
) -> Tensor:
    r"""Average the error of predicted latents over features and tokens.

    $$\ell(d) = \frac{d^2}{2 \beta} \ \ (\lvert d \rvert < \beta), \qquad
      \ell(d) = \lvert d \rvert - \tfrac{\beta}{2} \ \ \text{otherwise}; \qquad
      \ell(d) = d^2 \ \ \text{without } \beta$$

    The target is detached. What the target is belongs to the method, and so does its
    normalisation: I-JEPA layer-normalises the teacher's tokens ($\beta = 1$), data2vec averages
    normalised layers (speech: $d^2$, vision: $\beta = 2$), CAE takes the tokens as they are
    ($d^2$). data2vec's speech code sums over features and divides by $\sqrt{dim}$: multiply by
    `dim ** 0.5` for its number, and mind that it writes `beta=0` for $d^2$, here `None`.

    Args:
        pred: Predicted latents, `(..., dim)`: of the masked tokens only, `(masked, dim)`, or of
            all tokens, `(batch, tokens, dim)`, with `mask`.
        target: The teacher's latents, of the same shape.
        mask: Which tokens to predict, the leading shape of `pred`, boolean; all if `None`.
            Latents elsewhere are not read, and may be NaN.
        beta: $\beta$, where the error turns from quadratic to linear; 0 is the absolute error,
            `None` the squared error.

    Returns:
        The loss, a scalar; 0 if nothing is masked.

    Raises:
        ValueError: If shapes or dtypes do not fit, are empty, or `beta` is negative.
        TypeError: If an input is not a tensor, or an option not a number.

    Example:
        >>> import torch
        >>> from ssltok.losses import latent_regression_loss
        >>> pred = torch.tensor([[3.0, 0.5]])  # errors 3 - 1/2 and 1/8
        >>> latent_regression_loss(pred, torch.zeros(1, 2))
        tensor(1.3125)
        >>> latent_regression_loss(pred, torch.zeros(1, 2), beta=None)
        tensor(4.6250)

    References:
        Baevski et al., *data2vec*, 2022, <https://arxiv.org/abs/2202.03555>, section 3.4.
        Assran et al., *I-JEPA*, 2023, <https://arxiv.org/abs/2301.08243>, section 3.
        Chen et al., *CAE*, 2022, <https://arxiv.org/abs/2202.03026>, equation 2.
    """
    who = "latent_regression_loss"
    check_floating(who, "pred", pred)
    check_floating(who, "target", target)
    check_same_shape(who, "pred and target", pred, target)
    check_at_least(who, "pred.ndim", pred.ndim, 2)
    check_at_least(who, "pred.numel()", pred.numel(), 1)
    check_beta(who, beta)
    if mask is not None:
        check_bool_mask(who, "mask", mask, pred.shape[:-1])
    with full_precision(pred):
        difference = upcast(pred) - upcast(target.detach())
        if mask is None:
            return regression_error(difference, beta).mean()
        difference = torch.where(mask.unsqueeze(-1), difference, 0)
        return mean_over_tokens(regression_error(difference, beta).mean(-1), mask)


class LatentRegressionLoss(nn.Module):
    """`latent_regression_loss` with its option bound once; see there for its meaning."""

    def __init__(self, *, beta: float | None = 1.0) -> None:
        super().__init__()
        self.beta = beta

    def forward(self, pred: Tensor, target: Tensor, mask: Tensor | None = None) -> Tensor:
        """Return the loss of predicted latents and targets, `(..., dim)` each."""
        return latent_regression_loss(pred, target, mask, beta=self.beta)
