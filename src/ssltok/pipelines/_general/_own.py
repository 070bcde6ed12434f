"""A set's tokenizer with the general weights, and a prior on its tokens."""

import copy
import dataclasses
from typing import Any, NamedTuple

from torch import Tensor

from ssltok.data import SeriesSet
from ssltok.pipelines._auto._cost import count, seconds
from ssltok.pipelines._branch import Branch
from ssltok.pipelines._fit import Fitted, fingerprint
from ssltok.pipelines._general._codec import GeneralCodec
from ssltok.pipelines._general._frames import cut_of
from ssltok.pipelines._large._encode_rows import encode_rows
from ssltok.pipelines._prior import Prior
from ssltok.pipelines._stage_two._prior_stage import prior_stage
from ssltok.pipelines._stages import paced
from ssltok.pipelines._tokenizer import Tokenizer
from ssltok.pipelines._uses._texture import describe_texture, fit_texture
from ssltok.pipelines._words._build import build_prior, starting_codebooks
from ssltok.pipelines._words._config import Config, DecodingConfig, PriorConfig, TokenizerConfig
from ssltok.pipelines._words._parts import Parts
from ssltok.quantizers import ResidualQuantizer
from ssltok.signal import Waveform
from ssltok.training import TrainingConfig, accelerated, keyed_generator, seeded, train_stage

__all__ = ["Prepared", "fit_prior", "own_branch", "own_config", "prepared"]

FEWEST = 50  # steps of a prior
EPOCHS = 300  # passes over the series at most
FINE_TUNING = 300  # steps


def own_branch(codec: GeneralCodec, length: int, *, patch: int | None, levels: int) -> Branch:
    """The coder for series of one length, with copies of the general weights."""
    patch = cut_of(length, patch=patch).patch
    codec = copy.deepcopy(codec)
    parts = list(codec.quantizer.quantizers)[:levels]
    quantizer = parts[0] if levels == 1 else ResidualQuantizer(parts)
    return Branch(
        codec.encoder.resized(length=length, patch=patch),
        quantizer,
        codec.decoder.resized(length=length, patch=patch),
    )


def own_config(cases: int, *, levels: int) -> Config:
    """Sizes of a prior, and how the tokenizer is trained further where it is."""
    batch = min(64, cases)
    return Config(
        tokenizer=TokenizerConfig(
            coder="patch", channelwise=True, dim=32, codebook_size=1024, kmeans=False,
            quantizer="ema" if levels == 1 else "residual", codes_per_token=levels, decay=0.99,
            commitment_weight=0.25, view_weight=0.0, projector_dim=256, texture=True,
        ),
        prior=PriorConfig(dim=128, depth=2, heads=4, mlp_ratio=2.0, dropout=0.1),
        tokenizer_training=TrainingConfig(
            steps=FINE_TUNING, batch=batch, learning_rate=3e-4, warmup_ratio=0.1
        ),
        prior_training=TrainingConfig(
            steps=FEWEST, batch=batch, learning_rate=2e-3, warmup_ratio=0.05
        ),
        decoding=DecodingConfig(steps=10),
    )  # fmt: skip


class Prepared(NamedTuple):
    """A tokenizer of a set with the general weights, its tokens, and a prior that has not begun."""

    config: Config
    """With as many steps of the prior as the minutes allow."""
    tokenizer: Tokenizer
    scaled: SeriesSet
    codes: Tensor
    prior: Prior


def prepared(
    codec: GeneralCodec,
    data: SeriesSet,
    labels: Tensor,
    *,
    classes: int,
    minutes: float,
    patch: int | None,
    levels: int,
    seed: int,
    progress: bool,
) -> Prepared:
    """Build what trains a prior about so many minutes on two cores; steps are counted."""
    cases, channels, length = data.shape
    branch = own_branch(codec, length, patch=patch, levels=levels)
    tokenizer = Tokenizer(Waveform(length), [branch], channels=channels, channelwise=True)
    tokenizer.fit_scale(data)
    tokenizer.requires_grad_(False).eval()
    scaled = tokenizer.scaled(data)
    config = own_config(cases, levels=levels)
    codes = encode_rows(tokenizer, scaled, progress=progress)
    with seeded(keyed_generator(seed, "weights").initial_seed()):
        prior = build_prior(
            config.prior, tokenizer, classes=classes, codebooks=starting_codebooks(tokenizer)
        )
    first, _, _ = prior_stage(prior, codes, labels, config, seed=seed, world=1, parts=Parts())
    state = {name: value.clone() for name, value in prior.state_dict().items()}
    batch = config.prior_training.batch
    with seeded(seed):
        cost = seconds(count(lambda: first.model(first.draw(0, slice(0, batch))).loss))
    prior.load_state_dict(state)
    prior.zero_grad(set_to_none=True)
    most = max(EPOCHS * cases // batch, FEWEST)
    steps = max(FEWEST, min(int(60 * minutes / cost), most))
    config = dataclasses.replace(
        config, prior_training=dataclasses.replace(config.prior_training, steps=steps)
    )
    return Prepared(config, tokenizer, scaled, codes, prior)


def fit_prior(
    start: Prepared,
    data: SeriesSet,
    labels: Tensor,
    *,
    seed: int,
    progress: bool,
    tell: Any,
    cpu: bool,
) -> Fitted:
    """Train a prior on the tokens of series.

    The tokens are those of patches at the scale of the set; the general weights do not move.
    """
    config, tokenizer, scaled, codes, prior = start
    print_of = fingerprint(data, labels, config, seed)
    fit_texture(tokenizer, scaled, seed=seed)
    if tell is not None:
        tell(describe_texture(tokenizer))
    stage, training, steps = prior_stage(
        prior, codes, labels, config, seed=seed, world=1, parts=Parts()
    )
    with accelerated(config.precision, cpu=cpu) as accelerator:
        history = train_stage(
            paced(stage, steps, tell), training, steps=steps, seed=seed, accelerator=accelerator,
            folder=None, fingerprint=print_of, progress=progress, workers=config.workers,
        )  # fmt: skip
    prior.cpu().requires_grad_(False).eval()
    return Fitted(tokenizer.cpu(), prior, {"prior": history}, print_of)
