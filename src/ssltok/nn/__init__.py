"""Encoders, decoders, transformers, projectors and normalisations: plain modules."""

from ssltok.nn._attention import Attention
from ssltok.nn._geometry import downsampling_stages
from ssltok.nn._iter_norm import IterNorm
from ssltok.nn._pooling import AverageMaxPool, average_max_pool
from ssltok.nn._projector import Projector
from ssltok.nn._rotary import RotaryPositions
from ssltok.nn._snake import Snake
from ssltok.nn._snake_coder import SnakeDecoder, SnakeEncoder
from ssltok.nn._spectrogram_coder import SpectrogramDecoder, SpectrogramEncoder
from ssltok.nn._token_embedding import ContextEmbedding, TokenEmbedding
from ssltok.nn._token_transformer import TokenTransformer
from ssltok.nn._transformer import Transformer

__all__ = [
    "Attention",
    "AverageMaxPool",
    "ContextEmbedding",
    "IterNorm",
    "Projector",
    "RotaryPositions",
    "Snake",
    "SnakeDecoder",
    "SnakeEncoder",
    "SpectrogramDecoder",
    "SpectrogramEncoder",
    "TokenEmbedding",
    "TokenTransformer",
    "Transformer",
    "average_max_pool",
    "downsampling_stages",
]
