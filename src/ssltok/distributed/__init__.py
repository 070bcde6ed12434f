"""Collectives that gradients pass through; each is the identity when no process group exists."""

__all__: list[str] = []
