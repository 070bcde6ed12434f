"""What objectives are unless they say otherwise: two views, projected, and no state."""

from collections.abc import Callable

import torch
from torch import Tensor, nn

from ssltok.distributed import gather
from ssltok.state import EMATeacher
from ssltok.training._objectives._parts import projector_of
from ssltok.training._objectives._protocol import ObjectiveBatch
from ssltok.training._objectives._rows import Pool, Tower, check_views, projected, same_rows

__all__ = ["PlainObjective"]


class PlainObjective(nn.Module):
    """Draws nothing and keeps nothing between steps; an objective that does overrides it."""

    views = 2
    by_token = False
    projector: nn.Module
    projector_dim: int
    pool: Pool | None

    def draw(self, cases: int, generator: torch.Generator) -> tuple[Tensor, ...]:
        """Draw nothing."""
        return ()

    def update(self, encoder: nn.Module, memory: tuple[Tensor, ...]) -> None:
        """Do nothing: nothing lives between steps."""

    def _build_projector(
        self,
        encoder: nn.Module,
        projector: nn.Module | None,
        pool: Pool | None,
        *,
        hidden_dim: int,
        out_dim: int,
        layers: int,
        whiten: Callable[[], nn.Module | None] = lambda: None,
    ) -> None:
        """Keep the caller's projector or the usual one, its width, and the pool before it."""
        self.projector, self.projector_dim = projector_of(
            type(self).__name__, encoder, projector=projector, pool=pool, hidden_dim=hidden_dim,
            out_dim=out_dim, layers=layers, whiten=whiten,
        )  # fmt: skip
        self.pool = pool

    def _projections(
        self, encoder: nn.Module, batch: ObjectiveBatch, *, read: bool = False
    ) -> list[Tensor]:
        """Return this process's projections of each view; `read` as in `check_views`."""
        who = type(self).__name__
        check_views(who, batch, self.views, read=read)
        return projected(who, encoder, batch, head=self.projector, pool=self.pool)

    def _gathered(self, encoder: nn.Module, batch: ObjectiveBatch) -> list[Tensor]:
        """Return the projections of all processes, equally many rows of each view."""
        views = self._projections(encoder, batch)
        return same_rows(type(self).__name__, list(map(gather, views)))

    def _follow(self, teacher: EMATeacher, encoder: nn.Module, *, momentum: float) -> None:
        """Move a teacher of encoder and projector towards both."""
        teacher.update(Tower(encoder, self.projector, self.pool), momentum=momentum)
