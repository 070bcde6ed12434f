"""What token to draw: temperature, top-k and top-p, without a distribution object."""

from collections.abc import Callable

import torch
from torch import Tensor

from ssltok._shared.checks import check_at_least, check_axes, check_number
from ssltok._shared.described import described
from ssltok.decoding._inversion_fast import invert
from ssltok.decoding._iterative import Drawn, Sample

__all__ = ["log_probability", "temperature_sample"]

COLD = 1e-3


@described
def temperature_sample(
    *,
    temperature: float | Callable[[float], float] = 1.0,
    top_k: int | None = None,
    top_p: float = 1.0,
) -> Sample:
    r"""Make a rule that draws from $\mathrm{softmax}(\text{logits} / \tau)$, perhaps truncated.

    The draw inverts the cumulative distribution with one uniform number per row, in fp32 or
    better. At temperature 0 the most probable code is taken. Top-k keeps exactly the `top_k` most
    probable codes, also under ties; top-p keeps the fewest that reach a mass of `top_p`, among
    those of top-k, the crossing one included. A code of logit -inf is never drawn. A row that has
    no distribution (NaN, +inf, or nothing but -inf) gives -1 and a log-probability that is not
    finite, at which `iterative_decode` raises.

    Args:
        temperature: $\tau \ge 0$, or a function of progress in (0, 1] that returns it.
        top_k: How many codes to keep, at least 1; all by default.
        top_p: Mass to keep, in (0, 1].

    Returns:
        A rule from logits `(rows, codebook_size)`, progress and generator to `Drawn` tokens.

    Raises:
        ValueError: If an option is out of range.
        TypeError: If an option is not a number.

    Example:
        >>> import torch
        >>> from ssltok.decoding import temperature_sample
        >>> logits = torch.tensor([[3.0, 1.0, 2.0], [0.0, 9.0, 0.0]])
        >>> temperature_sample(temperature=0.0)(logits, 1.0, None).tokens
        tensor([0, 1])
        >>> temperature_sample(top_k=1)(logits, 1.0, None).tokens
        tensor([0, 1])

    References:
        Holtzman et al., *The curious case of neural text degeneration*, 2019,
        <https://arxiv.org/abs/1904.09751>, equation 2.
    """
    if not callable(temperature):
        check_at_least("temperature_sample", "temperature", temperature, 0)
    if top_k is not None:
        check_at_least("temperature_sample", "top_k", top_k, 1)
    check_number("temperature_sample", "top_p", top_p)
    if not 0 < top_p <= 1:
        raise ValueError(f"temperature_sample: top_p must lie in (0, 1]; got {top_p}")

    def sample(logits: Tensor, progress: float, generator: torch.Generator | None) -> Drawn:
        tau = temperature(progress) if callable(temperature) else temperature
        check_at_least("temperature_sample", "temperature", tau, 0)
        scaled = logits if logits.dtype == torch.float64 else logits.float()
        if tau == 0:
            return possible(scaled.argmax(dim=-1), logits)
        if tau < COLD:  # a quotient beyond the largest number would be no distribution
            scaled = scaled - scaled.amax(dim=-1, keepdim=True)
        if tau != 1:
            scaled = scaled / max(tau, torch.finfo(scaled.dtype).tiny)
        if top_k is None and top_p == 1:
            probs = scaled.softmax(dim=-1)
            tokens = invert(probs, generator)
            if tau == 1:
                logprob = probs.gather(-1, tokens[:, None])[:, 0].log().float()
                return Drawn(tokens.where(logprob > -torch.inf, -1), logprob)
            return possible(tokens, logits)
        count = min(top_k or logits.shape[-1], logits.shape[-1])
        scaled, codes = scaled.topk(count, dim=-1)
        probs = scaled.softmax(dim=-1)
        before = probs.cumsum(dim=-1) - probs
        place = invert(probs.masked_fill(before >= top_p, 0.0), generator)
        return possible(codes.gather(-1, place[:, None])[:, 0], logits)

    return sample


def possible(tokens: Tensor, logits: Tensor) -> Drawn:
    """Pair tokens with their log-probabilities; -1 where a row has no distribution."""
    logprob = log_probability(logits, tokens)
    return Drawn(tokens.where(logprob.isfinite(), -1), logprob)


def log_probability(logits: Tensor, tokens: Tensor) -> Tensor:
    r"""Return $\log p$ of one token for each row of logits, in fp32.

    Args:
        logits: `(rows, codebook_size)`, floating point.
        tokens: `(rows,)`, int64.

    Returns:
        The log-probabilities, `(rows,)`.

    Raises:
        ValueError: If the shapes do not fit.
        TypeError: If an input is not a tensor.

    Example:
        >>> import torch
        >>> from ssltok.decoding import log_probability
        >>> log_probability(torch.zeros(1, 2), torch.tensor([1]))  # ln 1/2
        tensor([-0.6931])
    """
    check_axes("log_probability", "logits", logits, "rows codebook_size")
    if tokens.shape != logits.shape[:1]:
        raise ValueError(
            "log_probability: tokens must be one for each row of logits; "
            f"got {tuple(tokens.shape)} for {tuple(logits.shape)}"
        )
    logits = logits.float()
    return logits.gather(-1, tokens[:, None])[:, 0] - logits.logsumexp(dim=-1)
