"""Small encoders of every kind, and each objective with options that are not its defaults."""

from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from ssltok import training
from ssltok.losses import (
    TAxisDistillationLoss,
    cka_loss,
    d_axis_distillation_loss,
    gram_anchoring_loss,
    multi_similarity_pairs,
)
from ssltok.masking import span_mask, unit_mask
from ssltok.nn import (
    AttentionPool,
    DilatedConvEncoder,
    HiddenStates,
    MAEDecoder,
    PatchEmbed1d,
    Transformer,
    ViT1d,
    average_max_pool,
    mean_pool,
)
from ssltok.quantizers import RandomProjectionQuantizer, VectorQuantizer

CHANNELS, LENGTH, PATCH, DIM = 2, 24, 4, 6
FRAMES = LENGTH // PATCH


class Tokens(nn.Module):
    """A vector for each patch, of series of any length: `(batch, tokens, dim)`."""

    dim = DIM

    def __init__(self) -> None:
        super().__init__()
        self.embedding = PatchEmbed1d(CHANNELS, 10, patch=PATCH)
        self.last = nn.Sequential(nn.Tanh(), nn.Linear(10, DIM))

    def forward(self, series: Tensor, valid: Tensor | None = None) -> Tensor:
        out: Tensor = self.last(self.embedding(series, valid=valid))
        return out

    def token_valid(self, valid: Tensor) -> Tensor:
        return self.embedding.token_valid(valid)


class Series(Tokens):
    """A vector for each series: `(batch, dim)`."""

    def forward(self, series: Tensor, valid: Tensor | None = None) -> Tensor:
        real = None if valid is None else self.token_valid(valid)
        out: Tensor = mean_pool(super().forward(series, valid), real, channel_dim=-1)
        return out


class Patches(nn.Module):
    """A vision transformer without a class token; with `rows=2` a token for each channel."""

    dim, frames = DIM, FRAMES

    def __init__(self, rows: int = 1) -> None:
        super().__init__()
        self.rows = rows
        embedding = PatchEmbed1d(CHANNELS // rows, DIM, patch=PATCH)
        trunk = Transformer(DIM, depth=2, heads=2)
        self.vit = ViT1d(embedding, trunk, class_token=False, mask_token=True)

    def _fold(self, series: Tensor, **options: Tensor | None) -> tuple[Tensor, dict[str, Any]]:
        repeated = {
            name: value.repeat_interleave(self.rows, 0)
            for name, value in options.items()
            if value is not None
        }
        if self.rows > 1:
            series = series.flatten(0, 1)[:, None]
        return series, repeated

    def _unfold(self, tokens: Tensor) -> Tensor:
        out: Tensor = tokens.unflatten(0, (-1, self.rows)).flatten(1, 2)
        return out

    def forward(
        self,
        series: Tensor,
        valid: Tensor | None = None,
        *,
        masked: Tensor | None = None,
        visible: Tensor | None = None,
    ) -> Tensor:
        folded, options = self._fold(series, valid=valid, masked=masked, visible=visible)
        out: Tensor = self._unfold(self.vit(folded, **options))
        return out

    def hidden_states(self, series: Tensor, valid: Tensor | None = None) -> HiddenStates:
        folded, options = self._fold(series, valid=valid)
        tokens, mlp = self.vit.hidden_states(folded, **options)
        return HiddenStates(tuple(map(self._unfold, tokens)), tuple(map(self._unfold, mlp)))

    def token_valid(self, valid: Tensor) -> Tensor:
        return self.vit.embedding.token_valid(valid).repeat(1, self.rows)


class Steps(nn.Module):
    """TS2Vec's encoder: a vector for each sample."""

    dim, frames, rows = DIM, LENGTH, 1

    def __init__(self) -> None:
        super().__init__()
        self.steps = DilatedConvEncoder(CHANNELS, DIM, hidden_dim=5, depth=2, dropout=0.0)

    def forward(
        self, series: Tensor, valid: Tensor | None = None, *, masked: Tensor | None = None
    ) -> Tensor:
        out: Tensor = self.steps(series, valid, mask=masked).transpose(1, 2)
        return out

    def token_valid(self, valid: Tensor) -> Tensor:
        return valid


class Pooled(nn.Module):
    """A pool with weights, in the order of arguments that objectives ask for."""

    def __init__(self) -> None:
        super().__init__()
        self.pool = AttentionPool(DIM, hidden_dim=3, channel_dim=-1)

    def forward(self, tokens: Tensor, real: Tensor | None) -> Tensor:
        out: Tensor = self.pool(tokens, real)
        return out


def mlp(width: int, out: int) -> nn.Module:
    """A projector of one's own, without a norm."""
    return nn.Sequential(nn.Linear(width, 9), nn.Tanh(), nn.Linear(9, out))


def wide_pool(tokens: Tensor, real: Tensor | None) -> Tensor:
    return average_max_pool(tokens, real, channel_dim=-1)


def last_layer(encoder: nn.Module, series: Tensor, valid: Tensor | None) -> list[Tensor]:
    options = {} if valid is None else {"valid": valid}
    return [encoder(series, **options)]


def values(series: Tensor, valid: Tensor | None) -> Tensor:
    """The first values of each patch, as a target of one's own."""
    if valid is not None:
        series = series.masked_fill(~valid[:, None], 0)
    every: Tensor = series.unflatten(2, (FRAMES, PATCH)).transpose(1, 2).flatten(2)
    return every[..., : PATCH + 1]


def decoder(out_dim: int) -> nn.Module:
    return MAEDecoder(DIM, out_dim, Transformer(8, depth=1, heads=2))


class Frames(Tokens):
    """Tokens in the order of time, one for each patch."""

    frames, rows = FRAMES, 1


class Halves(Frames):
    """Two rows of tokens, one after the other, for the first and the last patches."""

    frames, rows = FRAMES // 2, 2


class RunningMean(nn.Module):
    """A causal predictor of one's own."""

    def __init__(self) -> None:
        super().__init__()
        self.last = nn.Linear(DIM, DIM)

    def forward(self, tokens: Tensor) -> Tensor:
        count = torch.arange(1, tokens.shape[1] + 1, dtype=tokens.dtype)
        out: Tensor = self.last(tokens.cumsum(1) / count[:, None])
        return out


def patch_embedding(encoder: Any, series: Tensor, valid: Tensor | None) -> Tensor:
    """What goes into a transformer of patches."""
    out: Tensor = encoder.vit.embedding(series, valid=valid)
    return out


def moments(series: Tensor, valid: Tensor | None = None) -> Tensor:
    """A teacher that is a function: a vector for each series."""
    if valid is None:
        valid = torch.ones_like(series[:, 0], dtype=torch.bool)
    kept = series.masked_fill(~valid[:, None], 0)
    count = valid.sum(1)[:, None]
    return torch.cat([kept.sum(2) / count, kept.square().sum(2) / count], dim=1)


class Case(NamedTuple):
    """A class, an encoder for it, and options that are not the defaults."""

    name: str
    encoder: Callable[[], nn.Module]
    options: Callable[[], dict[str, Any]]
    moves: bool = False  # whether update changes something of it
    channels: int = CHANNELS
    length: int = LENGTH

    def build(self, encoder: nn.Module) -> nn.Module:
        objective: nn.Module = getattr(training, self.name)(encoder, **self.options())
        return objective


mean = partial(mean_pool, channel_dim=-1)

CASES = {
    "BarlowTwins": Case(
        "BarlowTwins", Series,
        lambda: {"projector_dim": 7, "redundancy_weight": 0.02, "divide_by_dim": True},
    ),
    "BarlowTwins per token": Case(
        "BarlowTwins", Tokens, lambda: {"projector": mlp(DIM, 5), "redundancy_weight": 0.1}
    ),
    "BarlowTwins pooled": Case(
        "BarlowTwins", Tokens, lambda: {"projector_dim": 8, "pool": wide_pool}
    ),
    "Alignment": Case(
        "Alignment", Tokens,
        lambda: {
            "teacher": PatchEmbed1d(CHANNELS, 5, patch=PATCH), "teacher_dim": 5,
            "loss": TAxisDistillationLoss(similarity_weight=0.3),
        },
    ),
    "Alignment of series": Case(
        "Alignment", Series,
        lambda: {"teacher": moments, "teacher_dim": 5, "loss": gram_anchoring_loss},
    ),
    "Alignment pooled": Case(
        "Alignment", Tokens,
        lambda: {
            "teacher": moments, "projector": mlp(DIM, 5), "pool": Pooled(), "loss": cka_loss
        },
    ),
    "Alignment of another layer": Case(
        "Alignment", Patches,
        lambda: {
            "teacher": PatchEmbed1d(CHANNELS, 5, patch=PATCH), "projector": mlp(DIM, 5),
            "embed": patch_embedding, "loss": d_axis_distillation_loss,
        },
    ),
    "VICReg": Case(
        "VICReg", Series,
        lambda: {
            "projector_dim": 7, "invariance_weight": 20.0, "variance_weight": 12.5,
            "covariance_weight": 2.0,
        },
    ),
    "VICReg learned pool": Case(
        "VICReg", Tokens, lambda: {"projector_dim": 7, "pool": Pooled(), "covariance_weight": 3.0}
    ),
    "VIbCReg": Case(
        "VIbCReg", Series,
        lambda: {
            "projector_dim": 8, "group_size": 4, "invariance_weight": 20.0,
            "variance_weight": 12.5, "covariance_weight": 100.0,
        },
    ),
    "SIGReg": Case(
        "SIGReg", Series,
        lambda: {
            "projector_dim": 5, "hidden_dim": 9, "gaussian_weight": 0.3, "slices": 11, "views": 3
        },
    ),
    "WMSE": Case(
        "WMSE", Series,
        lambda: {
            "projector_dim": 3, "hidden_dim": 9, "sub_batch": 4, "eps": 0.1, "views": 3,
        },
    ),
    "NTXent": Case(
        "NTXent", Series,
        lambda: {"projector_dim": 5, "hidden_dim": 9, "temperature": 0.3, "views": 3},
    ),
    "NTXent per token": Case("NTXent", Tokens, lambda: {"projector_dim": 5, "hidden_dim": 9}),
    "SupCon": Case(
        "SupCon", Series,
        lambda: {"projector_dim": 5, "hidden_dim": 9, "temperature": 0.3, "views": 3},
    ),
    "SupCon per token": Case("SupCon", Tokens, lambda: {"projector_dim": 5, "hidden_dim": 9}),
    "BYOL": Case(
        "BYOL", Series,
        lambda: {"projector_dim": 5, "hidden_dim": 9, "predictor_dim": 4, "momentum": 0.7},
        moves=True,
    ),
    "BYOL of one's own": Case(
        "BYOL", Tokens,
        lambda: {
            "projector": mlp(DIM, 5), "predictor": mlp(5, 5), "pool": Pooled(), "momentum": 0.7
        },
        moves=True,
    ),
    "SimSiam": Case("SimSiam", Series, lambda: {"projector_dim": 8, "predictor_dim": 3}),
    "SimSiam of one's own": Case(
        "SimSiam", Tokens, lambda: {"projector": mlp(DIM, 5), "predictor": mlp(5, 5), "pool": mean}
    ),
    "MoCo": Case(
        "MoCo", Series,
        lambda: {
            "projector_dim": 5, "hidden_dim": 9, "queue_size": 13, "temperature": 0.3,
            "momentum": 0.7,
        },
        moves=True,
    ),
    "MoCo per token": Case(
        "MoCo", Tokens,
        lambda: {"projector": mlp(DIM, 4), "queue_size": 99, "momentum": 0.7},
        moves=True,
    ),
    "DCL": Case(
        "DCL", Series, lambda: {"projector_dim": 5, "hidden_dim": 9, "temperature": 0.3}
    ),
    "DCL weighted, per token": Case(
        "DCL", Tokens, lambda: {"projector": mlp(DIM, 5), "weight_temperature": 0.3}
    ),
    "LabelledNTXent": Case(
        "LabelledNTXent", Series,
        lambda: {
            "projector_dim": 5, "hidden_dim": 9, "temperature": 0.3, "views": 3,
            "miner": multi_similarity_pairs,
        },
    ),
    "MultiSimilarity": Case(
        "MultiSimilarity", Series,
        lambda: {
            "projector_dim": 5, "hidden_dim": 9, "positive_scale": 3.0, "negative_scale": 7.0,
            "views": 3, "miner": multi_similarity_pairs,
        },
    ),
    "MultiSimilarity per token": Case(
        "MultiSimilarity", Tokens, lambda: {"projector": mlp(DIM, 5)}
    ),
    "NNCLR": Case(
        "NNCLR", Series,
        lambda: {
            "projector_dim": 5, "hidden_dim": 9, "queue_size": 13, "temperature": 0.3,
        },
        moves=True,
    ),
    "NNCLR of one's own": Case(
        "NNCLR", Tokens,
        lambda: {"projector": mlp(DIM, 4), "predictor": mlp(4, 4), "queue_size": 99},
        moves=True,
    ),
    "ReSSL": Case(
        "ReSSL", Series,
        lambda: {
            "projector_dim": 5, "hidden_dim": 9, "queue_size": 13, "temperature": 0.3,
            "teacher_temperature": 0.2, "momentum": 0.7,
        },
        moves=True,
    ),
    "ReSSL per token": Case(
        "ReSSL", Tokens,
        lambda: {"projector": mlp(DIM, 4), "queue_size": 99, "momentum": 0.7},
        moves=True,
    ),
    "SALT": Case(
        "SALT", Patches,
        lambda: {
            "teacher": Patches(), "decoder": decoder(DIM), "mask_ratio": 0.5, "beta": None
        },
    ),
    "SALT by channel": Case(
        "SALT", partial(Patches, 2),
        lambda: {"teacher": Patches(2), "decoder": decoder(DIM), "beta": 0.3},
    ),
    "VICRegL": Case(
        "VICRegL", Tokens,
        lambda: {
            "projector_dim": 5, "pool": mean, "matches": 3, "global_weight": 0.4,
            "variance_weight": 12.5, "covariance_weight": 0.5,
        },
    ),
    "VICRegL of one's own": Case(
        "VICRegL", Tokens,
        lambda: {
            "projector": mlp(DIM, 5), "token_projector": mlp(DIM, 3), "variance_weight": 0.5
        },
    ),
    "SwAV": Case(
        "SwAV", Series,
        lambda: {
            "projector_dim": 5, "hidden_dim": 9, "prototypes": 7, "temperature": 0.2,
            "epsilon": 0.1, "views": 3,
        },
        moves=True,
    ),
    "SwAV per token": Case(
        "SwAV", Tokens, lambda: {"projector": mlp(DIM, 5), "prototypes": 7}, moves=True
    ),
    "DINO": Case(
        "DINO", Series,
        lambda: {
            "prototypes": 7, "hidden_dim": 9, "bottleneck_dim": 4, "momentum": 0.7,
            "teacher_temperature": 0.06, "views": 3,
        },
        moves=True,
    ),
    "DINO of one's own": Case(
        "DINO", Tokens, lambda: {"head": mlp(DIM, 7), "pool": mean, "momentum": 0.7}, moves=True
    ),
    "TS2Vec": Case(
        "TS2Vec", Steps,
        lambda: {
            "mask_ratio": 0.3, "least_overlap": 5, "instance_weight": 0.4, "temporal_unit": 1
        },
    ),
    "MAE": Case(
        "MAE", Patches,
        lambda: {
            "decoder": decoder(CHANNELS * PATCH), "mask_ratio": 0.5, "normalize_target": False
        },
    ),
    "MAE by channel": Case(
        "MAE", partial(Patches, 2),
        lambda: {"decoder": decoder(PATCH + 1), "mask_ratio": 0.4, "target": values},
    ),
    "BEiT": Case(
        "BEiT", Patches,
        lambda: {
            "quantizer": RandomProjectionQuantizer(CHANNELS * PATCH, 6, code_dim=4),
            "sampler": partial(unit_mask, ratio=0.5, unit=(1, 2)), "label_smoothing": 0.1,
        },
    ),
    "BEiT by channel": Case(
        "BEiT", partial(Patches, 2),
        lambda: {
            "quantizer": VectorQuantizer(PATCH + 1, 5), "target": values, "head": mlp(DIM, 5)
        },
    ),
    "Data2Vec": Case(
        "Data2Vec", Patches,
        lambda: {
            "sampler": partial(span_mask, ratio=0.6, length=3), "top": 1, "beta": None,
            "momentum": 0.7,
        },
        moves=True,
    ),
    "Data2Vec by channel": Case(
        "Data2Vec", partial(Patches, 2),
        lambda: {"layers": last_layer, "predictor": mlp(DIM, DIM), "beta": 2.0},
        moves=True,
    ),
    "IBOT": Case(
        "IBOT", Patches,
        lambda: {
            "prototypes": 7, "hidden_dim": 9, "bottleneck_dim": 4, "momentum": 0.7,
            "sampler": partial(unit_mask, ratio=0.5, unit=(1, 2)), "teacher_temperature": 0.06,
        },
        moves=True,
    ),
    "LeJEPA": Case(
        "LeJEPA", Series,
        lambda: {
            "projector_dim": 5, "hidden_dim": 9, "gaussian_weight": 0.3, "slices": 11, "views": 3,
            "global_views": 2,
        },
    ),
    "VISReg": Case(
        "VISReg", Series,
        lambda: {
            "projector_dim": 5, "regularization_weight": 0.3, "slices": 11, "views": 3,
            "global_views": 2,
        },
    ),
    "FroSSL": Case(
        "FroSSL", Series, lambda: {"projector_dim": 7, "invariance_weight": 0.4, "views": 3}
    ),
    "FroSSL per token": Case("FroSSL", Tokens, lambda: {"projector": mlp(DIM, 5)}),
    "MMCR": Case(
        "MMCR", Series, lambda: {"projector_dim": 4, "compression_weight": 0.4, "views": 3}
    ),
    "EMPSSL": Case(
        "EMPSSL", Series,
        lambda: {"projector_dim": 5, "agreement_weight": 3.0, "eps": 0.5, "views": 3},
    ),
    "SimDINO": Case(
        "SimDINO", Series,
        lambda: {
            "projector_dim": 5, "hidden_dim": 9, "momentum": 0.7, "agreement_weight": 2.0,
            "eps": 0.2, "views": 3,
        },
        moves=True,
    ),
    "SimDINO per token": Case("SimDINO", Tokens, lambda: {"projector": mlp(DIM, 5)}, moves=True),
    "TiCo": Case(
        "TiCo", Series,
        lambda: {
            "projector_dim": 5, "hidden_dim": 9, "momentum": 0.7, "moment_momentum": 0.6,
            "contrast_weight": 3.0,
        },
        moves=True,
    ),
    "TiCo per token": Case("TiCo", Tokens, lambda: {"projector": mlp(DIM, 5)}, moves=True),
    "NEPA": Case("NEPA", Halves, lambda: {"predictor": RunningMean()}),
    "NEPA of the paper": Case("NEPA", Patches, lambda: {"embed": patch_embedding}),
    "LeNEPA": Case(
        "LeNEPA", Halves,
        lambda: {
            "projector_dim": 5, "hidden_dim": 9, "gaussian_weight": 3.0, "slices": 11,
        },
    ),
    "LeNEPA of the paper": Case(
        "LeNEPA", Patches,
        lambda: {
            "projector": mlp(DIM, 5), "predictor": nn.Identity(), "embed": patch_embedding,
        },
    ),
    "LeNEPA of frames": Case(
        "LeNEPA", Frames, lambda: {"projector": mlp(DIM, 5), "predictor": RunningMean()}
    ),
    "CAPI": Case(
        "CAPI", Patches,
        lambda: {
            "prototypes": 7, "sampler": partial(unit_mask, ratio=0.5, unit=(1, 2)),
            "momentum": 0.7, "temperature": 0.3, "teacher_temperature": 0.2,
        },
        moves=True,
    ),
    "CAPI by channel": Case(
        "CAPI", partial(Patches, 2), lambda: {"prototypes": 5, "momentum": 0.7}, moves=True
    ),
    "IBOT by channel": Case(
        "IBOT", partial(Patches, 2),
        lambda: {"head": mlp(DIM, 7), "patch_head": mlp(DIM, 6), "momentum": 0.7},
        moves=True,
    ),
}  # fmt: skip


def built(name: str, *, seed: int = 0) -> tuple[nn.Module, nn.Module]:
    """An encoder and its objective, in float64, of one seed."""
    case = CASES[name]
    torch.manual_seed(seed)
    encoder = case.encoder().double()
    return encoder, case.build(encoder).double()
