"""Classifier-free guidance: push the logits away from those without a condition."""

from collections.abc import Callable

import torch
from torch import Tensor

from ssltok._shared.checks import check_number
from ssltok._shared.described import described
from ssltok.decoding._iterative import Guidance, LogitsFn

__all__ = ["classifier_free_guidance", "interval_scale", "rising_scale", "self_guidance"]

Scale = float | Callable[[float], float]


@described
def classifier_free_guidance(unconditional: LogitsFn, *, scale: Scale) -> Guidance:
    r"""Make a rule that mixes conditional and unconditional logits.

    $$\ell = \ell_u + s \, (\ell_c - \ell_u)$$

    At $s = 1$ this is the conditional model, bit for bit, and the unconditional one is not called;
    at $s = 0$ the conditional one is not called. Some codes write $(1 + w) \ell_c - w \ell_u$;
    then $s = 1 + w$. A code that the conditional model forbids (-inf) stays forbidden, and for
    $s < 1$ also one that the unconditional model forbids; for $s > 1$, where the formula has no
    value there, the conditional logit stays as it is.

    *Autoguidance* is the same with a weaker model in the place of the unconditional one: an
    earlier checkpoint or a smaller prior, with the condition.

    Args:
        unconditional: The model without the condition, a logits function like the one it guides.
        scale: $s$, or a function of progress in (0, 1] that returns it, such as
            `rising_scale(3.0)` or `interval_scale(2.0, start=0.2, stop=0.8)`.

    Returns:
        A rule from a conditional logits function, tokens, where and progress to logits, for the
        `guidance` of `iterative_decode`.

    Raises:
        ValueError: In a run, if the two models return logits of different shapes.

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
        Karras et al., *Guiding a diffusion model with a bad version of itself*, 2024,
        <https://arxiv.org/abs/2406.02507>.
    """

    def guide(conditional: LogitsFn, tokens: Tensor, where: Tensor, progress: float) -> Tensor:
        now = scale(progress) if callable(scale) else scale
        if now == 1:
            return conditional(tokens, where)
        if now == 0:
            return unconditional(tokens, where)
        free, conditioned = unconditional(tokens, where), conditional(tokens, where)
        if free.shape != conditioned.shape:
            raise ValueError(
                "classifier_free_guidance: both models must return logits of one shape; "
                f"got {tuple(conditioned.shape)} and {tuple(free.shape)}"
            )
        mixed = torch.where(
            free == -torch.inf, conditioned if now > 1 else free, free + now * (conditioned - free)
        )
        return mixed.masked_fill(conditioned == -torch.inf, -torch.inf)

    return guide


@described
def self_guidance(perturb: Callable[[Tensor], Tensor], *, scale: Scale) -> Guidance:
    """Push a model away from what it says of tokens that were made worse.

    `classifier_free_guidance` with the same model, condition and all, as the weak one: it reads
    `perturb(tokens)`, such as tokens with some of the visible ones masked again, or smoothed. The
    places it is asked for stay masked.

    Args:
        perturb: From tokens `(batch, tokens)` to worse ones of the same shape.
        scale: As in `classifier_free_guidance`; at 1 there is no second forward.

    Returns:
        A rule for the `guidance` of `iterative_decode`.

    Example:
        >>> import torch
        >>> from ssltok.decoding import self_guidance
        >>> model = lambda tokens, where: torch.stack([tokens[:, 0].float(), torch.zeros(1)], 1)
        >>> rule = self_guidance(lambda tokens: tokens.masked_fill(tokens == 3, 1), scale=2.0)
        >>> rule(model, torch.tensor([[3, 4]]), torch.tensor([[False, True]]), 0.5)  # 2 * 3 - 1
        tensor([[5., 0.]])

    References:
        Hur et al., *Unlocking the capabilities of masked generative models for image synthesis
        via self-guidance*, 2024, <https://arxiv.org/abs/2410.13136>.
    """

    def guide(logits_fn: LogitsFn, tokens: Tensor, where: Tensor, progress: float) -> Tensor:
        def weak(tokens: Tensor, where: Tensor) -> Tensor:
            return logits_fn(torch.where(where, tokens, perturb(tokens)), where)

        return classifier_free_guidance(weak, scale=scale)(logits_fn, tokens, where, progress)

    return guide


@described
def rising_scale(scale: float) -> Callable[[float], float]:
    """Guide weakly early and strongly late: from 1 at progress 0 in a line to `scale` at 1.

    Args:
        scale: The scale at the end.

    Returns:
        A function of progress for the `scale` of `classifier_free_guidance`.

    Raises:
        TypeError: If the scale is not a number.

    Example:
        >>> from ssltok.decoding import rising_scale
        >>> rising_scale(3.0)(0.5)
        2.0

    References:
        Rojas et al., *Theory-informed improvements to classifier-free guidance for discrete
        diffusion models*, 2025, <https://arxiv.org/abs/2507.08965>.
    """
    check_number("rising_scale", "scale", scale)
    return lambda progress: 1 + (scale - 1) * progress


@described
def interval_scale(
    scale: float, *, start: float = 0.0, stop: float = 1.0
) -> Callable[[float], float]:
    """Guide in an interval of progress only; outside it the second forward is not made.

    Args:
        scale: The scale inside.
        start: Where the interval begins, in [0, 1], itself outside.
        stop: Where it ends, in [`start`, 1], itself inside.

    Returns:
        A function of progress for the `scale` of `classifier_free_guidance`.

    Raises:
        ValueError: If the interval leaves [0, 1] or ends before it begins.
        TypeError: If an option is not a number.

    Example:
        >>> from ssltok.decoding import interval_scale
        >>> scale = interval_scale(3.0, start=0.25, stop=0.75)
        >>> scale(0.25), scale(0.5), scale(0.75), scale(1.0)
        (1.0, 3.0, 3.0, 1.0)

    References:
        Kynkaanniemi et al., *Applying guidance in a limited interval improves sample and
        distribution quality in diffusion models*, 2024, <https://arxiv.org/abs/2404.07724>.
    """
    for name, number in (("scale", scale), ("start", start), ("stop", stop)):
        check_number("interval_scale", name, number)
    if not 0 <= start <= stop <= 1:
        raise ValueError(
            f"interval_scale: start and stop must lie in [0, 1], in this order; "
            f"got {start} and {stop}"
        )
    return lambda progress: scale if start < progress <= stop else 1.0
