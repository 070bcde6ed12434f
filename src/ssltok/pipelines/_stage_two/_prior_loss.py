"""How well a prior guesses, by the share of tokens that is hidden from it."""

import torch
from torch import Tensor

from ssltok._shared.checks import check_at_least
from ssltok._shared.modes import evaluation_mode
from ssltok._shared.portions import AT_ONCE
from ssltok.losses import masked_token_loss
from ssltok.masking import random_mask
from ssltok.pipelines._prior import Prior, context_of
from ssltok.pipelines._stage_two._conditions import Conditions
from ssltok.training import keyed_generator

__all__ = ["SHARES", "loss_by_share"]
SHARES = (0.1, 0.25, 0.5, 0.75, 0.9, 1.0)


@torch.no_grad()
def loss_by_share(
    prior: Prior,
    codes: Tensor,
    labels: Tensor,
    *,
    shares: tuple[float, ...] = SHARES,
    seed: int = 0,
    conditions: Conditions | None = None,
) -> dict[float, float]:
    r"""Measure the cross-entropy of hidden tokens at fixed shares masked, in nats a token.

    $$\frac{1}{\sum_b \lvert M_b \rvert} \sum_b \sum_{i \in M_b}
      -\log p(s_{bi} \mid s_{b, \bar M}, y_b)$$

    over the tokens of all branches; with several codes a token, summed over its codes.

    One number for a mean over random shares hides whether a prior
    fails to complete (small shares) or to begin (all masked: it knows the label alone). The masks
    come from the seed and do not depend on the batches.

    Args:
        prior: The model; it is used in evaluation mode and left as it was.
        codes: int64 `(cases, tokens)`, -1 at padding; low branch first.
        labels: int64 `(cases,)`, -1 for no label.
        shares: Shares of each branch's tokens to hide, in [0, 1]; at least one token is.
        seed: Draws the masks.
        conditions: What a `ConditionedPrior` is told of the series, at the model's scale.

    Returns:
        The loss of each share.

    Raises:
        ValueError: If there are no codes, or a share leaves [0, 1].
        TypeError: If an option is not a number.

    Example:
        >>> import torch
        >>> from ssltok.pipelines import PriorConfig, TokenizerConfig, build_prior, build_tokenizer
        >>> from ssltok.pipelines import loss_by_share
        >>> config = TokenizerConfig(dim=4, blocks=0, codebook_size=3)
        >>> tokenizer = build_tokenizer(config, channels=1, length=32)
        >>> prior = build_prior(PriorConfig(dim=8, depth=1), tokenizer, classes=0)
        >>> codes = torch.zeros(2, sum(tokenizer.sizes), dtype=torch.int64)
        >>> list(loss_by_share(prior, codes, torch.tensor([-1, -1]), shares=(0.5, 1.0)))
        [0.5, 1.0]
    """
    check_at_least("loss_by_share", "number of codes", codes.numel(), 1)
    losses = {}
    with evaluation_mode(prior):
        for share in shares:
            generator = keyed_generator(seed, f"loss at {share}")
            parts = torch.split(codes, list(prior.sizes), dim=1)
            masks = torch.cat(
                [
                    random_mask(
                        (len(part), part.shape[1]), ratio=share,
                        valid=(part if part.ndim == 2 else part[..., 0]) >= 0,
                        generator=generator,
                    ).mask
                    for part in parts
                ],
                dim=1,
            )  # fmt: skip
            sums, count = torch.zeros((), dtype=torch.float64), 0
            for rows in torch.arange(len(codes)).split(AT_ONCE):
                given = None if conditions is None else conditions.take(rows)
                total, tokens = _batch(prior, codes[rows], masks[rows], labels[rows], given)
                sums, count = sums + total, count + tokens
            losses[share] = float(sums / count)
    return losses


def _batch(
    prior: Prior, codes: Tensor, masks: Tensor, labels: Tensor, conditions: Conditions | None
) -> tuple[Tensor, int]:
    """Sum of the losses of one batch, and the number of hidden tokens."""
    sizes = list(prior.sizes)
    parts, hidden = torch.split(codes, sizes, dim=1), torch.split(masks, sizes, dim=1)
    total = torch.zeros((), dtype=torch.float64)
    for number, (part, mask) in enumerate(zip(parts, hidden, strict=True)):
        context = context_of(prior, number, parts[number - 1] if number else None, conditions)
        levels = part[..., None] if part.ndim == 2 else part
        for level, size in enumerate(prior.codebook_sizes[number]):
            target = levels[..., level]
            coarser = levels[..., :level] if level else None
            tokens = target.masked_fill(mask, size)
            ask = prior.logits_of(number, labels, context, level=level, coarser=coarser)
            total += masked_token_loss(ask(tokens, mask), target, mask).double() * int(mask.sum())
    return total, int(masks.sum())
