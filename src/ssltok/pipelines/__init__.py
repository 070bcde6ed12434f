"""The story end to end: data, training, generation, evaluation, and the command."""

__all__: list[str] = []
