"""Both acts from start to end: data and a config in, a trained tokenizer and prior out."""

import dataclasses
import hashlib
import json
import pathlib
import warnings
from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from ssltok.augment import NC_VQVAE_GAUSS, NC_VQVAE_SLICE, NC_VQVAE_WARP
from ssltok.distributed import gather
from ssltok.losses import barlow_twins_loss, vibcreg_loss, vicreg_loss
from ssltok.masking import cosine_schedule, schedule_mask
from ssltok.pipelines._config import Config, TrainingConfig
from ssltok.pipelines._config_json import config_to_dict
from ssltok.pipelines._data import SeriesSet
from ssltok.pipelines._generate import evaluation
from ssltok.pipelines._memory import History
from ssltok.pipelines._prior import Prior, PriorBatch, PriorOutput, prior_step
from ssltok.pipelines._randomness import keyed_generator, ordered_batch
from ssltok.pipelines._tokenizer import (
    Tokenizer,
    TokenizerBatch,
    TokenizerOutput,
    build_projector,
    tokenizer_step,
)
from ssltok.pipelines._training import Stage, build_accelerator, train_stage

__all__ = ["Fitted", "encode_series", "fit"]

AUGMENTATIONS = {"warp": NC_VQVAE_WARP, "slice": NC_VQVAE_SLICE, "gauss": NC_VQVAE_GAUSS}
ENCODE_BATCH = 256
KMEANS_SERIES = 1024


class Fitted(NamedTuple):
    """A trained tokenizer, its prior, and what was recorded of both stages."""

    tokenizer: Tokenizer
    prior: Prior
    histories: dict[str, History]
    fingerprint: str


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


def fit(
    data: SeriesSet,
    labels: Tensor,
    config: Config,
    *,
    classes: int,
    seed: int = 0,
    folder: pathlib.Path | None = None,
    progress: bool = False,
    cpu: bool = False,
) -> Fitted:
    """Train both stages.

    Args:
        data: The training series.
        labels: int64 `(cases,)` in [0, classes), or -1 throughout.
        config: What to train, and how long.
        classes: Number of classes; 0 where there are no labels.
        seed: Decides every weight, order and noise.
        folder: Where checkpoints are kept, and taken up again; None keeps none.
        progress: Show bars.
        cpu: Stay on the CPU even where there is an accelerator.

    Returns:
        The trained parts and their histories.

    Raises:
        ValueError: If the data cannot serve the config, before any training.
    """
    cases = len(data.values)
    least = 2 if config.tokenizer.ssl != "none" else 1
    if cases < least:
        raise ValueError(f"fit: the SSL loss needs at least {least} series; got {cases}")
    accelerator = build_accelerator(config.precision, cpu=cpu)
    with torch.random.fork_rng():
        torch.manual_seed(keyed_generator(seed, "weights").initial_seed())
        tokenizer = Tokenizer(
            config.tokenizer, channels=data.values.shape[1], length=data.values.shape[2]
        )
        stage_one = config.tokenizer_training
        turns = stage_one.accumulation * accelerator.num_processes
        rows = max(min(stage_one.batch, cases) // turns, 1)
        model = TokenizerModel(tokenizer, batch=rows)
        prior_seed = torch.random.initial_seed()
    tokenizer.scaler.fit(data.values, data.valid)
    scaled = data._replace(values=tokenizer.scale(data.values, data.valid))
    print_of_run = fingerprint(data, labels, config, seed)
    common: dict[str, Any] = {
        "seed": seed, "accelerator": accelerator, "folder": folder, "fingerprint": print_of_run,
        "progress": progress, "workers": config.workers,
    }  # fmt: skip
    histories = {}
    start_codebooks(tokenizer, scaled, seed=seed)
    stage, training, steps = tokenizer_stage(model, scaled, config, seed, accelerator.num_processes)
    histories["tokenizer"] = train_stage(stage, training, steps=steps, **common)
    tokenizer.cpu().requires_grad_(False)
    codes = encode_series(tokenizer, scaled)
    with torch.random.fork_rng():
        torch.manual_seed(prior_seed)
        codebooks = [branch.quantizer.codebook.detach() for branch in tokenizer.parts]
        prior = Prior(config.prior, tokenizer, classes=classes, codebooks=codebooks)
    stage, training, steps = prior_stage(
        prior, codes, labels, config, seed, accelerator.num_processes
    )
    histories["prior"] = train_stage(stage, training, steps=steps, **common)
    prior.cpu().requires_grad_(False)
    return Fitted(tokenizer, prior, histories, print_of_run)


def fingerprint(data: SeriesSet, labels: Tensor, config: Config, seed: int) -> str:
    """What two runs must share for one to go on with the other's checkpoints."""
    said = {**config_to_dict(config), "workers": None}
    text = json.dumps([said, seed, data.digest(), labels.tolist()], sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()


@torch.no_grad()
def start_codebooks(tokenizer: Tokenizer, scaled: SeriesSet, *, seed: int) -> None:
    """Put every codebook among the first latents of up to 1024 series, by k-means."""
    if not tokenizer.config.kmeans:
        return
    cases = len(scaled.values)
    chosen = torch.randperm(cases, generator=keyed_generator(seed, "kmeans-series"))
    some = scaled.take(chosen[:KMEANS_SERIES])
    masks = tokenizer.token_valid(some.lengths)
    was = tokenizer.training
    tokenizer.train()
    state = {k: v.clone() for k, v in tokenizer.state_dict().items()}
    latents = [
        branch.encoder(band)
        for branch, band in zip(tokenizer.parts, tokenizer.bands(some.values), strict=True)
    ]
    tokenizer.load_state_dict(state)  # BatchNorm's statistics as they were
    tokenizer.train(was)
    share = _share(len(some.values))  # the processes put their shares together again
    for number, (branch, latent, valid) in enumerate(
        zip(tokenizer.parts, latents, masks, strict=True)
    ):
        found, codes = int(valid.sum()), tokenizer.config.codebook_size
        if found < codes and _rank_and_world()[0] == 0:
            warnings.warn(
                f"fit: k-means needs a vector for each code; got {found} for {codes} codes; "
                "the rest start as such vectors with a little noise",
                stacklevel=3,
            )
        branch.quantizer.initialize(
            latent[share], valid[share], generator=keyed_generator(seed, "kmeans", number)
        )


def encode_series(tokenizer: Tokenizer, scaled: SeriesSet) -> Tensor:
    """Codes of scaled series, int64 `(cases, tokens)`, in batches, changing no state."""
    with torch.no_grad(), evaluation(tokenizer):
        parts = [
            tokenizer.encode(values, lengths)
            for values, lengths in zip(
                torch.split(scaled.values, ENCODE_BATCH),
                torch.split(scaled.lengths, ENCODE_BATCH),
                strict=True,
            )
        ]
    return torch.cat(parts)


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
                mine = slice(None) if _rank_and_world()[0] == 0 else slice(0)
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


def _rank_and_world() -> tuple[int, int]:
    dist = torch.distributed
    if not (dist.is_available() and dist.is_initialized()):
        return 0, 1
    return dist.get_rank(), dist.get_world_size()


def _share(cases: int) -> slice:
    """This process's contiguous share of so many cases."""
    rank, world = _rank_and_world()
    return slice(cases * rank // world, cases * (rank + 1) // world)


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
