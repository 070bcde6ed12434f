"""What the quantizers with one code for a vector share: layout, lookup, and nothing to update."""

from collections.abc import Callable

import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor, nn

from ssltok._shared.checks import check_integer
from ssltok.quantizers._layout import Flat, flatten, look_up

__all__ = ["SingleCode"]


class SingleCode(nn.Module):
    """A quantizer with one code for a vector; what it has beside a formula.

    An heir has `forward` and `encode`, says which tensor's `dtype` its vectors have, and has what
    it does otherwise: its `codebook`, the look-up in it, and what it learns in `update`.
    """

    code_shape: tuple[int, ...] = ()
    codes_per_token: int = 1
    learns_by_vectors: bool = False
    idle: bool = True

    def __init__(self, dim: int, codebook_size: int, *, channel_dim: int) -> None:
        super().__init__()
        self.dim = dim
        self.codebook_size = codebook_size
        check_integer(type(self).__name__, "channel_dim", channel_dim)
        self.channel_dim = channel_dim

    @property
    def codebook(self) -> Tensor:
        """The vectors that codes stand for, `(codebook_size, dim)`."""
        raise NotImplementedError

    @property
    def codebook_sizes(self) -> tuple[int, ...]:
        """The number of codes, as a tuple of one."""
        return (self.codebook_size,)

    def decode(self, codes: Tensor) -> Tensor:
        """Return the vectors of codes with the channels at `channel_dim`; 0 for -1."""
        return look_up(
            type(self).__name__,
            codes,
            self.codebook_size,
            self._lookup(),
            channel_dim=self.channel_dim,
        )

    def update(self, latents: Tensor, codes: Tensor) -> None:
        """Do nothing: what learns, learns by gradient."""

    def initialize(
        self,
        latents: Tensor,
        valid: Tensor | None = None,
        *,
        steps: int = 10,
        generator: torch.Generator | None = None,
    ) -> None:
        """Do nothing: there is no start from data."""

    def revive(
        self,
        latents: Tensor,
        codes: Tensor,
        *,
        share: float = 0.1,
        generator: torch.Generator | None = None,
    ) -> Tensor | tuple[Tensor, ...]:
        """Do nothing, and return an empty tuple: no code of its own can die."""
        return ()

    @property
    def _dtype(self) -> torch.dtype:
        """What latents are converted to, and the dtype of the vectors."""
        raise NotImplementedError

    def _lookup(self) -> Callable[[Tensor], Tensor]:
        """Return what maps known codes to new vectors."""
        codebook = self.codebook
        return lambda known: F.embedding(known, codebook)

    def _flatten(self, latents: Tensor, valid: Tensor | None) -> Flat:
        return flatten(
            type(self).__name__,
            latents,
            valid,
            dim=self.dim,
            channel_dim=self.channel_dim,
            dtype=self._dtype,
        )
