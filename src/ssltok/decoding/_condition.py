"""Conditions of a run: a representation of a series (RCDM), or examples in front (in context)."""

from collections.abc import Callable

import torch
from torch import Tensor

from ssltok._shared.checks import check_at_least, check_axes, check_codes
from ssltok._shared.described import described
from ssltok.decoding._iterative import LogitsFn

__all__ = ["ConditionalLogitsFn", "condition_on", "in_context"]

ConditionalLogitsFn = Callable[[Tensor, Tensor, Tensor], Tensor]
"""From tokens, where and a condition `(batch, ...)` to logits `(where.sum(), codebook_size)`."""


@described
def condition_on(logits_fn: ConditionalLogitsFn, condition: Tensor) -> LogitsFn:
    """Bind a condition to a model, row by row, such as the representation of a series.

    RCDM draws many series from the representation of one: what they share is what an encoder
    keeps, what differs is what it forgot. Where the run has $k$ times as many rows as the
    condition, as in `impute(..., samples=k)`, the condition is repeated, sample after sample.
    For guidance bind the model twice, to the representation and to the one it was trained with in
    place of a dropped one.

    RCDM puts the representation into conditional batch norms of a diffusion model; where it
    enters a model of tokens is the model's own matter. For `TokenTransformer` a linear map of it
    can be the `context` of every token.

    Args:
        logits_fn: The model, from tokens, where and a condition to logits.
        condition: `(batch, ...)`, a row for each row of tokens.

    Returns:
        A logits function of tokens and where, for `iterative_decode`.

    Raises:
        ValueError: If the condition is empty; when called, if it does not divide the rows.
        TypeError: If the condition is not a tensor.

    Example:
        >>> import torch
        >>> from ssltok.decoding import condition_on
        >>> def model(tokens, where, h):  # its logits are the representation
        ...     return h[:, None].expand(-1, tokens.shape[1], -1)[where]
        >>> guess = condition_on(model, torch.tensor([[1.0, 2.0], [3.0, 4.0]]))
        >>> guess(torch.full((4, 1), 2), torch.tensor([[True], [False], [True], [True]]))
        tensor([[1., 2.],
                [1., 2.],
                [3., 4.]])

    References:
        Bordes et al., *High fidelity visualization of what your self-supervised representation
        knows about*, 2021, <https://arxiv.org/abs/2112.09164>, section 3.
    """
    if not isinstance(condition, Tensor):
        raise TypeError(f"condition_on: condition must be a tensor; got {type(condition).__name__}")
    check_at_least("condition_on", "axes of condition", condition.ndim, 1)
    check_at_least("condition_on", "rows of condition", condition.shape[0], 1)

    def guess(tokens: Tensor, where: Tensor) -> Tensor:
        return logits_fn(tokens, where, _rows("condition_on", "condition", condition, tokens))

    return guess


@described
def in_context(logits_fn: LogitsFn, support: Tensor) -> LogitsFn:
    """Put the tokens of examples in front of every row, for a model to continue in their manner.

    The model sees `support`, then the row, and is asked for the row's hidden tokens only; the
    decoder sees the row alone, so its schedule and counts are those of the row. The model must
    have been trained on such sequences: tokens of several series of one kind in a row, the last
    one masked. Where the run has $k$ times as many rows as the support, as in
    `impute(..., samples=k)`, the support is repeated, sample after sample.

    Args:
        logits_fn: The model of the long sequences, a logits function.
        support: `(batch, tokens)`, int64, the examples' tokens, one row for each row of the run;
            -1 where there is none.

    Returns:
        A logits function of the rows alone, for `iterative_decode`.

    Raises:
        ValueError: If the support is not int64 `(batch, tokens)` or is empty; when called, if it
            does not divide the rows.
        TypeError: If an input is not a tensor.

    Example:
        >>> import torch
        >>> from ssltok.decoding import in_context
        >>> def majority(tokens, where):  # two codes; counts them in the whole sequence
        ...     ones, zeros = ((tokens == k).sum(1, keepdim=True) for k in (1, 0))
        ...     return torch.cat([zeros, ones], 1)[:, None].expand(*tokens.shape, 2)[where].float()
        >>> guess = in_context(majority, torch.tensor([[1, 1, 0, 1]]))
        >>> guess(torch.tensor([[0, 2]]), torch.tensor([[False, True]]))
        tensor([[2., 3.]])

    References:
        Brown et al., *Language models are few-shot learners*, 2020,
        <https://arxiv.org/abs/2005.14165>, section 2.
    """
    check_axes("in_context", "support", support, "batch tokens")
    check_codes("in_context", "support", support)
    check_at_least("in_context", "support.numel()", support.numel(), 1)

    def guess(tokens: Tensor, where: Tensor) -> Tensor:
        front = _rows("in_context", "support", support, tokens)
        asked = torch.cat([torch.zeros_like(front, dtype=torch.bool), where], dim=1)
        return logits_fn(torch.cat([front, tokens], dim=1), asked)

    return guess


def _rows(who: str, name: str, given: Tensor, tokens: Tensor) -> Tensor:
    """Repeat what is given, as a whole, to as many rows as the tokens have."""
    times, rest = divmod(tokens.shape[0], given.shape[0])
    if rest or not times:
        raise ValueError(
            f"{who}: rows of {name} must divide the rows of tokens; "
            f"got {given.shape[0]} and {tokens.shape[0]}"
        )
    return given if times == 1 else given.repeat(times, *[1] * (given.ndim - 1))
