"""What the decoder did: tokens, confidence and entropy, step by step."""

import torch
from torch import Tensor

from ssltok.decoding._iterative import DecodingState
from ssltok.decoding._orders import entropies

__all__ = ["DecodingTrace"]


class DecodingTrace:
    """Keeps the steps of one run; pass it as the `observe` of `iterative_decode`.

    `tokens` is `(steps, batch, tokens)`: after each step, with `[MASK]` where one is left.
    `drawn` is the same with nothing masked: what each step would have answered. `logprob` and
    `entropy` are `(steps, batch, tokens)`, fp32: the log-probability of each token when it was
    drawn (0 where given) and, where a step drew one, the entropy in nats of its distribution
    (0 elsewhere). `steps` is the number of steps made.

    Example:
        >>> import torch
        >>> from ssltok.decoding import (
        ...     DecodingTrace, fixed_order, iterative_decode, temperature_sample
        ... )
        >>> trace = DecodingTrace()
        >>> tokens = iterative_decode(
        ...     lambda tokens, where: torch.zeros(int(where.sum()), 2), torch.tensor([[2, 2, 2]]),
        ...     mask_index=2, steps=3, schedule=lambda progress: 1 - progress,
        ...     order=fixed_order(torch.tensor([1, 0, 2])),
        ...     sample=temperature_sample(temperature=0.0), observe=trace,
        ... )
        >>> trace.tokens[:, 0]
        tensor([[2, 0, 2],
                [0, 0, 2],
                [0, 0, 0]])
    """

    def __init__(self) -> None:
        self._tokens: list[Tensor] = []
        self._drawn: list[Tensor] = []
        self._logprob: list[Tensor] = []
        self._entropy: list[Tensor] = []

    def __call__(self, state: DecodingState, tokens: Tensor) -> None:
        """Keep one step."""
        self._tokens.append(tokens)
        self._drawn.append(state.tokens)
        self._logprob.append(state.logprob)
        rows = entropies(state.logits)
        self._entropy.append(torch.zeros_like(state.logprob).masked_scatter(state.drawn, rows))

    @property
    def steps(self) -> int:
        """The number of steps kept."""
        return len(self._tokens)

    @property
    def tokens(self) -> Tensor:
        """The tokens after each step, `(steps, batch, tokens)`."""
        return torch.stack(self._tokens)

    @property
    def drawn(self) -> Tensor:
        """The tokens of each step before any was masked again, `(steps, batch, tokens)`."""
        return torch.stack(self._drawn)

    @property
    def logprob(self) -> Tensor:
        """The log-probability of each token when it was drawn, `(steps, batch, tokens)`."""
        return torch.stack(self._logprob)

    @property
    def entropy(self) -> Tensor:
        """The entropy in nats where a step drew a token, `(steps, batch, tokens)`."""
        return torch.stack(self._entropy)
