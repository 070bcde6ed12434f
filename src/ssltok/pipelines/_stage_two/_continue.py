"""A causal prior draws: what is hidden, place by place, behind what is known."""

from collections.abc import Callable
from typing import Any

import torch
from torch import Generator, Tensor

from ssltok.decoding import Guidance, LogitsFn, Sample, causal_decode
from ssltok.pipelines._prior import Prior
from ssltok.pipelines._stage_two._causal_prior import REFUSAL, CausalPrior
from ssltok.pipelines._stage_two._conditions import Conditions

__all__ = ["continue_codes"]


@torch.no_grad()
def continue_codes(
    prior: CausalPrior,
    codes: Tensor,
    *,
    labels: Tensor,
    sample: Sample,
    generator: Generator,
    guidance: Callable[[LogitsFn], Guidance] | None = None,
    weak: Prior | None = None,
    conditions: Conditions | None = None,
) -> Tensor:
    """Draw the hidden codes of each row, one after the other, with a cache of what was read.

    Args:
        prior: The model.
        codes: As `decode_tokens` takes them.
        labels: int64 `(batch,)`, -1 for no label.
        sample: What token is drawn.
        generator: The only source of randomness.
        guidance: From the weak logits function to a guidance.
        weak: A causal prior of the same tokens to be guided away from; by default this one without
            labels and conditions.
        conditions: What the prior is told of each row.

    Returns:
        The codes, with nothing hidden.

    Raises:
        ValueError: If something known stands behind something hidden, or `weak` is not causal.
    """
    rows = prior.in_order(codes)
    hidden = rows == prior.mask_index
    behind = (hidden.cummax(dim=1).values & ~hidden & (rows >= 0)).sum()
    if behind:
        raise ValueError(f"{REFUSAL} ({int(behind)} known codes stand behind)")
    if weak is not None and not isinstance(weak, CausalPrior):
        raise ValueError(f"CausalPrior: weak must be causal too; got {type(weak).__name__}")
    places = hidden.any(dim=0).nonzero()[:, 0].tolist()
    if not places:
        return codes
    sequence = prior.numbered(rows)
    model = _reader(prior, labels, conditions)
    guide = None
    if guidance is not None and weak is not None:
        guide = guidance(_reader(weak, labels, conditions))
    elif guidance is not None and (conditions is not None or bool((labels >= 0).any())):
        nothing = None if conditions is None else conditions.hidden()
        guide = guidance(_reader(prior, torch.full_like(labels, -1), nothing))
    first, last = places[0], places[-1] + 1

    def next_logits(new: Tensor, place: int | None, /, *, valid: Tensor | None) -> Any:
        """The model as `causal_decode` asks it; what is drawn stands in `sequence` already."""
        now = first if place is None else place
        tokens, where = sequence[:, : now + 1], torch.zeros_like(hidden[:, : now + 1])
        where[:, now] = True
        progress = (now + 1 - first) / (last - first)
        answer = model(tokens, where) if guide is None else guide(model, tokens, where, progress)
        return answer, now + 1

    draws = causal_decode(
        next_logits, sequence[:, :0], codebook_size=prior.model.codebook_size,
        steps=last - first, sample=sample, generator=generator,
    )  # fmt: skip
    for place, drawn in enumerate(draws, first):
        sequence[:, place] = torch.where(hidden[:, place], drawn.tokens, sequence[:, place])
    starts, _ = prior.ranges().to(rows.device)
    filled = torch.where(hidden, sequence - starts, rows)
    return filled[:, torch.tensor(prior.order).argsort()].reshape(codes.shape)


def _reader(prior: CausalPrior, labels: Tensor, conditions: Conditions | None) -> LogitsFn:
    """The logits of a row's last place, from those before it; what was read is not read again."""
    context, known = prior.context_of(conditions), labels if prior.classes else None
    starts, counts = prior.ranges().to(labels.device)
    codes = torch.arange(prior.model.codebook_size, device=labels.device)
    cache: Any = None
    before = torch.empty(len(labels), 0, dtype=torch.int64, device=labels.device)

    def logits(tokens: Tensor, where: Tensor) -> Tensor:
        nonlocal cache, before
        place = tokens.shape[1] - 1
        read = before.shape[1]
        if cache is None or not torch.equal(tokens[:, :read], before) or read >= place:
            cache, read = None, 0  # other tokens than before: all are read again
        beside = None
        if context is not None:
            beside = context[:, read + (cache is not None) : place + 1]
        result = prior.model.extend(tokens[:, read:place], cache, known, context=beside)
        cache, before = result.cache, tokens[:, :place]
        outside = (codes < starts[place]) | (codes >= starts[place] + counts[place])
        return result.logits.masked_fill(outside, torch.finfo(result.logits.dtype).min / 64)

    return logits
