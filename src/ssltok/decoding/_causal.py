"""Tokens one after the other from a causal model that remembers what it has read."""

from collections.abc import Iterator
from typing import Any, Protocol

import torch
from torch import Tensor

from ssltok._shared.checks import check_at_least, check_axes, check_codes
from ssltok.decoding._iterative import Drawn, Sample, check_drawn

__all__ = ["CausalModel", "causal_decode"]


class CausalModel(Protocol):
    """A model that reads tokens behind those it remembers, as `CausalTokenTransformer.extend`.

    From new tokens `(batch, new tokens)`, a cache that it returned before (None at the start) and
    `valid`, boolean of the tokens' shape (None where all are), to the logits of the token that
    follows, `(batch, codebook_size)`, and the next cache. What a cache is, is the model's own: a
    model without one may return all tokens so far.
    """

    def __call__(
        self, tokens: Tensor, cache: Any, /, *, valid: Tensor | None
    ) -> tuple[Tensor, Any]:
        """Return the next token's logits and the next cache."""
        ...


def causal_decode(
    model: CausalModel,
    tokens: Tensor,
    *,
    codebook_size: int,
    steps: int,
    sample: Sample,
    generator: torch.Generator | None = None,
) -> Iterator[Drawn]:
    r"""Continue every row token by token, and yield each as it comes.

    $$s_i \sim p(s_i \mid s_{<i}), \qquad i = n, \dots, n + \text{steps} - 1$$

    where $n$ is the number of tokens of the row's prompt. The model reads the prompt once and then
    one token a step; it is asked only when the next token is. The first token waits for the prompt
    alone, and none for those behind it. Prompts may differ in length: their padding, on either
    side, is read by nobody and takes no place, so that a row is continued as the row alone. No
    gradient is recorded.

    Args:
        model: The model, such as the `extend` of a `CausalTokenTransformer`, with labels bound by
            `functools.partial`.
        tokens: The prompts, int64 `(batch, tokens)`, -1 at padding; no columns for no prompt.
        codebook_size: Number of codes.
        steps: Tokens to draw in each row, at least 1.
        sample: What token to draw, such as `temperature_sample()`; progress runs to 1.
        generator: Source of randomness of `sample`, on the device of `tokens`.

    Returns:
        An iterator of `steps` draws: the tokens `(batch,)` and their log-probabilities. All at
        once are `torch.stack([drawn.tokens for drawn in causal_decode(...)], dim=1)`.

    Raises:
        ValueError: If shapes or dtypes do not fit, a token leaves [-1, `codebook_size`), or
            `steps < 1`; on the way, if the model or `sample` returns another shape, logits are
            NaN, +inf or all -inf, or a code of probability 0 is drawn.
        TypeError: If an input is not a tensor, or an option not a number.

    Example:
        >>> import torch
        >>> from ssltok.decoding import causal_decode, temperature_sample
        >>> def next_code(tokens, cache, *, valid):  # after k comes k + 1, of four codes
        ...     return 9.0 * torch.eye(4)[(tokens[:, -1] + 1) % 4], None
        >>> stream = causal_decode(
        ...     next_code, torch.tensor([[0, 1], [0, 3]]), codebook_size=4, steps=3,
        ...     sample=temperature_sample(temperature=0.0),
        ... )
        >>> for drawn in stream:
        ...     print(drawn.tokens)
        tensor([2, 0])
        tensor([3, 1])
        tensor([0, 2])

    References:
        van den Oord et al., *Neural discrete representation learning*, 2017,
        <https://arxiv.org/abs/1711.00937>, section 3.3.
    """
    who = "causal_decode"
    check_axes(who, "tokens", tokens, "batch tokens")
    check_codes(who, "tokens", tokens)
    check_at_least(who, "batch", tokens.shape[0], 1)
    check_at_least(who, "codebook_size", codebook_size, 1)
    check_at_least(who, "steps", steps, 1)
    valid = None
    if tokens.numel():
        low, high = torch.stack(tokens.aminmax()).tolist()  # a wait for the device
        if low < -1 or high >= codebook_size:
            raise ValueError(
                f"{who}: tokens must lie in [-1, codebook_size = {codebook_size}); "
                f"got {low} to {high}"
            )
        valid = tokens >= 0 if low < 0 else None
    return _stream(model, tokens, valid, codebook_size, steps, sample, generator)


@torch.no_grad()
def _stream(
    model: CausalModel,
    tokens: Tensor,
    valid: Tensor | None,
    codebook_size: int,
    steps: int,
    sample: Sample,
    generator: torch.Generator | None,
) -> Iterator[Drawn]:
    who, cache = "causal_decode", None
    for step in range(steps):
        logits, cache = model(tokens, cache, valid=valid)
        if logits.shape != (len(tokens), codebook_size):
            raise ValueError(
                f"{who}: logits must be (batch, codebook_size) = "
                f"({len(tokens)}, {codebook_size}); got {tuple(logits.shape)}"
            )
        drawn = sample(logits, (step + 1) / steps, generator)
        check_drawn(drawn, logits, who=who)
        yield drawn
        tokens, valid = drawn.tokens.unsqueeze(1), None
