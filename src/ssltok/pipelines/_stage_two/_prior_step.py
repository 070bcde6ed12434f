"""A step of stage 2: from codes and labels to the loss of a prior."""

import torch

from ssltok.distributed import reduce_sum
from ssltok.losses import masked_token_loss
from ssltok.pipelines._prior import Prior, PriorBatch, PriorOutput, TokenLoss, context_of
from ssltok.pipelines._stage_two._causal_prior import CausalPrior

__all__ = ["prior_step"]


def prior_step(
    prior: Prior,
    batch: PriorBatch,
    *,
    token_loss: TokenLoss = masked_token_loss,
    everywhere: bool = False,
) -> PriorOutput:
    r"""One batch through the prior: cross-entropy of the hidden tokens, and of those alone.

    $$L = \sum_{\text{branches}} \frac{1}{|M|} \sum_{i \in M} -\log p(s_i \mid s_{\bar M}, y)$$

    A branch after the first reads the true tokens of the one before, as in TimeVQVAE. With several
    codes a token a step asks for one level of them, which the batch names. Under several processes
    the mean is over the masked tokens of the whole batch.

    A `CausalPrior` pays for every code of every real token, given all before it, and nothing is
    masked; the mean is over tokens and codes:

    $$L = \sum_{\text{branches}} \frac{1}{C \lvert R \rvert} \sum_{i \in R} \sum_{c=1}^C
      -\log p(s_{ic} \mid \text{all before}, y)$$

    Args:
        prior: The model.
        batch: Codes, masks and labels.
        token_loss: The loss of logits, of one level of one branch at a time.
        everywhere: Whether the loss is on every real token, hidden or not, as in several public
            codes; the model reads masked tokens either way.

    Returns:
        The loss and what is recorded.

    Example:
        >>> import torch
        >>> from ssltok.pipelines import PriorBatch, PriorConfig, TokenizerConfig
        >>> from ssltok.pipelines import build_prior, build_tokenizer, prior_step
        >>> config = TokenizerConfig(dim=4, blocks=0, codebook_size=3)
        >>> tokenizer = build_tokenizer(config, channels=1, length=32)
        >>> prior = build_prior(PriorConfig(dim=8, depth=1), tokenizer, classes=2)
        >>> codes = torch.zeros(4, 40, dtype=torch.int64)
        >>> masks, labels = torch.ones(4, 40, dtype=torch.bool), torch.tensor([0, 1, 0, 1])
        >>> batch = PriorBatch(codes, masks, labels)
        >>> output = prior_step(prior, batch)
        >>> output.loss.shape, sorted(output.logged)
        (torch.Size([]), ['loss'])

    References:
        Chang et al., *MaskGIT*, 2022, <https://arxiv.org/abs/2202.04200>, equation 2.
        Radford et al., *Improving language understanding by generative pre-training*, 2018,
        equation 1.
        Lee et al., *TimeVQVAE*, 2023, <https://arxiv.org/abs/2303.04743>, section 3.2.
    """
    if isinstance(prior, CausalPrior):
        return _causal_step(prior, batch, token_loss)
    sizes, level = list(prior.sizes), batch.level
    codes, masks = torch.split(batch.codes, sizes, dim=1), torch.split(batch.masks, sizes, dim=1)
    logged = {}
    for number, name in enumerate(branch_names(len(sizes))):
        before = codes[number - 1] if number else None
        context = context_of(prior, number, before, batch.conditions)
        target = codes[number] if prior.codes_per_token == 1 else codes[number][..., level]
        coarser = codes[number][..., :level] if level else None
        size = prior.codebook_sizes[number][level]
        hidden = target.masked_fill(masks[number], size)
        paid = target >= 0 if everywhere else masks[number]
        logits = prior.logits_of(number, batch.labels, context, level=level, coarser=coarser)
        part = token_loss(logits(hidden, paid), target, paid)
        count = paid.sum().to(part.dtype)
        logged[name] = reduce_sum(part * count) / reduce_sum(count)
    loss = torch.stack(list(logged.values())).sum()
    return PriorOutput(loss, {"loss": loss, **logged} if len(sizes) > 1 else {"loss": loss})


def branch_names(count: int) -> list[str]:
    """Names of branches for a record: low and high, or numbers where there are more."""
    return ["low", "high"][:count] if count <= 2 else [f"branch {i}" for i in range(count)]


def _causal_step(prior: CausalPrior, batch: PriorBatch, token_loss: TokenLoss) -> PriorOutput:
    """One forward over the places in their order; its logits are cut by branch and level."""
    sequence = prior.numbered(prior.in_order(batch.codes))
    labels = batch.labels if prior.classes else None
    logits = prior.model(sequence, labels, context=prior.context_of(batch.conditions))
    back = torch.tensor(prior.order).argsort()
    logits = logits[:, back].unflatten(1, (sum(prior.sizes), prior.codes_per_token))
    codes = batch.codes if batch.codes.ndim == 3 else batch.codes[..., None]
    logged, first, done = {}, 0, 0
    for number, name in enumerate(branch_names(len(prior.sizes))):
        tokens, parts = slice(done, done := done + prior.sizes[number]), []
        for level, size in enumerate(prior.codebook_sizes[number]):
            target = codes[:, tokens, level]
            paid = target >= 0
            asked = logits[:, tokens, level, first : (first := first + size)][paid]
            parts.append(token_loss(prior.within_limits(asked, paid, number), target, paid))
        part, count = torch.stack(parts).mean(), paid.sum().to(logits.dtype)
        logged[name] = reduce_sum(part * count) / reduce_sum(count)
    loss = torch.stack(list(logged.values())).sum()
    return PriorOutput(loss, {"loss": loss, **logged} if len(logged) > 1 else {"loss": loss})
