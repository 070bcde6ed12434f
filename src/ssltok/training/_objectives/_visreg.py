"""VISReg as an objective: views agree, with the scale and the shape of a Gaussian."""

import torch
from torch import Tensor, nn

from ssltok._shared.checks import check_at_least, check_ratio
from ssltok.distributed import gather
from ssltok.losses import visreg_terms
from ssltok.training._objectives._parts import projector_of
from ssltok.training._objectives._protocol import ObjectiveBatch, ObjectiveOutput
from ssltok.training._objectives._rows import (
    Pool,
    check_global,
    check_views,
    logged,
    projected,
    same_rows,
)

__all__ = ["VISReg"]


class VISReg(nn.Module):
    r"""Make projected views agree while scale, shape and centre of each are a Gaussian's.

    `visreg_loss` with all three parts of weight 1, along directions drawn from
    `ObjectiveBatch.seed`. Departure: over several processes statistics and directions are those of
    the whole batch, where the paper takes those of each process.

    Args:
        encoder: Gives the number of features; see `Objective` for what it must be.
        projector_dim: Features of a projection, and width of its hidden layers; 512 by default.
        projector: A module of your own instead, from `(rows, dim)` to `(rows, projector_dim)`;
            its width takes the place of `projector_dim`.
        pool: From features `(batch, tokens, dim)` and which tokens are real, or None, to one
            vector a series. By default each real token is a row of its own.
        global_views: How many of the views are global, the first ones; all if None.
        regularization_weight: $\lambda$, in [0, 1]; the paper's 0.9 for large sets, where it
            recommends 0.6 for small ones.
        slices: How many directions are drawn; 256 as in stable-pretraining, 4096 in lightly.
        views: How many views it wants, 2 or more.

    Raises:
        TypeError: If the encoder lacks a member, or a part is not what it must be.
        ValueError: If an option is out of its range, or a batch does not fit.

    Example:
        >>> import torch
        >>> from ssltok.training import VISReg, ObjectiveBatch
        >>> encoder = torch.nn.Flatten()
        >>> encoder.dim = 20
        >>> view = torch.randn(6, 2, 10)
        >>> objective = VISReg(encoder, projector_dim=8, slices=8).eval()
        >>> objective(encoder, ObjectiveBatch((view, view), seed=3)).logged["invariance"]
        tensor(0.)

    References:
        Wu et al., *VISReg*, 2026, <https://arxiv.org/abs/2606.02572>, algorithm 1.
    """

    by_token = False

    def __init__(
        self,
        encoder: nn.Module,
        *,
        projector_dim: int = 512,
        projector: nn.Module | None = None,
        pool: Pool | None = None,
        global_views: int | None = None,
        regularization_weight: float = 0.9,
        slices: int = 256,
        views: int = 2,
    ) -> None:
        super().__init__()
        check_ratio("VISReg", "regularization_weight", regularization_weight)
        check_at_least("VISReg", "slices", slices, 1)
        check_global("VISReg", global_views, views)
        check_at_least("VISReg", "views", views, 2)
        self.projector, self.projector_dim = projector_of(
            "VISReg", encoder, projector=projector, pool=pool, hidden_dim=projector_dim,
            out_dim=projector_dim, layers=3,
        )  # fmt: skip
        self.pool, self.views = pool, views
        self.global_views = global_views
        self.regularization_weight, self.slices = regularization_weight, slices

    def draw(self, cases: int, generator: torch.Generator) -> tuple[Tensor, ...]:
        """Draw nothing."""
        return ()

    def forward(self, encoder: nn.Module, batch: ObjectiveBatch) -> ObjectiveOutput:
        """Return the loss of the views."""
        check_views("VISReg", batch, self.views)
        views = projected("VISReg", encoder, batch, head=self.projector, pool=self.pool)
        views = same_rows("VISReg", list(map(gather, views)))
        generator = torch.Generator(views[0].device).manual_seed(batch.seed)
        terms = visreg_terms(
            *views, global_views=self.global_views, slices=self.slices, generator=generator
        )
        weight = self.regularization_weight
        regularization = terms.scale + terms.shape + terms.center
        loss = (1 - weight) * terms.invariance + weight * regularization
        return ObjectiveOutput(loss, logged(**terms._asdict()))

    def update(self, encoder: nn.Module, memory: tuple[Tensor, ...]) -> None:
        """Do nothing: nothing lives between steps."""
