"""Both acts from start to end: data and a config in, a trained tokenizer and prior out."""

import hashlib
import json
import pathlib
import warnings
from typing import Any, NamedTuple

import torch
from torch import Tensor

from ssltok._shared.modes import evaluation_mode
from ssltok.data import SeriesSet
from ssltok.distributed import rank_and_world
from ssltok.pipelines._config import Config
from ssltok.pipelines._config_json import config_to_dict
from ssltok.pipelines._prior import Prior
from ssltok.pipelines._stages import (
    TokenizerModel,
    prior_stage,
    tokenizer_stage,
)
from ssltok.pipelines._tokenizer import Tokenizer
from ssltok.training import History, build_accelerator, keyed_generator, train_stage

__all__ = ["Fitted", "encode_series", "fit"]

ENCODE_BATCH = 256
KMEANS_SERIES = 1024


class Fitted(NamedTuple):
    """A trained tokenizer, its prior, and what was recorded of both stages."""

    tokenizer: Tokenizer
    prior: Prior
    histories: dict[str, History]
    fingerprint: str


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
        if found < codes and rank_and_world()[0] == 0:
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
    with torch.no_grad(), evaluation_mode(tokenizer):
        parts = [
            tokenizer.encode(values, lengths)
            for values, lengths in zip(
                torch.split(scaled.values, ENCODE_BATCH),
                torch.split(scaled.lengths, ENCODE_BATCH),
                strict=True,
            )
        ]
    return torch.cat(parts)


def _share(cases: int) -> slice:
    """This process's contiguous share of so many cases."""
    rank, world = rank_and_world()
    return slice(cases * rank // world, cases * (rank + 1) // world)
