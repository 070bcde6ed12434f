"""A line for the reader."""

from ssltok.distributed import is_first

__all__ = ["say"]


def say(text: str) -> None:
    """Print a line, on the first process only."""
    if is_first():
        print(text, flush=True)
