"""Modules with options that are not the defaults, each with a call: cases of the law of options."""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from ssltok.nn import (
    Attention,
    AttentionPool,
    AverageMaxPool,
    CausalTokenTransformer,
    ConditionEmbedding,
    ContextEmbedding,
    ConvDecoder1d,
    ConvEncoder1d,
    CosinePatchDecoder1d,
    CosinePatchEncoder1d,
    DilatedConvEncoder,
    DINOHead,
    IterNorm,
    JEPAPredictor,
    LatentRegressor,
    LevelEmbedding,
    MAEDecoder,
    PatchDecoder1d,
    PatchEmbed1d,
    PatchEncoder1d,
    Predictor,
    PriorDiscriminator,
    Projector,
    ResNet1d,
    RotaryPositions,
    Snake,
    SnakeDecoder,
    SnakeEncoder,
    SpectrogramDecoder,
    SpectrogramEncoder,
    StochasticDepth,
    SwinTransformer1d,
    TokenEmbedding,
    TokenTransformer,
    Transformer,
    TransformerDecoder1d,
    TransformerEncoder1d,
    ValidBatchNorm1d,
    ValidBatchNorm2d,
    VariationalBottleneck,
    ViT1d,
)

Case = tuple[Callable[[], nn.Module], Callable[[Any], Tensor]]
CODES = torch.tensor([[0, 4, 2, 1], [3, 3, 4, 0], [1, 0, 2, 2]])
LEVELS = torch.stack([CODES, CODES.flip(0)], dim=-1)
PLACES = (torch.tensor([[0, 3], [1, -1], [2, 4]]), torch.tensor([[1, 2], [0, 5], [3, -1]]))
MAP: dict[str, Any] = {"bins": 3, "frames": 19, "width": 5}
SNAKE: dict[str, Any] = MAP | {"blocks": 1, "base_dim": 2, "dropout": 0.1, "mix_freq": False}
PATCH: dict[str, Any] = {"length": 19, "patch": 4, "hidden_dim": 6, "blocks": 2}
CONV: dict[str, Any] = {"length": 19, "width": 5, "hidden_dim": 6, "blocks": 1, "kernel_size": 5}
VIT: dict[str, Any] = {"length": 19, "patch": 4, "hidden_dim": 8, "depth": 2, "heads": 2}
NORM: dict[str, Any] = {"eps": 0.1, "momentum": 0.3, "affine": False, "track_running_stats": False}


def on(*shape: int) -> Callable[[Any], Tensor]:
    """Call a module on noise."""

    def call(module: Any) -> Tensor:
        out = module(torch.randn(shape))
        return out if isinstance(out, Tensor) else torch.cat(list(out), dim=-1)

    return call


def trunk(**options: Any) -> Transformer:
    return Transformer(8, **({"depth": 2, "heads": 2} | options))


def rich_trunk() -> Transformer:
    return Transformer(
        8,
        depth=4,
        heads=2,
        mlp_ratio=2.0,
        norm=nn.RMSNorm,
        causal=True,
        rotary=RotaryPositions(4, grid=(2, 3), base=50.0),
        dropout=0.1,
        stochastic_depth=0.2,
        distinct_layers=2,
        condition_dim=3,
        qk_norm=nn.LayerNorm,
        layer_scale=0.1,
    )


def prior() -> TokenTransformer:
    return TokenTransformer(
        TokenEmbedding(4, 8, embedding_dim=5),
        trunk(rotary=RotaryPositions(4, grid=(4,))),
        tokens=4,
        classes=2,
        label_dropout=0.5,
        registers=3,
        tied=True,
        learned_positions=False,
        dropout=0.2,
        context=ContextEmbedding(TokenEmbedding(3, 8), grid=(1, 2), onto=(2, 2)),
    )


def causal_prior() -> CausalTokenTransformer:
    return CausalTokenTransformer(
        TokenEmbedding(4, 8, embedding_dim=5),
        trunk(causal=True, rotary=RotaryPositions(4, grid=(4,))),
        tokens=4,
        classes=2,
        label_dropout=0.5,
        tied=True,
        learned_positions=False,
        dropout=0.2,
    )


def grid_prior() -> TokenTransformer:
    return TokenTransformer(LevelEmbedding((4, 3), 8), trunk(), tokens=4, grid=(2, 2))


def over_prior(module: Any) -> Tensor:
    several = module.grid is not None
    where = CODES == 4
    labels = None if several else torch.tensor([1, -1, 0])
    context = None if several else module.embed_context(CODES[:, :2].clamp(max=3))
    out: Tensor = module(LEVELS if several else CODES, where, labels, context=context)
    return out


def vit() -> ViT1d:
    return ViT1d(
        PatchEmbed1d(2, 8, patch=5, stride=3),
        trunk(),
        class_token=False,
        distillation_token=True,
        registers=2,
        mask_token=True,
        positions=False,
    )


def swin() -> SwinTransformer1d:
    return SwinTransformer1d(
        PatchEmbed1d(2, 8, patch=3),
        depths=(2, 1),
        heads=(2, 4),
        window=3,
        mlp_ratio=2.0,
        norm=nn.RMSNorm,
        stochastic_depth=0.2,
    )


OPTION_CASES: dict[str, list[Case]] = {
    "Attention": [(lambda: Attention(8, heads=4, qk_norm=nn.RMSNorm), on(3, 5, 8))],
    "AttentionPool": [(lambda: AttentionPool(4, hidden_dim=3, channel_dim=-1), on(3, 5, 4))],
    "AverageMaxPool": [(lambda: AverageMaxPool(channel_dim=2), on(3, 4, 5))],
    "CausalTokenTransformer": [
        (causal_prior, lambda module: module(CODES, torch.tensor([1, -1, 0]))),
    ],
    "ConditionEmbedding": [
        (
            lambda: ConditionEmbedding(8, features=3, channels=2, length=12, grid=(2, 3)),
            lambda module: module(torch.randn(3, 3), torch.randn(3, 2, 12)),
        )
    ],
    "ContextEmbedding": [
        (
            lambda: ContextEmbedding(TokenEmbedding(4, 8), grid=(2, 2), onto=(3, 5), kernel=3),
            lambda module: module(CODES),
        )
    ],
    "ConvDecoder1d": [(lambda: ConvDecoder1d(2, 8, **CONV), on(3, 8, 5))],
    "ConvEncoder1d": [(lambda: ConvEncoder1d(2, 8, **CONV), on(3, 2, 19))],
    "CosinePatchDecoder1d": [
        (lambda: CosinePatchDecoder1d(8, **PATCH | {"blocks": 1}), on(3, 8, 5))
    ],
    "CosinePatchEncoder1d": [
        (lambda: CosinePatchEncoder1d(8, **PATCH | {"blocks": 1}), on(3, 1, 19))
    ],
    "DINOHead": [
        (
            lambda: DINOHead(
                4, out_dim=6, hidden_dim=8, bottleneck_dim=3, layers=2, freeze_norm=False
            ),
            on(5, 4),
        )
    ],
    "DilatedConvEncoder": [
        (
            lambda: DilatedConvEncoder(2, 6, hidden_dim=4, depth=2, kernel_size=5, dropout=0.4),
            on(3, 2, 19),
        )
    ],
    "IterNorm": [
        (
            lambda: IterNorm(6, group_size=2, steps=3, eps=0.1, momentum=0.3, affine=False),
            on(5, 6),
        )
    ],
    "JEPAPredictor": [
        (
            lambda: JEPAPredictor(6, trunk(), positions=False),
            lambda module: module(torch.randn(3, 2, 6), *PLACES),
        )
    ],
    "LatentRegressor": [
        (
            lambda: LatentRegressor(6, depth=2, heads=2, mlp_ratio=2.0, stochastic_depth=0.3),
            lambda module: module(torch.randn(3, 2, 6), *PLACES),
        )
    ],
    "LevelEmbedding": [
        (
            lambda: LevelEmbedding((4, 3), 8, codebooks=[torch.randn(4, 5), torch.randn(3, 5)]),
            lambda module: module(LEVELS),
        )
    ],
    "MAEDecoder": [
        (
            lambda: MAEDecoder(6, 5, trunk(), positions=False),
            lambda module: module(torch.randn(3, 2, 6), CODES.clamp(max=2)),
        )
    ],
    "PatchDecoder1d": [(lambda: PatchDecoder1d(2, 8, **PATCH), on(3, 8, 5))],
    "PatchEmbed1d": [
        (lambda: PatchEmbed1d(2, 8, patch=5, stride=3, observed_mask=True), on(3, 2, 19))
    ],
    "PatchEncoder1d": [(lambda: PatchEncoder1d(2, 8, **PATCH, gaps=True), on(3, 2, 19))],
    "Predictor": [
        (lambda: Predictor(4, hidden_dim=3, layers=3, whiten=IterNorm(4, group_size=2)), on(5, 4))
    ],
    "PriorDiscriminator": [(lambda: PriorDiscriminator(4, hidden_dim=8, layers=2), on(5, 4))],
    "Projector": [
        (
            lambda: Projector(4, hidden_dim=8, out_dim=6, layers=2, whiten=nn.BatchNorm1d(6)),
            on(5, 4),
        )
    ],
    "ResNet1d": [
        (
            lambda: ResNet1d(
                2,
                widths=(4, 6),
                blocks=(1, 2),
                strides=(2, 3),
                kernel_size=5,
                stem_kernel_size=3,
                stem_stride=1,
            ),
            on(3, 2, 19),
        )
    ],
    "RotaryPositions": [
        (lambda: RotaryPositions(8, grid=(2, 3), base=50.0), lambda module: module(5)[0])
    ],
    "Snake": [(lambda: Snake(4, low=1.0, high=2.0), on(3, 4, 5))],
    "SnakeDecoder": [(lambda: SnakeDecoder(2, 8, **SNAKE), on(3, 8, 3, 4))],
    "SnakeEncoder": [(lambda: SnakeEncoder(2, 8, **SNAKE), on(3, 2, 3, 19))],
    "SpectrogramDecoder": [(lambda: SpectrogramDecoder(2, 8, **MAP, blocks=1), on(3, 8, 3, 4))],
    "SpectrogramEncoder": [(lambda: SpectrogramEncoder(2, 8, **MAP, blocks=1), on(3, 2, 3, 19))],
    "StochasticDepth": [(lambda: StochasticDepth(0.3), on(5, 4, 2))],
    "SwinTransformer1d": [(swin, on(3, 2, 19))],
    "TokenEmbedding": [
        (
            lambda: TokenEmbedding(4, 8, embedding_dim=5, codebook=torch.randn(4, 5)),
            lambda module: module(CODES),
        )
    ],
    "TokenTransformer": [(prior, over_prior), (grid_prior, over_prior)],
    "Transformer": [
        (
            rich_trunk,
            lambda module: module(torch.randn(3, 5, 8), condition=torch.randn(3, 3)),
        )
    ],
    "TransformerDecoder1d": [
        (lambda: TransformerDecoder1d(2, 6, **VIT, mlp_ratio=2.0, dropout=0.2), on(3, 6, 5))
    ],
    "TransformerEncoder1d": [
        (
            lambda: TransformerEncoder1d(2, 6, **VIT, mlp_ratio=2.0, dropout=0.2, gaps=True),
            on(3, 2, 19),
        )
    ],
    "ValidBatchNorm1d": [(lambda: ValidBatchNorm1d(2, **NORM), on(3, 2, 19))],
    "ValidBatchNorm2d": [(lambda: ValidBatchNorm2d(2, **NORM), on(3, 2, 5, 7))],
    "VariationalBottleneck": [(lambda: VariationalBottleneck(4, 3, channel_dim=1), on(5, 4, 2))],
    "ViT1d": [(vit, on(3, 2, 19))],
}
