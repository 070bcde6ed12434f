"""Encoders, decoders, transformers, projectors and normalisations: plain modules."""

__all__: list[str] = []
