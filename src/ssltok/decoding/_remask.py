"""Changing one's mind: orders that mask again tokens fixed in earlier steps."""

from collections.abc import Callable

import torch
from torch import Tensor

from ssltok._shared.checks import check_at_least, check_ratio
from ssltok._shared.described import described
from ssltok.decoding._iterative import DecodingState, Order
from ssltok.decoding._orders import noisy

__all__ = [
    "RemaskProbability",
    "cap_remask",
    "confidence_remask",
    "critic_order",
    "remask_order",
    "rescale_remask",
]

RemaskProbability = Callable[[DecodingState], Tensor]
"""From the state to the probability that a token fixed earlier is masked again, broadcastable."""


@described
def remask_order(order: Order, *, probability: RemaskProbability) -> Order:
    r"""Mask again each token fixed earlier with a probability, and rank the others (ReMDM).

    The number masked after the step stays what the schedule says: a token masked again takes the
    place of one drawn in this step, which is kept instead. That is ReMDM's posterior with exact
    counts in place of independent coins. Given tokens are never masked.

    Args:
        order: Rule for the tokens drawn in this step, such as `random_order()` (ReMDM).
        probability: $\sigma_t$, such as `cap_remask(eta=0.008)`.

    Returns:
        A rule for the `order` of `iterative_decode`.

    Raises:
        ValueError: In a run, if the order returns another shape.

    Example:
        >>> from ssltok.decoding import cap_remask, random_order, remask_order
        >>> order = remask_order(random_order(), probability=cap_remask(eta=0.02))

    References:
        Wang et al., *Remasking discrete diffusion models with inference-time scaling*, 2025,
        <https://arxiv.org/abs/2503.00307>.
    """

    def revised(state: DecodingState) -> Tensor:
        coin = torch.empty_like(state.logprob).uniform_(generator=state.generator)
        again = ~state.given & ~state.drawn & (coin < probability(state))
        noise = torch.empty_like(state.logprob).uniform_(generator=state.generator)
        most = torch.finfo(state.logprob.dtype).max
        priority = order(state)
        if priority.shape != noise.shape:
            raise ValueError(
                f"remask_order: order must return shape {tuple(noise.shape)}; "
                f"got {tuple(priority.shape)}"
            )
        return torch.where(again, -most * (0.5 + 0.5 * noise), priority.to(noise))

    return revised


@described
def cap_remask(*, eta: float) -> RemaskProbability:
    r"""Re-mask with probability $\min(\eta, (1 - \alpha_s) / \alpha_t)$.

    $\alpha_t$ is the share known before the step and $\alpha_s$ the share known after it.

    Args:
        eta: $\eta$ in [0, 1]; the authors' scripts use 0.008.

    Returns:
        A rule for the `probability` of `remask_order`.

    Raises:
        ValueError: If `eta` leaves [0, 1].
        TypeError: If an option is not a number.

    Example:
        >>> from ssltok.decoding import cap_remask
        >>> probability = cap_remask(eta=0.008)

    References:
        Wang et al., *Remasking discrete diffusion models with inference-time scaling*, 2025,
        <https://arxiv.org/abs/2503.00307>; the authors' code.
    """
    check_ratio("cap_remask", "eta", eta)
    return lambda state: torch.tensor(min(eta, largest(state)), device=state.logprob.device)


@described
def rescale_remask(*, eta: float) -> RemaskProbability:
    r"""Re-mask with probability $\eta \min(1, (1 - \alpha_s) / \alpha_t)$.

    Args:
        eta: $\eta$ in [0, 1]; the authors' scripts use 0.015.

    Returns:
        A rule for the `probability` of `remask_order`.

    Raises:
        ValueError: If `eta` leaves [0, 1].
        TypeError: If an option is not a number.

    Example:
        >>> from ssltok.decoding import rescale_remask
        >>> probability = rescale_remask(eta=0.015)

    References:
        Wang et al., *Remasking discrete diffusion models with inference-time scaling*, 2025,
        <https://arxiv.org/abs/2503.00307>; the authors' code.
    """
    check_ratio("rescale_remask", "eta", eta)
    return lambda state: torch.tensor(eta * largest(state), device=state.logprob.device)


def largest(state: DecodingState) -> float:
    """Return the largest probability that leaves the schedule's share reachable."""
    known = 1 - state.share_before
    return min(1.0, state.share_after / known) if known > 0 else 0.0


@described
def confidence_remask(probability: RemaskProbability) -> RemaskProbability:
    r"""Share a re-masking probability out, more to the tokens that were less probable.

    Token $i$ gets $\sigma \, n \, \mathrm{softmax}_i(-p_i)$ over the $n$ tokens of its row that
    may be masked again, $p_i$ its probability when it was drawn; so the mean stays $\sigma$ (up to
    the bound of 1). Departure: ReMDM leaves out the factor $n$.

    Args:
        probability: $\sigma$, such as `rescale_remask(eta=0.015)`.

    Returns:
        A rule for the `probability` of `remask_order`.

    Example:
        >>> from ssltok.decoding import confidence_remask, rescale_remask
        >>> probability = confidence_remask(rescale_remask(eta=0.015))

    References:
        Wang et al., *Remasking discrete diffusion models with inference-time scaling*, 2025,
        <https://arxiv.org/abs/2503.00307>; the authors' code.
    """

    def shared(state: DecodingState) -> Tensor:
        fixed = ~state.given & ~state.drawn
        doubt = (-state.logprob.exp()).masked_fill(~fixed, -torch.inf)
        weights = doubt.softmax(dim=-1).nan_to_num(nan=0.0)
        return (probability(state) * weights * fixed.sum(dim=-1, keepdim=True)).clamp(max=1)

    return shared


@described
def critic_order(critic: Callable[[Tensor], Tensor], *, temperature: float = 0.0) -> Order:
    r"""Keep the tokens that a critic finds real, of all that were not given (Token-Critic).

    The critic sees every row complete, with the tokens just drawn, and may condemn a token fixed
    in an earlier step. `self_token_critic` makes one of the model itself.

    Args:
        critic: From tokens `(batch, tokens)` to scores of that shape, high where real.
        temperature: $\tau \ge 0$; noise $\tau (1 - r) \, g$ is added, $g$ standard Gumbel.

    Returns:
        A rule for the `order` of `iterative_decode`.

    Raises:
        ValueError: If the temperature is negative, or the critic returns another shape.
        TypeError: If an option is not a number.

    Example:
        >>> from ssltok.decoding import critic_order
        >>> order = critic_order(lambda tokens: tokens.float())

    References:
        Lezama et al., *Improved masked image generation with Token-Critic*, 2022,
        <https://arxiv.org/abs/2209.04439>.
    """
    check_at_least("critic_order", "temperature", temperature, 0)

    def order(state: DecodingState) -> Tensor:
        scores = critic(state.tokens)
        if scores.shape != state.tokens.shape:
            raise ValueError(
                f"critic_order: critic must return shape {tuple(state.tokens.shape)}; "
                f"got {tuple(scores.shape)}"
            )
        scores = scores.float()
        if temperature > 0:
            scores = noisy(scores, temperature * (1 - state.progress), state.generator)
        return scores

    return order
