"""Choose, then sample: MaskGIT's implicit temperature made explicit (the moment sampler)."""

from collections.abc import Callable

import torch
from torch import Tensor

from ssltok._shared.checks import check_at_least
from ssltok._shared.described import described
from ssltok.decoding._iterative import DecodingState, Order, Sample
from ssltok.decoding._orders import gumbel, of_rows
from ssltok.decoding._sample import temperature_sample

__all__ = ["moment_order", "moment_sample"]

Temperature = float | Callable[[float], float]


@described
def moment_order(*, temperature: Temperature = 4.5) -> Order:
    r"""Choose places before their tokens, by Gumbel-top-k on a moment of their distributions.

    Confidence with noise $\alpha g$ on tokens drawn from $p_i$ (MaskGIT) is, where few of many
    places are kept, the same as to choose place $i$ with weight $\sum_x p_i(x)^\beta$, without
    replacement, and then to draw its token from $p_i^\beta$ normalised,
    $\beta = 1 + 1 / \alpha$. The priority here is $\log \sum_x p_i(x)^\beta + g_i$ over $\beta$,
    which does not look at the tokens; use `moment_sample` of the same temperature beside it.

    Args:
        temperature: $\tau \ge 0$, from which $\alpha = \tau (1 - r)$ at progress $r$; a function
            of progress replaces $\alpha$.

    Returns:
        A rule for the `order` of `iterative_decode`.

    Raises:
        ValueError: If the temperature is negative.
        TypeError: If an option is not a number.

    Example:
        >>> from ssltok.decoding import moment_order, moment_sample
        >>> order, sample = moment_order(temperature=4.0), moment_sample(temperature=4.0)

    References:
        Hayakawa et al., *Demystifying MaskGIT sampler and beyond*, 2025,
        <https://arxiv.org/abs/2510.04525>.
    """
    alpha = alpha_of("moment_order", temperature)

    def order(state: DecodingState) -> Tensor:
        cold = inverse_beta(alpha(state.progress))
        logprobs = state.logits.float().log_softmax(dim=-1)
        if cold == 0:
            return of_rows(logprobs.amax(dim=-1), state)
        moments = cold * (logprobs / cold).logsumexp(dim=-1)
        return of_rows(moments + cold * gumbel(moments, state.generator), state)

    return order


@described
def moment_sample(*, temperature: Temperature = 4.5) -> Sample:
    r"""Draw from $p^\beta$ normalised, $\beta = 1 + 1 / \alpha$: the partner of `moment_order`.

    In the last step, where every place stays and nothing is chosen, MaskGIT draws from $p$ itself;
    so does this.

    Args:
        temperature: As in `moment_order`.

    Returns:
        A rule for the `sample` of `iterative_decode`.

    Raises:
        ValueError: If the temperature is negative.
        TypeError: If an option is not a number.

    Example:
        >>> from ssltok.decoding import moment_sample
        >>> sample = moment_sample(temperature=lambda progress: 4.0)  # draws from p to the 1.25

    References:
        Hayakawa et al., *Demystifying MaskGIT sampler and beyond*, 2025,
        <https://arxiv.org/abs/2510.04525>.
    """
    alpha = alpha_of("moment_sample", temperature)
    drawing = temperature_sample(
        temperature=lambda progress: 1.0 if progress == 1 else inverse_beta(alpha(progress))
    )
    return lambda logits, progress, generator: drawing(logits, progress, generator)


def alpha_of(who: str, temperature: Temperature) -> Callable[[float], float]:
    """From progress to the noise of MaskGIT's order."""
    if callable(temperature):
        return temperature
    check_at_least(who, "temperature", temperature, 0)
    tau = float(temperature)
    return lambda progress: tau * (1 - progress)


def inverse_beta(alpha: float) -> float:
    """One over beta = 1 + 1 / alpha: 0 at 0 and 1 at infinity."""
    check_at_least("moment_order", "temperature", alpha, 0)
    return 1.0 if alpha == torch.inf else alpha / (1 + alpha)
