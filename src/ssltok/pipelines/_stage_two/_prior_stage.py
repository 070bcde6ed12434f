"""Stage 2 as `train_stage` wants it: codes are given, masks are drawn, labels are hidden."""

from collections.abc import Callable

import torch
from torch import Tensor, nn

from ssltok._shared.portions import mean_of, portion
from ssltok.losses import masked_token_loss
from ssltok.masking import cosine_schedule, schedule_mask
from ssltok.pipelines._prior import Prior, PriorBatch, PriorOutput, TokenLoss
from ssltok.pipelines._stage_two._causal_prior import CausalPrior
from ssltok.pipelines._stage_two._conditions import Conditions
from ssltok.pipelines._stage_two._prior_step import prior_step
from ssltok.pipelines._words._config import Config
from ssltok.pipelines._words._parts import Parts
from ssltok.training import Stage, TrainingConfig, hold_out, keyed_generator, ordered_batch

__all__ = ["PriorModel", "prior_stage", "random_masks"]

TURNS = 8  # draws of masks over which the prior's held-out loss is averaged


class PriorModel(nn.Module):
    """Stage 2 as one module; the tokenizer is no part of it and cannot move."""

    def __init__(self, prior: Prior, *, token_loss: TokenLoss, everywhere: bool) -> None:
        super().__init__()
        self.prior, self.token_loss, self.everywhere = prior, token_loss, everywhere

    def forward(self, batch: PriorBatch) -> PriorOutput:
        """Run `prior_step`."""
        return prior_step(self.prior, batch, token_loss=self.token_loss, everywhere=self.everywhere)


def random_masks(
    shape: tuple[int, int],
    *,
    valid: Tensor | None = None,
    generator: torch.Generator | None = None,
) -> Tensor:
    """The masks of MaskGIT's training: in each row a random share by the cosine schedule.

    Example:
        >>> import torch
        >>> from ssltok.pipelines import random_masks
        >>> masks = random_masks((1000, 50), generator=torch.Generator().manual_seed(0))
        >>> 0.6 < masks.float().mean() < 0.67  # the cosine schedule's mean is 2 / pi
        tensor(True)
    """
    return schedule_mask(shape, schedule=cosine_schedule, valid=valid, generator=generator)


def prior_stage(
    prior: Prior,
    codes: Tensor,
    labels: Tensor,
    config: Config,
    *,
    seed: int,
    world: int,
    parts: Parts,
    pick: Callable[[Tensor, int], Tensor] | None = None,
    conditions: Conditions | None = None,
) -> tuple[Stage, TrainingConfig, int]:
    """Stage 2 as `train_stage` wants it: the codes are given, masks are drawn.

    Args:
        prior: The model.
        codes: int64 `(cases, tokens)` or `(cases, tokens, codes)`, -1 at padding.
        labels: int64 `(cases,)`, -1 for none.
        config: How long, and the share of hidden labels.
        seed: The run's seed.
        world: Processes.
        parts: Mask, token loss and where it is paid, if not the config's.
        pick: Codes of these cases at this step, where they are not always `codes`.
        conditions: What a `ConditionedPrior` is told of each series, at the model's scale. They
            are hidden from it as often as labels are; where labels are hidden, half of the times,
            so that guidance knows what either is without the other.

    Returns:
        The stage, its training with a batch that fits the data, and the steps.

    Example:
        >>> import torch
        >>> from ssltok.pipelines import Config, Parts, PriorConfig, TokenizerConfig
        >>> from ssltok.pipelines import build_prior, build_tokenizer, prior_stage, shorten
        >>> config = TokenizerConfig(dim=4, blocks=0, codebook_size=3)
        >>> tokenizer = build_tokenizer(config, channels=1, length=32)
        >>> prior = build_prior(PriorConfig(dim=8, depth=1), tokenizer, classes=2)
        >>> codes, labels = torch.zeros(10, 40, dtype=torch.int64), torch.arange(10) % 2
        >>> stage, training, steps = prior_stage(
        ...     prior, codes, labels, shorten(Config(), steps=3), seed=0, world=1, parts=Parts()
        ... )
        >>> stage.name, training.batch, steps
        ('prior', 10, 3)
    """
    training, steps, learned, held = hold_out(
        len(codes), config.prior_training, seed=seed, world=world
    )
    nothing = torch.zeros(1, dtype=torch.bool).expand(codes.shape[:2])
    everything = PriorBatch(codes, nothing, labels, conditions=conditions)
    token_loss = parts.token_loss
    if token_loss is None:
        smoothing = config.prior.label_smoothing

        def token_loss(logits: Tensor, codes: Tensor, where: Tensor) -> Tensor:
            return masked_token_loss(logits, codes, where, label_smoothing=smoothing)

    model = PriorModel(prior, token_loss=token_loss, everywhere=bool(parts.everywhere))
    sampler = random_masks if parts.mask is None else parts.mask
    causal = isinstance(prior, CausalPrior)

    def masked(batch: PriorBatch, generator: torch.Generator) -> PriorBatch:
        masks = []
        for part in torch.split(batch.codes, list(prior.sizes), dim=1):
            known = (part if part.ndim == 2 else part[..., 0]) >= 0
            shape = (part.shape[0], part.shape[1])
            masks.append(sampler(shape, valid=known, generator=generator))
        return batch._replace(masks=torch.cat(masks, dim=1))

    def level(generator: torch.Generator) -> int:
        if prior.codes_per_token == 1:
            return 0
        return int(torch.randint(prior.codes_per_token, (), generator=generator))

    def draw(step: int, rows: slice) -> PriorBatch:
        chosen = ordered_batch(
            len(learned), training.batch, seed=seed, purpose="prior-order", step=step
        )
        generator = keyed_generator(seed, "mask", step)
        batch = everything.take(learned[chosen])
        codes_now = batch.codes if pick is None else pick(learned[chosen], step)
        batch = masked(batch._replace(codes=codes_now), generator)
        hidden = torch.rand(len(chosen), generator=generator) < config.prior.label_dropout
        known = batch.labels.masked_fill(hidden, -1)
        number = level(generator)
        some = batch.conditions
        if some is not None:
            share = config.prior.label_dropout
            shares = torch.where(hidden, 0.5, share) if prior.classes else torch.tensor(share)
            seen = torch.rand(len(chosen), generator=generator) >= shares
            some = some._replace(known=seen).take(rows)
        return PriorBatch(batch.codes[rows], batch.masks[rows], known[rows], number, some)

    def validate() -> float:
        device = next(prior.parameters()).device
        portions = held.split(portion(len(held), codes.shape[1]))
        losses = []
        for turn in range(1 if causal else TURNS):  # where nothing is hidden, all turns are one
            for number, part in enumerate(portions):
                numbers = (turn, number) if number else (turn,)
                batch = masked(everything.take(part), keyed_generator(seed, "held-mask", *numbers))
                shown, hidden, known = (each.to(device) for each in batch[:3])
                some = batch.conditions
                some = None if some is None else some.to(device)
                moved = PriorBatch(shown, hidden, known, turn % prior.codes_per_token, some)
                losses.append((prior_step(prior, moved).loss, len(part)))
        return mean_of(losses)

    check = validate if len(held) else None
    # A step asks for one of several codes, whose head alone learns; a causal one for all.
    several = prior.codes_per_token > 1 and not causal
    stage = Stage("prior", model, draw, lambda step, results: None, check, several)
    return stage, training, steps
