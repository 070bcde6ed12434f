"""Drafts that are verified: exactly as one at a time (`speculative`), or narrowed (WINO)."""

import math
from typing import NamedTuple

import torch
from torch import Tensor

from ssltok._shared.checks import check_positive, check_ratio
from ssltok._shared.described import described
from ssltok._shared.ranking import mask_lowest
from ssltok.decoding._count import accept, surest
from ssltok.decoding._inversion_fast import invert
from ssltok.decoding._iterative import DecodingState, Guidance, LogitsFn, Settle, check_logits
from ssltok.decoding._sample import log_probability
from ssltok.decoding._streams import check_ranks

__all__ = ["ShadowVerification", "shadow_verification", "speculative"]


@described
def speculative(logits_fn: LogitsFn, ranks: Tensor, *, temperature: float = 1.0) -> Settle:
    r"""Keep a verified draft: the joint distribution of one token at a time, in fewer forwards.

    The tokens of all masked places are drawn at once, from $p_i(x \mid \text{known})$, and one
    forward of the complete row gives $q_i(x \mid \text{known and drafted of lower rank})$. In the
    order of the ranks a token is kept with probability $\min(1, q_i / p_i)$; the first that is
    not is drawn from $(q_i - p_i)_+$ normalised and kept, and all behind it are drafted again. The
    first of a draft always stays, so that two forwards settle two tokens or more; a single one
    is not verified. The rule draws by itself: `sample` and `order` of the run do not matter.

    Args:
        logits_fn: Answers a place from tokens of a lower rank alone, as `ordered_logits` makes one;
            the run must use the same, or the draft is of another distribution.
        ranks: `(tokens,)` or `(batch, tokens)`, int64, as in `ordered_logits`.
        temperature: $\tau > 0$ of both distributions.

    Returns:
        A rule for the `settle` of `iterative_decode`, with `schedule=rule_schedule` and as many
        `steps` as tokens.

    Raises:
        ValueError: If the temperature is not positive or `ranks` is not as in `ordered_logits`; in
            a run, if the model returns another shape or the last step leaves a draft unverified.
        TypeError: If an input is not a tensor, or an option not a number.

    Example:
        >>> import torch
        >>> from ssltok.decoding import (
        ...     fixed_order, iterative_decode, rule_schedule, speculative, temperature_sample
        ... )
        >>> sure = lambda tokens, where: torch.tensor([0.0, 99.0]).expand(int(where.sum()), 2)
        >>> places = torch.arange(5)  # independent tokens: one draft is enough
        >>> iterative_decode(
        ...     sure, torch.full((1, 5), 2), mask_index=2, steps=5, schedule=rule_schedule,
        ...     order=fixed_order(places), sample=temperature_sample(),
        ...     settle=speculative(sure, places),
        ... )
        tensor([[1, 1, 1, 1, 1]])

    References:
        Guo and Ermon, *Reviving any-subset autoregressive models with principled parallel
        sampling and speculative decoding*, 2025, <https://arxiv.org/abs/2504.20456>.
        Leviathan et al., *Fast inference from transformers via speculative decoding*, 2022,
        <https://arxiv.org/abs/2211.17192>, algorithm 1.
    """
    check_ranks("speculative", ranks)
    check_positive("speculative", "temperature", temperature)

    def settle(state: DecodingState) -> DecodingState:
        p = (state.logits.float() / temperature).softmax(dim=-1)
        draft = invert(p, state.generator)
        tokens = state.tokens.masked_scatter(state.drawn, draft)
        rank = ranks.expand_as(tokens).where(state.drawn, -1)
        end = torch.iinfo(torch.int64).max
        last = rank.new_full((len(rank), 1), end)
        if int(state.drawn.sum(dim=-1).max()) > 1:
            logits = logits_fn(tokens, state.drawn)
            check_logits(logits, *p.shape, who="speculative")
            q = (logits.float() / temperature).softmax(dim=-1)
            of_q, of_p = (each.gather(-1, draft[:, None])[:, 0] for each in (q, p))
            coin = torch.empty_like(of_q).uniform_(generator=state.generator)
            first = rank.where(state.drawn, end).amin(dim=-1, keepdim=True)
            accepted = (coin * of_p < of_q) | (rank == first)[state.drawn]
            refused = torch.ones_like(state.drawn).masked_scatter(state.drawn, ~accepted)
            last = rank.where(refused & state.drawn, end).amin(dim=-1, keepdim=True)
            rest = (q - p).clamp(min=0)
            rest = torch.where(rest.sum(dim=-1, keepdim=True) > 0, rest, q)
            drawn_again = invert(rest, state.generator)
            place = (rank == last) & state.drawn
            tokens = torch.where(place, tokens.masked_scatter(state.drawn, drawn_again), tokens)
        if state.share_after <= 0 and bool((rank > last).any()):
            raise ValueError("speculative: steps must be as many as tokens; got a draft unverified")
        logprob = log_probability(state.logits, tokens[state.drawn])
        return accept(state, rank <= last)._replace(
            tokens=tokens, logprob=state.logprob.masked_scatter(state.drawn, logprob)
        )

    return settle


class ShadowVerification(NamedTuple):
    """Two rules for one run of `iterative_decode`, which work together.

    Attributes:
        guidance: Asks the tokens and their shadows in one forward.
        settle: Keeps the sure tokens, and takes back those that their shadow doubts.
    """

    guidance: Guidance
    settle: Settle


def shadow_verification(
    *, draft: float = 0.6, verify: float = 0.9, most: float = 0.7
) -> ShadowVerification:
    r"""Accept widely, and take back what its shadow doubts, in one forward a step (WINO).

    A step keeps the drawn tokens of a probability above `draft`, at most a share `most` of the
    row's masked places and always the surest. The same forward has asked the shadow of each token
    settled before: those of a probability below `verify` are masked again, if the step kept more
    than one token, and fewer than the step before kept. The run's model must be one of
    `shadow_logits`; both parts of the pair go to the same run.

    Departure: the authors' code bounds what a step keeps by 5 and 20 tokens as well.

    Args:
        draft: The probability above which a token is kept, in [0, 1]; the authors use 0.6.
        verify: The probability below which a settled one is masked again, in [0, 1]; theirs is 0.9.
        most: The largest share of the masked places that a step keeps, in (0, 1].

    Returns:
        The pair of `guidance` and `settle`.

    Raises:
        ValueError: If an option is out of range.
        TypeError: If an option is not a number.

    Example:
        >>> from ssltok.decoding import shadow_verification
        >>> narrow = shadow_verification(draft=0.6, verify=0.9)

    References:
        Hong et al., *Wide-in, narrow-out* (WINO), 2025, <https://arxiv.org/abs/2507.18578>, and
        the authors' code.
    """
    check_ratio("shadow_verification", "draft", draft)
    check_ratio("shadow_verification", "verify", verify)
    check_ratio("shadow_verification", "most", most)
    check_positive("shadow_verification", "most", most)
    likely, doubted = (math.log(share) if share > 0 else -math.inf for share in (draft, verify))
    shadows: list[Tensor] = []  # from guidance to settle of the same step

    def guidance(logits_fn: LogitsFn, tokens: Tensor, where: Tensor, _: float) -> Tensor:
        asked = tokens >= 0
        logits = logits_fn(tokens, asked)
        shadows[:] = [logits[~where[asked]]]
        return logits[where[asked]]

    def settle(state: DecodingState) -> DecodingState:
        memory: dict[str, Tensor] = {} if state.memory is None else state.memory
        accepted = state.drawn & ((state.logprob > likely) | surest(state))
        masked, limit = state.drawn.sum(dim=-1), accepted.sum(dim=-1)
        limit = torch.minimum(limit, (most * masked + 1e-6).floor().long().clamp(min=1))
        accepted = mask_lowest(-state.logprob, limit, accepted)
        settled = (state.tokens >= 0) & ~state.drawn
        back = torch.zeros_like(state.logprob).masked_scatter(
            settled, log_probability(shadows[0], state.tokens[settled])
        )
        again = settled & ~state.given & (back < doubted)
        fewer = memory.get("accepted", masked) - 1
        memory["accepted"] = accepted.sum(dim=-1)
        counts = torch.minimum(again.sum(dim=-1), fewer.clamp(min=0))
        again = mask_lowest(back, counts * (memory["accepted"] > 1), again)
        return state._replace(settled=(~state.drawn | accepted) & ~again)

    return ShadowVerification(guidance, settle)
