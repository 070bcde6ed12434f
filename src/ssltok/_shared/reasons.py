"""What cannot be computed or drawn becomes a line with the reason, and the rest goes on."""

from collections.abc import Callable

__all__ = ["draw_or_tell", "reason_of"]


def reason_of(error: Exception) -> str:
    """One line of what went wrong."""
    first = (str(error).strip().splitlines() or [""])[0]
    if isinstance(error, ValueError) and first:
        return first
    return f"{type(error).__name__}: {first}" if first else type(error).__name__


def draw_or_tell(draw: Callable[[], tuple[str, bytes]]) -> tuple[str, bytes]:
    """A figure's sentence and its PNG; where it cannot be drawn the reason, and no bytes."""
    try:
        return draw()
    except Exception as error:  # the numbers and the other figures are still worth having
        return f"Not drawn: {reason_of(error)}", b""
