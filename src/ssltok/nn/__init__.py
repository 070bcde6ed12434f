"""Encoders, decoders, transformers, projectors and normalisations: plain modules."""

from ssltok.nn._geometry import downsampling_stages
from ssltok.nn._pooling import AverageMaxPool, average_max_pool
from ssltok.nn._projector import Projector
from ssltok.nn._spectrogram_coder import SpectrogramDecoder, SpectrogramEncoder

__all__ = [
    "AverageMaxPool",
    "Projector",
    "SpectrogramDecoder",
    "SpectrogramEncoder",
    "average_max_pool",
    "downsampling_stages",
]
