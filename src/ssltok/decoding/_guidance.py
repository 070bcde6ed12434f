"""Classifier-free guidance: push the logits away from those without a condition."""

from collections.abc import Callable

import torch
from torch import Tensor

from ssltok._shared.described import described
from ssltok.decoding._iterative import Guidance, LogitsFn

__all__ = ["classifier_free_guidance"]


@described
def classifier_free_guidance(
    unconditional: LogitsFn, *, scale: float | Callable[[float], float]
) -> Guidance:
    r"""Make a rule that mixes conditional and unconditional logits.

    $$\ell = \ell_u + s \, (\ell_c - \ell_u)$$

    At $s = 1$ this is the conditional model, bit for bit, and the unconditional one is not called;
    at $s = 0$ the conditional one is not called. Some codes write $(1 + w) \ell_c - w \ell_u$;
    then $s = 1 + w$. A code that the conditional model forbids (-inf) stays forbidden, and for
    $s < 1$ also one that the unconditional model forbids; for $s > 1$, where the formula has no
    value there, the conditional logit stays as it is.

    Args:
        unconditional: The model without the condition, a logits function like the one it guides.
        scale: $s$, or a function of progress in (0, 1] that returns it.

    Returns:
        A rule from a conditional logits function, tokens, where and progress to logits, for the
        `guidance` of `iterative_decode`.

    Example:
        >>> import torch
        >>> from ssltok.decoding import classifier_free_guidance
        >>> tokens, where = torch.tensor([[2]]), torch.tensor([[True]])
        >>> rule = classifier_free_guidance(lambda t, w: torch.tensor([[1.0, 1.0]]), scale=3.0)
        >>> rule(lambda t, w: torch.tensor([[2.0, 0.0]]), tokens, where, 0.5)
        tensor([[ 4., -2.]])

    References:
        Ho and Salimans, *Classifier-free diffusion guidance*, 2022,
        <https://arxiv.org/abs/2207.12598>, equation 6 (there $w = s - 1$).
    """

    def guide(conditional: LogitsFn, tokens: Tensor, where: Tensor, progress: float) -> Tensor:
        now = scale(progress) if callable(scale) else scale
        if now == 1:
            return conditional(tokens, where)
        if now == 0:
            return unconditional(tokens, where)
        free, kept = unconditional(tokens, where), conditional(tokens, where)
        mixed = torch.where(
            free == -torch.inf, kept if now > 1 else free, free + now * (kept - free)
        )
        return mixed.masked_fill(kept == -torch.inf, -torch.inf)

    return guide
