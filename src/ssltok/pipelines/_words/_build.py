"""The only place where words become parts: one table a field, for Python, JSON and the command."""

import copy
import math
from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

from torch import Tensor, nn

from ssltok import quantizers
from ssltok.decoding import (
    classifier_free_guidance,
    confidence_order,
    rule_schedule,
    temperature_sample,
)
from ssltok.masking import cosine_schedule
from ssltok.nn import (
    ContextEmbedding,
    LevelEmbedding,
    TokenEmbedding,
    TokenTransformer,
    Transformer,
)
from ssltok.pipelines._branch import Branch
from ssltok.pipelines._generate import Decoding
from ssltok.pipelines._prior import ConditionedPrior, Prior
from ssltok.pipelines._protocols import check_prior
from ssltok.pipelines._stage_two._causal_prior import conditions_of
from ssltok.pipelines._token_features import TokenFeatures
from ssltok.pipelines._tokenizer import Tokenizer
from ssltok.pipelines._words._build_causal import build_causal, condition_embeddings
from ssltok.pipelines._words._config import DecodingConfig, PriorConfig, TokenizerConfig
from ssltok.pipelines._words._parts import Parts, build_part
from ssltok.pipelines._words._tables import CODERS, COUNTS, OBJECTIVES, QUANTIZERS
from ssltok.signal import GaussianFill, LineFill, STFTBands, Waveform
from ssltok.training import Objective

__all__ = ["build_decoding", "build_objective", "build_prior", "build_tokenizer"]

NOTHING = Parts()
MOST_FILLED = 1024  # values of a series whose covariance, 4 MiB then, is part of the model


def build_tokenizer(
    config: TokenizerConfig, *, channels: int, length: int, parts: Parts = NOTHING
) -> Tokenizer:
    """Build a tokenizer from words, numbers and parts.

    Args:
        config: What is not given as a part.
        channels: Channels of the series.
        length: Samples of the longest series.
        parts: Parts that take the place of the config's.

    Returns:
        The tokenizer, new; its scaler is not fitted.

    Raises:
        ValueError: If sizes do not fit each other, or a codebook of that size cannot be built.
        TypeError: If a part lacks a member of its protocol.

    Example:
        >>> from functools import partial
        >>> from ssltok.pipelines import Parts, TokenizerConfig, build_tokenizer
        >>> from ssltok.quantizers import FSQ
        >>> config = TokenizerConfig(dim=4, blocks=0)
        >>> parts = Parts(quantizer=partial(FSQ, [8, 5]))
        >>> tokenizer = build_tokenizer(config, channels=1, length=32, parts=parts)
        >>> tokenizer.codebook_size
        40
    """
    sizes: dict[str, Any] = {"length": length, "dim": config.dim}
    sizes["channels"] = 1 if config.channelwise else channels
    transform = build_part(_transform(config, parts), sizes)
    if parts.branches is not None:
        # Copied together: what two branches share stays shared.
        branches = [
            branch if isinstance(branch, nn.Module) else build_part(branch, sizes)
            for branch in copy.deepcopy(list(parts.branches))
        ]
    else:
        widths = config.widths * (transform.bands if len(config.widths) == 1 else 1)
        if len(widths) != transform.bands:
            raise ValueError(
                f"build_tokenizer: widths must be one, or as many as the transform's bands, "
                f"{transform.bands}; got {config.widths}"
            )
        branches = [
            _branch(config, parts, transform.shape(band, sizes["channels"]), sizes, width)
            for band, width in enumerate(widths)
        ]
    return Tokenizer(
        transform, branches, channels=channels, channelwise=config.channelwise,
        fill=_fill(config, parts, channels, length),
    )  # fmt: skip


def _fill(config: TokenizerConfig, parts: Parts, channels: int, length: int) -> nn.Module | None:
    """What completes the rest of partly observed series, where that is asked for."""
    if parts.fill is not None or not (config.gaps or config.fill):
        built: nn.Module | None = build_part(parts.fill, {"channels": channels, "length": length})
        return built
    if channels * length > MOST_FILLED:
        return LineFill()
    return GaussianFill(channels, length)


def _transform(config: TokenizerConfig, parts: Parts) -> Any:
    if parts.bands is not None:
        return parts.bands
    if config.coder not in ("spectrogram", "snake"):
        return Waveform
    edges = (config.edge,) if len(config.widths) == 2 else ()
    return partial(STFTBands, n_fft=config.n_fft, hop=config.hop, edges=edges)


def _branch(
    config: TokenizerConfig,
    parts: Parts,
    shape: Sequence[int],
    sizes: Mapping[str, Any],
    width: int,
) -> Branch:
    known = {**sizes, "width": width, "in_channels": shape[0]}
    if len(shape) == 3:
        known |= {"bins": shape[1], "frames": shape[2]}
    else:
        known |= {"frames": min(width, shape[1]), "patch": -(-shape[1] // width)}
    words = CODERS[config.coder](config)
    encoder = build_part(words[0] if parts.encoder is None else parts.encoder, known)
    known["dim"] = encoder.dim
    decoder = build_part(words[1] if parts.decoder is None else parts.decoder, known)
    known["places"] = math.prod(encoder.grid)
    word = parts.quantizer
    if word is None:
        word = QUANTIZERS[config.quantizer](config, encoder.dim)
    quantizer = build_part(word, {**known, "codebook_size": config.codebook_size})
    if getattr(quantizer, "dim", encoder.dim) != encoder.dim:
        quantizer = quantizers.ProjectedQuantizer(quantizer, encoder.dim, channel_dim=1)
    return Branch(encoder, quantizer, decoder)


def build_objective(
    config: TokenizerConfig, encoder: TokenFeatures, *, batch: int, parts: Parts = NOTHING
) -> Objective | None:
    """Build what is learned from views.

    Args:
        config: Its word, and the projector's width.
        encoder: The tokenizer's features, which give the objective its sizes.
        batch: Series in a batch of one process: VIbCReg whitens in groups of 64 features, or of
            fewer where the batch is smaller.
        parts: Parts that take the place of the config's.

    Returns:
        The objective, or None.

    Example:
        >>> from ssltok.pipelines import TokenFeatures, TokenizerConfig
        >>> from ssltok.pipelines import build_objective, build_tokenizer
        >>> config = TokenizerConfig(dim=4, blocks=0, codebook_size=3, ssl="vicreg")
        >>> tokenizer = build_tokenizer(config, channels=1, length=32)
        >>> objective = build_objective(config, TokenFeatures(tokenizer), batch=16)
        >>> type(objective).__name__
        'VICReg'
    """
    sizes = {"encoder": encoder, "batch": batch}
    if parts.objective is not None:
        objective: Objective = build_part(parts.objective, sizes)
        return objective
    if config.ssl == "none":
        return None
    built: Objective = build_part(OBJECTIVES[config.ssl](config, batch, encoder), sizes)
    return built


def build_prior(
    config: PriorConfig,
    tokenizer: Tokenizer,
    *,
    classes: int,
    codebooks: Sequence[Tensor] | None = None,
    conditions: tuple[int, int] = (0, 0),
    parts: Parts = NOTHING,
) -> Prior:
    """Build a prior for a tokenizer's tokens.

    Args:
        config: Sizes.
        tokenizer: Gives grids and codebooks' sizes.
        classes: Number of labels; 0 for none.
        codebooks: What the embeddings start from, for each branch `(codebook_size, dim)`, or
            `(codes, codebook_size, dim)` with several codes; None starts from noise.
        conditions: Covariates and known channels that it is told of a series.
        parts: Parts that take the place of the config's.

    Returns:
        The prior, new.

    Raises:
        TypeError: If the part lacks a member that `Prior` has.
        ValueError: If it is one of other tokens or labels.

    Example:
        >>> import torch
        >>> from ssltok.pipelines import PriorConfig, TokenizerConfig, build_prior, build_tokenizer
        >>> config = TokenizerConfig(dim=4, blocks=0, codebook_size=3)
        >>> tokenizer = build_tokenizer(config, channels=1, length=32)
        >>> prior = build_prior(PriorConfig(dim=8, depth=1), tokenizer, classes=2)
        >>> prior.sizes, prior.mask_index  # 40 tokens of three codes
        ((40,), 3)
    """
    if parts.prior is not None:
        prior: Prior = build_part(parts.prior, {"tokenizer": tokenizer, "classes": classes})
        check_prior("build_prior", prior, tokenizer, classes)
        if (conditions_of(prior) == (0, 0)) != (conditions == (0, 0)):
            raise ValueError(
                f"build_prior: a prior must be a ConditionedPrior where there are conditions, and "
                f"there alone; got {type(prior).__name__} and {conditions} conditions"
            )
        return prior
    if config.architecture == "causal":
        return build_causal(
            config, tokenizer, classes=classes, codebooks=codebooks, conditions=conditions
        )
    width = tokenizer.parts[0].dim

    def embedding(number: int, dim: int) -> TokenEmbedding | LevelEmbedding:
        sizes = tokenizer.codebook_sizes[number]
        start = None if codebooks is None else codebooks[number]
        if len(sizes) == 1:
            return TokenEmbedding(
                sizes[0], dim, embedding_dim=None if start is not None else width, codebook=start
            )
        starts = None if start is None else list(start)
        return LevelEmbedding(
            sizes, dim, embedding_dim=None if start is not None else width, codebooks=starts
        )

    low = (config.dim, config.depth, config.heads)
    high = (config.high_dim, config.high_depth, config.high_heads)
    transformers = []
    for number, size in enumerate(tokenizer.sizes):
        dim, depth, heads = high if number else low
        context = None
        if number:
            below, onto = (_flat_grid(tokenizer.grids[i]) for i in (number - 1, number))
            context = ContextEmbedding(embedding(number - 1, dim), grid=below, onto=onto)
        trunk = Transformer(
            dim, depth=depth, heads=heads, mlp_ratio=config.mlp_ratio, norm=nn.RMSNorm,
            dropout=config.dropout,
        )  # fmt: skip
        transformers.append(
            TokenTransformer(
                embedding(number, dim),
                trunk,
                tokens=size,
                classes=classes,
                label_dropout=0.0,  # the batch comes with its labels hidden
                tied=config.tied,
                context=context,
                grid=tokenizer.grids[number] if tokenizer.channelwise else None,
            )
        )
    limits = tokenizer.limits if any(tokenizer.limits) else None
    common: dict[str, Any] = {"sizes": tokenizer.sizes, "classes": classes, "limits": limits}
    dims = [transformer.trunk.dim for transformer in transformers]
    embeddings = condition_embeddings(dims, tokenizer, conditions)
    if embeddings is None:
        return Prior(transformers, **common)
    return ConditionedPrior(transformers, embeddings=embeddings, **common)


def _flat_grid(grid: Sequence[int]) -> tuple[int, int]:
    return math.prod(grid[:-1]), grid[-1]


def starting_codebooks(tokenizer: Tokenizer) -> list[Tensor] | None:
    """The codebooks that a prior's embeddings start from; None where there is no table of them."""
    books = []
    for branch, sizes in zip(tokenizer.parts, tokenizer.codebook_sizes, strict=True):
        if max(sizes) > MOST_TABLED or len(set(sizes)) > 1:
            return None
        book = branch.quantizer.codebook.detach()
        expected = (sizes[0],) if len(sizes) == 1 else (len(sizes), sizes[0])
        if book.shape[-len(expected) - 1 : -1] != expected:
            return None
        books.append(book.reshape(*expected, book.shape[-1]))  # without an axis of one level
    return books


MOST_TABLED = 2**16


def build_decoding(
    config: DecodingConfig, tokenizer: Tokenizer, *, parts: Parts = NOTHING
) -> Decoding:
    """Build the rules by which new tokens are drawn.

    Args:
        config: Steps, temperatures and guidance.
        tokenizer: Gives the grids, for orders that follow them.
        parts: Parts that take the place of the config's.

    Returns:
        The rules.

    Example:
        >>> from ssltok.pipelines import DecodingConfig, TokenizerConfig
        >>> from ssltok.pipelines import build_decoding, build_tokenizer
        >>> config = TokenizerConfig(dim=4, blocks=0, codebook_size=3)
        >>> tokenizer = build_tokenizer(config, channels=1, length=32)
        >>> decoding = build_decoding(DecodingConfig(steps=6), tokenizer)
        >>> decoding.steps, len(decoding.orders)
        (6, 1)
    """
    orders = []
    for number, grid in enumerate(tokenizer.grids):
        noise = config.high_order_temperature if number else config.order_temperature
        order = parts.order
        if order is None:
            order = partial(confidence_order, temperature=noise)
        orders.append(build_part(order, {"grid": _flat_grid(grid), "tokens": math.prod(grid)}))
    sample = parts.sampling
    if sample is None:
        sample = partial(temperature_sample, temperature=config.temperature)
    guidance = parts.guidance
    if guidance is None and config.guidance != 1:
        guidance = partial(classifier_free_guidance, scale=config.guidance)
    count = COUNTS[config.count]
    settle = parts.settle
    if settle is None and count is not None:
        settle = count(config.bound)
    schedule = parts.schedule
    if schedule is None:
        schedule = cosine_schedule if settle is None else rule_schedule
    return Decoding(
        steps=config.steps,
        schedule=schedule,
        orders=tuple(orders),
        sample=build_part(sample, {}),
        guidance=guidance,
        settle=build_part(settle, {}),
    )
