"""Encoders, decoders, transformers, projectors and normalisations: plain modules."""

from ssltok.nn._attention import Attention
from ssltok.nn._geometry import downsampling_stages
from ssltok.nn._pooling import AverageMaxPool, average_max_pool
from ssltok.nn._projector import Projector
from ssltok.nn._rotary import RotaryPositions
from ssltok.nn._spectrogram_coder import SpectrogramDecoder, SpectrogramEncoder
from ssltok.nn._token_embedding import ContextEmbedding, TokenEmbedding
from ssltok.nn._token_transformer import TokenTransformer
from ssltok.nn._transformer import Transformer

__all__ = [
    "Attention",
    "AverageMaxPool",
    "ContextEmbedding",
    "Projector",
    "RotaryPositions",
    "SpectrogramDecoder",
    "SpectrogramEncoder",
    "TokenEmbedding",
    "TokenTransformer",
    "Transformer",
    "average_max_pool",
    "downsampling_stages",
]
