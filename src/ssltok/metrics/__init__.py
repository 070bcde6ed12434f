"""Fidelity, diversity, memorisation, tokens, representation: numbers that can be trusted."""

__all__: list[str] = []
