"""Self-supervised, masked and distillation losses: pure functions and thin modules."""

__all__: list[str] = []
