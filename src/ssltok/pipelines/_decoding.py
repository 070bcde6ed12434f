"""The rules by which a prior draws tokens."""

from collections.abc import Callable
from dataclasses import dataclass

from torch import Tensor

from ssltok._shared.checks import check_at_least
from ssltok.decoding import Guidance, LogitsFn, Order, Sample

__all__ = ["Decoding"]


@dataclass(frozen=True, kw_only=True)
class Decoding:
    """How many, which, what: the rules of `ssltok.decoding.iterative_decode`, for each branch."""

    steps: int
    """Forward passes from all tokens hidden to none, for each code of a token."""
    schedule: Callable[[Tensor], Tensor]
    """From progress to the share masked."""
    orders: tuple[Order, ...]
    """Which tokens stay, for each branch."""
    sample: Sample
    """What token is drawn."""
    guidance: Callable[[LogitsFn], Guidance] | None = None
    """From the unconditional logits function to a guidance; None is none."""

    def __post_init__(self) -> None:
        """Check the steps."""
        check_at_least("Decoding", "steps", self.steps, 1)
