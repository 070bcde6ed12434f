"""How many tokens a step keeps, as the model says and not the schedule: rules for `settle`."""

import math

import torch
from torch import Tensor

from ssltok._shared.checks import check_at_least, check_ratio
from ssltok._shared.described import described
from ssltok.decoding._iterative import DecodingState, Order, Settle
from ssltok.decoding._orders import entropies, of_rows

__all__ = [
    "confidence_factor",
    "confidence_threshold",
    "entropy_bound",
    "rule_schedule",
    "stable_prediction",
]


def rule_schedule(progress: Tensor | float) -> Tensor:
    """Leave the count to a `settle` rule: all may stay masked until the last step, none after it.

    `steps` is then the most forwards of a run, whatever the rule accepts. Any other schedule beside
    a rule is a slowest pace: at least so many are kept as it says, and more where the rule accepts
    more.

    Args:
        progress: In [0, 1], a number or a floating-point tensor of any shape.

    Returns:
        The share that may be masked: 1, and 0 at progress 1.

    Example:
        >>> import torch
        >>> from ssltok.decoding import rule_schedule
        >>> rule_schedule(torch.tensor([0.0, 0.5, 1.0]))
        tensor([1., 1., 0.])
    """
    progress = torch.as_tensor(progress)
    share: Tensor = (progress < 1).to(progress if progress.is_floating_point() else torch.float64)
    return share


def accept(state: DecodingState, accepted: Tensor) -> DecodingState:
    """Keep what was accepted of the tokens just drawn, and all that were settled before."""
    return state._replace(settled=~state.drawn | accepted)


def surest(state: DecodingState) -> Tensor:
    """The drawn token of each row that has the largest probability; the first of equal ones."""
    confidence = state.logprob.masked_fill(~state.drawn, -torch.inf)
    best = confidence.argmax(dim=-1, keepdim=True)
    return torch.zeros_like(state.drawn).scatter(-1, best, True) & state.drawn


@described
def entropy_bound(bound: float, *, order: Order | None = None) -> Settle:
    r"""Keep the tokens of least entropy while what they may owe each other stays bounded (EB).

    With the entropies of a row's masked places ascending, or in another order, the first $k$ are
    kept, $k$ the largest with

    $$\sum_{i \le k} H_i - \max_{i \le k} H_i \le \gamma.$$

    The left side bounds the mutual information of the tokens drawn at once. A bound of 0 keeps one
    token a step (besides those that are certain), an infinite one keeps all.

    Args:
        bound: $\gamma \ge 0$ in nats, such as the authors' 0.1; may be infinite.
        order: In which order places are taken, such as `confidence_order()`; the least entropy
            first by default.

    Returns:
        A rule for the `settle` of `iterative_decode`.

    Raises:
        ValueError: If the bound is negative.
        TypeError: If an option is not a number.

    Example:
        >>> from ssltok.decoding import entropy_bound
        >>> settle = entropy_bound(0.1)

    References:
        Ben-Hamu et al., *Accelerated sampling from masked diffusion models via entropy bounded
        unmasking*, 2025, <https://arxiv.org/abs/2505.24857>.
    """
    check_at_least("entropy_bound", "bound", bound, 0)

    def settle(state: DecodingState) -> DecodingState:
        entropy = of_rows(entropies(state.logits), state)
        first = -entropy if order is None else order(state).masked_fill(~state.drawn, -torch.inf)
        places = first.argsort(dim=-1, descending=True, stable=True)
        taken = entropy.gather(-1, places)
        most = torch.nn.functional.pad(taken.cummax(dim=-1).values, (1, 0))[:, :-1]
        before = torch.minimum(taken, most).cumsum(dim=-1)  # the sum without the largest
        accepted = torch.zeros_like(state.drawn).scatter(-1, places, before <= bound)
        return accept(state, accepted)

    return settle


@described
def confidence_threshold(threshold: float = 0.9) -> Settle:
    r"""Keep every token of probability $\tau$ or more, and always the surest (Fast-dLLM).

    The probability is that of the logits as the model (or the guidance) gave them.

    Args:
        threshold: $\tau$ in [0, 1]; the authors use 0.9.

    Returns:
        A rule for the `settle` of `iterative_decode`.

    Raises:
        ValueError: If the threshold leaves [0, 1].
        TypeError: If an option is not a number.

    Example:
        >>> from ssltok.decoding import confidence_threshold
        >>> settle = confidence_threshold(0.9)

    References:
        Wu et al., *Fast-dLLM*, 2025, <https://arxiv.org/abs/2505.22618>, section 3.3.
    """
    check_ratio("confidence_threshold", "threshold", threshold)
    least = math.log(threshold) if threshold > 0 else -math.inf

    def settle(state: DecodingState) -> DecodingState:
        return accept(state, (state.logprob >= least) | surest(state))

    return settle


@described
def confidence_factor(factor: float) -> Settle:
    r"""Keep the surest $k$ tokens, the more the surer they are, and always one (Fast-dLLM).

    With the confidences of a row's drawn tokens descending, $k$ is the largest with
    $(k + 1) (1 - c_{(k)}) < f$.

    Args:
        factor: $f \ge 0$; 0 keeps one token a step, infinity keeps all.

    Returns:
        A rule for the `settle` of `iterative_decode`.

    Raises:
        ValueError: If the factor is negative.
        TypeError: If an option is not a number.

    Example:
        >>> from ssltok.decoding import confidence_factor
        >>> settle = confidence_factor(1.0)

    References:
        Wu et al., *Fast-dLLM*, 2025, <https://arxiv.org/abs/2505.22618>, section 3.3.
    """
    check_at_least("confidence_factor", "factor", factor, 0)

    def settle(state: DecodingState) -> DecodingState:
        doubt = (-state.logprob.expm1()).masked_fill(~state.drawn, torch.inf)
        ascending, places = doubt.sort(dim=-1, stable=True)
        ranks = torch.arange(1, doubt.shape[-1] + 1, device=doubt.device)
        fits = (ranks + 1) * ascending < factor
        return accept(state, torch.zeros_like(fits).scatter(-1, places, fits) | surest(state))

    return settle


@described
def stable_prediction(
    *, divergence: float = 0.01, threshold: float = 0.9, steps: int = 2
) -> Settle:
    r"""Keep tokens that are sure and whose prediction no longer moves, or the surest (KLASS).

    A token is kept if $D_{KL}(p_i^t \,\|\, p_i^{t-1}) < \epsilon$ in this and the steps before it,
    `steps` of them in a row, and its probability exceeds $\tau$; where a row has none such, its
    surest token is kept.

    Args:
        divergence: $\epsilon > 0$ in nats; the authors use 0.01 for most tasks.
        threshold: $\tau$ in [0, 1]; the authors use 0.9.
        steps: How many comparisons in a row must be that small, at least 1.

    Returns:
        A rule for the `settle` of `iterative_decode`.

    Raises:
        ValueError: If an option is out of range.
        TypeError: If an option is not a number.

    Example:
        >>> from ssltok.decoding import stable_prediction
        >>> settle = stable_prediction(divergence=0.01, threshold=0.9)

    References:
        Kim et al., *KLASS: KL-guided fast inference in masked diffusion models*, 2025,
        <https://arxiv.org/abs/2511.05664>.
    """
    check_at_least("stable_prediction", "divergence", divergence, 0)
    check_ratio("stable_prediction", "threshold", threshold)
    check_at_least("stable_prediction", "steps", steps, 1)
    least = math.log(threshold) if threshold > 0 else -math.inf

    def settle(state: DecodingState) -> DecodingState:
        memory: dict[str, Tensor] = {} if state.memory is None else state.memory
        now = state.logits.float().log_softmax(dim=-1)
        unseen = now.new_full((*state.drawn.shape, now.shape[-1]), torch.nan)
        last = memory.get("prediction", unseen)[state.drawn]
        moved = torch.where(now.exp() > 0, now.exp() * (now - last), 0.0).sum(dim=-1)
        known = ~last.isnan().any(dim=-1)
        still = of_rows(torch.where(known, moved, torch.inf), state) < divergence
        calm = torch.where(still, memory.get("calm", torch.zeros_like(state.tokens)) + 1, 0)
        memory["calm"], memory["prediction"] = calm, unseen
        unseen[state.drawn] = now
        stable = (calm >= steps) & (state.logprob > least) & state.drawn
        return accept(state, stable | (surest(state) & ~stable.any(dim=-1, keepdim=True)))

    return settle
