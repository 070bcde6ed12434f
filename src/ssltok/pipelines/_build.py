"""The only place where words become parts: one table a field, for Python, JSON and the command."""

import math
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

from torch import Tensor, nn

from ssltok import nn as networks
from ssltok import quantizers, training
from ssltok.augment import NC_VQVAE_GAUSS, NC_VQVAE_SLICE, NC_VQVAE_WARP
from ssltok.decoding import classifier_free_guidance, confidence_order, temperature_sample
from ssltok.masking import cosine_schedule
from ssltok.nn import (
    ContextEmbedding,
    LevelEmbedding,
    TokenEmbedding,
    TokenTransformer,
    Transformer,
)
from ssltok.pipelines._config import DecodingConfig, PriorConfig, TokenizerConfig
from ssltok.pipelines._decoding import Decoding
from ssltok.pipelines._parts import Parts, build_part
from ssltok.pipelines._prior import Prior
from ssltok.pipelines._token_features import TokenFeatures
from ssltok.pipelines._tokenizer import Branch, Tokenizer
from ssltok.signal import STFTBands, Waveform
from ssltok.training import Objective

__all__ = ["AUGMENTATIONS", "build_decoding", "build_objective", "build_prior", "build_tokenizer"]

NOTHING = Parts()
AUGMENTATIONS = {"warp": NC_VQVAE_WARP, "slice": NC_VQVAE_SLICE, "gauss": NC_VQVAE_GAUSS}
PROJECTED_DIM = 8  # channels in which factorised codes are looked up, as in ViT-VQGAN and DAC
FEWEST, MOST_LEVELS = 3, 8  # of an FSQ channel

Pair = tuple[Any, Any]
HEAD_DIM = 16  # channels of an attention head, where they divide the coder's


def _trunk_sizes(config: TokenizerConfig) -> dict[str, int]:
    """Sizes of a transformer coder: as many layers as blocks, at least one."""
    heads = max(1, config.dim // HEAD_DIM)
    heads = next(h for h in range(heads, 0, -1) if config.dim % h == 0)
    return {"hidden_dim": config.dim, "depth": max(1, config.blocks), "heads": heads}


CODERS: dict[str, Callable[[TokenizerConfig], Pair]] = {
    "spectrogram": lambda c: (
        partial(networks.SpectrogramEncoder, blocks=c.blocks),
        partial(networks.SpectrogramDecoder, blocks=c.blocks),
    ),
    "snake": lambda c: (
        partial(networks.SnakeEncoder, blocks=c.blocks),
        partial(networks.SnakeDecoder, blocks=c.blocks),
    ),
    "conv": lambda c: (
        partial(networks.ConvEncoder1d, hidden_dim=c.dim, blocks=c.blocks),
        partial(networks.ConvDecoder1d, hidden_dim=c.dim, blocks=c.blocks),
    ),
    "patch": lambda c: (
        partial(networks.PatchEncoder1d, hidden_dim=c.dim, blocks=c.blocks),
        partial(networks.PatchDecoder1d, hidden_dim=c.dim, blocks=c.blocks),
    ),
    "transformer": lambda c: (
        partial(networks.TransformerEncoder1d, **_trunk_sizes(c)),
        partial(networks.TransformerDecoder1d, **_trunk_sizes(c)),
    ),
}
"""Encoder and decoder by the config's word."""


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
        branches = [build_part(branch, sizes) for branch in parts.branches]
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
    return Tokenizer(transform, branches, channels=channels, channelwise=config.channelwise)


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
    word = parts.quantizer
    if word is None:
        word = QUANTIZERS[config.quantizer](config, encoder.dim)
    quantizer = build_part(word, {**known, "codebook_size": config.codebook_size})
    if getattr(quantizer, "dim", encoder.dim) != encoder.dim:
        quantizer = quantizers.ProjectedQuantizer(quantizer, encoder.dim, channel_dim=1)
    return Branch(encoder, quantizer, decoder)


def _codebook(config: TokenizerConfig, dim: int, *, channel_dim: int = 1) -> nn.Module:
    """A codebook of moving averages, as the papers have it."""
    return quantizers.EMAVectorQuantizer(
        dim, config.codebook_size, decay=config.decay, commitment_weight=config.commitment_weight,
        channel_dim=channel_dim,
    )  # fmt: skip


def _vector(config: TokenizerConfig, dim: int, *, cosine: bool = False) -> nn.Module:
    return quantizers.VectorQuantizer(
        dim, config.codebook_size, commitment_weight=config.commitment_weight, cosine=cosine,
        channel_dim=1,
    )  # fmt: skip


def _fsq(config: TokenizerConfig, dim: int) -> nn.Module:
    return quantizers.FSQ(fsq_levels(config.codebook_size))


def fsq_levels(codebook_size: int) -> list[int]:
    """Levels of an FSQ of so many codes, large ones first; fewest channels, then most even.

    Raises:
        ValueError: If the size is no product of numbers from 3 to 8; near sizes are named.
    """

    def split(size: int, most: int) -> list[list[int]]:
        if size == 1:
            return [[]]
        found = []
        for level in range(min(most, size), FEWEST - 1, -1):
            if size % level == 0:
                found += [[level, *rest] for rest in split(size // level, level)]
        return found

    options = split(codebook_size, MOST_LEVELS)
    if not options:
        near = [
            size for distance in range(1, codebook_size)
            for size in (codebook_size - distance, codebook_size + distance)
            if size >= FEWEST and split(size, MOST_LEVELS)
        ][:2]  # fmt: skip
        raise ValueError(
            f"fsq: codebook_size must be a product of numbers from {FEWEST} to {MOST_LEVELS}; "
            f"got {codebook_size} (near: {sorted(near)})"
        )
    return min(options, key=lambda levels: (len(levels), max(levels) - min(levels)))


def _bits(config: TokenizerConfig, name: str) -> int:
    bits = config.codebook_size.bit_length() - 1
    if 2**bits != config.codebook_size or not bits:
        raise ValueError(
            f"{name}: codebook_size must be a power of two from 2; got {config.codebook_size}"
        )
    return bits


def _several(config: TokenizerConfig, dim: int) -> list[nn.Module]:
    return [_codebook(config, dim, channel_dim=-1) for _ in range(config.codes_per_token)]


def _grouped(config: TokenizerConfig, dim: int) -> nn.Module:
    groups = config.codes_per_token
    if dim % groups:
        raise ValueError(f"grouped: dim must be a multiple of codes_per_token; got {dim}, {groups}")
    return quantizers.GroupedQuantizer(_several(config, dim // groups), channel_dim=1)


QUANTIZERS: dict[str, Callable[[TokenizerConfig, int], nn.Module]] = {
    "ema": _codebook,
    "gradient": _vector,
    "cosine": lambda c, dim: _vector(c, dim, cosine=True),
    "projected": lambda c, dim: quantizers.ProjectedQuantizer(
        quantizers.VectorQuantizer(
            min(dim, PROJECTED_DIM), c.codebook_size, commitment_weight=c.commitment_weight
        ),
        dim,
        channel_dim=1,
    ),
    "fsq": _fsq,
    "lfq": lambda c, dim: quantizers.LFQ(_bits(c, "lfq")),
    "bsq": lambda c, dim: quantizers.BSQ(_bits(c, "bsq")),
    "simvq": lambda c, dim: quantizers.SimVQ(
        dim, c.codebook_size, commitment_weight=c.commitment_weight, channel_dim=1
    ),
    "gumbel": lambda c, dim: quantizers.GumbelQuantizer(dim, c.codebook_size, channel_dim=1),
    "random_projection": lambda c, dim: quantizers.RandomProjectionQuantizer(
        dim, c.codebook_size, channel_dim=1
    ),
    "grouped": _grouped,
    "residual": lambda c, dim: quantizers.ResidualQuantizer(_several(c, dim), channel_dim=1),
}
"""Quantizers by the config's word."""


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
    """
    sizes = {"encoder": encoder, "batch": batch}
    if parts.objective is not None:
        objective: Objective = build_part(parts.objective, sizes)
        return objective
    if config.ssl == "none":
        return None
    built: Objective = build_part(OBJECTIVES[config.ssl](config, batch, encoder), sizes)
    return built


def _patch_values(encoder: TokenFeatures) -> int:
    """Values of the patches that cut a series into as many as the tokens' frames."""
    tokenizer = encoder.tokenizer
    return tokenizer.channels * -(-tokenizer.length // max(encoder.frames, 1))


def _small_trunk() -> Transformer:
    """What fills in hidden places: small, so that the tokens have to know."""
    return Transformer(32, depth=1, heads=2)


Maker = Callable[[TokenizerConfig, int, TokenFeatures], Any]
OBJECTIVES: dict[str, Maker] = {
    "barlow_twins": lambda c, batch, e: partial(
        training.BarlowTwins, projector_dim=c.projector_dim, divide_by_dim=True
    ),
    "vicreg": lambda c, batch, e: partial(training.VICReg, projector_dim=c.projector_dim),
    "vibcreg": lambda c, batch, e: partial(
        training.VIbCReg, projector_dim=c.projector_dim, covariance_weight=100.0,
        group_size=math.gcd(c.projector_dim, 1 << min(6, batch.bit_length() - 1)),
    ),
    "sigreg": lambda c, batch, e: partial(training.SIGReg, hidden_dim=c.projector_dim),
    "w_mse": lambda c, batch, e: partial(
        training.WMSE, hidden_dim=c.projector_dim, projector_dim=max(1, min(64, batch // 2))
    ),
    "nt_xent": lambda c, batch, e: partial(training.NTXent, hidden_dim=c.projector_dim),
    "byol": lambda c, batch, e: partial(
        training.BYOL, hidden_dim=c.projector_dim, predictor_dim=c.projector_dim
    ),
    "simsiam": lambda c, batch, e: partial(training.SimSiam, projector_dim=c.projector_dim),
    "moco": lambda c, batch, e: partial(training.MoCo, hidden_dim=c.projector_dim),
    "swav": lambda c, batch, e: partial(training.SwAV, hidden_dim=c.projector_dim),
    "dino": lambda c, batch, e: partial(training.DINO, hidden_dim=c.projector_dim),
    "ts2vec": lambda c, batch, e: training.TS2Vec,
    "supcon": lambda c, batch, e: partial(training.SupCon, hidden_dim=c.projector_dim),
    "mae": lambda c, batch, e: partial(
        training.MAE, decoder=networks.MAEDecoder(e.dim, _patch_values(e), _small_trunk())
    ),
    "beit": lambda c, batch, e: partial(
        training.BEiT,
        quantizer=quantizers.RandomProjectionQuantizer(_patch_values(e), c.codebook_size),
    ),
    "data2vec": lambda c, batch, e: partial(training.Data2Vec, layers=last_layer),
    "ibot": lambda c, batch, e: partial(training.IBOT, hidden_dim=c.projector_dim),
}  # fmt: skip
"""Objectives by the config's word; Barlow Twins, VICReg and VIbCReg with NC-VQVAE's constants."""


def last_layer(encoder: nn.Module, series: Tensor, valid: Tensor | None) -> list[Tensor]:
    """What data2vec predicts of a tokenizer: its latents; it has no layers of one shape."""
    return [encoder(series, valid)]


def reads_tokens(config: TokenizerConfig, parts: Parts) -> bool:
    """Say whether the objective needs a feature for each token."""
    kind = parts.objective
    if kind is None:
        return config.ssl in ("ts2vec", "mae", "beit", "data2vec", "ibot")
    return bool(getattr(kind, "func", kind).by_token)


def build_prior(
    config: PriorConfig,
    tokenizer: Tokenizer,
    *,
    classes: int,
    codebooks: Sequence[Tensor] | None = None,
    parts: Parts = NOTHING,
) -> Prior:
    """Build a prior for a tokenizer's tokens.

    Args:
        config: Sizes.
        tokenizer: Gives grids and codebooks' sizes.
        classes: Number of labels; 0 for none.
        codebooks: What the embeddings start from, for each branch `(codebook_size, dim)`, or
            `(codes, codebook_size, dim)` with several codes; None starts from noise.
        parts: Parts that take the place of the config's.

    Returns:
        The prior, new.
    """
    if parts.prior is not None:
        prior: Prior = build_part(parts.prior, {"tokenizer": tokenizer, "classes": classes})
        return prior
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
    return Prior(transformers, sizes=tokenizer.sizes, classes=classes)


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
        if book.reshape(*book.shape[-len(expected) - 1 :]).shape[:-1] != expected:
            return None
        books.append(book)
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
    return Decoding(
        steps=config.steps,
        schedule=cosine_schedule if parts.schedule is None else parts.schedule,
        orders=tuple(orders),
        sample=build_part(sample, {}),
        guidance=guidance,
    )
