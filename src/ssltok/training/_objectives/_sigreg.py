"""SIGReg (LeJEPA) as an objective: views agree, and their features are Gaussian."""

from itertools import combinations

import torch
from torch import Tensor, nn

from ssltok._shared.checks import check_at_least, check_ratio
from ssltok.distributed import gather
from ssltok.losses import sigreg_loss
from ssltok.training._objectives._parts import projector_of
from ssltok.training._objectives._protocol import ObjectiveBatch, ObjectiveOutput
from ssltok.training._objectives._rows import Pool, check_views, logged, projected, same_rows

__all__ = ["SIGReg"]


class SIGReg(nn.Module):
    r"""Make projected views agree while each is an isotropic Gaussian, seen from any direction.

    $$(1 - \lambda)\, \tfrac{2}{V (V - 1)} \sum_{i < j} \tfrac{1}{B D} \lVert z_i - z_j \rVert^2
      + \tfrac{\lambda}{V} \sum_i \mathrm{SIGReg}(z_i)$$

    with `sigreg_loss`, along directions drawn from `ObjectiveBatch.seed`. Departure: LeJEPA takes
    the distances from the mean of the views, for two views a quarter of the first term.

    Args:
        encoder: Gives the number of features; see `Objective` for what it must be.
        projector_dim: Features of a projection; 16 by default.
        hidden_dim: Width of the projector's two hidden layers.
        projector: A module of your own instead, from `(rows, dim)` to `(rows, projector_dim)`;
            its width takes the place of `projector_dim`.
        pool: From features `(batch, tokens, dim)` and which tokens are real, or None, to one
            vector a series. By default each real token is a row of its own.
        gaussian_weight: $\lambda$, in [0, 1]; 0.05 in the paper.
        slices: How many directions are drawn; 1024 in the authors' package, 256 in the paper.
        views: How many views it wants.

    Raises:
        TypeError: If the encoder lacks a member, or a part is not what it must be.
        ValueError: If an option is out of its range, or a batch does not fit.

    Example:
        >>> import torch
        >>> from ssltok.training import ObjectiveBatch, SIGReg
        >>> encoder = torch.nn.Flatten()
        >>> encoder.dim = 20
        >>> view = torch.randn(6, 2, 10)
        >>> objective = SIGReg(encoder, hidden_dim=32, slices=8)
        >>> objective(encoder, ObjectiveBatch((view, view), seed=3)).logged["invariance"]
        tensor(0.)

    References:
        Balestriero and LeCun, *LeJEPA*, 2025, <https://arxiv.org/abs/2511.08544>, section 5.
    """

    by_token = False

    def __init__(
        self,
        encoder: nn.Module,
        *,
        projector_dim: int = 16,
        hidden_dim: int = 512,
        projector: nn.Module | None = None,
        pool: Pool | None = None,
        gaussian_weight: float = 0.05,
        slices: int = 1024,
        views: int = 2,
    ) -> None:
        super().__init__()
        check_ratio("SIGReg", "gaussian_weight", gaussian_weight)
        check_at_least("SIGReg", "slices", slices, 1)
        check_at_least("SIGReg", "views", views, 2)
        self.projector, self.projector_dim = projector_of(
            "SIGReg", encoder, projector=projector, pool=pool, hidden_dim=hidden_dim,
            out_dim=projector_dim, layers=3,
        )  # fmt: skip
        self.hidden_dim, self.pool, self.views = hidden_dim, pool, views
        self.gaussian_weight, self.slices = gaussian_weight, slices

    def draw(self, cases: int, generator: torch.Generator) -> tuple[Tensor, ...]:
        """Draw nothing."""
        return ()

    def forward(self, encoder: nn.Module, batch: ObjectiveBatch) -> ObjectiveOutput:
        """Return the loss of the views."""
        check_views("SIGReg", batch, self.views)
        views = projected("SIGReg", encoder, batch, head=self.projector, pool=self.pool)
        views = same_rows("SIGReg", list(map(gather, views)))
        generator = torch.Generator(views[0].device).manual_seed(batch.seed)
        pairs = [(z_a - z_b).square().mean() for z_a, z_b in combinations(views, 2)]
        invariance = torch.stack(pairs).mean()
        each = [sigreg_loss(z, slices=self.slices, generator=generator) for z in views]
        gaussian = torch.stack(each).mean()
        weight = self.gaussian_weight
        loss = (1 - weight) * invariance + weight * gaussian
        return ObjectiveOutput(loss, logged(invariance=invariance, gaussian=gaussian))

    def update(self, encoder: nn.Module, memory: tuple[Tensor, ...]) -> None:
        """Do nothing: nothing lives between steps."""
