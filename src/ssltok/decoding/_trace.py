"""What the decoder did: tokens, confidence and entropy, step by step, and what it cost."""

import torch
from torch import Tensor

from ssltok.decoding._iterative import DecodingState, LogitsFn
from ssltok.decoding._orders import entropies

__all__ = ["DecodingTrace", "ForwardCount"]


class DecodingTrace:
    """Keeps the steps of one run; pass it as the `observe` of `iterative_decode`.

    `tokens` is `(steps, batch, tokens)`: after each step, with `[MASK]` where one is left.
    `drawn` is the same with nothing masked: what each step would have answered. `logprob` and
    `entropy` are `(steps, batch, tokens)`, fp32: the log-probability of each token when it was
    drawn (0 where given) and, where a step drew one, the entropy in nats of its distribution
    (0 elsewhere). `steps` is the number of steps made. `forwards` is `(batch,)`: in how many of
    them a row had a token to draw, since a rule may settle rows at different speeds; a second
    forward of guidance, or one that verifies, is seen by a `ForwardCount` only.

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
        self._forwards: list[Tensor] = []

    def __call__(self, state: DecodingState, tokens: Tensor) -> None:
        """Keep one step."""
        self._tokens.append(tokens)
        self._drawn.append(state.tokens)
        self._logprob.append(state.logprob)
        self._forwards.append(state.drawn.any(dim=-1))
        rows = entropies(state.logits)
        self._entropy.append(torch.zeros_like(state.logprob).masked_scatter(state.drawn, rows))

    @property
    def steps(self) -> int:
        """The number of steps kept."""
        return len(self._tokens)

    @property
    def forwards(self) -> Tensor:
        """How many steps drew a token of each row, `(batch,)`, int64."""
        return torch.stack(self._forwards).sum(dim=0)

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


class ForwardCount:
    """Counts what models are asked: `calls`, and `rows` of tokens that went through them.

    A rule that checks k prefixes as k rows of one call has made k forwards, not one; `rows` divided
    by the batch says so.

    Example:
        >>> import torch
        >>> from ssltok.decoding import ForwardCount
        >>> count = ForwardCount()
        >>> model = count(lambda tokens, where: torch.zeros(int(where.sum()), 2))
        >>> logits = model(torch.full((3, 4), 2), torch.ones(3, 4, dtype=torch.bool))
        >>> count.calls, count.rows
        (1, 3)
    """

    def __init__(self) -> None:
        self.calls, self.rows = 0, 0

    def __call__(self, logits_fn: LogitsFn) -> LogitsFn:
        """Return the same model, counted; one counter may count several."""

        def counted(tokens: Tensor, where: Tensor) -> Tensor:
            self.calls += 1
            self.rows += tokens.shape[0]
            return logits_fn(tokens, where)

        return counted
