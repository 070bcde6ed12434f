"""A model that looks at its own tokens again: what it learns for that, and how it is used."""

import torch
from torch import Tensor
from torch.nn import functional

from ssltok._shared.checks import check_at_least, check_bool_mask, check_codes, check_same_shape
from ssltok._shared.described import described
from ssltok._shared.numerics import upcast
from ssltok.decoding._iterative import (
    DecodingState,
    LogitsFn,
    Sample,
    Settle,
    check_drawn,
    check_logits,
)

__all__ = ["corrector", "quality_loss", "self_correction_loss"]


def quality_loss(scores: Tensor, tokens: Tensor, truth: Tensor, where: Tensor) -> Tensor:
    r"""Teach a head to say which tokens of a draft are right (PRISM).

    $$-\frac{1}{|D|} \sum_{i \in D} \log q_i^{[y_i = x_i]} (1 - q_i)^{[y_i \ne x_i]}, \qquad
      q_i = \mathrm{sigmoid}(\text{score}_i)$$

    over the places $D$ that the draft $y$ drew. Its minimum is
    $q_i = \Pr[x_i = y_i \mid y \text{ with } i \text{ masked}]$. A linear map of the prior's
    features is a head: `head(prior.features(tokens)).squeeze(-1)`; the same function is then the
    critic of `critic_order`.

    Args:
        scores: `(batch, tokens)`, floating point, of the draft as the model sees it: with the
            tokens of `where` drawn by the model in one step, and perhaps others still masked.
        tokens: `(batch, tokens)`, int64, the draft $y$.
        truth: `(batch, tokens)`, int64, the codes $x$.
        where: `(batch, tokens)`, boolean, the places $D$ that were drawn.

    Returns:
        The loss, a scalar; 0 where no place was drawn.

    Raises:
        ValueError: If shapes or dtypes do not fit.
        TypeError: If an input is not a tensor.

    Example:
        >>> import torch
        >>> from ssltok.decoding import quality_loss
        >>> scores = torch.zeros(1, 3)  # a coin: ln 2
        >>> draft, truth = torch.tensor([[0, 1, 1]]), torch.tensor([[0, 1, 0]])
        >>> quality_loss(scores, draft, truth, torch.tensor([[True, False, True]]))
        tensor(0.6931)

    References:
        Kim et al., *Fine-tuning masked diffusion for provable self-correction* (PRISM), 2025,
        <https://arxiv.org/abs/2510.01384>.
    """
    check_codes("quality_loss", "tokens", tokens)
    check_codes("quality_loss", "truth", truth)
    check_same_shape("quality_loss", "scores and tokens", scores, tokens)
    check_same_shape("quality_loss", "truth and tokens", truth, tokens)
    check_bool_mask("quality_loss", "where", where, tokens.shape)
    asked = upcast(scores[where])
    right = (tokens == truth)[where].to(asked)
    summed = functional.binary_cross_entropy_with_logits(asked, right, reduction="sum")
    return summed / where.sum().clamp(min=1)


def self_correction_loss(
    logits_fn: LogitsFn, codes: Tensor, where: Tensor, *, mask_index: int
) -> Tensor:
    r"""Ask a model for the truth where its own guess stands (ProSeCo).

    The model fills the places `where` with its most probable codes; given those, not masks, it is
    asked for the true code of every place, filled or not. The guess is not differentiated. In
    training this is added to the loss of the masked places, with ProSeCo's weight of the noise
    level or none; it teaches what `corrector` asks for at sampling.

    Args:
        logits_fn: The model in training, as of `iterative_decode`.
        codes: `(batch, tokens)`, int64, the truth; -1 is padding.
        where: `(batch, tokens)`, boolean, the places that are masked in this step of training.
        mask_index: The index of `[MASK]`, which equals the size of the codebook.

    Returns:
        The mean cross-entropy over all tokens but padding, a scalar.

    Raises:
        ValueError: If shapes or dtypes do not fit, also of what the model returns.
        TypeError: If an input is not a tensor.

    Example:
        >>> import torch
        >>> from ssltok.decoding import self_correction_loss
        >>> fair_coin = lambda tokens, where: torch.zeros(int(where.sum()), 2)
        >>> where = torch.tensor([[True, False]])
        >>> self_correction_loss(fair_coin, torch.tensor([[1, 0]]), where, mask_index=2)  # ln 2
        tensor(0.6931)

    References:
        Schiff et al., *Learn from your mistakes: self-correcting masked diffusion models*
        (ProSeCo), 2026, <https://arxiv.org/abs/2602.11590>.
    """
    check_codes("self_correction_loss", "codes", codes)
    check_bool_mask("self_correction_loss", "where", where, codes.shape)
    where = where & (codes >= 0)
    with torch.no_grad():
        guess = logits_fn(codes.masked_fill(where, mask_index), where)
    check_logits(guess, int(where.sum()), mask_index, who="self_correction_loss")
    filled, real = codes.masked_scatter(where, guess.argmax(dim=-1)), codes >= 0
    logits = logits_fn(filled, real)
    check_logits(logits, int(real.sum()), mask_index, who="self_correction_loss", places="real")
    summed = functional.cross_entropy(upcast(logits), codes[real], reduction="sum")
    return summed / real.sum().clamp(min=1)


@described
def corrector(logits_fn: LogitsFn, *, sample: Sample, rounds: int = 1) -> Settle:
    """Let the model look over the complete draft in every step and draw it anew (ProSeCo).

    After a step has drawn its tokens, every token that is not given is drawn again from what the
    model says of the complete row, `rounds` times; each is a forward of the rows not yet finished.
    The model must have been trained for that, such as by `self_correction_loss`. How many stay is
    left to schedule and order.

    Args:
        logits_fn: The model, as of `iterative_decode`; it is asked for tokens that it sees.
        sample: What token to draw, such as `temperature_sample(temperature=0.0)`.
        rounds: Corrections in each step, at least 1.

    Returns:
        A rule for the `settle` of `iterative_decode`.

    Raises:
        ValueError: If `rounds < 1`.
        TypeError: If an option is not a number.

    Example:
        >>> import torch
        >>> from ssltok.decoding import corrector, temperature_sample
        >>> model = lambda tokens, where: torch.zeros(int(where.sum()), 2)
        >>> settle = corrector(model, sample=temperature_sample(temperature=0.0))

    References:
        Schiff et al., *Learn from your mistakes: self-correcting masked diffusion models*
        (ProSeCo), 2026, <https://arxiv.org/abs/2602.11590>.
    """
    check_at_least("corrector", "rounds", rounds, 1)

    def settle(state: DecodingState) -> DecodingState:
        where = ~state.given & state.drawn.any(dim=-1, keepdim=True)
        for _ in range(rounds):
            logits = logits_fn(state.tokens, where)
            check_logits(
                logits,
                int(where.sum()),
                state.logits.shape[1],
                who="corrector",
                places="drawn or settled",
            )
            drawn = sample(logits, state.progress, state.generator)
            check_drawn(drawn, logits)
            state = state._replace(
                tokens=state.tokens.masked_scatter(where, drawn.tokens),
                logprob=state.logprob.masked_scatter(where, drawn.logprob.float()),
            )
        return state

    return settle
