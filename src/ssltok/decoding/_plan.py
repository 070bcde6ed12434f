"""Planning and looping: all tokens ranked anew (P2), and ReMDM's ready-made ways to mask again."""

from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor

from ssltok._shared.checks import check_at_least, check_number, check_ratio
from ssltok._shared.described import described
from ssltok.decoding._iterative import DecodingState, Order
from ssltok.decoding._remask import RemaskProbability

__all__ = ["RemaskLoop", "forward_backward_remask", "planning_order", "remask_loop"]


@described
def planning_order(*, eta: float = 1.0, planner: Callable[[Tensor], Tensor] | None = None) -> Order:
    r"""Rank tokens drawn now and tokens settled before together, and keep the best (P2).

    A token drawn now has its probability $p_i$, one settled before $\eta \, s_i$; the lowest are
    masked again. $\eta$ multiplies probabilities (public code multiplies their logarithms, which
    turns its effect around).

    Args:
        eta: $\eta \ge 0$: 0 takes back settled tokens first, infinity never (MaskGIT).
        planner: From complete tokens `(batch, tokens)` to log-probabilities of that shape, which
            give $s_i$, such as `self_token_critic(...)`; by default the probability a token had
            when it was drawn.

    Returns:
        A rule for the `order` of `iterative_decode`.

    Raises:
        ValueError: If `eta` is negative, or the planner returns another shape.
        TypeError: If an option is not a number.

    Example:
        >>> from ssltok.decoding import planning_order
        >>> order = planning_order(eta=0.8)

    References:
        Peng et al., *Path planning for masked diffusion model sampling*, 2025,
        <https://arxiv.org/abs/2502.03540>.
    """
    check_at_least("planning_order", "eta", eta, 0)

    def order(state: DecodingState) -> Tensor:
        settled = state.logprob if planner is None else planner(state.tokens)
        if settled.shape != state.tokens.shape:
            raise ValueError(
                f"planning_order: planner must return shape {tuple(state.tokens.shape)}; "
                f"got {tuple(settled.shape)}"
            )
        if eta == torch.inf:
            return state.logprob.exp().masked_fill(~state.drawn, torch.inf)
        return torch.where(state.drawn, state.logprob.exp(), eta * settled.float().exp())

    return order


@described
def forward_backward_remask() -> RemaskProbability:
    r"""Re-mask as one step back, one of noise and one step back again would.

    A step back unmasks a masked token with probability $u = (\alpha_s - \alpha_t) /
    (1 - \alpha_t)$, noise masks one with $1 - \alpha_t / \alpha_s$. Of the tokens known at first,
    a share $\sigma = (1 - \alpha_t / \alpha_s) (1 - u)$ is masked after the three, and the share
    of all that is known is $\alpha_s$, as the schedule says.

    Returns:
        A rule for the `probability` of `remask_order`.

    Example:
        >>> from ssltok.decoding import forward_backward_remask, random_order, remask_order
        >>> order = remask_order(random_order(), probability=forward_backward_remask())

    References:
        Campbell et al., *A continuous time framework for discrete denoising models*, 2022,
        <https://arxiv.org/abs/2205.14987>, section 4.4; as a case of ReMDM: Wang et al., 2025,
        <https://arxiv.org/abs/2503.00307>.
    """

    def probability(state: DecodingState) -> Tensor:
        before, after = state.share_before, state.share_after
        noise = 1 - (1 - before) / (1 - after) if after < 1 else 0.0
        left = after / before if before > 0 else 0.0
        return torch.tensor(max(0.0, noise * left), device=state.logprob.device)

    return probability


class RemaskLoop(NamedTuple):
    """Two rules that were made together.

    Attributes:
        schedule: For `iterative_decode`.
        probability: For `remask_order`.
    """

    schedule: Callable[[Tensor], Tensor]
    probability: RemaskProbability


def remask_loop(
    *, eta: float = 0.02, share: float = 0.1, start: float = 0.45, stop: float = 0.95
) -> RemaskLoop:
    r"""Decode to a small share masked, wander there, then finish (ReMDM-loop).

    The share masked falls in a line from 1 to `share` at progress `start`, stays until `stop`, and
    falls to 0. While it stays, every settled token is masked again with probability $\eta$, and as
    many others are kept; before and after none is.

    Args:
        eta: $\eta$ in [0, 1]; the authors use 0.02.
        share: Share masked during the loop, in (0, 1).
        start: Progress at which the loop begins, in (0, 1).
        stop: Progress at which it ends, in (`start`, 1).

    Returns:
        Schedule and probability. The defaults are the authors' $\alpha_{on} = 0.9$,
        $t_{on} = 0.55$, $t_{off} = 0.05$.

    Raises:
        ValueError: If an option is out of range.
        TypeError: If an option is not a number.

    Example:
        >>> import torch
        >>> from ssltok.decoding import random_order, remask_loop, remask_order
        >>> loop = remask_loop(eta=0.05, share=0.2, start=0.5, stop=0.75)
        >>> order = remask_order(random_order(), probability=loop.probability)
        >>> loop.schedule(torch.tensor([0.0, 0.25, 0.5, 0.75, 1.0]))
        tensor([1.0000, 0.6000, 0.2000, 0.2000, 0.0000])

    References:
        Wang et al., *Remasking discrete diffusion models with inference-time scaling*, 2025,
        <https://arxiv.org/abs/2503.00307>, section 4.2.
    """
    check_ratio("remask_loop", "eta", eta)
    for name, low, value, high in (
        ("share", 0.0, share, 1.0), ("start", 0.0, start, 1.0), ("stop", start, stop, 1.0)
    ):  # fmt: skip
        check_number("remask_loop", name, value)
        if not low < value < high:
            raise ValueError(f"remask_loop: {name} must lie in ({low}, {high}); got {value}")

    def schedule(progress: Tensor) -> Tensor:
        falling = 1 - (1 - share) * progress / start
        ending = share * (1 - progress) / (1 - stop)
        return torch.maximum(falling, torch.clamp(ending, max=share))

    def probability(state: DecodingState) -> Tensor:
        inside = start < state.progress <= stop
        return torch.tensor(eta if inside else 0.0, device=state.logprob.device)

    return RemaskLoop(schedule, probability)
