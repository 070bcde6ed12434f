"""Iterative decoding of masked tokens: how many, which, what, and what to mask again."""

__all__: list[str] = []
