"""Which tokens to keep: each rule gives a priority, and the lowest are masked again."""

from collections.abc import Callable

import torch
from torch import Tensor

from ssltok._shared.checks import check_at_least, check_axes
from ssltok._shared.described import described
from ssltok.decoding._iterative import DecodingState, Order

__all__ = ["confidence_order", "entropy_order", "fixed_order", "margin_order", "random_order"]


def gumbel(like: Tensor, generator: torch.Generator | None) -> Tensor:
    """Draw standard Gumbel noise, minus the logarithm of an exponential variable.

    The usual double logarithm of a uniform fp32 number cannot exceed 16.6 and is coarse there,
    which lowers the temperature it stands for; exponential variables are fine near zero.
    """
    race = torch.empty_like(like).exponential_(generator=generator)
    return -race.clamp_min(torch.finfo(race.dtype).tiny).log()


def noisy(priority: Tensor, tau: float, generator: torch.Generator | None) -> Tensor:
    """Add Gumbel noise; however hot, the sum stays finite, since infinity means "stays"."""
    most = torch.finfo(priority.dtype).max
    noise = (tau * gumbel(priority, generator)).clamp(-most, most)
    return (priority + noise).clamp(-most, most)


def only_drawn(priority: Tensor, state: DecodingState) -> Tensor:
    """Let the tokens fixed in earlier steps stay."""
    return priority.masked_fill(~state.drawn, torch.inf)


def of_rows(rows: Tensor, state: DecodingState) -> Tensor:
    """Place a number for each row of logits where its token is; infinity elsewhere."""
    full = torch.full(state.tokens.shape, torch.inf, dtype=rows.dtype, device=rows.device)
    return full.masked_scatter(state.drawn, rows)


def entropies(logits: Tensor) -> Tensor:
    """Return the entropy of each row in nats, in fp32; a code of probability 0 adds nothing."""
    logprobs = logits.float().log_softmax(dim=-1)
    return -(logprobs.exp() * logprobs).nan_to_num(nan=0.0).sum(dim=-1)


def check_permutation(who: str, places: Tensor) -> None:
    """Ask for every token position once; waits for the device, when a rule is built."""
    check_axes(who, "places", places, "tokens")
    if places.dtype != torch.int64:
        raise ValueError(f"{who}: places must be int64; got {places.dtype}")
    if not torch.equal(places.sort().values, torch.arange(len(places)).to(places)):
        raise ValueError(
            f"{who}: places must be a permutation of 0 to {len(places) - 1}; "
            f"got {places.unique().numel()} different ones from {int(places.min())} "
            f"to {int(places.max())}"
        )


@described
def confidence_order(*, temperature: float | Callable[[float], float] = 4.5) -> Order:
    r"""Keep the tokens that the model was surest of, up to noise that dies out (MaskGIT).

    The priority of a token $\hat s_i$ drawn at progress $r$ is
    $\log p(\hat s_i) + \tau (1 - r) \, g_i$ with Gumbel noise $g_i$. The probability is that of
    the logits as the model (or the guidance) gave them, before temperature, top-k or top-p.

    Args:
        temperature: $\tau \ge 0$; MaskGIT's configuration has 4.5, TimeVQVAE 4 or 10; 0 ranks by
            confidence alone and draws no noise. A function of progress replaces the whole factor
            $\tau (1 - r)$.

    Returns:
        A rule for the `order` of `iterative_decode`.

    Raises:
        ValueError: If the temperature is negative.
        TypeError: If an option is not a number.

    Example:
        >>> from ssltok.decoding import confidence_order
        >>> order = confidence_order(temperature=0.0)

    References:
        Chang et al., *MaskGIT*, 2022, <https://arxiv.org/abs/2202.04200>, section 3.2.
    """
    if not callable(temperature):
        check_at_least("confidence_order", "temperature", temperature, 0)

    def order(state: DecodingState) -> Tensor:
        if callable(temperature):
            tau = temperature(state.progress)
        else:
            tau = temperature * (1 - state.progress)
        priority = state.logprob
        if tau != 0:
            priority = noisy(priority, tau, state.generator)
        return only_drawn(priority, state)

    return order


@described
def random_order() -> Order:
    """Keep tokens uniformly at random: any-order decoding, as of masked diffusion (MDLM).

    The number kept follows the schedule exactly, where MDLM flips a coin for each token. With as
    many steps as tokens and a model of the true conditionals the samples are exact.

    Returns:
        A rule for the `order` of `iterative_decode`.

    Example:
        >>> from ssltok.decoding import random_order
        >>> order = random_order()

    References:
        Sahoo et al., *Simple and effective masked diffusion language models*, 2024,
        <https://arxiv.org/abs/2406.07524>.
    """

    def order(state: DecodingState) -> Tensor:
        noise = torch.empty_like(state.logprob).uniform_(generator=state.generator)
        return only_drawn(noise, state)

    return order


@described
def fixed_order(places: Tensor) -> Order:
    """Keep tokens in an order given beforehand, whatever they are.

    `fixed_order(torch.arange(tokens))` decodes from left to right;
    `fixed_order(halton_places(grid))` spreads the tokens over the grid.

    Args:
        places: A permutation of the token positions, `(tokens,)`, int64: first the one to keep
            first.

    Returns:
        A rule for the `order` of `iterative_decode`.

    Raises:
        ValueError: If `places` is not `(tokens,)`, not int64 or no permutation.
        TypeError: If an input is not a tensor.

    Example:
        >>> import torch
        >>> from ssltok.decoding import fixed_order
        >>> order = fixed_order(torch.arange(16))

    References:
        Besnier et al., *Halton scheduler for masked generative image transformer*, 2025,
        <https://arxiv.org/abs/2503.17076>.
    """
    check_permutation("fixed_order", places)
    ranks = torch.empty_like(places).scatter_(0, places, torch.arange(len(places)).to(places))

    def order(state: DecodingState) -> Tensor:
        if state.tokens.shape[-1] != len(ranks):
            raise ValueError(
                f"fixed_order: places must list every token; "
                f"got {len(ranks)} places for {state.tokens.shape[-1]} tokens"
            )
        priority = -ranks.to(device=state.logprob.device, dtype=state.logprob.dtype)
        return only_drawn(priority.expand_as(state.logprob), state)

    return order


@described
def entropy_order() -> Order:
    r"""Keep first the tokens whose distribution $-\sum_k p_k \log p_k$ has the least entropy.

    Returns:
        A rule for the `order` of `iterative_decode`.

    Example:
        >>> from ssltok.decoding import entropy_order
        >>> order = entropy_order()

    References:
        Ben-Hamu et al., *Accelerated sampling from masked diffusion models via entropy bounded
        unmasking*, 2025, <https://arxiv.org/abs/2505.24857>.
    """

    def order(state: DecodingState) -> Tensor:
        return of_rows(-entropies(state.logits), state)

    return order


@described
def margin_order() -> Order:
    """Keep first the tokens whose two most probable codes are furthest apart in probability.

    Returns:
        A rule for the `order` of `iterative_decode`.

    Example:
        >>> from ssltok.decoding import margin_order
        >>> order = margin_order()

    References:
        Kim et al., *Train for the worst, plan for the best*, 2025,
        <https://arxiv.org/abs/2502.06768>.
    """

    def order(state: DecodingState) -> Tensor:
        probs = state.logits.float().softmax(dim=-1)
        best = probs.topk(min(2, probs.shape[-1]), dim=-1).values
        return of_rows(best[:, 0] - best[:, -1] if best.shape[-1] > 1 else best[:, 0], state)

    return order
