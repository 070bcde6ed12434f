"""Every way to turn vectors into codes, and codes into vectors."""

from ssltok.quantizers._quantized import Quantized, Quantizer

__all__ = ["Quantized", "Quantizer"]
