"""Encoders, decoders, transformers, projectors and normalisations: plain modules."""

from ssltok.nn._attention import Attention
from ssltok.nn._causal_token_transformer import CausalTokenTransformer, NextToken
from ssltok.nn._condition_embedding import ConditionEmbedding
from ssltok.nn._context_embedding import ContextEmbedding
from ssltok.nn._conv_coder import ConvDecoder1d, ConvEncoder1d
from ssltok.nn._cosine_patch_coder import CosinePatchDecoder1d, CosinePatchEncoder1d
from ssltok.nn._cosines import cosine_patches, cosine_series
from ssltok.nn._dilated import DilatedConvEncoder
from ssltok.nn._dino_head import DINOHead
from ssltok.nn._geometry import downsampling_stages
from ssltok.nn._iter_norm import IterNorm
from ssltok.nn._jepa_predictor import JEPAPredictor
from ssltok.nn._key_value_cache import AttentionStep, KeyValueCache, KeyValues, TransformerStep
from ssltok.nn._latent_regressor import LatentRegressor
from ssltok.nn._level_embedding import LevelEmbedding
from ssltok.nn._mae_decoder import MAEDecoder
from ssltok.nn._patch_coder import PatchDecoder1d, PatchEncoder1d
from ssltok.nn._patch_embed import PatchEmbed1d, patch_valid, patchify, unpatchify
from ssltok.nn._places import token_places
from ssltok.nn._pooling import AttentionPool, AverageMaxPool, average_max_pool, max_pool, mean_pool
from ssltok.nn._prior_discriminator import PriorDiscriminator
from ssltok.nn._projector import Predictor, Projector
from ssltok.nn._resnet import ResNet1d
from ssltok.nn._rotary import RotaryPositions
from ssltok.nn._sinusoidal import sinusoidal_positions
from ssltok.nn._snake import Snake
from ssltok.nn._snake_coder import SnakeDecoder, SnakeEncoder
from ssltok.nn._spectrogram_coder import SpectrogramDecoder, SpectrogramEncoder
from ssltok.nn._stochastic_depth import StochasticDepth, stochastic_depth_rates
from ssltok.nn._stretch_pool import stretch_pool
from ssltok.nn._swin import SwinTransformer1d
from ssltok.nn._token_embedding import TokenEmbedding
from ssltok.nn._token_transformer import TokenTransformer
from ssltok.nn._transformer import HiddenStates, Transformer
from ssltok.nn._transformer_coder import TransformerDecoder1d, TransformerEncoder1d
from ssltok.nn._valid_batch_norm import ValidBatchNorm1d, ValidBatchNorm2d
from ssltok.nn._variational import GaussianLatents, VariationalBottleneck
from ssltok.nn._vit import ViT1d

__all__ = [
    "Attention",
    "AttentionPool",
    "AttentionStep",
    "AverageMaxPool",
    "CausalTokenTransformer",
    "ConditionEmbedding",
    "ContextEmbedding",
    "ConvDecoder1d",
    "ConvEncoder1d",
    "CosinePatchDecoder1d",
    "CosinePatchEncoder1d",
    "DINOHead",
    "DilatedConvEncoder",
    "GaussianLatents",
    "HiddenStates",
    "IterNorm",
    "JEPAPredictor",
    "KeyValueCache",
    "KeyValues",
    "LatentRegressor",
    "LevelEmbedding",
    "MAEDecoder",
    "NextToken",
    "PatchDecoder1d",
    "PatchEmbed1d",
    "PatchEncoder1d",
    "Predictor",
    "PriorDiscriminator",
    "Projector",
    "ResNet1d",
    "RotaryPositions",
    "Snake",
    "SnakeDecoder",
    "SnakeEncoder",
    "SpectrogramDecoder",
    "SpectrogramEncoder",
    "StochasticDepth",
    "SwinTransformer1d",
    "TokenEmbedding",
    "TokenTransformer",
    "Transformer",
    "TransformerDecoder1d",
    "TransformerEncoder1d",
    "TransformerStep",
    "ValidBatchNorm1d",
    "ValidBatchNorm2d",
    "VariationalBottleneck",
    "ViT1d",
    "average_max_pool",
    "cosine_patches",
    "cosine_series",
    "downsampling_stages",
    "max_pool",
    "mean_pool",
    "patch_valid",
    "patchify",
    "sinusoidal_positions",
    "stochastic_depth_rates",
    "stretch_pool",
    "token_places",
    "unpatchify",
]
