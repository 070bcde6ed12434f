"""The two stages as `train_stage` wants them: models, batches, and what follows a step."""

import dataclasses
from collections.abc import Callable
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from ssltok.augment import NC_VQVAE_GAUSS, NC_VQVAE_SLICE, NC_VQVAE_WARP
from ssltok.data import SeriesSet
from ssltok.distributed import gather, rank_and_world
from ssltok.losses import barlow_twins_loss, vibcreg_loss, vicreg_loss
from ssltok.masking import cosine_schedule, schedule_mask
from ssltok.pipelines._config import Config
from ssltok.pipelines._prior import Prior, PriorBatch, PriorOutput, prior_step
from ssltok.pipelines._tokenizer import Tokenizer
from ssltok.pipelines._tokenizer_step import (
    TokenizerBatch,
    TokenizerOutput,
    build_projector,
    tokenizer_step,
)
from ssltok.training import Stage, TrainingConfig, keyed_generator, ordered_batch

__all__ = [
    "AUGMENTATIONS",
    "PriorModel",
    "TokenizerModel",
    "prior_stage",
    "tokenizer_stage",
]

AUGMENTATIONS = {"warp": NC_VQVAE_WARP, "slice": NC_VQVAE_SLICE, "gauss": NC_VQVAE_GAUSS}


class TokenizerModel(nn.Module):
    """Stage 1 as one module, so that an engine can wrap it: `forward(batch)` is the step."""

    def __init__(self, tokenizer: Tokenizer, *, batch: int) -> None:
        super().__init__()
        config = tokenizer.config
        self.tokenizer = tokenizer
        self.projector = None if config.ssl == "none" else build_projector(config, batch=batch)
        self.ssl_loss = ssl_loss(config.ssl)

    def forward(self, batch: TokenizerBatch) -> TokenizerOutput:
        """Run `tokenizer_step`."""
        return tokenizer_step(
            self.tokenizer, batch, projector=self.projector, ssl_loss=self.ssl_loss
        )


class PriorModel(nn.Module):
    """Stage 2 as one module; the tokenizer is no part of it and cannot move."""

    def __init__(self, prior: Prior) -> None:
        super().__init__()
        self.prior = prior

    def forward(self, batch: PriorBatch) -> PriorOutput:
        """Run `prior_step`."""
        return prior_step(self.prior, batch)


def ssl_loss(name: str) -> Callable[[Tensor, Tensor], Tensor] | None:
    """The loss of that name with NC-VQVAE's constants; Barlow Twins is divided by its width."""
    if name == "none":
        return None
    losses: dict[str, Callable[[Tensor, Tensor], Tensor]] = {
        "barlow_twins": lambda a, b: barlow_twins_loss(a, b) / a.shape[1],
        "vicreg": vicreg_loss,
        "vibcreg": partial(vibcreg_loss, covariance_weight=100.0),
    }
    return losses[name]


def tokenizer_stage(
    model: TokenizerModel, scaled: SeriesSet, config: Config, seed: int, world: int
) -> tuple[Stage, TrainingConfig, int]:
    """Stage 1 as `train_stage` wants it."""
    training, steps, train, held = _split(scaled, config.tokenizer_training, seed, world)
    augment = AUGMENTATIONS[config.tokenizer.augmentation]
    with_view = config.tokenizer.ssl != "none"
    tokenizer = model.tokenizer

    def draw(step: int, rows: slice) -> TokenizerBatch:
        chosen = ordered_batch(
            len(train.values), training.batch, seed=seed, purpose="tokenizer-order", step=step
        )
        batch = train.take(chosen)
        view = batch.values
        if with_view:
            # Drawn for the whole batch, then cut, so that it does not depend on the processes.
            generator = keyed_generator(seed, "view", step)
            within = torch.arange(batch.values.shape[-1]) < batch.lengths[:, None]
            view = augment(batch.values, valid=within, generator=generator)
        parts = (batch.values, view, batch.valid, batch.lengths)
        return TokenizerBatch(*(part[rows] for part in parts))

    def after_step(step: int, results: list[TokenizerOutput]) -> None:
        for number, branch in enumerate(tokenizer.parts):
            latents = torch.cat([r.latents[number] for r in results])
            codes = torch.cat([r.codes[number] for r in results])
            branch.quantizer.update(latents, codes)
            if config.tokenizer.revival_ratio:
                # All latents on the first process, as if there were one: same draws, same codes.
                latents, codes = gather(latents), gather(codes)
                mine = slice(None) if rank_and_world()[0] == 0 else slice(0)
                branch.quantizer.revive(
                    latents[mine],
                    codes[mine],
                    share=config.tokenizer.revival_ratio,
                    generator=keyed_generator(seed, "revival", step, number),
                )

    def validate() -> float:
        device = next(tokenizer.parameters()).device
        batch = TokenizerBatch(*(p.to(device) for p in (held.values, held.values, *held[1:])))
        terms = tokenizer_step(tokenizer, batch).terms
        return float(terms.time + terms.spectrogram)

    check = validate if len(held.values) else None
    return Stage("tokenizer", model, draw, after_step, check), training, steps


def prior_stage(
    prior: Prior, codes: Tensor, labels: Tensor, config: Config, seed: int, world: int
) -> tuple[Stage, TrainingConfig, int]:
    """Stage 2 as `train_stage` wants it: the codes are given, masks are drawn."""
    everything = PriorBatch(codes, torch.zeros_like(codes, dtype=torch.bool), labels)
    training, steps, train, held = _split(everything, config.prior_training, seed, world)
    model = PriorModel(prior)

    def masked(batch: PriorBatch, generator: torch.Generator) -> PriorBatch:
        parts = torch.split(batch.codes, list(prior.sizes), dim=1)
        masks = [
            schedule_mask(
                (part.shape[0], part.shape[1]),
                schedule=cosine_schedule,
                valid=part >= 0,
                generator=generator,
            )
            for part in parts
        ]
        return batch._replace(masks=torch.cat(masks, dim=1))

    def draw(step: int, rows: slice) -> PriorBatch:
        chosen = ordered_batch(
            len(train.codes), training.batch, seed=seed, purpose="prior-order", step=step
        )
        generator = keyed_generator(seed, "mask", step)
        batch = masked(train.take(chosen), generator)
        hidden = torch.rand(len(chosen), generator=generator) < config.prior.label_dropout
        batch = batch._replace(labels=batch.labels.masked_fill(hidden, -1))
        return PriorBatch(*(part[rows] for part in batch))

    def validate() -> float:
        device = next(prior.parameters()).device
        fixed = [masked(held, keyed_generator(seed, "held-mask", turn)) for turn in range(8)]
        batches = (PriorBatch(*(p.to(device) for p in batch)) for batch in fixed)
        losses = [prior_step(prior, batch).loss for batch in batches]
        return float(torch.stack(losses).mean())

    check = validate if len(held.codes) else None
    return Stage("prior", model, draw, lambda step, results: None, check), training, steps


def _split(data: Any, training: TrainingConfig, seed: int, world: int) -> tuple[Any, ...]:
    """Hold some cases out, and fit batch and steps to what is left."""
    cases = len(data[0])
    held = int(training.holdout_ratio * cases)
    if training.holdout_ratio and not held:
        raise ValueError(
            f"fit: holdout_ratio must leave at least one of the series out; "
            f"got {training.holdout_ratio} of {cases}"
        )
    order = torch.randperm(cases, generator=keyed_generator(seed, "holdout"))
    train, rest = data.take(order[held:].sort().values), data.take(order[:held].sort().values)
    turns = training.accumulation * world
    batch = min(training.batch, max((cases - held) // turns, 1) * turns)
    steps = training.steps or training.epochs * -(-(cases - held) // batch)
    return dataclasses.replace(training, batch=batch), steps, train, rest
