"""How probable given tokens are: leave some out, ask the model for them, add up."""

from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor

from ssltok._shared.checks import (
    check_at_least,
    check_axes,
    check_bool_mask,
    check_codes,
    check_floating,
)
from ssltok._shared.described import described
from ssltok._shared.ranking import mask_lowest
from ssltok.decoding._iterative import LogitsFn, check_logits, shares_of
from ssltok.decoding._sample import log_probability

__all__ = ["TokenScores", "critical_reverse", "score", "self_token_critic"]


class TokenScores(NamedTuple):
    """How unexpected tokens are, one by one and in all.

    Attributes:
        surprise: `(batch, tokens)`, in nats; 0 where not scored.
        log_likelihood: `(batch,)`, the negative sum of the surprises.
    """

    surprise: Tensor
    log_likelihood: Tensor


def score(
    logits_fn: LogitsFn,
    tokens: Tensor,
    *,
    mask_index: int,
    stride: int | None = None,
    groups: int = 1,
    where: Tensor | None = None,
) -> TokenScores:
    r"""Score tokens by how well the model guesses each from the others.

    The surprise of token $i$ is $-\log p(s_i \mid \text{the tokens left visible})$ and the pseudo
    log-likelihood of a row the negative sum. Tokens $i \equiv g \pmod{\text{stride}}$ are hidden
    together, for $g = 0, \dots, \text{stride} - 1$ in turn. With as large a stride as there are
    tokens (the default) each is left out alone; a smaller one needs fewer forwards and asks the
    model for several tokens at once.

    Args:
        logits_fn: The model, as of `iterative_decode`.
        tokens: `(batch, tokens)`, int64; -1 is padding, `mask_index` stays hidden; neither is
            scored.
        mask_index: The index of `[MASK]`, which equals the size of the codebook.
        stride: Groups the tokens are divided into, at least 1; one for each token by default.
        groups: How many groups go through the model in one call, as a batch of `groups * batch`
            rows, group after group. Labels bound in the model must be repeated likewise.
        where: `(batch, tokens)`, boolean, True where to score; everywhere by default. The others
            stay visible.

    Returns:
        A `TokenScores` of the surprise of each token and the log-likelihood of each row.

    Raises:
        ValueError: If shapes or dtypes do not fit, an option is out of range, or the model
            returns another shape.
        TypeError: If an input is not a tensor, or an option not a number.

    Example:
        >>> import torch
        >>> from ssltok.decoding import score
        >>> fair_coin = lambda tokens, where: torch.zeros(int(where.sum()), 2)
        >>> score(fair_coin, torch.tensor([[0, 1, 1]]), mask_index=2).log_likelihood  # 3 ln 1/2
        tensor([-2.0794])

    References:
        Salazar et al., *Masked language model scoring*, 2019, <https://arxiv.org/abs/1910.14659>,
        equation 1.
    """
    check_axes("score", "tokens", tokens, "batch tokens")
    check_codes("score", "tokens", tokens)
    check_at_least("score", "tokens", tokens.numel(), 1)
    stride = tokens.shape[1] if stride is None else stride
    check_at_least("score", "stride", stride, 1)
    check_at_least("score", "groups", groups, 1)
    wanted = (tokens >= 0) & (tokens != mask_index)
    if where is not None:
        check_bool_mask("score", "where", where, tokens.shape)
        wanted = wanted & where
    places = torch.arange(tokens.shape[1], device=tokens.device)
    surprise = torch.zeros(tokens.shape, device=tokens.device, dtype=torch.float32)
    for first in range(0, min(stride, tokens.shape[1]), groups):
        turn = torch.arange(first, min(first + groups, stride), device=tokens.device)
        hidden = wanted & (places % stride == turn[:, None])[:, None]
        hidden = hidden.flatten(0, 1)
        truth = tokens.repeat(len(turn), 1)
        logits = logits_fn(truth.masked_fill(hidden, mask_index), hidden)
        truth = truth[hidden]
        check_logits(logits, len(truth), mask_index, who="score", places="hidden")
        part = torch.zeros(hidden.shape, device=tokens.device, dtype=torch.float32)
        part = part.masked_scatter(hidden, -log_probability(logits, truth))
        surprise = surprise + part.view(len(turn), *tokens.shape).sum(dim=0)
    return TokenScores(surprise, -surprise.sum(dim=-1))


@described
def self_token_critic(
    logits_fn: LogitsFn, *, mask_index: int, stride: int | None = None, groups: int = 1
) -> Callable[[Tensor], Tensor]:
    r"""Make a critic of the model itself: $\log p(s_i \mid s_{\bar\imath})$ of each token.

    The token judged is hidden while it is judged. (Public code feeds it to the model unhidden, so
    that the critic sees the answer.)

    Args:
        logits_fn: The model, as of `iterative_decode`.
        mask_index: The index of `[MASK]`, which equals the size of the codebook.
        stride: As in `score`.
        groups: As in `score`.

    Returns:
        A critic for `critic_order`, from tokens `(batch, tokens)` to scores of that shape.

    Example:
        >>> import torch
        >>> from ssltok.decoding import self_token_critic
        >>> fair_coin = lambda tokens, where: torch.zeros(int(where.sum()), 2)
        >>> self_token_critic(fair_coin, mask_index=2)(torch.tensor([[0, 1]]))  # ln 1/2
        tensor([[-0.6931, -0.6931]])

    References:
        Lee et al., *Masked generative modeling with enhanced sampling scheme*, 2023,
        <https://arxiv.org/abs/2309.07945>; the authors' code of 2023.
    """
    return lambda tokens: (
        -score(logits_fn, tokens, mask_index=mask_index, stride=stride, groups=groups).surprise
    )


@torch.no_grad()
def critical_reverse(
    logits_fn: LogitsFn,
    tokens: Tensor,
    scores: Tensor,
    *,
    mask_index: int,
    steps: int,
    schedule: Callable[[Tensor], Tensor],
    window: int | None = None,
    given: Tensor | None = None,
) -> Tensor:
    r"""Take back the least real tokens of finished rows, as far as it helps (ESS).

    Level $t = T - 1, \dots, 1$ masks the $\lfloor N \gamma(t / T) \rfloor$ tokens of lowest score.
    Its error $e_t$ is the mean surprise of the tokens it masks newly, given what it leaves. Going
    back stops, for each row, at the first level where the mean of its last `window` ratios
    $e_t / e_{t+1}$ (over levels that mask something new in that row) exceeds 1: there more context
    no longer makes the tokens more certain. The row is returned as at the level before; decode it
    again with `critic_order(self_token_critic(...))`.

    Departure: the authors measure $e_t$ as a squared distance of embeddings; the surprise needs no
    codebook.

    Args:
        logits_fn: The model, as of `iterative_decode`.
        tokens: `(batch, tokens)`, int64, finished rows; -1 is padding.
        scores: `(batch, tokens)`, floating point, high where a token is real, such as a critic's.
        mask_index: The index of `[MASK]`, which equals the size of the codebook.
        steps: $T$, at least 2.
        schedule: $\gamma$, as in `iterative_decode`.
        window: How many ratios to average, at least 1; $\mathrm{round}(0.3 \, T)$ by default, as
            in the authors' code.
        given: `(batch, tokens)`, boolean, True where a token may not be taken back.

    Returns:
        The tokens, `(batch, tokens)`, with `mask_index` where one was taken back.

    Raises:
        ValueError: If shapes or dtypes do not fit or an option is out of range.
        TypeError: If an input is not a tensor, or an option not a number.

    Example:
        >>> import torch
        >>> from ssltok.decoding import critical_reverse
        >>> fair_coin = lambda tokens, where: torch.zeros(int(where.sum()), 2)
        >>> scores = torch.tensor([[0.1, 0.9, 0.2, 0.8]])  # never worse: back to the first level
        >>> critical_reverse(
        ...     fair_coin, torch.tensor([[0, 1, 1, 0]]), scores, mask_index=2, steps=4,
        ...     schedule=lambda progress: 1 - progress,
        ... )
        tensor([[2, 1, 2, 2]])

    References:
        Lee et al., *Masked generative modeling with enhanced sampling scheme*, 2023,
        <https://arxiv.org/abs/2309.07945>; the authors' code of 2023.
    """
    who = "critical_reverse"
    check_axes(who, "tokens", tokens, "batch tokens")
    check_codes(who, "tokens", tokens)
    check_floating(who, "scores", scores)
    if scores.shape != tokens.shape:
        raise ValueError(
            f"{who}: scores must have shape {tuple(tokens.shape)}; got {tuple(scores.shape)}"
        )
    check_at_least(who, "steps", steps, 2)
    window = max(1, round(0.3 * steps)) if window is None else window
    check_at_least(who, "window", window, 1)
    open_places = tokens >= 0
    if given is not None:
        check_bool_mask(who, "given", given, tokens.shape)
        open_places = open_places & ~given
    total = open_places.sum(dim=-1)
    shares = shares_of(schedule, steps)
    hidden = torch.zeros_like(open_places)
    alive = total > 0
    ratios = torch.full((len(tokens), window), torch.nan, device=tokens.device, dtype=torch.float32)
    last = ratios[:, 0]  # the error of a row's level before; NaN where there was none
    for level in range(steps - 1, 0, -1):
        counts = torch.floor(total * (shares[level] + 1e-6)).long()
        deeper = mask_lowest(scores, counts, open_places)
        new = deeper & ~hidden & alive[:, None]
        if not bool(new.any()):
            continue
        logits = logits_fn(tokens.masked_fill(deeper, mask_index), new)
        check_logits(logits, int(new.sum()), mask_index, who=who, places="hidden")
        surprise = torch.zeros(tokens.shape, device=tokens.device, dtype=torch.float32)
        surprise = surprise.masked_scatter(new, -log_probability(logits, tokens[new]))
        some = new.any(dim=-1)
        error = surprise.sum(-1) / new.sum(-1).clamp(min=1)
        ratio = error / last.clamp_min(1e-12)
        newest = torch.cat([ratios[:, 1:], ratio[:, None]], dim=1)
        ratios = torch.where((some & ~last.isnan())[:, None], newest, ratios)
        alive = alive & ~(ratios.nanmean(dim=-1) > 1 + 1e-6)
        last = torch.where(some, error, last)
        hidden = torch.where(alive[:, None], deeper, hidden)
    return tokens.masked_fill(hidden, mask_index)
