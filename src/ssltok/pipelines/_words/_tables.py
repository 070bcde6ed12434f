"""What each word of a config stands for: one table a field, for Python, JSON and the command."""

import itertools
import math
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import torch
from einops import rearrange
from torch import Tensor, nn

from ssltok import decoding as rules
from ssltok import nn as networks
from ssltok import quantizers, training
from ssltok.augment import NC_VQVAE_GAUSS, NC_VQVAE_SLICE, NC_VQVAE_WARP
from ssltok.nn import Transformer
from ssltok.pipelines._token_features import TokenFeatures
from ssltok.pipelines._words._config import TokenizerConfig
from ssltok.pipelines._words._parts import Parts

__all__ = [
    "AUGMENTATIONS",
    "CODERS",
    "COUNTS",
    "OBJECTIVES",
    "QUANTIZERS",
    "fsq_levels",
    "reads_tokens",
]

AUGMENTATIONS = {"warp": NC_VQVAE_WARP, "slice": NC_VQVAE_SLICE, "gauss": NC_VQVAE_GAUSS}
COUNTS: dict[str, Callable[[float], rules.Settle] | None] = {
    "schedule": None,
    "entropy_bound": rules.entropy_bound,
    "confidence_threshold": rules.confidence_threshold,
    "confidence_factor": rules.confidence_factor,
    "stable_prediction": lambda bound: rules.stable_prediction(divergence=bound),
}
"""How many tokens stay, by the config's word; None leaves it to the schedule."""
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
        partial(networks.PatchEncoder1d, hidden_dim=c.dim, blocks=c.blocks, gaps=c.gaps > 0),
        partial(networks.PatchDecoder1d, hidden_dim=c.dim, blocks=c.blocks),
    ),
    "transformer": lambda c: (
        partial(networks.TransformerEncoder1d, **_trunk_sizes(c), gaps=c.gaps > 0),
        partial(networks.TransformerDecoder1d, **_trunk_sizes(c)),
    ),
}
"""Encoder and decoder by the config's word."""


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
        splits = []
        for level in range(min(most, size), FEWEST - 1, -1):
            if size % level == 0:
                splits += [[level, *rest] for rest in split(size // level, level)]
        return splits

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


def _growing(config: TokenizerConfig, dim: int, places: int) -> nn.Module:
    """Two codes at the first place, all at the last."""
    sizes = quantizers.growing_sizes(
        places, config.codebook_size, smallest=min(2, config.codebook_size)
    )
    return quantizers.GrowingQuantizer(_codebook(config, dim, channel_dim=-1), sizes, channel_dim=1)


def _multi_scale(config: TokenizerConfig, dim: int) -> nn.Module:
    """Each level has cells half as long as those of the level before; the last has single ones."""
    strides = [2**level for level in reversed(range(config.codes_per_token))]
    return quantizers.MultiScaleQuantizer(_several(config, dim), strides=strides, channel_dim=1)


QUANTIZERS: dict[str, Callable[[TokenizerConfig, int], Any]] = {
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
    "affine": lambda c, dim: quantizers.AffineVectorQuantizer(
        dim, c.codebook_size, decay=c.decay, commitment_weight=c.commitment_weight, channel_dim=1
    ),
    "diveq": lambda c, dim: quantizers.DiVeQ(dim, c.codebook_size, channel_dim=1),
    "nsvq": lambda c, dim: quantizers.NSVQ(dim, c.codebook_size, channel_dim=1),
    "symmetric_fsq": lambda c, dim: quantizers.SymmetricFSQ(fsq_levels(c.codebook_size)),
    "fsp": lambda c, dim: quantizers.FSP(fsq_levels(c.codebook_size)),
    "growing": lambda c, dim: partial(_growing, c, dim),
    "multi_scale": _multi_scale,
}
"""Quantizers by the config's word, or what builds one when `places`, the tokens, are known."""


def _places(encoder: TokenFeatures) -> tuple[tuple[int, ...], int]:
    """The first sample of each place of a tokenizer, and how many the longest has."""
    begins = tuple(encoder.begins.ceil().int().tolist())
    edges = [*begins, encoder.tokenizer.length]
    return begins, max((end - begin for begin, end in itertools.pairwise(edges)), default=1)


def _patch_values(encoder: TokenFeatures) -> int:
    """Values behind each place of a tokenizer."""
    return encoder.tokenizer.channels * _places(encoder)[1]


def _target(encoder: TokenFeatures) -> Callable[[Tensor, Tensor | None], Tensor] | None:
    """What lies behind each place of a tokenizer, where its coder cuts the series.

    None are the objectives' own patches, whose padding has no error: where the places are those.
    """
    begins, window = _places(encoder)
    if begins == tuple(range(0, len(begins) * window, window)):
        return None
    return partial(place_patches, begins=begins, window=window)


def place_patches(
    series: Tensor, valid: Tensor | None, *, begins: Sequence[int], window: int
) -> Tensor:
    """The samples of each of a tokenizer's places, `(batch, frames, channels * window)`.

    All windows have one length and end with the series, so two may share samples. Padding is 0.
    """
    if valid is not None:
        series = torch.where(valid[:, None], series, 0.0)
    first = torch.tensor(begins, device=series.device).clamp(max=series.shape[2] - window)
    index = first[:, None] + torch.arange(window, device=series.device)
    pattern = "batch channels frames window -> batch frames (channels window)"
    return rearrange(series[:, :, index], pattern)


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
        training.MAE, decoder=networks.MAEDecoder(e.dim, _patch_values(e), _small_trunk()),
        target=_target(e),
    ),
    "beit": lambda c, batch, e: partial(
        training.BEiT,
        quantizer=quantizers.RandomProjectionQuantizer(_patch_values(e), c.codebook_size),
        target=_target(e),
    ),
    "data2vec": lambda c, batch, e: partial(training.Data2Vec, layers=last_layer),
    "ibot": lambda c, batch, e: partial(training.IBOT, hidden_dim=c.projector_dim),
    "lejepa": lambda c, batch, e: partial(training.LeJEPA, hidden_dim=c.projector_dim),
    "visreg": lambda c, batch, e: partial(training.VISReg, projector_dim=c.projector_dim),
    "frossl": lambda c, batch, e: partial(training.FroSSL, projector_dim=c.projector_dim),
    "mmcr": lambda c, batch, e: partial(training.MMCR, projector_dim=c.projector_dim),
    "emp_ssl": lambda c, batch, e: partial(training.EMPSSL, projector_dim=c.projector_dim),
    "simdino": lambda c, batch, e: partial(training.SimDINO, hidden_dim=c.projector_dim),
    "tico": lambda c, batch, e: partial(training.TiCo, hidden_dim=c.projector_dim),
    "nepa": lambda c, batch, e: training.NEPA,
    "lenepa": lambda c, batch, e: partial(training.LeNEPA, hidden_dim=c.projector_dim),
    "capi": lambda c, batch, e: training.CAPI,
    "dcl": lambda c, batch, e: partial(training.DCL, hidden_dim=c.projector_dim),
    "nnclr": lambda c, batch, e: partial(training.NNCLR, hidden_dim=c.projector_dim),
    "ressl": lambda c, batch, e: partial(training.ReSSL, hidden_dim=c.projector_dim),
    "vicregl": lambda c, batch, e: partial(training.VICRegL, projector_dim=c.projector_dim),
    "multi_similarity": lambda c, batch, e: partial(
        training.MultiSimilarity, hidden_dim=c.projector_dim
    ),
    "labelled_nt_xent": lambda c, batch, e: partial(
        training.LabelledNTXent, hidden_dim=c.projector_dim
    ),
}  # fmt: skip
"""Objectives by the config's word; Barlow Twins, VICReg and VIbCReg with NC-VQVAE's constants."""


def last_layer(encoder: nn.Module, series: Tensor, valid: Tensor | None) -> list[Tensor]:
    """What data2vec predicts of a tokenizer: its latents; it has no layers of one shape."""
    return [encoder(series, valid)]


def reads_tokens(config: TokenizerConfig, parts: Parts) -> bool:
    """Say whether the objective needs a feature for each token.

    Where a class or a function does not say, no: ask again with what it has built.
    """
    kind = parts.objective
    if kind is None:
        return config.ssl in (
            "ts2vec", "mae", "beit", "data2vec", "ibot", "nepa", "lenepa", "capi", "vicregl"
        )  # fmt: skip
    return getattr(getattr(kind, "func", kind), "by_token", False) is True
