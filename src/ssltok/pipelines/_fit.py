"""Both acts from start to end: data and a config in, a trained tokenizer and prior out."""

import contextlib
import dataclasses
import hashlib
import json
import pathlib
import warnings
from collections.abc import Callable
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from ssltok._shared.identity import identity_of
from ssltok._shared.outputs import check_free, check_output, workplace
from ssltok._shared.portions import portion
from ssltok.data import SeriesSet, SourceSet
from ssltok.distributed import rank_and_world
from ssltok.pipelines._large._encode_rows import encode_rows
from ssltok.pipelines._prior import Prior
from ssltok.pipelines._rehearse import rehearse
from ssltok.pipelines._stage_two._conditions import Conditions
from ssltok.pipelines._stage_two._prior_stage import prior_stage
from ssltok.pipelines._stage_two._variants import variant_codes
from ssltok.pipelines._stages import (
    TokenizerModel,
    compare,
    paced,
    tokenizer_stage,
)
from ssltok.pipelines._token_features import TokenFeatures
from ssltok.pipelines._tokenizer import Tokenizer
from ssltok.pipelines._uses._gaps import fit_fill
from ssltok.pipelines._uses._texture import describe_texture, fit_texture
from ssltok.pipelines._words._build import (
    build_objective,
    build_prior,
    build_tokenizer,
    starting_codebooks,
)
from ssltok.pipelines._words._config import Config
from ssltok.pipelines._words._parts import Parts
from ssltok.pipelines._words._values import config_to_dict
from ssltok.training import (
    History,
    ObserveStep,
    accelerated,
    keyed_generator,
    seeded,
    train_stage,
)

__all__ = ["Fitted", "build_stage_one", "encode_series", "fit", "start_tokenizer"]

START_SERIES = 1024  # series whose latents a codebook starts from
NOTHING = Parts()


class Fitted(NamedTuple):
    """A trained tokenizer, its prior, and what was recorded of both stages.

    Attributes:
        tokenizer: Stage 1.
        prior: Stage 2.
        histories: What each stage recorded, by its name: `tokenizer` and `prior`.
        fingerprint: A hash of data, config, seed and parts, by which a run knows its checkpoints.
    """

    tokenizer: Tokenizer
    prior: Prior
    histories: dict[str, History]
    fingerprint: str


def fit(
    data: SeriesSet | SourceSet,
    labels: Tensor,
    config: Config,
    *,
    classes: int,
    seed: int = 0,
    folder: pathlib.Path | None = None,
    progress: bool = False,
    tell: Callable[[str], None] | None = None,
    cpu: bool = False,
    parts: Parts = NOTHING,
    conditions: Conditions | None = None,
    observe: ObserveStep | None = None,
) -> Fitted:
    """Train both stages.

    Args:
        data: The training series.
        labels: int64 `(cases,)` in [0, classes), -1 where there is none.
        config: What to train, and how long.
        classes: Number of classes; 0 where there are no labels.
        seed: Decides every weight, order and noise.
        folder: Where checkpoints are kept, and taken up again; None keeps none.
        progress: Show bars, where there is a terminal.
        tell: Gets a line for each stage: how long it will take.
        cpu: Stay on the CPU even where there is an accelerator.
        parts: Parts in the place of the config's; none of the caller's modules is trained.
        conditions: What the prior is told of each series, as tensors of about mean 0 and variance
            1 in training.
        observe: Called after each step of both stages, `"tokenizer"` and `"prior"`, as by
            `train_stage`.

    Returns:
        The trained parts and their histories.

    Raises:
        ValueError: If the data cannot serve the config, before any training.

    Example:
        >>> import torch
        >>> from ssltok.data import read_series
        >>> from ssltok.pipelines import Config, PriorConfig, TokenizerConfig, fit, shorten
        >>> config = Config(
        ...     tokenizer=TokenizerConfig(dim=4, blocks=0, codebook_size=3, projector_dim=8),
        ...     prior=PriorConfig(dim=8, depth=1),
        ... )
        >>> series = read_series(torch.randn(4, 1, 32, generator=torch.Generator().manual_seed(0)))
        >>> fitted = fit(series, torch.tensor([0, 1, 0, 1]), shorten(config, steps=1), classes=2)
        >>> sorted(fitted.histories), fitted.prior.classes
        (['prior', 'tokenizer'], 2)
    """
    with accelerated(config.precision, cpu=cpu) as accelerator:
        return _fit(
            data, labels, config, parts, accelerator, classes=classes, seed=seed, folder=folder,
            progress=progress, tell=tell, conditions=conditions, observe=observe,
        )  # fmt: skip


def _fit(
    data: SeriesSet | SourceSet,
    labels: Tensor,
    config: Config,
    parts: Parts,
    accelerator: Any,
    *,
    classes: int,
    seed: int,
    folder: pathlib.Path | None,
    progress: bool,
    tell: Callable[[str], None] | None,
    conditions: Conditions | None,
    observe: ObserveStep | None,
) -> Fitted:
    tell = tell if accelerator.is_main_process else None
    if isinstance(data, SourceSet):
        data.measure(progress=progress, tell=tell)
    cases = data.cases
    stage_one = config.tokenizer_training
    turns = stage_one.accumulation * accelerator.num_processes
    rows = max(min(stage_one.batch, cases) // turns, 1)
    channels, length = data.shape[1:]
    model = build_stage_one(
        config, channels=channels, length=length, batch=rows, seed=seed, parts=parts
    )
    tokenizer = model.tokenizer
    if conditions is not None and conditions.channels is not None and config.prior.variants:
        raise ValueError(
            f"fit: variants must be 0 with known channels, which warped copies would not follow; "
            f"got {config.prior.variants}"
        )
    least = 1 if model.objective is None else 2
    if cases < least:
        raise ValueError(f"fit: the SSL loss needs at least {least} series; got {cases}")
    tokenizer.fit_scale(data)
    scaled = tokenizer.scaled(data)
    needed = rehearse(
        model, data, labels, config, parts, classes=classes, seed=seed, accelerator=accelerator,
        conditions=conditions,
    )  # fmt: skip
    with contextlib.ExitStack() as held:
        if folder is not None and accelerator.is_main_process:
            for name in ("tokenizer", "prior", "tensorboard"):
                check_output("fit", folder / name / "step", name="checkpoints")
            check_free("fit", folder, needed, "the checkpoints of both stages and the model")
            held.enter_context(workplace("fit", folder))
        return _train(
            model, scaled, labels, config, parts, accelerator, classes=classes, seed=seed,
            folder=folder, fingerprint=fingerprint(data, labels, config, seed, parts, conditions),
            progress=progress, tell=tell, conditions=conditions, observe=observe,
        )  # fmt: skip


def _train(
    model: TokenizerModel,
    scaled: SeriesSet | SourceSet,
    labels: Tensor,
    config: Config,
    parts: Parts,
    accelerator: Any,
    *,
    classes: int,
    seed: int,
    folder: pathlib.Path | None,
    fingerprint: str,
    progress: bool,
    tell: Callable[[str], None] | None,
    conditions: Conditions | None,
    observe: ObserveStep | None,
) -> Fitted:
    """Both stages, once everything has been asked."""
    tokenizer = model.tokenizer
    common: dict[str, Any] = {
        "seed": seed, "accelerator": accelerator, "folder": folder, "fingerprint": fingerprint,
        "progress": progress, "workers": config.workers, "observe": observe,
    }  # fmt: skip
    histories = {}
    if tell is not None:
        tell(f"starting from up to {START_SERIES} of {scaled.cases} series")
    start_tokenizer(tokenizer, scaled, seed=seed, codebooks=config.tokenizer.kmeans)
    stage, training, steps = tokenizer_stage(
        model, scaled, labels, config, seed=seed, world=accelerator.num_processes,
        augment=parts.augment,
    )  # fmt: skip
    histories["tokenizer"] = train_stage(paced(stage, steps, tell), training, steps=steps, **common)
    tokenizer.cpu().requires_grad_(False)
    fit_fill(tokenizer, scaled, ratio=config.tokenizer.gaps, seed=seed)
    if config.tokenizer.texture:
        fit_texture(tokenizer, scaled, seed=seed)
        if tell is not None:
            tell(describe_texture(tokenizer))
    codes = encode_rows(tokenizer, scaled, progress=progress)
    with seeded(keyed_generator(seed, "weights").initial_seed()):
        codebooks = starting_codebooks(tokenizer) if config.prior.start == "codebook" else None
        prior = build_prior(
            config.prior, tokenizer, classes=classes, codebooks=codebooks, parts=parts,
            conditions=(0, 0) if conditions is None else conditions.sizes,
        )  # fmt: skip
    stage, training, steps = prior_stage(
        prior, codes, labels, config, seed=seed, world=accelerator.num_processes, parts=parts,
        pick=variant_codes(tokenizer, scaled, codes, config.prior, seed=seed),
        conditions=conditions,
    )  # fmt: skip
    histories["prior"] = train_stage(paced(stage, steps, tell), training, steps=steps, **common)
    prior.cpu().requires_grad_(False)
    return Fitted(tokenizer, prior, histories, fingerprint)


def build_stage_one(
    config: Config, *, channels: int, length: int, batch: int, seed: int, parts: Parts = NOTHING
) -> TokenizerModel:
    """Build the tokenizer, and what it learns from views, with the weights of a seed.

    Args:
        config: What is not given as a part.
        channels: Channels of the series.
        length: Samples of the longest.
        batch: Series in a batch of one process.
        seed: Decides the weights.
        parts: Parts in the place of the config's.

    Returns:
        The model whose `forward` is stage 1's step.

    Raises:
        ValueError: If parts do not fit each other.
        TypeError: If a part lacks a member of its protocol.

    Example:
        >>> from ssltok.pipelines import Config, TokenizerConfig, build_stage_one
        >>> config = Config(tokenizer=TokenizerConfig(dim=4, blocks=0, codebook_size=3))
        >>> model = build_stage_one(config, channels=1, length=32, batch=4, seed=0)
        >>> model.tokenizer.grids
        ((5, 8),)
    """
    with seeded(keyed_generator(seed, "weights").initial_seed()):
        tokenizer = build_tokenizer(config.tokenizer, channels=channels, length=length, parts=parts)
        plain = dataclasses.replace(parts, compared=None, quantized=None)
        pool = compare(config.tokenizer, plain, 1).pool
        features = TokenFeatures(tokenizer, pool=pool)
        objective = build_objective(config.tokenizer, features, batch=batch, parts=parts)
        if parts.objective is not None:  # a class may say only once it is built what it reads
            plain = dataclasses.replace(plain, objective=objective)
            wanted = compare(config.tokenizer, plain, 1).pool
            if wanted is not pool:
                features = TokenFeatures(tokenizer, pool=wanted)
                objective = build_objective(config.tokenizer, features, batch=batch, parts=parts)
            parts = dataclasses.replace(parts, objective=objective)
    views = 1 if objective is None else int(objective.views)
    return TokenizerModel(tokenizer, objective, compare(config.tokenizer, parts, views))


def fingerprint(
    data: SeriesSet | SourceSet,
    labels: Tensor,
    config: Config,
    seed: int,
    parts: Parts = NOTHING,
    conditions: Conditions | None = None,
) -> str:
    """What two runs must share for one to go on with the other's checkpoints."""
    plain = {**config_to_dict(config), "workers": None}
    known: Any = labels.tolist()
    if isinstance(data, SourceSet):
        known = hashlib.sha256(labels.numpy().tobytes()).hexdigest()
    whole = [plain, seed, data.digest(), known]
    named = {name: identity_of(part) for name, part in vars(parts).items() if part is not None}
    more = [] if conditions is None else [conditions.digest()]
    text = json.dumps([*whole, named] if named else whole, sort_keys=True) + "".join(more)
    return hashlib.sha256(text.encode()).hexdigest()


@torch.no_grad()
def start_tokenizer(
    tokenizer: Tokenizer, scaled: SeriesSet | SourceSet, *, seed: int, codebooks: bool = True
) -> None:
    """Start coders and codebooks from up to 1024 series, those that have a start.

    Args:
        tokenizer: Changed in place; the running statistics of its norms are left as they were.
        scaled: Series at the scale of the model.
        seed: Chooses the series, and the first centres of k-means.
        codebooks: Whether to start codebooks, by k-means of the first latents.

    Example:
        >>> import torch
        >>> from ssltok.data import read_series
        >>> from ssltok.pipelines import TokenizerConfig, build_tokenizer, start_tokenizer
        >>> config = TokenizerConfig(dim=4, blocks=0, codebook_size=3)
        >>> tokenizer = build_tokenizer(config, channels=1, length=32)
        >>> series = read_series(torch.randn(4, 1, 32, generator=torch.Generator().manual_seed(0)))
        >>> start_tokenizer(tokenizer, series, seed=0)
        >>> tokenizer.branches[0].quantizer.codebook.shape
        torch.Size([3, 4])
    """
    chosen = torch.randperm(scaled.cases, generator=keyed_generator(seed, "kmeans-series"))
    some = scaled.take(chosen[:START_SERIES])
    bands = tokenizer.bands(some.values)
    padded = bool((some.lengths < tokenizer.length).any())
    within = tokenizer.within(some.lengths)
    for branch, band, mask in zip(tokenizer.parts, bands, within, strict=True):
        branch.start(band, mask)
    if not codebooks:
        return
    masks = tokenizer.token_valid(some.lengths)
    training = tokenizer.training
    tokenizer.train()
    state = {k: v.clone() for k, v in tokenizer.state_dict().items()}
    latents = _latents(tokenizer, bands, some.lengths if padded else None)
    tokenizer.load_state_dict(state)  # BatchNorm's statistics as they were
    tokenizer.train(training)
    for number, (branch, latent, valid) in enumerate(
        zip(tokenizer.parts, latents, masks, strict=True)
    ):
        share = _share(len(latent))  # the processes put their shares together again
        before = _snapshot(branch.quantizer)
        branch.initialize(
            latent[share], valid[share], generator=keyed_generator(seed, "kmeans", number)
        )
        vectors, codes = int(valid.sum()), max(tokenizer.codebook_sizes[number])
        started = any(
            not torch.equal(old, new)
            for old, new in zip(before, _snapshot(branch.quantizer), strict=True)
        )
        if started and vectors < codes and rank_and_world()[0] == 0:
            warnings.warn(
                f"fit: k-means needs a vector for each code; got {vectors} for {codes} codes; "
                "the rest start as such vectors with a little noise",
                stacklevel=3,
            )


def encode_series(tokenizer: Tokenizer, scaled: SeriesSet) -> Tensor:
    """Codes of scaled series, int64 `(cases, tokens)`, in batches, changing no state.

    Example:
        >>> import torch
        >>> from ssltok.data import read_series
        >>> from ssltok.pipelines import TokenizerConfig, build_tokenizer, encode_series
        >>> config = TokenizerConfig(dim=4, blocks=0, codebook_size=3)
        >>> tokenizer = build_tokenizer(config, channels=1, length=32)
        >>> series = read_series(torch.randn(4, 1, 32, generator=torch.Generator().manual_seed(0)))
        >>> encode_series(tokenizer.eval(), series).shape
        torch.Size([4, 40])
    """
    return encode_rows(tokenizer, scaled).long()


def _latents(tokenizer: Tokenizer, bands: list[Tensor], lengths: Tensor | None) -> list[Tensor]:
    """Latents in portions; norms see a portion at a time, as they do in training."""
    each = tokenizer.channels if tokenizer.channelwise else 1
    cases = len(bands[0]) // each
    rows = portion(cases, tokenizer.length * each)
    parts = []
    for first in range(0, cases, rows):
        some = slice(first * each, (first + rows) * each)
        ends = None if lengths is None else lengths[first : first + rows]
        parts.append(tokenizer.latents([band[some] for band in bands], ends))
    return [torch.cat(branch) if len(branch) > 1 else branch[0]
            for branch in zip(*parts, strict=True)]  # fmt: skip


def _snapshot(module: nn.Module) -> list[Tensor]:
    return [value.clone() for value in module.state_dict().values()]


def _share(cases: int) -> slice:
    """This process's contiguous share of so many cases."""
    rank, world = rank_and_world()
    return slice(cases * rank // world, cases * (rank + 1) // world)
